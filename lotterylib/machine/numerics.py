"""Precision of devices: settings of PyTorch that hold for a block, then are as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from ..errors import SettingError
from . import CUBLAS, CUBLAS_TOO_LATE


@contextlib.contextmanager
def numerics(*, tf32: bool, autotune: bool = False, deterministic: bool = False) -> Iterator[None]:
    """Set how PyTorch calculates in float32 while the block runs.

    A caller who asked PyTorch for deterministic algorithms keeps them. The settings belong to the process, not to a
    thread. Processors calculate with all bits whatever the caller set.

    Args:
        tf32: GPUs multiply float32 matrices and convolve in TF32 (10 bits of mantissa instead of 23).
        autotune: cuDNN tries its convolutions and takes the fastest, which may be another one next time.
        deterministic: Take only algorithms that give the same bits every time, and do not autotune.

    Raises:
        SettingError: For ``deterministic`` on a GPU that was in use before this package could set cuBLAS up for it.
        RuntimeError: In a deterministic block, by an operation that has no such algorithm.
    """
    if deterministic and CUBLAS_TOO_LATE:
        raise SettingError(
            f"deterministic needs {CUBLAS}=:4096:8 before CUDA starts: set it in the environment, or import lotterylib first"
        )
    restorers = _restorers()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if deterministic:
            torch.use_deterministic_algorithms(True)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = autotune and not deterministic
        for part in _gpu_parts():
            part.fp32_precision = "tf32" if tf32 else "ieee"
        for part in _processor_parts():
            part.fp32_precision = "ieee"
        yield
    finally:
        for restore in restorers:
            restore()
        # not always: the call imports PyTorch's compiler, which takes a second
        if deterministic:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Calculate in float32 with all its bits, on GPUs too: for what is measured rather than trained."""
    return numerics(tf32=False)


def _restorers() -> list[Callable[[], None]]:
    """Return the calls that bring back all settings of float32 as they are now, in the order in which to make them.

    PyTorch has an old and a new way to set them; the old ones cannot be read after the new ones were used.
    """
    backends, calls = torch.backends, []
    knobs = [
        (backends.cudnn, "benchmark"),
        (backends.cudnn, "allow_tf32"),
        (backends.cuda.matmul, "allow_tf32"),
    ]
    for part, name in knobs:
        with contextlib.suppress(RuntimeError):
            calls.append(partial(setattr, part, name, getattr(part, name)))
    with contextlib.suppress(RuntimeError):
        calls.append(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    parts = _gpu_parts() + _processor_parts()
    return calls + [partial(setattr, part, "fp32_precision", part.fp32_precision) for part in parts]


def _gpu_parts() -> list[Any]:
    """Return where the new way keeps the GPU's settings; nothing before PyTorch 2.9."""
    cudnn: Any = torch.backends.cudnn
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn] if hasattr(cudnn, "conv") else []


def _processor_parts() -> list[Any]:
    mkldnn: Any = torch.backends.mkldnn
    return [mkldnn.matmul, mkldnn.conv, mkldnn.rnn] if hasattr(mkldnn, "conv") else []
