"""GraSP: gradient signal preservation (Wang et al., 2020, arXiv:2002.07376).

    score(θ) = θ ⊙ Hg,    g = ∂L/∂θ,  H = ∂²L/∂θ²,  L = cross-entropy of logits / T

Cutting a weight (δ = −θ) changes the squared length of the gradient by 2·δᵀHg = −2·θ·(Hg): a weight with large
*positive* θ·(Hg) carries the gradient and stays, one with a negative product stands in its way and goes first. There is
no absolute value: the sign is the method.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..datasets import Dataset
from ..masks import Mask, Scope
from .base import AtInitialisation, check_sparsity
from .scoring import Scores, device_of, draw_balanced, gradients, scoring_copy, weights_of


def scores(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    temperature: float = 200.0,
    *,
    scope: Scope = "all",
) -> Scores:
    """θ · (Hg) of every prunable weight, higher = keep (negative ones go first); name → tensor of the weight's shape.

    ``images`` [N, C, H, W] in [0, 1], ``labels`` [N]. H and g are taken over the prunable weights. ``temperature``
    divides the logits, so that an untrained network's probabilities are about even. BatchNorm is in train mode, and
    the second derivative goes through the batch statistics too. The model is left as found.
    """
    device = device_of(model)
    with scoring_copy(model, train=True) as twin:
        weights = weights_of(twin, scope)
        loss = cross_entropy(twin(images.to(device)) / temperature, labels.to(device))
        g = gradients(loss, weights, graph=True)
        # Hg = ∂/∂θ Σ g·(g held fixed): one backward pass through the first, no Hessian is formed
        product = sum((g[name] * g[name].detach()).sum() for name in weights)
        hg = gradients(product, weights)
        return {name: (weight * hg[name]).detach() for name, weight in weights.items()}


class Grasp(AtInitialisation):
    """``per_class`` training images of each class are scored at once, logits divided by ``temperature``."""

    name: ClassVar[str] = "grasp"
    per_class: Annotated[int, Field(ge=1)] = 10
    temperature: Annotated[float, Field(gt=0)] = 200.0

    def mask(self, model: nn.Module, data: Dataset, sparsity: float, seed: int) -> Mask:
        check_sparsity(sparsity)
        images, labels = draw_balanced(data, self.per_class, seed, "grasp")
        return Mask.top(scores(model, images, labels, self.temperature, scope=self.scope), 1 - sparsity)

    def passes(self, data: Dataset) -> float:
        """Forward and backward (3 forward passes), then backward through both (twice as much again)."""
        return 9.0 * sum(min(self.per_class, int((data.train[1] == c).sum())) for c in range(data.classes))
