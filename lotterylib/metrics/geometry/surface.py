"""The loss around a trained network: on a square of its weights, and on the line to another network.

Nothing is ever moved in place: a frozen copy runs with other weights, so the model cannot be left perturbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import DataError, SettingError
from ...masks import Mask
from ...rng import generator
from .hessian import Loss, Part, check_batch, image_losses, surviving
from .noise import mean_loss, normal


class Surface(NamedTuple):
    """``losses`` [points, points] (nats) at ``positions`` [points] along the first (rows) and second direction."""

    positions: Tensor
    losses: Tensor


class Line(NamedTuple):
    """``losses`` (nats) and ``errors`` (fraction of images) at ``positions`` from 0, the first network, to 1."""

    positions: Tensor
    losses: Tensor
    errors: Tensor


def loss_surface(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mask: Mask | None = None,
    *,
    span: float = 1.0,
    points: int = 21,
    normalise: bool = True,
    seed: int = 0,
    batch_size: int = 500,
    loss: Loss = image_losses,
) -> Surface:
    """Return the mean loss on a square of weights around the network, ``span`` to each side: its centre is the network.

        L(θ + a·d₁ + b·d₂),    d ← d · ‖θ_f‖ / ‖d_f‖ for each filter f

    The directions are random and keep removed weights at 0; each filter of theirs (an output channel of a convolution,
    a row of a linear layer) is as long as the network's own (Li et al., 2018, section 4), so that a step of 1 is as
    large as the weights. ``normalise=False`` leaves them as drawn, N(0, 1). Biases and normalisation are not moved.
    Raises as ``hessian_trace`` does, and ``SettingError`` for an even number of ``points``, which has no centre.

    Example:
        >>> loss_surface(torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1]), points=3).losses.shape
        torch.Size([3, 3])
    """
    if points < 1 or points % 2 == 0 or not span > 0:
        raise SettingError(f"want an odd number of points and a span above 0, got {points} and {span}")
    model, keep = surviving(model, mask)
    weights = {name: model.get_parameter(name) for name in keep}
    batch = check_batch(model, images, labels, batch_size, loss)
    directions = "first direction", "second direction"
    first, second = (_direction(weights, keep, seed, axis, normalise) for axis in directions)
    half = points // 2
    positions = torch.arange(-half, half + 1, dtype=torch.float64) * (span / max(1, half))
    losses = torch.empty(points, points, dtype=torch.float64)
    for i, a in enumerate(positions.tolist()):
        for j, b in enumerate(positions.tolist()):
            moved = {name: weight + a * first[name] + b * second[name] for name, weight in weights.items()}
            losses[i, j] = mean_loss(model, moved, batch, batch_size, loss)
    return Surface(positions, losses)


def interpolate(
    first: nn.Module,
    second: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    points: int = 21,
    statistics_from: Tensor | None = None,
    batch_size: int = 500,
    loss: Loss = image_losses,
) -> Line:
    """Return loss and error along the straight line (1 − t)·θ₁ + t·θ₂ between two networks of one shape (Frankle et al., 2020).

    Parameters and BatchNorm's running statistics are mixed alike. ``statistics_from``: images on which each mixture's
    BatchNorm statistics are estimated anew, since mixed statistics fit no mixed network (Jordan et al., 2023). Raises
    ``DataError`` as ``hessian_trace`` does, ``SettingError`` for networks of other shapes or fewer than 2 points.

    Example:
        >>> line = interpolate(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1]), points=3)
        >>> line.positions.tolist()
        [0.0, 0.5, 1.0]
    """
    if points < 2:
        raise SettingError(f"a line needs 2 points or more, got {points}")
    ends = [surviving(network, None)[0] for network in (first, second)]
    start, end = (network.state_dict() for network in ends)
    if {n: t.shape for n, t in start.items()} != {n: t.shape for n, t in end.items()}:
        raise SettingError("no line joins networks whose layers have other names or shapes")
    model, positions = ends[0], torch.linspace(0, 1, points, dtype=torch.float64)
    batch = check_batch(model, images, labels, batch_size, loss)
    losses, errors = torch.empty_like(positions), torch.empty_like(positions)
    start = {name: tensor.clone() for name, tensor in start.items()}
    for i, t in enumerate(positions.tolist()):
        mixed = {n: torch.lerp(a, end[n].to(a), t) if a.is_floating_point() else a for n, a in start.items()}
        model.load_state_dict(mixed)
        if statistics_from is not None:
            _estimate_statistics(model, statistics_from.to(batch[0]), batch_size)
        losses[i] = mean_loss(model, {}, batch, batch_size, loss)
        errors[i] = _error(model, batch, batch_size)
    return Line(positions, losses, errors)


def error_barrier(values: Sequence[float] | Tensor) -> float:
    """Return how far the worst point of a line stands above the straight line between its ends: 0 or more, lower is better.

        barrier = maxₜ L(t) − [(1 − t)·L(0) + t·L(1)]

    ``values``: losses or errors at even steps from the first network to the second. Two networks whose barrier is about
    0 lie in one linearly connected basin (Entezari et al., 2022, definition 2.1). Raises ``DataError`` for fewer than
    two values or one that is not finite.

    Example:
        >>> error_barrier([0.1, 0.4, 0.3])
        0.2
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.ndim != 1 or len(values) < 2 or not values.isfinite().all():
        raise DataError(f"want two finite values or more along a line, got {values.tolist()}")
    chord = torch.linspace(0, 1, len(values), dtype=torch.float64) * (values[-1] - values[0]) + values[0]
    return (values - chord).max().clamp_min(0).item()


@torch.no_grad()
def _error(model: nn.Module, batch: Part, size: int) -> float:
    """Return the fraction of images that the model gets wrong."""
    parts = zip(*(part.split(size) for part in batch), strict=True)
    return sum((model(x.clone()).argmax(dim=1) != y).sum().item() for x, y in parts) / len(batch[1])


def _direction(
    weights: Mapping[str, Tensor], keep: Mapping[str, Tensor], seed: int, purpose: str, normalise: bool
) -> dict[str, Tensor]:
    """Return a random direction in the surviving weights; see ``loss_surface``. Drawn before the mask, so that all masks of a
    network share what they have in common."""
    random, found = generator(seed, purpose), {}
    for name, weight in weights.items():
        step = normal(weight, random) * keep[name]
        if normalise:
            lengths, wanted = (t.flatten(1).norm(dim=1).view(-1, *[1] * (t.ndim - 1)) for t in (step, weight))
            step = step * wanted / lengths.clamp_min(torch.finfo(step.dtype).tiny)
        found[name] = step
    return found


@torch.no_grad()
def _estimate_statistics(model: nn.Module, images: Tensor, size: int) -> None:
    """Estimate BatchNorm's running mean and variance anew, as plain averages over the batches of ``images``."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for part in images.split(size):
        model(part.clone())
    model.eval()
