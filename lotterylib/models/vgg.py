"""VGG-16 with BatchNorm (Simonyan & Zisserman, 2015, arXiv:1409.1556; Ioffe & Szegedy, 2015) for images of CIFAR's size.

The thirteen convolutions are VGG's. What follows them varies in the literature, and the count of parameters with it (three
channels, ten classes): one linear layer on 512 features (14.73 million, the default), or one or two hidden linear layers of
512 before it (14.99, 15.25 million), for VGG's own head of 124 million is made for ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from .base import Architecture, register

# convolutions per stage
_DEPTHS = (2, 2, 3, 3, 3)


@register
class Vgg16(Architecture):
    """3×3 convolutions, BatchNorm, ReLU; max-pooling after each stage; global average pooling; the head.

    ``hidden_layers`` of the head are each as wide as the last stage, followed by ReLU.
    """

    name = "vgg16_bn"
    title = "VGG-16"
    stages = (64, 128, 256, 512, 512)
    least = 32

    hidden_layers: Literal[0, 1, 2] = 0

    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        layers, inputs = [], channels
        for outputs, depth in zip(stages, _DEPTHS, strict=True):
            for _ in range(depth):
                convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                if convolution.bias is not None:
                    nn.init.zeros_(convolution.bias)
                layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        for _ in range(self.hidden_layers):
            head += [nn.Linear(inputs, inputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, *head, nn.Linear(inputs, classes))
