"""Random pruning (RP): which weights go is left to chance. The floor that every other method must beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..datasets import Dataset
from ..masks import Mask, Scope, prunable
from ..masks.densities import top_each
from ..rng import generator
from .base import AtInitialisation


def scores(model: nn.Module, seed: int, scope: Scope = "all") -> dict[str, Tensor]:
    """Uniform random numbers in [0, 1), one a prunable weight, higher = keep; they depend on the seed and the shapes
    alone. float64, so that ties do not happen."""
    random = generator(seed, "random pruning")
    return {
        name: torch.rand(weight.shape, generator=random, dtype=torch.float64).to(weight.device)
        for name, weight in prunable(model, scope).items()
    }


class Random(AtInitialisation):
    """``distribution``: how many weights each layer keeps. "global" draws from all weights together (the paper's way),
    "uniform" keeps the same share of every layer, "erk" uses Erdős–Rényi-Kernel densities. All keep the exact count.
    """

    name: ClassVar[str] = "random"
    distribution: Literal["global", "uniform", "erk"] = "global"

    def mask(self, model: nn.Module, data: Dataset | None, sparsity: float, seed: int) -> Mask:
        density, drawn = 1 - sparsity, scores(model, seed, self.scope)
        if self.distribution == "global":
            return Mask.top(drawn, density)
        return top_each(drawn, self.distribution, density)
