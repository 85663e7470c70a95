"""Trainings of several processes on one machine, each with its share of every batch (DistributedDataParallel).

How a training runs is no part of what it computes: the same batches, crops and learning rates, the mean gradient of the
same global batch. So the number of processes belongs to no ticket's identity. Sums are added up in another order,
though, so last bits differ between one process and several.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import multiprocessing
import os
import pickle
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from . import checkpoint
from .errors import LotteryError, SettingError
from .loading import processors
from .masks import Mask

if TYPE_CHECKING:
    from .training import Training


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


@dataclass(frozen=True)
class Group:
    """The processes that train together, and which of them this one is."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> slice:
        """This process's part of a batch."""
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each) if self.size > 1 else slice(None)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model's forward pass, after whose backward pass all processes hold the mean gradient. Buffers, such as
        BatchNorm's statistics, are the first process's."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def check_agreed(self, mask: Mask, step: int) -> None:
        """Raises ``RuntimeError`` in all processes unless all hold the same mask."""
        if self.size == 1:
            return
        content = hashlib.sha256()
        for name, tensor in mask.items():
            content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        mine = torch.tensor(
            int.from_bytes(content.digest()[:7], "big"), device=next(iter(mask.values())).device
        )
        seen = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(seen, mine)
        if len({int(s) for s in seen}) > 1:
            raise RuntimeError(f"the processes hold different masks after the update at step {step}")


_group = Group()


def group() -> Group:
    """The processes that this one trains with; by itself, but for those that ``train_together`` started."""
    return _group


def train_together(
    model: nn.Module, launch: Launch, device: torch.device, progress: bool, arguments: dict[str, Any]
) -> Training:
    """``training.train(model, **arguments)`` by ``launch.processes`` new processes; what they leave is that of the
    first. Model and arguments are sent to them, so their classes must be importable there.

    Raises what a process raises of the library's own, ``SettingError`` where the processes cannot be had or the batch
    cannot be shared out evenly, ``RuntimeError`` with its traceback if one fails otherwise.
    """
    from .training import Training

    count, size = len(arguments["data"].train[1]), launch.processes
    batch = min(arguments["recipe"].batch_size, count)
    if batch % size:
        raise SettingError(f"a batch of {batch} images cannot be shared out evenly to {size} processes")
    if device.type == "cuda":
        check_gpus(size, device.index)
    if multiprocessing.current_process().daemon:
        raise SettingError(
            "this process may not start others; with Dask, set distributed.worker.daemon to False"
        )
    if launch.workers is None:
        launch = replace(launch, workers=max(1, processors() // size))
    # by pickle's bytes: what multiprocessing sends by itself is memory that all processes would train in
    sent = pickle.dumps((copy.deepcopy(model).cpu(), launch, arguments))
    threads = max(1, torch.get_num_threads() // size)
    method = _start_method()
    context = multiprocessing.get_context(method)
    errors = context.SimpleQueue()
    lifeline, ours = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="lottery-") as folder, ours:
        try:
            torch.multiprocessing.start_processes(
                _work, (sent, folder, device, threads, progress, errors, lifeline), size, start_method=method
            )
        except (ProcessExitedException, ProcessRaisedException) as error:
            if not errors.empty():
                raise errors.get() from None
            raise RuntimeError(f"training with {size} processes failed: {error}") from error
        done = checkpoint.load(Path(folder) / "done")
    model.to(device).load_state_dict(done.state)
    model.eval()
    return Training(**done.training, rewind=done.rewind, mask=done.mask)


def _start_method() -> str:
    """From a process that has imported all that is needed and nothing else has happened in (so no GPU is in use), where
    the system has such; else from nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload([f"{__package__}.training"])
    return "forkserver"


def check_gpus(processes: int, first: int | None) -> None:
    """Raises ``SettingError`` unless there is a GPU for each, from ``first`` on."""
    there = torch.cuda.device_count() - (first or 0)
    if there < processes:
        where = f" from cuda:{first} on" if first else ""
        raise SettingError(f"{processes} processes need a GPU each, there are {there}{where}")


def _work(
    rank: int,
    sent: bytes,
    folder: str,
    first: torch.device,
    threads: int,
    progress: bool,
    errors: Any,
    lifeline: Connection,
) -> None:
    """One process's part."""
    from .training import train

    global _group
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    model, launch, arguments = pickle.loads(sent)
    kind, device = first.type, torch.device(first.type)
    if kind == "cuda":
        device = torch.device(kind, (first.index or 0) + rank)
        torch.cuda.set_device(device)
        if launch.sync_batchnorm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    torch.set_num_threads(threads)
    _stay_on_this_machine()
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting", rank=rank, world_size=launch.processes,
    )  # fmt: skip
    _group = Group(rank, launch.processes)
    try:
        done = train(model, **arguments, device=device, progress=progress and rank == 0, launch=launch)
    except LotteryError as error:
        errors.put(error)
        raise
    if rank == 0:
        checkpoint.save(Path(folder) / "done", 0, model, None, done.mask, done)
    distributed.destroy_process_group()


def _end_with(lifeline: Connection) -> None:
    """Ends this process when the one that started it is gone: a killed one leaves no training behind."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)


def _stay_on_this_machine() -> None:
    """The processes talk over the loopback interface unless the environment says otherwise."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    for backend in ("GLOO", "NCCL"):
        if loopback:
            os.environ.setdefault(f"{backend}_SOCKET_IFNAME", loopback)
