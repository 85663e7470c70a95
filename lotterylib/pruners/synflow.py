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
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ..errors import SettingError
from ..machine.devices import device_of
from ..masks import Mask, Scope
from ..models import Normalize
from .base import Look, Pruner, register
from .scoring import Scores, gradients, iterate, scoring_copy, weights_of


def scores(model: nn.Module, input_shape: Sequence[int], *, scope: Scope = "all") -> Scores:
    """Return |θ · ∂R/∂θ| of every prunable weight, higher = keep; name → tensor of the weight's shape, float64 (float32
    overflows on deep networks without BatchNorm).

    ``input_shape``: of one image, [C, H, W]; a leading batch of 1 may be given. Normalisation by statistics is switched
    off, that of the pixels and of BatchNorm alike: a mean to subtract would make activations negative and break the
    conservation of R. The model is left as found.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, -3)
        >>> scores(layer, (2,))["weight"]
        tensor([[3., 3.]], dtype=torch.float64)
    """
    shape = tuple(input_shape)
    shape = shape if len(shape) == 4 else (1, *shape)
    with scoring_copy(model, train=False) as copied:
        _make_positive_(copied.double())
        weights = weights_of(copied, scope)
        flow = copied(torch.ones(shape, dtype=torch.float64, device=device_of(copied))).sum()
        return {name: (weights[name] * g).detach().abs() for name, g in gradients(flow, weights).items()}


@torch.no_grad()
def _make_positive_(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.abs_()
    for module in model.modules():
        if isinstance(module, Normalize):
            module.mean.zero_()
            module.std.fill_(1)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.reset_running_stats()


def mask(
    model: nn.Module,
    input_shape: Sequence[int],
    density: float,
    iterations: int = 100,
    *,
    scope: Scope = "all",
) -> Mask:
    """Return the mask after ``iterations`` steps; it keeps exactly ``round(density · n)`` weights. The model is left as found.

    Raises:
        SettingError: for a density outside [0, 1] or no iteration.

    Example:
        >>> mask(nn.Linear(10, 10, bias=False), (10,), density=0.37, iterations=5).kept
        37
    """
    if iterations < 1:
        raise SettingError(f"iterations must be at least 1, got {iterations}")
    return iterate(
        lambda network: protected_scores(network, input_shape, scope), model, density, iterations, scope
    )


def protected_scores(model: nn.Module, input_shape: Sequence[int], scope: Scope = "all") -> Scores:
    """Return the scores, with that of each layer's best weight at infinity, so that it stays."""
    found, weights = scores(model, input_shape, scope=scope), weights_of(model, scope)
    for name, values in found.items():
        # not one that is out already
        best = values.masked_fill(weights[name] == 0, -1).argmax()
        values.view(-1)[best] = torch.inf
    return found


@register
class SynFlow(Pruner):
    """``iterations``: pruning steps; with 1, all but one weight of a layer may go."""

    name = "synflow"
    look = Look("SynFlow", "#8A4FBF", "P")
    iterations: Annotated[int, Field(ge=1)] = 100

    @property
    def steps(self) -> int:
        return self.iterations

    def scores(self, model, data, seed):
        # of the data, the images' shape alone
        return protected_scores(model, data.train[0].shape[1:], self.scope)

    def passes(self, data):
        """Forward and backward of one image, each time."""
        return 3.0 * self.iterations
