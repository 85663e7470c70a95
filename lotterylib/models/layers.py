"""Layers that several models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingError


class Normalize(nn.Module):
    """Computes (x − mean) / std, one number per channel. Inside the model, so that attacks and noise act on [0, 1] pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise SettingError(f"mean and std need one number per channel, std above 0; got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, float [N, channels, H, W], with mean 0 and std 1 in each channel."""
        return (images - self.mean) / self.std


class Network(nn.Sequential):
    """A network of ``build``: ``normalize``, then ``net``; ``build(**spec)`` makes another one like it."""

    normalize: Normalize
    net: nn.Module
    spec: dict[str, Any]


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, at least 1.

    Example:
        >>> scaled(16, 0.25), scaled(16, 0.01)
        (4, 1)
    """
    return max(1, round(channels * width))
