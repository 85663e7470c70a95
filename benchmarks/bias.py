"""Do the intervals of what noise biases hold? Calibration errors and the largest loss of recall, simulated with known truth.

Two networks see the same images. One is perfectly calibrated, since the labels are drawn from its own probabilities; the other
answers with the same logits at another temperature, with noise and with classes that it favours. The true calibration errors
are those of the probabilities that the labels were drawn from, on very many images. For the largest loss of recall, estimates
of ten classes are drawn about losses that are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lotterylib import metrics
from lotterylib.metrics.calibration import Kind, calibration_interval, calibration_truth
from lotterylib.metrics.generalization.fairness import worst_of

CLASSES, IMAGES = 10, 1000
Case = Callable[[np.random.Generator], list[bool]]
# sharpness, noise and favour of ``world``
Second = tuple[float, float, float]
BINNED: tuple[Kind, ...] = ("ece", "sce", "ace")
SECOND: dict[str, Second] = {
    "temperature 1/1.3": (1.3, 0.0, 0.0),
    "temperature 1/.8": (0.8, 0.0, 0.0),
    "temperature 1/1.05": (1.05, 0.0, 0.0),
    "1/1.3, noise, favoured classes": (1.3, 0.5, 0.5),
}
LOST = {
    "none": torch.zeros(10),
    "one class, 1.5 errors": torch.tensor([1.5] + 9 * [0.0]),
    "one class, 3 errors": torch.tensor([3.0] + 9 * [0.0]),
    "one class, 5 errors": torch.tensor([5.0] + 9 * [0.0]),
    "normal, 1 error": torch.distributions.Normal(0, 1).icdf(torch.arange(1, 11) / 11.0),
    "normal, 3 errors": 3 * torch.distributions.Normal(0, 1).icdf(torch.arange(1, 11) / 11.0),
}


def world(
    count: int,
    random: torch.Generator,
    sharper: float,
    noise: float = 0.0,
    favour: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probabilities of a calibrated network and of another one [N, classes], and labels [N]."""
    logits = torch.randn(count, CLASSES, generator=random, dtype=torch.float64)
    shown = torch.randint(CLASSES, (count,), generator=random)
    logits[torch.arange(count), shown] += (
        1.3 + 7.8 * torch.rand(count, generator=random, dtype=torch.float64).sqrt()
    )
    true = logits.softmax(dim=1)
    labels = torch.multinomial(true, 1, generator=random)[:, 0]
    moved = logits + noise * torch.randn(count, CLASSES, generator=random, dtype=torch.float64)
    other = sharper * moved + favour * torch.linspace(-1, 1, CLASSES, dtype=torch.float64)
    return true, other.softmax(dim=1), labels


@dataclass(frozen=True)
class Drawn:
    """What one simulated measurement says: the true value, the estimate with its bias and without, and the error of the latter."""

    truth: float
    plain: float
    unbiased: float
    error: float

    @property
    def covers(self) -> bool:
        return abs(self.unbiased - self.truth) <= 1.96 * self.error

    @property
    def plain_covers(self) -> bool:
        return abs(self.plain - self.truth) <= 1.96 * self.error


Draw = Callable[[np.random.Generator], Drawn]


def calibration(kind: Kind, count: int, second: Second, reference: int = 200_000) -> Draw:
    """The difference of two networks' calibration errors, whose true one is computed on ``reference`` images."""

    @cache
    def truth() -> float:
        true, other, _ = world(reference, torch.Generator().manual_seed(0), *second)
        return calibration_truth(other, true, kind=kind) - calibration_truth(true, true, kind=kind)

    def draw(random: np.random.Generator) -> Drawn:
        one, two, labels = world(count, _generator(random), *second)
        (a, bias_a, error_a), (b, bias_b, error_b) = (
            calibration_interval(p, labels, kind=kind) for p in (one, two)
        )
        return Drawn(truth(), b - a, b - bias_b - a + bias_a, math.hypot(error_a, error_b))

    return draw


def recall(lost: Tensor) -> Draw:
    """The largest loss of ten classes, in units of a class's error."""

    def draw(random: np.random.Generator) -> Drawn:
        noise = torch.randn(len(lost), generator=_generator(random), dtype=torch.float64)
        seen = lost.double() + noise
        bias, error = worst_of(seen, torch.ones(len(lost)).double())
        return Drawn(lost.max().item(), seen.max().item(), seen.max().item() - bias, error)

    return draw


def _generator(random: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(random.integers(2**31)))


def means(draw: Draw, repeats: int, seed: int = 0) -> pd.Series[float]:
    """Return the mean of everything that is drawn, and the shares of intervals that hold the truth."""
    random = np.random.default_rng(seed)
    drawn = [draw(random) for _ in range(repeats)]
    found = pd.DataFrame([asdict(d) | {"covers": d.covers, "plain covers": d.plain_covers} for d in drawn])
    return found.mean()


def cases() -> Iterator[tuple[str, str, Case]]:
    """Yield metric, setting and case."""

    def case(draw: Draw) -> Case:
        return lambda random: [draw(random).covers]

    for lost, losses in LOST.items():
        yield metrics.describe("recall_loss").label, f"lost by ten classes: {lost}", case(recall(losses))
    for kind in BINNED:
        for name, second in SECOND.items():
            setting = f"ticket − dense on {IMAGES:,} images, calibrated against {name}"
            yield metrics.describe(kind).label, setting, case(calibration(kind, IMAGES, second))
