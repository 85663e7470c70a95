"""RigL: dynamic sparse training (Evci et al., 2020, arXiv:1911.11134). Sparse from the first step to the last, but not in
the same places: every ΔT steps, until T_end, each layer of k kept weights

- drops the ⌊f(t)·k⌋ of smallest |θ|, where f(t) = α/2 · (1 + cos(π·t / T_end));
- grows as many of largest |∂L/∂θ| among those outside what stayed; they start at θ = 0.

A connection just dropped may come straight back, with its value. The gradient is that of one mini-batch for *all*
weights: removed ones are stored as zeros, so they have one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import SettingError
from ..masks import Mask
from ..masks.densities import Distribution, erdos_renyi_kernel, top_each
from . import random
from .base import Look, Pruner, Start, register

__all__ = ["Rigl", "erdos_renyi_kernel", "regrow"]


def regrow(mask: Tensor, drop_score: Tensor, grow_score: Tensor, fraction: float) -> Tensor:
    """Return one layer's new mask: boolean, with as many kept as before.

    Of the k kept in ``mask`` (boolean), drops the ⌊fraction·k⌋ of lowest ``drop_score``, then grows as many of highest
    ``grow_score`` among all that did not stay, those just dropped included. On ties the earlier position is kept.

    Raises:
        SettingError: for a fraction outside [0, 1], tensors of different shapes or a mask that is not boolean.

    Example:
        >>> mask = torch.tensor([True, True, False, False])
        >>> regrow(mask, torch.tensor([0.1, 0.9, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.5, 0.2]), 0.5)
        tensor([False,  True,  True, False])
    """
    if not 0 <= fraction <= 1:
        raise SettingError(f"fraction must lie in [0, 1], got {fraction}")
    if mask.dtype != torch.bool or not mask.shape == drop_score.shape == grow_score.shape:
        raise SettingError("mask must be boolean, and drop_score and grow_score of its shape")
    kept = int(mask.sum())
    # 0.29 · 100 is 28.999999999999996
    moved = math.floor(fraction * kept + 1e-9)
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
        """Return f(t), the share of a layer's connections that move at a step."""
        return self.alpha / 2 * (1 + math.cos(math.pi * step / self.stop))

    def grow_scores(self, weights: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return a score for each place, the highest to grow: |∂L/∂θ|."""
        return {n: torch.zeros_like(w) if w.grad is None else w.grad.abs() for n, w in weights.items()}

    @torch.no_grad()
    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, mask: Mask, step: int, total: int
    ) -> Mask:
        parameters, new = dict(model.named_parameters()), {}
        weights = {name: parameters[name] for name in mask}
        wanted = self.grow_scores(weights, step)
        for name, weight in weights.items():
            before = mask[name].to(weight.device)
            new[name] = regrow(before, weight.abs(), wanted[name].to(weight.device), self.fraction(step))
            moved = new[name] != before
            weight.masked_fill_(moved, 0)
            # momentum and the like of removed weights has gone on: a connection starts, and ends, without any
            for state in optimizer.state.get(weight, {}).values():
                if isinstance(state, Tensor) and state.shape == weight.shape:
                    state.masked_fill_(moved, 0)
        return Mask(new)


def interval_steps(interval: float | None, total: int) -> int:
    """Return the steps from one update to the next in a training of ``total`` steps; ``interval`` is in steps, or below 1
    a share of all. By default 100, or a thirtieth of a training that is shorter than 3,000 steps."""
    steps = min(100, total / 30) if interval is None else interval if interval >= 1 else interval * total
    # between two updates at least one step has to learn
    return max(2, round(steps))


@register
class Rigl(Pruner):
    """``distribution`` of the weights over the layers: "erk" or "uniform". ``interval`` ΔT: steps, or below 1 the share of
    all steps; by default 100 steps, or a thirtieth of a training that is shorter than 3,000. ``end`` T_end: share of the
    training after which the mask stays. ``alpha``: share of connections that moves at first. ``budget``: length of the
    training, 1 = the recipe's epochs, 5 = five times as many, the schedule stretched with it."""

    name = "rigl"
    look = Look("RigL", "#CC79A7", "X")
    start = Start.DURING
    distribution: Distribution = "erk"
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.3
    interval: Annotated[float, Field(gt=0)] | None = None
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    budget: Annotated[float, Field(gt=0)] = 1.0

    def scores(self, model, data, seed):
        # the first mask is drawn at random
        return random.scores(model, seed, self.scope)

    def allocate(self, scores, density, within):
        """Return the mask of exactly ``round(density · n)`` weights; ``distribution`` sets each layer's share."""
        return top_each(scores, self.distribution, density, within)

    def training(self, recipe):
        """Return the recipe with ``budget`` times its epochs."""
        return recipe.model_copy(update={"epochs": max(1, round(self.budget * recipe.epochs))})

    def schedule(self, total, sparsity=0.0, seed=0):
        """Return when the mask moves in a training of ``total`` steps, and how far."""
        return Update(interval_steps(self.interval, total), max(1, round(self.end * total)), self.alpha)
