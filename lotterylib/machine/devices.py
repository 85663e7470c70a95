"""Devices: those there are, the one to take, and their names."""

from __future__ import annotations

import os
import platform

import torch
from torch import nn

from ..errors import SettingError


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for; for None or "auto" the best there is: CUDA, else the processor.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device is None or str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's weights."""
    return next(model.parameters()).device


def device_name(device: str | None) -> str:
    """Return the kind of device that a run would take: "cpu", "cuda", … Raise ``SettingError`` if it is not there.

    >>> device_name("cpu")
    'cpu'
    """
    try:
        return torch.empty(0, device=pick_device(device)).device.type
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"device {device!r} cannot be used: {reason}") from None


def describe_device(device: torch.device) -> str:
    """Return a name a reader can place, such as "cpu (x86_64, AVX512)" or "cuda (NVIDIA A100)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def processors() -> int:
    """Return how many processors this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def half_precision(device: torch.device) -> str | None:
    """Return the 16 bits worth trying on a device: "bfloat16" if it multiplies matrices of it itself, "float16" on older
    GPUs (compute capability below 8, as Colab's T4), None on other processors.

    >>> half_precision(torch.device("meta")) is None
    True
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    tests = (
        getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return "bfloat16" if device.type == "cpu" and any(test() for test in tests) else None


def check_gpus(processes: int, first: int | None) -> None:
    """Raise ``SettingError`` unless there is a GPU for each process, from number ``first`` on."""
    there = torch.cuda.device_count() - (first or 0)
    if there < processes:
        where = f" from cuda:{first} on" if first else ""
        raise SettingError(f"{processes} processes need a GPU each, there are {there}{where}")


def places(
    workers: int | None, threads: int, device: str | None, per_gpu: int = 1, processes: int = 1
) -> list[str | None]:
    """Return the device of each worker on this machine.

    Args:
        workers: Number of workers; None: one for every ``threads`` processors, or ``per_gpu`` for each GPU.
        threads: Processors of one worker.
        device: The device to take; GPUs take turns unless one is named.
        per_gpu: Workers that share a GPU.
        processes: Devices of one worker, of which the first is returned.

    Raises:
        SettingError: For fewer GPUs than ``processes``, or if these shall share GPUs too.
    """
    if min(per_gpu, processes) > 1:
        raise SettingError(f"either {per_gpu} cells share a GPU or each trains on {processes}, not both")
    chosen = pick_device(device)
    if chosen.type != "cuda":
        return [device] * (workers or max(1, processors() // max(threads, processes)))
    check_gpus(processes, chosen.index)
    if chosen.index is not None:
        return [device] * (workers or per_gpu)
    firsts = range(0, torch.cuda.device_count() - processes + 1, processes)
    return [f"cuda:{firsts[i % len(firsts)]}" for i in range(workers or len(firsts) * per_gpu)]
