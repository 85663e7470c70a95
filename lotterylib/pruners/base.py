"""The base of all pruners. A pruner is four separate ideas, each a small method with a default:

- score, ``scores()``: which weights are worth keeping
- allocate, ``allocate()``: how many of them each layer keeps
- schedule, ``steps``, ``previous()`` and ``schedule()``: at once, in steps before training, in rounds, or while the network
  trains
- start, ``start`` and ``state()``: from which weights the survivors train

``find`` is the same for all of them.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from ..datasets import Dataset
from ..efficiency import macs
from ..errors import SettingError
from ..machine.devices import describe_device, pick_device
from ..machine.numerics import numerics
from ..masks import Mask, Scope, prunable
from ..registry import Registry
from ..ticket import Ticket, TicketRecord
from ..training import MaskUpdate, Recipe, State, Training, train
from .scoring import Scores, iterate

Device = str | torch.device | None


class Look(NamedTuple):
    """A pruner in figures: its short label, colour and marker."""

    label: str
    colour: str
    marker: str


class Start(Enum):
    """The network that a method prunes, which says when its masks are decided."""

    UNTRAINED = "the untrained network"
    """Masks are decided before training."""

    TRAINED = "the trained dense network"
    """Masks are decided after a dense training."""

    ROUNDS = "its own ticket of the round before"
    """Masks are decided after each of many trainings."""

    DURING = "the network while it trains"
    """Masks are decided again and again during training."""


@dataclass
class Origin:
    """The start of a ticket: ``model``, a copy of the network to score, whose weights may be changed; ``full``, the
    dense network; ``state``, what survivors train from (empty: the model as it is), from ``step`` on; ``within``, the only
    weights left; ``cost``, that of the tickets before (None if it is not known)."""

    model: nn.Module
    full: nn.Module
    state: State = field(default_factory=dict)
    within: Mask | None = None
    step: int = 0
    cost: float | None = 0.0


@dataclass
class Pruned:
    """All that is trained: a network at its starting weights, and its mask. ``notes`` go into the ticket's record;
    ``rewind`` is kept in the ticket for the round after."""

    model: nn.Module
    mask: Mask
    notes: TicketRecord = field(default_factory=TicketRecord)
    rewind: State | None = None


class Pruner(BaseModel, ABC):
    """A way to find a ticket. Fields are its settings; an unknown one is refused.

    ``look`` is how figures show it; without one it goes by its name. Legends list those of lower ``rank`` first.
    ``version`` rises when the same settings would give another ticket.
    ``called`` is its name in a sentence, where that is not the label of its look.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    look: ClassVar[Look | None] = None
    called: ClassVar[str] = ""
    rank: ClassVar[int] = 3
    start: ClassVar[Start] = Start.UNTRAINED
    version: ClassVar[int] = 1

    scope: Scope = "all"

    @abstractmethod
    def scores(self, model: nn.Module, data: Dataset, seed: int) -> Scores:
        """Return a score for each prunable weight, higher = keep: weight name → tensor of its shape. The model is
        left as found."""

    def allocate(self, scores: Scores, density: float, within: Mask) -> Mask:
        """Return the mask of exactly ``round(density · n)`` weights; by default one ranking decides over all layers."""
        return Mask.top(scores, density, within=within)

    @property
    def steps(self) -> int:
        """Number of steps in which ``mask`` gets to its density, each scored on what the one before left."""
        return 1

    def previous(self, sparsity: float) -> float | None:
        """Return the sparsity of its own ticket that this one is pruned from; None if that is the dense network."""
        return None

    def schedule(self, total: int, sparsity: float, seed: int) -> MaskUpdate | None:
        """Return how the mask moves in a training of ``total`` steps; None if it stays."""
        return None

    def state(self, parent: Ticket, dense: Ticket) -> State | None:
        """Return what survivors of a trained network start from: by default the dense network's rewind step."""
        return dense.rewind

    def training(self, recipe: Recipe) -> Recipe:
        """Return the recipe by which the pruned network is trained."""
        return recipe

    def passes(self, data: Dataset) -> float:
        """Return what scoring costs, in dense forward passes of one image; a backward pass costs as much as two."""
        return 0.0

    def dense_share(self, total: int) -> float:
        """Return how far from the ticket's multiply-adds to the dense network's a training step lies on average:
        0 if the network is as sparse as the ticket from the first step on."""
        return 0.0

    def check(self, sparsity: float) -> None:
        """Raise ``SettingError`` for a sparsity that this method cannot reach."""
        check_sparsity(sparsity)

    @property
    def needs_dense(self) -> bool:
        """True if it starts from the trained dense network of the same seed."""
        return self.start in (Start.TRAINED, Start.ROUNDS)

    def mask(
        self, model: nn.Module, data: Dataset, sparsity: float, seed: int, within: Mask | None = None
    ) -> Mask:
        """Return the mask that training begins with, of weights ``within`` alone. The model is left as found."""
        self.check(sparsity)

        def score(network: nn.Module) -> Scores:
            return self.scores(network, data, seed)

        how = (1 - sparsity, self.steps, self.scope)
        return iterate(score, model, *how, allocate=self.allocate, within=within)

    def prune(self, origin: Origin, data: Dataset, sparsity: float, seed: int) -> Pruned:
        """Return the network to train. By default it keeps its size, under ``mask``."""
        began = time.perf_counter()
        mask = self.mask(origin.model, data, sparsity, seed, origin.within)
        seconds = time.perf_counter() - began
        if origin.state:
            origin.model.load_state_dict(origin.state)
        return Pruned(origin.model, mask, {"mask_seconds": seconds} if self.start is Start.UNTRAINED else {})

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
        """Prune and train a copy of ``model``, an untrained network, which is left as it is.

        Args:
            sparsity: Share of prunable weights to remove, in [0, 1). The ticket keeps exactly
                ``round((1 − sparsity) · n)`` of the n prunable weights.
            dense: The trained dense network of the seed, if ``needs_dense``; by default it is trained here.
            previous: The ticket of ``previous(sparsity)``; by default it is found here.

        Raises:
            SettingError: for a sparsity outside [0, 1), or a network that has been trained.
            DivergedError: if a training diverges.
        """
        self.check(sparsity)
        task = Task(data, recipe, seed, pick_device(device), progress)
        origin = self._origin(model, task, sparsity, dense, previous)
        # which weights stay should depend neither on how a chip rounds nor, where that is asked for, on the run
        with numerics(tf32=False, deterministic=recipe.deterministic):
            pruned = self.prune(origin, data, sparsity, seed)
        own = self.training(recipe)
        total = own.total_steps(len(data.train[1]))
        update = self.schedule(total, sparsity, seed)
        training = train(
            pruned.model, data, own, pruned.mask, seed, start=origin.step, update=update, device=task.device, progress=progress
        )  # fmt: skip
        mask, share = training.mask or pruned.mask, self.dense_share(total)
        record = task.record(pruned.model, training, mask, origin.full, self, share, origin.cost)
        record |= {"requested_sparsity": sparsity, **pruned.notes}
        if update is not None:
            record["updates"] = training.updates
        return Ticket(pruned.model, mask, record, pruned.rewind)

    def _origin(
        self, model: nn.Module, task: Task, sparsity: float, dense: Ticket | None, previous: Ticket | None
    ) -> Origin:
        """Return a copy of what is pruned: of the model, or of the trained network, which is made if it is not given."""
        if dense is None or not self.needs_dense:
            check_untrained(model)
        if not self.needs_dense:
            return Origin(copy.deepcopy(model).to(task.device), model)
        data, recipe, seed, device, progress = task
        dense = dense or train_dense(
            model, data, recipe, seed, scope=self.scope, device=device, progress=progress
        )
        parent, before = dense, self.previous(sparsity)
        if before is not None:
            parent = previous or self.find(
                model, data, before, recipe, seed, dense=dense, device=device, progress=progress
            )
        state = self.state(parent, dense)
        if state is None:
            raise SettingError(
                "the dense ticket holds no state of the rewind step; train it with train_dense"
            )
        return Origin(
            copy.deepcopy(parent.model).to(device),
            dense.model,
            state,
            within=None if parent is dense else parent.mask,
            step=recipe.rewind_step(len(data.train[1])),
            cost=1.0 if parent.record.get("pruner") == "dense" else parent.record.get("cost"),
        )


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
    """Train the dense network of a seed from a copy of ``model``; the ticket holds the state at the rewind step.

    Example:
        >>> from lotterylib import datasets, models
        >>> data, network = datasets.load("digits", limit=20), models.build("lenet", classes=10, channels=1)
        >>> recipe = Recipe(epochs=1, batch_size=10, warmup=0, rewind=0)
        >>> train_dense(network, data, recipe, seed=0, device="cpu", progress=False).sparsity
        0.0
    """
    task, model = Task(data, recipe, seed, pick_device(device), progress), copy.deepcopy(model)
    training = train(model, data, recipe, None, seed, device=task.device, progress=progress)
    mask = Mask.ones(model, scope)
    return Ticket(model, mask, task.record(model, training, mask, model), training.rewind)


class Task(NamedTuple):
    """The part of a ticket's training that no method decides."""

    data: Dataset
    recipe: Recipe
    seed: int
    device: torch.device
    progress: bool

    def record(
        self,
        model: nn.Module,
        training: Training,
        mask: Mask,
        full: nn.Module,
        pruner: Pruner | None = None,
        dense_share: float = 0.0,
        earlier: float | None = 0.0,
    ) -> TicketRecord:
        """Return how a network came to be. ``full``: the dense network; ``earlier``: the cost of the tickets before."""
        images, shape = len(self.data.train[1]), self.data.train[0].shape[1:]
        whole = prunable(full, pruner.scope).values() if pruner else mask.values()
        total = sum(weight.numel() for weight in whole)
        sparse = macs.forward(macs.multiply_adds(model, shape), mask)
        dense = macs.forward(macs.multiply_adds(full, shape))
        cost = macs.relative(
            sparse + dense_share * (dense - sparse),
            dense,
            training.images,
            self.recipe.total_steps(images) * min(self.recipe.batch_size, images),
            training.update_images,
            pruner.passes(self.data) if pruner else 0.0,
        )
        record: TicketRecord = {
            "pruner": pruner.name if pruner else "dense",
            "settings": pruner.model_dump() if pruner else {},
            "requested_sparsity": 0.0,
            "sparsity": 1 - mask.kept / total,
            "kept": mask.kept,
            "prunable": total,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seed": self.seed,
            "data": {"name": self.data.name, "train": images, "val": len(self.data.val[1])},
            "model": getattr(model, "spec", {"name": type(model).__name__}),
            "recipe": self.recipe.model_dump(),
            "losses": training.losses,
            "images_seen": training.images,
            "multiply_adds": sparse,
            "multiply_adds_dense": dense,
            "cost": None if earlier is None else earlier + cost,
            "seconds": training.seconds,
            "precision": training.precision,
            "device": describe_device(self.device),
            "threads": torch.get_num_threads(),
        }
        if training.processes > 1:
            record["processes"] = training.processes
        return record


def check_sparsity(sparsity: float) -> None:
    """Raise ``SettingError`` unless 0 ≤ sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise SettingError(f"sparsity must lie in [0, 1) as a fraction, got {sparsity}")


def check_untrained(model: nn.Module) -> None:
    """Raise ``SettingError`` for a network whose BatchNorm layers have counted batches: it has been trained."""
    for module in model.modules():
        seen = getattr(module, "num_batches_tracked", None)
        if seen is not None and seen > 0:
            raise SettingError(
                f"this method starts from an untrained network, but BatchNorm has seen {int(seen)} batches here: "
                "build the network anew, or keep a copy of it before training"
            )


def one_round_less(sparsity: float, rate: float) -> float | None:
    """Return the sparsity of the round before, if each round removes ``rate`` of what remains; None if that is dense. A
    sparsity between two rounds is reached by a smaller last step.

    Example:
        >>> round(one_round_less(1 - 0.8**3, rate=0.2), 6)
        0.36
    """
    check_sparsity(sparsity)
    keep = 1 - rate
    # rounds needed, with room for the rounding of 1 − 0.8ⁿ
    rounds = math.ceil(math.log(1 - sparsity) / math.log(keep) - 1e-6)
    return 1 - keep ** (rounds - 1) if rounds > 1 else None


PRUNERS: Registry[type[Pruner]] = Registry("pruner", "lotterylib.pruners", name_of=lambda pruner: pruner.name)
P = TypeVar("P", bound=type[Pruner])


def register(pruner: P) -> P:
    """Add a pruner under its ``name``, as a class decorator: profiles, studies and figures then know it.

    Raises:
        SettingError: if it has no name or no scores, or the name is another's.

    Example:
        >>> register(type("Nameless", (Pruner,), {}))
        Traceback (most recent call last):
        lotterylib.errors.SettingError: Nameless: a pruner needs a name (of the class) and a method scores
    """
    if not isinstance(getattr(pruner, "name", None), str) or inspect.isabstract(pruner):
        raise SettingError(f"{pruner.__name__}: a pruner needs a name (of the class) and a method scores")
    PRUNERS.register(pruner)
    return pruner
