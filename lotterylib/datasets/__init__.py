"""Data sets: images float32 in [0, 1] in memory, or in their files where they do not fit; labels int64.

``load("fashion-mini")`` works offline, from the package. A new data set is one file with a ``load(root) -> Dataset``
and one line in ``_LOADERS``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import SettingError, UnknownNameError
from .base import Dataset, Split
from .corrupted import ImageFiles, read_cifar_c, read_imagenet_c
from .corruptions import CORRUPTIONS, corrupt
from .digits import load as _digits
from .fashion import load_full as _fashion_mnist
from .fashion import load_mini as _fashion_mini
from .imagenet import load as _imagenet
from .lazy import LazyImages
from .ood import load_ood

__all__ = [
    "CORRUPTIONS",
    "Dataset",
    "ImageFiles",
    "LazyImages",
    "Split",
    "corrupt",
    "load",
    "load_corrupted",
    "load_ood",
    "names",
]

_LOADERS = {
    "fashion-mini": _fashion_mini,
    "fashion-mnist": _fashion_mnist,
    "digits": _digits,
    "imagenet": _imagenet,
}
_PUBLISHED = {
    "cifar10": ("CIFAR-10-C", read_cifar_c),
    "cifar100": ("CIFAR-100-C", read_cifar_c),
    "imagenet": ("ImageNet-C", read_imagenet_c),
}


def names() -> list[str]:
    """Names that ``load`` knows."""
    return sorted(_LOADERS)


def load(name: str, root: str | Path | None = None, limit: int | None = None, **settings: Any) -> Dataset:
    """Loads a data set.

    ``root`` is the folder that holds (or will hold) downloaded files; bundled data need none. ``limit`` keeps at most
    that many images of each split, drawn class by class in the stored order, so that small subsets stay balanced.
    ``settings`` are the data set's own, e.g. ``size=64, resize=72`` for ImageNet.

    Raises ``UnknownNameError`` (with the nearest name), ``DataError`` for damaged or missing files, ``SettingError``
    for a limit below 1 or a setting that the data set does not have.
    """
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, _LOADERS)
    _check_limit(limit)
    loader, known = _LOADERS[name], inspect.signature(_LOADERS[name]).parameters
    if unknown := sorted(settings.keys() - (known.keys() - {"root"})):
        raise SettingError(f"data set {name} has no setting {unknown[0]!r}")
    data = loader(None if root is None else Path(root), **settings)
    return data if limit is None else data.limited(limit)


def load_corrupted(
    name: str, corruption: str, severity: int, root: str | Path | None = None, limit: int | None = None
) -> Split | tuple[ImageFiles, Tensor]:
    """The test images of a data set under one of ``CORRUPTIONS`` at a severity of 1 to 5, with their labels.

    "cifar10", "cifar100" and "imagenet" are the published CIFAR-10-C, CIFAR-100-C and ImageNet-C, read from
    ``root/CIFAR-10-C`` and so on (``root`` defaults to ``./data``); ImageNet's images stay on disk until asked for. Any
    other data set that ``load`` knows is corrupted here, in the same way for the same images. ``limit``: as in ``load``.

    Raises ``UnknownNameError`` for the data set or the corruption, ``SettingError`` for the severity or the limit,
    ``DataError`` for damaged or missing files.
    """
    if name not in _PUBLISHED and name not in _LOADERS:
        raise UnknownNameError("data set", name, {*_LOADERS, *_PUBLISHED})
    _check_limit(limit)
    if name in _PUBLISHED:
        folder, read = _PUBLISHED[name]
        return read(Path("data" if root is None else root) / folder, corruption, severity, limit)
    images, labels = load(name, root, limit).test
    return corrupt(images, corruption, severity), labels


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1 image, got {limit}")
