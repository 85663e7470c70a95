"""Who pays: the classes and images that a ticket gets wrong and its dense network does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import DataError
from ...rng import generator
from ..base import About, Metric, Tolerance, register
from ..resampling import DRAWS, RESAMPLES
from ..subject import Measurement, Subject
from .accuracy import recall, right


def recall_change(recalls: Sequence[float | None], dense: Sequence[float | None]) -> list[float | None]:
    """Return the recall of each class minus the dense network's: in [−1, 1], higher is better; None where either is.

    Raises ``DataError`` for unequal numbers of classes.

    Example:
        >>> recall_change([0.5, None], [0.75, 0.5])
        [-0.25, None]
    """
    if len(recalls) != len(dense) or not recalls:
        raise DataError(f"want the recall of the same classes, got {len(recalls)} and {len(dense)}")
    pairs = zip(recalls, dense, strict=True)
    return [None if r is None or d is None else r - d for r, d in pairs]


def identified_exemplars(dense_predictions: Tensor, sparse_predictions: Tensor) -> Tensor:
    """Return the pruning-identified exemplars: places of the images for which the answer that most sparse networks give is not the
    one that most dense networks give. int64 [M], rising.

        i is one  ⇔  mode_k ŷ⁽ˢᵖᵃʳˢᵉ⁾ₖᵢ ≠ mode_r ŷ⁽ᵈᵉⁿˢᵉ⁾ᵣᵢ

    ``dense_predictions`` [R, N] and ``sparse_predictions`` [K, N]: int, one row per network. No label is asked: the dense
    majority may be wrong. Where classes tie for the most votes, the image counts only if no tied class is common to
    both sides, so neither the order of networks nor of classes matters.

    Raises ``DataError`` for no networks, no images, or unequal numbers of images. Hooker et al. (2019).

    Example:
        >>> identified_exemplars(torch.tensor([[0, 1, 2], [0, 1, 2]]), torch.tensor([[0, 2, 2]])).tolist()
        [1]
    """
    shapes = [list(p.shape) for p in (dense_predictions, sparse_predictions)]
    if any(len(s) != 2 or 0 in s for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise DataError(f"want predictions [networks, N] of the same images, got {shapes[0]} and {shapes[1]}")
    if min(dense_predictions.min(), sparse_predictions.min()) < 0:
        raise DataError("predictions must be classes, 0 or more")
    classes = int(max(dense_predictions.max(), sparse_predictions.max())) + 1
    agreed = _modes(dense_predictions, classes) & _modes(sparse_predictions, classes)
    return (~agreed.any(dim=0)).nonzero().squeeze(1)


def change_error(gain: Tensor) -> float:
    """Return the standard error of a change of accuracy on the same images, from each image's gain: −1, 0 or 1.

    Half an image is added to each of the four ways in which two networks can answer, so that a few images that all agree make
    nothing certain (Agresti & Min, 2005).

    Example:
        >>> round(change_error(torch.tensor([-1.0])), 2), round(change_error(torch.zeros(1000)), 4)
        (0.43, 0.001)
    """
    count, moved = len(gain) + 2, gain.abs().sum().item() + 1
    return math.sqrt(moved - gain.sum().item() ** 2 / count) / count


def worst_of(changes: Tensor, errors: Tensor) -> tuple[float, float]:
    """Return what to take off the largest of several estimates for what noise adds, and the standard error of what is left.

        bias = E max(M + e·z) − max M,   z ~ N(0, 1)

    The true values M are guessed by drawing the estimates towards their mean as far as noise explains their spread (James &
    Stein, 1961), none by more than its own error (Efron & Morris, 1972), so that a single class that has lost much is not
    talked away. Whether noise or one class made the largest, the estimates hardly tell: three quarters of the bias are taken off,
    and 0.7 of it are added to the error, so that 95% intervals hold in 94% or more of all cases that were simulated
    (``benchmarks/bias.py``). The rest of the error is that over new images, around the guess and around the estimates alike.
    ``changes`` and ``errors``: float64 [classes].

    Example:
        >>> bias, error = worst_of(torch.zeros(10).double(), torch.ones(10).double())
        >>> 1.0 < bias < 1.3, 1.2 < error < 1.6
        (True, True)
    """
    noise = torch.randn(RESAMPLES, len(changes), dtype=torch.float64, generator=generator(DRAWS, "worst of"))
    weights = errors**-2

    def guessed(estimates: Tensor) -> Tensor:
        away = estimates - (estimates * weights).sum(dim=1, keepdim=True) / weights.sum()
        chi = (away**2 * weights).sum(dim=1, keepdim=True)
        by_noise = ((len(errors) - 1) / chi.clamp_min(1e-12)).clamp_max(1)
        return estimates - (by_noise * away).clamp(-errors, errors)

    def bias(estimates: Tensor) -> Tensor:
        guess = guessed(estimates)
        return (guess[:, None] + errors * noise).amax(dim=2).mean(dim=1) - guess.amax(dim=1)

    variances = []
    for centre in (guessed(changes[None]), changes):
        again = centre + errors * noise
        variances.append((again.amax(dim=1) - bias(again)).var().item())
    # noise never lowers the largest on average; where one class lies far above all others, only the draws seem to
    found = max(0.0, bias(changes[None]).item())
    return 0.75 * found, math.sqrt(sum(variances) / 2 + (0.7 * found) ** 2)


@register
class RecallLoss(Metric):
    """Recall that the worst-hit class has lost relative to the dense network of the same seed; dense itself has lost 0.

    ``extra`` has the change of each class and its standard error. Errors are paired: both networks see the same images.
    The worst of many is biased upwards: of ten equal classes that have lost nothing one seems to have lost 1.5 errors. The
    value is the worst class's as it is; a difference to dense is without most of that bias, and its interval knows of the rest
    (``worst_of``).
    """

    about = About(
        "recall_loss", "Largest loss of recall of a class", "generalization", "lower", "fraction of images",
        Tolerance(0.05), "recall of each class against the dense network's (Hooker et al., 2019)", short="recall loss",
        over="classes",
        words=("kinder to single classes", "harsher on single classes"), version=3, points=True,
    )  # fmt: skip
    relative = True

    def measure(self, subject: Subject) -> Measurement:
        labels, names = subject.test_labels, subject.data.class_names
        logits, dense = subject.test_logits, subject.baseline.test_logits
        changes = dict(zip(names, recall_change(recall(logits, labels), recall(dense, labels)), strict=True))
        known = {name: change for name, change in changes.items() if change is not None}
        gain = right(logits, labels) - right(dense, labels)
        errors = {n: change_error(gain[labels == names.index(n)]) for n in known}
        worst = min(known, key=known.__getitem__)
        bias, error = 0.0, 0.0
        # equal networks have lost nothing, for certain
        if subject.dense is not None and not torch.equal(logits, dense):
            losses = torch.tensor([-known[n] for n in known], dtype=torch.float64)
            bias, error = worst_of(losses, torch.tensor([errors[n] for n in known], dtype=torch.float64))
            # where no answer differs, none was chosen for being the largest
            bias = bias if gain.any() else 0.0
        extra = {
            "worst": worst,
            "change": {n: None if c is None else round(c, 6) for n, c in changes.items()},
            "errors": {n: round(e, 6) for n, e in errors.items()},
            "bias": round(bias, 6),
        }
        samples = int((labels == names.index(worst)).sum())
        return Measurement(0.0 - known[worst], error, samples, extra=extra, bias=bias)

    @classmethod
    def breaks(cls, extra: Mapping[str, Any], dense_extra: Mapping[str, Any]) -> str:
        changes, errors = extra.get("change", {}), extra.get("errors", {})
        hit = {n: c for n, c in changes.items() if c is not None and c + 1.96 * errors.get(n, 0) < 0}
        if not hit:
            return ""
        worst = sorted(hit, key=hit.__getitem__)[:3]
        named = ", ".join(f"{name} ({100 * hit[name]:+.1f} points)" for name in worst)
        return f"Classes with a certain loss of recall: {len(hit)}; most of all {named}"


def _modes(predictions: Tensor, classes: int) -> Tensor:
    """Return the classes with the most votes for each image: bool [classes, N]."""
    votes = torch.zeros(classes, predictions.shape[1], dtype=torch.int16)
    votes.scatter_add_(0, predictions.long(), torch.ones_like(predictions, dtype=torch.int16))
    return votes == votes.amax(dim=0)
