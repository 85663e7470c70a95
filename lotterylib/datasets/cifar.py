"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their Python pickles, which are read without running what a pickle may
run, or from class folders of PNG files, the form in which many mirrors keep them.

Of pickles, as in Chen et al. (2022), the first nine tenths of the training images (45,000) train and the others (5,000)
validate. Class folders have lost that order: a tenth of each class, drawn with a fixed seed, validates.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import DataError
from ..rng import generator
from .base import Dataset, Split, as_split, check_split, data_root, first_of_each_class
from .sources import Source, fetch, md5_of

_BATCH = 10_000  # published files hold this many images, or five times as many

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 3, 32, 32], labels int64 [N]


@dataclass(frozen=True)
class Cifar:
    """One of the two; ``labels`` is the key of a file's labels. ``digests``: what ``digest_of`` gives for all images of
    the training and of the test split."""

    name: str
    title: str
    labels: str
    classes: int
    digests: tuple[str, str]

    @property
    def published(self) -> Any:
        """torchvision's class, which knows address, checksums and names of the files."""
        from torchvision import datasets

        return getattr(datasets, self.title.replace("-", ""))

    @property
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
        """All three splits of 32×32 colour images: from pickles if they are in ``root`` (default ``./data``), else from
        class folders ``root/cifar10/{train,test}/<class>/*.png`` (of CIFAR-100 ``root/cifar100``), else downloaded.

        Raises ``MissingDataError`` if that fails, ``DataError`` for a damaged file, and for class folders in which one
        image is missing or changed.
        """
        root = data_root(root)
        if folders := self._folders(root):
            names, (images, labels) = _classes(folders / "train"), self._split(folders, "train")
            order = torch.randperm(len(labels), generator=generator(0, "validation", self.name))
            drawn = order[first_of_each_class(torch.from_numpy(labels)[order], len(labels) // 10)]
            held_out = np.zeros(len(labels), dtype=bool)
            held_out[drawn.numpy()] = True
            test, form = self._split(folders, "test"), "class folders"
        else:
            self.source.ensure(root)
            (images, labels), test, names = self.read(root)
            held_out, form = np.arange(len(labels)) >= len(labels) * 9 // 10, "pickles"
        splits = {
            "train": (images[~held_out], labels[~held_out]),
            "val": (images[held_out], labels[held_out]),
            "test": test,
        }
        splits = {split: as_split(*arrays) for split, arrays in splits.items()}
        return Dataset(name=self.name, class_names=names, form=form, **splits)

    def load_test(self, root: Path | None = None) -> Split:
        """The test images alone; downloads and raises as ``load`` does."""
        root = data_root(root)
        if folders := self._folders(root):
            return as_split(*self._split(folders, "test"))
        self.source.ensure(root)
        split = as_split(*self._batches(root, self.published.test_list))
        check_split(*split, classes=self.classes, where=str(self.source.path(root)))
        return split

    def _check(self, root: Path) -> None:
        if folders := self._folders(root):
            for split in ("train", "test"):
                self._split(folders, split)
        else:
            self.read(root)

    def _folders(self, root: Path) -> Path | None:
        """The folder with the class folders, if there are any and no pickles."""
        if self.source.path(root).exists():
            return None
        places = (root / self.name, root / self.title, root / self.title.lower())
        return next((place for place in places if (place / "train").is_dir()), None)

    def _split(self, folders: Path, split: str) -> Arrays:
        """All images of a split in the order of their digests, which no mirror's file names can change."""
        names = _classes(folders / split)
        if len(names) != self.classes:
            raise DataError(f"{folders / split}: want {self.classes} class folders, found {len(names)}")
        files = [
            (path, label)
            for label, name in enumerate(names)
            for path in sorted((folders / split / name).glob("*.png"))
            if not path.name.startswith(".")
        ]
        count = {"train": 50_000, "test": 10_000}[split]
        if len(files) != count:
            raise DataError(f"{folders / split}: want {count:,} images (*.png), found {len(files):,}")
        images = np.stack([_pixels(path) for path, _ in files])
        labels = np.array([label for _, label in files])
        digests = _digests(images, labels)
        if digest_of(digests) != self.digests[split == "test"]:
            raise DataError(
                f"{folders / split}: at least one image or label is not {self.title}'s own (the digest over all is "
                "another one); fetch it again"
            )
        order = np.argsort(digests)
        return images[order].transpose(0, 3, 1, 2), labels[order]

    def read(self, root: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        """Training and test set as they are on disk, and the names of the classes."""
        train, test = (self._batches(root, f) for f in (self.published.train_list, self.published.test_list))
        meta = self.published.meta
        path, _, content = self._content(root, meta["filename"])
        names = content.get(meta["key"])
        if not isinstance(names, list) or len(names) != self.classes:
            raise DataError(
                f"{path} is damaged: want {self.classes} names under {meta['key']!r}; fetch it again"
            )
        return train, test, tuple(map(str, names))

    def _batches(self, root: Path, files: list[list[str]]) -> Arrays:
        batches = [self._batch(root, name, md5) for name, md5 in files]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return images, labels

    def _batch(self, root: Path, name: str, md5: str) -> Arrays:
        path, found, content = self._content(root, name)
        pixels, labels = content.get("data"), np.asarray(content.get(self.labels, []))
        fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and labels.dtype.kind in "iu"
        if not fits or pixels.shape != (len(labels), 3 * 32 * 32):
            raise DataError(
                f"{path} is damaged: want uint8 data [N, 3072] and N {self.labels}; fetch it again"
            )
        if len(labels) % _BATCH == 0 and found != md5:  # of the published size, and not the published one
            raise DataError(f"{path} is damaged: its MD5 is {found}, it should be {md5}; fetch it again")
        return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)

    def _content(self, root: Path, name: str) -> tuple[Path, str, dict[str, Any]]:
        """A file's path, MD5 and unpickled content."""
        path = self.source.path(root) / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise self.source.missing(root, f"there is no {name}") from None
        try:
            unpickled = _Plain(io.BytesIO(content), encoding="latin1").load()
        except Exception as error:  # a damaged pickle may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path} is damaged ({reason}); fetch it again") from None
        if not isinstance(unpickled, dict):
            raise DataError(f"{path} is damaged: want a dictionary, got {type(unpickled).__name__}")
        return path, md5_of(content), unpickled


def _digests(images: np.ndarray, labels: np.ndarray) -> list[str]:
    """SHA-256 of each image: one byte of its label, then its pixels, uint8 [H, W, 3]."""
    pairs = zip(images, labels, strict=True)
    return [
        hashlib.sha256(bytes([label]) + np.ascontiguousarray(image).tobytes()).hexdigest()
        for image, label in pairs
    ]


def digest_of(digests: list[str]) -> str:
    """One digest of many images, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.glob("*") if p.is_dir() and not p.name.startswith(".")))


def _pixels(path: Path) -> np.ndarray:
    """uint8 [32, 32, 3]."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise DataError(
            f"{path} is no readable image ({' '.join(str(error).split())}); fetch it again"
        ) from None
    if pixels.shape != (32, 32, 3):
        raise DataError(f"{path}: want 32×32 pixels, got {pixels.shape[1]}×{pixels.shape[0]}")
    return pixels


class _Plain(pickle.Unpickler):
    """Reads arrays, numbers, texts, lists and dictionaries; whatever else a pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        key = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if key not in _PLAIN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image file needs")
        return _PLAIN[key]


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    return text.encode({"latin1": "latin1"}[encoding])


_PLAIN = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
    "numpy.core.numeric._frombuffer": np.empty(0).__reduce_ex__(5)[0],
    "_codecs.encode": _latin1,
}

CIFAR10 = Cifar(
    "cifar10",
    "CIFAR-10",
    "labels",
    10,
    (
        "403bda14293f5b0ef7f5adade0c17d63adcc715be87805bfea60009b6191392e",
        "7cd9b9ab9feda1cc87ecd4041313a7c192c3fe60e2de4d6fcb563c3f31d69bb5",
    ),
)
CIFAR100 = Cifar(
    "cifar100",
    "CIFAR-100",
    "fine_labels",
    100,
    (
        "c6d3ee69e3e940ddbceda29c9427e9b4d225071a94433670be60554ca5606fca",
        "0bc7fd08b45deb5ea3e39db5dbd6837cbc98cefd4e349ecb1252077deea10746",
    ),
)
