"""Folders that publishing fills and empties: only its own, and one build at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import PublishError

MARKER = ".made-by-lottery"
NOTE = "Made by `lottery book`, which replaces and deletes what is in here.\n"


def claim(folder: Path) -> Path:
    """Make a folder that this program may empty, marked as such; accept one that is marked, or empty.

    Raises:
        PublishError: if it holds anything else.
    """
    marker = folder / MARKER
    if not marker.is_file():
        if folder.exists() and not folder.is_dir() or folder.is_dir() and any(folder.iterdir()):
            raise PublishError(
                f"{folder} was not made by `lottery book`, so it is left alone: move it away, or name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(NOTE)
    return folder


def empty(folder: Path) -> Path:
    """Claim a folder and remove what is in it."""
    if folder.exists():
        shutil.rmtree(claim(folder))
    return claim(folder)


@contextmanager
def building(out: Path) -> Iterator[None]:
    """Claim ``out`` for one build; the lock ends with the process, however that ends.

    Raises:
        PublishError: if the folder is another's, or another build is writing to it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        claim(out)
        yield
        return
    with open(claim(out) / MARKER, "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PublishError(f"{out}: {lock.read().splitlines()[-1]}; wait for its end") from None
        lock.truncate(0)
        lock.write(f"{NOTE}process {os.getpid()} builds here\n")
        lock.flush()
        yield
