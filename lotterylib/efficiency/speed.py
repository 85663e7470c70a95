"""Savings of a pruned network: parameters, multiply-adds, bytes on disk, time and memory.

The first three are counted. Time and memory are measured, here and now, against the dense network:

    speed-up = median over rounds r of t_dense,r / t_r

In each round every network runs for about as long, one after the other, so that a machine that slows down or warms up
does so for all of them. A median takes little notice of a round in which something else held the machine up; its interval
is that of the order statistics, which asks nothing of how the times are spread.

Zeros scattered over a weight buy no speed in dense kernels, which multiply by them like by any other number. Fewer channels
do (``structured`` or ``small-dense``), and kernels that skip zeros, above some sparsity (``sparse_linear_speedups``).
"""

from __future__ import annotations

import copy
import functools
import statistics
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask
from ..rng import generator
from ..ticket import Ticket
from . import macs

DENSE = "dense"


@dataclass(frozen=True)
class Size:
    """Counts of a network. ``kept``: parameters that are not pruned; ``multiply_adds``: of one image, zeros counted like any
    other weight; ``needed``: those with a surviving weight; ``stored``: bytes of its file, which holds the survivors and one
    bit per weight."""

    parameters: int
    kept: int
    multiply_adds: int
    needed: int
    stored: int


@dataclass(frozen=True)
class Speed:
    """Measurements of a network. ``seconds``: of a batch, the median over rounds; ``speedup``: over the dense network, with
    its 95% interval ``low`` to ``high``; ``memory``: most bytes that a batch's forward pass holds at a time beyond the
    weights; ``weights``: bytes of parameters and buffers."""

    seconds: float
    speedup: float
    low: float
    high: float
    memory: int
    weights: int


def size_of(model: nn.Module, mask: Mask | None, input_shape: Sequence[int]) -> Size:
    """Count a network. ``mask``: of its surviving weights, None for all; ``input_shape``: [C, H, W].

    >>> size_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), None, (1, 2, 2)).parameters
    10
    """
    mask = mask or Mask.ones(model)
    counts, parameters = macs.multiply_adds(model, input_shape), sum(p.numel() for p in model.parameters())
    needed, kept = round(macs.forward(counts, mask)), parameters - (mask.total - mask.kept)
    return Size(parameters, kept, sum(counts.values()), needed, stored_bytes(model, mask))


def stored_bytes(model: nn.Module, mask: Mask | None = None) -> int:
    """Return the bytes of a file that holds the surviving weights and nothing of the others, as ``Ticket.save`` writes it."""
    return len(Ticket(model, mask or Mask.ones(model)).packed())


def masked(model: nn.Module, mask: Mask) -> nn.Module:
    """Return a copy whose removed weights are 0: what a mask alone leaves dense kernels to do."""
    return mask.apply_(copy.deepcopy(model))


@torch.no_grad()
def speeds(
    networks: Mapping[str, nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int = 100,
    rounds: int = 12,
    seconds: float = 0.05,
    threads: int | None = None,
    device: str | torch.device | None = None,
) -> dict[str, Speed]:
    """Measure time and memory of a forward pass of a batch of images, in eval mode, in float32.

    Args:
        networks: Name → network, with the dense one under "dense". They are left as found.
        input_shape: [C, H, W].
        rounds: Each times every network once, for about ``seconds``.
        threads: Threads of PyTorch; None: as many as it has now.

    Raises:
        SettingError: Without a dense network, or for fewer than 6 rounds.
    """
    if DENSE not in networks:
        raise SettingError(
            f"speeds compares with the network named {DENSE!r}; got {', '.join(networks) or 'none'}"
        )
    if rounds < 6 or batch_size < 1 or not seconds > 0:
        raise SettingError(
            f"want 6 rounds or more, a batch of 1 or more and seconds above 0, got {rounds}, {batch_size}, {seconds}"
        )
    device = pick_device(device)
    images = torch.rand(batch_size, *input_shape, generator=generator(0, "latency")).to(device)
    models = {name: copy.deepcopy(model).to(device).eval() for name, model in networks.items()}
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        passes = {name: functools.partial(model, images) for name, model in models.items()}
        times = _interleaved(passes, rounds, seconds, device)
        memory = {
            name: peak(passes[name], device, [images, *model.parameters(), *model.buffers()])
            for name, model in models.items()
        }
    finally:
        torch.set_num_threads(before)
    found = {}
    for name, model in models.items():
        weights = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
        ratio = _ratio(times[DENSE], times[name])
        found[name] = Speed(statistics.median(times[name]), *ratio, memory[name], weights)
    return found


def table(sizes: Mapping[str, Size], measured: Mapping[str, Speed]) -> pd.DataFrame:
    """Return both in one table, one row per network, with every number's share of the dense network's."""
    rows = []
    for name, size in sizes.items():
        row = {"network": name, **vars(size), **vars(measured[name])}
        for column in ("kept", "multiply_adds", "stored", "memory"):
            row[f"{column}_share"] = row[column] / (vars(sizes[DENSE]) | vars(measured[DENSE]))[column]
        rows.append(row)
    return pd.DataFrame(rows)


@torch.no_grad()
def sparse_linear_speedups(
    sparsities: Sequence[float],
    *,
    features: int = 1024,
    batch_size: int = 100,
    rounds: int = 8,
    seconds: float = 0.05,
    seed: int = 0,
) -> dict[float, Speed]:
    """Measure what a kernel that skips zeros buys: a linear layer as a sparse matrix against the same layer dense.

    The layer has ``features`` × ``features`` random weights (``torch.sparse_csr``) and runs on the processor, at each
    sparsity in [0, 1).
    """
    if not all(0 <= s < 1 for s in sparsities) or rounds < 6:
        raise SettingError(
            f"want sparsities in [0, 1) and 6 rounds or more, got {list(sparsities)} and {rounds}"
        )
    random = generator(seed, "sparse layer")
    images = torch.rand(features, batch_size, generator=random)
    dense = torch.randn(features, features, generator=random)
    matrices: dict[Any, Tensor] = {DENSE: dense}
    for sparsity in sparsities:
        mask = Mask.top({"weight": dense.abs()}, 1 - sparsity)["weight"]
        with warnings.catch_warnings():
            # that this part of PyTorch is in beta
            warnings.simplefilter("ignore")
            matrices[sparsity] = (dense * mask).to_sparse_csr()
    products = {name: functools.partial(torch.matmul, weight, images) for name, weight in matrices.items()}
    times = _interleaved(products, rounds, seconds, images.device)
    found = {}
    for sparsity in sparsities:
        weight = matrices[sparsity]
        parts = weight.values(), weight.crow_indices(), weight.col_indices()
        held = sum(t.numel() * t.element_size() for t in parts)
        ratio = _ratio(times[DENSE], times[sparsity])
        found[sparsity] = Speed(statistics.median(times[sparsity]), *ratio, 0, held)
    return found


def _interleaved(
    passes: Mapping[Any, Callable[[], Tensor]], rounds: int, seconds: float, device: torch.device
) -> dict[Any, list[float]]:
    """Return seconds of each pass, once per round; every second round in reverse order."""

    def timed(name: Any, times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            passes[name]()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - began) / times

    # the first of each warms up
    once = {name: min(timed(name, 1), timed(name, 1)) for name in passes}
    times: dict[Any, list[float]] = {name: [] for name in passes}
    for turn in range(rounds):
        for name in list(passes) if turn % 2 == 0 else reversed(list(passes)):
            times[name].append(timed(name, max(1, round(seconds / once[name]))))
    return times


def _ratio(dense: Sequence[float], own: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of dense / own over rounds with its interval: from the k-th smallest to the k-th largest ratio,
    k as large as leaves it a confidence of 95% or more."""
    ratios = sorted(a / b for a, b in zip(dense, own, strict=True))
    # P(fewer than k of the rounds lie below the median) ≤ 2.5%
    k = int(stats.binom.ppf(0.025, len(ratios), 0.5))
    return statistics.median(ratios), ratios[k - 1], ratios[-k]


def peak(work: Callable[[], object], device: torch.device, known: Sequence[Tensor] = ()) -> int:
    """Return the most bytes of tensors that some work holds at a time, beyond those ``known`` and, on a GPU, all that were there.

    Example:
        >>> peak(lambda: torch.zeros(1000).sum(), torch.device("cpu"))
        4004
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _Held(known) as held:
        work()
    return held.most


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they live; ``most`` at a time.

    Views of one another share a storage, and count once.
    """

    def __init__(self, known: Sequence[Tensor]):
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        # living tensors of each storage
        self._live: Counter[int] = Counter()
        self.now = self.most = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self._known:
                key, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
                self.now += 0 if self._live[key] else size
                self._live[key] += 1
                weakref.finalize(tensor, self._free, key, size)
        self.most = max(self.most, self.now)
        return made

    def _free(self, key: int, size: int) -> None:
        self._live[key] -= 1
        self.now -= 0 if self._live[key] else size
