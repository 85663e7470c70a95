"""Data to judge a network on: a bundled set, a folder of images, or anything indexable, brought into a ``Dataset``."""

from __future__ import annotations

import glob
import importlib
import io
import itertools
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from .. import datasets
from ..datasets import Dataset, Split
from ..datasets.base import first_of_each_class
from ..datasets.folder import MEMORY, listing, split_of
from ..datasets.lazy import Reader
from ..errors import DataError, SettingError, UnknownNameError, one_line
from ..rng import generator

# share of the images on which temperatures are fitted; the others are the test set
_VALIDATION = 0.2
# files that list images and labels, and what their columns are called
TABLES = (".csv", ".tsv", ".parquet")
_IMAGES = ("path", "image", "file", "filename", "image_path", "img", "jpg", "png", "jpeg")
_LABELS = ("label", "class", "target", "labels", "category", "fine_label", "cls")
_STAND_IN = "no training images were given: curvature is that of the loss on the validation images"


def dataset(
    source: Any,
    *,
    size: int = 32,
    resize: int | None = None,
    channels: int = 3,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[Dataset, list[str]]:
    """Return images and labels to judge by, and notes on how they came to be.

    Args:
        source: A ``Dataset``; a name that ``datasets.load`` knows; a folder with a subfolder of images for each class, also
            within ``train``, ``val`` or ``test``; a CSV or parquet table of paths (below its own folder) and labels; a ``.tar``
            of WebDataset, or a pattern of several; a folder that Hugging Face datasets saved;
            ``(images [N, C, H, W] in [0, 1], labels [N])``; any indexable, or any iterable, of (image, label) or of mappings
            with these (Hugging Face, WebDataset), the image a tensor, an array or a PIL picture; a mapping of splits of these,
            of which the test images are taken. What is not split already is split by ``seed``: a fifth for validation, four
            fifths to test on; the validation images stand in for training images, too.
        size, resize, channels: How pictures are read, see ``datasets.lazy.Reader``.
        limit: At most so many images are read; the default keeps their pixels below 1 GB.

    Raises:
        DataError: for data that are missing or of another form.
        UnknownNameError: for a name that is neither a data set nor a folder.

    Example:
        >>> data, notes = dataset((torch.rand(20, 1, 8, 8), torch.arange(20) % 2))
        >>> len(data.test[1]), data.classes
        (16, 2)
    """
    reader = Reader(size, resize, channels)
    how: dict[str, Any] = dict(size=size, resize=resize, channels=channels, limit=limit, seed=seed)
    if limit is not None and limit < 10:
        raise SettingError(f"limit must be at least 10 images, got {limit}")
    if isinstance(source, Dataset):
        return (source if limit is None else source.limited(limit)), []
    known = isinstance(source, str) and source in datasets.names() and not datasets.build(source).own_root
    if known and Path(source).is_dir():
        return datasets.load(source, limit=limit), [
            f"{source} is the known data set; your folder is ./{source}"
        ]
    if known:
        return datasets.load(source, limit=limit), []
    most = limit or max(10, MEMORY // (4 * channels * size * size))
    if isinstance(source, (str, Path)):
        if Path(source).suffix.lower() in TABLES and Path(source).is_file():
            return _table(Path(source), reader, most, seed)
        if str(source).endswith(".tar"):
            found, notes = dataset(_shards(str(source)), **how)
            return replace(found, name=Path(source).name), notes
        if (Path(source) / "dataset_dict.json").is_file() or (Path(source) / "dataset_info.json").is_file():
            found, notes = dataset(_saved(Path(source)), **how)
            return replace(found, name=Path(source).name), notes
        if not Path(source).is_dir():
            raise UnknownNameError("data set or folder", str(source), datasets.names())
        return _folder(Path(source), reader, most, seed)
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, Tensor) for part in source):
        images, labels = source
        if labels.ndim != 1 or len(labels) != len(images):
            raise DataError(
                f"want one whole number per image, labels [{len(images)}], got {list(labels.shape)}; of one-hot labels take "
                ".argmax(dim=1)"
            )
        images, labels = images / 255 if images.dtype == torch.uint8 else images, labels.long()
        names = tuple(str(c) for c in range(int(labels.max()) + 1)) if len(labels) else ()
        chosen = _order(labels, most, seed)
        return _split("your images", images[chosen].float(), labels[chosen], names)
    if isinstance(source, Mapping):
        by_split = {split_of(str(name)): part for name, part in source.items()}
        if not (found := by_split.get("test") or by_split.get("val")):
            raise DataError(f"want a split test or validation, found {', '.join(map(str, source)) or 'none'}")
        return dataset(found, **how)
    if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
        if not isinstance(source, Iterable):
            raise DataError(
                f"want a data set with len() and [i] → (image, label), got {type(source).__name__}"
            )
        try:
            first = list(itertools.islice(source, most))
        except Exception as error:
            raise DataError(f"the data cannot be read ({one_line(error, named=True)})") from error
        data, notes = _indexable(first, reader, most, seed, source)
        return data, [*notes, f"the first {len(first):,} images of an iterable"]
    return _indexable(source, reader, most, seed)


def _saved(folder: Path) -> Any:
    """Return what the library datasets of Hugging Face wrote into a folder."""
    try:
        theirs: Any = importlib.import_module("datasets")
    except ImportError:
        raise SettingError(f"{folder}: a saved Hugging Face data set needs `pip install datasets`") from None
    return theirs.load_from_disk(str(folder))


def _shards(pattern: str) -> Iterator[dict[str, bytes]]:
    """Yield the samples of WebDataset archives: neighbours that share a name up to its first point, by their endings."""

    def sample(member: tarfile.TarInfo) -> str:
        folder, _, name = member.name.rpartition("/")
        return f"{folder}/{name.partition('.')[0]}"

    for path in sorted(glob.glob(pattern)) or [pattern]:
        with tarfile.open(path) as archive:
            for _, members in itertools.groupby(filter(tarfile.TarInfo.isfile, archive), sample):
                files = {m.name.rpartition("/")[2].partition(".")[2].lower(): m for m in members}
                known = {
                    ending: archive.extractfile(m)
                    for ending, m in files.items()
                    if ending in (*_IMAGES, *_LABELS)
                }
                yield {ending: file.read() for ending, file in known.items() if file}


def _folder(root: Path, reader: Reader, most: int, seed: int) -> tuple[Dataset, list[str]]:
    found = listing(root)
    if list(found.files) == ["train"]:
        raise DataError(f"{root} has only train: a network is judged on images that it was not trained on")
    names, splits, files = found.class_names, {}, {}
    for split, paths in found.files.items():
        chosen = _order(found.labels[split], most, seed)
        files[split] = [paths[i] for i in chosen.tolist()]
        splits[split] = (
            torch.stack([reader.read(root / path) for path in files[split]]),
            found.labels[split][chosen],
        )
    train, val, test = (splits.get(split) for split in ("train", "val", "test"))
    shown = files.get("test", [])
    if not (val and test):
        only = next(split for split in ("", "test", "val") if split in splits)
        images, labels = splits[only]
        data, _ = _split(root.name, images, labels, names, files[only])
        val, test, shown = data.val, data.test, data.files
    notes = [] if train else [_STAND_IN]
    notes.append(f"{len(names)} classes of {root}: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}")
    return Dataset(root.name, train or val, val, test, names, files=tuple(shown)), notes


def _table(path: Path, reader: Reader, most: int, seed: int) -> tuple[Dataset, list[str]]:
    """Read the images that a table lists: a column of paths, or of encoded pictures, and one of labels."""
    try:
        table = (
            pd.read_parquet(path)
            if path.suffix.lower() == ".parquet"
            else pd.read_csv(path, sep=None, engine="python")
        )
    except ImportError:
        raise SettingError(f"{path}: parquet needs `pip install pyarrow`") from None
    except Exception as error:
        raise DataError(f"{path} is no table that can be read ({one_line(error)})") from None
    by_name = {str(column).lower(): column for column in table.columns}
    images, labels = (
        next((by_name[name] for name in names if name in by_name), None) for names in (_IMAGES, _LABELS)
    )
    if images is None or labels is None:
        raise DataError(
            f"{path} has the columns {', '.join(map(str, table.columns))}: want one called path (or {_IMAGES[1]}) and one "
            f"called label (or {_LABELS[1]})"
        )
    if table[labels].isna().any():
        raise DataError(f"{path}: row {int(table[labels].isna().argmax()) + 1} has no label")
    names = sorted(table[labels].unique().tolist())
    found = torch.tensor([names.index(label) for label in table[labels]])
    chosen = _order(found, most, seed)
    pictures = [_pictured(table[images].iloc[i], path, reader) for i in chosen.tolist()]
    if len(names) < 2:
        raise DataError(f"{path}: want two classes or more, found {', '.join(map(str, names)) or 'none'}")
    cells = [table[images].iloc[i] for i in chosen.tolist()]
    files = [each for each in cells if isinstance(each, str)]
    known = files if len(files) == len(cells) else ()
    data, notes = _split(path.name, torch.stack(pictures), found[chosen], tuple(map(str, names)), known)
    return data, [*notes, f"{len(names)} classes of {path}: {', '.join(map(str, names[:20]))}"]


def _pictured(cell: Any, table: Path, reader: Reader) -> Tensor:
    """Return the picture of a path, or of encoded bytes as Hugging Face writes them."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        where = cell.get("path") if isinstance(cell, dict) else cell
        return reader.read(table.parent / str(where))
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return reader.read(picture)
    except Exception as error:
        raise DataError(f"{table} holds a picture that cannot be read ({one_line(error)})") from None


def picture_of(item: Any) -> Any:
    """Return the picture of an item, which may come with a label."""
    if isinstance(item, Mapping):
        return next((item[name] for name in _IMAGES if name in item), None)
    return item[0] if isinstance(item, (tuple, list)) else item


def _pair(item: Any) -> tuple[Any, Any]:
    """Return (image, label) of an item, which may be a mapping with both."""
    if not isinstance(item, Mapping):
        image, label = item
        return image, label
    image, label = (
        next((item[name] for name in names if name in item), None) for names in (_IMAGES, _LABELS)
    )
    if image is None or label is None:
        raise KeyError(f"no image and label among {', '.join(map(str, item))}")
    return image, label


def _indexable(
    source: Any, reader: Reader, most: int, seed: int, named: Any = None
) -> tuple[Dataset, list[str]]:
    """Return the data of (image, label) pairs; ``named`` knows the classes if the pairs do not."""
    images, labels = collected(source, reader, most, seed)
    named = source if named is None else named
    names = getattr(named, "classes", None) or _named(named)
    most_of = int(labels.max())
    names = names if isinstance(names, (list, tuple)) and len(names) > most_of else range(most_of + 1)
    return _split(type(named).__name__, images, labels, tuple(map(str, names)))


def collected(source: Any, reader: Reader, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return at most ``most`` images and labels of (image, label) pairs, in an order that only their labels and the seed decide."""
    labels = getattr(source, "targets", None)
    if labels is None or len(labels) != len(source):
        # not known without reading: a random order will do
        labels = [0] * len(source)
    images, found = [], []
    for i in _order(torch.tensor([int(label) for label in labels]), most, seed).tolist():
        try:
            image, label = _pair(source[i])
            images.append(read_picture(image, reader))
            found.append(int(label))
        except DataError:
            raise
        # decoders raise anything
        except Exception as error:
            raise DataError(
                f"item {i} of the data is no pair (image, label) that can be read ({one_line(error, named=True)})"
            ) from error
    if not found or min(found) < 0:
        raise DataError(
            "the data have no images" if not found else f"labels must be 0 or more, got {min(found)}"
        )
    if len(shapes := {tuple(image.shape) for image in images}) > 1:
        raise DataError(f"the images have different shapes: {', '.join(map(str, sorted(shapes)[:3]))}")
    return torch.stack(images), torch.tensor(found)


def _named(source: Any) -> list[str] | None:
    """Return the class names of a Hugging Face data set, which stand in its features."""
    features = getattr(source, "features", None)
    held = (features[name] for name in _LABELS if name in features) if isinstance(features, Mapping) else ()
    return getattr(next(iter(held), None), "names", None)


def _split(
    name: str, images: Tensor, labels: Tensor, names: Sequence[str], files: Sequence[str] = ()
) -> tuple[Dataset, list[str]]:
    """Split images in random order: the first fifth is for validation."""
    first = max(1, round(_VALIDATION * len(labels)))
    if len(labels) - first < 1:
        raise DataError(f"{name}: {len(labels)} images are too few to judge anything by")
    val: Split = images[:first], labels[:first]
    test = images[first:], labels[first:]
    return Dataset(name, val, val, test, tuple(names), files=tuple(files[first:])), [_STAND_IN]


def _order(labels: Tensor, most: int, seed: int) -> Tensor:
    """Return at most ``most`` places in random order, as class-balanced as they divide."""
    shuffled = torch.randperm(len(labels), generator=generator(seed, "split"))
    return shuffled[first_of_each_class(labels[shuffled], most)]


def read_picture(picture: Any, reader: Reader) -> Tensor:
    """Return a tensor, array, picture or encoded picture as float32 [channels, size, size] in [0, 1]."""
    if isinstance(picture, bytes):
        with Image.open(io.BytesIO(picture)) as opened:
            return reader.read(opened)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture) if picture.dtype == np.uint8 else torch.from_numpy(picture)
    if isinstance(picture, Image.Image):
        return reader.read(picture)
    if not isinstance(picture, Tensor):
        raise DataError(f"an image must be a tensor, an array or a PIL picture, got {type(picture).__name__}")
    picture = picture.unsqueeze(0) if picture.ndim == 2 else picture
    picture = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
    if picture.ndim != 3 or picture.shape[-1] != picture.shape[-2]:
        raise DataError(f"a tensor must be a square image [C, H, W], got {list(picture.shape)}")
    if not (picture.min() >= 0 and picture.max() <= 1):
        raise DataError(
            f"pixels must lie in [0, 1], got {picture.min():.3g} to {picture.max():.3g}: leave normalisation out of "
            "the data and give mean and std to the scorecard"
        )
    return picture
