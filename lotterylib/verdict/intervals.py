"""Intervals: the one home of Student, Welch, Wilson and Newcombe, and the tables that carry them.

One convention everywhere: an interval that the data do not give has NaN bounds. One training says nothing about others,
so it has an interval only where an error over images (or a prior, see ``moderation``) is known.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import DataError, SettingError
from .moderation import FEWEST, SHARED, Prior
from .regions import Region, regions

NETWORK = ["dataset", "model", "pruner", "sparsity"]
# of which a study has one dense mean, one tolerance, and one retraining band
SETTING = ["dataset", "model", "metric"]
# the pruner of dense networks trained anew
CONTROL = "control"
# the unit of metrics that count images
SHARE = "fraction of images"


class Interval(NamedTuple):
    """A mean, the bounds of its interval (NaN where there is none) and how many numbers it is the mean of."""

    mean: float
    low: float
    high: float
    size: int


def student(error: float, freedom: float = math.inf, confidence: float = 0.95) -> float:
    """Return half the width of Student's interval, t(ν) · ``error``; NaN for an unknown error or no freedom.

    >>> round(student(1.0), 2), round(student(1.0, freedom=2), 2)
    (1.96, 4.3)
    """
    return _quantile(freedom, (1 + confidence) / 2) * error


@functools.lru_cache(maxsize=4096)
def _quantile(freedom: float, share: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(freedom) else stdtrit(freedom, share))


def interval(
    values: Iterable[float],
    errors: Iterable[float] = (),
    confidence: float = 0.95,
    prior: Prior | None = None,
) -> Interval:
    """Return the mean over trainings with its two-sided interval.

        v₁ = s²/S between S trainings,   v₂ = mean of the squared errors over images
        mean ± t(ν) · √(v₁ + v₂),   ν = (v₁ + v₂)² · f / v₁²,   f = S − 1    (Welch, 1947; Satterthwaite, 1946)

    All trainings see the same images, so v₂ does not shrink with S. Part of it shows up between trainings as well: the
    interval is on the safe side. Without errors it is Student's. One value has the images' interval alone (v₁ = 0), or
    none (NaN bounds) where its error is unknown too. A value that is NaN leaves no mean: a broken network of three is not a
    mean of two.

    ``values`` has one number per training, ``errors`` their standard errors over images; unknown ones (NaN) are left out.
    ``prior`` moderates s², and adds its degrees of freedom to f.

    >>> [round(x, 2) for x in interval([0.1, 0.2, 0.3])]
    [0.2, -0.05, 0.45, 3]
    """
    numbers, known = (np.fromiter(given, float) for given in (values, errors))
    known, count = known[~np.isnan(known)], len(numbers)
    mean = float(numbers.mean()) if count else math.nan
    variance, freedom = (float(numbers.var(ddof=1)), count - 1) if count > 1 else (0.0, 0)
    if prior is not None:
        variance, freedom = prior.moderate(variance, freedom)
    between = variance / max(count, 1)
    # One training without an error and without a prior says nothing about others.
    images = float((known**2).mean()) if len(known) else 0.0 if freedom else math.nan
    spread = between + images
    ratio = spread / between if between > 0 else math.inf
    half = student(math.sqrt(spread), freedom * ratio * ratio if freedom else math.inf, confidence)
    return Interval(mean, mean - half, mean + half, count)


def proportion(successes: int, of: int, confidence: float = 0.95) -> Interval:
    """Return a proportion with Wilson's score interval, which never leaves [0, 1] nor shrinks to nothing.

        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)    (Wilson, 1927)

    >>> [round(x, 3) for x in proportion(20, 20)]
    [1.0, 0.839, 1.0, 20]
    """
    if not 0 <= successes <= of or of < 1:
        raise SettingError(f"want 0 ≤ successes ≤ of and of ≥ 1, got {successes} of {of}")
    share, z = successes / of, student(1.0, confidence=confidence)
    middle, scale = share + z * z / (2 * of), 1 + z * z / of
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
    # At the ends rounding must not leave the estimate outside.
    return Interval(share, min(low, share), max(high, share), of)


def paired_proportions(
    both: int, first: int, second: int, neither: int, confidence: float = 0.95
) -> Interval:
    """Return the difference p₁ − p₂ of two proportions of the same images, with Newcombe's interval.

        p₁ − p₂ − √(a² − 2φ·a·b + b²),   a = p₁ − l₁,  b = u₂ − p₂   (and likewise above)

    where l, u are Wilson's limits and φ is the correlation of the two answers with Newcombe's continuity correction. The
    interval stays in [−1, 1]; two networks that are right on 20 of 20 images differ by −.16 to .16, not by nothing.
    Counted are the images that both networks, only the first, only the second, or neither gets right.

    Source:
        Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10.

    >>> [round(x, 3) for x in paired_proportions(20, 0, 0, 0)]
    [0.0, -0.161, 0.161, 20]
    """
    if min(both, first, second, neither) < 0:
        raise SettingError("counts of images must be 0 or more")
    count = both + first + second + neither
    one, two = (proportion(both + only, count, confidence) for only in (first, second))
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    excess = both * neither - first * second
    if excess > 0:
        excess = max(excess - count / 2, 0.0)
    phi = excess / math.sqrt(product) if product else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    difference = (first - second) / count
    below = reach(one.mean - one.low, two.high - two.mean)
    above = reach(one.high - one.mean, two.mean - two.low)
    return Interval(difference, difference - below, difference + above, count)


def error_unseen(error: float, images: float) -> float:
    """Return the standard error of a difference that is 0 on each of so many images: others may be answered otherwise.

        error · √(2u),   u = z²/(N + z²)

    u is Wilson's limit of the share of such images, having seen none; on them the networks count as independent. ``error``: of
    one network's own value over the images. NaN for a single image, which says nothing of others.

    >>> round(error_unseen(0.01, 1000), 5)
    0.00087
    """
    return error * math.sqrt(2 * proportion(0, round(images)).high) if images >= 2 else math.nan


def differences(table: pd.DataFrame, confidence: float = 0.95, *, moderated: bool = False) -> pd.DataFrame:
    """Return ticket − dense of the same seed, over seeds, with the interval that ``interval`` gives.

    ``table`` is from ``results.tidy``; rows without a difference (dense itself, old records) are left out, and ``DataError``
    is raised if none has one.

    ``moderated`` pools the variances between seeds over the tickets of a metric (``moderation.Prior``): those in the accuracy
    region of winning tickets, and all others, whose spread is another; fewer than ``moderation.FEWEST`` are left alone. Controls
    borrow from the tickets and lend them nothing.

    An error of 0 over images, of two networks that no image tells apart, is no certainty: shares of images have at least the
    error of Newcombe's interval for it, other metrics that of ``error_unseen``.

    Returns:
        One row per (dataset, model, metric, pruner, sparsity): the mean ``difference``, ``low``, ``high``, the number of
        ``seeds``, their ``sd``, the pooled ``prior_sd`` with its ``prior_freedom`` (NaN where nothing is pooled), the mean
        ``dense`` value, and that of the ticket's seeds alone, ``dense_beside``.

    Example:
        >>> from lotterylib.results import example
        >>> differences(example())[["metric", "pruner", "sparsity", "seeds"]].values.tolist()[0]
        ['accuracy', 'lottery', 0.5, 2]
    """
    whole = table[table.pruner == "dense"]
    dense = whole.groupby(SETTING).value.mean().rename("dense").reset_index()
    by_seed = whole.groupby([*SETTING, "seed"]).value.first().rename("dense_beside").reset_index()
    tickets = table[table.difference.notna() | (table.value.isna() & (table.pruner != "dense"))]
    if tickets.empty:
        raise DataError("no record says how far a ticket lies from its dense network: measure it again")
    winning = _winning(table) if moderated else set()
    marked = tickets.assign(
        winning=[key in winning for key in tickets[NETWORK].itertuples(index=False, name=None)],
        difference_error=np.maximum(tickets.difference_error, _least_error(tickets)),
    )
    groups: Any = marked.groupby([*SETTING, "winning", "pruner", "sparsity"])
    spread = groups.difference.agg(["var", "count", "std"])
    # arrays: a table for each ticket, or for each metric, would take most of the time
    gaps, errors = (marked[name].to_numpy(float) for name in ("difference", "difference_error"))
    variances, counts, sds = (spread[name].to_numpy(float) for name in ("var", "count", "std"))
    # so that a table says the same of its tickets with its controls and without
    lends = (spread.index.get_level_values("pruner") != CONTROL) & ~np.isnan(variances)
    rows, names, places = [], list(spread.index), groups.indices
    for of_setting in spread.groupby(level=[*SETTING, "winning"]).indices.values():
        known = of_setting[lends[of_setting]]
        enough = moderated and len(known) >= FEWEST
        prior = Prior.fit(variances[known], counts[known] - 1, SHARED) if enough else None
        pooled = (math.sqrt(prior.variance), prior.freedom) if prior else (math.nan, math.nan)
        for one in of_setting:
            *setting, _, pruner, sparsity = names[one]
            place = places[names[one]]
            found = interval(gaps[place], errors[place], confidence, prior)
            rows.append((*setting, pruner, sparsity, *found, sds[one], *pooled))
    columns = [*SETTING, "pruner", "sparsity", "difference", "low", "high", "seeds", "sd", "prior_sd"]
    found = pd.DataFrame(rows, columns=pd.Index([*columns, "prior_freedom"]))
    ticket = [*SETTING, "pruner", "sparsity"]
    paired = tickets[tickets.difference.notna()].merge(by_seed, on=[*SETTING, "seed"], how="left")
    beside = paired.groupby(ticket).dense_beside.mean().reset_index()
    found = found.sort_values(ticket, ignore_index=True).merge(dense, on=SETTING, how="left")
    return found.merge(beside, on=ticket, how="left")


def _winning(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Return the networks in the first region of accuracy; none where the table does not say."""
    if not ((table.metric == "accuracy") & (table.pruner == "dense")).any():
        return set()
    found = regions(table)
    return set(found[found.region == Region.I][NETWORK].itertuples(index=False, name=None))


def _least_error(rows: pd.DataFrame) -> list[float]:
    """Return the error over images that a difference on the same images has at least, NaN where it cannot be known."""
    counted = {m: m in metrics.names() and metrics.describe(m).unit == SHARE for m in rows.metric.unique()}

    def least(metric: str, value: float, error: float, samples: float, seen: float) -> float:
        if not counted[metric]:
            return error_unseen(error, samples) if seen == 0 else 0.0
        if not (samples >= 1 and 0 <= value <= 1):
            return 0.0
        both = round(value * samples)
        found = paired_proportions(both, 0, 0, round(samples) - both)
        return max(found.high, -found.low) / student(1.0)

    numbers = (rows[name].astype(float) for name in ("value", "error", "samples", "difference_error"))
    return [least(*row) for row in zip(rows.metric, *numbers, strict=True)]


def over_seeds(table: pd.DataFrame, metric: str, confidence: float = 0.95) -> pd.DataFrame:
    """Return the mean of one metric over the seeds that have a number, with Student's interval and the accuracy region.

    One row per (dataset, model, pruner, sparsity): ``value``, ``low``, ``high``, ``seeds``, ``region``. Raises ``DataError``
    without records of the metric.

    Example:
        >>> from lotterylib.results import example
        >>> over_seeds(example(), "accuracy").value.round(3).tolist()
        [0.9, 0.898, 0.85, 0.4]
    """
    chosen = table[table.metric == metric]
    if chosen.empty:
        known = ", ".join(sorted(table.metric.unique()))
        raise DataError(f"no records of metric {metric!r}; there are: {known}")
    groups: Any = chosen.groupby(NETWORK).value
    rows = [(*key, *interval(values.dropna(), confidence=confidence)) for key, values in groups]
    means = pd.DataFrame(rows, columns=pd.Index([*NETWORK, "value", "low", "high", "seeds"]))
    return means.merge(regions(table), on=NETWORK, how="left")


def paired_gap(
    table: pd.DataFrame, metric: str, pruner: str, other: str, sparsity: float, confidence: float = 0.95
) -> Interval:
    """Return the mean difference ``pruner`` − ``other`` at one sparsity over the seeds that both have.

    Seeds are paired: both start from the same initial weights. The interval of a difference of shares ends at −1 and 1,
    which Student's does not know. Raises ``DataError`` without a common seed.

    Example:
        >>> from lotterylib.results import example
        >>> round(paired_gap(example(), "accuracy", "lottery", "random", sparsity=0.5).mean, 3)
        0.498
    """
    one, two = (_by_seed(table, metric, name, sparsity) for name in (pruner, other))
    found = _paired(one, two, confidence)
    if metrics.describe(metric).percent:
        found = found._replace(low=max(found.low, -1.0), high=min(found.high, 1.0))
    return found


def paired_change(
    before: pd.DataFrame,
    after: pd.DataFrame,
    metric: str,
    pruner: str,
    sparsity: float,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean ``after`` − ``before`` of one network over the seeds that two studies share (say, one trains longer).

    Raises ``DataError`` without a common seed.

    Example:
        >>> from lotterylib.results import example
        >>> round(paired_change(example(), example(), "accuracy", "lottery", sparsity=0.5).mean, 3)
        0.0
    """
    one, two = (_by_seed(table, metric, pruner, sparsity) for table in (after, before))
    return _paired(one, two, confidence)


def _by_seed(table: pd.DataFrame, metric: str, pruner: str, sparsity: float) -> pd.Series:
    at = (table.metric == metric) & (table.pruner == pruner) & ((table.sparsity - sparsity).abs() < 1e-6)
    series = table[at].set_index(["dataset", "model", "seed"]).value
    return series.rename(f"{metric} of {pruner} at sparsity {sparsity:.3f}")


def _paired(first: pd.Series, second: pd.Series, confidence: float) -> Interval:
    gap = (first - second).dropna()
    if gap.empty:
        raise DataError(f"{first.name} and {second.name} have no seed in common")
    return interval(gap, confidence=confidence)
