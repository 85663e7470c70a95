"""Structured pruning: whole filters go, and the network is physically smaller, on any hardware.

A filter cannot go alone (Fang et al., 2023, arXiv:2301.12900). With it go its bias, its BatchNorm's scale and shift, the
input slices of the layers that read its channel and, where a shortcut adds channels, the same filter of every layer that
is added. Torch-Pruning's dependency graph says which. What goes together is a unit u of a group G:

    score(u) = ‖θ_u‖₂ / mean of ‖θ_v‖₂ over v in G
    θ_u: all prunable weights of the unit

The weakest units of all groups go first; the last of a group stays. The small network is then trained as a magnitude
ticket is. Its sparsity is the share of prunable weights that went with the filters.

``pattern="2:4"`` is what sparse tensor cores want instead (Mishra et al., 2021, arXiv:2104.08378): of every 4 input
channels of a filter, at each place of its kernel, the 2 of largest |θ| stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import SettingError
from ..masks import Mask, Scope, prunable
from ..training import state_of
from . import magnitude
from .base import Look, Pruned, Pruner, Start, one_round_less, register
from .channels import Keep, Unit, cut, find_units, keep_without, same_function, sliced


@register
class Structured(Pruner):
    """``pattern``: "filters", or "2:4" for semi-structured masks (sparsity 0.5; the network keeps its size). ``rate``: prune
    in rounds, each removing this share of the remaining weights and training again; None: all at once.
    ``retrain_from``: survivors start from the weights of the rewind step ("rewound") or keep the trained ones.

    With filters a ticket keeps *at most* ``round((1 − sparsity) · n)`` weights, and as near to that as whole filters
    allow; ``record["left_whole"]`` names the layers that could not be cut."""

    name = "structured"
    look = Look("Structured", "#56B4E9", "h")
    called = "structured pruning"
    start = Start.TRAINED
    pattern: Literal["filters", "2:4"] = "filters"
    rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    retrain_from: Literal["rewound", "trained"] = "rewound"

    def scores(self, model, data, seed):
        return magnitude.scores(model, self.scope)

    def previous(self, sparsity):
        return one_round_less(sparsity, self.rate) if self.rate and self.pattern == "filters" else None

    def state(self, parent, dense):
        """Return what survivors start from: the parent's rewind step, or its trained weights."""
        return parent.rewind if self.retrain_from == "rewound" else state_of(parent.model)

    def check(self, sparsity):
        super().check(sparsity)
        if self.pattern == "2:4" and abs(sparsity - 0.5) > 1e-6:
            raise SettingError(
                f"pattern 2:4 removes half of the weights: sparsity must be 0.5, got {sparsity}"
            )

    def prune(self, origin, data, sparsity, seed):
        """Return the network to train: with filters a smaller one, whose mask keeps all it has; with 2:4 the same under a mask.

        Its ``notes`` name the layers left whole, and the new shapes of weights that were cut."""
        shapes = {}
        if self.pattern == "2:4":
            mask, whole = two_of_four(origin.model, self.scope)
            network, state = origin.model, origin.state
        else:
            total = sum(weight.numel() for weight in prunable(origin.full, self.scope).values())
            target = round((1 - sparsity) * total)
            keep, whole = choose(origin.model, data.train[0].shape[1:], target, self.scope)
            network, state = cut(origin.model, keep), sliced(origin.state, keep)
            mask, full = Mask.ones(network, self.scope), origin.full.state_dict()
            sizes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
            shapes = {name: size for name, size in sizes.items() if size != list(full[name].shape)}
        network.load_state_dict(state)
        # where the next round starts again
        rewind = state if self.rate else None
        return Pruned(network, mask, {"left_whole": whole, "shapes": shapes}, rewind)


def two_of_four(model: nn.Module, scope: Scope = "all") -> tuple[Mask, list[str]]:
    """Return the 2:4 mask of the largest |θ|, and the weights left whole because their inputs do not divide into fours.

    Four are neighbours along what a product sums over: of a linear layer four inputs, of a convolution four input
    channels at one place of the kernel, since sparse tensor cores see it as one product per place. Of equal weights
    the earlier stay.

    Example:
        >>> layer = nn.Linear(4, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -4.0, 3.0, 2.0]]))
        >>> two_of_four(layer)[0]["weight"]
        tensor([[False,  True,  True, False]])
    """
    kept, whole = {}, []
    for name, size in magnitude.scores(model, scope).items():
        if size.shape[1] % 4:
            kept[name] = torch.ones_like(size, dtype=torch.bool)
            whole.append(name)
            continue
        fours = size.movedim(1, -1).unflatten(-1, (-1, 4))
        order = fours.argsort(dim=-1, descending=True, stable=True)
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order[..., :2], True)
        kept[name] = chosen.flatten(-2).movedim(-1, 1).contiguous()
    return Mask(kept), whole


def choose(
    model: nn.Module, input_shape: Sequence[int], target: int, scope: Scope = "all"
) -> tuple[Keep, list[str]]:
    """Return what stays of a trained network so that at most ``target`` prunable weights do, and as many as whole filters
    allow; and the layers whose filters all stay (see ``find_units``). ``input_shape``: [C, H, W].

    Raises:
        SettingError: if removing whole filters cannot get there.
    """
    units, whole = find_units(model, input_shape, scope)
    weights = {name: weight.detach() for name, weight in prunable(model, scope).items()}
    scores, left = scores_of(units, weights), Counter(unit.group for unit in units)
    sizes = {name: list(weight.shape) for name, weight in weights.items()}

    def remaining() -> int:
        return sum(map(math.prod, sizes.values()))

    def resize(unit: Unit, sign: int) -> None:
        left[unit.group] += sign
        for (name, dim), places in unit.places.items():
            if name in sizes:
                sizes[name][dim] += sign * len(places)

    gone: list[Unit] = []
    for i in sorted(range(len(units)), key=scores.__getitem__):
        if remaining() <= target:
            break
        if left[units[i].group] > 1:
            resize(units[i], -1)
            gone.append(units[i])
    if remaining() > target:
        raise SettingError(
            f"structured: {target:,} prunable weights wanted, but {remaining():,} remain when every group of filters is "
            f"down to one; layers that cannot be cut: {', '.join(whole) or 'none'}"
        )
    # the last to go may have been a large one: put back what fits, the strongest first
    for unit in reversed(list(gone)):
        resize(unit, +1)
        if remaining() > target:
            resize(unit, -1)
        else:
            gone.remove(unit)
    keep = keep_without(model, gone)
    if not same_function(model, keep, input_shape):
        raise SettingError("structured: the dependencies between this network's layers cannot be resolved")
    return keep, whole


def scores_of(units: Sequence[Unit], weights: dict[str, Tensor]) -> list[float]:
    """Return each unit's L2 norm over its slices of ``weights``, relative to the mean of its group; higher = keep."""
    norms = []
    for unit in units:
        slices = [
            weights[name].index_select(dim, torch.tensor(places, device=weights[name].device))
            for (name, dim), places in unit.places.items()
            if name in weights
        ]
        norms.append(math.sqrt(sum(s.double().square().sum().item() for s in slices)))
    sums, counts = Counter(), Counter(unit.group for unit in units)
    for unit, norm in zip(units, norms, strict=True):
        sums[unit.group] += norm
    return [n / (sums[u.group] / counts[u.group] or 1.0) for u, n in zip(units, norms, strict=True)]
