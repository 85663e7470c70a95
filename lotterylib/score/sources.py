"""Data to judge a network on: a bundled set, a folder of images, or anything indexable, brought into a ``Dataset``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import datasets
from ..datasets import Dataset
from ..errors import DataError, SettingError, UnknownNameError
from ..rng import generator

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_VALIDATION = 0.2  # share of the images on which temperatures are fitted; the others are the test set
_MEMORY = 2**30  # bytes of pixels that are kept by default


def dataset(
    source: Any,
    *,
    size: int = 32,
    resize: int | None = None,
    channels: int = 3,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[Dataset, list[str]]:
    """Images and labels to judge by, and notes on how they came to be.

    ``source``: a ``Dataset``; a name that ``datasets.load`` knows; a folder with a subfolder of images for each class
    (sorted by name; also below ``val`` or ``test``); ``(images [N, C, H, W] in [0, 1], labels [N])``; or any indexable of
    (image, label), the image a tensor, an array or a PIL picture. Pictures are brought to ``resize`` pixels on the shorter
    side and cropped to ``size`` in the middle; ``channels``: 1 for grey, 3 for colour. What is not split already is split
    by ``seed``: a fifth for validation, four fifths to test on; the validation images stand in for training images, too.
    ``limit``: at most so many images are read; the default keeps their pixels below 1 GB.

    Raises ``DataError`` for data that are missing or of another form, ``UnknownNameError`` for a name that is neither a
    data set nor a folder.
    """
    if size < 1 or resize is not None and resize < size:
        raise SettingError(f"want a size of 1 or more and resize at least as large, got {size} and {resize}")
    if limit is not None and limit < 10:
        raise SettingError(f"limit must be at least 10 images, got {limit}")
    if isinstance(source, Dataset):
        return (source if limit is None else source.limited(limit)), []
    if isinstance(source, str) and source in datasets.names():
        return datasets.load(source, limit=limit), []
    most = limit or max(10, _MEMORY // (4 * channels * size * size))
    read = _Reader(size, resize or size, channels)
    if isinstance(source, (str, Path)):
        if not Path(source).is_dir():
            raise UnknownNameError("data set or folder", str(source), datasets.names())
        return _folder(Path(source), read, most, seed)
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, Tensor) for part in source):
        images, labels = source
        names = tuple(str(c) for c in range(int(labels.max()) + 1)) if len(labels) else ()
        chosen = _order(labels.tolist(), most, seed)
        return _split("your images", images[chosen].float(), labels[chosen].long(), names)
    if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
        raise DataError(f"want a data set with len() and [i] → (image, label), got {type(source).__name__}")
    return _indexable(source, read, most, seed)


def _folder(root: Path, read: _Reader, most: int, seed: int) -> tuple[Dataset, list[str]]:
    parts = {p.name: p for p in root.iterdir() if p.is_dir()}
    held = {name: parts[name] for name in ("train", "val", "test") if name in parts}
    if held and set(parts) <= {"train", "val", "test"}:
        tested = held.get("test") or held.get("val")
        if tested is None:
            raise DataError(
                f"{root} has only train: a network is judged on images that it was not trained on"
            )
        names = _classes(tested)
        read_all = {split: _files(folder, names) for split, folder in held.items()}
        loaded = {split: _read(files, read, most, seed) for split, files in read_all.items()}
        test = loaded.get("test") or loaded["val"]
        if "test" not in loaded or "val" not in loaded:
            data, notes = _split(root.name, *test, names)
            splits = {"train": loaded["train"]} if "train" in loaded else {}
            notes = [] if splits else notes
            return Dataset(root.name, splits.get("train", data.train), data.val, data.test, names), notes
        train = loaded.get("train", loaded["val"])
        notes = [] if "train" in loaded else [_STAND_IN]
        return Dataset(root.name, train, loaded["val"], test, names), notes
    names = _classes(root)
    images, labels = _read(_files(root, names), read, most, seed)
    return _split(root.name, images, labels, names)


def _indexable(source: Any, read: _Reader, most: int, seed: int) -> tuple[Dataset, list[str]]:
    labels = getattr(source, "targets", None)
    if labels is None or len(labels) != len(source):
        labels = [0] * len(source)  # not known without reading: a random order will do
    images, found = [], []
    for i in _order([int(label) for label in labels], most, seed):
        try:
            image, label = source[i]
            images.append(read(image))
            found.append(int(label))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"item {i} of the data is no pair (image, label): {type(error).__name__} {error}"
            ) from None
    if not found or min(found) < 0:
        raise DataError(
            "the data have no images" if not found else f"labels must be 0 or more, got {min(found)}"
        )
    if len(shapes := {tuple(image.shape) for image in images}) > 1:
        raise DataError(f"the images have different shapes: {', '.join(map(str, sorted(shapes)[:3]))}")
    names = getattr(source, "classes", None)
    names = names if isinstance(names, (list, tuple)) and len(names) > max(found) else range(max(found) + 1)
    return _split(type(source).__name__, torch.stack(images), torch.tensor(found), tuple(map(str, names)))


_STAND_IN = "no training images were given: curvature is that of the loss on the validation images"


def _split(name: str, images: Tensor, labels: Tensor, names: Sequence[str]) -> tuple[Dataset, list[str]]:
    """Images in random order: the first fifth is for validation."""
    first = max(1, round(_VALIDATION * len(labels)))
    if len(labels) - first < 1:
        raise DataError(f"{name}: {len(labels)} images are too few to judge anything by")
    val, test = (images[:first], labels[:first]), (images[first:], labels[first:])
    return Dataset(name, val, val, test, tuple(names)), [_STAND_IN]


def _order(labels: Sequence[int], most: int, seed: int) -> list[int]:
    """At most ``most`` places in random order, as class-balanced as they divide."""
    shuffled = torch.randperm(len(labels), generator=generator(seed, "split"))
    chosen = datasets.base.first_of_each_class(torch.tensor(labels, dtype=torch.int64)[shuffled], most)
    return shuffled[chosen].tolist()


def _classes(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        raise DataError(
            f"{root}: want a folder of images for each of two classes or more, found {len(names)} folder(s)"
        )
    return names


def _files(root: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(names):
        files = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not files:
            raise DataError(f"{root / name}: no images (looked for {', '.join(sorted(_SUFFIXES))})")
        found += [(file, label) for file in files]
    if strangers := {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")} - set(
        names
    ):
        raise DataError(f"{root} has classes that the test images have not: {', '.join(sorted(strangers))}")
    return found


def _read(files: list[tuple[Path, int]], read: _Reader, most: int, seed: int) -> tuple[Tensor, Tensor]:
    chosen = [files[i] for i in _order([label for _, label in files], most, seed)]
    return torch.stack([read.file(path) for path, _ in chosen]), torch.tensor([label for _, label in chosen])


class _Reader:
    """Any picture → float32 [channels, size, size] in [0, 1]."""

    def __init__(self, size: int, resize: int, channels: int):
        if channels not in (1, 3):
            raise SettingError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
        self.size, self.resize, self.mode = size, resize, "L" if channels == 1 else "RGB"

    def file(self, path: Path) -> Tensor:
        try:
            with Image.open(path) as picture:
                return self(picture)
        except OSError as error:
            raise DataError(f"{path} is no readable image ({error})") from None

    def __call__(self, picture: Any) -> Tensor:
        if isinstance(picture, Tensor):
            return self._tensor(picture)
        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8:
                return self._tensor(torch.from_numpy(picture))
            picture = Image.fromarray(picture)
        if not isinstance(picture, Image.Image):
            raise DataError(
                f"an image must be a tensor, an array or a PIL picture, got {type(picture).__name__}"
            )
        picture = picture.convert(self.mode)
        scale = self.resize / min(picture.size)
        if scale != 1:
            sides = [max(self.resize, round(side * scale)) for side in picture.size]
            picture = picture.resize(sides, Image.Resampling.BILINEAR)
        left, top = ((side - self.size) // 2 for side in picture.size)
        picture = picture.crop((left, top, left + self.size, top + self.size))
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
        return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.movedim(-1, 0)

    def _tensor(self, picture: Tensor) -> Tensor:
        if picture.ndim == 2:
            picture = picture.unsqueeze(0)
        picture = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
        if picture.ndim != 3 or picture.shape[-1] != picture.shape[-2]:
            raise DataError(f"a tensor must be a square image [C, H, W], got {list(picture.shape)}")
        if not (picture.min() >= 0 and picture.max() <= 1):
            raise DataError(
                f"pixels must lie in [0, 1], got {picture.min():.3g} to {picture.max():.3g}: leave normalisation out of "
                "the data and give mean and std to the scorecard"
            )
        return picture
