"""One-shot magnitude pruning (OMP; Han et al., 2015, arXiv:1506.02626): the smallest weights of the trained network go.

score(θ) = |θ|, one ranking over all layers
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from ..machine.devices import pick_device
from ..masks import Mask, Scope, prunable
from ..training import state_of
from .base import Pruner, check_sparsity, make_ticket, retrain, train_dense


def scores(model: nn.Module, scope: Scope = "all") -> dict[str, Tensor]:
    """|θ| of every prunable weight, higher = keep."""
    return {name: weight.detach().abs() for name, weight in prunable(model, scope).items()}


class Magnitude(Pruner):
    """``retrain_from``: "rewound" starts the survivors again from the weights of the rewind step, "trained" keeps the
    trained weights; both replay the schedule from the rewind step on."""

    name: ClassVar[str] = "magnitude"
    needs_dense: ClassVar[bool] = True
    retrain_from: Literal["rewound", "trained"] = "rewound"

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        check_sparsity(sparsity)
        device = pick_device(device)
        dense = dense or train_dense(
            model, data, recipe, seed, scope=self.scope, device=device, progress=progress
        )
        mask = Mask.top(scores(dense.model, self.scope), 1 - sparsity)
        state = dense.rewind if self.retrain_from == "rewound" else state_of(dense.model)
        network, training = retrain(
            dense.model, state, mask, data, recipe, seed, device=device, progress=progress
        )
        return make_ticket(self, network, mask, data, sparsity, recipe, seed, training, device, start=dense)
