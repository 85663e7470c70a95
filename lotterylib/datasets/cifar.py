"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their Python pickles, which are read without running what a pickle may run.

As in Chen et al. (2022) the first nine tenths of the training images (45,000) train, the others (5,000) validate.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .base import Dataset, Split, as_split, check_split, data_root
from .sources import Source, fetch, md5_of

_BATCH = 10_000  # published files hold this many images, or five times as many

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 3, 32, 32], labels int64 [N]


@dataclass(frozen=True)
class Cifar:
    """One of the two; ``labels`` is the key of a file's labels."""

    name: str
    title: str
    labels: str
    classes: int

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
            check=self.read,
            download=lambda root: fetch(known.url, known.tgz_md5, root),
        )

    def load(self, root: Path | None = None) -> Dataset:
        """All three splits of 32×32 colour images; downloads into ``root`` (default ``./data``) what is not there.

        Raises ``MissingDataError`` if that fails, ``DataError`` for a damaged file.
        """
        root = data_root(root)
        self.source.ensure(root)
        (images, labels), test, names = self.read(root)
        cut = len(labels) * 9 // 10
        splits = {"train": (images[:cut], labels[:cut]), "val": (images[cut:], labels[cut:]), "test": test}
        splits = {split: as_split(*arrays) for split, arrays in splits.items()}
        return Dataset(name=self.name, class_names=names, **splits)

    def load_test(self, root: Path | None = None) -> Split:
        """The test images alone; downloads and raises as ``load`` does."""
        root = data_root(root)
        self.source.ensure(root)
        split = as_split(*self._batches(root, self.published.test_list))
        check_split(*split, classes=self.classes, where=str(self.source.path(root)))
        return split

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

CIFAR10 = Cifar("cifar10", "CIFAR-10", "labels", 10)
CIFAR100 = Cifar("cifar100", "CIFAR-100", "fine_labels", 100)
