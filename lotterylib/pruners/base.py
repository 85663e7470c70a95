"""What all pruners share: settings, the way from a mask to a trained ticket, and the record of it."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from ..datasets import Dataset
from ..efficiency import macs
from ..errors import SettingError
from ..machine.devices import describe_device, pick_device
from ..masks import Mask, Scope, prunable
from ..ticket import Ticket
from ..training import Recipe, State, Training, train

Device = str | torch.device | None


class Pruner(BaseModel, ABC):
    """A way to find a ticket. Fields are its settings; an unknown one is refused.

    ``needs_dense`` says that it starts from the trained dense network of the same seed. An iterative method also
    starts from its own ticket of ``previous(sparsity)``. Callers who have these at hand pass them to ``find``; else
    ``find`` makes them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    needs_dense: ClassVar[bool] = False

    scope: Scope = "all"

    def previous(self, sparsity: float) -> float | None:
        """Sparsity of the ticket that this one is pruned from; None if there is none between it and dense."""
        return None

    @abstractmethod
    def find(
        self,
        model: nn.Module,
        data: Dataset,
        sparsity: float,
        recipe: Recipe,
        seed: int,
        *,
        dense: Ticket | None = None,
        previous: Ticket | None = None,
        device: Device = None,
        progress: bool = True,
    ) -> Ticket:
        """Prunes and trains a copy of ``model``, an untrained network, which is left as it is.

        ``sparsity`` is the share of prunable weights to remove, in [0, 1). The ticket keeps exactly
        ``round((1 − sparsity) · n)`` of the n prunable weights.

        Raises ``SettingError`` for a sparsity outside [0, 1), ``DivergedError`` if a training diverges.
        """


class AtInitialisation(Pruner):
    """Prunes the untrained network, then trains what is left from the first step on. Subclasses give the mask."""

    @abstractmethod
    def mask(self, model: nn.Module, data: Dataset, sparsity: float, seed: int) -> Mask:
        """The mask for an untrained model, which must be left as found."""

    def passes(self, data: Dataset) -> float:
        """What ``mask`` costs, in dense forward passes of one image; a backward pass costs as much as two."""
        return 0.0

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        check_sparsity(sparsity)
        device = pick_device(device)
        model = copy.deepcopy(model).to(device)
        began = time.perf_counter()
        mask = self.mask(model, data, sparsity, seed)
        seconds = time.perf_counter() - began
        training = train(model, data, recipe, mask, seed, device=device, progress=progress)
        ticket = make_ticket(
            self, model, mask, data, sparsity, recipe, seed, training, device, passes=self.passes(data)
        )
        ticket.record["mask_seconds"] = seconds
        return ticket


def train_dense(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    scope: Scope = "all",
    device: Device = None,
    progress: bool = True,
) -> Ticket:
    """The dense network of a seed, trained from a copy of ``model``; holds the state at the rewind step."""
    device = pick_device(device)
    model = copy.deepcopy(model)
    training = train(model, data, recipe, None, seed, device=device, progress=progress)
    ticket = make_ticket(None, model, Mask.ones(model, scope), data, 0.0, recipe, seed, training, device)
    ticket.rewind = training.rewind
    return ticket


def retrain(
    model: nn.Module,
    state: State | None,
    mask: Mask,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    device: Device,
    progress: bool,
) -> tuple[nn.Module, Training]:
    """Trains a copy of ``model`` from ``state`` (every parameter and buffer) under ``mask``, from the recipe's rewind
    step to its end, with a fresh optimizer; schedule, image order and augmentation resume at that step.

    Raises ``SettingError`` if there is no state: a dense ticket that was stored without its rewind point.
    """
    if state is None:
        raise SettingError("the dense ticket holds no state of the rewind step; train it with train_dense")
    model = copy.deepcopy(model)
    model.load_state_dict(state)
    start = recipe.rewind_step(len(data.train[1]))
    return model, train(model, data, recipe, mask, seed, start=start, device=device, progress=progress)


def make_ticket(
    pruner: Pruner | None,
    model: nn.Module,
    mask: Mask,
    data: Dataset,
    sparsity: float,
    recipe: Recipe,
    seed: int,
    training: Training,
    device: torch.device,
    *,
    start: Ticket | None = None,
    full: nn.Module | None = None,
    passes: float = 0.0,
) -> Ticket:
    """The trained model with the record of how it came to be.

    ``start``: the trained ticket that it was made from, whose cost it carries on; ``full``: the dense network, where
    the ticket's is physically smaller; ``passes``: dense forward passes that scoring took (see ``cost``).
    """
    total = mask.total if full is None else sum(p.numel() for p in prunable(full, pruner.scope).values())
    counts = macs.multiply_adds(model, data.train[0].shape[1:])
    dense_counts = counts if full is None else macs.multiply_adds(full, data.train[0].shape[1:])
    images = recipe.total_steps(len(data.train[1])) * min(recipe.batch_size, len(data.train[1]))
    spent = macs.relative(
        macs.forward(counts, mask), macs.forward(dense_counts), training.images, images,
        training.update_images, passes,
    )  # fmt: skip
    before = _cost_of(start) if start else 0.0
    record: dict[str, Any] = {
        "pruner": pruner.name if pruner else "dense",
        "settings": pruner.model_dump() if pruner else {},
        "requested_sparsity": sparsity,
        "sparsity": 1 - mask.kept / total,
        "kept": mask.kept,
        "prunable": total,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "data": {"name": data.name, "train": len(data.train[1]), "val": len(data.val[1])},
        "model": getattr(model, "spec", {"name": type(model).__name__}),
        "recipe": recipe.model_dump(),
        "losses": training.losses,
        "images_seen": training.images,
        "multiply_adds": macs.forward(counts, mask),
        "multiply_adds_dense": macs.forward(dense_counts),
        "cost": None if before is None else before + spent,
        "seconds": training.seconds,
        "precision": training.precision,
        **({"processes": training.processes} if training.processes > 1 else {}),
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
    }
    return Ticket(model, mask, record)


def _cost_of(ticket: Ticket) -> float | None:
    """None for a pruned ticket whose record does not say (made by an earlier version)."""
    return 1.0 if ticket.record.get("pruner") == "dense" else ticket.record.get("cost")


def check_sparsity(sparsity: float) -> None:
    """Raises ``SettingError`` unless 0 ≤ sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise SettingError(f"sparsity must lie in [0, 1) as a fraction, got {sparsity}")


def one_round_less(sparsity: float, rate: float) -> float | None:
    """Sparsity of the round before, if each round removes ``rate`` of what remains; None if that is dense. A sparsity
    between two rounds is reached by a smaller last step."""
    check_sparsity(sparsity)
    keep = 1 - rate
    # rounds needed, with room for the rounding of 1 − 0.8ⁿ
    rounds = math.ceil(math.log(1 - sparsity) / math.log(keep) - 1e-6)
    return 1 - keep ** (rounds - 1) if rounds > 1 else None
