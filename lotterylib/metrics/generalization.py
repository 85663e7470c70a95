"""First dimension: does the network still get unseen images right?"""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import DataError
from .subject import Measurement, Subject


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the label's: in [0, 1], higher is better.

        accuracy = 1/N · Σᵢ [argmaxₖ zᵢₖ = yᵢ]

    ``logits``: [N, classes]; ``labels``: int [N]. A tie for the largest counts as a miss unless the label's logit is
    the first of the tie. Raises ``DataError`` for no images, shapes that do not fit, or a NaN, which no argmax can rank.
    """
    _check(logits, labels)
    return (logits.argmax(dim=1) == labels).double().mean().item()


def measure_accuracy(subject: Subject) -> Measurement:
    """Top-1 test accuracy; the error is binomial, √(p(1−p)/N)."""
    share = accuracy(subject.test_logits, subject.test_labels)
    count = len(subject.test_labels)
    return Measurement(share, math.sqrt(share * (1 - share) / count), count)


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"want logits [N, classes] and labels [N], got {list(logits.shape)} and {list(labels.shape)}"
        )
    if len(labels) == 0:
        raise DataError("no images to score")
    if logits.isnan().any():
        raise DataError("logits contain NaN: the network is broken, not inaccurate")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(f"labels must lie in 0..{logits.shape[1] - 1}, got {labels.min()} to {labels.max()}")
