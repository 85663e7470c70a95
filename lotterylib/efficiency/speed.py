"""Is it worth it? What a pruned network saves: parameters, multiply-adds, bytes on disk, time and memory.

The first three are counted. Time and memory are measured, here and now, against the dense network:

    speed-up = median over rounds r of t_dense,r / t_r

In each round every network runs for about as long, one after the other, so that a machine that slows down or warms up
does so for all of them. Of a round in which something else held the machine up a median takes little notice; its
interval is that of the order statistics, which asks nothing of how the times are spread.

Zeros scattered over a weight buy no speed in dense kernels, which multiply by them like by any other number. What does:
fewer channels (``structured`` or ``small-dense``), or kernels that skip zeros, which pay above some sparsity alone
(``sparse_linear_speedups`` shows where).
"""

from __future__ import annotations

import copy
import logging
import statistics
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

# Its import warns of a CUDA toolkit without a GPU, on the page of a notebook that asks for neither.
_log = logging.getLogger("torch.utils.cpp_extension")
_before = _log.level
_log.setLevel(logging.ERROR)
from torch.utils import benchmark  # noqa: E402

_log.setLevel(_before)

DENSE = "dense"


@dataclass(frozen=True)
class Size:
    """What can be counted. ``parameters``: all that the network holds; ``kept``: those that are not pruned;
    ``multiply_adds``: of one image, zeros counted like any other weight; ``needed``: those with a surviving weight;
    ``stored``: bytes of its file, of pruned weights only the survivors and a bit a weight."""

    parameters: int
    kept: int
    multiply_adds: int
    needed: int
    stored: int


def size_of(model: nn.Module, mask: Mask | None, input_shape: Sequence[int]) -> Size:
    """Counts a network. ``mask``: of its surviving weights, None for all; ``input_shape``: [C, H, W]."""
    mask = mask or Mask.ones(model)
    counts, parameters = macs.multiply_adds(model, input_shape), sum(p.numel() for p in model.parameters())
    needed = round(macs.forward(counts, mask))
    kept = parameters - (mask.total - mask.kept)
    return Size(parameters, kept, sum(counts.values()), needed, stored_bytes(model, mask))


def stored_bytes(model: nn.Module, mask: Mask | None = None) -> int:
    """Bytes of a file that holds the surviving weights and nothing of the removed ones: as ``Ticket.save`` writes it."""
    return len(Ticket(model, mask or Mask.ones(model)).packed())


@dataclass(frozen=True)
class Speed:
    """``seconds`` a batch (median over rounds), ``speedup`` over the dense network with its 95 % interval ``low`` to
    ``high``, ``memory``: most bytes that a batch's forward pass holds at a time beyond the weights, ``weights``: bytes of
    parameters and buffers in memory."""

    seconds: float
    speedup: float
    low: float
    high: float
    memory: int
    weights: int


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
    """Measured time and memory of a forward pass of ``batch_size`` images [C, H, W], in eval mode, in float32.

    ``networks`` has the dense one under "dense". Each of ``rounds`` times every network for about ``seconds`` with
    ``torch.utils.benchmark``; ``threads``: of PyTorch, by default as many as it has now. The networks are left as found.

    Raises ``SettingError`` without a dense network, or for fewer than 6 rounds.
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
    with torch.no_grad():
        timers = {
            name: benchmark.Timer(
                "model(images)",
                globals={"model": model, "images": images},
                num_threads=threads or torch.get_num_threads(),
            )
            for name, model in models.items()
        }
        times = _interleaved(timers, rounds, seconds)
        memory = {name: _peak(model, images, device) for name, model in models.items()}
    found = {}
    for name, model in models.items():
        speedup, low, high = _ratio(times[DENSE], times[name])
        weights = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
        found[name] = Speed(statistics.median(times[name]), speedup, low, high, memory[name], weights)
    return found


def table(sizes: Mapping[str, Size], measured: Mapping[str, Speed]) -> pd.DataFrame:
    """Both in one table, a row a network, with every number's share of the dense network's."""
    rows = []
    for name, size in sizes.items():
        row = {"network": name, **vars(size), **vars(measured[name])}
        for what in ("kept", "multiply_adds", "stored", "memory"):
            row[f"{what}_share"] = row[what] / (vars(sizes[DENSE]) | vars(measured[DENSE]))[what]
        rows.append(row)
    return pd.DataFrame(rows)


def sparse_linear_speedups(
    sparsities: Sequence[float],
    *,
    features: int = 1024,
    batch_size: int = 100,
    rounds: int = 8,
    seconds: float = 0.05,
    seed: int = 0,
) -> dict[float, Speed]:
    """What a kernel that skips zeros buys: one linear layer of ``features`` × ``features`` random weights as a sparse
    matrix (``torch.sparse_csr``), against the same layer dense; on the processor, at each sparsity in [0, 1)."""
    if not all(0 <= s < 1 for s in sparsities) or rounds < 6:
        raise SettingError(
            f"want sparsities in [0, 1) and 6 rounds or more, got {list(sparsities)} and {rounds}"
        )
    random = generator(seed, "sparse layer")
    images = torch.rand(features, batch_size, generator=random)
    dense = torch.randn(features, features, generator=random)
    matrices: dict[str, Tensor] = {DENSE: dense}
    for sparsity in sparsities:
        mask = Mask.top({"weight": dense.abs()}, 1 - sparsity)["weight"]
        matrices[str(sparsity)] = _csr(dense * mask)
    with torch.no_grad():
        timers = {
            name: benchmark.Timer(
                "weight @ images",
                globals={"weight": weight, "images": images},
                num_threads=torch.get_num_threads(),
            )
            for name, weight in matrices.items()
        }
        times = _interleaved(timers, rounds, seconds)
    found = {}
    for sparsity in sparsities:
        weight, own = matrices[str(sparsity)], times[str(sparsity)]
        held = sum(
            t.numel() * t.element_size()
            for t in (weight.values(), weight.crow_indices(), weight.col_indices())
        )
        found[sparsity] = Speed(statistics.median(own), *_ratio(times[DENSE], own), 0, held)
    return found


def masked(model: nn.Module, mask: Mask) -> nn.Module:
    """A copy whose removed weights are 0: what a mask alone leaves dense kernels to do."""
    return mask.apply_(copy.deepcopy(model))


def _csr(weight: Tensor) -> Tensor:
    with warnings.catch_warnings():  # that this part of PyTorch is in beta
        warnings.simplefilter("ignore")
        return weight.to_sparse_csr()


def _interleaved(
    timers: Mapping[str, benchmark.Timer], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds a run of each timer, once a round; every second round in reverse order."""
    runs = {}
    for name, timer in timers.items():
        once = timer.timeit(1).median  # the first warms up
        once = min(once, timer.timeit(1).median)
        runs[name] = max(1, round(seconds / once))
    times: dict[str, list[float]] = {name: [] for name in timers}
    for turn in range(rounds):
        for name in list(timers) if turn % 2 == 0 else reversed(list(timers)):
            times[name].append(timers[name].timeit(runs[name]).mean)
    return times


def _ratio(dense: Sequence[float], own: Sequence[float]) -> tuple[float, float, float]:
    """Median of dense / own over rounds with its interval: from the k-th smallest to the k-th largest ratio, k as large
    as leaves it a confidence of 95 % or more."""
    ratios = sorted(a / b for a, b in zip(dense, own, strict=True))
    k = int(
        stats.binom.ppf(0.025, len(ratios), 0.5)
    )  # P(fewer than k of the rounds lie below the median) ≤ 2.5 %
    return statistics.median(ratios), ratios[k - 1], ratios[-k]


def _peak(model: nn.Module, images: Tensor, device: torch.device) -> int:
    """Most bytes that a forward pass holds at a time, beyond weights and images."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(images)
        return torch.cuda.max_memory_allocated(device) - before
    with _Held({_place(t) for t in [images, *model.parameters(), *model.buffers()]}) as held:
        model(images)
    return held.most


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they live; ``most`` at a time."""

    def __init__(self, known: set[int]):
        super().__init__()
        self._known, self._live = (
            known,
            Counter(),
        )  # storages that were there before; living tensors a storage
        self.now = self.most = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and _place(tensor) not in self._known:
                key, size = _place(tensor), tensor.untyped_storage().nbytes()
                self.now += 0 if self._live[key] else size
                self._live[key] += 1
                weakref.finalize(tensor, self._free, key, size)
        self.most = max(self.most, self.now)
        return made

    def _free(self, key: int, size: int) -> None:
        self._live[key] -= 1
        self.now -= 0 if self._live[key] else size


def _place(tensor: Tensor) -> int:
    """Where a tensor's numbers lie; views of one another share it."""
    return tensor.untyped_storage().data_ptr()


__all__ = ["Size", "Speed", "masked", "size_of", "sparse_linear_speedups", "speeds", "stored_bytes", "table"]
