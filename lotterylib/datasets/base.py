"""What every data set looks like to the rest of the library."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, SettingError, UnknownNameError
from .lazy import LazyImages, pick

Split = tuple[Tensor | LazyImages, Tensor]


@dataclass(frozen=True)
class Dataset:
    """Three splits, each ``(images float32 [N, C, H, W] in [0, 1], labels int64 [N])``; the images may be lazy ones.

    ``classes`` and ``channels`` are counts, ``size`` is the side of the square images in pixels. ``root``: the folder that
    other files beside them (corrupted copies, outliers) are looked for in; None is ``./data``. ``statistics``: mean and
    standard deviation of the pixels, one number per channel, where they are known rather than computed. ``form``: the form
    of the files that were read, where there are several with other training images; it stands in the records.
    """

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    root: Path | None = None
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    form: str = ""

    def __post_init__(self):
        for split in ("train", "val", "test"):
            check_split(*getattr(self, split), classes=self.classes, where=f"{self.name}.{split}")

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.train[0].shape[1]

    @property
    def size(self) -> int:
        return self.train[0].shape[-1]

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels, one a channel; what a model's first layer subtracts."""
        if self.statistics:
            return self.statistics[0]
        return tuple(self.train[0].double().mean(dim=(0, 2, 3)).tolist())

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training pixels, one a channel."""
        if self.statistics:
            return self.statistics[1]
        return tuple(self.train[0].double().std(dim=(0, 2, 3)).tolist())

    def limited(self, limit: int) -> Dataset:
        """The same data with at most ``limit`` images a split, as class-balanced as they divide."""
        splits = {}
        for split in ("train", "val", "test"):
            images, labels = getattr(self, split)
            chosen = first_of_each_class(labels, limit)
            splits[split] = pick(images, chosen), labels[chosen]
        return replace(self, **splits)

    def without(self, classes: Sequence[int | str]) -> tuple[Dataset, Tensor]:
        """The data set of the other classes, relabelled 0, 1, … in their order, and the test images of the classes left
        out: float32 [N, C, H, W], real images that are near the data set and not of it.

        ``classes``: names or numbers. Raises ``UnknownNameError`` for a class that there is none of, ``SettingError`` if
        it names no class or leaves fewer than two.
        """
        for c in classes:
            if c not in self.class_names and c not in range(self.classes):
                raise UnknownNameError(f"class of {self.name}", c, self.class_names)
        out = {self.class_names.index(c) if isinstance(c, str) else c for c in classes}
        kept = [c for c in range(self.classes) if c not in out]
        if not out or len(kept) < 2:
            raise SettingError(f"leave out 1 to {self.classes - 2} classes of {self.name}, not {len(out)}")
        left_out = torch.isin(self.test[1], torch.tensor(sorted(out), device=self.test[1].device))
        names = tuple(self.class_names[c] for c in kept)
        splits = {s: _relabelled(getattr(self, s), kept) for s in ("train", "val", "test")}
        title = f"{self.name} without {', '.join(self.class_names[c] for c in sorted(out))}"
        return replace(self, name=title, class_names=names, **splits), pick(self.test[0], left_out)

    def in_memory(self) -> Dataset:
        """The same data as tensors: what is still in files is read, all of it, so take a ``limited`` part."""
        splits = {s: getattr(self, s) for s in ("train", "val", "test")}
        return replace(self, **{s: (images[:], labels) for s, (images, labels) in splits.items()})

    def to(self, device: str | torch.device) -> Dataset:
        """The same data on a device; moved once, then never copied again."""
        splits = {s: tuple(t.to(device) for t in getattr(self, s)) for s in ("train", "val", "test")}
        return replace(self, **splits)


def check_split(images: Tensor | LazyImages, labels: Tensor, classes: int, where: str) -> None:
    """Raises ``DataError`` unless images and labels have the form that ``Dataset`` promises."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise DataError(
            f"{where}: images must be float32 [N, C, H, W], got {images.dtype} {list(images.shape)}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"{where}: labels must be int64 [{len(images)}], got {labels.dtype} {list(labels.shape)}"
        )
    if len(images) == 0:
        raise DataError(f"{where}: no images")
    if isinstance(images, Tensor) and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"{where}: pixels must lie in [0, 1], got {images.min():.3g} to {images.max():.3g}")
    if not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(f"{where}: labels must lie in 0..{classes - 1}, got {labels.min()} to {labels.max()}")


def verify(path: Path, sha256: str) -> bytes:
    """The file's bytes, if they are the ones we know. Raises ``DataError`` for a missing or damaged file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is damaged: its SHA-256 starts with {found[:12]}, it should be {sha256[:12]}; fetch it again"
        )
    return content


def data_root(root: str | Path | None) -> Path:
    """The folder of downloaded files: the one given, or ``./data``."""
    return Path("data" if root is None else root)


def as_split(pixels: np.ndarray, labels: np.ndarray) -> Split:
    """uint8 [N, C, H, W] and integers [N] → float32 in [0, 1] and int64."""
    images = torch.from_numpy(np.array(pixels, order="C")).float().div_(255)
    return images, torch.from_numpy(labels.astype(np.int64))


def pad_to(images: Tensor, size: int) -> Tensor:
    """Zero-pads [N, C, H, W] images on all sides to ``size`` × ``size`` pixels."""
    height, width = images.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return torch.nn.functional.pad(images, (left, size - width - left, top, size - height - top))


def _relabelled(split: Split, kept: list[int]) -> Split:
    images, labels = split
    wanted = torch.tensor(kept, device=labels.device)  # rising, so a label's place in it is its new one
    chosen = torch.isin(labels, wanted)
    return pick(images, chosen), torch.searchsorted(wanted, labels[chosen])


def first_of_each_class(labels: Tensor, limit: int) -> Tensor:
    """Places of ``limit`` images, in order: the first of each class, then the second, and so on."""
    rank = torch.empty_like(labels)  # how many of the same class came before
    for c in labels.unique():
        members = (labels == c).nonzero().squeeze(1)
        rank[members] = torch.arange(len(members), device=labels.device)
    return torch.argsort(rank, stable=True)[:limit].sort().values
