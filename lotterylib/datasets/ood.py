"""Images that belong to none of a data set's classes: real ones of other data sets, and noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import DataError, SettingError, UnknownNameError
from ..rng import generator
from . import cifar, digits, fashion, svhn
from .base import Dataset, Split, data_root, first_of_each_class
from .sources import Source

COUNT = 1000

NOISE = ("gaussian", "uniform")  # drawn, not read
_O = "imagenet-o"


def _everything(load: Callable[[], Dataset]) -> Split:
    """Test images first."""
    data = load()
    splits = (data.test, data.val, data.train)
    images, labels = (torch.cat(parts) for parts in zip(*splits, strict=True))
    return images, labels


# name → images and labels, given the data folder
_REAL: dict[str, Callable[[Path | None], Split]] = {
    "digits": lambda root: _everything(digits.load),
    "fashion-mini": lambda root: _everything(fashion.load_mini),
    "cifar10": cifar.CIFAR10.load_test,
    "cifar100": cifar.CIFAR100.load_test,
    "svhn": svhn.load_test,
}
# data set → what it is tested with if nobody says (Chen et al., 2022, section 4.1, and uniform noise)
_USUAL = {
    "cifar10": ("cifar100", "svhn", *NOISE),
    "cifar100": ("cifar10", "svhn", *NOISE),
    "svhn": ("cifar10", "cifar100", *NOISE),
    "imagenet": (_O, *NOISE),
    "digits": ("fashion-mini", *NOISE),
}


def names() -> tuple[str, ...]:
    """Names that ``load_ood`` and ``outliers`` know."""
    return (*_REAL, _O, *NOISE)


def usual(data: str) -> tuple[str, ...]:
    """The sets that a data set of this name is tested with unless a profile names others: for CIFAR the other CIFAR and
    SVHN, for ImageNet ImageNet-O, for grey images digits; and noise of both kinds."""
    return _USUAL.get(_family(data), ("digits", *NOISE))


def source(name: str) -> Source | None:
    """Where the files of a set come from and go; None for noise and for what comes with the package."""
    known = {
        "cifar10": lambda: cifar.CIFAR10.source,
        "cifar100": lambda: cifar.CIFAR100.source,
        "svhn": lambda: svhn.source("test"),
        _O: lambda: _IMAGENET_O,
    }
    return known[name]() if name in known else None


def load_ood(
    name: str,
    size: int | None = None,
    channels: int | None = None,
    count: int = COUNT,
    root: str | Path | None = None,
) -> Tensor:
    """Outliers: float32 [count, channels, size, size] in [0, 1], the same ones every time.

    - ``digits``: scikit-learn's handwritten digits; ``fashion-mini``: Fashion-MNIST's test images; ``cifar10``,
      ``cifar100``, ``svhn``: the test images of these, from the files in ``root`` (default ``./data``), where they are
      downloaded to if they are not there; class by class, brought to ``size`` linearly, to colour by repeating grey, to
      grey by the mean of the colours;
    - ``imagenet-o``: the photographs of ``root/imagenet-o`` (Hendrycks et al., 2021), class by class, cut as ImageNet's
      for evaluation: the middle square of ``size`` pixels where the shorter side has 8/7 of that;
    - ``gaussian``: clip(n, −1, 1)/2 + 1/2 with n normal of standard deviation 1/2, a value a pixel and channel
      (Chen et al., 2022, section 4.1);
    - ``uniform``: every value in [0, 1) alike.

    ``size`` and ``channels`` default to the set's own; noise is 1×32×32.

    Raises ``UnknownNameError`` for the name, ``SettingError`` for channels other than 1 and 3, a size or count below 1,
    or a count above what a real set has, ``MissingDataError`` for files that are not there and cannot be downloaded.
    """
    if name not in names():
        raise UnknownNameError("out-of-distribution set", name, names())
    if channels not in (None, 1, 3):
        raise SettingError(f"channels must be 1 or 3, got {channels}")
    if size is not None and size < 1 or count < 1:
        raise SettingError(f"size and count must be at least 1, got {size or 32} and {count}")
    root = None if root is None else Path(root)
    if name in _REAL:
        return _brought_to(_first(name, count, root), size, channels)
    if name == _O:
        return _brought_to(_photographs(data_root(root), count, size or 224), None, channels)
    shape, dice = (count, channels or 1, size or 32, size or 32), generator(0, "outliers", name)
    if name == "gaussian":
        return (0.5 * torch.randn(shape, generator=dice)).clamp(-1, 1) / 2 + 0.5
    return torch.rand(shape, generator=dice)


def outliers(name: str, data: Dataset, count: int = COUNT) -> Tensor:
    """``load_ood`` in the size and channels of ``data``. Raises ``SettingError`` where the outliers are ``data``'s own."""
    if name in _REAL and _family(name) == _family(data.name):
        raise SettingError(
            f"{name} is in distribution for {data.name}: choose another set of {', '.join(names())}"
        )
    return load_ood(name, data.size, data.channels, count, data.root)


def against(name: str, data: Dataset) -> list[int] | None:
    """The classes of ``data`` that these outliers are to be told from; None: all.

    ImageNet-O's photographs were chosen because networks take them for one of 200 classes of ImageNet, whose names its
    folders bear; they are compared with images of those classes, by confidence over those classes (Hendrycks et al.,
    2021, arXiv:1907.07174). Data that have fewer than two of them are compared in all their classes.
    """
    if name != _O:
        return None
    folders = {path.parent.name for path, _ in _members(data_root(data.root))}
    found = [c for c, wnid in enumerate(data.class_names) if wnid in folders]
    return found if 2 <= len(found) < data.classes else None


def _family(name: str) -> str:
    """One name for a data set, its samples, and itself without some classes."""
    name = name.partition(" ")[0]
    return "fashion" if name.startswith("fashion-") else name


def _first(name: str, count: int, root: Path | None) -> Tensor:
    """Images of a data set that holds at least ``count``, as class-balanced as they divide."""
    images, labels = _REAL[name](root)
    if count > len(labels):
        raise SettingError(f"{name} has {len(labels):,} images, not {count:,}")
    return images[first_of_each_class(labels, count)]


def _members(root: Path) -> list[tuple[Path, int]]:
    """ImageNet-O's files, each with the number of its class folder."""
    folders = sorted(p for p in (root / _O).glob("*") if p.is_dir())
    found = [(path, label) for label, f in enumerate(folders) for path in sorted(f.glob("*.JPEG"))]
    if not found:
        raise _IMAGENET_O.missing(root, "there are no class folders with .JPEG files")
    return found


def _photographs(root: Path, count: int, size: int) -> Tensor:
    from torchvision.transforms.functional import center_crop, resize

    paths, labels = zip(*_members(root), strict=True)
    if count > len(paths):
        raise SettingError(f"{_O} has {len(paths):,} images, not {count:,}")
    cut = []
    for i in first_of_each_class(torch.tensor(labels), count).tolist():
        try:
            with Image.open(paths[i]) as image:
                picture = center_crop(resize(image.convert("RGB"), round(size * 256 / 224)), size)
        except OSError as error:
            raise DataError(f"{paths[i]} is no readable image ({error}); unpack the archive again") from None
        cut.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255)
    return torch.stack(cut)


_IMAGENET_O = Source(
    title="ImageNet-O",
    place=_O,
    size="about 0.1 GB",
    fetch="fetch and unpack https://people.eecs.berkeley.edu/~hendrycks/imagenet-o.tar",
    check=_members,
)


def _brought_to(images: Tensor, size: int | None, channels: int | None) -> Tensor:
    if channels == 1:
        images = images.mean(dim=1, keepdim=True) if images.shape[1] > 1 else images
    elif images.shape[1] == 1:
        images = images.expand(-1, channels or 1, -1, -1)
    if size is None or images.shape[-1] == size:
        return images.contiguous()
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
