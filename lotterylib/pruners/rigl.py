"""RigL: dynamic sparse training (Evci et al., 2020, arXiv:1911.11134). Sparse from the first step to the last, but not in
the same places: every ΔT steps, until T_end, each layer of k kept weights

    drops the ⌊f(t)·k⌋ of smallest |θ|,            f(t) = α/2 · (1 + cos(π·t / T_end))
    grows as many of largest |∂L/∂θ| among those outside what stayed; they start at θ = 0.

A connection just dropped may come straight back, with its value. The gradient is that of one mini-batch for *all*
weights: removed ones are stored as zeros, so they have one.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask
from ..masks.densities import Distribution, erdos_renyi_kernel, top_each
from ..training import train
from . import random
from .base import Pruner, check_sparsity, make_ticket

__all__ = ["Rigl", "erdos_renyi_kernel", "regrow"]


def regrow(mask: Tensor, drop_score: Tensor, grow_score: Tensor, fraction: float) -> Tensor:
    """One layer's new mask: boolean, with as many kept as before.

    Of the k kept in ``mask`` (boolean), drops the ⌊fraction·k⌋ of lowest ``drop_score``, then grows as many of highest
    ``grow_score`` among all that did not stay, those just dropped included. On ties the earlier position is kept.

    Raises ``SettingError`` for a fraction outside [0, 1], tensors of different shapes or a mask that is not boolean.
    """
    if not 0 <= fraction <= 1:
        raise SettingError(f"fraction must lie in [0, 1], got {fraction}")
    if mask.dtype != torch.bool or not mask.shape == drop_score.shape == grow_score.shape:
        raise SettingError("mask must be boolean, and drop_score and grow_score of its shape")
    kept = int(mask.sum())
    moved = math.floor(fraction * kept + 1e-9)  # 0.29 · 100 is 28.999999999999996
    stay = _highest(drop_score, kept - moved, among=mask)
    return stay | _highest(grow_score, moved, among=~stay)


def _highest(scores: Tensor, count: int, among: Tensor) -> Tensor:
    order = torch.argsort(scores.flatten(), descending=True, stable=True)
    order = order[among.flatten()[order]]
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[order[:count]] = True
    return chosen.view(scores.shape)


@dataclass(frozen=True)
class Update:
    """When and how the mask moves; ``interval`` ΔT and ``stop`` T_end in steps, ``alpha`` α."""

    interval: int
    stop: int
    alpha: float

    def due(self, step: int, total: int) -> bool:
        return 0 < step < self.stop and step % self.interval == 0

    def fraction(self, step: int) -> float:
        """f(t): share of a layer's connections that move at a step."""
        return self.alpha / 2 * (1 + math.cos(math.pi * step / self.stop))

    @torch.no_grad()
    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, mask: Mask, step: int, total: int
    ) -> Mask:
        weights, new = dict(model.named_parameters()), {}
        for name, before in mask.items():
            weight, before = weights[name], before.to(weights[name].device)
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            new[name] = regrow(before, weight.abs(), gradient.abs(), self.fraction(step))
            moved = new[name] != before
            weight.masked_fill_(moved, 0)
            # momentum and the like of removed weights has gone on: a connection starts, and ends, without any
            for state in optimizer.state.get(weight, {}).values():
                if isinstance(state, Tensor) and state.shape == weight.shape:
                    state.masked_fill_(moved, 0)
        return Mask(new)


class Rigl(Pruner):
    """``distribution`` of the weights over the layers: "erk" or "uniform". ``interval`` ΔT: steps, or below 1 the share of
    all steps; by default 100 steps, or a thirtieth of a training that is shorter than 3,000. ``end`` T_end: share of the
    training after which the mask stays. ``alpha``: share of connections that moves at first. ``budget``: length of the
    training, 1 = the recipe's epochs, 5 = five times as many, the schedule stretched with it."""

    name: ClassVar[str] = "rigl"
    distribution: Distribution = "erk"
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.3
    interval: Annotated[float, Field(gt=0)] | None = None
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    budget: Annotated[float, Field(gt=0)] = 1.0

    def schedule(self, total: int) -> Update:
        """When the mask moves in a training of ``total`` steps."""
        if self.interval is None:
            steps = min(100, total / 30)
        else:
            steps = self.interval if self.interval >= 1 else self.interval * total
        # between two updates at least one step has to learn
        return Update(interval=max(2, round(steps)), stop=max(1, round(self.end * total)), alpha=self.alpha)

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        check_sparsity(sparsity)
        device = pick_device(device)
        model = copy.deepcopy(model).to(device)
        mask = top_each(random.scores(model, seed, self.scope), self.distribution, 1 - sparsity)
        stretched = recipe.model_copy(update={"epochs": max(1, round(self.budget * recipe.epochs))})
        update = self.schedule(stretched.total_steps(len(data.train[1])))
        training = train(model, data, stretched, mask, seed, update=update, device=device, progress=progress)
        ticket = make_ticket(self, model, training.mask, data, sparsity, recipe, seed, training, device)
        ticket.record["updates"] = training.updates
        return ticket
