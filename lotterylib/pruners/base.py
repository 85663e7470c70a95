"""What all pruners share: settings, the way from a mask to a trained ticket, and the record of it."""

from __future__ import annotations

import copy
import platform
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from ..datasets import Dataset
from ..errors import SettingError
from ..masks import Mask, Scope
from ..ticket import Ticket
from ..training import Recipe, State, Training, pick_device, train

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

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        check_sparsity(sparsity)
        device = pick_device(device)
        model = copy.deepcopy(model).to(device)
        mask = self.mask(model, data, sparsity, seed)
        training = train(model, data, recipe, mask, seed, device=device, progress=progress)
        return make_ticket(self, model, mask, data, sparsity, recipe, seed, training, device)


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
    dense: Ticket,
    state: State | None,
    mask: Mask,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    device: Device,
    progress: bool,
) -> tuple[nn.Module, Training]:
    """Trains from ``state`` (every parameter and buffer) under ``mask``, from the recipe's rewind step to its end, with
    a fresh optimizer; schedule, image order and augmentation resume at that step.

    Raises ``SettingError`` if there is no state: a dense ticket that was stored without its rewind point.
    """
    if state is None:
        raise SettingError("the dense ticket holds no state of the rewind step; train it with train_dense")
    model = copy.deepcopy(dense.model)
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
) -> Ticket:
    """The trained model with the record of how it came to be."""
    record: dict[str, Any] = {
        "pruner": pruner.name if pruner else "dense",
        "settings": pruner.model_dump() if pruner else {},
        "requested_sparsity": sparsity,
        "sparsity": mask.sparsity,
        "kept": mask.kept,
        "prunable": mask.total,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "data": {"name": data.name, "train": len(data.train[1]), "val": len(data.val[1])},
        "model": getattr(model, "spec", {"name": type(model).__name__}),
        "recipe": recipe.model_dump(),
        "losses": training.losses,
        "images_seen": training.images,
        "seconds": training.seconds,
        "precision": training.precision,
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
    }
    return Ticket(model, mask, record)


def describe_device(device: torch.device) -> str:
    """A name a reader can place, e.g. "cpu (x86_64, AVX512)" or "cuda (NVIDIA A100)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def check_sparsity(sparsity: float) -> None:
    """Raises ``SettingError`` unless 0 ≤ sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise SettingError(f"sparsity must lie in [0, 1) as a fraction, got {sparsity}")
