"""Does a ticket hold up? A verdict per metric, and LTH-PASS: every metric at once.

A ticket passes a metric if it is, beyond the doubt that seeds and test images leave, no worse than the dense network of
the same seeds by more than a tolerance: the metric's own, or what a retraining of the dense network usually costs, whichever
is more. Nobody who trains the dense network once can have it better. (Limits that grow with what the reference itself varies
are the rule for medicines of high variability: Haidar et al., 2008.) Whether it is pass, fail or undecided is read off the
interval of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import DataError, SettingError, UnknownNameError
from ..metrics import Tolerance
from ..results import tidy
from .intervals import NETWORK, SETTING, differences
from .retraining import within_retraining

Verdict = Literal["pass", "fail", "undecided"]


def judge(low: float, high: float, direction: Literal["higher", "lower"], tolerance: float) -> Verdict:
    """Return the verdict on a difference, ticket − dense, that lies between ``low`` and ``high``.

    "pass": even the bad end of the interval is within ``tolerance`` of dense, on the side that ``direction`` says is
    worse; "fail": even the good end is not; "undecided": the limit lies inside. A tolerance of 0 asks for better than
    dense, and an exact tie will do. Raises ``SettingError`` for bounds in the wrong order, a negative tolerance, or an
    unknown direction.

    >>> judge(-0.009, 0.004, "higher", 0.01), judge(-0.012, 0.004, "higher", 0.01)
    ('pass', 'undecided')
    """
    if direction not in ("higher", "lower"):
        raise SettingError(f"direction must be 'higher' or 'lower', got {direction!r}")
    if not low <= high or not tolerance >= 0:
        raise SettingError(
            f"want low ≤ high and a tolerance from 0 on, got {low} to {high}, tolerance {tolerance}"
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
    moderated: bool = True,
) -> pd.DataFrame:
    """Judge each ticket in each metric.

    A metric that could not be measured on a ticket (a constant network has no fidelity) is a fail; one seed of a metric
    without an error leaves it undecided. Where a network that knows nothing would pass too, nothing is judged: the metric is left
    out (``unjudged`` names it). Only metrics of ``tolerances`` (default: each metric's own) are judged, no
    variants. Raises ``DataError`` if there are no records, ``UnknownNameError`` for a tolerance of no metric.

    Args:
        records: Of a study, or the table that ``study.table`` or ``results.tidy`` makes of them. Where a table says what a
            retraining costs (its column ``cost``), no tolerance is less.
        strict: Ask for better than dense in place of comparable.
        scale: Multiplies the metrics' own tolerances.
        moderated: Pool the variances between seeds over tickets, see ``differences``.

    Returns:
        ``differences`` with the columns ``dimension``, ``tolerance`` (in the metric's unit), ``widened`` (whether it is what a
        retraining costs), ``verdict``, and ``retraining`` with
        its ``chance``: whether the ticket lies within what a retraining of the dense network changes
        (``retraining.within_retraining``; "unknown" where too few dense networks were trained).

    Example:
        >>> from lotterylib.results import example
        >>> passes(example())[["metric", "pruner", "sparsity", "verdict"]].values.tolist()[0]
        ['accuracy', 'lottery', 0.5, 'pass']
    """
    if tolerances is None:
        tolerances = {name: metrics.describe(name).tolerance for name in metrics.names()}
    for name in set(tolerances) - set(metrics.names()):
        raise UnknownNameError("metric", name, metrics.names())
    table: Any = records if isinstance(records, pd.DataFrame) else tidy(records)
    found = differences(table.loc[table.metric.isin(list(tolerances))], confidence, moderated=moderated)
    about = {name: metrics.describe(name) for name in found.metric.unique()}
    found["dimension"] = [about[m].dimension for m in found.metric]
    own = [scale * tolerances[m].of(d) for m, d in zip(found.metric, found.dense, strict=True)]
    costs = _costs(table)
    cost = [costs.get(key, 0.0) for key in found[SETTING].itertuples(index=False, name=None)]
    limit = np.maximum(own, cost)
    found["tolerance"] = 0.0 if strict else limit
    found["widened"] = (limit > own) & (not strict)
    chances = _chances(table)
    rows = zip(found.dataset, found.model, found.metric, found.dense, limit, strict=True)
    found = found[[not about[m].at_floor(dense, most, chances[d, n]) for d, n, m, dense, most in rows]].copy()
    columns = (found[c] for c in ("metric", "difference", "low", "high", "tolerance"))
    found["verdict"] = [
        _verdict(difference, low, high, about[metric].direction, tolerance)
        for metric, difference, low, high, tolerance in zip(*columns, strict=True)
    ]
    key = [*NETWORK, "metric"]
    again = within_retraining(table, confidence)[[*key, "chance", "retraining"]]
    # two empty tables have columns of objects, which do not merge with numbers
    found = found.merge(again.astype(found[key].dtypes.to_dict()), on=key, how="left")
    return found.assign(retraining=found.retraining.fillna("unknown"))


def unjudged(table: pd.DataFrame) -> pd.DataFrame:
    """Return what ``passes`` leaves out, since a network that knows nothing would pass: one row per (dataset, model, metric) with
    the mean of ``dense``, the ``tolerance``, and the ``floor``, which such a network gets.

    Example:
        >>> from lotterylib.results import example
        >>> len(unjudged(example()))
        0
    """
    means = table[table.pruner == "dense"].groupby(SETTING).value.mean()
    rows, chances = [], _chances(table)
    for key, amount in tolerances(table, metrics.names()).items():
        about, mean, chance = metrics.describe(key[2]), float(means[key]), chances[key[:2]]
        if about.at_floor(mean, amount, chance):
            rows.append((*key, mean, amount, about.floor_at(chance)))
    return pd.DataFrame(rows, columns=pd.Index([*SETTING, "dense", "tolerance", "floor"]))


def tolerances(table: pd.DataFrame, names: Iterable[str]) -> dict[tuple[str, str, str], float]:
    """Return (dataset, model, metric) → the tolerance that ``passes`` judges by, in the metric's unit."""
    dense: Any = table[(table.pruner == "dense") & table.metric.isin(list(names))]
    means, costs = dense.groupby(SETTING).value.mean(), _costs(table)
    own = {key: metrics.describe(key[2]).tolerance.of(mean) for key, mean in means.items()}
    return {key: max(amount, costs.get(key, 0.0)) for key, amount in own.items()}


def _chances(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return (dataset, model) → the share of images that guessing gets right."""
    return table.groupby(SETTING[:2]).chance.first().to_dict()


def _costs(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return (dataset, model, metric) → what a retraining costs, where the table says so."""
    return table.groupby(SETTING).cost.first().dropna().to_dict() if "cost" in table else {}


def _verdict(
    difference: float, low: float, high: float, direction: Literal["higher", "lower"], tolerance: float
) -> Verdict:
    if math.isnan(difference):
        return "fail"
    return "undecided" if math.isnan(low) else judge(low, high, direction, tolerance)


def together(verdicts: Iterable[str]) -> Verdict:
    """Return "fail" if one fails, else "undecided" if one is undecided, else "pass".

    >>> together(["pass", "undecided"])
    'undecided'
    """
    found = set(verdicts)
    return "fail" if "fail" in found else "undecided" if "undecided" in found else "pass"


def lth_pass(results: pd.DataFrame | Iterable[Mapping[str, Any]], **how: Any) -> pd.DataFrame:
    """Judge each ticket in every measured metric of all four dimensions at once.

    A claim about all metrics needs no correction for testing many: that a ticket which is worse in one of them passes all is
    no more likely than that it passes that one (an intersection-union test, Berger, 1982). That it *fails* one of many by
    chance is likelier than that it fails a given one. Arguments as in ``passes``.

    Returns:
        One row per (dataset, model, pruner, sparsity): a verdict for each dimension, ``lth_pass`` for all, the counts
        ``passed``, ``failed`` and ``undecided``, ``fails``, the metrics that it failed, and ``retraining``: "within" where no
        metric is worse than a retraining would explain (at 5% for all of them together, after Bonferroni), else "worse".

    Example:
        >>> from lotterylib.results import example
        >>> lth_pass(example()).lth_pass.tolist()
        ['pass', 'fail', 'fail']
    """
    rows = []
    groups: Any = passes(results, **how).groupby(NETWORK)
    for key, group in groups:
        counts = group.verdict.value_counts()
        rows.append(
            dict(zip(NETWORK, key, strict=True))
            | group.groupby("dimension").verdict.agg(together).to_dict()
            | {"lth_pass": together(group.verdict)}
            | {"passed": int(counts.get("pass", 0)), "failed": int(counts.get("fail", 0))}
            | {"undecided": int(counts.get("undecided", 0))}
            | {"fails": ", ".join(group[group.verdict == "fail"].metric)}
            | {"retraining": _against_retraining(group)}
        )
    return pd.DataFrame(rows)


def _against_retraining(group: pd.DataFrame) -> str:
    known = group[group.retraining != "unknown"]
    if known.empty:
        return "unknown"
    worse = (known.retraining == "worse") & (known.chance < 0.05 / len(known))
    return "worse" if worse.any() else "within"


def limits(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the sparsity up to which a pruner passes a metric, at that level and at every lower one: one row per (dataset,
    model, pruner), one column per metric of ``judged`` (from ``passes``), NaN where the lowest level does not pass.

    Example:
        >>> from lotterylib.results import example
        >>> limits(passes(example())).accuracy.tolist()
        [0.5, nan]
    """
    keys = ["dataset", "model", "pruner", "metric"]
    ordered: Any = judged.sort_values("sparsity")
    unbroken = (ordered.verdict == "pass").groupby([ordered[key] for key in keys]).cummin()
    ends = ordered.sparsity.where(unbroken).groupby([ordered[key] for key in keys]).max()
    return ends.unstack("metric")


def resolution(judged: pd.DataFrame) -> pd.DataFrame:
    """Tell whether a network as good as dense could pass here.

    Where half an interval is wider than the limit (the column ``tolerance`` of ``judged``: the metric's own, or what a
    retraining costs where that is more), an interval around no difference at all reaches beyond it, so the
    study cannot tell a good network from a worse one: only more seeds or more test images help.

    Returns:
        One row per metric, medians over the tickets of ``judged`` (from ``passes``) that have an interval: ``half`` its
        width, the ``tolerance``, their ``ratio``, and ``able``: half ≤ tolerance.

    Example:
        >>> from lotterylib.results import example
        >>> resolution(passes(example())).able.tolist()
        [True, True]
    """
    rows = judged.dropna(subset="low").assign(half=(judged.high - judged.low) / 2)
    found = rows.groupby("metric")[["half", "tolerance"]].median()
    found["ratio"] = found.half / found.tolerance
    return found.assign(able=found.half <= found.tolerance)


def rank_agreement(judged: pd.DataFrame, by: Literal["metric", "dimension"] = "dimension") -> pd.DataFrame:
    """Return Spearman's rank correlation between metrics or dimensions over all tickets: 1 where both rank them alike.

    Tickets are ranked by their difference to dense in each metric, best first; a dimension's rank is the mean over its
    metrics. Both stand in the order of ``metrics.names()``. Tickets that lack one of them are left out. Raises ``DataError``
    for fewer than three tickets.

    Example:
        >>> from lotterylib.results import example
        >>> rank_agreement(passes(example())).round(2).values.tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    wide = judged.pivot_table(index=NETWORK, columns="metric", values="difference").dropna()
    if len(wide) < 3:
        raise DataError(f"ranks of {len(wide)} ticket(s) say nothing: want three or more with every metric")
    worse = {m: -1 if metrics.describe(m).direction == "higher" else 1 for m in metrics.names() if m in wide}
    ranks: Any = (wide[list(worse)] * pd.Series(worse)).rank()
    if by == "dimension":
        ranks = ranks.T.groupby(lambda m: metrics.describe(m).dimension, sort=False).mean().T
    return ranks.corr(method="spearman")
