"""ImageNet-1k (Russakovsky et al., 2015, arXiv:1409.0575), or any other folder of its layout, read image by image:

- ``root/train/n01440764/*.JPEG``: one folder per class, named by its WordNet id
- ``root/val/n01440764/*.JPEG``: the official validation images, sorted into such folders too

Some of the training images serve as validation; the official validation images are the test set, since those of the
official test set have no public labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from ..errors import DataError, SettingError
from ..rng import generator
from .base import Dataset, DatasetBuilder, Shape, data_root, register
from .corrupted import IMAGENET_C
from .lazy import LazyImages
from .sources import Source

ENDINGS = (".jpeg", ".jpg", ".png")
# published training images
TRAIN = 1_281_167
# mean and standard deviation of ImageNet's training pixels that published networks are normalised by
STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@register
class ImageNet(DatasetBuilder):
    """The three splits, their images in their files (``LazyImages``). How training cuts them is the recipe's to say.

    Args:
        size, resize: Evaluation brings an image's shorter side to ``resize`` pixels and cuts out the central square.
        validation: The last so many images of each class in the order of their names (25 of 1,000 classes are 2% of all);
            below 1 the share of all training images, drawn with a fixed seed.
    """

    name = "imagenet"
    title = "ImageNet"
    usual_outliers = ("imagenet-o",)
    archive = IMAGENET_C

    size: PositiveInt = 224
    resize: PositiveInt = 256
    validation: Annotated[float, Field(gt=0)] = 25

    @model_validator(mode="after")
    def _square_fits(self) -> ImageNet:
        if self.size > self.resize:
            raise ValueError(f"size must be no more than resize, got {self.size} and {self.resize}")
        return self

    def load(self, root: Path | None = None) -> Dataset:
        """Return the splits of ``root`` (default ``./data``), which holds ``train`` and ``val``, or ``imagenet`` that does.
        Classes are numbered in the order of their WordNet ids."""
        folder = _found(data_root(root))
        wnids = sorted(p.name for p in (folder / "train").iterdir() if p.is_dir())
        names, labels = _listed(folder, "train", wnids)
        test_names, test_labels = _listed(folder, "val", wnids)
        strangers = {p.name for p in (folder / "val").iterdir() if p.is_dir()} - set(wnids)
        if strangers:
            raise DataError(f"ImageNet: {folder / 'val' / min(strangers)} is no class of {folder / 'train'}")
        held_out = _validation(labels, len(wnids), self.validation)
        images = LazyImages(folder, names, self.size, self.resize)
        return Dataset(
            name=self.name,
            train=(images.only(~held_out), labels[~held_out]),
            val=(images.only(held_out), labels[held_out]),
            test=(LazyImages(folder, test_names, self.size, self.resize), test_labels),
            class_names=tuple(wnids),
            statistics=STATISTICS,
        )

    def shape(self, root: Path | None) -> Shape:
        val = round(self.validation * (TRAIN if self.validation < 1 else 1000))
        return Shape(3, self.size, 1000, TRAIN - val, val, 50_000, self.name)

    def source(self) -> Source:
        return Source(
            title="ImageNet",
            place="imagenet",
            size="144 GB",
            fetch="get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, which asks to accept its "
            "terms, and unpack them into folders train and val, with one folder per WordNet id in each,",
            check=self._check,
        )

    def _check(self, root: Path) -> None:
        if not any((folder / "train").is_dir() for folder in (root, root / "imagenet")):
            raise self.source().missing(root)
        self.load(root)


def _found(root: Path) -> Path:
    for folder in (root, root / "imagenet"):
        if all((folder / part).is_dir() for part in ("train", "val")):
            return folder
    raise DataError(
        f"ImageNet: no folders train and val in {root}; image-net.org gives ILSVRC2012_img_train.tar and "
        "ILSVRC2012_img_val.tar to those who accept its terms: unpack them there, one folder per WordNet id"
    )


def _listed(folder: Path, part: str, wnids: list[str]) -> tuple[list[str], Tensor]:
    """Return paths below ``folder``, class by class in the order of their names, and labels."""
    names, labels = [], []
    for label, wnid in enumerate(wnids):
        place = folder / part / wnid
        files = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
        files = [name for name in files if name.lower().endswith(ENDINGS)]
        if not files:
            raise DataError(f"ImageNet: no .JPEG files in {place}: unpack that class again")
        names += [f"{part}/{wnid}/{name}" for name in files]
        labels += [label] * len(files)
    if len(wnids) < 2:
        raise DataError(f"ImageNet: {folder / part} has {len(wnids)} class folders, it should have 1000")
    return names, torch.tensor(labels)


def _validation(labels: Tensor, classes: int, wanted: int | float) -> Tensor:
    """Return which training images serve as validation: boolean [N]."""
    if 0 < wanted < 1:
        count = round(wanted * len(labels))
        held_out = torch.zeros(len(labels), dtype=torch.bool)
        held_out[torch.randperm(len(labels), generator=generator(0, "imagenet"))[:count]] = True
        if not 0 < count < len(labels):
            raise SettingError(f"validation: {wanted:g} of {len(labels)} training images are {count}")
        return held_out
    counts = torch.bincount(labels, minlength=classes)
    if wanted != int(wanted) or not 1 <= wanted < int(counts.min()):
        raise SettingError(
            f"validation must be a share below 1, or 1 to {int(counts.min()) - 1} images per class (the smallest has "
            f"{int(counts.min())}), got {wanted!r}"
        )
    # classes lie one after the other
    ends = counts.cumsum(0)[labels]
    return torch.arange(len(labels)) >= ends - int(wanted)
