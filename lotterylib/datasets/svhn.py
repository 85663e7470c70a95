"""Street View House Numbers (Netzer et al., 2011): 32×32 colour images of digits, from the two ``.mat`` files.

The first nine tenths of the training images train, the others validate; the 531,131 extra ones are not used.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..errors import DataError, one_line
from ..files import content_of
from .base import Dataset, DatasetBuilder, Shape, Split, as_split, check_split, data_root, register
from .cifar import Arrays
from .sources import Source, fetch, md5_of

PLACE = "svhn"
_IMAGES = {"train": 73_257, "test": 26_032}
_SIZES = {"train": "182 MB", "test": "64 MB"}


@register
class Svhn(DatasetBuilder):
    """All images but the extra ones."""

    name = "svhn"
    title = "SVHN"
    known_shape = Shape(3, 32, 10, 65_931, 7_326, 26_032)
    usual_outliers = ("cifar10", "cifar100")
    serves_as_outliers = True

    def load(self, root: Path | None = None) -> Dataset:
        root = data_root(root)
        self.source().ensure(root)
        (images, labels), test = (_read(root, split) for split in ("train", "test"))
        cut = len(labels) * 9 // 10
        train, val = as_split(images[:cut], labels[:cut]), as_split(images[cut:], labels[cut:])
        return Dataset(self.name, train, val, as_split(*test), tuple("0123456789"))

    def source(self) -> Source:
        return _source("train", "test")

    def outliers(self, root: Path | None) -> Split:
        """Return the images that are outliers for other data: those of the test set, whose file alone is fetched."""
        root = data_root(root)
        self.outlier_source().ensure(root)
        split = as_split(*_read(root, "test"))
        check_split(*split, classes=10, where=str(root / PLACE))
        return split

    def outlier_source(self) -> Source:
        return _source("test")


def _source(*splits: str) -> Source:
    known = _known()

    def download(root: Path) -> None:
        from torchvision.datasets.utils import check_integrity

        for url, name, md5 in (known[split] for split in splits):
            if not check_integrity(root / PLACE / name, md5):
                fetch(url, md5, root, PLACE)

    return Source(
        title=f"SVHN ({' and '.join(splits)})",
        place=PLACE,
        size=" and ".join(_SIZES[split] for split in splits),
        fetch="fetch " + " and ".join(known[split][0] for split in splits),
        check=lambda root: [_read(root, split) for split in splits],
        download=download,
        files=tuple(f"{PLACE}/{known[split][1]}" for split in splits),
    )


def _read(root: Path, split: str) -> Arrays:
    """Return images uint8 [N, 3, 32, 32] and labels 0 to 9; the file calls the digit 0 "10"."""
    from scipy.io import loadmat

    _, name, md5 = _known()[split]
    path = root / PLACE / name
    try:
        whole = content_of(path)
    except FileNotFoundError:
        raise _source(split).missing(root, f"there is no {name}") from None
    try:
        content = loadmat(io.BytesIO(whole), variable_names=["X", "y"])
    # a damaged file may raise anything
    except Exception as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); fetch it again") from None
    pixels, labels = content.get("X"), np.asarray(content.get("y", [])).reshape(-1)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, len(labels)):
        raise DataError(f"{path} is damaged: want uint8 X [32, 32, 3, N] and y [N, 1]; fetch it again")
    if len(labels) == _IMAGES[split] and (found := md5_of(whole)) != md5:
        raise DataError(f"{path} is damaged: its MD5 is {found}, it should be {md5}; fetch it again")
    return pixels.transpose(3, 2, 0, 1), np.where(labels == 10, 0, labels)


def _known() -> dict[str, list[str]]:
    """Return torchvision's table: split → address, file name, MD5."""
    from torchvision.datasets import SVHN

    return SVHN.split_list
