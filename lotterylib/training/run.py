"""A training on its way: everything that one step reads and changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..masks import Mask
from ..rng import derive, reseed
from .group import Group
from .recipe import Recipe
from .state import MaskUpdate, Training


@dataclass
class Run:
    """A network in training, after ``step`` of ``total`` steps.

    Attributes:
        forward: The model's forward pass, compiled or shared with other processes.
        count: Number of training images.
        layout: Memory layout of images and weights.
        losses: Mean loss of each step of this epoch so far.
        result: What the training leaves; its ``mask`` and ``precision`` are those in use.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    count: int
    seed: int
    step: int
    update: MaskUpdate | None
    group: Group
    layout: torch.memory_format
    result: Training
    forward: Callable[[Tensor], Tensor] = field(init=False)
    losses: list[Tensor] = field(default_factory=list)
    began: float = 0.0

    def __post_init__(self):
        self.total = self.recipe.total_steps(self.count)
        self.per_epoch = self.recipe.steps_per_epoch(self.count)
        self.batch = min(self.recipe.batch_size, self.count)
        self.start = self.step
        self.set_mask(self.result.mask)

    def set_mask(self, mask: Mask | None) -> None:
        """Prune by this mask from now on. Raise ``SettingError`` if it does not fit the model."""
        self.result.mask, self._masked = mask, []
        if mask is not None:
            weights = dict(self.model.named_parameters())
            mask.check_matches({n: w.shape for n, w in weights.items()})
            self._masked = [(weights[n].data, mask[n].to(weights[n])) for n in mask]

    def enforce_mask(self) -> None:
        """Set removed weights to 0."""
        for weight, keep in self._masked:
            weight.mul_(keep)

    def backward(self, images: Tensor, labels: Tensor) -> None:
        """Compute the batch's loss and its gradients, seeded and with the learning rate of this step."""
        # for layers that draw at random, such as dropout
        rank = [self.group.rank] if self.group.rank else []
        reseed(images.device, derive(self.seed, "step", self.step, *rank))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.recipe.lr_at(self.step, self.count)
        half = self.result.precision == "bfloat16"
        loss = batch_loss(
            self.forward,
            images.contiguous(memory_format=self.layout),
            labels,
            half,
            self.recipe.label_smoothing,
        )
        self.model.zero_grad()
        loss.backward()
        self.losses.append(loss.detach())
        self.result.images += self.batch

    def updates_mask(self) -> bool:
        """Return whether this step moves the mask in place of the weights."""
        return self.update is not None and self.update.due(self.step, self.total)

    def move_mask(self) -> None:
        """Let ``update`` move the mask, and note how many connections it grew (it drops as many)."""
        before = self.result.mask
        after = self.update.apply(self.model, self.optimizer, before, self.step, self.total)
        self.group.check_agreed(after, self.step)
        self.set_mask(after)
        grown = sum(int((after[n].cpu() & ~before[n].cpu()).sum()) for n in after)
        moved: dict[str, Any] = {
            "step": self.step,
            "grown": grown,
            "changed_share": grown / max(1, after.kept),
        }
        self.result.updates.append(moved)
        self.result.update_images += self.batch

    def elapsed(self) -> float:
        """Return seconds of training so far, those before a checkpoint included."""
        return time.perf_counter() - self.began


def batch_loss(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    bfloat16: bool,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the batch's mean cross-entropy; the forward pass is in bfloat16 where asked for, the loss in float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        outputs = forward(images)
    return nn.functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer."""
    settings: dict[str, Any] = dict(lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
