"""Images of one's own that take the place of those that are usual for data: corrupted copies of the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from .lazy import Images, LazyImages, Reader, pick


@dataclass(frozen=True)
class Corrupted:
    """Corrupted images: ``images`` name → one set per severity, float32 [N, C, H, W] in [0, 1] or lazy, all with the same
    ``labels`` int64 [N]; the k-th of each set has been the same image where the sets are copies of one another."""

    images: Mapping[str, Sequence[Images]]
    labels: Tensor

    def __post_init__(self):
        for name, severities in self.images.items():
            for each in severities:
                if len(each) != len(self.labels):
                    raise DataError(f"corruption {name}: {len(each)} images and {len(self.labels)} labels")
        counts = {name: len(severities) for name, severities in self.images.items()}
        if not self.sets or not len(self.labels):
            raise DataError("there are no corrupted images")
        if len(set(counts.values())) > 1:
            raise DataError(
                f"want as many severities for every corruption, got {', '.join(f'{n}: {k}' for n, k in counts.items())}"
            )

    @property
    def sets(self) -> int:
        """Return how many sets of images there are, of all corruptions and severities."""
        return sum(map(len, self.images.values()))

    def only(self, chosen: Tensor) -> Corrupted:
        """Return the images at some places of every set."""
        images = {name: [pick(each, chosen) for each in sets] for name, sets in self.images.items()}
        return Corrupted(images, self.labels[chosen])


def read_corrupted(root: Path, class_names: Sequence[str], reader: Reader) -> Corrupted:
    """Return the images of a folder: ``root/fog/3/cat/*.png``, or ``root/fog/cat/*.png`` where there are no severities.

    Class folders go by the names of the data's classes. Of each class those pictures are taken that all sets have, by their
    names; where the sets share no names, as many as the smallest has. The pictures are read when asked for.

    Raises:
        DataError: in one line for a folder of another form.
    """
    from .folder import subfolders

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
    from .folder import pictures, subfolders

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
