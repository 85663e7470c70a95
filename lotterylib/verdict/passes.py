"""Does a ticket hold up? Regions of accuracy, after Chen et al. (2022), and LTH-PASS: every metric at once.

A ticket passes a metric if it is, beyond the doubt that seeds and test images leave, no worse than the dense network of
the same seeds by more than a tolerance. Whether it is pass, fail or undecided is read off the interval of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pandas as pd

from .. import metrics
from ..errors import DataError, SettingError, UnknownNameError
from ..metrics import Tolerance

Verdict = Literal["pass", "fail", "undecided"]


def judge(low: float, high: float, direction: Literal["higher", "lower"], tolerance: float) -> Verdict:
    """The verdict on a difference, ticket − dense, that lies between ``low`` and ``high``.

    "pass": even the bad end of the interval is within ``tolerance`` of dense, on the side that ``direction`` says is
    worse; "fail": even the good end is not; "undecided": the interval has the limit inside. A tolerance of 0 asks for
    better than dense, and an exact tie will do. Raises ``SettingError`` for an interval that is none, a negative
    tolerance, or a direction that is neither.
    """
    if direction not in ("higher", "lower"):
        raise SettingError(f"direction must be 'higher' or 'lower', got {direction!r}")
    if not low <= high or not tolerance >= 0:
        raise SettingError(
            f"want low ≤ high and a tolerance of 0 or more, got {low} to {high}, tolerance {tolerance}"
        )
    worst, best = (low, high) if direction == "higher" else (-high, -low)
    if worst >= -tolerance:
        return "pass"
    return "fail" if best < -tolerance else "undecided"


def passes(
    records: pd.DataFrame | Iterable[Mapping[str, Any]],
    *,
    strict: bool = False,
    scale: float = 1.0,
    tolerances: Mapping[str, Tolerance] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """A verdict a ticket and metric: ``results.differences`` with the columns ``dimension``, ``tolerance`` (in the
    metric's unit) and ``verdict``.

    ``records``: of a study, or the table that ``results.tidy`` makes of them. ``strict`` asks for better than dense in
    place of comparable; ``scale`` multiplies all tolerances. A metric that could not be measured on a ticket (a constant
    network has no fidelity) is a fail; one seed of a metric without an error leaves it undecided. Only metrics of
    ``tolerances`` (default: each metric's own) are judged, no variants.

    Raises ``DataError`` if there are no records, ``UnknownNameError`` for a tolerance of no metric.
    """
    from ..results import differences, tidy

    if tolerances is None:
        tolerances = {name: metrics.describe(name).tolerance for name in metrics.names()}
    for name in tolerances:
        if name not in metrics.names():
            raise UnknownNameError("metric", name, metrics.names())
    table = records if isinstance(records, pd.DataFrame) else tidy(records)
    found = differences(table[table.metric.isin(tolerances)], confidence)
    about = {name: metrics.describe(name) for name in found.metric.unique()}
    found["dimension"] = [about[m].dimension for m in found.metric]
    found["tolerance"] = [
        0.0 if strict else scale * tolerances[m].of(d) for m, d in zip(found.metric, found.dense, strict=True)
    ]
    found["verdict"] = [_verdict(row, about[row.metric].direction) for row in found.itertuples()]
    return found


def _verdict(row: Any, direction: Literal["higher", "lower"]) -> Verdict:
    if math.isnan(row.difference):
        return "fail"
    return "undecided" if math.isnan(row.low) else judge(row.low, row.high, direction, row.tolerance)


TICKET = ["dataset", "model", "pruner", "sparsity"]


def together(verdicts: Iterable[str]) -> Verdict:
    """One fail is a fail; else one undecided is undecided; else it is a pass."""
    found = set(verdicts)
    return next((v for v in ("fail", "undecided") if v in found), "pass")


def lth_pass(results: pd.DataFrame | Iterable[Mapping[str, Any]], **how: Any) -> pd.DataFrame:
    """Does a ticket hold up in every measured metric of all four dimensions at once? A row a (dataset, model, pruner,
    sparsity) with a ``verdict`` for each dimension and ``lth_pass`` for all, the counts ``passed``, ``failed`` and
    ``undecided``, and ``fails``, the metrics that it failed.

    ``results`` and ``how`` as in ``passes``. A claim about all metrics needs no correction for testing many: that a
    ticket which is worse in one of them passes all is no more likely than that it passes that one (an intersection-union
    test, Berger, 1982). That it *fails* one of many by chance is likelier than that it fails a given one.
    """
    rows = []
    for key, group in passes(results, **how).groupby(TICKET):
        by_dimension = group.groupby("dimension").verdict.agg(together).to_dict()
        counts = group.verdict.value_counts()
        rows.append(
            dict(zip(TICKET, key, strict=True))
            | by_dimension
            | {"lth_pass": together(group.verdict)}
            | {column: int(counts.get(v, 0)) for column, v in _COUNTS.items()}
            | {"fails": ", ".join(group[group.verdict == "fail"].metric)}
        )
    return pd.DataFrame(rows)


_COUNTS = {"passed": "pass", "failed": "fail", "undecided": "undecided"}


def limits(judged: pd.DataFrame) -> pd.DataFrame:
    """Up to which sparsity does a pruner pass a metric, at that level and at every lower one? A row a (dataset, model,
    pruner), a column a metric; NaN where it does not pass the lowest. ``judged``: from ``passes``."""

    def last(group: pd.DataFrame) -> float:
        ordered = group.sort_values("sparsity")
        unbroken = (ordered.verdict == "pass").cummin()
        return ordered.sparsity[unbroken].max()

    keys = ["dataset", "model", "pruner", "metric"]
    ends = judged.groupby(keys)[["sparsity", "verdict"]].apply(last).rename("last")
    return ends.unstack("metric")


def resolution(judged: pd.DataFrame) -> pd.DataFrame:
    """Could a network as good as dense pass here? A row a metric, medians over the tickets of ``judged`` (from ``passes``):
    ``half``, half the width of the interval, the ``tolerance``, their ``ratio``, and ``able``: half ≤ tolerance.

    Where it is not, an interval around no difference at all reaches beyond the tolerance, so the study cannot tell a
    good network from a worse one: only more seeds or more test images help. Tickets without an interval are left out.
    """
    rows = judged.dropna(subset="low").assign(half=(judged.high - judged.low) / 2)
    found = rows.groupby("metric")[["half", "tolerance"]].median()
    found["ratio"] = found.half / found.tolerance
    return found.assign(able=found.half <= found.tolerance)


def rank_agreement(judged: pd.DataFrame, by: Literal["metric", "dimension"] = "dimension") -> pd.DataFrame:
    """Spearman's rank correlation between metrics or dimensions over all tickets: 1 where both rank them alike.

    Tickets are ranked by their difference to dense in each metric, best first; a dimension's rank is the mean over its
    metrics. Tickets that lack one of them are left out. Raises ``DataError`` for fewer than three tickets.
    """

    wide = judged.pivot_table(index=TICKET, columns="metric", values="difference").dropna()
    if len(wide) < 3:
        raise DataError(f"ranks of {len(wide)} ticket(s) say nothing: want three or more with every metric")
    worse = {m: -1 if metrics.describe(m).direction == "higher" else 1 for m in wide}
    ranks = (wide * pd.Series(worse)).rank()
    if by == "dimension":
        ranks = ranks.T.groupby(lambda m: metrics.describe(m).dimension).mean().T
    return ranks.corr(method="spearman")
