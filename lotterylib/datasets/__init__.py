"""Data sets: images float32 in [0, 1] in memory, or in their files where they do not fit; labels int64.

``load("fashion-mini")`` works offline, from the package. A new data set is one file with a ``load(root) -> Dataset``
and one line in ``_LOADERS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import SettingError, UnknownNameError
from . import cifar as _cifar
from . import fashion as _fashion
from . import svhn as _svhn
from .base import Dataset, Split, data_root
from .corrupted import PUBLISHED, ImageFiles
from .corruptions import CORRUPTIONS, corrupt
from .digits import load as _digits
from .imagenet import load as _imagenet
from .lazy import LazyImages
from .ood import load_ood
from .sources import Source

__all__ = [
    "CORRUPTIONS",
    "Dataset",
    "ImageFiles",
    "LazyImages",
    "Source",
    "Split",
    "corrupt",
    "load",
    "load_corrupted",
    "load_ood",
    "names",
    "source",
]

_LOADERS = {
    "fashion-mini": _fashion.load_mini,
    "fashion-mnist": _fashion.load_full,
    "digits": _digits,
    "cifar10": _cifar.CIFAR10.load,
    "cifar100": _cifar.CIFAR100.load,
    "svhn": _svhn.load,
    "imagenet": _imagenet,
}
_SOURCES = {
    "fashion-mnist": _fashion.source,
    "cifar10": lambda: _cifar.CIFAR10.source,
    "cifar100": lambda: _cifar.CIFAR100.source,
    "svhn": lambda: _svhn.source("train", "test"),
    "imagenet": lambda: _imagenet_source(),
}


def _imagenet_source() -> Source:
    def check(root: Path) -> None:
        if not any((folder / "train").is_dir() for folder in (root, root / "imagenet")):
            raise source("imagenet").missing(root)
        load("imagenet", root)

    return Source(
        title="ImageNet",
        place="imagenet",
        size="144 GB",
        fetch="get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, which asks to accept its "
        "terms, and unpack them into folders train and val, with a folder a WordNet id in each,",
        check=check,
    )


def names() -> list[str]:
    """Names that ``load`` knows."""
    return sorted(_LOADERS)


def load(name: str, root: str | Path | None = None, limit: int | None = None, **settings: Any) -> Dataset:
    """Loads a data set.

    ``root`` is the folder that holds (or will hold) downloaded files, ``./data`` by default; bundled data need none.
    ``limit`` keeps at most that many images of each split, drawn class by class in the stored order, so that small
    subsets stay balanced. ``settings`` are the data set's own, e.g. ``size=64, resize=72`` for ImageNet.

    Raises ``UnknownNameError`` (with the nearest name), ``MissingDataError`` for files that are not there and cannot be
    downloaded, ``DataError`` for damaged ones, ``SettingError`` for a limit below 1 or a setting that the data set does
    not have.
    """
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, _LOADERS)
    _check_limit(limit)
    check_settings(name, settings)
    root = None if root is None else Path(root)
    data = replace(_LOADERS[name](root, **settings), root=root)
    return data if limit is None else data.limited(limit)


def check_settings(name: str, settings: Iterable[str]) -> None:
    """Raises ``SettingError`` for one that the data set does not have."""
    known = sorted(inspect.signature(_LOADERS[name]).parameters.keys() - {"root"})
    if unknown := sorted(set(settings) - set(known)):
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise SettingError(f"data set {name} has no setting {unknown[0]!r}: {has}")


def source(name: str) -> Source | None:
    """Where the files of a data set come from and go; None for what comes with the package or with scikit-learn.

    Raises ``UnknownNameError`` for a name not in ``names()``.
    """
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, _LOADERS)
    return _SOURCES[name]() if name in _SOURCES else None


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
    if name not in PUBLISHED and name not in _LOADERS:
        raise UnknownNameError("data set", name, {*_LOADERS, *PUBLISHED})
    _check_limit(limit)
    if name in PUBLISHED:
        archive = PUBLISHED[name]
        return archive.read(data_root(root) / archive.name, corruption, severity, limit)
    images, labels = load(name, root, limit).test
    return corrupt(images, corruption, severity), labels


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1 image, got {limit}")
