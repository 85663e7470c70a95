"""How a training runs: by how many processes, in which precision, and where its checkpoints go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Launch:
    """Settings of how trainings run; no part of what they compute, up to rounding.

    ``processes`` train together, a GPU each where there are GPUs, from the given one on; each has ``workers`` that read
    images in files (None: the processors, shared out). ``checkpoints``: folder where a training leaves its state ``every``
    so many epochs, but no sooner than after ``spacing`` seconds, to go on from if it is killed. ``sync_batchnorm``: on GPUs,
    BatchNorm takes its statistics over the whole batch, as one process does, and not over each process's share.
    ``precision``: meaning of a recipe's "auto", "float32" or "bfloat16" (None: whichever is measured to be faster).
    """

    processes: int = 1
    workers: int | None = None
    checkpoints: Path | None = None
    every: int = 1
    spacing: float = 0.0
    sync_batchnorm: bool = True
    precision: str | None = None

    def __post_init__(self):
        if self.processes < 1 or self.every < 1 or (self.workers or 0) < 0:
            raise SettingError(
                f"want processes and every of 1 or more and workers of 0 or more, got {self.processes}, {self.every} "
                f"and {self.workers}"
            )
        if self.precision not in (None, *PRECISIONS):
            raise SettingError(f"want precision {' or '.join(PRECISIONS)}, got {self.precision!r}")


_current: ContextVar[Launch] = ContextVar("launch", default=Launch())  # noqa: B039 (frozen)


def current() -> Launch:
    """Return how ``train`` and ``predict`` run here unless they are given a launch of their own."""
    return _current.get()


@contextlib.contextmanager
def launching(launch: Launch) -> Iterator[None]:
    """Run all trainings in the block that way, those inside pruners included.

    >>> with launching(Launch(workers=2)):
    ...     current().workers
    2
    """
    token = _current.set(launch)
    try:
        yield
    finally:
        _current.reset(token)
