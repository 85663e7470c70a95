"""Images of one's own, in a folder for each class:

    root/train/cat/*.png
    root/train/dog/*.png
    root/val/cat/*.png
    root/val/dog/*.png
    root/test/cat/*.png
    root/test/dog/*.png

Splits go by their usual names, in any case. Hidden entries and what is no picture are ignored.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ..errors import DataError, MissingDataError, SettingError
from ..rng import generator
from .base import Dataset, DatasetBuilder, Shape, Split, register
from .lazy import LazyImages, Reader
from .sources import Source

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
SPLIT_NAMES = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation"},
    "test": {"test", "testing", "tst"},
}
# too short for names of splits, unless nothing else is there
_SHORT = {"tr": "train", "va": "val", "vl": "val", "te": "test", "ts": "test"}
# bytes of a split's pixels that are kept in memory; larger ones stay in their files
MEMORY = 2**30
# bytes at both ends of a file that its identity depends on, beside its name and size
ENDS = 2**15


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder: split → paths below ``root``, and labels. The one split of classes alone is ``""``."""

    root: Path
    class_names: tuple[str, ...]
    files: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of all files: their names, sizes, and the bytes at both ends, where formats keep their sums; of
        small files all bytes. Where the folder lies and when files were written makes no difference."""
        total = hashlib.sha256()
        for split, names in sorted(self.files.items()):
            for name in names:
                with open(self.root / name, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    ends = file.read(ENDS)
                    if size > ENDS:
                        file.seek(max(ENDS, size - ENDS))
                        ends += file.read(ENDS)
                below = os.fsencode(name.partition("/")[2] if split else name)
                total.update(b"%s/%s %d " % (split.encode(), below, size) + hashlib.sha256(ends).digest())
        return total.hexdigest()[:16]


def listing(root: Path | None) -> Listing:
    """Return the pictures of a folder of classes, or of splits with classes in each; none is opened.

    Raises:
        MissingDataError: if there is no such folder.
        DataError: in one line for a folder of another form.
    """
    if root is None:
        raise SettingError("data set folder needs root: the folder with train and test")
    if not root.is_dir():
        raise MissingDataError(f"{root} is no folder: want one with a folder of images for each class")
    try:
        return _listing(root)
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error}") from None


def _listing(root: Path) -> Listing:
    folders = subfolders(root)
    splits = {
        name: split
        for split in SPLIT_NAMES
        for name in folders
        if split_of(name) == split and subfolders(root / name)
    }
    if len(splits) < len(folders):
        splits = _by_words(root, folders) or splits
    if not splits:
        if len(folders) > 1 and all(map(split_of, folders)):
            raise DataError(f"{root}: want a folder of images for each class within {_listed(folders)}")
        found = Listing(root, _class_names(root, folders))
        _add(found, "", "")
        return found
    if others := [name for name in folders if name not in splits]:
        unknown = [name for name in others if subfolders(root / name)]
        why = (
            f"{_listed(unknown)} too: call splits train, val and test"
            if unknown
            else f"{_listed(others)} not: keep splits and nothing else there"
        )
        raise DataError(f"{root}: {_listed(splits)} with class folders, {why}")
    for split in SPLIT_NAMES:
        if len(same := [name for name, meant in splits.items() if meant == split]) > 1:
            raise DataError(f"{root}: {_listed(same)} are names of one split ({split}): keep one of them")
    _refuse_strays(root, splits)
    classes = {name: subfolders(root / name) for name in splits}
    most = max(classes.values(), key=len)
    for name, own in classes.items():
        for other, theirs in classes.items():
            if lacking := [c for c in theirs if c not in own]:
                raise DataError(
                    f"{root}: {other} has a class {lacking[0]!r} and {name} has none: {_listed(most)}"
                )
    found = Listing(root, _class_names(root / next(iter(splits)), most))
    for name, split in splits.items():
        _add(found, split, f"{name}/")
    return found


def _by_words(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Return the splits among folders that all hold the same folders, and have a split's name as one of their words, such as
    ``seg_train`` and ``seg_test``; none where no folder has."""
    inner = [subfolders(root / name) for name in folders]
    if len(folders) < 2 or not inner[0] or any(other != inner[0] for other in inner):
        return {}
    meant: dict[str, str] = {}
    for name in folders:
        for word in re.findall(r"[a-z]+", name.lower()):
            if split := split_of(word) or split_of(word.removesuffix("s")) or _SHORT.get(word):
                meant[name] = split
    if meant and len(meant) < len(folders):
        others = [name for name in folders if name not in meant]
        raise DataError(
            f"{root}: {_listed(meant)} and {_listed(others)} hold the same folders, as splits do: call them train, val and test"
        )
    return meant if len(set(meant.values())) > 1 else {}


def split_of(name: str) -> str | None:
    """Return the split that a folder's name stands for.

    Example:
        >>> split_of("Validation"), split_of("train_set"), split_of("cat")
        ('val', 'train', None)
    """
    plain = re.sub(r"[^a-z]", "", name.lower())
    plain = re.sub(r"(set|data|images)$", "", plain)
    return next((split for split, known in SPLIT_NAMES.items() if plain in known), None)


def held_out(labels: Tensor, share: float) -> Tensor:
    """Return which training images serve as validation: boolean [N], that share of each class, drawn with a fixed seed.

    Raises:
        DataError: if a class has a single image.

    Example:
        >>> held_out(torch.tensor([0] * 10 + [1] * 20), 0.1).nonzero().squeeze().tolist()
        [5, 18, 29]
    """
    chosen, random = torch.zeros(len(labels), dtype=torch.bool), generator(0, "validation", "folder")
    for c in labels.unique():
        members = (labels == c).nonzero().squeeze(1)
        if len(members) < 2:
            raise DataError(f"class {c} has one training image: none can be held out for validation")
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[torch.randperm(len(members), generator=random)[:count]]] = True
    return chosen


@register
class Folder(DatasetBuilder):
    """A folder of one's own, ``root``, with ``train``, ``test`` and perhaps ``val``.

    Without ``val`` a share of the training images validates; without ``test`` the images of ``val`` are the test set, as is
    the custom for ImageNet.

    Args:
        size, resize: Pictures' shorter sides are brought to ``resize`` pixels (default ``size``), and the central square of
            ``size`` is cut out.
        channels: 1 for grey, 3 for colour.
        validation: The share of each class that is held out.
    """

    name = "folder"
    title = "own images"
    own_root = True

    size: PositiveInt = 32
    resize: PositiveInt | None = None
    channels: Literal[1, 3] = 3
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1

    def model_post_init(self, _: object) -> None:
        """Refuse a square larger than the picture."""
        Reader(self.size, self.resize, self.channels)

    def load(self, root: Path | None) -> Dataset:
        """Return the three splits, in memory if they fit."""
        found, places = self._places(root)
        splits: dict[str, Split] = {}
        for split, (held, chosen) in places.items():
            files = LazyImages(found.root, found.files[held], self.size, self.resize, self.channels, True)
            files, labels = files.only(chosen), found.labels[held][chosen]
            small = 4 * len(files) * self.channels * self.size**2 <= MEMORY
            splits[split] = (files[:] if small else files), labels
        name, names = found.root.absolute().name, found.class_names
        return Dataset(name, splits["train"], splits["val"], splits["test"], names)

    def shape(self, root: Path | None) -> Shape:
        found, places = self._places(root)
        counts = {split: len(found.labels[held][chosen]) for split, (held, chosen) in places.items()}
        train, val, test = (counts[split] for split in ("train", "val", "test"))
        return Shape(self.channels, self.size, len(found.class_names), train, val, test, self.name)

    def source(self) -> Source:
        return Source(
            title="A data set of your own",
            place=".",
            size="yours",
            fetch="put folders train and test, with a folder of images for each class in both,",
            check=self.load,
        )

    def content(self, root: Path | None) -> str:
        return listing(root).digest()

    def _places(self, root: Path | None) -> tuple[Listing, dict[str, tuple[str, Tensor]]]:
        """Return the pictures, and for each split the folder's split and which of its images belong to it."""
        found = listing(root)
        everything = {split: torch.ones_like(y, dtype=torch.bool) for split, y in found.labels.items()}
        test = "test" if "test" in found.files else "val"
        if "train" not in found.files or test not in found.files:
            has = [split for split in found.files if split] or found.class_names
            raise DataError(
                f"{found.root}: want folders train and test, with the classes in each; found {_listed(has)}"
            )
        if test == "test" and "val" in found.files:
            return found, {split: (split, everything[split]) for split in SPLIT_NAMES}
        drawn = held_out(found.labels["train"], self.validation)
        return found, {"train": ("train", ~drawn), "val": ("train", drawn), "test": (test, everything[test])}


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, in order, but hidden entries and what macOS packs beside the files."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    return sorted(found, key=lambda entry: entry.name)


def pictures(root: Path) -> list[str]:
    """Return the paths of all pictures within a folder, below it and in order."""
    return [path.removeprefix("/") for path in _pictures(root, "", (os.path.realpath(root),))]


def subfolders(folder: Path) -> list[str]:
    """Return the names of visible folders, links included, in order."""
    entries = _entries(folder)
    for entry in entries:
        _check_link(entry)
    return [entry.name for entry in entries if entry.is_dir()]


def _class_names(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    if len(names) < 2:
        found = f"{len(names)} folder(s)" + (f": {_listed(names)}" if names else "")
        raise DataError(f"{folder}: want a folder of images for each of two classes or more, found {found}")
    for name in names:
        if "$" in name or not name.isprintable():
            raise DataError(
                f"{folder}: a class cannot be called {name!r}: use letters, digits, spaces, - and _"
            )
    return tuple(names)


def _add(found: Listing, split: str, below: str) -> None:
    """List a split's pictures, class by class."""
    names, labels, homes = [], [], {}
    _refuse_strays(found.root / below, found.class_names)
    for label, name in enumerate(found.class_names):
        place = found.root / below / name
        home = os.path.realpath(place)
        if home in homes:
            raise DataError(f"{found.root / below}: {homes[home]} and {name} are one folder")
        homes[home] = name
        files = list(_pictures(place, below + name, (home,)))
        if not files:
            raise DataError(f"{place}: no images (looked for {', '.join(ENDINGS)})")
        inner = {file[len(below + name) + 1 :].partition("/")[0] for file in files}
        if all(map(split_of, inner)):
            raise DataError(
                f"{place}: {_listed(sorted(inner))} are splits within a class: put classes within splits"
            )
        names += files
        labels += [label] * len(files)
    found.files[split], found.labels[split] = names, torch.tensor(labels)


def _pictures(folder: str | Path, below: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the paths of pictures within a folder, in order; linked folders are followed, links upwards refused."""
    for entry in _entries(folder):
        if entry.is_dir():
            home = os.path.realpath(entry.path)
            if home in above:
                raise DataError(f"{entry.path} leads back to a folder that it lies in")
            yield from _pictures(entry.path, f"{below}/{entry.name}", (*above, home))
        elif _is_picture(entry):
            yield f"{below}/{entry.name}"


def _refuse_strays(folder: Path, beside: Sequence[str] | dict[str, str]) -> None:
    for entry in filter(_is_picture, _entries(folder)):
        raise DataError(f"{entry.path} lies beside the folders {_listed(beside)}: put it into one of them")


def _is_picture(entry: os.DirEntry) -> bool:
    """Tell pictures by their names; pipes and devices are none, and opening one would wait for ever."""
    if not entry.name.lower().endswith(ENDINGS):
        return False
    _check_link(entry)
    return entry.is_file()


def _check_link(entry: os.DirEntry) -> None:
    if entry.is_symlink() and not os.path.exists(entry.path):
        raise DataError(f"{entry.path} is a link to nothing")


def _listed(names: Sequence[str] | dict[str, str], most: int = 10) -> str:
    shown = list(names)[:most] + (["…"] if len(names) > most else [])
    return ", ".join(shown)
