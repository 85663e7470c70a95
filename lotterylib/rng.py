"""Random numbers that depend on a seed and a purpose, and on nothing else.

Every stream of randomness in the library (a network's initial weights, the order of epoch 7, the crops of step 512, a
random mask) has its own generator, derived from the run's seed and the names of what it is for. So a training that
resumes at step 512 sees just what an uninterrupted one would have seen, and the caller's global generators are never
touched.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. ``derive(0, "order", 7)`` for the image order of epoch 7.

    Raises ``ValueError`` for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; the same on every machine."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextlib.contextmanager
def forked(device: torch.device) -> Iterator[None]:
    """A block that may seed PyTorch's global generators; the caller's state comes back, also when the block raises."""
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        yield


@contextlib.contextmanager
def isolated(seed: int, *purpose: str | int) -> Iterator[None]:
    """Runs a block (say, PyTorch's own initialisers, which know no generator) under a seeded global generator, on the
    CPU, and gives the caller's global state back afterwards."""
    with forked(torch.device("cpu")):
        torch.default_generator.manual_seed(derive(seed, *purpose))
        yield
