"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their Python pickles, which are read without running what a pickle may
run, or from class folders of PNG files, the form in which many mirrors keep them.

In pickles, as in Chen et al. (2022), the first nine tenths of the training images (45,000) train and the others (5,000)
validate. Class folders have lost that order: a tenth of each class, drawn with a fixed seed, validates.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from ..errors import DataError, one_line
from ..files import content_of
from ..rng import generator
from .base import (
    Dataset,
    DatasetBuilder,
    Shape,
    Split,
    as_split,
    check_split,
    data_root,
    first_of_each_class,
    register,
)
from .corrupted import CIFAR10_C, CIFAR100_C
from .lazy import Reader
from .sources import Source, fetch, md5_of

# bytes: a file above is one of the published batches, or damaged
LARGE = 10_000_000
COUNTS = {"train": 50_000, "test": 10_000}

# images uint8 [N, 3, 32, 32], labels int64 [N]
Arrays = tuple[np.ndarray, np.ndarray]


class Cifar(DatasetBuilder):
    """CIFAR-10 or CIFAR-100."""

    serves_as_outliers = True

    known_shape: ClassVar[Shape]
    title: ClassVar[str]
    # key of a file's labels
    labels: ClassVar[str]
    # ``digest_of`` all images of a split
    digests: ClassVar[dict[str, str]]

    @property
    def published(self) -> Any:
        """Return torchvision's class, which knows address, checksums and names of the files."""
        from torchvision import datasets

        return getattr(datasets, self.title.replace("-", ""))

    def source(self) -> Source:
        known = self.published
        return Source(
            title=self.title,
            place=known.base_folder,
            size="170 MB",
            fetch=f"fetch and unpack {known.url}",
            check=self._check,
            download=lambda root: fetch(known.url, known.tgz_md5, root),
        )

    def load(self, root: Path | None = None) -> Dataset:
        """Return all three splits of 32×32 colour images: from pickles if they are in ``root`` (default ``./data``), else
        from class folders ``root/cifar10/{train,test}/<class>/*.png`` (for CIFAR-100 ``root/cifar100``), else downloaded."""
        root = data_root(root)
        if folders := self._folders(root):
            names, (images, labels) = _classes(folders / "train"), self._split(folders, "train")
            order = torch.randperm(len(labels), generator=generator(0, "validation", self.name))
            drawn = order[first_of_each_class(torch.from_numpy(labels)[order], len(labels) // 10)]
            held_out = np.zeros(len(labels), dtype=bool)
            held_out[drawn.numpy()] = True
            test, form = self._split(folders, "test"), "class folders"
        else:
            self.source().ensure(root)
            (images, labels), test, names = self.read(root)
            held_out, form = np.arange(len(labels)) >= len(labels) * 9 // 10, "pickles"
        train, val = (as_split(images[chosen], labels[chosen]) for chosen in (~held_out, held_out))
        return Dataset(self.name, train, val, as_split(*test), names, form=form)

    def outliers(self, root: Path | None) -> Split:
        root = data_root(root)
        if folders := self._folders(root):
            return as_split(*self._split(folders, "test"))
        self.source().ensure(root)
        split = as_split(*self._batches(root, self.published.test_list))
        check_split(*split, classes=self.known_shape.classes, where=str(self.source().path(root)))
        return split

    def _check(self, root: Path) -> None:
        if folders := self._folders(root):
            for split in COUNTS:
                self._split(folders, split)
        else:
            self.read(root)

    def _folders(self, root: Path) -> Path | None:
        """Return the folder with the class folders, if there are any and no pickles."""
        if self.source().path(root).exists():
            return None
        places = (root / self.name, root / self.title, root / self.title.lower())
        return next((place for place in places if (place / "train").is_dir()), None)

    def _split(self, folders: Path, split: str) -> Arrays:
        """Return all images of a split in the order of their digests, which no mirror's file names can change."""
        folder, wanted = folders / split, self.known_shape.classes
        names = _classes(folder)
        if len(names) != wanted:
            raise DataError(f"{folder}: want {wanted} class folders, found {len(names)}")
        files = [
            (path, label)
            for label, name in enumerate(names)
            for path in (folder / name).glob("*.png")
            if not path.name.startswith(".")
        ]
        if len(files) != COUNTS[split]:
            raise DataError(f"{folder}: want {COUNTS[split]:,} images (*.png), found {len(files):,}")
        images, labels = np.empty((len(files), 32, 32, 3), np.uint8), np.array([label for _, label in files])
        for image, (path, _) in zip(images, files, strict=True):
            image[:] = _pixels(path)
        digests = _digests(images, labels)
        if digest_of(digests) != self.digests[split]:
            raise DataError(
                f"{folder}: at least one image or label is not {self.title}'s own (the digest over all is "
                "another one); fetch it again"
            )
        order = np.argsort(digests)
        return images[order].transpose(0, 3, 1, 2), labels[order]

    def read(self, root: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        """Return training and test set as they are in the pickles, and the names of the classes."""
        train, test = (self._batches(root, f) for f in (self.published.train_list, self.published.test_list))
        meta, wanted = self.published.meta, self.known_shape.classes
        path, content = self._content(root, meta["filename"], meta["md5"])
        names = content.get(meta["key"])
        if not isinstance(names, list) or len(names) != wanted:
            raise DataError(f"{path} is damaged: want {wanted} names under {meta['key']!r}; fetch it again")
        return train, test, tuple(map(str, names))

    def _batches(self, root: Path, files: list[list[str]]) -> Arrays:
        batches = [self._batch(root, name, md5) for name, md5 in files]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return images, labels

    def _batch(self, root: Path, name: str, md5: str) -> Arrays:
        path, content = self._content(root, name, md5)
        rows, labels = content.get("data"), content.get(self.labels)
        whole = isinstance(labels, list) and all(type(label) is int for label in labels)
        if not whole or not isinstance(rows, _Array) or rows.levels.shape != (len(labels or ()), 3 * 32 * 32):
            raise DataError(
                f"{path} is damaged: want uint8 data [N, 3072] and N {self.labels}; fetch it again"
            )
        return rows.levels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)

    def _content(self, root: Path, name: str, md5: str) -> tuple[Path, dict[str, Any]]:
        """Return a file's path and what its pickle holds; one of the published size must be the published one."""
        path = self.source().path(root) / name
        try:
            content = content_of(path)
        except FileNotFoundError:
            raise self.source().missing(root, f"there is no {name}") from None
        if len(content) > LARGE and (found := md5_of(content)) != md5:
            raise DataError(f"{path} is damaged: its MD5 is {found}, it should be {md5}; fetch it again")
        try:
            unpickled = Plain(io.BytesIO(content), encoding="latin1").load()
        # a damaged pickle may raise anything
        except Exception as error:
            raise DataError(f"{path} is damaged ({one_line(error)}); fetch it again") from None
        if not isinstance(unpickled, dict):
            raise DataError(f"{path} is damaged: want a dictionary, got {type(unpickled).__name__}")
        return path, unpickled


@register
class Cifar10(Cifar):
    """Ten classes."""

    name = "cifar10"
    title = "CIFAR-10"
    labels = "labels"
    known_shape = Shape(3, 32, 10, 45_000, 5_000, 10_000)
    usual_outliers = ("cifar100", "svhn")
    archive = CIFAR10_C
    digests = {
        "train": "403bda14293f5b0ef7f5adade0c17d63adcc715be87805bfea60009b6191392e",
        "test": "7cd9b9ab9feda1cc87ecd4041313a7c192c3fe60e2de4d6fcb563c3f31d69bb5",
    }


@register
class Cifar100(Cifar):
    """A hundred classes."""

    name = "cifar100"
    title = "CIFAR-100"
    labels = "fine_labels"
    known_shape = Shape(3, 32, 100, 45_000, 5_000, 10_000)
    usual_outliers = ("cifar10", "svhn")
    archive = CIFAR100_C
    digests = {
        "train": "c6d3ee69e3e940ddbceda29c9427e9b4d225071a94433670be60554ca5606fca",
        "test": "0bc7fd08b45deb5ea3e39db5dbd6837cbc98cefd4e349ecb1252077deea10746",
    }


def _digests(images: np.ndarray, labels: np.ndarray) -> list[str]:
    """Return the SHA-256 of each image: one byte of its label, then its pixels, uint8 [H, W, 3]."""
    rows = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(len(images), -1)], axis=1)
    return [hashlib.sha256(row).hexdigest() for row in rows]


def digest_of(digests: list[str]) -> str:
    """Return one digest of many images, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.glob("*") if p.is_dir() and not p.name.startswith(".")))


def _pixels(path: Path) -> np.ndarray:
    """Return uint8 [32, 32, 3]."""
    levels = np.asarray(Reader(upright=False).open(path))
    if levels.shape != (32, 32, 3):
        raise DataError(f"{path}: want 32×32 pixels, got {levels.shape[1]}×{levels.shape[0]}")
    return levels


# of which no stub declares all
_Unpickler: Any = pickle._Unpickler


class Plain(_Unpickler):
    """Unpickler of the 8-bit arrays, numbers, texts, lists and dictionaries that CIFAR's files consist of.

    Arrays are put together here, from a shape and as many bytes: NumPy's own way would build them over any memory that a
    pickle names. The base is Python's own reader in Python, whose memo no index can blow up.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a part of NumPy; refuse all else."""
        key = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if key not in _PLAIN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image file needs")
        return _PLAIN[key]

    def load_build(self) -> None:
        """Give a state to an array or a type of numbers, and to nothing else."""
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise pickle.UnpicklingError("it gives a state to what has none")
        super().load_build()

    dispatch = _Unpickler.dispatch | {pickle.BUILD[0]: load_build}


class _Type:
    """In place of ``numpy.dtype``: 8-bit levels alone."""

    def __init__(self, code: str, *_: object):
        if code != "u1":
            raise pickle.UnpicklingError(f"it holds numbers of type {code!r}, images are of 'u1'")

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """In place of ``numpy.ndarray``; ``levels`` is uint8."""

    levels = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, raw = state
        self._fill(raw, kind, shape, "F" if fortran else "C")

    def _fill(
        self, raw: bytes | str, kind: _Type, shape: tuple[int, ...], order: Literal["C", "F"]
    ) -> _Array:
        content = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("it holds an array of unknown type")
        self.levels = np.frombuffer(content, np.uint8).reshape(shape, order=order)
        return self


_PLAIN = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Type,
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.numeric._frombuffer": lambda raw, kind, shape, order: _Array()._fill(raw, kind, shape, order),
    # the bytes that Python 3 wrote for Python 2
    "_codecs.encode": lambda text, encoding: text.encode({"latin1": "latin1"}[encoding]),
}
