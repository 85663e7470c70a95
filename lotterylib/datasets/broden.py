"""Reader for Broden (Bau et al., 2017, arXiv:1704.05796): images with pixel-wise labels of objects, parts, materials,
textures, colours and scenes, in the layout of broden1_224.zip and its sisters:

- ``index.csv``: image,split,ih,iw,sh,sw,<one column per category>: an image's labels in it, joined by ";"
- ``label.csv``: number,name,category,frequency,coverage,syns
- ``images/…``: photographs, and PNG files in which a pixel's label is red + 256 · green

A label in index.csv that is a number holds for the whole image; else it names such a PNG. 0 is no label.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import DataError, MissingDataError, SettingError
from ..files import check_is_file
from .concepts import Concepts
from .sources import Source

_ABOUT_IMAGE = ("image", "split", "ih", "iw", "sh", "sw")


def broden(root: str | Path, size: int = 224, limit: int = 1000) -> tuple[Tensor, Concepts]:
    """Return the first ``limit`` images of a Broden folder, float32 [N, 3, size, size] in [0, 1], and the concepts that they
    show: name → bool [N, size, size]. Its order is shuffled as published, so the first are as good as any.

    Pictures are brought to ``size`` bilinearly, labels by the nearest pixel.

    Raises:
        DataError: for files that are missing, damaged or not labelled as above.
        SettingError: for a size or limit below 1.
    """
    if size < 1 or limit < 1:
        raise SettingError(f"size and limit must be at least 1, got {size} and {limit}")
    root = Path(root)
    names, category = {}, {}
    for row in _table(root / "label.csv", ("number", "name", "category")):
        names[int(row["number"])] = row["name"]
        # "color(289);object(3)": the commonest comes first
        category[row["name"]] = row["category"].partition("(")[0]
    index = _table(root / "index.csv", ("image",))[:limit]
    images = torch.stack([_photograph(root / "images" / row["image"], size) for row in index])
    # name → images, and where in them
    layers: dict[str, list[tuple[int, np.ndarray | bool]]] = defaultdict(list)
    for i, row in enumerate(index):
        for entry in _labels(row):
            if entry.isdigit():
                found = {int(entry): True}
            else:
                numbers = _numbers(root / "images" / entry, size)
                found = {int(n): numbers == n for n in np.unique(numbers)}
            for number, where in found.items():
                if number and number not in names:
                    raise DataError(
                        f"{root / 'index.csv'}: {row['image']} has label {number}, label.csv does not"
                    )
                if number:
                    layers[names[number]].append((i, where))

    def mask(name: str) -> np.ndarray:
        full = np.zeros((len(index), size, size), bool)
        for i, where in layers[name]:
            full[i] |= where
        return full

    shown = [name for name in names.values() if name in layers]
    if not shown:
        raise DataError(f"{root / 'index.csv'}: none of the first {len(index)} images has a label")
    return images, Concepts(
        {name: lambda name=name: mask(name) for name in shown},
        {name: category[name] for name in shown},
        {name: f"Labelled {name} in Broden." for name in shown},
    )


def source(folder: str | Path) -> Source:
    """Return where a Broden folder comes from."""
    return Source(
        title="Broden",
        place=str(folder),
        size="about 1 GB",
        fetch="fetch and unpack http://netdissect.csail.mit.edu/data/broden1_224.zip",
        check=lambda root: broden(root / folder, limit=1),
    )


def _labels(row: dict[str, str]) -> list[str]:
    """Return an image's entries in all categories."""
    entries = (cell.split(";") for column, cell in row.items() if column not in _ABOUT_IMAGE)
    return [entry for cell in entries for entry in cell if entry]


def _table(path: Path, wanted: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restval=""))
    except FileNotFoundError:
        raise MissingDataError(
            f"{path} is missing: unpack broden1_224.zip of netdissect.csail.mit.edu there"
        ) from None
    if not rows or not set(wanted) <= set(rows[0]):
        raise DataError(f"{path}: want rows with the columns {', '.join(wanted)}")
    return rows


def _open(path: Path) -> Image.Image:
    try:
        check_is_file(path)
        return Image.open(path).convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path} is missing, but index.csv names it") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} is no readable image ({error})") from None


def _photograph(path: Path, size: int) -> Tensor:
    picture = _open(path).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).movedim(-1, 0).float() / 255


def _numbers(path: Path, size: int) -> np.ndarray:
    """Return label numbers, int [size, size] of a PNG."""
    picture = np.array(_open(path).resize((size, size), Image.Resampling.NEAREST)).astype(np.int64)
    return picture[..., 0] + 256 * picture[..., 1]
