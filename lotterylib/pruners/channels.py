"""The channels of a network that can go, and all that goes with each: Torch-Pruning's dependency graph (Fang et al., 2023,
arXiv:2301.12900), and the cut itself."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..masks import Scope, prunable
from ..models import Network, resize_
from ..rng import forked, generator
from ..training import State

# name of a parameter or buffer, dimension
Axis = tuple[str, int]
# which entries stay: boolean; a dimension that is not listed stays whole
Keep = dict[Axis, Tensor]


@dataclass(frozen=True)
class Unit:
    """All that has to go together: places along dimensions of tensors. Units of one ``group`` are alternatives: one of
    them has to stay."""

    group: int
    places: dict[Axis, list[int]]


@dataclass(frozen=True)
class _Item:
    """A layer's part in a group: its outputs or its inputs at ``places``, each with the channel it belongs to."""

    # a layer, or what the tracer has in place of one: an operation or a parameter
    module: Any
    outputs: bool
    places: list[int]
    channels: list[int]


def find_units(
    model: nn.Module, input_shape: Sequence[int], scope: Scope = "all"
) -> tuple[list[Unit], list[str]]:
    """Return all that can go, and the layers that have to stay whole. ``input_shape``: [C, H, W].

    Each group is tried out: its layers stay whole if the network without half of its units is not the network with
    their channels silenced. So it is with the output layer, and where a channel of the input is added to a filter's.

    Raises:
        SettingError: if the network cannot be traced.
        ImportError: naming the remedy, without Torch-Pruning.
    """
    weights, names = prunable(model, scope), {module: name for name, module in model.named_modules()}
    units, whole = [], []
    for number, items in enumerate(_groups(model, input_shape)):
        layers = [
            names[i.module] for i in items if i.outputs and isinstance(i.module, (nn.Conv2d, nn.Linear))
        ]
        if not any(_join(layer, "weight") in weights for layer in layers):
            # nothing to gain within this scope
            continue
        found = _units(number, items, names)
        half = found[: len(found) // 2]
        if half and same_function(model, keep_without(model, half), input_shape):
            units += found
        else:
            whole += layers
    return units, whole


def keep_without(model: nn.Module, units: Sequence[Unit]) -> Keep:
    """Return what stays if these units go."""
    keep, state = {}, model.state_dict()
    for unit in units:
        for (name, dim), places in unit.places.items():
            kept = keep.setdefault((name, dim), torch.ones(state[name].shape[dim], dtype=torch.bool))
            kept[places] = False
    return keep


def sliced(state: State, keep: Keep) -> State:
    """Return parameters and buffers with only the entries that stay."""
    state = dict(state)
    for (name, dim), kept in keep.items():
        state[name] = state[name].index_select(dim, kept.nonzero().flatten().to(state[name].device))
    return state


def cut(model: nn.Module, keep: Keep) -> nn.Module:
    """Return a physically smaller copy with the surviving weights; its ``spec``, if it has one, describes it."""
    small, state = copy.deepcopy(model), sliced(model.state_dict(), keep)
    shapes = {name: list(state[name].shape) for name, _ in keep}
    resize_(small, shapes).load_state_dict(state)
    if isinstance(small, Network):
        small.spec = {**small.spec, "shapes": {**small.spec.get("shapes", {}), **shapes}}
    return small


def silenced(model: nn.Module, keep: Keep) -> nn.Module:
    """Return a copy of full size in which nobody reads the channels that go: the input slices are zero."""
    copied = copy.deepcopy(model)
    state = copied.state_dict()
    for (name, dim), kept in keep.items():
        if dim == 1:
            state[name].index_fill_(1, (~kept).nonzero().flatten().to(state[name].device), 0)
    return copied


@torch.no_grad()
def same_function(model: nn.Module, keep: Keep, input_shape: Sequence[int]) -> bool:
    """Return whether the cut network's outputs are those of the silenced one, in float64 on two random images."""
    try:
        pair = [m.double().eval() for m in (cut(model, keep), silenced(model, keep))]
        images = torch.rand(2, *input_shape, generator=generator(0, "probe"), dtype=torch.float64)
        small, full = (m(images.to(next(m.parameters()).device)) for m in pair)
        return small.shape == full.shape and torch.allclose(small, full, rtol=1e-8, atol=1e-10)
    # layers that no longer fit together
    except (RuntimeError, SettingError, ValueError):
        return False


def _groups(model: nn.Module, input_shape: Sequence[int]) -> Iterator[list[_Item]]:
    try:
        import torch_pruning
    except ImportError:
        raise ImportError(
            "structured pruning needs Torch-Pruning: pip install 'torch-pruning>=1.6,<2'"
        ) from None
    # tracing follows gradients, and sets eval mode
    copied = copy.deepcopy(model).requires_grad_(True)
    original = dict(zip(copied.modules(), model.modules(), strict=True))
    device = next(copied.parameters()).device
    try:
        with forked(device), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = torch.zeros(1, *input_shape, device=device)
            graph = torch_pruning.DependencyGraph().build_dependency(copied, example, verbose=False)
            groups = list(graph.get_all_groups(root_module_types=(nn.Conv2d, nn.Linear)))
    # whatever the tracer stumbles over
    except Exception as error:
        raise SettingError(
            f"structured: the dependencies between this network's layers cannot be traced ({error})"
        ) from None
    for group in groups:
        yield [
            _Item(
                original.get(item.dep.target.module, item.dep.target.module),
                graph.is_out_channel_pruning_fn(item.dep.handler),
                list(item.idxs),
                list(item.root_idxs),
            )
            for item in group
        ]


class DisjointSets:
    """Numbers in sets that grow together; a set goes by its smallest number."""

    def __init__(self) -> None:
        self._smaller: dict[int, int] = {}

    def first(self, number: int) -> int:
        """Return the smallest number of a number's set."""
        while number in self._smaller:
            number = self._smaller[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._smaller[high] = low


def _units(group: int, items: list[_Item], names: dict[nn.Module, str]) -> list[Unit]:
    """Return the group's channels, those taken together that a grouped convolution ties to each other; none if there is
    a layer of a kind that we do not know how to cut."""
    tensors = [_tensors(item, names) for item in items]
    known = [axes for axes in tensors if axes is not None]
    if len(known) < len(items):
        return []
    tied = DisjointSets()
    for item in items:
        per_group = _channels_per_group(item)
        if per_group:
            # every group of the convolution has to lose the same places
            by_place: dict[int, int] = {}
            for place, channel in zip(item.places, item.channels, strict=True):
                tied.join(by_place.setdefault(place % per_group, channel), channel)
    units: dict[int, dict[Axis, set[int]]] = {}
    for item, axes in zip(items, known, strict=True):
        # a grouped convolution's weight holds the inputs of one group
        per_group = None if item.outputs else _channels_per_group(item)
        for place, channel in zip(item.places, item.channels, strict=True):
            for axis in axes:
                places = units.setdefault(tied.first(channel), {}).setdefault(axis, set())
                places.add(place % per_group if per_group else place)
    return [
        Unit(group, {axis: sorted(p) for axis, p in places.items()}) for _, places in sorted(units.items())
    ]


def _tensors(item: _Item, names: dict[nn.Module, str]) -> list[Axis] | None:
    """Return the dimensions that the item cuts; None for a layer that we do not know."""
    module = item.module
    # an operation such as an addition, or a parameter outside the known layers
    if module not in names:
        return None if isinstance(module, nn.Parameter) else []
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        found = [("weight", 0 if item.outputs else 1)]
        if item.outputs and module.bias is not None:
            found.append(("bias", 0))
    elif isinstance(module, (nn.modules.batchnorm._NormBase, nn.PReLU)):
        found = [
            (name, 0) for name, tensor in module.state_dict().items() if tensor.dim() == 1 and len(tensor) > 1
        ]
    else:
        return None
    return [(_join(names[module], leaf), dim) for leaf, dim in found]


def _channels_per_group(item: _Item) -> int | None:
    """Return the channels per group of a grouped convolution, on the side that the item cuts; None for all other layers,
    also for depthwise ones, where one channel is one group."""
    conv = item.module
    if (
        not isinstance(conv, nn.Conv2d)
        or conv.groups == 1
        or conv.groups == conv.in_channels == conv.out_channels
    ):
        return None
    return (conv.out_channels if item.outputs else conv.in_channels) // conv.groups


def _join(layer: str, leaf: str) -> str:
    return f"{layer}.{leaf}" if layer else leaf
