"""Refusals that several metrics share, each in one line that says what would be right."""

from __future__ import annotations

from torch import Tensor

from ..errors import DataError


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise ``DataError`` for labels without a logit."""
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels must lie in 0..{classes - 1}, got {labels.min()} to {labels.max()}")


def check_pixels(images: Tensor) -> None:
    """Raise ``DataError`` for pixels outside [0, 1], NaN among them."""
    if not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"pixels must lie in [0, 1], got {images.min():.3g} to {images.max():.3g}")
