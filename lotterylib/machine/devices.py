"""Which devices there are, which to take, and what to call them."""

from __future__ import annotations

import os
import platform

import torch
from torch import nn

from ..errors import SettingError


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, else the processor."""
    if device is None or str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def pick_precision(precision: str, device: torch.device) -> str:
    """Resolves ``auto``: bfloat16 on CUDA devices and processors that multiply matrices of it natively (AMX), float32
    elsewhere: on processors with AVX512-BF16 alone, ``make bench`` shows bfloat16 to be the slower one."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return "bfloat16" if native else "float32"


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def describe_device(device: torch.device) -> str:
    """A name a reader can place, e.g. "cpu (x86_64, AVX512)" or "cuda (NVIDIA A100)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def places(
    workers: int | None, threads: int, device: str | None, per_gpu: int = 1, processes: int = 1
) -> list[str | None]:
    """The device of each worker of this machine, or the first of its ``processes`` devices. GPUs take turns unless one is
    named, each with ``per_gpu`` workers; on processors there is a worker for every ``threads`` cores. ``workers`` says how
    many there are instead.

    Raises ``SettingError`` for fewer GPUs than ``processes``, or if these shall share GPUs too.
    """
    if min(per_gpu, processes) > 1:
        raise SettingError(f"either {per_gpu} cells share a GPU or each trains on {processes}, not both")
    chosen = pick_device(device)
    if chosen.type != "cuda":
        return [device] * (workers or max(1, (os.cpu_count() or 1) // max(threads, processes)))
    check_gpus(processes, chosen.index)
    if chosen.index is not None:
        return [device] * (workers or per_gpu)
    firsts = range(0, torch.cuda.device_count() - processes + 1, processes)
    return [f"cuda:{firsts[i % len(firsts)]}" for i in range(workers or len(firsts) * per_gpu)]


def device_name(device: str | None) -> str:
    """The device that a run would take: "cpu", "cuda", … Raises ``SettingError`` if it is not there."""
    try:
        return torch.empty(0, device=pick_device(device)).device.type
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"device {device!r} cannot be used: {reason}") from None


def check_gpus(processes: int, first: int | None) -> None:
    """Raises ``SettingError`` unless there is a GPU for each, from ``first`` on."""
    there = torch.cuda.device_count() - (first or 0)
    if there < processes:
        where = f" from cuda:{first} on" if first else ""
        raise SettingError(f"{processes} processes need a GPU each, there are {there}{where}")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
