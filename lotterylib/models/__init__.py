"""Networks that take pixels in [0, 1]: normalisation is the first layer of each.

A new model is one class with a ``network`` under ``register``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import SettingError
from ..registry import configured
from ..rng import isolated
from .base import ARCHITECTURES, Architecture, register
from .imagenet import load_torchvision_
from .layers import Network, Normalize, scaled
from .resize import resize_

# after what they are made with, in the reference as here
from . import imagenet, lenet, resnet, vgg, wide  # noqa: F401  they register  # isort: skip

__all__ = [
    "Architecture", "Network", "Normalize", "architecture", "build", "label", "load_torchvision_", "named_width",
    "names", "register", "resize_", "stages", "title",
]  # fmt: skip

# between a name and its width
_WIDTH = "-x"


def names() -> list[str]:
    """Return the names that ``build`` knows, in order.

    Example:
        >>> "resnet20s" in names()
        True
    """
    return sorted(ARCHITECTURES.names())


def architecture(name: str, **settings: Any) -> Architecture:
    """Return a kind of network with its settings; nothing is built.

    Raises:
        UnknownNameError: for a name not in ``names()``.
        SettingError: for an unknown or impossible setting.

    Example:
        >>> architecture("resnet8", stem_stride=2).blocks
        1
    """
    return configured(f"model {name}", ARCHITECTURES[name], settings)


def label(name: str, width: float = 1.0) -> str:
    """Return what tells the networks of a study apart: the name, and the width where it is not 1.

    Example:
        >>> label("resnet8"), label("resnet8", 0.5)
        ('resnet8', 'resnet8-x0.5')
    """
    return name if width == 1 else f"{name}{_WIDTH}{width:g}"


def named_width(label: str) -> tuple[str, float]:
    """Return the name and the width that a ``label`` was made of; one that is not known is all name.

    Example:
        >>> named_width("resnet8-x0.5"), named_width("resnet8-xl")
        (('resnet8', 0.5), ('resnet8-xl', 1.0))
    """
    name, _, width = label.rpartition(_WIDTH)
    if name in ARCHITECTURES and label not in ARCHITECTURES:
        with suppress(ValueError):
            return name, float(width)
    return label, 1.0


def title(label: str) -> str:
    """Return what readers call the network of a ``label``; one that is not known goes by it.

    Example:
        >>> title("resnet8"), title("resnet8-x0.5"), title("mine")
        ('ResNet-8', 'ResNet-8 of half the width', 'mine')
    """
    name, width = named_width(label)
    known = ARCHITECTURES[name].title if name in ARCHITECTURES else ""
    share = {0.25: "a quarter of the width", 0.5: "half the width", 2.0: "twice the width"}
    said = "" if width == 1 else f" of {share.get(width, f'width {width:g}')}"
    return f"{known or name}{said}"


def stages(name: str, width: float | Sequence[float] = 1.0) -> list[int]:
    """Return the channels of each hidden stage: a ResNet's stages (in ``resnet50`` inside its bottlenecks, in ``wrn28_10``
    the stem's first), VGG's stages, LeNet's hidden layers.

    Raises:
        UnknownNameError: for a name not in ``names()``.
        SettingError: for an impossible width.

    Example:
        >>> stages("resnet8", 0.5)
        [8, 16, 32]
    """
    channels = ARCHITECTURES[name].stages
    widths = list(width) if isinstance(width, Sequence) else [width] * len(channels)
    if len(widths) != len(channels) or not all(0 < w < float("inf") for w in widths):
        raise SettingError(
            f"width must be above 0, one number or {len(channels)} (one per stage), got {width}"
        )
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
) -> Network:
    """Return a freshly initialised network; the same seed gives the same weights on every machine.

    The network carries its own description in ``.spec``, from which ``build(**spec)`` makes another one like it.

    Args:
        width: Multiplies the number of channels of every hidden layer; a sequence has one number per stage.
        size: The side of the square input, in pixels.
        mean, std: What the first layer normalises by, one number per channel; default 0.5 and 0.25.
        shapes: Name → shape of a network whose channels were cut, see ``resize_``.
        settings: The model's own, e.g. ``stem_stride=2`` for a ResNet.

    Raises:
        UnknownNameError: for a name not in ``names()``.
        SettingError: for an impossible size, width or setting.

    Example:
        >>> network = build("lenet", classes=10, channels=1)
        >>> sum(p.numel() for p in network.parameters())
        61706
    """
    kind = architecture(name, **settings)
    for what, count in {"classes": classes, "channels": channels}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingError(f"{what} must be a whole number of at least 1, got {count!r}")
    width = list(width) if isinstance(width, Sequence) else width
    channels_of_stages = stages(name, width)
    kind.check_size(size)
    mean = [0.5] * channels if mean is None else [float(m) for m in mean]
    std = [0.25] * channels if std is None else [float(s) for s in std]
    with isolated(seed, "initial weights"):
        body = kind.network(channels, classes, channels_of_stages, size)
    model = Network(OrderedDict(normalize=Normalize(mean, std), net=body))
    model.spec = dict(
        name=name, classes=classes, channels=channels, width=width, size=size, mean=mean, std=std, **settings
    )
    if shapes:
        resize_(model, shapes)
        model.spec["shapes"] = {n: list(shape) for n, shape in shapes.items()}
    return model
