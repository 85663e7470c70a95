"""What becomes of metrics: the answers of the pages on dimensions, and which pruner is least sensitive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ... import metrics
from ...results import setting_name
from ...text import percent
from ...verdict import differences, unjudged
from ..drawing import by_setting
from ..style import called, in_order, look
from .box import Answer, join_studies
from .judged import (
    DIMENSIONS,
    SIGNS,
    by_study,
    headline,
    judge_study,
    leader,
    longest,
    reach_of,
    row_at,
    rows_of,
    with_rival,
)
from .wording import (
    RETRAINED,
    against_dense,
    is_or_are,
    listing,
    short_label,
    sign_of,
    unit_behind,
    write_difference,
    write_gap,
    write_number,
)


def answer(table: pd.DataFrame, *names: str) -> Answer:
    """Answer what becomes of metrics: of lottery tickets at the sparsity up to which they keep their accuracy, and of them and
    random pruning at all. ``names``: the page's metrics, the first one in full. Metrics without a record are left out.

    Example:
        >>> from lotterylib.results import example
        >>> print(str(answer(example(), "accuracy"))[:86])
        With 50% of the weights removed, lottery tickets are as accurate as the dense network,
    """
    said = [
        (where, [*_metric_sentences(judged, names), *_unjudged(table, judged, names)])
        for where, judged in by_study(table)
    ]
    # a study under way says nothing where another one answers
    said = [(where, lines) for where, lines in said if lines]
    if not said:
        return Answer(("This profile holds no record that answers the question.",))
    return join_studies([[f"{where}{first}", *more] for where, (first, *more) in said])


def _metric_sentences(judged: pd.DataFrame, names: Sequence[str]) -> list[str]:
    known = [n for n in names if n in set(judged.metric)]
    if not known:
        return []
    lead = leader(judged, known[0])
    first = f"{_at_headline(judged, lead, known[0])} {_over_levels(judged, lead, known[0])}"
    alike: dict[str, list[str]] = {}
    for name in known[1:]:
        lead = leader(judged, name)
        said = f"{_each(judged, lead, name)}.{_loss(judged, lead, name)}"
        alike.setdefault(said, []).append(short_label(metrics.describe(name)))
    return [first, *(f"{listing(which)}: {said}" for said, which in alike.items())]


def _loss(judged: pd.DataFrame, pruner: str, metric: str) -> str:
    """Say of an undecided metric what is certain all the same: that a pruner is worse at the headline's sparsity."""
    level, about = headline(judged, pruner)[0], metrics.describe(metric)
    row = row_at(judged, pruner, metric, level)
    if row.verdict != "undecided" or sign_of(row.low, row.high, about.direction) >= 0:
        return ""
    return f" At {percent(row.sparsity)}, {is_or_are(pruner)} {against_dense(row, about)} ({write_gap(row, about)})."


def _unjudged(table: pd.DataFrame, judged: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Say which of a page's metrics are not judged, since guessing would do, and what was measured of the first."""
    here = table[(table.dataset == judged.dataset.iloc[0]) & (table.model == judged.model.iloc[0])]
    left = unjudged(here).set_index("metric")
    left = left.loc[[n for n in names if n in left.index]]
    found = here[here.metric.isin(left.index[:1]) & here.difference.notna()]
    if found.empty:
        return []
    first, about = left.iloc[0], metrics.describe(str(left.index[0]))
    dense, guess = write_number(first.dense, about), write_number(first.floor, about)
    limit = write_number(first.tolerance, about, change=True)
    widened = first.tolerance > about.tolerance.of(first.dense)
    row = differences(found)
    lead = leader(row)
    row = row_at(row, lead, about.name, headline(judged, lead)[0])
    return [
        f"Not judged: {listing(metrics.describe(n).short for n in left.index)}, since a network that guesses would lie within "
        f"{f'what {RETRAINED}' if widened else 'the tolerance'} ({about.short} {about.arrow}: dense {dense}, "
        f"guessing {guess}, tolerance {limit}). With {percent(row.sparsity)} of the weights removed, {called(lead)}: "
        f"{write_difference(row, about)}."
    ]


def _at_headline(judged: pd.DataFrame, pruner: str, metric: str) -> str:
    level, kept = headline(judged, pruner)
    row = row_at(judged, pruner, metric, level)
    about = metrics.describe(metric)
    kept = kept and bool(row.sparsity < level + 1e-6)
    where = ", where test accuracy is certainly kept" if kept and metric != "accuracy" else ""
    # a unit that does not stand behind each number stands behind the name
    unit = "" if unit_behind(about) else f" [{about.sign}]"
    allowed = f"; tolerance {write_number(row.tolerance, about, change=True)}"
    allowed += f", what {RETRAINED}" * bool(row.widened)
    return (
        f"With {percent(row.sparsity)} of the weights removed{where}, {is_or_are(pruner)} {against_dense(row, about)} "
        f"({short_label(about)} {about.arrow}{unit}: {write_gap(row, about)}{allowed})."
    )


def _over_levels(judged: pd.DataFrame, lead: str, metric: str) -> str:
    said = f"Over all sparsities: {_each(judged, lead, metric)}."
    best, first = longest(judged, metric), judged.sparsity[judged.metric == metric].min()
    if not best:
        lowest = f"lowest sparsity{' measured' * bool(first > judged.sparsity.min() + 1e-6)}"
        return f"{said} No method certainly keeps it at the {lowest}."
    end, who = best
    there = judged.loc[judged.metric == metric]
    if len(who) == there.pruner.nunique():
        return f"{said} Every method keeps it, up to {percent(end)}."
    return f"{said} Kept longest by {listing(_counted(there, p) for p in who)}, up to {percent(end)}{_not_yet(there, end)}."


def _counted(rows: pd.DataFrame, pruner: str) -> str:
    """Return a pruner's name, with its seeds where others of these rows have more."""
    own = rows.seeds[rows.pruner == pruner]
    said = f"{own.min()} to {own.max()}" if own.min() < own.max() else f"{own.min()}"
    return called(pruner) + (f" ({said} seed{'s' * (said != '1')})" if own.min() < rows.seeds.max() else "")


def _not_yet(rows: pd.DataFrame, end: float) -> str:
    """Say which pruners keep a metric as far as they were measured, which is less far than this sparsity."""
    last: Any = rows.groupby("pruner").sparsity.max()
    kept: Any = rows.groupby("pruner").verdict.agg(lambda found: set(found) == {"pass"})
    less = [
        f"{called(p)} only up to {percent(last[p])}"
        for p in in_order(last.index)
        if kept[p] and last[p] < end
    ]
    return f" (measured so far: {listing(less)})" if less else ""


def _each(judged: pd.DataFrame, lead: str, metric: str) -> str:
    said: dict[str, list[str]] = {}
    for pruner in with_rival(judged, lead):
        rows = rows_of(judged, pruner, metric)
        if len(rows):
            said.setdefault(reach_of(rows, judged.sparsity.max()), []).append(called(pruner))
    return "; ".join(f"{listing(who)} {what}" for what, who in said.items())


def sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """Return which pruner is least sensitive in each metric: its dimension, who keeps it longest, and for every pruner one sign
    per rising sparsity, ● kept, ? undecided, × lost.

    Example:
        >>> from lotterylib.results import example
        >>> sensitivity(example()).iloc[0].to_dict()
        {'dimension': 'generalization', 'least sensitive': 'LTH, up to 50%', 'LTH': '●×', 'RP': '×'}
    """
    judged = judge_study(table)
    rows = {}
    for metric in [m for m in metrics.names() if m in set(judged.metric)]:
        best, about = longest(judged, metric), metrics.describe(metric)
        all_do = best and len(best[1]) == judged.pruner[judged.metric == metric].nunique()
        names = [look(p).label for p in best[1]] if best else []
        # the signs beside it say which
        named = "every method" if all_do else f"{len(names)} methods" if len(names) > 3 else ", ".join(names)
        who = f"{named}, up to {percent(best[0])}" if best else "nobody"
        signs = {
            look(p).label: "".join(SIGNS[v] for v in rows_of(judged, p, metric).verdict)
            for p in in_order(judged["pruner"])
        }
        rows[f"{about.label} {about.arrow}"] = {"dimension": about.dimension, "least sensitive": who} | signs
    return pd.DataFrame(rows).T


def leads(table: pd.DataFrame) -> pd.DataFrame:
    """Return in how many metrics of each dimension (column) a pruner (row) keeps the metric longest; ties count for each.

    Example:
        >>> from lotterylib.results import example
        >>> leads(example()).to_dict()
        {'generalization': {'lottery': 1}, 'calibration': {'lottery': 1}}
    """
    judged = judge_study(table)
    counts = pd.DataFrame(
        0, in_order(judged["pruner"]), [d for d in DIMENSIONS if d in set(judged.dimension)]
    )
    for metric in judged.metric.unique():
        for pruner in (longest(judged, metric) or (0.0, []))[1]:
            counts.loc[pruner, metrics.describe(metric).dimension] += 1
    return counts.loc[counts.any(axis=1)]


def least_sensitive(table: pd.DataFrame) -> Answer:
    """Answer which pruner keeps the metrics of each dimension longest, and which metrics nobody keeps.

    Example:
        >>> from lotterylib.results import example
        >>> print(str(least_sensitive(example())))
        LeNet on scikit-learn's digits: kept longest (ties count for each) is generalization by lottery
        tickets (1 of 1 metrics); calibration by lottery tickets (1 of 1); every metric is certainly kept by
        some method at the lowest sparsity.
    """
    judged, counts = judge_study(table), leads(table)
    totals: Any = judged.groupby("dimension").metric.nunique()
    said = []
    for dimension in counts:
        most = counts[dimension].max()
        who = listing(called(p) for p in counts.index[counts[dimension] == most]) if most else "nobody"
        said.append(
            f"{dimension} by {who}"
            + f" ({most} of {totals[dimension]}{'' if said else ' metrics'})" * bool(most)
        )
    nobody = [metrics.describe(m).short for m in judged.metric.unique() if longest(judged, m) is None]
    lost = f"kept by no method, even at the lowest sparsity: {listing(nobody)}" if nobody else ""
    kept = "every metric is certainly kept by some method at the lowest sparsity"
    where = listing(setting_name(m, d) for d, m, _ in by_setting(judged))
    left = [s for s in (not_judged(table),) if s]
    # one sentence, since a box may fold what follows
    told = "; ".join([*said, lost or kept])
    return Answer((f"{where}: kept longest (ties count for each) is {told}.", *left))


def not_judged(table: pd.DataFrame) -> str:
    """Say in which metrics nothing is judged, since a network that knows nothing would pass; nothing where all are.

    Example:
        >>> from lotterylib.results import example
        >>> not_judged(example())
        ''
    """
    measured = set(table.metric[table.difference.notna()])
    names = [metrics.describe(m).short for m in unjudged(table).metric.unique() if m in measured]
    return f"Not judged: {listing(names)}, since a network that guesses would pass." if names else ""
