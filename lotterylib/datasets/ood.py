"""Images that belong to none of a data set's classes: real ones of other data sets, and noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingError, UnknownNameError
from ..rng import generator
from . import digits, fashion
from .base import Dataset, first_of_each_class

COUNT = 1000

_REAL = {"digits": digits.load, "fashion-mini": fashion.load_mini}
_NOISE = ("gaussian", "uniform")


def names() -> tuple[str, ...]:
    """Names that ``load_ood`` and ``outliers`` know."""
    return (*_REAL, *_NOISE)


def load_ood(name: str, size: int = 32, channels: int = 1, count: int = COUNT) -> Tensor:
    """Outliers: float32 [count, channels, size, size] in [0, 1], the same ones every time.

    - ``digits``: scikit-learn's handwritten digits, ``fashion-mini``: Fashion-MNIST's test images; class by class,
      brought to ``size`` linearly and to colour by repeating grey;
    - ``gaussian``: clip(n, −1, 1)/2 + 1/2 with n normal of standard deviation 1/2, a value a pixel and channel
      (Chen et al., 2022, section 4.1);
    - ``uniform``: every value in [0, 1) alike.

    Raises ``UnknownNameError`` for the name, ``SettingError`` for channels other than 1 and 3, a size or count below 1,
    or a count above what a real set has.
    """
    if name not in names():
        raise UnknownNameError("out-of-distribution set", name, names())
    if channels not in (1, 3):
        raise SettingError(f"channels must be 1 or 3, got {channels}")
    if size < 1 or count < 1:
        raise SettingError(f"size and count must be at least 1, got {size} and {count}")
    if name in _REAL:
        return _brought_to(_first(name, count), size, channels)
    shape, dice = (count, channels, size, size), generator(0, "outliers", name)
    if name == "gaussian":
        return (0.5 * torch.randn(shape, generator=dice)).clamp(-1, 1) / 2 + 0.5
    return torch.rand(shape, generator=dice)


def outliers(name: str, data: Dataset, count: int = COUNT) -> Tensor:
    """``load_ood`` in the size and channels of ``data``. Raises ``SettingError`` where the outliers are ``data``'s own."""
    if name in _REAL and name.partition("-")[0] == data.name.partition("-")[0]:
        raise SettingError(
            f"{name} is in distribution for {data.name}: choose another set of {', '.join(names())}"
        )
    return load_ood(name, data.size, data.channels, count)


def _first(name: str, count: int) -> Tensor:
    """Images of a data set that holds at least ``count``: test images first, as class-balanced as they divide."""
    data = _REAL[name]()
    splits = (data.test, data.val, data.train)
    images, labels = (torch.cat(parts) for parts in zip(*splits, strict=True))
    if count > len(labels):
        raise SettingError(f"{name} has {len(labels):,} images, not {count:,}")
    return images[first_of_each_class(labels, count)]


def _brought_to(images: Tensor, size: int, channels: int) -> Tensor:
    if images.shape[1] == 1:
        images = images.expand(-1, channels, -1, -1)
    if images.shape[-1] == size:
        return images.contiguous()
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
