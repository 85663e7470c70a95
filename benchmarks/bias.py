"""Coverage of 95 % intervals, simulated with known truth: `python -m benchmarks.bias [REPEATS]`, a table as Markdown.

Two networks see the same images. One is perfectly calibrated, since the labels are drawn from its own probabilities; the other
answers with the same logits at another temperature, with noise and with classes that it favours. The true calibration errors
are those of the probabilities that the labels were drawn from, on very many images. For the largest loss of recall, estimates
of ten classes are drawn about losses that are known.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from lotterylib.metrics.calibration import Kind, calibration_interval, calibration_truth
from lotterylib.metrics.generalization.fairness import worst_of

CLASSES = 10
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


def calibration(
    kind: Kind, count: int, repeats: int, second: Second, seed: int = 0, reference: int = 200_000
) -> dict[str, float]:
    """Return the true difference of two networks, and what is estimated and covered, without the bias and with it."""
    random = torch.Generator().manual_seed(seed)
    true, other, _ = world(reference, random, *second)
    truth = calibration_truth(other, true, kind=kind) - calibration_truth(true, true, kind=kind)
    plain, unbiased, covered, before = [], [], [], []
    for _ in range(repeats):
        one, two, labels = world(count, random, *second)
        (a, bias_a, error_a), (b, bias_b, error_b) = (
            calibration_interval(p, labels, kind=kind) for p in (one, two)
        )
        half = 1.96 * math.hypot(error_a, error_b)
        plain.append(b - a)
        unbiased.append(b - bias_b - a + bias_a)
        covered.append(abs(unbiased[-1] - truth) <= half)
        before.append(abs(plain[-1] - truth) <= half)
    means = {"plain": plain, "unbiased": unbiased, "plain covers": before, "covers": covered}
    return {"truth": truth} | {name: sum(each) / repeats for name, each in means.items()}


def recall(lost: Tensor, repeats: int, seed: int = 0) -> dict[str, float]:
    """Return the true largest loss in units of a class's error, and what is estimated and covered."""
    random = torch.Generator().manual_seed(seed)
    truth, ones = lost.max().item(), torch.ones(len(lost)).double()
    found = {"truth": truth, "plain": 0.0, "unbiased": 0.0, "plain covers": 0.0, "covers": 0.0}
    for _ in range(repeats):
        seen = lost.double() + torch.randn(len(lost), generator=random, dtype=torch.float64)
        bias, error = worst_of(seen, ones)
        plain, unbiased = seen.max().item(), seen.max().item() - bias
        each = plain, unbiased, abs(plain - truth) <= 1.96, abs(unbiased - truth) <= 1.96 * error
        for name, value in zip(list(found)[1:], each, strict=True):
            found[name] += value / repeats
    return found


def _print(name: str, row: dict[str, float]) -> None:
    print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in row.values()) + " |", flush=True)


def main(repeats: int = 200) -> None:
    """Print the table."""
    print("| difference | truth | plain | unbiased | plain covers | covers |\n|---|---|---|---|---|---|")
    for lost, losses in LOST.items():
        _print(f"recall_loss, lost: {lost}", recall(losses, repeats))
    for count in (1000, 10_000):
        for kind in BINNED:
            for name, second in SECOND.items():
                row = calibration(kind, count, max(20, repeats * 1000 // count), second)
                _print(f"{kind}, {count:,} images, calibrated against {name}", row)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
