"""Channels that were cut away: of whole layers, and all along the network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import DataError

# images that are shown: as many as nothing else in a network is likely to be
_SHOWN = 5


def check_cuts(path: Path, model: nn.Module, cut: Mapping[str, list[int]], classes: int | None) -> None:
    """Raise ``DataError`` unless all that is smaller is channels: dimensions 0 and 1, the same throughout a layer."""
    wanted = model.state_dict()
    last = next((n for n in reversed(wanted) if n.endswith("weight")), None)
    for name, shape in cut.items():
        theirs, ours = tuple(shape), tuple(wanted[name].shape)
        if name == last and shape and ours[0] == classes != shape[0]:
            raise DataError(
                f"{path} is a network of {shape[0]} classes ({name} has shape {shape}), but the data have {classes}"
            )
        fewer = len(theirs) == len(ours) and all(a <= b for a, b in zip(theirs, ours, strict=True))
        if not fewer or theirs[2:] != ours[2:]:
            why = "; only channels may have been cut away" if fewer else ""
            raise DataError(
                f"{path} does not fit the network: {name} has shape {shape}, the network's is {list(ours)}{why}"
            )
    for name, layer in model.named_modules():
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        tensors = [*layer._parameters.items(), *layer._buffers.items()]
        sizes = {
            key: cut.get(f"{name}.{key}" if name else key, t.shape)[0]
            for key, t in tensors
            if t is not None and t.dim()
        }
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{key} {size}" for key, size in sizes.items())
            raise DataError(f"{path} does not fit the network: the channels of {name} are {said}")


def check_broadcasts(path: Path, cut: nn.Module, whole: nn.Module, shape: Sequence[int]) -> None:
    """Raise ``DataError`` where one channel of a cut network is spread over several, and the whole network has as many on both
    sides: the cut is wrong, although it runs. ``shape``: of an image [C, H, W]."""
    for ours, theirs in zip(_calls(cut, shape), _calls(whole, shape), strict=False):
        if ours.what != theirs.what:
            # from here on they do different things
            return
        for had, now in ours.spread(theirs):
            raise DataError(
                f"{path} does not fit the network: in {ours.within or 'its forward'} ({ours.what}) one channel stands for {now}, "
                f"where the network has {had}: what is cut away there has to be cut away all along"
            )


class _Call(NamedTuple):
    """An operation element by element in a forward pass: its name, the module whose forward makes it, and shapes."""

    what: str
    within: str
    given: list[tuple[int, ...]]
    result: tuple[int, ...]

    def spread(self, whole: _Call) -> Iterator[tuple[int, int]]:
        """Yield sizes of the whole network and of this one where the latter alone broadcasts."""
        for one, other in zip(self.given, whole.given, strict=False):
            sizes = zip(_aligned(one, self.result), _aligned(other, whole.result), strict=False)
            yield from ((b, now) for (had, now), (a, b) in sizes if had == 1 < now and a == b > 1)


def _aligned(one: Sequence[int], other: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return the sizes of two shapes as they broadcast, the last first."""
    return zip(reversed(one), reversed(other), strict=False)


class _Listener(TorchDispatchMode):
    """Notes every operation that may broadcast, while it is in force."""

    def __init__(self):
        super().__init__()
        self.calls: list[_Call] = []
        self.within = [""]

    def leave(self, *_: Any) -> None:
        """Note that the forward of the innermost module ends."""
        self.within.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        broadcasts = torch.Tag.pointwise in func.tags or func is torch.ops.aten.expand.default
        if broadcasts and isinstance(result, Tensor):
            given = [tuple(t.shape) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            name = func.overloadpacket.__name__
            self.calls.append(_Call(name, self.within[-1], given, tuple(result.shape)))
        return result


def _calls(network: nn.Module, shape: Sequence[int]) -> list[_Call]:
    """Return the calls of a forward pass, as far as it gets."""
    listener, handles = _Listener(), []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, n=name: listener.within.append(n)))
        handles.append(module.register_forward_hook(listener.leave))
    try:
        # a network that does not run is refused elsewhere, by the error that it gives
        with contextlib.suppress(Exception), torch.no_grad(), listener:
            network(torch.zeros(_SHOWN, *shape, device=next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return listener.calls
