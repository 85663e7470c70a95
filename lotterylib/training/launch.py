"""How a training runs: by how many processes, and where its checkpoints go. No part of what it computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError


@dataclass(frozen=True)
class Launch:
    """``processes``: that train together, a GPU each where there are GPUs, from the given one on. ``workers``: processes
    that read images in files, beside each of them (default: the processors, shared out). ``checkpoints``: folder where a
    training leaves its state every ``every`` epochs until it has ended, to go on from if it is killed; but no sooner than
    ``spacing`` seconds after the last time. ``sync_batchnorm``: on GPUs, BatchNorm takes its statistics over the whole
    batch, as one process does, and not over each process's share."""

    processes: int = 1
    workers: int | None = None
    checkpoints: Path | None = None
    every: int = 1
    spacing: float = 0.0
    sync_batchnorm: bool = True

    def __post_init__(self):
        if self.processes < 1 or self.every < 1 or (self.workers or 0) < 0:
            raise SettingError(
                f"want processes and every of 1 or more and workers of 0 or more, got {self.processes}, {self.every} "
                f"and {self.workers}"
            )


_current: ContextVar[Launch] = ContextVar("launch")


def current() -> Launch:
    """How trainings run here if they are not told."""
    return _current.get(None) or Launch()


@contextlib.contextmanager
def launching(launch: Launch) -> Iterator[None]:
    """Trainings in the block, those inside pruners included, run that way."""
    token = _current.set(launch)
    try:
        yield
    finally:
        _current.reset(token)
