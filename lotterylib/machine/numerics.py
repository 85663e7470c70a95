"""How exactly devices calculate: settings of PyTorch that hold for a block, then are as they were."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def numerics(*, tf32: bool, autotune: bool = False, deterministic: bool = False) -> Iterator[None]:
    """``tf32``: GPUs multiply float32 matrices and convolve in TF32 (10 bits of mantissa instead of 23). ``autotune``:
    cuDNN tries its convolutions and takes the fastest, which need not be the same one next time. ``deterministic``:
    only algorithms that give the same bits every time, without autotuning; an operation that has none raises
    ``RuntimeError``. A caller who asked PyTorch for deterministic algorithms keeps them.

    The settings belong to the process, not to a thread.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if (
        deterministic
    ):  # what cuBLAS wants, or it has no deterministic products to offer; read when CUDA starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    cudnn.benchmark = autotune and not deterministic
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
        if deterministic:  # not always: the call imports PyTorch's compiler, which takes a second
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)


def full_precision() -> contextlib.AbstractContextManager[None]:
    """For what is measured rather than trained: float32 in all its bits, on GPUs too."""
    return numerics(tf32=False)
