"""YAML that means what it seems to mean: what a reader and YAML would read differently is refused, by line and key."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from ..errors import SettingError

BYTES, VALUES = 1_000_000, 10_000
# how people write numbers, and YAML 1.1 takes for text
_LIKE_A_NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE](?P<exponent>[-+]?\d+)|\s*/\s*(?P<under>\d+))?|0[oO](?P<octal>[0-7]+)"
)
_PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9]\d*|[1-9]\d{0,2}(_\d{3})+)")
_PLAIN_FLOAT = re.compile(r"[-+]?(\d+|[1-9]\d{0,2}(_\d{3})+)?\.\d*([eE][-+]\d+)?")


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        SettingError: in one line with file, line and key, for what is no YAML, for a key that stands twice, for aliases
            that expand without end, and for numbers that YAML takes for text, octal or infinite.
    """
    try:
        if path.exists() and not path.is_file():
            raise SettingError(f"{path}: cannot be read (no file)")
        with path.open(encoding="utf-8") as file:
            text = file.read(BYTES + 1)
        if len(text) > BYTES:
            raise SettingError(f"{path}: more than {BYTES:,} characters are no profile")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        if _count(node, {}) > VALUES:
            raise SettingError(f"{path}: its aliases stand for more than {VALUES:,} values")
        _check(node, path, "")
        loader = yaml.SafeLoader("")
        return loader.construct_document(node)
    except OSError as error:
        raise SettingError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise SettingError(f"{path}: nested too deeply, or an alias stands within itself") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{path}: no YAML: {' '.join(str(error).split())}") from None


def check_taken_literally(given: Any, taken: Any, key: str = "") -> None:
    """Compare what a file says with the checked object that was made from it, value by value.

    Raises:
        SettingError: where a number was made from a text or a yes, or a yes from a number.

    Example:
        >>> check_taken_literally({"seeds": [True]}, {"seeds": [1]})
        Traceback (most recent call last):
        lotterylib.errors.SettingError: seeds.0: want a number of type int, got True
    """
    if isinstance(taken, BaseModel):
        taken = {name: getattr(taken, name) for name in type(taken).model_fields}
    if isinstance(given, dict) and isinstance(taken, dict):
        pairs = [(name, value, taken[name]) for name, value in given.items() if name in taken]
    elif isinstance(given, list) and isinstance(taken, (list, tuple)):
        pairs = [(i, *pair) for i, pair in enumerate(zip(given, taken, strict=False))]
    else:
        numbers = (bool, int, float)
        same = type(given) is type(taken) or (type(given), type(taken)) == (int, float)
        if type(taken) in numbers and not same:
            kind = "true or false" if isinstance(taken, bool) else f"a number of type {type(taken).__name__}"
            raise SettingError(f"{key}: want {kind}, got {given!r}")
        return
    for name, one, other in pairs:
        check_taken_literally(one, other, f"{key}.{name}".lstrip("."))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for with its aliases written out; each node is visited once."""
    if id(node) not in known:
        # met again before it is known, it stands within itself
        known[id(node)] = VALUES
        known[id(node)] = 1 + sum(_count(child, known) for child in _children(node))
    return known[id(node)]


def _check(node: yaml.Node, path: Path, key: str) -> None:
    where = f"{path}: line {node.start_mark.line + 1}: {key}"
    if isinstance(node, yaml.ScalarNode):
        if problem := _misleading(node):
            raise SettingError(f"{where}: {problem}")
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for name, value in node.value:
            text, line = str(name.value), name.start_mark.line + 1
            within = f"{key}.{text}".lstrip(".")
            if text in first:
                raise SettingError(
                    f"{path}: line {line}: {within} stands here a second time, after line {first[text]}"
                )
            first[text] = line
            _check(value, path, within)
    else:
        for i, value in enumerate(node.value):
            _check(value, path, f"{key}.{i}".lstrip("."))


def _misleading(node: yaml.ScalarNode) -> str:
    """Return what is wrong with a plain value, and what would be right; nothing if it is as it seems."""
    text, kind = node.value, node.tag.rpartition(":")[2]
    if kind == "str" and node.style is None and (like := _LIKE_A_NUMBER.fullmatch(text)):
        if like["exponent"] and math.isinf(float(text)):
            return f"want a finite number, got {text}"
        return f"YAML reads {text} as text; write {_written_out(text, like)}"
    if kind == "timestamp" and node.style is None:
        return f"YAML reads {text} as a date; write '{text}'"
    if kind == "int" and not _PLAIN_INTEGER.fullmatch(text):
        value = yaml.SafeLoader("").construct_yaml_int(node)
        return f"YAML reads {text} as {value}; write {value} if that is meant"
    if kind == "float":
        value = yaml.SafeLoader("").construct_yaml_float(node)
        if abs(value) == float("inf") or value != value:
            return f"want a finite number, got {value!r}"
        if not _PLAIN_FLOAT.fullmatch(text):
            return f"YAML reads {text} as {value!r}; write {value!r} if that is meant"
    return ""


def _written_out(text: str, like: re.Match[str]) -> str:
    """Return a number as YAML 1.1 wants it."""
    if like["octal"]:
        return str(int(like["octal"], 8))
    if like["under"]:
        under = int(like["under"])
        return f"{float(text.partition('/')[0]) / under:.6g}" if under else "a number"
    if like["exponent"] is None:
        return f"{float(text):g}"
    mantissa, exponent = re.split("[eE]", text)
    mantissa += "" if "." in mantissa else ".0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"
