"""Random pruning (RP): which weights go is left to chance. The floor that every other method must beat."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..masks import Scope, prunable
from ..masks.densities import top_each
from ..rng import generator
from .base import Look, Pruner, register


def scores(model: nn.Module, seed: int, scope: Scope = "all") -> dict[str, Tensor]:
    """Return uniform random numbers in [0, 1), one per prunable weight, higher = keep; they depend on the seed and the
    shapes alone. float64, so that ties do not happen.

    Example:
        >>> {name: drawn.shape for name, drawn in scores(nn.Linear(3, 2), seed=0).items()}
        {'weight': torch.Size([2, 3])}
    """
    random = generator(seed, "random pruning")
    return {
        name: torch.rand(weight.shape, generator=random, dtype=torch.float64).to(weight.device)
        for name, weight in prunable(model, scope).items()
    }


@register
class Random(Pruner):
    """``distribution``: how many weights each layer keeps. "global" draws from all weights together (the paper's way),
    "uniform" keeps the same share of every layer, "erk" uses Erdős–Rényi-Kernel densities. All keep the exact count.
    """

    name = "random"
    look = Look("RP", "#E69F00", "v")
    called = "random pruning"
    rank = 2
    distribution: Literal["global", "uniform", "erk"] = "global"

    def scores(self, model, data, seed):
        return scores(model, seed, self.scope)

    def allocate(self, scores, density, within):
        """Return the mask of exactly ``round(density · n)`` weights: of one ranking over all
        layers, or of layers that each get a share."""
        if self.distribution == "global":
            return super().allocate(scores, density, within)
        return top_each(scores, self.distribution, density, within)
