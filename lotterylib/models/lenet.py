"""LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling: two convolutions, three linear layers, no BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .base import Architecture, register


@register
class LeNet(Architecture):
    """Two 5×5 convolutions without padding, each followed by 2×2 pooling; two hidden linear layers."""

    name = "lenet"
    title = "LeNet"
    stages = (6, 16, 120, 84)
    least = 16

    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        side = ((size - 4) // 2 - 4) // 2
        c1, c2, f1, f2 = stages
        return nn.Sequential(
            nn.Conv2d(channels, c1, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(c1, c2, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(c2 * side * side, f1),
            nn.ReLU(),
            nn.Linear(f1, f2),
            nn.ReLU(),
            nn.Linear(f2, classes),
        )
