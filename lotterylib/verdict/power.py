"""Power before spending: how many trainings and images a verdict needs at its tolerance.

The model is that of ``intervals.interval``: differences vary between trainings with a variance, all trainings share the
images' error, and the ticket is truly as good as dense. Such a network passes where the bad end of its interval stays
within the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import SettingError
from .moderation import FEWEST, SHARED, together
from .retraining import CONTROL, of_table, usual


def power(
    between: float,
    images: float,
    tolerance: float,
    seeds: int,
    confidence: float = 0.95,
    nodes: int = 400,
    tickets: int = 1,
) -> float:
    """Return the probability that a network truly equal to dense passes one metric.

        P = E[ Φ((tolerance − t(ν̂) √(s²/S + v)) / √(σ²/S + v)) ]   over s² ~ σ² χ²(f)/f, by quantiles

    with f = S − 1, or where ``tickets`` of one variance lend each other theirs, what ``moderation`` gives them together.

    Args:
        between: Variance σ² of the difference to dense between trainings.
        images: Squared paired error v over images.
        seeds: Trainings S, 2 or more.
        nodes: Quantiles of s² that the mean is taken over.
        tickets: How many of the study's are judged together; fewer than ``moderation.FEWEST`` are not.

    >>> round(power(between=0.0036**2, images=0.0, tolerance=0.01, seeds=3), 2)
    0.69
    """
    from scipy.stats import chi2, norm, t

    if seeds < 2 or between < 0 or images < 0 or not tolerance > 0:
        raise SettingError("want two seeds or more, variances of 0 or more, and a tolerance above 0")
    truth = math.sqrt(between / seeds + images)
    if truth == 0:
        return 1.0
    own = together([seeds - 1] * (tickets if tickets >= FEWEST else 1), SHARED)
    found = between / seeds * chi2.ppf((np.arange(nodes) + 0.5) / nodes, own) / own
    spread = found + images
    with np.errstate(divide="ignore"):
        freedom = own * (spread / found) ** 2 if between > 0 else np.full(nodes, math.inf)
    half = t.ppf((1 + confidence) / 2, freedom) * np.sqrt(spread)
    return float(norm.cdf((tolerance - half) / truth).mean())


def seeds_needed(
    between: float,
    images: float,
    tolerance: float,
    chance: float = 0.8,
    confidence: float = 0.95,
    most: int = 10_000,
    tickets: int = 1,
) -> int | None:
    """Return the fewest seeds with which a network equal to dense passes with probability ``chance``.

    None where no number up to ``most`` will do: the images' own error is too large then, so ask ``images_needed``.

    >>> seeds_needed(between=0.0036**2, images=0.0, tolerance=0.01)
    4
    >>> seeds_needed(between=0.0036**2, images=0.006**2, tolerance=0.01) is None
    True
    """

    return _first(
        lambda s: power(between, images, tolerance, s, confidence, tickets=tickets) >= chance, 2, most
    )


def images_needed(
    between: float,
    images: float,
    tolerance: float,
    seeds: int,
    samples: int,
    chance: float = 0.8,
    confidence: float = 0.95,
    most: int = 10**9,
    tickets: int = 1,
) -> int | None:
    """Return how many images give a network equal to dense the probability ``chance`` to pass with ``seeds`` trainings.

    ``images`` is the squared error over ``samples`` images and falls as their number rises. None where no number up to
    ``most`` will do: the spread between trainings is too large then, so ask ``seeds_needed``.

    >>> images_needed(between=0.0036**2, images=0.006**2, tolerance=0.01, seeds=10, samples=1000)
    3155
    """

    return _first(
        lambda n: (
            power(between, images * samples / n, tolerance, seeds, confidence, tickets=tickets) >= chance
        ),
        1,
        most,
    )


def needed(table: pd.DataFrame, seeds: int, tickets: int = 1, chance: float = 0.8) -> pd.DataFrame:
    """Return what each metric needs to decide at its tolerance, from a pilot of dense networks and controls alone.

    The paired error over images is the median that controls have. Without controls it is that of two networks that are
    measured on different images, which is larger.

    Args:
        table: From ``results.tidy``, of one data set and model.
        seeds: Of the study.
        tickets: Of the study, whose variances are pooled.

    Returns:
        One row per metric with a retraining band: ``tolerance`` (as ``passes`` would judge by), ``sd`` of the difference of two trainings, ``error`` over
        images, ``samples``, the ``chance`` to pass with these seeds, and the ``seeds`` and ``images`` that raise it to
        ``chance``, each with the other as it is (NaN: no number does, or there is one seed, which says nothing of others).
    """
    rows, costs = {}, usual(table)
    for key, band in of_table(table).items():
        metric = key[2]
        measured = table[table.metric == metric]
        again, own = (measured[measured.pruner == pruner] for pruner in (CONTROL, "dense"))
        # what is measured relative to dense is a difference of two trainings already
        between = band.sd**2 * (2 if own.value.nunique() > 1 else 1)
        paired = again.difference_error.median()
        error = np.nan_to_num(2**0.5 * own.error.median() if np.isnan(paired) else paired)
        samples = measured.samples.median()
        tolerance = max(metrics.describe(metric).tolerance.of(own.value.mean()), costs.get(key, 0.0))
        how = (between, float(error) ** 2, tolerance)
        countable = error > 0 and samples >= 1
        rows[metric] = {
            "tolerance": tolerance,
            "sd": between**0.5,
            "error": float(error),
            "samples": samples,
            "chance": power(*how, seeds, tickets=tickets) if seeds > 1 else math.nan,
            "seeds": seeds_needed(*how, chance, most=1000, tickets=tickets),
            "images": images_needed(*how, seeds, int(samples), chance, tickets=tickets)
            if countable and seeds > 1
            else None,
        }
    found = pd.DataFrame.from_dict(rows, orient="index").astype(float)
    return found.reindex([name for name in metrics.names() if name in found.index])


def _first(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the lowest whole number that is enough, by bisection; None if ``high`` is not."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
