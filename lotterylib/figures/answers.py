"""Sentences that answer a page's question from the records: true under every profile, with their intervals.

A table from ``results.tidy`` goes in, a sentence comes out. What the records leave open is called undecided.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import DataError
from ..results import setting_name
from ..text import opening, percent, short, signed
from ..verdict import Interval, differences, limits, lth_pass, paired_gap, passes, together, unjudged
from .drawing import by_setting
from .style import called, in_order, look

DIMENSIONS = ("generalization", "calibration", "interpretability", "geometry")
SIGNS = {"pass": "●", "undecided": "?", "fail": "×"}
# The methods that answers name, where the study has them.
_LEAD, _BESIDE = "lottery", "random"
_WORDS = {"pass": "kept", "undecided": "undecided", "fail": "lost"}
_FALLBACK = 0.8
# what a widened tolerance is
_RETRAINED = "a retraining of the dense network may cost"
# What an interval of 95% leaves on its good side.
_LUCK = 0.025
# Where a sentence ends and another begins, and how many a study may have in full.
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z0-9])")
_SHORT = 2
# Of more metrics than these a tile gives the number.
_NAMED = 2


@dataclass(frozen=True)
class Answer:
    """Sentences that a notebook shows: a box on a page of the book, plain text elsewhere. Where a study's are more than two, the
    box shows the first and folds the rest. ``source``: what they rest on; ``starts``: at which of them a study begins.
    """

    sentences: tuple[str, ...]
    source: str = "the records"
    starts: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return " ".join(self.sentences)

    __repr__ = __str__

    def add(self, sentence: str, *, shown: bool = False) -> Answer:
        """Return the answer with one more sentence at its end; ``shown``: not folded with those before it.

        >>> Answer(("It is.",)).add("But look twice.", shown=True)
        It is. But look twice.
        """
        starts = (*self.starts, len(self.sentences)) if shown else self.starts
        return replace(self, sentences=(*self.sentences, sentence), starts=starts)

    def _repr_html_(self) -> str:
        ends = (*self.starts[1:], len(self.sentences))
        box = "".join(
            _folded(self.sentences[i:end]) for i, end in zip(self.starts, ends, strict=True) if i < end
        )
        box = box.replace("<p>", f"<p><strong>Answer from {escape(self.source)}.</strong> ", 1)
        return f'<div class="answer" role="note">{box}</div>'


def _folded(sentences: Sequence[str]) -> str:
    """Write what is said of one study as HTML: if it is long, what follows its first sentence opens on a click."""
    first, *others = _SENTENCE.split(sentences[0])
    if first.endswith("?") and others:
        # a question without its answer says nothing
        first = f"{first} {others.pop(0)}"
    if len(others) + sum(len(_SENTENCE.split(s)) for s in sentences[1:]) < _SHORT:
        return _paragraphs(sentences)
    rest = _paragraphs([*([" ".join(others)] if others else []), *sentences[1:]])
    return f"{_paragraphs([first])}<details><summary>The rest of this answer</summary>{rest}</details>"


def _paragraphs(sentences: Iterable[str]) -> str:
    written = "".join(f"<p>{escape(s)}</p>" for s in sentences)
    return written.replace(" ↑", "\N{NO-BREAK SPACE}↑").replace(" ↓", "\N{NO-BREAK SPACE}↓")


def reach(levels: Sequence[float], verdicts: Sequence[str], words: Mapping[str, str] = _WORDS) -> str:
    """Say in words what was kept, lost and undecided at which of the rising sparsities.

    >>> reach([0.36, 0.59, 0.79, 0.89], ["pass", "undecided", "fail", "fail"])
    'kept up to 36%, undecided at 59%, lost from 79%'
    >>> reach([0.36, 0.59], ["undecided", "undecided"])
    'undecided at every sparsity'
    >>> reach([0.36, 0.59], ["pass", "fail"])
    'kept up to 36%, lost at 59%'
    """
    runs = [(v, [i for i, _ in run]) for v, run in groupby(enumerate(verdicts), key=lambda pair: pair[1])]
    if len(runs) == 1:
        return f"{words[verdicts[0]]} at {'every sparsity' if len(levels) > 1 else percent(levels[0])}"
    said = []
    for verdict, word in words.items():
        places = [run for v, run in runs if v == verdict]
        if not places:
            continue
        last = len(levels) - 1
        if len(places) == 1 and places[0][0] == 0:
            said.append(f"{word} up to {percent(levels[places[0][-1]])}")
        elif len(places) == 1 and places[0][-1] == last:
            first = places[0][0]
            said.append(f"{word} {'at' if first == last else 'from'} {percent(levels[first])}")
        else:
            said.append(f"{word} at {_listed([_span(levels, run) for run in places])}%")
    return ", ".join(said)


def _span(levels: Sequence[float], run: Sequence[int]) -> str:
    first, last = (f"{100 * levels[i]:.3g}" for i in (run[0], run[-1]))
    return first if first == last else f"{first} to {last}"


def _listed(words: Iterable[str], last: str = "and") -> str:
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def judge_study(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``verdict.passes`` of all metrics, one row per ticket and metric, sparsity rising."""
    return passes(table).sort_values(by=["pruner", "metric", "sparsity"], ignore_index=True)


def headline(judged: pd.DataFrame, pruner: str) -> tuple[float, bool]:
    """Return the highest sparsity at which a pruner certainly keeps its test accuracy, there and at every lower one, and True;
    or, where there is none, a middle one and False."""
    chosen = judged.loc[judged.pruner == pruner]
    ends = limits(chosen)
    kept = float(ends["accuracy"].iloc[0]) if "accuracy" in ends else math.nan
    if not math.isnan(kept):
        return kept, True
    levels: list[float] = [float(str(s)) for s in chosen.sparsity.unique()]
    return min(levels, key=lambda s: abs(s - _FALLBACK)), False


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
        for where, judged in _settings(table)
    ]
    # a study under way says nothing where another one answers
    said = [(where, lines) for where, lines in said if lines]
    if not said:
        return Answer(("This profile holds no record that answers the question.",))
    return _of_studies([[f"{where}{first}", *more] for where, (first, *more) in said])


def _of_studies(said: Sequence[Sequence[str]]) -> Answer:
    """Return the answer that says of one study after the other its sentences."""
    *starts, _ = accumulate(map(len, said), initial=0)
    return Answer(tuple(s for sentences in said for s in sentences), starts=tuple(starts))


def _settings(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split judged tickets by data set and network, with what to put before a sentence where there are several."""
    try:
        judged = judge_study(table)
    except DataError:
        return []
    found = by_setting(judged)
    return [(f"{setting_name(m, d)}: " if len(found) > 1 else "", rows) for d, m, rows in found]


def _metric_sentences(judged: pd.DataFrame, names: Sequence[str]) -> list[str]:
    known = [n for n in names if n in set(judged.metric)]
    if not known:
        return []
    lead = _lead(judged, known[0])
    first = f"{_at_headline(judged, lead, known[0])} {_over_levels(judged, lead, known[0])}"
    alike: dict[str, list[str]] = {}
    for name in known[1:]:
        lead = _lead(judged, name)
        said = f"{_each(judged, lead, name)}.{_loss(judged, lead, name)}"
        alike.setdefault(said, []).append(_short(metrics.describe(name)))
    return [first, *(f"{_listed(which)}: {said}" for said, which in alike.items())]


def _loss(judged: pd.DataFrame, pruner: str, metric: str) -> str:
    """Say of an undecided metric what is certain all the same: that a pruner is worse at the headline's sparsity."""
    level, about = headline(judged, pruner)[0], metrics.describe(metric)
    row = _row(judged, pruner, metric, level)
    if row.verdict != "undecided" or sign_of(row.low, row.high, about.direction) >= 0:
        return ""
    return f" At {percent(row.sparsity)}, {_is(pruner)} {_against_dense(row, about)} ({_gap(row, about)})."


def _unjudged(table: pd.DataFrame, judged: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Say which of a page's metrics are not judged, since guessing would do, and what was measured of the first."""
    here = table[(table.dataset == judged.dataset.iloc[0]) & (table.model == judged.model.iloc[0])]
    left = unjudged(here).set_index("metric")
    left = left.loc[[n for n in names if n in left.index]]
    found = here[here.metric.isin(left.index[:1]) & here.difference.notna()]
    if found.empty:
        return []
    first, about = left.iloc[0], metrics.describe(str(left.index[0]))
    dense, guess = _number(first.dense, about), _number(first.floor, about)
    limit = _number(first.tolerance, about, change=True)
    widened = first.tolerance > about.tolerance.of(first.dense)
    row = differences(found)
    lead = _lead(row)
    row = _row(row, lead, about.name, headline(judged, lead)[0])
    return [
        f"Not judged: {_listed(metrics.describe(n).short for n in left.index)}, since a network that guesses would lie within "
        f"{f'what {_RETRAINED}' if widened else 'the tolerance'} ({about.short} {about.arrow}: dense {dense}, "
        f"guessing {guess}, tolerance {limit}). With {percent(row.sparsity)} of the weights removed, {called(lead)}: "
        f"{_difference(row, about)}."
    ]


def _number(value: float, about: metrics.About, *, change: bool = False) -> str:
    """Write a value, or a ``change``, which of two percentages is in points."""
    written, unit = short((100 if about.percent else 1) * value), _unit(about)
    if change:
        unit = unit.replace("%", " point" if written == "1" else " points")
    return f"{written}{unit}"


def _lead(judged: pd.DataFrame, metric: str | None = None) -> str:
    """Return the method that an answer is about; a study under way may have a metric of others alone."""
    there = in_order(judged["pruner"] if metric is None else judged.pruner[judged.metric == metric])
    return _LEAD if _LEAD in there else there[0]


def _pair(judged: pd.DataFrame, lead: str) -> list[str]:
    return [lead, *([_BESIDE] if _BESIDE in set(judged.pruner) - {lead} else [])]


def _at_headline(judged: pd.DataFrame, pruner: str, metric: str) -> str:
    level, kept = headline(judged, pruner)
    row = _row(judged, pruner, metric, level)
    about = metrics.describe(metric)
    kept = kept and bool(row.sparsity < level + 1e-6)
    where = ", where test accuracy is certainly kept" if kept and metric != "accuracy" else ""
    # a unit that does not stand behind each number stands behind the name
    unit = "" if _unit(about) else f" [{about.sign}]"
    allowed = f"; tolerance {_number(row.tolerance, about, change=True)}"
    allowed += f", what {_RETRAINED}" * bool(row.widened)
    return (
        f"With {percent(row.sparsity)} of the weights removed{where}, {_is(pruner)} {_against_dense(row, about)} "
        f"({_short(about)} {about.arrow}{unit}: {_gap(row, about)}{allowed})."
    )


def _is(pruner: str) -> str:
    name = called(pruner)
    return f"{name} {'are' if name.endswith('s') else 'is'}"


def _short(about: metrics.About) -> str:
    """Return a metric's label without its unit."""
    return about.label.partition(" (")[0]


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
    return f"{said} Kept longest by {_listed(_counted(there, p) for p in who)}, up to {percent(end)}{_not_yet(there, end)}."


def _counted(rows: pd.DataFrame, pruner: str) -> str:
    """Return a pruner's name, with its seeds where others of these rows have more."""
    own = int(rows.seeds[rows.pruner == pruner].min())
    return called(pruner) + (f" ({own} seed{'s' * (own > 1)})" if own < rows.seeds.max() else "")


def _not_yet(rows: pd.DataFrame, end: float) -> str:
    """Say which pruners keep a metric as far as they were measured, which is less far than this sparsity."""
    last: Any = rows.groupby("pruner").sparsity.max()
    kept: Any = rows.groupby("pruner").verdict.agg(lambda found: set(found) == {"pass"})
    less = [
        f"{called(p)} only up to {percent(last[p])}"
        for p in in_order(last.index)
        if kept[p] and last[p] < end
    ]
    return f" (measured so far: {_listed(less)})" if less else ""


def _reach_of(rows: pd.DataFrame, most: float) -> str:
    """Say how far the verdicts of one pruner reach, and where others are measured farther, up to ``most``."""
    said, last = reach(list(rows.sparsity), list(rows.verdict)), rows.sparsity.max()
    return (
        f"{said} measured, up to {percent(last)}" if said.endswith("every sparsity") and last < most else said
    )


def _each(judged: pd.DataFrame, lead: str, metric: str) -> str:
    said: dict[str, list[str]] = {}
    for pruner in _pair(judged, lead):
        rows = _of(judged, pruner, metric)
        if len(rows):
            said.setdefault(_reach_of(rows, judged.sparsity.max()), []).append(called(pruner))
    return "; ".join(f"{_listed(who)} {what}" for what, who in said.items())


def _of(judged: pd.DataFrame, pruner: str, metric: str) -> pd.DataFrame:
    rows = judged.loc[(judged.pruner == pruner) & (judged.metric == metric)]
    return rows.sort_values(by="sparsity")


def _row(judged: pd.DataFrame, pruner: str, metric: str, level: float) -> Any:
    rows = _of(judged, pruner, metric)
    # A metric may lack a sparsity that accuracy has: the nearest speaks.
    return rows.iloc[int((rows.sparsity - level).abs().argmin())]


def sign_of(low: float, high: float, direction: str) -> int:
    """Return 1 where an interval of a difference is all on the better side, −1 where on the worse, else 0.

    >>> sign_of(0.1, 0.2, "lower"), sign_of(-0.1, 0.2, "lower")
    (-1, 0)
    """
    side = 1 if low > 0 else -1 if high < 0 else 0
    return side if direction == "higher" else -side


def _against_dense(row: Any, about: metrics.About) -> str:
    if math.isnan(row.difference):
        return "broken: one answer to everything has no score"
    side = sign_of(row.low, row.high, about.direction)
    better, worse, good = about.quality
    if row.verdict == "pass" and side < 0:
        return f"{worse} than the dense network, by less than {_forgiven(row.widened)}"
    if row.verdict == "pass":
        return (
            f"{better} than the dense network"
            if side > 0
            else f"as {good} as the dense network, within tolerance"
        )
    if row.verdict == "fail":
        return f"certainly {worse} than the dense network, by more than the tolerance"
    if side < 0:
        return f"{worse} than the dense network, perhaps within the tolerance"
    return f"perhaps as {good} as the dense network, perhaps {worse} by more than the tolerance"


def _forgiven(widened: bool) -> str:
    """Return in words what a loss has to exceed."""
    return _RETRAINED if widened else "the tolerance"


def _gap(row: Any, about: metrics.About) -> str:
    # a ticket of fewer seeds is compared with the dense networks of these alone
    own = row.dense if math.isnan(row.dense_beside) else row.dense_beside
    dense = _number(own, about)
    if not math.isclose(own, row.dense, rel_tol=1e-9, abs_tol=1e-12):
        dense += f" with the same seed{'s' if row.seeds > 1 else ''}"
    return f"dense {dense}" if math.isnan(row.difference) else f"dense {dense}, {_difference(row, about)}"


def _unit(about: metrics.About) -> str:
    """Return what stands behind a number, where a reader would miss it."""
    return (
        "%"
        if about.sign.startswith("%")
        else f" {about.sign}"
        if about.sign.startswith(("nats", "points"))
        else ""
    )


def _difference(row: Any, about: metrics.About) -> str:
    # of two percentages, too, the difference is in points
    scale, unit = 100 if about.percent else 1, _unit(about).replace("%", " points")
    limit = scale * getattr(row, "tolerance", math.nan)
    change, low, high = _rounded(scale * row.difference, scale * row.low, scale * row.high, limit)
    over = f", {row.seeds} seeds" if row.seeds > 1 else " over the images of one training"
    interval = "no interval" if math.isnan(row.low) else f"95% interval {low} to {high}{over}"
    return f"difference {change}{unit}, {interval}"


def _rounded(value: float, low: float, high: float, limit: float = math.nan) -> list[str]:
    """Write a number and its interval with their signs, to the two digits of half the interval that count; with more where an
    end would else seem to lie on the other side of a limit, or on it.

    >>> _rounded(0.000023, -0.0101, 0.0104), _rounded(9.0, 3.6, 14.4)
    (['0.000', '−0.010', '+0.010'], ['+9.0', '+3.6', '+14.4'])
    >>> _rounded(0.000023, -0.0101, 0.0104, 0.01)
    ['0.0000', '−0.0101', '+0.0104']
    """
    if math.isnan(low) or high == low:
        return [_signed(v) for v in (value, low, high)]
    digits = max(0, 1 - math.floor(math.log10((high - low) / 2)))
    if not math.isnan(limit):
        ends, told = (abs(low), abs(high)), float(f"{limit:.3g}")
        clear = (
            more
            for more in range(digits, digits + 4)
            if all(np.sign(round(end, more) - told) == np.sign(end - limit) for end in ends)
        )
        digits = next(clear, digits)
    written = [signed(v, f".{digits}f") for v in (value, low, high)]
    # zero has no sign
    return [w if w.strip("+−0.") else w[1:] for w in written]


def _signed(value: float) -> str:
    """Write a number with its sign and two digits that count, without an exponent.

    >>> _signed(-0.000023), _signed(12.34), _signed(123.4), _signed(0.0)
    ('−0.000023', '+12', '+123', '+0')
    """
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return np.format_float_positional(float(digits), trim="-", sign=True).replace("-", "−")


def longest(judged: pd.DataFrame, metric: str) -> tuple[float, list[str]] | None:
    """Return the highest sparsity up to which a pruner certainly keeps a metric, and those that do; None where nobody keeps it.

    Example:
        >>> from lotterylib.results import example
        >>> longest(judge_study(example()), "accuracy")
        (0.5, ['lottery'])
    """
    ends = limits(judged.loc[judged.metric == metric])[metric].dropna()
    if ends.empty:
        return None
    best = float(ends.max())
    return best, in_order(str(p) for p in ends.index.get_level_values("pruner")[ends == best])


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
            look(p).label: "".join(SIGNS[v] for v in _of(judged, p, metric).verdict)
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
        who = _listed(called(p) for p in counts.index[counts[dimension] == most]) if most else "nobody"
        said.append(
            f"{dimension} by {who}"
            + f" ({most} of {totals[dimension]}{'' if said else ' metrics'})" * bool(most)
        )
    nobody = [metrics.describe(m).short for m in judged.metric.unique() if longest(judged, m) is None]
    lost = f"kept by no method, even at the lowest sparsity: {_listed(nobody)}" if nobody else ""
    kept = "every metric is certainly kept by some method at the lowest sparsity"
    where = _listed(setting_name(m, d) for d, m, _ in by_setting(judged))
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
    return f"Not judged: {_listed(names)}, since a network that guesses would pass." if names else ""


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
    for setting, judged in _settings(table):
        rows = _of(judged, pruner, "accuracy")
        if rows.empty:
            continue
        level, _ = headline(judged, pruner)
        row = _row(judged, pruner, "accuracy", level)
        gap = _gap(row, metrics.describe("accuracy"))
        said = f"Test accuracy of {called(pruner)}: {_of_sparsity(_reach_of(rows, judged.sparsity.max()))}"
        limit = f"{_points(row)} below dense, {'what ' * bool(row.widened)}{_forgiven(row.widened)}"
        said += f"; at {percent(level)}: {gap}. Kept means at most {limit}."
        rivals = [p for p in others if p in set(judged.pruner)] or [_BESIDE]
        of_setting = table[(table.dataset == rows.dataset.iloc[0]) & (table.model == rows.model.iloc[0])]
        gaps = {rival: _gaps(of_setting, pruner, rival, rows.sparsity) for rival in rivals}
        compared = [_beside(rival, found) for rival, found in gaps.items() if found]
        sentences.append([_in_short(setting, rows, gaps), said, _at_its_best(judged, pruner), *compared])
    return _of_studies(sentences or [[f"This profile holds no record of {called(pruner)}."]])


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
        f"{'are' if unknown > 1 else 'is'} undecided, {len(lost) or 'none'} certainly lost{f': {_listed(lost)}' if lost else ''}."
    )


def _width(low: float, high: float) -> float:
    return math.inf if math.isnan(low) else high - low


_COMPARED = {"pass": "certainly higher", "undecided": "undecided", "fail": "certainly lower"}


def _in_short(setting: str, rows: pd.DataFrame, gaps: Mapping[str, Mapping[float, Interval]]) -> str:
    """Say where a pruner is certainly within the tolerance of dense, and certainly more or less accurate than others."""
    allowed, verdicts = _points(rows.iloc[0]), dict(zip(rows.sparsity, rows.verdict, strict=True))
    said = [_certainly(f"at most {allowed} less", f"more than {allowed} less", "dense", verdicts)]
    said += [
        _certainly("more", "less", called(other), _signs(found)) for other, found in gaps.items() if found
    ]
    return f"{setting}In short: {_is(rows.pruner.iloc[0])} {'; '.join(said)}."


def _of_sparsity(said: str) -> str:
    """Name the first per cent a sparsity, where bare ones could be accuracies."""
    return said.replace("%", "% sparsity", 1)


def _points(row: Any) -> str:
    """Return by how many points of accuracy a judged row may lie below dense."""
    return _number(row.tolerance, metrics.describe("accuracy"), change=True)


def _certainly(good: str, bad: str, other: str, verdicts: Mapping[float, str]) -> str:
    """Say where a comparison is certainly ``good``, or where it never is, where it is certainly ``bad``."""
    for verdict, word in (("pass", good), ("fail", bad)):
        if verdict in verdicts.values():
            words = {verdict: f"certainly {word} accurate than {other}"}
            return _of_sparsity(reach(list(verdicts), list(verdicts.values()), words))
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
    points = _rounded(100 * gap, 100 * low, 100 * high)
    interval = "no interval" if math.isnan(low) else f"95% interval {points[1]} to {points[2]}"
    return (
        f"Test accuracy beside {called(other)}: {_of_sparsity(reach(list(signs), list(signs.values()), _COMPARED))}; "
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
    if first := _losses(rows):
        lowest = float(rows.sparsity[rows.verdict == "fail"].min())
        return f"First lost by {called(pruner)}, at {percent(lowest)}: {first}."
    return f"{opening(called(pruner))}: nothing is certainly lost at any sparsity."


def _losses(rows: pd.DataFrame) -> str:
    """Return the metrics that are lost at the lowest sparsity at which any is; nothing where none is lost."""
    lost = rows.loc[rows.verdict == "fail"]
    first = lost.loc[lost.sparsity == lost.sparsity.min()].metric
    return _listed(metrics.describe(m).short for m in first) if len(first) else ""


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
        f"{which}: {_priced(str(row.pruner), costs)} ({_difference(row, metrics.describe('accuracy'))})."
        for which, row in (
            ("Most accurate in the mean", at.loc[at.difference.idxmax()]),
            ("Cheapest", at.loc[at.pruner.map(costs).idxmin()]),
        )
    )
    return Answer((said, f"{' '.join(ends)} Differences are to the dense network."))


def _priced(pruner: str, costs: Mapping[str, float]) -> str:
    return f"{called(pruner)}, found for {costs[pruner]:.2g} dense trainings"


def tale(table: pd.DataFrame) -> Answer:
    """Tell the study in two sentences or three: what the sparsest accurate lottery ticket is, beside dense, and how many tickets keep
    everything. "Better" is said where the interval of the difference leaves out zero, "worse" of what is certainly lost, and
    what is undecided is called so. The third says how many were trained once.

    Example:
        >>> from lotterylib.results import example
        >>> tale(example()).sentences[1][:38]
        'Of 3 pruned networks, 1 certainly keep'
    """
    return _of_studies([[f"{where}{s}" for s in _tale(table, rows)] for where, rows in _settings(table)])


def _tale(table: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    pruner = _lead(judged)
    level, _ = headline(judged, pruner)
    at = judged.loc[(judged.pruner == pruner) & ((judged.sparsity - level).abs() < 1e-6)]
    sides = [
        sign_of(low, high, metrics.describe(m).direction)
        for m, low, high in zip(at.metric, at.low, at.high, strict=True)
    ]
    kept, open_ = at.verdict == "pass", at.verdict == "undecided"
    # an accuracy that is kept is told with its difference
    behind = (np.array(sides) < 0) & ~(kept & (at.metric == "accuracy"))
    good, worse = _told(at[kept & ~behind], kept=True), _told(at[at.verdict == "fail"])
    slightly, unknown = _told(at[open_ & behind]), _told(at[open_ & ~behind])
    told = ", but ".join(_listed(words) for words in (good, worse) if words)
    said = f"With {percent(level)} of the weights removed, {_is(pruner)} "
    said += f"{told or 'in nothing certainly better or worse than the dense network'}{_over_same_weights(table, at)}."
    for widened, rows in at[kept & behind].groupby("widened"):
        if forgiven := _told(rows):
            said += f" They are {_listed(forgiven)}, by less than {_forgiven(bool(widened))}."
    if slightly:
        said += f" They are {_listed(slightly)}, perhaps within the tolerance."
    if unknown:
        said += f" Undecided is whether they are {_listed(unknown, 'or')}."
    here = table[(table.dataset == at.dataset.iloc[0]) & (table.model == at.model.iloc[0])]
    if left := not_judged(here):
        said += f" {left}"
    whole = lth_pass(here)
    counts = whole.lth_pass.value_counts()
    once = int((judged.groupby(["pruner", "sparsity"]).seeds.max() == 1).sum())
    alone = []
    if once > 0 and len(whole) > 1:
        alone = [
            f"{once} of these were trained once: what is certain is so of that training, not yet of the method."
        ]
    return [
        said,
        f"Of {len(whole)} pruned networks, {counts.get('pass', 0) or 'none'} certainly keep all {judged.metric.nunique()} metrics, "
        f"{counts.get('fail', 0)} certainly lose one or more, and of {counts.get('undecided', 0)} the study cannot tell.",
        *alone,
    ]


def _over_same_weights(table: pd.DataFrame, at: pd.DataFrame) -> str:
    """Say how curved the loss is over the weights that both networks have, where the records know it of tickets ``at`` one
    sparsity: the paper's measure counts fewer weights of the sparser network."""
    where = (table.pruner == at.pruner.iloc[0]) & ((table.sparsity - at.sparsity.iloc[0]).abs() < 1e-6)
    where &= (table.dataset == at.dataset.iloc[0]) & (table.model == at.model.iloc[0])
    wide = table[where].pivot_table(index="seed", columns="metric", values="value")
    if not {"hessian_trace", "hessian_trace:control"} <= set(wide):
        return ""
    ratios = (wide["hessian_trace"] / wide["hessian_trace:control"]).dropna()
    return (
        f"; over the same weights their loss is {ratios.mean():.2g} times as curved as the dense network's"
        if len(ratios)
        else ""
    )


def _told(at: pd.DataFrame, *, kept: bool = False) -> list[str]:
    """Return words for metrics: where they are ``kept``, of those that are certainly better than dense; else what worse is."""
    words = []
    for row in at.itertuples():
        about = metrics.describe(str(row.metric))
        word = about.words[0 if kept else 1]
        if about.name == "accuracy":
            better = (
                "more accurate than" if sign_of(row.low, row.high, about.direction) > 0 else "as accurate as"
            )
            word = f"{better if kept else 'less accurate than'} the dense network ({_difference(row, about)})"
        elif kept and sign_of(row.low, row.high, about.direction) <= 0:
            word = ""
        if word:
            words.append((metrics.names().index(about.name), word))
    return [w for _, w in sorted(words)]


def better_than_dense(table: pd.DataFrame) -> Answer:
    """Answer which pruned networks are better than the dense one: certainly so in every metric, or in some while none is lost;
    and how many comparisons chance alone decides so.

    Example:
        >>> from lotterylib.results import example
        >>> print(better_than_dense(example()))
        Certainly better than the dense network in all 2 metrics: none of 3 pruned networks. Certainly
        better in some, and certainly lost in none: none. Of 6 comparisons, chance alone makes up to 0.15 look
        certainly better.
    """
    said = [f"{where}{_better(table, rows)}" for where, rows in _settings(table)]
    return _of_studies([[s] for s in said])


def _better(table: pd.DataFrame, judged: pd.DataFrame) -> str:
    key = ["pruner", "sparsity"]
    here = table[(table.dataset == judged.dataset.iloc[0]) & (table.model == judged.model.iloc[0])]
    won = passes(here, strict=True).groupby(key).verdict.agg(lambda found: (found == "pass").sum())
    lost = judged.groupby(key).verdict.agg(lambda found: (found == "fail").sum())
    won, count = won.loc[lost.index], judged.metric.nunique()
    whole = won.index[won == count]
    part = won[(won > 0) & (won < count) & (lost == 0)]
    said = (
        f"Certainly better than the dense network in all {count} metric{'s' * (count > 1)}: "
        f"{_networks_named(whole) or 'none'} of {len(won)} pruned networks. Certainly better in some, and certainly lost in none: "
    )
    chance = f"Of {len(judged):,} comparisons, chance alone makes up to {_LUCK * len(judged):.2g} look certainly better."
    if part.empty:
        return f"{said}none. {chance}"
    most = part.index[part == part.max()]
    foremost = "foremost" if (part < part.max()).any() else "namely"
    each = "each " * (len(most) > 1)
    return f"{said}{len(part)}, {foremost} {_networks_named(most)} ({each}better in {part.max()}). {chance}"


def _networks_named(which: pd.Index) -> str:
    return _listed(f"{called(p)} at {percent(s)}" for p, s in which) if len(which) else ""


def alike(table: pd.DataFrame) -> Answer:
    """Say how far two studies agree: on the same method, sparsity and metric, where both are certain and judge by the same kind
    of limit, and which verdicts contradict each other. Nothing is said of one study.

    Example:
        >>> from lotterylib.results import example
        >>> print(alike(pd.concat([example(), example().assign(dataset="cifar10")])))
        LeNet on CIFAR-10 and LeNet on scikit-learn's digits share 6 verdicts: same method, sparsity and
        metric, same kind of limit. In 6 both are certain: 6 agree.
    """
    settings = by_setting(judge_study(table))
    if len(settings) < 2:
        return Answer(())
    one, other = (rows.assign(sparsity=rows.sparsity.round(3)) for _, _, rows in settings[:2])
    both = one.merge(other, on=["pruner", "sparsity", "metric"], suffixes=("", "_other"))
    # a limit that one study has widened to what a retraining costs forgives what the other's does not
    unlike = both[both.widened != both.widened_other]
    both = both.drop(index=unlike.index)
    sure = both[(both.verdict != "undecided") & (both.verdict_other != "undecided")]
    differ = sure[sure.verdict != sure.verdict_other]
    first, second = (setting_name(m, d) for d, m, _ in settings[:2])
    said = (
        f"{first} and {second} share {len(both)} verdicts: same method, sparsity and metric, same kind of limit. "
        f"In {len(sure)} both are certain"
    )
    if len(sure):
        said += f": {len(sure) - len(differ)} agree"
    if len(differ):
        kept = differ.verdict.map({"pass": first, "fail": second})
        counts = pd.concat([differ.metric, kept], axis=1).value_counts(sort=False).items()
        where = _listed(f"{metrics.describe(str(m)).short} ({n}, kept only by {k})" for (m, k), n in counts)
        said += f" and {len(differ)} do not: {where}"
    if len(unlike):
        named = _listed(metrics.describe(m).short for m in unlike.metric.unique())
        said += (
            f". Not compared are {len(unlike)} more, of {named}: only one of the studies has trained enough dense networks to "
            "know what a retraining changes, and allows as much"
        )
    return Answer((f"{said}.",))


def tiles(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return what is kept of each dimension, all of its metrics together: dimension → sentences on lottery tickets ("lead"), on
    random pruning ("beside"), and on the first of them sparsity by sparsity ("steps"). Of the first setting of the table.

    Example:
        >>> from lotterylib.results import example
        >>> tiles(example())["calibration"]["lead"]
        'Lottery tickets: kept at every sparsity; at 50%, 1 of 1 metrics kept.'
    """
    found = _settings(table)
    return {d: _tile(found[0][1] if found else None, d) for d in DIMENSIONS}


def _tile(judged: pd.DataFrame | None, dimension: str) -> dict[str, str]:
    rows = pd.DataFrame() if judged is None else judged.loc[judged.dimension == dimension]
    if judged is None or rows.empty:
        return {"lead": "Not measured under this profile.", "beside": "", "steps": ""}
    lead = _lead(judged)
    level, _ = headline(judged, lead)
    at = rows.loc[(rows.pruner == lead) & ((rows.sparsity - level).abs() < 1e-6)]
    kept = f"at {percent(level)}, {(at.verdict == 'pass').sum()} of {len(at)} metrics kept"
    open_ = [metrics.describe(str(m)).short for m in at.metric[at.verdict == "undecided"]]
    if open_:
        kept += f", {len(open_) if len(open_) > _NAMED else _listed(open_)} undecided"
    said = [_as_a_whole(rows, p) for p in _pair(judged, lead)]
    return {
        "lead": f"{said[0].removesuffix('.')}; {kept}.",
        "beside": said[1] if len(said) > 1 else "This study has no random pruning.",
        "steps": _steps(rows.loc[rows.pruner == lead]),
    }


def _steps(rows: pd.DataFrame) -> str:
    counts = rows.groupby("sparsity").verdict.value_counts().unstack(fill_value=0)
    told = (
        f"{percent(float(str(level)))}: "
        + ", ".join(f"{count[v]} {word}" for v, word in _WORDS.items() if count.get(v, 0))
        for level, count in counts.iterrows()
    )
    return f"Of {rows.metric.nunique()} metrics, {'; '.join(told)}."


def _as_a_whole(rows: pd.DataFrame, pruner: str) -> str:
    of = rows.loc[rows.pruner == pruner]
    whole = of.groupby("sparsity").verdict.agg(together)
    told = f"{opening(called(pruner))}: {reach(list(whole.index), list(whole))}"
    first = _losses(of)
    return f"{told}, first in {first}." if first else f"{told}."
