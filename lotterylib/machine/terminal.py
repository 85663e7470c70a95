"""Printing to whatever stands at the other end."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from ..text import printable

_PLAIN = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "→": "->",
        "↑": "^",
        "↓": "v",
        "×": "x",
        "±": "+-",
        "≤": "<=",
        "…": "...",
        "σ": "sigma",
    }
)


def show(text: str, stream: TextIO | None = None) -> None:
    """Print what a terminal can take: characters that it lacks are replaced, control characters that foreign words bring
    along are written out, and a reader that has gone is no error."""
    text = printable(text)
    out: TextIO = stream or sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        # what is printed later, and what Python flushes at its end, goes nowhere
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
