"""Errors that are the user's to mend: one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class LotteryError(Exception):
    """Base of all errors that the command line prints as one line, without a traceback, and its exit ``status``."""

    status = 2


class UnknownNameError(LotteryError, KeyError):
    """A name that no registry lists; the message suggests the nearest one."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(str(name), self.known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}known: {', '.join(self.known)}")

    # KeyError would print the message's repr
    def __str__(self) -> str:
        return self.args[0]

    # so that it travels between processes
    def __reduce__(self):
        return type(self), (self.kind, self.name, self.known)


class DataError(LotteryError, ValueError):
    """Data that are damaged, missing or of the wrong form."""


class DamagedError(DataError):
    """A file of ours that is not what was written."""


class MissingDataError(DataError):
    """Data that are not there; the message says what to fetch, how large it is and where to put it."""


class SettingError(LotteryError, ValueError):
    """A setting outside its range."""


class DivergedError(LotteryError, RuntimeError):
    """A training whose loss became NaN or infinite; there is no ticket."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def one_line(error: BaseException, named: bool = False) -> str:
    """Return what an error says, in one line; ``named``: behind its type, else its type if it says nothing.

    Example:
        >>> one_line(ValueError("no\\nnumber"), named=True), one_line(EOFError())
        ('ValueError no number', 'EOFError')
    """
    said = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind} {said}".strip() if named else said or kind


def first_problem(error: ValidationError) -> str:
    """Return a pydantic error in one line: the key, what it holds, and what would be right."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where}: {message}"
    held = "" if isinstance(first["input"], dict) else f", got {_SHORT.repr(first['input'])}"
    return f"{where + ': ' if where else ''}{message}{held}"
