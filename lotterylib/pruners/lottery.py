"""Iterative magnitude pruning with rewinding: lottery tickets (LTH; Frankle & Carbin, 2019, arXiv:1803.03635; rewinding
to an early step: Frankle et al., 2020, arXiv:1912.05671).

Repeat: train; remove a share (20 %) of the *remaining* weights, those of smallest |θ| over all layers; set the
survivors, and every other parameter and buffer, back to their values at the rewind step. After n rounds

    density = 0.8ⁿ,   sparsity = 1 − 0.8ⁿ
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..machine.devices import pick_device
from ..masks import Mask
from ..training import state_of
from .base import Pruner, make_ticket, one_round_less, retrain, train_dense
from .magnitude import scores


class Lottery(Pruner):
    """``rate``: share of the remaining weights that a round removes. ``retraining`` (Renda et al., 2020,
    arXiv:2003.02389): "rewind" sets weights and schedule back to the rewind step; "lr-rewind" keeps the trained
    weights and sets only the schedule back; "fine-tune" keeps the trained weights and trains on at the constant
    ``fine_tune_lr``, for as many steps."""

    name: ClassVar[str] = "lottery"
    needs_dense: ClassVar[bool] = True
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.2
    retraining: Literal["rewind", "lr-rewind", "fine-tune"] = "rewind"
    fine_tune_lr: Annotated[float, Field(gt=0)] = 1e-3

    def previous(self, sparsity: float) -> float | None:
        """One round less; a sparsity between two rounds is reached by a smaller last step."""
        return one_round_less(sparsity, self.rate)

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        before = self.previous(sparsity)
        device = pick_device(device)
        dense = dense or train_dense(
            model, data, recipe, seed, scope=self.scope, device=device, progress=progress
        )
        if before is None:
            previous = dense
        elif previous is None:
            previous = self.find(
                model, data, before, recipe, seed, dense=dense, device=device, progress=progress
            )
        within = None if previous is dense else previous.mask
        mask = Mask.top(scores(previous.model, self.scope), 1 - sparsity, within=within)
        state = dense.rewind if self.retraining == "rewind" else state_of(previous.model)
        schedule = recipe
        if self.retraining == "fine-tune":
            schedule = recipe.model_copy(update=dict(schedule="constant", lr=self.fine_tune_lr, warmup=0.0))
        network, training = retrain(
            dense.model, state, mask, data, schedule, seed, device=device, progress=progress
        )
        return make_ticket(
            self, network, mask, data, sparsity, recipe, seed, training, device, start=previous
        )
