"""Options of ``lottery score`` from a YAML file. Imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import SettingError, UnknownNameError
from .options import parser


def with_config(arguments: list[str]) -> list[str]:
    """Return the arguments of ``score`` with the options of a ``--config`` file before them, so that those typed prevail."""
    files = []
    for i, argument in enumerate(arguments):
        name, mark, path = argument.partition("=")
        if name == "--config" and (mark or i + 1 < len(arguments)):
            files.append(Path(path if mark else arguments[i + 1]))
    if len(files) > 1:
        raise SettingError(f"one --config at a time, got {' and '.join(map(str, files))}")
    return [*arguments[:1], *(from_config(files[0]) if files else []), *arguments[1:]]


def from_config(path: Path) -> list[str]:
    """Return what a YAML file of options would be, typed.

    Raises ``SettingError`` in one line for a file of another form, ``UnknownNameError`` for an option that there is none of.
    """
    # what it imports takes seconds
    from ..study.strict import read_yaml

    found = read_yaml(path)
    if not isinstance(found, dict):
        raise SettingError(f"{path}: want options, one per line, e.g. fail-on: worse")
    score_parser: Any = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    actions = {action.dest: action for action in score_parser.choices["score"]._actions}
    words, files = [], []
    for key, value in found.items():
        dest = str(key).replace("-", "_")
        if dest not in actions or dest in ("help", "config"):
            known = (name.replace("_", "-") for name in actions if name not in ("help", "config"))
            raise UnknownNameError(f"option in {path}", str(key), known)
        if dest == "pruned":
            files = [str(each) for each in (value if isinstance(value, list) else [value])]
        else:
            words += list(_typed(path, actions[dest], value))
    return [*files, *words]


def _typed(path: Path, action: argparse.Action, value: Any) -> Iterable[str]:
    """Yield an option as it would be typed."""
    option = action.option_strings[0]
    if value is None or value in ([], {}):
        raise SettingError(f"{path}: {option[2:]} has no value")
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise SettingError(f"{path}: {option[2:]} is true or false, got {value!r}")
        yield from [option] if value else []
    elif isinstance(value, dict):
        for key, own in value.items():
            inner = own.items() if isinstance(own, dict) else [(None, own)]
            yield from (f"{option}={key}{'.' + str(k) if k else ''}={v}" for k, v in inner)
    elif isinstance(value, list) and isinstance(action, argparse._AppendAction):
        yield from (f"{option}={each}" for each in value)
    elif isinstance(value, list) and action.nargs == "+":
        yield from [option, *map(str, value)]
    elif isinstance(value, list):
        yield f"{option}={','.join(map(str, value))}"
    else:
        yield f"{option}={value}"
