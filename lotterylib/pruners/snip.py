"""SNIP: connection sensitivity at initialisation (Lee et al., 2019, arXiv:1810.02340).

    score(θ) = |θ ⊙ ∂L/∂θ|

L is the mean cross-entropy of one mini-batch of training images: to first order, how much the loss would change if the
weight were cut. The paper divides the scores by their sum, which changes no ranking. Pruning in several steps, scored
anew each time, is the iterative variant (de Jorge et al., 2021, arXiv:2006.09081).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..machine.devices import device_of
from ..masks import Scope
from .base import Look, Pruner, register
from .scoring import Scores, draw, gradients, scoring_copy, weights_of


def scores(
    model: nn.Module, images: Tensor, labels: Tensor, *, batches: int = 1, scope: Scope = "all"
) -> Scores:
    """Return |θ · ∂L/∂θ| of every prunable weight, higher = keep; name → tensor of the weight's shape, float32.

    ``images`` [N, C, H, W] in [0, 1], ``labels`` [N]; with ``batches`` they are taken in that many pieces whose
    gradients are averaged. BatchNorm is in train mode, as in the first step of training: an untrained network's
    running statistics normalise nothing. The model is left as found.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> scores(layer, torch.rand(8, 4), torch.zeros(8, dtype=torch.int64))["weight"].shape
        torch.Size([2, 4])
    """
    device = device_of(model)
    with scoring_copy(model, train=True) as copied:
        weights = weights_of(copied, scope)
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for part, truth in zip(images.chunk(batches), labels.chunk(batches), strict=True):
            # a copy: the network may normalise in place
            loss = cross_entropy(copied(part.to(device, copy=True)), truth.to(device))
            for name, gradient in gradients(loss, weights).items():
                total[name] += gradient * (len(part) / len(images))
        return {name: (weight * total[name]).detach().abs() for name, weight in weights.items()}


@register
class Snip(Pruner):
    """``batches`` mini-batches of ``batch_size`` training images, their gradients averaged; ``iterations``: pruning
    steps, 1 as in the paper."""

    name = "snip"
    look = Look("SNIP", "#7F4A1E", "D")
    batch_size: Annotated[int, Field(ge=1)] = 128
    batches: Annotated[int, Field(ge=1)] = 1
    iterations: Annotated[int, Field(ge=1)] = 1

    @property
    def steps(self) -> int:
        return self.iterations

    def scores(self, model, data, seed):
        images, labels = draw(data, self.batches * self.batch_size, seed, "snip")
        return scores(model, images, labels, batches=self.batches, scope=self.scope)

    def passes(self, data):
        """Forward and backward (twice a forward) of each image, each time."""
        return 3.0 * min(self.batches * self.batch_size, len(data.train[1])) * self.iterations
