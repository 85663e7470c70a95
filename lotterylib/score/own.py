"""Outliers and corrupted images of one's own, brought into a ``Dataset``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..datasets.folder import MEMORY, pictures, subfolders
from ..datasets.lazy import Images, LazyImages, Reader
from ..datasets.ood import COUNT, load_ood
from ..datasets.ood import names as known_outliers
from ..datasets.own import Corrupted
from ..errors import DataError, one_line
from .sources import collected, picture_of, read_picture


def own_images(
    data: Dataset, outliers: Any, corrupted: Any, resize: int | None, seed: int
) -> tuple[Dataset, list[str]]:
    """Return data with outliers and corrupted images of the user's own, and a note on each.

    Args:
        outliers: A folder of pictures, a name that ``datasets.load_ood`` knows, images [N, C, H, W] in [0, 1], an iterable of
            pictures (or of pairs or mappings with one); several of these in a list, or in a mapping with their names.
        corrupted: A folder, see ``read_corrupted``; or a mapping from the corruption's name to (images, labels) or
            what else ``dataset`` takes, or to a list of such for its severities.
        resize: What pictures' shorter sides are brought to.
    """
    if outliers is None and corrupted is None:
        return data, []
    reader, notes = Reader(data.size, max(resize or 0, data.size), data.channels), []
    if outliers is not None:
        sets = {name: _outliers(name, each, reader) for name, each in _called(outliers)}
        notes.append("outliers: " + ", ".join(f"{len(images):,} of {name}" for name, images in sets.items()))
        data = replace(data, outliers=sets)
    if corrupted is not None:
        if isinstance(corrupted, (str, Path)):
            own = read_corrupted(Path(corrupted), data.class_names, reader)
        elif isinstance(corrupted, Mapping):
            own = _corrupted(corrupted, reader, seed)
        else:
            raise DataError(
                f"corrupted images are a folder, or a mapping by their names, not {type(corrupted).__name__}"
            )
        _check(own, data)
        names, severities = list(own.images), len(next(iter(own.images.values())))
        notes.append(
            f"corruption error is over {len(names)} corruption{'s' * (len(names) > 1)} of your own ({', '.join(names[:15])}), "
            f"{severities} severit{'ies' if severities > 1 else 'y'}, {len(own.labels):,} images each"
        )
        data = replace(data, corrupted=own)
    return data, notes


def _check(own: Corrupted, data: Dataset) -> None:
    if not 0 <= int(own.labels.min()) <= int(own.labels.max()) < data.classes:
        raise DataError(
            f"corrupted images: labels must lie in 0..{data.classes - 1}, got {int(own.labels.max())}"
        )
    for name, sets in own.images.items():
        for images in sets:
            if images.shape[1:] != data.test[0].shape[1:]:
                wanted, got = ("×".join(map(str, each.shape[1:])) for each in (data.test[0], images))
                raise DataError(f"corruption {name}: want images {wanted}, as the data's, got {got}")


def _called(outliers: Any) -> list[tuple[str, Any]]:
    """Return sets of outliers with their names."""
    if isinstance(outliers, Mapping):
        return [(str(name), each) for name, each in outliers.items()]
    several = isinstance(outliers, (list, tuple)) and all(
        isinstance(each, (str, Path)) or isinstance(each, Tensor) and each.ndim == 4 for each in outliers
    )
    found: list[tuple[str, Any]] = []
    for i, each in enumerate(outliers if several else [outliers]):
        name = Path(each).name if isinstance(each, (str, Path)) else f"your outliers{f' {i + 1}' * (i > 0)}"
        found.append((str(each) if name in dict(found) else name, each))
    return found


def _outliers(name: str, source: Any, reader: Reader) -> Images:
    if isinstance(source, (str, Path)):
        if Path(source).is_dir():
            found = pictures(Path(source))
            # spread over the folder, whose order may be that of classes
            found = [found[i * len(found) // COUNT] for i in range(COUNT)] if len(found) > COUNT else found
            images: Images = LazyImages(
                Path(source), found, reader.size, reader.resize, reader.channels, reader.upright
            )
            if len(images):
                images[0]
        elif str(source) in known_outliers():
            return load_ood(str(source), reader.size, reader.channels)
        else:
            raise DataError(f"outliers: {source} is no folder")
    else:
        items = source[:COUNT] if isinstance(source, Tensor) else source
        try:
            read = [read_picture(picture_of(item), reader) for item in itertools.islice(items, COUNT)]
        except DataError:
            raise
        # decoders raise anything
        except Exception as error:
            raise DataError(f"outliers {name} cannot be read ({one_line(error, named=True)})") from error
        images = torch.stack(read) if read else torch.empty(0)
    if len(images) < 10:
        raise DataError(f"outliers {name}: want 10 images or more, got {len(images)}")
    if images.shape[1] != reader.channels or images.shape[-1] != reader.size:
        wanted = f"{reader.channels}×{reader.size}×{reader.size}"
        raise DataError(f"outliers {name}: want images {wanted}, got {'×'.join(map(str, images.shape[1:]))}")
    return images


def _corrupted(source: Mapping[Any, Any], reader: Reader, seed: int) -> Corrupted:
    images: dict[str, list[Images]] = {}
    labels: list[Tensor] = []
    for name, given in source.items():
        several = isinstance(given, list) and all(_is_split(each) or isinstance(each, list) for each in given)
        for each in given if several else [given]:
            pairs = list(zip(*each, strict=True)) if _is_split(each) else list(each)
            pixels, found = collected(pairs, reader, MEMORY, seed)
            images.setdefault(str(name), []).append(pixels)
            labels.append(found)
    if any(not torch.equal(labels[0], other) for other in labels[1:]):
        raise DataError(
            "corrupted images: want the same labels in the same order for every corruption and severity"
        )
    return Corrupted(images, labels[0]) if labels else Corrupted({}, torch.empty(0))


def _is_split(given: Any) -> bool:
    """Return whether something is images [N, C, H, W] and labels [N]."""
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and all(isinstance(part, Tensor) and part.ndim for part in given)
    )


def read_corrupted(root: Path, class_names: Sequence[str], reader: Reader) -> Corrupted:
    """Return the images of a folder: ``root/fog/3/cat/*.png``, or ``root/fog/cat/*.png`` where there are no severities.

    Class folders go by the names of the data's classes. Of each class those pictures are taken that all sets have, by their
    names; where the sets share no names, as many as the smallest has. The pictures are read when asked for.

    Raises:
        DataError: in one line for a folder of another form.
    """
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder: want one with a folder for each corruption, and classes within"
        )
    sets: dict[str, list[dict[str, dict[str, str]]]] = {}
    for name in subfolders(root):
        inner = subfolders(root / name)
        deep = inner and all(subfolders(root / name / each) for each in inner)
        places = sorted(inner, key=_number) if deep else [""]
        sets[name] = [_classes(root, "/".join(filter(None, (name, each))), class_names) for each in places]
    every = [found for severities in sets.values() for found in severities]
    if not every:
        raise DataError(
            f"{root}: want a folder for each corruption, and in it folders of classes; found none"
        )
    if not (present := [c for c in class_names if all(c in found for found in every)]):
        raise DataError(f"{root}: no class has images under every corruption and severity")
    keys = {c: set.intersection(*(set(found[c]) for found in every)) for c in present}
    fewest = {c: min(len(found[c]) for found in every) for c in present}

    def chosen(found: dict[str, dict[str, str]], c: str) -> list[str]:
        return [found[c][key] for key in sorted(keys[c] or found[c])][: fewest[c]]

    def lazy(found: dict[str, dict[str, str]]) -> LazyImages:
        paths = [path for c in present for path in chosen(found, c)]
        return LazyImages(root, paths, reader.size, reader.resize, reader.channels, reader.upright)

    labels = [class_names.index(c) for c in present for _ in chosen(every[0], c)]
    return Corrupted(
        {name: [lazy(each) for each in found] for name, found in sets.items()}, torch.tensor(labels)
    )


def _classes(root: Path, below: str, class_names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the pictures of each class folder: class → name without ending → path below ``root``."""
    known = {_plain(name): name for name in class_names}
    found: dict[str, dict[str, str]] = {}
    for folder in subfolders(root / below):
        if _plain(folder) not in known:
            shown = ", ".join(list(class_names)[:10])
            raise DataError(f"{root / below}: {folder} is none of the data's classes ({shown})")
        paths = pictures(root / below / folder)
        found[known[_plain(folder)]] = {path.rpartition(".")[0]: f"{below}/{folder}/{path}" for path in paths}
    if not any(found.values()):
        raise DataError(f"{root / below}: want a folder of images for each class of the data")
    return {name: paths for name, paths in found.items() if paths}


def _number(name: str) -> tuple[int, str]:
    """Put severity 2 before 10."""
    digits = "".join(filter(str.isdecimal, name))
    return int(digits or 0), name


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ")
