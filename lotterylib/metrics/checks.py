"""Refusals that several metrics share, each in one line that says what would be right; and how much fits into memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

from torch import Tensor

from ..errors import DataError

# pixels of a batch whose activations, and theirs for a second derivative, are in memory at once: about 7 GB of ResNet-50's
_PIXELS = 2**21
# images at a time that whoever measures allows
_MOST: ContextVar[float] = ContextVar("images at a time", default=math.inf)


@contextlib.contextmanager
def at_most(images: int) -> Iterator[None]:
    """Let ``at_once`` give at most so many images at a time within the block."""
    before = _MOST.set(images)
    try:
        yield
    finally:
        _MOST.reset(before)


def at_once(images: int, like: Tensor) -> int:
    """Return a number of images at a time: ``images``, or of large ones, such as ``like`` [N, …, H, W], as few as fit.

    Example:
        >>> import torch
        >>> at_once(256, torch.zeros(1, 3, 32, 32)), at_once(256, torch.zeros(1, 3, 224, 224))
        (256, 41)
    """
    pixels = like[0, 0].numel() if like.ndim == 4 and len(like) else 1
    return max(1, int(min(images, _PIXELS // pixels, _MOST.get())))


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise ``DataError`` for labels without a logit."""
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels must lie in 0..{classes - 1}, got {labels.min()} to {labels.max()}")


def check_pixels(images: Tensor) -> None:
    """Raise ``DataError`` for pixels outside [0, 1], NaN among them."""
    if not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"pixels must lie in [0, 1], got {images.min():.3g} to {images.max():.3g}")
