"""The way a training runs: by how many processes and which of them this one is, in which precision, where its checkpoints go."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import SettingError
from ..masks import Mask
from .decoders import decoder

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Launch:
    """Settings of how trainings run; no part of what they compute, up to rounding.

    ``processes`` train together, a GPU each where there are GPUs, from the given one on; each has ``workers`` that read
    images in files (None: the processors, shared out). ``checkpoints``: folder where a training leaves its state ``every``
    so many epochs, but no sooner than after ``spacing`` seconds, to go on from if it is killed. ``sync_batchnorm``: on GPUs,
    BatchNorm takes its statistics over the whole batch, as one process does, and not over each process's share.
    ``views_on_device``: parts of images in files are brought to size on the device, and decoded there, if it can, by the decoder
    of this name, "torchvision" or "dali".
    ``cuda_graphs``: on a GPU, record a step once and replay it, by one process.
    ``precision``: meaning of a recipe's "auto", "float32", "bfloat16" or "float16" (None: whichever is measured to be faster).
    ``choices``: folder that keeps what was measured, so that other processes, and later ones, train as the first did.
    """

    processes: int = 1
    workers: int | None = None
    checkpoints: Path | None = None
    every: int = 1
    spacing: float = 0.0
    sync_batchnorm: bool = True
    precision: str | None = None
    choices: Path | None = None
    cuda_graphs: bool = False
    views_on_device: str | None = None

    def __post_init__(self):
        if self.processes < 1 or self.every < 1 or (self.workers or 0) < 0:
            raise SettingError(
                f"want processes and every of 1 or more and workers of 0 or more, got {self.processes}, {self.every} "
                f"and {self.workers}"
            )
        if self.cuda_graphs and self.processes > 1:
            raise SettingError(f"CUDA graphs are for trainings of one process, not of {self.processes}")
        if self.views_on_device is not None:
            decoder(self.views_on_device)
        if self.precision not in (None, *PRECISIONS):
            raise SettingError(
                f"want precision {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {self.precision!r}"
            )


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


@dataclass(frozen=True)
class Group:
    """``size`` processes, of which this one is number ``rank``; by default it is alone."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> slice:
        """Return this process's part of a batch.

        >>> Group(1, 2).share(16)
        slice(8, 16, None)
        """
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each) if self.size > 1 else slice(None)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model's forward pass, after whose backward pass all processes hold the mean gradient. Buffers, such
        as BatchNorm's statistics, are the first process's."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def check_agreed(self, mask: Mask, step: int) -> None:
        """Raise ``RuntimeError`` in all processes unless all hold the same mask."""
        if self.size == 1:
            return
        content = hashlib.sha256()
        for name, tensor in mask.items():
            content.update(name.encode() + tensor.contiguous().numpy().tobytes())
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        mine = torch.tensor(int.from_bytes(content.digest()[:7], "big"), device=device)
        seen = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(seen, mine)
        if len({int(s) for s in seen}) > 1:
            raise RuntimeError(f"the processes hold different masks after the update at step {step}")
