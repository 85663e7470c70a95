"""WRN-28-10 (Zagoruyko & Komodakis, 2016, arXiv:1605.07146): a residual network of 28 layers, ten times as wide, with
BatchNorm and ReLU in front of each convolution. Without dropout, as in Chen et al. (2022)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .base import Architecture, register
from .resnet import Pointwise


class PreactBlock(nn.Module):
    """conv(relu(BN(conv(a)))) + shortcut with a = relu(BN(x)). The shortcut is x, or a 1×1 convolution of a where the
    shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = Pointwise(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: float [N, channels, H, W], of half the size where the stride is 2."""
        a = F.relu(self.bn1(x), inplace=True)
        out = self.conv2(F.relu(self.bn2(self.conv1(a)), inplace=True))
        return out + (x if self.shortcut is None else self.shortcut(a))


class WideResNet(nn.Module):
    """3×3 stem, three stages of blocks that halve the image from the second on, BatchNorm, ReLU, global average pooling,
    linear head. ``widths``: of the stem and of each stage."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        stages, inputs = [], widths[0]
        for i, outputs in enumerate(widths[1:]):
            for j in range(blocks):
                stages.append(PreactBlock(inputs, outputs, stride=2 if i > 0 and j == 0 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, channels, H, W]."""
        x = F.relu(self.bn(self.stages(self.stem(x))), inplace=True)
        return self.head(x.mean(dim=(2, 3)))


@register
class Wrn2810(Architecture):
    """Four blocks per stage: 36.5 million parameters for three channels and ten classes."""

    name = "wrn28_10"
    title = "WRN-28-10"
    stages = (16, 160, 320, 640)
    least = 8

    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        return WideResNet(channels, classes, stages, 4)
