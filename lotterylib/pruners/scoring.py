"""Shared code of the methods that score the weights of an untrained network by gradients."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..datasets import Dataset
from ..machine.devices import device_of
from ..masks import Mask, Scope, prunable
from ..rng import derive, forked, generator

Scores = dict[str, Tensor]


@contextlib.contextmanager
def scoring_copy(model: nn.Module, *, train: bool) -> Iterator[nn.Module]:
    """Give a copy of the model to score, in train or eval mode, all weights with gradients.

    Whatever scoring does, the model keeps its weights, buffers, ``.grad`` and modes, also if scoring raises; the
    caller's random state comes back. Layers that draw at random (dropout) draw the same each time.
    """
    copied = copy.deepcopy(model).train(train).requires_grad_(True)
    with forked(device_of(copied)), torch.enable_grad():
        torch.manual_seed(derive(0, "scoring"))
        yield copied


def gradients(value: Tensor, weights: dict[str, Tensor], *, graph: bool = False) -> Scores:
    """Return ∂value/∂θ of each weight, 0 for one that ``value`` does not depend on. ``graph=True``: to be differentiated
    again. ``.grad`` is neither read nor written, so no gradient of before can get in."""
    found = torch.autograd.grad(
        value, list(weights.values()), create_graph=graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


def iterate(
    score: Callable[[nn.Module], Scores],
    model: nn.Module,
    density: float,
    iterations: int,
    scope: Scope = "all",
    *,
    allocate: Callable[[Scores, float, Mask], Mask] = Mask.top,
    within: Mask | None = None,
) -> Mask:
    """Return the mask after ``iterations`` steps to densities ρ^(k/n), each scored on what the step before left.

    A weight that is out (or outside ``within`` at first) stays out: whatever its new score, it is not among those to
    choose from. The model is left as found.
    """
    mask = within or Mask.ones(model, scope)
    copied = copy.deepcopy(model)
    for k in range(1, iterations + 1):
        mask = allocate(score(mask.apply_(copied)), density ** (k / iterations), mask)
    return mask


def draw(data: Dataset, count: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Return ``count`` training images (all, if there are fewer) and their labels, drawn without replacement."""
    images, labels = data.train
    chosen = torch.randperm(len(labels), generator=generator(seed, purpose))[:count]
    return images[chosen], labels[chosen]


def draw_balanced(data: Dataset, per_class: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Return ``per_class`` training images of each class (all of a class that has fewer) and their labels."""
    images, labels = data.train
    order = torch.randperm(len(labels), generator=generator(seed, purpose))
    shuffled = labels.cpu()[order]
    chosen = torch.cat([order[shuffled == c][:per_class] for c in range(data.classes)])
    return images[chosen], labels[chosen]


def weights_of(model: nn.Module, scope: Scope) -> dict[str, Tensor]:
    """Return the prunable weights themselves, to differentiate by."""
    return dict(prunable(model, scope))
