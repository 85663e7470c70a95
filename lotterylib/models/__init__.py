"""Networks that take pixels in [0, 1]: normalisation is the first layer of each.

A new model is one function ``(channels, classes, width, size, **settings) -> nn.Module`` and one line in ``_BUILDERS``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..errors import SettingError, UnknownNameError
from ..rng import isolated
from .layers import Normalize
from .lenet import lenet
from .resnet import resnet8, resnet20s

__all__ = ["Normalize", "build", "names"]

_BUILDERS = {"lenet": lenet, "resnet8": resnet8, "resnet20s": resnet20s}


def names() -> list[str]:
    """Names that ``build`` knows."""
    return sorted(_BUILDERS)


def build(
    name: str,
    classes: int,
    channels: int,
    width: float = 1.0,
    size: int = 32,
    *,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **settings: Any,
) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights on every machine.

    ``classes`` and ``channels`` are counts, ``size`` the side of the square input in pixels, ``width`` multiplies the
    number of channels of every hidden layer. ``mean`` and ``std`` (one number a channel; default 0.5 and 0.25) are
    what the first layer normalises by. ``settings`` are the model's own, e.g. ``stem_stride=2`` for a ResNet.

    The network carries its own description in ``.spec``, from which ``build(**spec)`` makes a twin.

    Raises ``UnknownNameError`` for a name not in ``names()``, ``SettingError`` for an impossible size or width.
    """
    if name not in _BUILDERS:
        raise UnknownNameError("model", name, _BUILDERS)
    for what, count in {"classes": classes, "channels": channels}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingError(f"{what} must be a whole number of at least 1, got {count!r}")
    if not width > 0:
        raise SettingError(f"width must be above 0, got {width}")
    mean = [0.5] * channels if mean is None else [float(m) for m in mean]
    std = [0.25] * channels if std is None else [float(s) for s in std]
    with isolated(seed, "initial weights"):
        try:
            body = _BUILDERS[name](channels, classes, width, size, **settings)
        except TypeError as error:  # an unknown setting
            raise SettingError(f"model {name}: {error}") from None
    model = nn.Sequential(OrderedDict(normalize=Normalize(mean, std), net=body))
    model.spec = dict(
        name=name, classes=classes, channels=channels, width=width, size=size, mean=mean, std=std, **settings
    )
    return model
