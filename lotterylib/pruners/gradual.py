"""Gradual magnitude pruning (Zhu & Gupta, 2017, arXiv:1710.01878), in one training. Of n updates, Δ steps apart from step
t₀ on, the one at step t removes the smallest |θ| of all layers, down to s_t = s_f · (1 − (1 − (t − t₀) / (n·Δ))³): many
weights go early, while there are many to spare, and few late. What is masked does not come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ..masks import Mask
from .base import Look, Pruner, Start, register
from .magnitude import scores
from .rigl import interval_steps


@dataclass(frozen=True)
class Update:
    """The last of ``count`` n updates, ``interval`` Δ steps apart, is at step ``stop`` and reaches ``sparsity`` s_f."""

    stop: int
    interval: int
    count: int
    sparsity: float

    def due(self, step, total):
        return step in range(self.stop, self.stop - self.count * self.interval, -self.interval)

    def level(self, step):
        return self.sparsity * (1 - ((self.stop - step) / (self.count * self.interval)) ** 3)

    def apply(self, model, optimizer, mask, step, total):
        return Mask.top({n: s for n, s in scores(model).items() if n in mask}, 1 - self.level(step), mask)


@register
class Gradual(Pruner):
    """All weights are there at first; between ``begin`` and ``end`` (shares of the training) they go; Δ as in RigL."""

    name = "gradual"
    look = Look("Gradual", "#80801A", "p")
    called = "gradual pruning"
    start = Start.DURING
    begin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    interval: Annotated[float, Field(gt=0)] | None = None

    def scores(self, model, data, seed):
        return scores(model, self.scope)

    def allocate(self, scores, density, within):
        """Return all weights: the mask shrinks during training."""
        return within

    def schedule(self, total, sparsity, seed=0):
        """Return how the mask shrinks to ``sparsity`` in a training of ``total`` steps."""
        apart, stop = interval_steps(self.interval, total), min(total - 1, max(1, round(self.end * total)))
        return Update(stop, apart, max(1, (stop - round(self.begin * total)) // apart), sparsity)

    def dense_share(self, total):
        plan = self.schedule(total, 1.0)
        return (plan.stop - plan.interval * (plan.count - (plan.count + 1) ** 2 / (4 * plan.count))) / total
