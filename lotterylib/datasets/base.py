"""The form of every data set, loaded (``Dataset``) and before it is loaded (``DatasetBuilder``)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..errors import DataError, SettingError, UnknownNameError
from ..files import content_of
from ..registry import Registry
from .concepts import GENERAL, Concepts, concepts
from .lazy import Images, LazyImages, pick
from .own import Corrupted

if TYPE_CHECKING:
    from .corrupted import Published
    from .sources import Source

Split = tuple[Images, Tensor]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Shape:
    """The form of a data set: channels, side in pixels, classes, images in each split.

    ``name`` is the one in the registry; empty for data that are nobody's but the caller's, whatever they are called.
    ``outliers``: sets of the caller's own, in place of the usual ones; ``corrupted``: how many sets of corrupted images
    of their own, and how many images in each.
    """

    channels: int
    size: int
    classes: int
    train: int
    val: int
    test: int
    name: str = ""
    outliers: tuple[str, ...] = ()
    corrupted: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, data: Dataset) -> Shape:
        """Return the form of loaded data."""
        train, val, test = (len(labels) for _, labels in (data.train, data.val, data.test))
        name = data.builder.name if data.builder else ""
        own = (data.corrupted.sets, len(data.corrupted.labels)) if data.corrupted else (0, 0)
        return cls(data.channels, data.size, data.classes, train, val, test, name, tuple(data.outliers), own)

    def corruptions(self, images: int) -> int:
        """Return how many corrupted images ``images`` of the test set give: in own sets, or under 15 corruptions of 5 severities."""
        sets, each = self.corrupted
        return sets * min(images, each) if sets else 15 * 5 * min(images, self.test)

    def limited(self, limit: int | None) -> Shape:
        """Return the form of at most ``limit`` images per split."""
        return self if limit is None else replace(self, **{s: min(getattr(self, s), limit) for s in SPLITS})


class DatasetBuilder(BaseModel, ABC):
    """All that the library knows of a data set. Fields are its settings, checked when a profile is read.

    Subclasses give ``name`` and ``load``, and what else is known of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    # what readers call it; empty: by its name
    title: ClassVar[str] = ""
    # images of one family are in distribution for each other; empty: the name
    family: ClassVar[str] = ""
    # without the settings' influence; None: the data are loaded to see
    known_shape: ClassVar[Shape | None] = None
    # sets of ``load_ood`` that the data are tested with unless a profile names others
    usual_outliers: ClassVar[tuple[str, ...]] = ("mnist-mini",)
    # sets that are shown beside them and are no part of the mean: noise, which says more of chance than of a network
    extra_outliers: ClassVar[tuple[str, ...]] = ("gaussian", "uniform")
    # whether ``load_ood`` knows the data by their name
    serves_as_outliers: ClassVar[bool] = False
    # rules of ``datasets.concepts`` that hold for the images; "class": what is not black is the object
    concept_kinds: ClassVar[frozenset[str]] = GENERAL
    # the published corrupted test images
    archive: ClassVar[Published | None] = None
    # whether ``root`` holds these images alone, so that nothing else is looked for or put there
    own_root: ClassVar[bool] = False

    @abstractmethod
    def load(self, root: Path | None) -> Dataset:
        """Read the three splits; ``root`` is the data folder (default ``./data``).

        Raises:
            DataError: for damaged or missing files.
        """

    def source(self) -> Source | None:
        """Return where the files come from and go; None for what comes with a package."""
        return None

    def shape(self, root: Path | None) -> Shape:
        """Return the form of the data, for planning; without reading them where it is known."""
        return replace(self.known_shape or Shape.of(self.load(root)), name=self.name)

    def outliers(self, root: Path | None) -> Split:
        """Return the images that are outliers for other data: those of the test set."""
        return self.load(root).test

    def outlier_source(self) -> Source | None:
        """Return where the files for ``outliers`` come from."""
        return self.source()

    def concepts(self, images: Tensor, labels: Tensor, class_names: Sequence[str]) -> Concepts:
        """Return the concepts that the images show, by the rules that hold for these data."""
        return concepts(images, labels, class_names, self.concept_kinds)

    def content(self, root: Path | None) -> str | None:
        """Return a digest of files that are the user's own, part of a study's identity; None where the name says all."""
        return None

    def shared_root(self, root: Path | None) -> Path | None:
        """Return the folder where outliers and corrupted copies lie and are downloaded to."""
        return None if self.own_root else root


BUILDERS: Registry[type[DatasetBuilder]] = Registry(
    "data set", "lotterylib.datasets", name_of=lambda cls: cls.name
)
register = BUILDERS.register


@dataclass(frozen=True)
class Dataset:
    """Three splits, each ``(images float32 [N, C, H, W] in [0, 1], labels int64 [N])``; the images may be lazy ones.

    Args:
        root: The folder where corrupted copies and outliers are looked for; None is ``./data``.
        statistics: Mean and standard deviation of the pixels, one number per channel, where they need no computing.
        form: The form of the files, where several have other training images; it stands in the records.
        builder: What the data are. A name says nothing: a user's folder may have any.
        whole: False once classes were left out: published files no longer fit.
        outliers: Sets of the caller's own, name → images, in place of the usual ones.
        corrupted: Corrupted images of the caller's own, in place of generated ones.
        files: Where each test image was read from, for people; empty where there are no such files.
    """

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    root: Path | None = None
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    form: str = ""
    builder: DatasetBuilder | None = None
    whole: bool = True
    outliers: Mapping[str, Images] = field(default_factory=dict)
    corrupted: Corrupted | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self):
        for split in SPLITS:
            check_split(*getattr(self, split), classes=self.classes, where=f"{self.name}.{split}")

    @property
    def title(self) -> str:
        """Return what readers call the data: their name, where they are a user's own or where classes were left out."""
        return (self.builder.title if self.builder and self.builder.name == self.name else "") or self.name

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return self.train[0].shape[1]

    @property
    def size(self) -> int:
        """Return the side of the square images, in pixels."""
        return self.train[0].shape[-1]

    @property
    def mean(self) -> tuple[float, ...]:
        """Return the mean of the training pixels, one number per channel; a model's first layer subtracts it."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Return the standard deviation of the training pixels, one number per channel."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.statistics:
            return self.statistics
        images = self.train[0]
        if isinstance(images, LazyImages):
            return _streamed(images[i : i + 256] for i in range(0, len(images), 256))
        pixels = images.double()
        return tuple(pixels.mean(dim=(0, 2, 3)).tolist()), tuple(pixels.std(dim=(0, 2, 3)).tolist())

    @property
    def archive(self) -> Published | None:
        """Return the published corrupted copy of the test images, if there is one."""
        return self.builder.archive if self.builder and self.whole else None

    def concepts(self, images: Tensor, labels: Tensor) -> Concepts:
        """Return the concepts that some of the images show; for unknown data those that hold for all images."""
        if self.builder:
            return self.builder.concepts(images, labels, self.class_names)
        return concepts(images, labels, self.class_names, DatasetBuilder.concept_kinds)

    def everything(self) -> Split:
        """Return the images of all splits, those of the test set first."""
        splits = (self.test, self.val, self.train)
        return torch.cat([images[:] for images, _ in splits]), torch.cat([labels for _, labels in splits])

    def limited(self, limit: int) -> Dataset:
        """Return the same data with at most ``limit`` images per split, as class-balanced as they divide."""

        def some(images: Images, labels: Tensor) -> Split:
            chosen = first_of_each_class(labels, limit)
            return pick(images, chosen), labels[chosen]

        files = first_of_each_class(self.test[1], limit).tolist() if self.files else ()
        return self._with(some, files=tuple(self.files[i] for i in files))

    def without(self, classes: Sequence[int | str]) -> tuple[Dataset, Images]:
        """Return the data set of the other classes, relabelled 0, 1, … in their order, and the test images of the classes
        left out: float32 [N, C, H, W], real images that are near the data set and not of it.

        Raises:
            UnknownNameError: for a class, by name or number, that there is none of.
            SettingError: if it names no class or leaves fewer than two.
        """
        for c in classes:
            if c not in self.class_names and c not in range(self.classes):
                raise UnknownNameError(f"class of {self.name}", c, self.class_names)
        out = {self.class_names.index(c) if isinstance(c, str) else c for c in classes}
        kept = [c for c in range(self.classes) if c not in out]
        if not out or len(kept) < 2:
            raise SettingError(f"leave out 1 to {self.classes - 2} classes of {self.name}, not {len(out)}")

        def relabelled(images: Images, labels: Tensor) -> Split:
            # rising, so a label's place in it is its new one
            wanted = torch.tensor(kept, device=labels.device)
            chosen = torch.isin(labels, wanted)
            return pick(images, chosen), torch.searchsorted(wanted, labels[chosen])

        left_out = torch.isin(self.test[1], torch.tensor(sorted(out), device=self.test[1].device))
        names = tuple(self.class_names[c] for c in kept)
        title = f"{self.name} without {', '.join(self.class_names[c] for c in sorted(out))}"
        rest = self._with(relabelled, name=title, class_names=names, whole=False, corrupted=None, files=())
        return rest, pick(self.test[0], left_out)

    def in_memory(self) -> Dataset:
        """Return the same data as tensors: all that is still in files is read, so take a ``limited`` part."""
        return self._with(lambda images, labels: (images[:], labels))

    def cloned(self) -> Dataset:
        """Return a copy of data in memory, whose tensors the caller may change."""
        return self._with(lambda images, labels: (images[:].clone(), labels.clone()))

    def to(self, device: str | torch.device) -> Dataset:
        """Return the same data on a device; moved once, then never copied again."""
        return self._with(lambda images, labels: (images.to(device), labels.to(device)))

    def _with(self, change: Callable[[Images, Tensor], Split], **fields: object) -> Dataset:
        return replace(self, **{split: change(*getattr(self, split)) for split in SPLITS}, **fields)


def check_split(images: Images, labels: Tensor, classes: int, where: str) -> None:
    """Raise ``DataError`` unless images and labels have the form that ``Dataset`` promises."""
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
    """Return the file's bytes; raise ``DataError`` for a missing or damaged file."""
    try:
        content = content_of(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is damaged: its SHA-256 starts with {found[:12]}, it should be {sha256[:12]}; fetch it again"
        )
    return content


def data_root(root: str | Path | None) -> Path:
    """Return the folder of downloaded files: the one given, or ``./data``."""
    return Path("data" if root is None else root)


def as_split(pixels: np.ndarray, labels: np.ndarray) -> Split:
    """Return uint8 [N, C, H, W] and integers [N] as float32 in [0, 1] and int64."""
    images = torch.from_numpy(np.array(pixels, order="C")).float().div_(255)
    return images, torch.from_numpy(labels.astype(np.int64))


def pad_to(images: Tensor, size: int) -> Tensor:
    """Pad [N, C, H, W] images with zeros on all sides to ``size`` × ``size`` pixels."""
    height, width = images.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return torch.nn.functional.pad(images, (left, size - width - left, top, size - height - top))


def first_of_each_class(labels: Tensor, limit: int) -> Tensor:
    """Return the places of ``limit`` images, in order: the first of each class, then the second, and so on.

    Example:
        >>> first_of_each_class(torch.tensor([0, 0, 0, 1, 1, 2]), 4).tolist()
        [0, 1, 3, 5]
    """
    # how many of the same class came before
    rank = torch.empty_like(labels)
    for c in labels.unique():
        members = (labels == c).nonzero().squeeze(1)
        rank[members] = torch.arange(len(members), device=labels.device)
    return torch.argsort(rank, stable=True)[:limit].sort().values


def _streamed(batches: Iterator[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of batches [n, C, H, W], merged as in Chan et al. (1983)."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        pixels = batch.double().movedim(1, 0).flatten(1)
        more, theirs = pixels.shape[1], pixels.mean(dim=1)
        shift, total = theirs - mean, count + more
        squares = squares + (pixels - theirs[:, None]).square().sum(dim=1) + shift**2 * count * more / total
        mean, count = mean + shift * more / total, total
    return tuple(mean.tolist()), tuple((squares / (count - 1)).sqrt().tolist())
