"""ResNet-50 for ImageNet (He et al., 2016, arXiv:1512.03385) out of torchvision's bottleneck blocks, and the way from
torchvision's checkpoints into it.

Its layers go by torchvision's names. The stride of a stage is in the 3×3 convolution, as torchvision has it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import DataError, SettingError
from .base import Architecture, register
from .layers import Network
from .resnet import Pointwise

# outputs of a bottleneck, in its widths
EXPANSION = 4
# what torchvision's networks were trained with
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNet50(nn.Module):
    """A 7×7 stem of stride 2 and max-pooling, stages of 3, 4, 6 and 3 bottlenecks, global average pooling, linear head.
    A stage of width w gives 4w channels."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        first, second, third, fourth = widths
        self.layer1 = _stage(first, first, blocks=3, stride=1)
        self.layer2 = _stage(EXPANSION * first, second, blocks=4, stride=2)
        self.layer3 = _stage(EXPANSION * second, third, blocks=6, stride=2)
        self.layer4 = _stage(EXPANSION * third, fourth, blocks=3, stride=2)
        self.fc = nn.Linear(EXPANSION * fourth, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, channels, H, W]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    from torchvision.models.resnet import Bottleneck

    outputs = EXPANSION * width
    shortcut = nn.Sequential(Pointwise(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = Bottleneck(inputs, width, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(outputs, width) for _ in range(blocks - 1)))


@register
class ResNet50ForImageNet(Architecture):
    """25.6 million parameters for three channels and a thousand classes."""

    name = "resnet50"
    title = "ResNet-50"
    stages = (64, 128, 256, 512)
    least = 8

    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        return ResNet50(channels, classes, stages)


def load_torchvision_(model: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> nn.Module:
    """Put a torchvision ResNet-50 checkpoint into a network of ``build("resnet50", …)``, in place; return the network.

    The first layer then normalises by ImageNet's mean and standard deviation, which torchvision's weights expect, so the
    network gives torchvision's logits for the same pixels in [0, 1].

    Args:
        weights: The state dict, or the path of a file that ``torch.save`` wrote it to (read with ``weights_only``).

    Raises:
        SettingError: for another kind of network, before anything is changed; as the next.
        DataError: for an unreadable file or the first tensor that is missing, left over or of another shape.

    Example:
        >>> from lotterylib.models import build
        >>> network = build("resnet50", classes=2, channels=3, width=0.1)
        >>> network.spec["mean"], load_torchvision_(network, network.net.state_dict()).spec["mean"]
        ([0.5, 0.5, 0.5], [0.485, 0.456, 0.406])
    """
    if not isinstance(model, Network) or not isinstance(model.net, ResNet50):
        raise SettingError('torchvision\'s checkpoints go into a network of build("resnet50", …)')
    net, normalize = model.net, model.normalize
    if normalize.mean.numel() != len(MEAN):
        raise SettingError(f"torchvision's resnet50 takes 3 channels, this one {normalize.mean.numel()}")
    from_file = isinstance(weights, (str, Path))
    where, found = (str(weights), _read(Path(weights))) if from_file else ("the checkpoint", weights)
    if not isinstance(found, Mapping):
        raise DataError(f"{where} holds no state dict but {type(found).__name__}")
    own = net.state_dict()
    for name, tensor in own.items():
        # old checkpoints have no counter of batches
        if name not in found and not name.endswith("num_batches_tracked"):
            raise DataError(f"{where} lacks {name}: is it a state dict of torchvision's resnet50?")
        if name in found and found[name].shape != tensor.shape:
            raise DataError(
                f"{where}: {name} has shape {list(found[name].shape)}, this network wants {list(tensor.shape)} "
                "(width 1 and the checkpoint's classes)"
            )
    for name in found:
        if name not in own:
            raise DataError(f"{where} holds {name}, which resnet50 does not have")
    net.load_state_dict({**own, **found})
    for buffer, values in ((normalize.mean, MEAN), (normalize.std, STD)):
        buffer.copy_(torch.tensor(values).view(-1, 1, 1))
    model.spec |= {"mean": list(MEAN), "std": list(STD)}
    return model


def _read(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"no checkpoint at {path}") from None
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is no readable checkpoint ({type(error).__name__})") from None
