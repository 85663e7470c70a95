"""Which output of a network belongs to which class of the data."""

from __future__ import annotations

import difflib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError

Names = list[set[str]]


def read_classes(path: str | Path) -> Names:
    """Return the names that each output goes by, from a file that the user made.

    One line per output, in the network's order, with its names between commas or tabs (a wnid may stand in front); where
    every line, but for a head, begins or ends with another whole number, that is the output's index. JSON: a list of names,
    index → names, as in ``imagenet_class_index.json``, or name → index, as torchvision's ``class_to_idx``. Raises
    ``DataError`` for another form.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            found = json.loads(text)
            if isinstance(found, dict) and all(type(output) is int for output in found.values()):
                found = {str(output): name for name, output in found.items()}
            entries = found if isinstance(found, list) else [found[str(i)] for i in range(len(found))]
            names = [{entry} if isinstance(entry, str) else set(map(str, entry)) for entry in entries]
        else:
            names = _of_lines([line.strip() for line in text.splitlines() if line.strip()])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no list of classes ({error}): want one line per output of the network"
        ) from None
    if not names:
        raise DataError(f"{path} lists no classes: want one line per output of the network")
    return [{_plain(name) for name in each} for each in names]


def outputs_of(class_names: Sequence[str], known: Names, where: str) -> list[int]:
    """Return the output of each class, found by name. Raises ``DataError`` for a class that no output, or several, goes by.

    Example:
        >>> outputs_of(["dog", "cat"], [{"cat"}, {"cow"}, {"dog", "n02084071"}], "the list")
        [2, 0]
    """
    places: dict[str, list[int]] = defaultdict(list)
    for output, names in enumerate(known):
        for name in names:
            places[name].append(output)
    chosen = []
    for name in class_names:
        found = places.get(_plain(name), [])
        if not found:
            if are_wnids([name]):
                raise DataError(
                    f"{where} has no class {name!r}, a WordNet id: `pip install timm` brings their list, or give --classes a file "
                    "that has them, e.g. ImageNet's LOC_synset_mapping.txt or imagenet_class_index.json"
                )
            near = difflib.get_close_matches(_plain(name), list(places), n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{where} has no class {name!r}{hint}: give --classes a file with one line per output of the network, the "
                "folder's name among its names"
            )
        if len(found) > 1:
            raise DataError(f"{where}: outputs {found[0]} and {found[1]} both go by {name!r}: use wnids")
        chosen.append(found[0])
    if len(set(chosen)) < len(chosen):
        raise DataError(f"{where}: two classes of the data are one output")
    return chosen


def are_wnids(names: Sequence[str]) -> bool:
    """Return whether all names are WordNet ids, as ImageNet's folders are called.

    Example:
        >>> are_wnids(["n01440764", "n01443537"]), are_wnids(["tench"])
        (True, False)
    """
    return all(re.fullmatch(r"n\d{8}", name) for name in names)


def imagenet_classes(count: int) -> Names | None:
    """Return the names of the ImageNet classes, in the order of torchvision's and timm's networks, with their WordNet ids where
    timm is installed, which has a list of them; None for another ``count``."""
    from torchvision.models import ResNet18_Weights

    categories = ResNet18_Weights.DEFAULT.meta["categories"]
    if len(categories) != count:
        return None
    return [{_plain(name), *own} for name, own in zip(categories, _wnids(count), strict=True)]


def _wnids(count: int) -> list[list[str]]:
    try:
        from timm.data import ImageNetInfo  # pyright: ignore[reportMissingImports]
    except ImportError:
        return [[]] * count
    return [[str(wnid)] for wnid in ImageNetInfo("imagenet-1k").label_names()]


def _of_lines(lines: list[str]) -> Names:
    rows = [[part.strip().strip('"') for part in re.split(r"[,\t;]", line)] for line in lines]
    if all(len(row) == 1 for row in rows):
        # a name may have several words and begin with a number: only 0, 1, 2 … are indices
        numbered = [line.split(None, 1) for line in lines]
        if {row[0] for row in numbered if len(row) > 1} == set(map(str, range(len(rows)))):
            rows = numbered
    for place in (0, -1):
        cells = [row[place] if len(row) > 1 else "" for row in rows]
        head = int(len(rows) > 2 and not cells[0].isdecimal())
        if rows and all(map(str.isdecimal, cells[head:])):
            found = {int(cell): i for i, cell in enumerate(cells) if i >= head}
            if sorted(found) != list(range(len(rows) - head)):
                raise ValueError(f"the indices are not 0 to {len(rows) - head - 1}, each once")
            order = [found[output] for output in sorted(found)]
            return [_names(rows[i][1:] if place == 0 else rows[i][:-1], lines[i]) for i in order]
    return [_names(row, line) for row, line in zip(rows, lines, strict=True)]


def _names(cells: list[str], line: str) -> set[str]:
    """A wnid may stand before the first name with no more than a space between."""
    wnid = re.match(r"(n\d{8})\s+(.+)", cells[0]) if cells else None
    return {*cells, line, *(wnid.groups() if wnid else ())} - {""}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
