"""Data sets as tensors in memory: images float32 in [0, 1], labels int64.

``load("fashion-mini")`` works offline, from the package. A new data set is one file with a ``load(root) -> Dataset``
and one line in ``_LOADERS``.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingError, UnknownNameError
from .base import Dataset, Split
from .digits import load as _digits
from .fashion import load_full as _fashion_mnist
from .fashion import load_mini as _fashion_mini

__all__ = ["Dataset", "Split", "load", "names"]

_LOADERS = {"fashion-mini": _fashion_mini, "fashion-mnist": _fashion_mnist, "digits": _digits}


def names() -> list[str]:
    """Names that ``load`` knows."""
    return sorted(_LOADERS)


def load(name: str, root: str | Path | None = None, limit: int | None = None) -> Dataset:
    """Loads a data set.

    ``root`` is the folder that holds (or will hold) downloaded files; bundled data need none. ``limit`` keeps at most
    that many images of each split, drawn class by class in the stored order, so that small subsets stay balanced.

    Raises ``UnknownNameError`` (with the nearest name), ``DataError`` for damaged or missing files, ``SettingError``
    for a limit below 1.
    """
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, _LOADERS)
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1 image, got {limit}")
    data = _LOADERS[name](None if root is None else Path(root))
    return data if limit is None else data.limited(limit)
