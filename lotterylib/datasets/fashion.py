"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747; MIT licence), in full and as the bundled sample.

``python -m lotterylib.datasets.fashion ROOT`` draws the bundled file anew from the four original idx files.
"""

from __future__ import annotations

import gzip
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError, one_line
from ..rng import generator
from .base import SPLITS, Dataset, DatasetBuilder, Shape, Split, data_root, pad_to, register, verify
from .concepts import GARMENTS, SILHOUETTE
from .sources import Source

MINI = Path(__file__).parent / "bundled" / "fashion-mini.npz"
MINI_SHA256 = "e765fef61857d6ea83b162245b78de6a42ccc2cd1bc080646e154414114e8aa4"
_FILES = (
    "the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz"
)
# of the 60,000 official training images; the rest serve as validation
TRAIN = 55_000
# 28×28 images, zero-padded: the side that CIFAR networks and corruption suites expect
SIZE = 32


@register
class FashionMini(DatasetBuilder):
    """The bundled sample: 10,000 training and 1,000 validation images, class-balanced and disjoint, and the whole
    official test set of 10,000."""

    name = "fashion-mini"
    title = "a sample of Fashion-MNIST"
    family = "fashion"
    known_shape = Shape(1, SIZE, 10, 10_000, 1_000, 10_000)
    serves_as_outliers = True
    concept_kinds = DatasetBuilder.concept_kinds | SILHOUETTE

    def load(self, root: Path | None = None) -> Dataset:
        with np.load(io.BytesIO(verify(MINI, MINI_SHA256)), allow_pickle=False) as stored:
            train, val, test = (_as_split(stored[f"{s}_images"], stored[f"{s}_labels"]) for s in SPLITS)
        return Dataset(self.name, train, val, test, GARMENTS)

    def outliers(self, root: Path | None) -> Split:
        """Return the images that are outliers for other data: all of the sample."""
        return self.load().everything()


@register
class FashionMnist(DatasetBuilder):
    """All of Fashion-MNIST: the last 5,000 of the 60,000 training images serve as validation."""

    name = "fashion-mnist"
    title = "Fashion-MNIST"
    family = "fashion"
    known_shape = Shape(1, SIZE, 10, TRAIN, 5_000, 10_000)
    concept_kinds = DatasetBuilder.concept_kinds | SILHOUETTE

    def load(self, root: Path | None = None) -> Dataset:
        """Return the three splits from the idx files in ``root``, in ``root/FashionMNIST/raw`` or beside each other, gzipped
        or not; else download them through torchvision, which checks their checksums."""
        root = data_root(root)
        images, labels = _read_idx(root, train=True)
        train, val = (_as_split(images[part], labels[part]) for part in (slice(TRAIN), slice(TRAIN, None)))
        return Dataset(self.name, train, val, _as_split(*_read_idx(root, train=False)), GARMENTS)

    def source(self) -> Source:
        return Source(
            title="Fashion-MNIST",
            place="FashionMNIST/raw",
            size="30 MB",
            fetch=f"put {_FILES} there or into the data folder itself",
            check=self._check,
            download=self.load,
        )

    def _check(self, root: Path) -> None:
        if not any(list(folder.glob("*-ubyte*")) for folder in (root, root / "FashionMNIST" / "raw")):
            raise self.source().missing(root)
        for train in (True, False):
            _read_idx(root, train, download=False)


def _as_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Return uint8 [N, 28, 28] as float32 [N, 1, 32, 32] in [0, 1]."""
    padded = pad_to(torch.from_numpy(images).float().div(255).unsqueeze(1), SIZE)
    return padded, torch.from_numpy(labels).long()


def _read_idx(root: Path, train: bool, download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images [N, 28, 28] and labels [N] by torchvision's reader."""
    from torchvision.datasets import FashionMNIST

    raw = root / "FashionMNIST" / "raw"
    try:
        _adopt_loose_files(root, raw)
        source = FashionMNIST(root, train=train, download=download)
    # the reader asserts and indexes its way through what it takes for an idx file; a cut-off gzip file is an EOFError
    except (RuntimeError, ValueError, OSError, EOFError, AssertionError, LookupError) as error:
        raise DataError(
            f"Fashion-MNIST: no readable idx files in {raw}, or the download failed ({one_line(error, True)}); put {_FILES} "
            f"(30 MB) into {root}"
        ) from None
    return source.data.numpy(), source.targets.numpy()


def _adopt_loose_files(root: Path, raw: Path) -> None:
    """Put idx files that lie loose in ``root`` where torchvision looks for them."""
    for loose in root.glob("*-ubyte*"):
        target = raw / loose.name.removesuffix(".gz")
        if target.exists() or not loose.is_file():
            continue
        raw.mkdir(parents=True, exist_ok=True)
        opener = gzip.open if loose.suffix == ".gz" else open
        partial = target.with_suffix(".partial")
        with opener(loose, "rb") as source, open(partial, "wb") as sink:
            shutil.copyfileobj(source, sink)
        partial.replace(target)


def draw_mini(root: Path, out: Path = MINI, seed: int = 2022) -> None:
    """Draw the bundled sample: per class the first 1,000 (training) and the next 100 (validation) of a seeded
    permutation of the official training set, shuffled again; the official test set as it is."""
    images, labels = _read_idx(root, train=True)
    order = torch.randperm(len(labels), generator=generator(seed, "fashion-mini", "draw")).numpy()
    by_class = [order[labels[order] == c] for c in range(len(GARMENTS))]
    parts = {
        "train": np.concatenate([members[:1000] for members in by_class]),
        "val": np.concatenate([members[1000:1100] for members in by_class]),
    }
    arrays = {}
    for split, chosen in parts.items():
        shuffle = torch.randperm(len(chosen), generator=generator(seed, "fashion-mini", split)).numpy()
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = (
            images[chosen[shuffle]],
            labels[chosen[shuffle]],
        )
    arrays["test_images"], arrays["test_labels"] = _read_idx(root, train=False)
    np.savez_compressed(out, **{name: array.astype(np.uint8) for name, array in arrays.items()})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python -m lotterylib.datasets.fashion ROOT   (the folder with the four original idx files)"
        )
    draw_mini(Path(sys.argv[1]))
