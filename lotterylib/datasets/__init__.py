"""Data sets: images float32 in [0, 1] in memory, or in their files where they do not fit; labels int64.

``load("fashion-mini")`` works offline, from the package. A new data set is one class with a ``load`` under ``register``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..registry import configured
from .base import BUILDERS, Dataset, DatasetBuilder, Shape, Split, data_root, register
from .corruptions import CORRUPTIONS, corrupt
from .lazy import Images, LazyImages
from .ood import load_ood
from .sources import Source

# after what they are made with, in the reference as here
from . import cifar, digits, fashion, folder, imagenet, mnist, svhn  # noqa: F401  they register  # isort: skip

__all__ = [
    "CORRUPTIONS", "Dataset", "DatasetBuilder", "Images", "LazyImages", "Shape", "Source", "Split", "build",
    "corrupt", "load", "load_corrupted", "load_ood", "names", "register", "source",
]  # fmt: skip


def names() -> list[str]:
    """Return the names that ``load`` knows, in order.

    Example:
        >>> "cifar10" in names()
        True
    """
    return sorted(BUILDERS.names())


def build(name: str, **settings: Any) -> DatasetBuilder:
    """Return what the library knows of a data set, with its settings; nothing is read.

    Raises:
        UnknownNameError: with the nearest name.
        SettingError: for a setting that the data set does not have, or an impossible value.

    Example:
        >>> build("cifar10").usual_outliers[0]
        'cifar100'
    """
    return configured(f"data set {name}", BUILDERS[name], settings)


def load(name: str, root: str | Path | None = None, limit: int | None = None, **settings: Any) -> Dataset:
    """Load a data set.

    Args:
        root: The folder that holds (or will hold) downloaded files, ``./data`` by default; bundled data need none, and
            for ``folder`` it is the one with the images.
        limit: Keeps at most that many images of each split, drawn class by class in the stored order, so that small
            subsets stay balanced.
        settings: The data set's own, e.g. ``size=64, resize=72`` for ImageNet.

    Raises:
        UnknownNameError: with the nearest name.
        MissingDataError: for files that are not there and cannot be downloaded.
        DataError: for damaged ones.
        SettingError: for a limit below 1 or a setting that the data set does not have.

    Example:
        >>> data = load("fashion-mini", limit=100)
        >>> data.classes, tuple(data.train[0].shape)
        (10, (100, 1, 32, 32))
    """
    _check_limit(limit)
    builder, root = build(name, **settings), None if root is None else Path(root)
    data = replace(builder.load(root), root=builder.shared_root(root), builder=builder)
    return data if limit is None else data.limited(limit)


def source(name: str) -> Source | None:
    """Return where the files of a data set come from and go; None for what comes with a package.

    Raises:
        UnknownNameError: for a name not in ``names()``.

    Example:
        >>> source("svhn").place, source("digits")
        ('svhn', None)
    """
    return build(name).source()


def load_corrupted(
    name: str, corruption: str, severity: int, root: str | Path | None = None, limit: int | None = None
) -> Split:
    """Return the test images of a data set under one of ``CORRUPTIONS`` at a severity of 1 to 5, with their labels.

    For "cifar10", "cifar100" and "imagenet" they are the published CIFAR-10-C, CIFAR-100-C and ImageNet-C, read from
    ``root/CIFAR-10-C`` and so on (``root`` defaults to ``./data``); ImageNet's images stay on disk until asked for. Any
    other data set is corrupted here, in the same way for the same images. ``limit``: as in ``load``.

    Raises:
        UnknownNameError: for the data set or the corruption.
        SettingError: for the severity or the limit.
        DataError: for damaged or missing files.

    Example:
        >>> images, labels = load_corrupted("digits", "contrast", severity=5, limit=10)
        >>> images.shape, len(labels)
        (torch.Size([10, 1, 32, 32]), 10)
    """
    archive = BUILDERS[name].archive
    _check_limit(limit)
    if archive:
        return archive.read(data_root(root) / archive.name, corruption, severity, limit)
    images, labels = load(name, root, limit).test
    return corrupt(images[:], corruption, severity), labels


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1 image, got {limit}")
