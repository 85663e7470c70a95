"""GraSP: gradient signal preservation (Wang et al., 2020, arXiv:2002.07376).

    score(θ) = θ ⊙ Hg,    g = ∂L/∂θ,  H = ∂²L/∂θ²,  L = cross-entropy of logits / T

Cutting a weight (δ = −θ) changes the squared length of the gradient by 2·δᵀHg = −2·θ·(Hg): a weight with large
*positive* θ·(Hg) carries the gradient and stays, one with a negative product stands in its way and goes first. There is
no absolute value: the sign is the method.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..machine.devices import device_of
from ..masks import Scope
from .base import Look, Pruner, register
from .scoring import Scores, draw_balanced, gradients, scoring_copy, weights_of

# images whose second derivatives are taken together
AT_ONCE = 256


def scores(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    temperature: float = 200.0,
    *,
    batches: int = 1,
    scope: Scope = "all",
) -> Scores:
    """Return θ · (Hg) of every prunable weight, higher = keep (negative ones go first); name → tensor of the weight's shape.

    ``images`` [N, C, H, W] in [0, 1], ``labels`` [N]. H and g are taken over the prunable weights, with BatchNorm in
    train mode, through its batch statistics too. ``temperature`` divides the logits: probabilities are about even then.
    ``batches``: pieces that images are taken in, for lack of memory; g and Hg are means. The model is left as found.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> scores(layer, torch.rand(8, 4), torch.zeros(8, dtype=torch.int64))["weight"].shape
        torch.Size([2, 4])
    """
    device = device_of(model)
    # every so many-th image, since those of a class lie together
    pieces = [(images[k::batches], labels[k::batches]) for k in range(min(batches, len(images)))]
    with scoring_copy(model, train=True) as copied:
        weights = weights_of(copied, scope)

        def gradient(part: Tensor, truth: Tensor, graph: bool) -> Scores:
            # a copy: the network may normalise in place
            loss = cross_entropy(copied(part.to(device, copy=True)) / temperature, truth.to(device))
            return gradients(loss * (len(part) / len(images)), weights, graph=graph)

        mean = None
        if len(pieces) > 1:
            mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for part, truth in pieces:
                for name, g in gradient(part, truth, graph=False).items():
                    mean[name] += g
        hg = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for part, truth in pieces:
            g = gradient(part, truth, graph=True)
            # Hg = ∂/∂θ Σ g·(g held fixed): one backward pass through the first, no Hessian is formed
            parts = ((g[name] * (mean or g)[name].detach()).sum() for name in weights)
            product = sum(parts, start=torch.zeros((), device=device))
            for name, part_of_hg in gradients(product, weights).items():
                hg[name] += part_of_hg
        return {name: (weight * hg[name]).detach() for name, weight in weights.items()}


@register
class Grasp(Pruner):
    """``per_class`` training images of each class are scored, logits divided by ``temperature``. They are taken at once, or
    in pieces of up to 256 where there are more."""

    name = "grasp"
    look = Look("GraSP", "#D62728", "^")
    per_class: Annotated[int, Field(ge=1)] = 10
    temperature: Annotated[float, Field(gt=0)] = 200.0

    def scores(self, model, data, seed):
        images, labels = draw_balanced(data, self.per_class, seed, "grasp")
        batches = math.ceil(len(labels) / AT_ONCE)
        return scores(model, images, labels, self.temperature, batches=batches, scope=self.scope)

    def passes(self, data):
        """Forward and backward (3 forward passes), then backward through both (twice as much again); in pieces, the
        mean gradient first, which is another 3."""
        images = sum(min(self.per_class, int((data.train[1] == c).sum())) for c in range(data.classes))
        return (9.0 if images <= AT_ONCE else 12.0) * images
