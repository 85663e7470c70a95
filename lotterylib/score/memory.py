"""How much memory measuring takes, and how few images at a time keep it within bounds."""

from __future__ import annotations

import copy
import functools
import re
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..efficiency.speed import peak
from ..errors import SettingError
from ..text import amount

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
# shares of what is free: a batch's activations (operations have work space of their own, too), sets of images that are changed,
# vectors of Lanczos
_BATCH, _IMAGES, _VECTORS = 0.5, 0.2, 0.3
# copies of a set of images that corrupting and attacking hold at a time
_COPIES = 12
# images without which nothing is judged
_LEAST = 10


def as_bytes(given: str | int | float) -> int:
    """Return an amount of memory in bytes.

    Raises ``SettingError`` for anything else.

    Example:
        >>> as_bytes("2GB"), as_bytes("1.5 GiB"), as_bytes(500_000_000)
        (2000000000, 1610612736, 500000000)
    """
    found = re.fullmatch(r"\s*([\d_]*\.?\d+)\s*([kmgt]?)(i?)b?\s*", str(given), re.IGNORECASE)
    if not isinstance(given, (int, float)) and found:
        number, unit, binary = found.groups()
        power = "kmgt".find(unit.lower()) + 1 if unit else 0
        given = float(number.replace("_", "")) * (1024**power if binary else _UNITS[unit.lower()])
    if not isinstance(given, (int, float)) or not 0 < given < float("inf"):
        raise SettingError(f"memory is an amount such as 2GB, got {given!r}")
    return int(given)


def in_use(device: torch.device) -> int:
    """Return the bytes that this process holds: on a GPU those of its tensors there, else all of it."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


@dataclass(frozen=True)
class Footprint:
    """Bytes that a pass holds beyond weights and images: ``fixed``, and for each image at a time ``each``."""

    fixed: float
    each: float

    def fits(self, room: float) -> int:
        """Return how many images at a time fit; 0 for none."""
        return max(0, int((room - self.fixed) / max(self.each, 1.0)))

    @classmethod
    def of(cls, work: Callable[[int], object], device: torch.device, known: Sequence[Tensor]) -> Footprint:
        """Return that of some work on 2 and on 4 images; ``known`` tensors were there before."""
        few, more = (peak(functools.partial(work, count), device, known) for count in (2, 4))
        each = max(0.0, (more - few) / 2)
        return cls(max(0.0, few - 2 * each), each)


def answering(model: nn.Module, images: Tensor, device: torch.device) -> Footprint:
    """Return what a forward pass holds."""
    model, images = model.to(device), _four(images).to(device)

    @torch.no_grad()
    def work(count: int) -> None:
        model(images[:count])

    return Footprint.of(work, device, [images, *model.parameters(), *model.buffers()])


def curving(model: nn.Module, images: Tensor, device: torch.device) -> Footprint:
    """Return what a product with the Hessian in the weights holds, the most of all that is measured."""
    model, images = copy.deepcopy(model).to(device), _four(images).to(device)
    weights = [p for p in model.parameters() if p.requires_grad]

    @torch.enable_grad()
    @sdpa_kernel(SDPBackend.MATH)
    def work(count: int) -> None:
        logits = model(images[:count])
        loss = F.cross_entropy(logits, logits.argmax(dim=1))
        gradient = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
        total = torch.stack([g.sum() for g in gradient]).sum()
        if total.requires_grad:
            torch.autograd.grad(total, weights, materialize_grads=True)

    return Footprint.of(work, device, [images, *model.parameters(), *model.buffers()])


def _four(images: Tensor) -> Tensor:
    return images[torch.arange(4) % len(images)]


@dataclass(frozen=True)
class Budget:
    """What fits into ``memory`` bytes beside the ``used`` ones: images ``forward`` and ``backward`` at a time (None: this takes
    more than there is even for one), ``images`` of a set to be changed, bytes of ``vectors``."""

    memory: int
    used: int
    forward: int
    backward: int
    images: int
    vectors: int

    @classmethod
    def of(cls, memory: int, networks: list[nn.Module], images: Tensor, device: torch.device) -> Budget:
        """Return a budget for measuring networks on such images.

        Raises ``SettingError``, with what it would take, where not even single images fit.
        """
        used = in_use(device)
        room = max(0, memory - used)
        answers = [answering(network, images, device) for network in networks]
        forward = min(each.fits(_BATCH * room) for each in answers)
        one = _COPIES * 4 * images[0].numel()
        fitting = int(_IMAGES * room / one)
        if not forward or fitting < _LEAST:
            batch = max(each.fixed + each.each for each in answers)
            least = used + max(batch / _BATCH, _LEAST * one / _IMAGES)
            raise SettingError(
                f"memory {amount(memory, 'B')} is too little: networks and images take {amount(used, 'B')} already; give "
                f"{amount(1.1 * least, 'B')} or more"
            )
        curves = [curving(network, images, device).fits(_BATCH * room) for network in networks]
        return cls(memory, used, forward, min(curves), fitting, int(_VECTORS * room))
