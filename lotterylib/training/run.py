"""A training: what decides it, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets import Dataset
from ..masks import Mask
from ..rng import derive, reseed
from .group import Group
from .recipe import Recipe
from .state import MaskUpdate, Training


@dataclass(frozen=True)
class Job:
    """All that decides a training, beside the weights that it begins with; arguments as in ``train``."""

    data: Dataset
    recipe: Recipe
    mask: Mask | None = None
    seed: int = 0
    start: int = 0
    update: MaskUpdate | None = None
    precision: str = "float32"

    @cached_property
    def count(self) -> int:
        """Number of training images."""
        return len(self.data.train[1])

    @cached_property
    def total(self) -> int:
        """Number of steps."""
        return self.recipe.total_steps(self.count)

    @cached_property
    def batch(self) -> int:
        """Number of images of a step."""
        return min(self.recipe.batch_size, self.count)


class Run:
    """A network in training, after ``step`` of the job's steps. ``losses``: mean loss of each step of this epoch so far;
    ``result``: what the training leaves, with the mask in use."""

    def __init__(self, model: nn.Module, job: Job, group: Group, layout: torch.memory_format):
        self.model, self.job, self.group, self.layout = model, job, group, layout
        self.optimizer = _optimizer(model, job.recipe)
        self.step = self.begin = job.start
        self.result = Training(precision=job.precision, processes=group.size)
        self.losses: list[Tensor] = []
        self.set_mask(job.mask)

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

    def compile(self) -> None:
        """Set up the forward pass: shared with the group's other processes, and compiled if the recipe says so."""
        forward = self.group.wrap(self.model)
        self.forward = torch.compile(forward) if self.job.recipe.compile else forward
        self.began = time.perf_counter() - self.result.seconds

    def backward(self, images: Tensor, labels: Tensor) -> None:
        """Compute the batch's loss and its gradients, seeded and with the learning rate of this step."""
        # for layers that draw at random, such as dropout
        rank = [self.group.rank] if self.group.rank else []
        reseed(images.device, derive(self.job.seed, "step", self.step, *rank))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.job.recipe.lr_at(self.step, self.job.count)
        images, smoothing = images.contiguous(memory_format=self.layout), self.job.recipe.label_smoothing
        loss = batch_loss(self.forward, images, labels, self.job.precision, smoothing)
        self.model.zero_grad()
        loss.backward()
        self.losses.append(loss.detach())
        self.result.images += self.job.batch

    def updates_mask(self) -> bool:
        """Return whether this step moves the mask in place of the weights."""
        return self.job.update is not None and self.job.update.due(self.step, self.job.total)

    def move_mask(self) -> None:
        """Let the job's update move the mask, and note how many connections it grew (it drops as many)."""
        before = self.result.mask
        assert self.job.update is not None and before is not None
        after = self.job.update.apply(self.model, self.optimizer, before, self.step, self.job.total)
        self.group.check_agreed(after, self.step)
        self.set_mask(after)
        grown = sum(int((after[n].cpu() & ~before[n].cpu()).sum()) for n in after)
        moved = {"step": self.step, "grown": grown, "changed_share": grown / max(1, after.kept)}
        self.result.updates.append(moved)
        self.result.update_images += self.job.batch

    def elapsed(self) -> float:
        """Return seconds of training so far, those before a checkpoint included."""
        return time.perf_counter() - self.began


def batch_loss(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    precision: str,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the batch's mean cross-entropy: the forward pass in this precision, the loss in float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = forward(images)
    return nn.functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    settings: dict[str, Any] = dict(lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
