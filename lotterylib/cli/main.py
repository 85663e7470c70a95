"""The way into every command, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module

from ..errors import LotteryError
from ..machine.terminal import show
from .options import parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 done, 1 something failed, 2 bad input, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # a character that a terminal lacks is a ? there
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    try:
        # what commands import takes seconds, and --help needs none of it
        command = getattr(import_module(f".{options.module}", __package__), options.name)
        status = command(options)
        sys.stdout.flush()
        return status
    except LotteryError as error:
        status, message = error.status, str(error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        status, message = 1, f"{error.strerror or error}{where}"
        _silence_a_broken_output()
    except KeyboardInterrupt:
        status, message = 130, "interrupted; the same command resumes"
    show(f"lottery {options.name}: {message}", sys.stderr)
    return status


def _silence_a_broken_output() -> None:
    """Keep Python from printing a second error at its end, where nobody reads the output or it is full."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
