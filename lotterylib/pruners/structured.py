"""Structured pruning: whole filters go, and the network is physically smaller, on any hardware.

A filter cannot go alone (Fang et al., 2023, arXiv:2301.12900). With it go its bias, its BatchNorm's scale and shift, the
input slices of the layers that read its channel and, where a shortcut adds channels, the same filter of every layer that
is added. Torch-Pruning's dependency graph says which. What goes together is a unit u of a group G:

    score(u) = ‖θ_u‖₂ / mean of ‖θ_v‖₂ over v in G        θ_u: all prunable weights of the unit

The weakest units of all groups go first; the last of a group stays. The small network is then trained as a magnitude
ticket is. Its sparsity is the share of prunable weights that went with the filters.

``pattern="2:4"`` is what sparse tensor cores want instead (Mishra et al., 2021, arXiv:2104.08378): of every 4 consecutive
input weights of a filter the 2 of largest |θ| stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask, Scope, prunable
from ..training import state_of
from .base import Pruner, check_sparsity, make_ticket, one_round_less, retrain, train_dense
from .channels import Keep, Unit, cut, find_units, keep_without, same_function, sliced


class Structured(Pruner):
    """``pattern``: "filters", or "2:4" for semi-structured masks (sparsity 0.5; the network keeps its size). ``rate``: prune
    in rounds, each removing this share of the remaining weights and training again; None: all at once.
    ``retrain_from``: survivors start from the weights of the rewind step ("rewound") or keep the trained ones."""

    name: ClassVar[str] = "structured"
    needs_dense: ClassVar[bool] = True
    pattern: Literal["filters", "2:4"] = "filters"
    rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    retrain_from: Literal["rewound", "trained"] = "rewound"

    def previous(self, sparsity: float) -> float | None:
        """One round less, if there are rounds."""
        return one_round_less(sparsity, self.rate) if self.rate and self.pattern == "filters" else None

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        """As any pruner's, but the ticket keeps *at most* ``round((1 − sparsity) · n)`` weights, and as near to that as
        whole filters allow; ``record["left_whole"]`` names the layers that could not be cut.

        Raises ``SettingError`` for a sparsity other than 0.5 with "2:4", or one out of reach for whole filters.
        """
        check_sparsity(sparsity)
        if self.pattern == "2:4" and abs(sparsity - 0.5) > 1e-6:
            raise SettingError(
                f"pattern 2:4 removes half of the weights: sparsity must be 0.5, got {sparsity}"
            )
        before, common = self.previous(sparsity), dict(device=pick_device(device), progress=progress)
        start = dense = dense or train_dense(model, data, recipe, seed, scope=self.scope, **common)
        if before is not None:
            start = previous or self.find(model, data, before, recipe, seed, dense=dense, **common)
        state = start.rewind if self.retrain_from == "rewound" else state_of(start.model)
        if self.pattern == "2:4":
            small, shapes = start.model, {}
            mask, whole = two_of_four(small, self.scope)
        else:
            total = sum(weight.numel() for weight in prunable(dense.model, self.scope).values())
            target, shape = round((1 - sparsity) * total), data.train[0].shape[1:]
            keep, whole = choose(start.model, shape, target, self.scope)
            small, state = cut(start.model, keep), state and sliced(state, keep)
            mask = Mask.ones(small, self.scope)
            sizes = small.state_dict()
            shapes = start.record.get("shapes", {}) | {name: list(sizes[name].shape) for name, _ in keep}
        network, training = retrain(small, state, mask, data, recipe, seed, **common)
        ticket = make_ticket(
            self, network, mask, data, sparsity, recipe, seed, training, common["device"],
            start=start, full=dense.model,
        )  # fmt: skip
        ticket.record |= {"left_whole": whole, "shapes": shapes}
        ticket.rewind = state if self.rate else None  # where the next round starts again
        return ticket


def two_of_four(model: nn.Module, scope: Scope = "all") -> tuple[Mask, list[str]]:
    """The 2:4 mask of the largest |θ|, and the weights left whole because their inputs do not divide into fours.

    Consecutive are the entries of ``weight.flatten(1)``; of equal weights the earlier stay.
    """
    kept, whole = {}, []
    for name, weight in prunable(model, scope).items():
        size = weight.detach().abs().flatten(1)
        kept[name] = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
        if size.shape[1] % 4:
            whole.append(name)
            continue
        order = size.unflatten(1, (-1, 4)).argsort(dim=2, descending=True, stable=True)
        four = torch.zeros_like(order, dtype=torch.bool).scatter_(2, order[:, :, :2], True)
        kept[name] = four.view(weight.shape)
    return Mask(kept), whole


def choose(
    model: nn.Module, input_shape: Sequence[int], target: int, scope: Scope = "all"
) -> tuple[Keep, list[str]]:
    """What stays of a trained network so that at most ``target`` prunable weights do, and as many as whole filters
    allow; and the layers whose filters all stay (see ``find_units``). ``input_shape``: [C, H, W].

    Raises ``SettingError`` if removing whole filters cannot get there.
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
    for unit in gone[
        ::-1
    ]:  # the last to go may have been a large one: put back what fits, the strongest first
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
    """Each unit's L2 norm over its slices of ``weights``, relative to the mean of its group; higher = keep."""
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
