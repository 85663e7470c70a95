"""Images that belong to none of a data set's classes: real ones of other data sets, and noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingError, UnknownNameError
from ..rng import generator
from .base import BUILDERS, Dataset, DatasetBuilder, Shape, data_root, first_of_each_class
from .lazy import LazyImages
from .sources import Source

COUNT = 1000
# drawn, not read: what readers call it
_NOISE = {"gaussian": "Gaussian noise", "uniform": "uniform noise"}
NOISE = tuple(_NOISE)


class Outliers(ABC):
    """A set of outliers; ``title`` is what readers call it, ``family`` names the data that it is in distribution for."""

    name: str
    title: str
    family: str = ""

    def source(self) -> Source | None:
        """Return where the files come from and go; None for noise and for what comes with a package."""
        return None

    @abstractmethod
    def images(self, size: int | None, channels: int | None, count: int, root: Path | None) -> Tensor:
        """Return float32 [count, channels, size, size] in [0, 1]; None is the set's own size or channels."""

    def against(self, data: Dataset) -> list[int] | None:
        """Return the classes of ``data`` that these outliers are compared with; None: all."""
        return None


class Noise(Outliers):
    """``gaussian``: clip(n, −1, 1)/2 + 1/2 with n normal of standard deviation 1/2, one value per pixel and channel
    (Chen et al., 2022, section 4.1); ``uniform``: every value in [0, 1) alike."""

    def __init__(self, name: str):
        self.name, self.title = name, _NOISE[name]

    def images(self, size: int | None, channels: int | None, count: int, root: Path | None) -> Tensor:
        shape, random = (count, channels or 1, size or 32, size or 32), generator(0, "outliers", self.name)
        if self.name == "gaussian":
            return (0.5 * torch.randn(shape, generator=random)).clamp(-1, 1) / 2 + 0.5
        return torch.rand(shape, generator=random)


@dataclass
class OtherData(Outliers):
    """The images of another data set: class by class, brought to a size linearly, to colour by repeating grey, to grey by
    the mean of the colours."""

    builder: DatasetBuilder

    def __post_init__(self):
        self.name, self.family = self.builder.name, family(self.builder)
        self.title = self.builder.title or self.name

    def source(self) -> Source | None:
        return self.builder.outlier_source()

    def images(self, size: int | None, channels: int | None, count: int, root: Path | None) -> Tensor:
        images, labels = self.builder.outliers(root)
        if count > len(labels):
            raise SettingError(f"{self.name} has {len(labels):,} images, not {count:,}")
        return _brought_to(images[first_of_each_class(labels, count)], size, channels)


class ImageNetO(Outliers):
    """The photographs of ``root/imagenet-o`` (Hendrycks et al., 2021, arXiv:1907.07174), class by class, cut as ImageNet's
    for evaluation: the middle square of ``size`` pixels where the shorter side has 8/7 of that."""

    name = "imagenet-o"
    title = "ImageNet-O"

    def source(self) -> Source:
        return Source(
            title=self.title,
            place=self.name,
            size="about 0.1 GB",
            fetch="fetch and unpack https://people.eecs.berkeley.edu/~hendrycks/imagenet-o.tar",
            check=self._members,
        )

    def images(self, size: int | None, channels: int | None, count: int, root: Path | None) -> Tensor:
        members, size = self._members(data_root(root)), size or 224
        if count > len(members):
            raise SettingError(f"{self.name} has {len(members):,} images, not {count:,}")
        labels = torch.tensor([label for _, label in members])
        names = [path for path, _ in members]
        files = LazyImages(data_root(root) / self.name, names, size, round(size * 256 / 224))
        return _brought_to(files[first_of_each_class(labels, count)], None, channels)

    def against(self, data: Dataset) -> list[int] | None:
        """Return the classes whose names the folders bear, if ``data`` has two or more of them and others.

        The photographs were chosen because networks take them for one of 200 classes of ImageNet; they are compared with
        images of those classes, by confidence over those classes.
        """
        folders = {name.partition("/")[0] for name, _ in self._members(data_root(data.root))}
        found = [c for c, wnid in enumerate(data.class_names) if wnid in folders]
        return found if 2 <= len(found) < data.classes else None

    def _members(self, root: Path) -> list[tuple[str, int]]:
        """Return the files below the folder, each with the number of its class folder."""
        folders = sorted(p for p in (root / self.name).glob("*") if p.is_dir())
        found = [(f"{f.name}/{p.name}", c) for c, f in enumerate(folders) for p in sorted(f.glob("*.JPEG"))]
        if not found:
            raise self.source().missing(root, "there are no class folders with .JPEG files")
        return found


def names() -> tuple[str, ...]:
    """Return the names that ``load_ood`` and ``outliers`` know."""
    return tuple(_sets())


def usual(data: Dataset | Shape | DatasetBuilder | str) -> tuple[str, ...]:
    """Return the sets of real images that data are tested with unless a profile names others: their own where they have some,
    for CIFAR the other CIFAR and SVHN, for ImageNet ImageNet-O, else handwritten digits. A text is a name in the registry;
    any other gives what suits unknown data."""
    own = tuple(data.outliers) if isinstance(data, (Dataset, Shape)) else ()
    return own or _known(data).usual_outliers


def extras(data: Dataset | Shape | DatasetBuilder | str) -> tuple[str, ...]:
    """Return the sets that are shown beside the usual ones: noise of both kinds (Chen et al., 2022, section 4.1)."""
    return _known(data).extra_outliers


def _known(data: Dataset | Shape | DatasetBuilder | str) -> DatasetBuilder | type[DatasetBuilder]:
    if isinstance(data, Dataset):
        data = data.builder or ""
    if isinstance(data, Shape):
        data = data.name
    if not isinstance(data, str):
        return data
    return BUILDERS[data] if data in BUILDERS.names() else DatasetBuilder


def title(name: str) -> str:
    """Return what readers call a set of outliers or a data set; a name that is not known, such as a user's own, is its title.

    Example:
        >>> title("gaussian"), title("mnist-mini"), title("imagenet"), title("mine")
        ('Gaussian noise', 'a sample of MNIST', 'ImageNet', 'mine')
    """
    if name in (known := _sets()):
        return known[name].title
    return (BUILDERS[name].title if name in BUILDERS else "") or name


def source(name: str) -> Source | None:
    """Return where the files of a set come from and go; None for noise and for what comes with the package."""
    return _set(name).source()


def load_ood(
    name: str,
    size: int | None = None,
    channels: int | None = None,
    count: int = COUNT,
    root: str | Path | None = None,
) -> Tensor:
    """Return outliers: float32 [count, channels, size, size] in [0, 1], the same ones every time.

    Args:
        name: A data set that serves as outliers (its test images; all of ``digits``, ``mnist-mini`` and ``fashion-mini``), ``imagenet-o``,
            ``gaussian`` or ``uniform``.
        size, channels: Default to the set's own; noise is 1×32×32.
        root: The data folder (default ``./data``), where files are downloaded to if they are not there.

    Raises:
        UnknownNameError: for the name.
        SettingError: for channels other than 1 and 3, a size or count below 1, or a count above what a real set has.
        MissingDataError: for files that are not there and cannot be downloaded.

    Example:
        >>> load_ood("gaussian", size=8, channels=3, count=2).shape
        torch.Size([2, 3, 8, 8])
    """
    chosen = _set(name)
    if channels not in (None, 1, 3):
        raise SettingError(f"channels must be 1 or 3, got {channels}")
    if size is not None and size < 1 or count < 1:
        raise SettingError(f"size and count must be at least 1, got {size or 32} and {count}")
    return chosen.images(size, channels, count, None if root is None else Path(root))


def outliers(name: str, data: Dataset, count: int = COUNT) -> Tensor:
    """Return ``load_ood`` in the size and channels of ``data``, or at most ``count`` of a set that the data bring along; raise
    ``SettingError`` for a set that is in distribution."""
    if name in data.outliers:
        return data.outliers[name][:count]
    if in_distribution(name, data):
        raise SettingError(
            f"{name} is in distribution for {data.name}: choose another set of {', '.join(names())}"
        )
    return load_ood(name, data.size, data.channels, count, data.root)


def in_distribution(name: str, data: Dataset) -> bool:
    """Return whether a set's images are of the same kind as the data's."""
    return data.builder is not None and _set(name).family == family(data.builder)


def against(name: str, data: Dataset) -> list[int] | None:
    """Return the classes of ``data`` that these outliers are compared with; None: all."""
    known = _sets()
    # the caller's own pictures may bear any name
    return known[name].against(data) if name in known and name not in data.outliers else None


def family(builder: DatasetBuilder) -> str:
    """Return one name for a data set and its samples."""
    return builder.family or builder.name


def _sets() -> dict[str, Outliers]:
    others = (BUILDERS[name] for name in BUILDERS.names())
    found = [OtherData(kind()) for kind in others if kind.serves_as_outliers]
    return {each.name: each for each in (*found, ImageNetO(), *map(Noise, NOISE))}


def _set(name: str) -> Outliers:
    known = _sets()
    if name not in known:
        raise UnknownNameError("out-of-distribution set", name, known)
    return known[name]


def _brought_to(images: Tensor, size: int | None, channels: int | None) -> Tensor:
    if channels == 1:
        images = images.mean(dim=1, keepdim=True) if images.shape[1] > 1 else images
    elif images.shape[1] == 1:
        images = images.expand(-1, channels or 1, -1, -1)
    if size is None or images.shape[-1] == size:
        return images.contiguous()
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
