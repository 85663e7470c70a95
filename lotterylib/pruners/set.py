"""SET: sparse evolutionary training (Mocanu et al., 2018, arXiv:1707.04780), the control of RigL: connections of smallest
|θ| are dropped, and as many grow *at random*. If RigL does no better, its gradients were of no use.

All else is as in RigL (the schedule too, as Evci et al., 2020, compare the two), so that growth is the only difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import generator
from .base import Look, register
from .rigl import Rigl, Update


@dataclass(frozen=True)
class RandomUpdate(Update):
    """Grows connections that are drawn anew at every update, by ``seed`` and step."""

    seed: int = 0

    def grow_scores(self, weights: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return a score for each place, the highest to grow: a random number in [0, 1)."""
        drawn = generator(self.seed, "set growth", step)
        return {
            name: torch.rand(w.shape, generator=drawn, dtype=torch.float64) for name, w in weights.items()
        }


@register
class Set(Rigl):
    """Settings as RigL's."""

    name = "set"
    look = Look("SET", "#882255", "d")

    def schedule(self, total, sparsity=0.0, seed=0):
        """Return RigL's schedule, with places that chance draws in place of gradients."""
        plan = super().schedule(total)
        return RandomUpdate(plan.interval, plan.stop, plan.alpha, seed)
