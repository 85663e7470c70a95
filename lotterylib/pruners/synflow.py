"""SynFlow: iterative synaptic flow, without a look at the data (Tanaka et al., 2020, arXiv:2006.05467).

    R = Σ f(1; |θ|)
    score(θ) = |θ| ⊙ ∂R/∂|θ|

R is the outputs' sum for an all-ones input, every parameter replaced by its absolute value; the score says how much of it
flows through the weight.

Without biases every layer that all paths pass through has scores that add up to the same R: a layer of few weights has
large ones, and so is not emptied while another can give. That holds only if the scores follow the pruning: density ρ
goes down in n = 100 steps, ρ^(k/n) after step k. A layer that a shortcut bypasses carries only a part of R and has no
such protection; so the best weight of each layer is held as long as there is one for each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
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
    with _positive(model) as network:
        return _flow(network, input_shape, scope)


@contextlib.contextmanager
def _positive(model: nn.Module) -> Iterator[nn.Module]:
    """Give a copy in double precision, of absolute values and without statistics."""
    with scoring_copy(model, train=False) as network:
        for parameter in network.double().parameters():
            parameter.data.abs_()
        for module in network.modules():
            if isinstance(module, Normalize):
                module.mean.zero_()
                module.std.fill_(1)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                module.reset_running_stats()
        yield network


def _flow(positive: nn.Module, input_shape: Sequence[int], scope: Scope) -> Scores:
    shape = tuple(input_shape)[-3:]
    weights = weights_of(positive, scope)
    flow = positive(torch.ones(1, *shape, dtype=torch.float64, device=device_of(positive))).sum()
    return {name: (weights[name] * g).detach().abs() for name, g in gradients(flow, weights).items()}


def mask(
    model: nn.Module,
    input_shape: Sequence[int],
    density: float,
    iterations: int = 100,
    *,
    scope: Scope = "all",
    within: Mask | None = None,
) -> Mask:
    """Return the mask after ``iterations`` steps, of weights ``within`` alone; it keeps exactly ``round(density · n)`` weights.
    The model is left as found.

    Raises:
        SettingError: for a density outside [0, 1] or no iteration.

    Example:
        >>> mask(nn.Linear(10, 10, bias=False), (10,), density=0.37, iterations=5).kept
        37
    """
    if iterations < 1:
        raise SettingError(f"iterations must be at least 1, got {iterations}")

    def score(positive: nn.Module) -> Scores:
        return _protected(_flow(positive, input_shape, scope), positive, scope)

    # one copy for all steps: on small networks copying takes longer than scoring
    with _positive(model) as network:
        return iterate(score, network, density, iterations, scope, within=within)


def _protected(found: Scores, model: nn.Module, scope: Scope) -> Scores:
    """Return the scores, with that of each layer's best weight at infinity, so that it stays."""
    weights = weights_of(model, scope)
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

    def scores(self, model, data, seed):
        # of the data, the images' shape alone
        return _protected(scores(model, data.train[0].shape[1:], scope=self.scope), model, self.scope)

    def mask(self, model, data, sparsity, seed, within=None):
        self.check(sparsity)
        shape, density = data.train[0].shape[1:], 1 - sparsity
        return mask(model, shape, density, self.iterations, scope=self.scope, within=within)

    def passes(self, data):
        """Forward and backward of one image, each time."""
        return 3.0 * self.iterations
