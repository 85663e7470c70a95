"""Fourth dimension: the shape of the loss around a trained network. Is it a flat basin or a narrow ravine?

Curvature comes from ``curvature``; here the network is moved: by noise, along two directions, and to another network.
Nothing is ever moved in place: a frozen copy runs with other weights, so the model cannot be left perturbed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import DataError, SettingError
from ..machine.devices import pick_device
from ..masks import Mask
from ..rng import generator
from .curvature import (
    Density,
    Estimate,
    Hessian,
    Krylov,
    Loss,
    Part,
    Wrt,
    check_batch,
    deflated_trace,
    hessian_trace,
    image_losses,
    lanczos,
    spectral_density,
    surviving,
    top_eigenvalue,
)
from .subject import Measurement, Subject, of_images

__all__ = [
    "Density", "Estimate", "Line", "Surface", "error_barrier", "hessian_trace", "interpolate", "loss_surface",
    "pac_bayes_sigma", "spectral_density", "top_eigenvalue",
]  # fmt: skip


HALVINGS = 3  # of the bracket that holds σ; the straight line across what is left is off by a few parts in a thousand


class Surface(NamedTuple):
    """``losses`` [points, points] (nats) at ``positions`` [points] along the first (rows) and second direction."""

    positions: Tensor
    losses: Tensor


class Line(NamedTuple):
    """``losses`` (nats) and ``errors`` (fraction of images) at ``positions`` from 0, the first network, to 1."""

    positions: Tensor
    losses: Tensor
    errors: Tensor


def pac_bayes_sigma(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mask: Mask | None = None,
    *,
    rise: float = 0.1,
    relative: bool = True,
    draws: int = 12,
    upper: float = 2.0,
    seed: int = 0,
    batch_size: int = 500,
    loss: Loss = image_losses,
) -> Estimate:
    """How much noise the weights bear: higher is flatter. A fraction of each weight's own size.

        σ = max { s : mean over draws of L(θ + s·|θ| ⊙ ε) ≤ (1 + rise)·L(θ) },    ε ~ N(0, 1)

    (Jiang et al., 2020, "magnitude-aware" sharpness). ``relative=False`` allows L(θ) + ``rise`` nats instead: a network
    with next to no loss is not punished for it. Every prunable weight is moved, a removed one stays 0. The same draws
    serve every s, so that bisection sees one smooth curve: s doubles or halves from ``upper``/64 until the threshold
    lies between s and 2s, the bracket is halved three times, and a straight line finds the crossing within. A higher
    ``rise`` can only give a higher σ.

    ``error`` is the standard error over draws. If the loss is still below the threshold at ``upper``, that is returned
    with ``converged`` False: σ is at least that. Raises as ``hessian_trace`` does.
    """
    shaken = _Shaken(model, images, labels, mask, draws, seed, batch_size, loss)
    return shaken.largest(rise, relative, upper)


class _Shaken:
    """A network under noise. The losses at a scale are computed once, however many thresholds ask for them."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        mask: Mask | None,
        draws: int,
        seed: int,
        batch_size: int = 500,
        loss: Loss = image_losses,
    ):
        if draws < 2:
            raise SettingError(f"draws must be 2 or more, got {draws}")
        model, keep = surviving(model, mask)
        weights = {name: model.get_parameter(name) for name in keep}
        batch = check_batch(model, images, labels, batch_size, loss)

        @functools.cache
        def losses(scale: float) -> list[float]:
            found = []
            for draw in range(draws):
                dice = generator(seed, "noise", draw)
                moved = {n: w + scale * w.abs() * _normal(w, dice) for n, w in weights.items()}
                value = _loss(model, moved, batch, batch_size, loss)
                found.append(value if math.isfinite(value) else math.inf)
            return found

        self.losses, self.draws = losses, draws
        self.still = _loss(model, {}, batch, batch_size, loss)

    def largest(self, rise: float, relative: bool, upper: float) -> Estimate:
        """See ``pac_bayes_sigma``."""
        if not rise > 0 or not upper > 0:
            raise SettingError(f"rise and upper must be above 0, got {rise} and {upper}")
        allowed = self.still + (rise * abs(self.still) if relative else rise)

        def mean(scale: float) -> float:
            return statistics.mean(self.losses(scale)) if scale else self.still

        high = upper / 64
        while mean(high) <= allowed:
            if high >= upper:
                return Estimate(upper, None, self.draws, converged=False)
            high *= 2
        while mean(high / 2) > allowed and high > upper * 1e-9:
            high /= 2
        low = high / 2
        if mean(low) > allowed:  # a network without any loss bears none relative to it
            return Estimate(0.0, None, self.draws)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if mean(middle) <= allowed else (low, middle)
        slope = (mean(high) - mean(low)) / (high - low)
        # the mean over draws is known to within its standard error, so σ to within that over the slope
        error = (
            statistics.stdev(self.losses(low)) / math.sqrt(self.draws) / slope if slope < math.inf else None
        )
        return Estimate(low + (allowed - mean(low)) / slope, error, self.draws)


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
    """The mean loss on a square of weights around the network, ``span`` to each side: its centre is the network.

        L(θ + a·d₁ + b·d₂),    d ← d · ‖θ_f‖ / ‖d_f‖ for each filter f

    The directions are random and keep removed weights at 0; each filter of theirs (an output channel of a convolution,
    a row of a linear layer) is as long as the network's own (Li et al., 2018, section 4), so that a step of 1 is as
    large as the weights. ``normalise=False`` leaves them as drawn, N(0, 1). Biases and normalisation are not moved.
    Raises as ``hessian_trace`` does, and ``SettingError`` for an even number of ``points``, which has no centre.
    """
    if points < 1 or points % 2 == 0 or not span > 0:
        raise SettingError(f"want an odd number of points and a span above 0, got {points} and {span}")
    model, keep = surviving(model, mask)
    weights = {name: model.get_parameter(name) for name in keep}
    batch = check_batch(model, images, labels, batch_size, loss)
    first, second = (
        _direction(weights, keep, seed, axis, normalise) for axis in ("first direction", "second direction")
    )
    positions = torch.arange(-(points // 2), points // 2 + 1, dtype=torch.float64) * (
        span / max(1, points // 2)
    )
    losses = torch.empty(points, points, dtype=torch.float64)
    for i, a in enumerate(positions.tolist()):
        for j, b in enumerate(positions.tolist()):
            moved = {name: weight + a * first[name] + b * second[name] for name, weight in weights.items()}
            losses[i, j] = _loss(model, moved, batch, batch_size, loss)
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
    """Loss and error along the straight line (1 − t)·θ₁ + t·θ₂ between two networks of one shape (Frankle et al., 2020).

    Parameters and BatchNorm's running statistics are mixed alike. ``statistics_from``: images on which each mixture's
    BatchNorm statistics are estimated anew, since mixed statistics fit no mixed network (Jordan et al., 2023). Raises
    ``DataError`` as ``hessian_trace`` does, ``SettingError`` for networks of other shapes or fewer than 2 points.
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
        losses[i] = _loss(model, {}, batch, batch_size, loss)
        errors[i] = _error(model, batch, batch_size)
    return Line(positions, losses, errors)


def error_barrier(values: Sequence[float] | Tensor) -> float:
    """How far the worst point of a line stands above the straight line between its ends: 0 or more, lower is better.

        barrier = maxₜ L(t) − [(1 − t)·L(0) + t·L(1)]

    ``values``: losses or errors at even steps from the first network to the second. Two networks whose barrier is about
    0 lie in one linearly connected basin (Entezari et al., 2022, definition 2.1). Raises ``DataError`` for fewer than
    two values or one that is not finite.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.ndim != 1 or len(values) < 2 or not values.isfinite().all():
        raise DataError(f"want two finite values or more along a line, got {values.tolist()}")
    chord = torch.linspace(0, 1, len(values), dtype=torch.float64) * (values[-1] - values[0]) + values[0]
    return (values - chord).max().clamp_min(0).item()


# --- what they share


@torch.no_grad()
def _loss(model: nn.Module, weights: Mapping[str, Tensor], batch: Part, size: int, loss: Loss) -> float:
    """Mean loss of a batch with some weights replaced."""
    parts = zip(*(part.split(size) for part in batch), strict=True)
    total = sum(loss(functional_call(model, dict(weights), (x,)), y).double().sum().item() for x, y in parts)
    return total / len(batch[1])


@torch.no_grad()
def _error(model: nn.Module, batch: Part, size: int) -> float:
    """Fraction of images that the model gets wrong."""
    parts = zip(*(part.split(size) for part in batch), strict=True)
    return sum((model(x).argmax(dim=1) != y).sum().item() for x, y in parts) / len(batch[1])


def _normal(like: Tensor, dice: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=dice).to(like)


def _direction(
    weights: Mapping[str, Tensor], keep: Mapping[str, Tensor], seed: int, purpose: str, normalise: bool
) -> dict[str, Tensor]:
    """A random direction in the surviving weights; see ``loss_surface``. Drawn before the mask, so that all masks of a
    network share what they have in common."""
    dice, found = generator(seed, purpose), {}
    for name, weight in weights.items():
        step = _normal(weight, dice) * keep[name]
        if normalise:
            lengths, wanted = (t.flatten(1).norm(dim=1).view(-1, *[1] * (t.ndim - 1)) for t in (step, weight))
            step = step * wanted / lengths.clamp_min(torch.finfo(step.dtype).tiny)
        found[name] = step
    return found


@torch.no_grad()
def _estimate_statistics(model: nn.Module, images: Tensor, size: int) -> None:
    """BatchNorm's running mean and variance anew, as plain averages over the batches of ``images``."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for part in images.split(size):
        model(part)
    model.eval()


# --- measured on a trained network


def measure_hessian_trace(
    subject: Subject, images: int = 200, steps: int = 12, max_probes: int = 16, relative_error: float = 0.03
) -> Measurement:
    """Trace in the surviving weights on class-balanced training images; the error is that of the probes."""
    hessian, krylov = _hessian(subject, "weights", images), _krylov(subject, "weights", images, steps)
    trace = deflated_trace(hessian, krylov, relative_error, 0.0, max_probes, subject.seed)
    mean = Measurement(trace / hessian.size, trace.error / hessian.size, trace.samples)
    about = {"weights": hessian.size, "images": images, "steps": steps, "converged": trace.converged}
    return Measurement(float(trace), trace.error, trace.samples, {"per weight": mean}, about)


def measure_hessian_top(subject: Subject, images: int = 200, steps: int = 12) -> Measurement:
    """Largest eigenvalue in the surviving weights. It has no sampling error; ``residual`` bounds Lanczos's own."""
    [value], about = _ends(_krylov(subject, "weights", images, steps))
    return Measurement(value.item(), None, images, extra=about)


def measure_input_trace(
    subject: Subject, images: int = 200, steps: int = 10, max_probes: int = 8, relative_error: float = 0.03
) -> Measurement:
    """Trace in the pixels, mean over training images; the error is over images and probes."""
    hessian, krylov = _hessian(subject, "inputs", images), _krylov(subject, "inputs", images, steps)
    trace = deflated_trace(hessian, krylov, relative_error, 0.0, max_probes, subject.seed)
    each = krylov.diagonal.sum(dim=1)
    error = math.hypot(_standard_error(each), trace.error)
    about = {"pixels": hessian.size, "probes": trace.samples, "error of probes": trace.error, "steps": steps}
    return Measurement(float(trace), error, images, extra=about, draws=of_images(each))


def measure_input_top(subject: Subject, images: int = 200, steps: int = 10) -> Measurement:
    """Largest eigenvalue in the pixels, mean over training images, with its standard error over images."""
    each, about = _ends(_krylov(subject, "inputs", images, steps))
    return Measurement(each.mean().item(), _standard_error(each), images, extra=about, draws=of_images(each))


def measure_pac_bayes_sigma(
    subject: Subject,
    images: int = 200,
    draws: int = 12,
    rise: float = 0.1,
    absolute_rise: float = 0.1,
    upper: float = 2.0,
) -> Measurement:
    """Noise that raises the loss by ``rise`` of itself; the variant ``absolute`` by ``absolute_rise`` nats."""
    shaken = _Shaken(_placed(subject), *subject.sample(images, "train"), subject.mask, draws, subject.seed)
    sigma = shaken.largest(rise, True, upper)
    absolute = shaken.largest(absolute_rise, False, upper)
    about = {"loss": shaken.still, "images": images, "upper": upper}
    about["at upper"] = [
        name for name, s in {"relative": sigma, "absolute": absolute}.items() if not s.converged
    ]
    variants = {"absolute": Measurement(float(absolute), absolute.error, draws)}
    return Measurement(float(sigma), sigma.error, draws, variants, about)


def _placed(subject: Subject) -> nn.Module:
    return subject.model.to(pick_device(subject.device))


def _hessian(subject: Subject, wrt: Wrt, images: int) -> Hessian:
    return Hessian.of(_placed(subject), *subject.sample(images, "train"), wrt, subject.mask)


def _krylov(subject: Subject, wrt: Wrt, images: int, steps: int) -> Krylov:
    """One run of Lanczos serves the top eigenvalue and the trace."""
    key = ("krylov", wrt, images, steps)
    if key not in subject._kept:
        subject._kept[key] = lanczos(_hessian(subject, wrt, images), steps, subject.seed)
    return subject._kept[key]


def _ends(krylov: Krylov) -> tuple[Tensor, dict[str, Any]]:
    """The largest eigenvalue of each row, and what else there is to say."""
    (largest, residual), (smallest, _), (greatest, _) = map(krylov.end, ("largest", "smallest", "magnitude"))
    about = {
        "largest magnitude": greatest.mean().item(),
        "smallest": smallest.mean().item(),
        "residual": residual.mean().item(),
        "steps": krylov.diagonal.shape[1],
    }
    return largest, about


def _standard_error(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else 0.0
