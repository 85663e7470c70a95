"""Networks that take pixels in [0, 1]: normalisation is the first layer of each.

A new model is one function ``(channels, classes, stages, size, **settings) -> nn.Module``, ``stages`` being the channels
of its hidden stages, and one line in ``_BUILDERS`` with their numbers at width 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import SettingError, UnknownNameError
from ..rng import isolated
from .imagenet import load_torchvision_, resnet50
from .layers import Normalize, scaled
from .lenet import lenet
from .resize import resize_
from .resnet import resnet8, resnet18, resnet20s
from .vgg import vgg16_bn
from .wide import wrn28_10

__all__ = ["Normalize", "build", "load_torchvision_", "names", "resize_", "stages"]

_BUILDERS = {
    "lenet": (lenet, (6, 16, 120, 84)),
    "resnet8": (resnet8, (16, 32, 64)),
    "resnet20s": (resnet20s, (16, 32, 64)),
    "resnet18": (resnet18, (64, 128, 256, 512)),
    "resnet50": (resnet50, (64, 128, 256, 512)),
    "wrn28_10": (wrn28_10, (16, 160, 320, 640)),
    "vgg16_bn": (vgg16_bn, (64, 128, 256, 512, 512)),
}


def names() -> list[str]:
    """Names that ``build`` knows."""
    return sorted(_BUILDERS)


def stages(name: str, width: float | Sequence[float] = 1.0) -> list[int]:
    """Channels of each hidden stage: of a ResNet's stages (of ``resnet50`` inside its bottlenecks, of ``wrn28_10`` its
    stem's first), of VGG's stages, of each hidden layer of LeNet.

    Raises ``UnknownNameError`` for a name not in ``names()``, ``SettingError`` for an impossible width.
    """
    if name not in _BUILDERS:
        raise UnknownNameError("model", name, _BUILDERS)
    channels = _BUILDERS[name][1]
    widths = list(width) if isinstance(width, Sequence) else [width] * len(channels)
    if len(widths) != len(channels) or not all(w > 0 for w in widths):
        raise SettingError(f"width must be above 0, one number or {len(channels)} (one a stage), got {width}")
    return [scaled(c, w) for c, w in zip(channels, widths, strict=True)]


def build(
    name: str,
    classes: int,
    channels: int,
    width: float | Sequence[float] = 1.0,
    size: int = 32,
    *,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    **settings: Any,
) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights on every machine.

    ``classes`` and ``channels`` are counts, ``size`` the side of the square input in pixels, ``width`` multiplies the
    number of channels of every hidden layer (a sequence: one number a stage). ``mean`` and ``std`` (one number a
    channel; default 0.5 and 0.25) are what the first layer normalises by. ``shapes`` (name → shape) describes a network
    whose channels were cut, see ``resize_``. ``settings`` are the model's own, e.g. ``stem_stride=2`` for a ResNet.

    The network carries its own description in ``.spec``, from which ``build(**spec)`` makes a twin.

    Raises ``UnknownNameError`` for a name not in ``names()``, ``SettingError`` for an impossible size or width.
    """
    if name not in _BUILDERS:
        raise UnknownNameError("model", name, _BUILDERS)
    for what, count in {"classes": classes, "channels": channels}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingError(f"{what} must be a whole number of at least 1, got {count!r}")
    width = list(width) if isinstance(width, Sequence) else width
    channels_of_stages = stages(name, width)
    mean = [0.5] * channels if mean is None else [float(m) for m in mean]
    std = [0.25] * channels if std is None else [float(s) for s in std]
    with isolated(seed, "initial weights"):
        try:
            body = _BUILDERS[name][0](channels, classes, channels_of_stages, size, **settings)
        except TypeError as error:  # an unknown setting
            raise SettingError(f"model {name}: {error}") from None
    model = nn.Sequential(OrderedDict(normalize=Normalize(mean, std), net=body))
    model.spec = dict(
        name=name, classes=classes, channels=channels, width=width, size=size, mean=mean, std=std, **settings
    )
    if shapes:
        resize_(model, shapes)
        model.spec["shapes"] = {n: list(shape) for n, shape in shapes.items()}
    return model
