"""SynFlow: iterative synaptic flow, without a look at the data (Tanaka et al., 2020, arXiv:2006.05467).

    R = Σ f(1; |θ|)            the outputs' sum for an all-ones input, every parameter replaced by its absolute value
    score(θ) = |θ| ⊙ ∂R/∂|θ|   how much of R flows through the weight

Without biases every layer that all paths pass through has scores that add up to the same R: a layer of few weights has
large ones, and so is not emptied while another can give. That holds only if the scores follow the pruning: density ρ
goes down in n = 100 steps, ρ^(k/n) after step k. A layer that a shortcut bypasses carries only a part of R and has no
such protection; so the best weight of each layer is held as long as there is one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from ..datasets import Dataset
from ..errors import SettingError
from ..machine.devices import device_of
from ..masks import Mask, Scope
from ..models import Normalize
from .base import AtInitialisation, check_sparsity
from .scoring import Scores, gradients, iterate, scoring_copy, weights_of


def scores(model: nn.Module, input_shape: Sequence[int], *, scope: Scope = "all") -> Scores:
    """|θ · ∂R/∂θ| of every prunable weight, higher = keep; name → tensor of the weight's shape, float64 (float32
    overflows on deep networks without BatchNorm).

    ``input_shape``: of one image, [C, H, W]; a leading batch of 1 may be given. Normalisation by statistics is switched
    off, that of the pixels and of BatchNorm alike: a mean to subtract would make activations negative and break the
    conservation of R. The model is left as found.
    """
    shape = tuple(input_shape)
    shape = shape if len(shape) == 4 else (1, *shape)
    with scoring_copy(model, train=False) as twin:
        _make_positive_(twin.double())
        weights = weights_of(twin, scope)
        flow = twin(torch.ones(shape, dtype=torch.float64, device=device_of(twin))).sum()
        return {name: (weights[name] * g).detach().abs() for name, g in gradients(flow, weights).items()}


@torch.no_grad()
def _make_positive_(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.abs_()
    for module in model.modules():
        if isinstance(module, Normalize):
            module.mean.zero_()
            module.std.fill_(1)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.zero_()
            module.running_var.fill_(1)


def mask(
    model: nn.Module,
    input_shape: Sequence[int],
    density: float,
    iterations: int = 100,
    *,
    scope: Scope = "all",
) -> Mask:
    """The mask after ``iterations`` steps; keeps exactly ``round(density · n)`` weights. The model is left as found.

    Raises ``SettingError`` for a density outside [0, 1] or no iteration.
    """
    if iterations < 1:
        raise SettingError(f"iterations must be at least 1, got {iterations}")

    def score(network: nn.Module) -> Scores:
        found, weights = scores(network, input_shape, scope=scope), weights_of(network, scope)
        for name, values in found.items():
            best = values.masked_fill(weights[name] == 0, -1).argmax()  # not one that is out already
            values.view(-1)[best] = torch.inf
        return found

    return iterate(score, model, density, iterations, scope)


class SynFlow(AtInitialisation):
    """``iterations``: pruning steps; with 1, all but one weight of a layer may go."""

    name: ClassVar[str] = "synflow"
    iterations: Annotated[int, Field(ge=1)] = 100

    def mask(self, model: nn.Module, data: Dataset, sparsity: float, seed: int) -> Mask:
        check_sparsity(sparsity)
        # of the data, the images' shape alone
        return mask(model, data.train[0].shape[1:], 1 - sparsity, self.iterations, scope=self.scope)

    def passes(self, data: Dataset) -> float:
        """Forward and backward of one image, each time."""
        return 3.0 * self.iterations
