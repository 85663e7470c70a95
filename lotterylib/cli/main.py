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
        The exit status: 0 done, 1 something failed, 2 bad input, 3 a gate (``score --fail-on``) is closed, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # a character that a terminal lacks is a ? there
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    given, name = sys.argv[1:] if arguments is None else arguments, ""
    try:
        if given[:1] == ["score"]:
            given = import_module(".score_config", __package__).with_config(given)
        options = parser().parse_args(given)
        name = options.name
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
        kept = name != "score" or any(a.partition("=")[0] == "--cache" for a in given)
        how = (
            "the same command resumes"
            if kept
            else "with --cache FOLDER the same command would go on from here"
        )
        status, message = 130, f"interrupted; {how}"
    show(f"lottery {name or given[0]}: {message}", sys.stderr)
    return status


def _silence_a_broken_output() -> None:
    """Keep Python from printing a second error at its end, where nobody reads the output or it is full."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
