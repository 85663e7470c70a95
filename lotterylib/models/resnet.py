"""Residual networks (He et al., 2016, arXiv:1512.03385) with a 3×3 stem, for images of CIFAR's size.

``resnet20s`` has three stages of 16, 32, 64 channels with three basic blocks each, and 1×1-convolution shortcuts where
the shape changes (the "s" of the lottery-ticket literature's variant); ``resnet8`` has one block per stage; ``resnet18`` has
four stages of 64 to 512 channels with two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from .base import Architecture, register


class Pointwise(nn.Conv2d):
    """A 1×1 convolution with a stride, computed as one without on every stride-th pixel: the same sum. oneDNN's own
    writes beyond its memory where there are fewer than 8 input channels and no AVX-512 (uxlfoundation/oneDNN#6035)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of every stride-th pixel: float [N, channels, H, W]."""
        down, across = self.stride
        return F.conv2d(x[..., ::down, ::across], self.weight, self.bias)


class BasicBlock(nn.Module):
    """relu(BN(conv(relu(BN(conv(x))))) + shortcut(x)), 3×3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                Pointwise(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: float [N, channels, H, W], of half the size where the stride is 2."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """Stem, stages of basic blocks that halve the image from the second on, global average pooling, linear head."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int, stem_stride: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages, inputs = [], widths[0]
        for i, outputs in enumerate(widths):
            for j in range(blocks):
                stages.append(BasicBlock(inputs, outputs, stride=2 if i > 0 and j == 0 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, channels, H, W]."""
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))


class _Cifar(Architecture):
    """The three below. ``stem_stride=2`` quarters the cost of an image and leaves the weights' count as it is."""

    least = 8
    blocks: ClassVar[int]

    stem_stride: Literal[1, 2] = 1

    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        return ResNet(channels, classes, stages, self.blocks, self.stem_stride)


@register
class ResNet8(_Cifar):
    """One block per stage."""

    name = "resnet8"
    title = "ResNet-8"
    stages = (16, 32, 64)
    blocks = 1


@register
class ResNet20s(_Cifar):
    """Three blocks per stage: 0.27 million parameters for three channels and ten classes."""

    name = "resnet20s"
    title = "ResNet-20s"
    stages = (16, 32, 64)
    blocks = 3


@register
class ResNet18(_Cifar):
    """Two blocks per stage: 11.2 million parameters for three channels and ten classes."""

    name = "resnet18"
    title = "ResNet-18"
    stages = (64, 128, 256, 512)
    blocks = 2
