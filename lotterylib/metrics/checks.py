"""Refusals that several metrics share, each in one line that says what would be right; and how much fits into memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn

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


# share of images whose gradient is 0 from which on it says nothing of a network
NEARLY_ALL = 0.9
# why no gradient reaches what matters
CUT = "the network's forward runs under torch.no_grad, or detaches or rounds what it computes"


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


def have_slope(answers: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return which rows of each tensor the gradient of the answers [N, classes] reaches: bool [rows]. A gradient of exactly 0
    does not count."""
    # the sum of a softmax has none
    mixed = (answers * torch.linspace(1, 2, answers.shape[1]).to(answers)).sum()
    found = (
        torch.autograd.grad(mixed, leaves, allow_unused=True) if mixed.requires_grad else [None] * len(leaves)
    )
    rows = [leaf.flatten(1) if leaf.ndim > 1 else leaf[:, None] for leaf in leaves]
    return [
        torch.zeros(len(row), dtype=torch.bool) if g is None else (g.reshape(row.shape) != 0).any(dim=1).cpu()
        for g, row in zip(found, rows, strict=True)
    ]


def differ(answers: Tensor, others: Tensor) -> Tensor:
    """Return which rows of two sets of answers [N, classes] are more than rounding apart: bool [N].

    Example:
        >>> differ(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
        tensor([False,  True])
    """
    scale = others.abs().max().item()
    return ~torch.isclose(answers, others, rtol=1e-5, atol=1e-6 * scale).all(dim=1).cpu()


@torch.enable_grad()
def answers_in_steps(model: nn.Module, images: Tensor) -> bool:
    """Return whether answers differ from image to image though the gradient in the pixels is exactly 0 in nearly all: the network
    rounds or quantises what it sees, or is saturated. One that gives all images the same answer is flat indeed."""
    images = images[:: max(1, len(images) // 100)]
    if len(images) == 1:
        images = torch.cat([images, 0.5 * images + 0.1])
    pixels = images.detach().clone().requires_grad_()
    answers = model(pixels.clone()).float()
    flat = ~have_slope(answers, [pixels])[0]
    apart = flat & flat.roll(1) & differ(answers.detach(), answers.detach().roll(1, 0))
    return bool(flat.double().mean() >= NEARLY_ALL and apart.any())
