"""Iterative magnitude pruning with rewinding: lottery tickets (LTH; Frankle & Carbin, 2019, arXiv:1803.03635; rewinding
to an early step: Frankle et al., 2020, arXiv:1912.05671).

Repeat: train; remove a share (20%) of the *remaining* weights, those of smallest |θ| over all layers; set the
survivors, and every other parameter and buffer, back to their values at the rewind step. After n rounds

    density = 0.8ⁿ,   sparsity = 1 − 0.8ⁿ
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..training import state_of
from .base import Look, Pruner, Start, one_round_less, register
from .magnitude import scores


@register
class Lottery(Pruner):
    """``rate``: share of the remaining weights that a round removes. ``retraining`` (Renda et al., 2020,
    arXiv:2003.02389): "rewind" sets weights and schedule back to the rewind step; "lr-rewind" keeps the trained
    weights and sets only the schedule back; "fine-tune" keeps the trained weights and trains on at the constant
    ``fine_tune_lr``, for as many steps."""

    name = "lottery"
    look = Look("LTH", "#0072B2", "o")
    called = "lottery tickets"
    rank = 0
    start = Start.ROUNDS
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.2
    retraining: Literal["rewind", "lr-rewind", "fine-tune"] = "rewind"
    fine_tune_lr: Annotated[float, Field(gt=0)] = 1e-3

    def scores(self, model, data, seed):
        return scores(model, self.scope)

    def previous(self, sparsity):
        return one_round_less(sparsity, self.rate)

    def state(self, parent, dense):
        """Return what survivors start from: the dense network's rewind step, or the trained weights of the round before."""
        return dense.rewind if self.retraining == "rewind" else state_of(parent.model)

    def training(self, recipe):
        """Return the recipe of each round: the study's own, or with fine-tuning a small constant learning rate."""
        if self.retraining != "fine-tune":
            return recipe
        return recipe.model_copy(update=dict(schedule="constant", lr=self.fine_tune_lr, warmup=0.0))
