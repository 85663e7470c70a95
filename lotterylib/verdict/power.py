"""Power before spending: how many trainings and images a verdict needs at its tolerance.

The model is that of ``intervals.interval``: differences vary between trainings with a variance, all trainings share the
images' error, and the ticket is truly as good as dense. Such a network passes where the bad end of its interval stays
within the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import SettingError


def power(
    between: float, images: float, tolerance: float, seeds: int, confidence: float = 0.95, nodes: int = 400
) -> float:
    """Return the probability that a network truly equal to dense passes one metric.

        P = E[ Φ((tolerance − t(ν̂) √(s²/S + v)) / √(σ²/S + v)) ]   over s² ~ σ² χ²(S−1)/(S−1), by quantiles

    Args:
        between: Variance σ² of the difference to dense between trainings.
        images: Squared paired error v over images.
        seeds: Trainings S, 2 or more.
        nodes: Quantiles of s² that the mean is taken over.

    >>> round(power(between=0.0036**2, images=0.0, tolerance=0.01, seeds=3), 2)
    0.69
    """
    from scipy.stats import chi2, norm, t

    if seeds < 2 or between < 0 or images < 0 or not tolerance > 0:
        raise SettingError("want two seeds or more, variances of 0 or more, and a tolerance above 0")
    truth = math.sqrt(between / seeds + images)
    if truth == 0:
        return 1.0
    found = between / seeds * chi2.ppf((np.arange(nodes) + 0.5) / nodes, seeds - 1) / (seeds - 1)
    spread = found + images
    with np.errstate(divide="ignore"):
        freedom = (seeds - 1) * (spread / found) ** 2 if between > 0 else np.full(nodes, math.inf)
    half = t.ppf((1 + confidence) / 2, freedom) * np.sqrt(spread)
    return float(norm.cdf((tolerance - half) / truth).mean())


def seeds_needed(
    between: float,
    images: float,
    tolerance: float,
    chance: float = 0.8,
    confidence: float = 0.95,
    most: int = 10_000,
) -> int | None:
    """Return the fewest seeds with which a network equal to dense passes with probability ``chance``.

    None where no number up to ``most`` will do: the images' own error is too large then, so ask ``images_needed``.

    >>> seeds_needed(between=0.0036**2, images=0.0, tolerance=0.01)
    4
    >>> seeds_needed(between=0.0036**2, images=0.006**2, tolerance=0.01) is None
    True
    """

    return _first(lambda s: power(between, images, tolerance, s, confidence) >= chance, 2, most)


def images_needed(
    between: float,
    images: float,
    tolerance: float,
    seeds: int,
    samples: int,
    chance: float = 0.8,
    confidence: float = 0.95,
    most: int = 10**9,
) -> int | None:
    """Return how many images give a network equal to dense the probability ``chance`` to pass with ``seeds`` trainings.

    ``images`` is the squared error over ``samples`` images and falls as their number rises. None where no number up to
    ``most`` will do: the spread between trainings is too large then, so ask ``seeds_needed``.

    >>> images_needed(between=0.0036**2, images=0.006**2, tolerance=0.01, seeds=10, samples=1000)
    3155
    """

    return _first(
        lambda n: power(between, images * samples / n, tolerance, seeds, confidence) >= chance, 1, most
    )


def _first(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the lowest whole number that is enough, by bisection; None if ``high`` is not."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
