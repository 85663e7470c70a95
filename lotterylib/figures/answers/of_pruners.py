"""How good a pruner is, what it loses first and what it costs: the answers of the pages on pruners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pandas as pd

from ... import metrics
from ...errors import DataError
from ...text import opening, percent
from ...verdict import Interval, paired_gap
from ..style import called, in_order
from .box import Answer, join_studies
from .judged import RIVAL, by_study, first_losses, headline, judge_study, reach_of, row_at, rows_of
from .wording import (
    allowed_points,
    is_or_are,
    limit_in_words,
    listing,
    of_sparsity,
    reach,
    write_difference,
    write_gap,
    write_rounded,
)

_COMPARED = {"pass": "certainly higher", "undecided": "undecided", "fail": "certainly lower"}


def pruner_answer(table: pd.DataFrame, pruner: str, *others: str) -> Answer:
    """Answer how good a pruner is: in short, then how long it keeps test accuracy, what else its sparsest accurate tickets keep,
    and at which sparsities they are more accurate than those of ``others`` (random pruning, if none is given or in the study).

    Example:
        >>> from lotterylib.results import example
        >>> pruner_answer(example(), "lottery").sentences[0][:91]
        'In short: lottery tickets are certainly at most 1 point less accurate than dense up to 50% '
        >>> pruner_answer(example(), "lottery").sentences[1][:73]
        'Test accuracy of lottery tickets: kept up to 50% sparsity, lost at 80%; a'
    """
    sentences = []
    for setting, judged in by_study(table):
        rows = rows_of(judged, pruner, "accuracy")
        if rows.empty:
            continue
        level, _ = headline(judged, pruner)
        row = row_at(judged, pruner, "accuracy", level)
        gap = write_gap(row, metrics.describe("accuracy"))
        said = f"Test accuracy of {called(pruner)}: {of_sparsity(reach_of(rows, judged.sparsity.max()))}"
        limit = (
            f"{allowed_points(row)} below dense, {'what ' * bool(row.widened)}{limit_in_words(row.widened)}"
        )
        said += f"; at {percent(level)}: {gap}. Kept means at most {limit}."
        rivals = [p for p in others if p in set(judged.pruner)] or [RIVAL]
        of_setting = table[(table.dataset == rows.dataset.iloc[0]) & (table.model == rows.model.iloc[0])]
        gaps = {rival: _gaps(of_setting, pruner, rival, rows.sparsity) for rival in rivals}
        compared = [_beside(rival, found) for rival, found in gaps.items() if found]
        sentences.append([_in_short(setting, rows, gaps), said, _at_its_best(judged, pruner), *compared])
    return join_studies(sentences or [[f"This profile holds no record of {called(pruner)}."]])


def _at_its_best(judged: pd.DataFrame, pruner: str) -> str:
    level, kept = headline(judged, pruner)
    at = judged.loc[(judged.pruner == pruner) & ((judged.sparsity - level).abs() < 1e-6)]
    counts = at.verdict.value_counts()
    they, keep = ("they", "keep") if called(pruner).endswith("s") else ("it", "keeps")
    best = f"At {percent(level)} sparsity, the highest up to which {they} certainly {keep} test accuracy,"
    if not kept:
        best = f"{opening(they)} certainly {keep} test accuracy at no sparsity; at {percent(level)},"
    lost = [metrics.describe(m).short for m in at.metric[at.verdict == "fail"]]
    unknown = int(counts.get("undecided", 0))
    return (
        f"{best} {they} {keep} {counts.get('pass', 0)} of {len(at)} metrics, {unknown or 'none'} "
        f"{'are' if unknown > 1 else 'is'} undecided, {len(lost) or 'none'} certainly lost{f': {listing(lost)}' if lost else ''}."
    )


def _width(low: float, high: float) -> float:
    return math.inf if math.isnan(low) else high - low


def _in_short(setting: str, rows: pd.DataFrame, gaps: Mapping[str, Mapping[float, Interval]]) -> str:
    """Say where a pruner is certainly within the tolerance of dense, and certainly more or less accurate than others."""
    allowed, verdicts = allowed_points(rows.iloc[0]), dict(zip(rows.sparsity, rows.verdict, strict=True))
    said = [_certainly(f"at most {allowed} less", f"more than {allowed} less", "dense", verdicts)]
    said += [
        _certainly("more", "less", called(other), _signs(found)) for other, found in gaps.items() if found
    ]
    return f"{setting}In short: {is_or_are(rows.pruner.iloc[0])} {'; '.join(said)}."


def _certainly(good: str, bad: str, other: str, verdicts: Mapping[float, str]) -> str:
    """Say where a comparison is certainly ``good``, or where it never is, where it is certainly ``bad``."""
    for verdict, word in (("pass", good), ("fail", bad)):
        if verdict in verdicts.values():
            words = {verdict: f"certainly {word} accurate than {other}"}
            return of_sparsity(reach(list(verdicts), list(verdicts.values()), words))
    return f"neither certainly {good} accurate than {other} nor certainly {bad}"


def _gaps(table: pd.DataFrame, pruner: str, other: str, levels: Iterable[float]) -> dict[float, Interval]:
    """Return a pruner's test accuracy minus another's, paired by seed, at each sparsity that both have; none of the same twice."""
    gaps = {}
    for level in levels if pruner != other else ():
        with suppress(DataError):
            gaps[level] = paired_gap(table, "accuracy", pruner, other, level)
    return gaps


def _signs(gaps: Mapping[float, Interval]) -> dict[float, str]:
    return {
        s: "pass" if low > 0 else "fail" if high < 0 else "undecided" for s, (_, low, high, _) in gaps.items()
    }


def _beside(other: str, gaps: Mapping[float, Interval]) -> str:
    """Say where a pruner's test accuracy is above another's, and by how much at the last sparsity where that is certain, else
    where it is known best."""
    signs = _signs(gaps)
    sure = [s for s, sign in signs.items() if sign != "undecided"]
    last = max(sure) if sure else min(gaps, key=lambda s: _width(*gaps[s][1:3]))
    gap, low, high, _ = gaps[last]
    points = write_rounded(100 * gap, 100 * low, 100 * high)
    interval = "no interval" if math.isnan(low) else f"95% interval {points[1]} to {points[2]}"
    return (
        f"Test accuracy beside {called(other)}: {of_sparsity(reach(list(signs), list(signs.values()), _COMPARED))}; "
        f"at {percent(last)} by {points[0]} points ({interval})."
    )


def first_lost(table: pd.DataFrame, *pruners: str) -> Answer:
    """Answer what networks lose first: for each pruner the lowest sparsity at which a metric is certainly lost, and which ones.
    ``table`` is of one data set and model.

    Example:
        >>> from lotterylib.results import example
        >>> first_lost(example(), "lottery").sentences[0]
        'First lost by lottery tickets, at 80%: accuracy.'
    """
    judged = judge_study(table)
    return Answer(tuple(_first_lost(judged, p) for p in pruners))


def _first_lost(judged: pd.DataFrame, pruner: str) -> str:
    rows = judged.loc[judged.pruner == pruner]
    if first := first_losses(rows):
        lowest = float(rows.sparsity[rows.verdict == "fail"].min())
        return f"First lost by {called(pruner)}, at {percent(lowest)}: {first}."
    return f"{opening(called(pruner))}: nothing is certainly lost at any sparsity."


def price_answer(table: pd.DataFrame, costs: Mapping[str, float], level: float) -> Answer:
    """Answer which pruner keeps accuracy at a sparsity, and what that costs. ``table`` is of one data set and model; ``costs``:
    pruner → cost of finding its ticket, in trainings of the dense network.

    Example:
        >>> from lotterylib.results import example
        >>> price_answer(example(), {"lottery": 2.5, "random": 0.6}, 0.5).sentences[0]
        'At 50% sparsity 1 of 2 methods certainly keeps test accuracy: lottery tickets, found for 2.5 dense trainings.'
    """
    judged = judge_study(table)
    at = judged.loc[(judged.metric == "accuracy") & ((judged.sparsity - level).abs() < 1e-6)]
    at = at.loc[at.pruner.isin(list(costs))].dropna(subset="difference")
    if at.empty:
        return Answer((f"This profile holds no test accuracy at {percent(level)} sparsity.",))
    kept = in_order(str(p) for p in at.pruner[at.verdict == "pass"])
    said = f"At {percent(level)} sparsity {len(kept) or 'none'} of {len(at)} methods certainly {'keeps' if len(kept) < 2 else 'keep'} test accuracy"
    said += f": {'; '.join(_priced(p, costs) for p in kept)}." if kept else "."
    ends = (
        f"{which}: {_priced(str(row.pruner), costs)} ({write_difference(row, metrics.describe('accuracy'))})."
        for which, row in (
            ("Most accurate in the mean", at.loc[at.difference.idxmax()]),
            ("Cheapest", at.loc[at.pruner.map(costs).idxmin()]),
        )
    )
    return Answer((said, f"{' '.join(ends)} Differences are to the dense network."))


def _priced(pruner: str, costs: Mapping[str, float]) -> str:
    return f"{called(pruner)}, found for {costs[pruner]:.2g} dense trainings"
