"""Errors over images: standard errors, bootstrap resamples, and the draws by which two networks are compared.

Draws depend on what is measured alone, never on the seed of a training: every network of a study, whatever its seed, is
judged on the same resamples, noise, probes and masks (common random numbers).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..rng import generator

# the seed of all that metrics draw
DRAWS = 0
# the standard error from so many is itself known to 5%
RESAMPLES = 200


def standard_error(values: Tensor, plug_in: bool = False) -> float:
    """Return the standard error σ/√N of the mean of independent values [N]; 0 for a single one.

    ``plug_in`` takes the sample's own σ, which divides by N: for shares, whose binomial error √(p(1 − p)/N) does so too.

    Example:
        >>> standard_error(torch.tensor([0.0, 1.0, 1.0, 0.0]), plug_in=True)
        0.25
    """
    if len(values) < 2:
        return 0.0
    return values.std(correction=0 if plug_in else 1).item() / math.sqrt(len(values))


def of_images(scores: Tensor) -> Tensor:
    """Return the ``draws`` of a mean over images, from the images' own scores [N]: float64 [N]."""
    return scores.double() / math.sqrt(len(scores))


def of_samples(samples: Sequence[Tensor]) -> Tensor:
    """Return the ``draws`` of a sum of means over independent samples of images: their variance is that of the sum."""
    count = sum(map(len, samples))
    return torch.cat([(s - s.mean()) * math.sqrt((count - 1) / (len(s) * (len(s) - 1))) for s in samples])


def bootstrap(statistic: Callable[..., Sequence[float]], samples: Sequence[Tensor], seed: int) -> Tensor:
    """Return the statistics of samples drawn anew, each with replacement: float64 [resamples, statistics]."""
    random = generator(seed, "bootstrap")

    def drawn(scores: Tensor) -> Tensor:
        return scores[torch.randint(len(scores), (len(scores),), generator=random)]

    return torch.tensor([statistic(*map(drawn, samples)) for _ in range(RESAMPLES)], dtype=torch.float64)


@functools.lru_cache(maxsize=2)
def image_counts(count: int, seed: int) -> Tensor:
    """Return how often each image counts: float64 [1 + resamples, N]. The first row is the sample itself."""
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator(seed, "bootstrap", count))
    drawn += count * torch.arange(RESAMPLES)[:, None]
    times = drawn.flatten().bincount(minlength=RESAMPLES * count).view(RESAMPLES, count)
    return torch.cat([torch.ones(1, count).long(), times]).double()


def multinomial_counts(count: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each of ``count`` images is drawn, for each resample: int [resamples, N]."""
    return random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
