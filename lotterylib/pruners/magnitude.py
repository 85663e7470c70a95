"""One-shot magnitude pruning (OMP; Han et al., 2015, arXiv:1506.02626): the smallest weights of the trained network go.

score(θ) = |θ|, one ranking over all layers
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..masks import Scope, prunable
from ..training import state_of
from .base import Look, Pruner, Start, register


def scores(model: nn.Module, scope: Scope = "all") -> dict[str, Tensor]:
    """Return |θ| of every prunable weight, higher = keep.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -0.5)
        >>> scores(layer)
        {'weight': tensor([[0.5000, 0.5000]])}
    """
    return {name: weight.detach().abs() for name, weight in prunable(model, scope).items()}


@register
class Magnitude(Pruner):
    """``retrain_from``: "rewound" starts the survivors again from the weights of the rewind step, "trained" keeps the
    trained weights; both replay the schedule from the rewind step on."""

    name = "magnitude"
    look = Look("OMP", "#009E73", "s")
    called = "one-shot magnitude pruning"
    rank = 1
    start = Start.TRAINED
    retrain_from: Literal["rewound", "trained"] = "rewound"

    def scores(self, model, data, seed):
        return scores(model, self.scope)

    def state(self, parent, dense):
        """Return what survivors start from: the dense network's rewind step, or its trained weights."""
        return dense.rewind if self.retrain_from == "rewound" else state_of(dense.model)
