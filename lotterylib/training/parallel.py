"""Trainings of several processes on one machine, each with its share of every batch (DistributedDataParallel).

How a training runs is no part of what it computes: the same batches, crops and learning rates, the mean gradient of the
same global batch. So the number of processes belongs to no ticket's identity. Sums are added up in another order,
though, so last bits differ between one process and several.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import pickle
import socket
import tempfile
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from ..errors import LotteryError, SettingError
from ..machine.devices import check_gpus, processors
from . import checkpoint
from .launch import Group, Launch
from .loop import Job, train_here
from .state import Training


def train_together(
    model: nn.Module, job: Job, device: torch.device, progress: bool, launch: Launch
) -> Training:
    """Run ``loop.train_here`` in ``launch.processes`` new processes and keep what the first leaves.

    Model and job are sent to them, so their classes must be importable there.

    Raises:
        LotteryError: As a process raises it.
        SettingError: Where the processes cannot be had, or the batch cannot be shared out evenly.
        RuntimeError: With its traceback, if a process fails otherwise.
    """
    size = launch.processes
    if job.batch % size:
        raise SettingError(f"a batch of {job.batch} images cannot be shared out evenly to {size} processes")
    if device.type == "cuda":
        check_gpus(size, device.index)
    if multiprocessing.current_process().daemon:
        raise SettingError(
            "this process may not start others; with Dask, set distributed.worker.daemon to False"
        )
    if launch.workers is None:
        launch = replace(launch, workers=max(1, processors() // size))
    # as bytes: what multiprocessing sends by itself is memory that all processes would train in
    sent = pickle.dumps((copy.deepcopy(model).cpu(), job, launch))
    threads = max(1, torch.get_num_threads() // size)
    method = _start_method()
    context = multiprocessing.get_context(method)
    errors = context.SimpleQueue()
    lifeline, ours = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="lottery-") as folder, ours:
        try:
            start_processes(
                _work, (sent, folder, device, threads, progress, errors, lifeline), size, start_method=method
            )
        except (ProcessExitedException, ProcessRaisedException) as error:
            if not errors.empty():
                raise errors.get() from None
            raise RuntimeError(f"training with {size} processes failed: {error}") from error
        done = checkpoint.load(Path(folder) / "done")
    if done is None:
        raise RuntimeError(f"training with {size} processes left nothing")
    model.to(device).load_state_dict(done.state)
    model.eval()
    return Training(**done.training, rewind=done.rewind, mask=done.mask)


def _start_method() -> str:
    """Return how to start processes: from one that has imported all that is needed and uses no GPU, where the system has
    such; else from nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload(["lotterylib.training"])
    return "forkserver"


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
    """Do one process's part."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    kind, device = first.type, torch.device(first.type)
    if kind == "cuda":
        device = torch.device(kind, (first.index or 0) + rank)
        # before anything is unpickled that might start CUDA on the first one
        torch.cuda.set_device(device)
    model, job, launch = pickle.loads(sent)
    if kind == "cuda" and launch.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    torch.set_num_threads(threads)
    _stay_on_this_machine()
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting", rank=rank, world_size=launch.processes,
    )  # fmt: skip
    group = Group(rank, launch.processes)
    try:
        done = train_here(model, job, device, progress and rank == 0, launch, group)
    except LotteryError as error:
        errors.put(error)
        raise
    if rank == 0:
        checkpoint.save(Path(folder) / "done", 0, model, None, done.mask, done)
    distributed.destroy_process_group()


def _end_with(lifeline: Connection) -> None:
    """End this process when the one that started it is gone: a killed one leaves no training behind."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)


def _stay_on_this_machine() -> None:
    """Let the processes talk over the loopback interface, unless the environment says otherwise."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    for backend in ("GLOO", "NCCL"):
        if loopback:
            os.environ.setdefault(f"{backend}_SOCKET_IFNAME", loopback)
