"""One build at a time in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import MARKER, NOTE, claim
from .errors import PublishError


@contextmanager
def building(out: Path) -> Iterator[None]:
    """Claim ``out`` for one build; the lock ends with the process, however that ends.

    Raises:
        SettingError: if the folder is another's.
        PublishError: if another build is writing to it.
    """
    try:
        import fcntl
    # no such locks on Windows
    except ImportError:
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
