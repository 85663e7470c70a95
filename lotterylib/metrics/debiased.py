"""What noise adds to a calibration error, taken off again.

A bin's mean residual is never exactly 0, and its size is all that counts: on N images a perfectly calibrated network has an
error of about Σ √(2 V_b/π) / N, with V_b the variance of the hits in bin b. The bias of two networks differs, so that of
their difference does not vanish. To know it one has to know the true residuals M_b, and the observed ones are too noisy a
guess (Kumar et al., 2019, use them, which takes off a third of the bias). Here M_b comes from a smooth model of the network's
miscalibration, fitted to the same images: one temperature, and for each class an offset and a slope beyond it, both drawn
towards "calibrated" as far as noise explains them (James & Stein, 1961).

    error − Σ_b (E|X_b| − |M_b|) / N,   X_b ~ N(M_b, V_b)

What bias is left is found by doing the same to labels drawn from the model, whose error is known, and taken off too. The
standard error is that of the whole procedure over resamples of the images.

Two networks count as independent, although they see the same images (unless they give the same answers): what is drawn towards "calibrated" in one and not in
the other is no smooth function of the images, and pairing their resamples gives intervals that are too short.
``benchmarks/bias.py`` simulates the coverage of the difference.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..rng import generator
from .resampling import DRAWS, image_counts

# sets of labels that are drawn from the model: the bias is known to a tenth of its spread
LABELS = 100
# how often over what noise explains a deviation must be, before any of it is believed: of the temperature, of the classes
_NOISE = (1.0, 1.25)
# numbers held at once: 32 MB
_CHUNK = 2**22


class Debiased(NamedTuple):
    """A calibration error as it is (``plain``), what noise adds to it (``bias``), and the standard ``error`` of what is left, from its
    ``draws`` over resamples of the images."""

    plain: float
    bias: float
    error: float
    draws: Tensor


def debiased(
    probabilities: Tensor,
    labels: Tensor,
    bins: int,
    forecasts: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    binning: Callable[[Tensor, int], Tensor],
) -> Debiased:
    """Return a calibration error of probabilities float64 [N, classes] and labels [N], with its bias.

    ``forecasts``: → forecasts and hits, both [kinds, N], kinds being 1 (the top label) or the classes; ``binning``: → the
    bin of each forecast.
    """
    model = _Model.of(probabilities, labels, bins, forecasts, binning)
    plain = model.observed.abs().sum(dim=1).mean().item() / len(labels)
    truth = model.residuals.abs().sum(dim=1).mean().item() / len(labels)
    once = model.estimate(model.observed, model.slopes, model.fitted).item()
    left = model.estimate(
        model.residuals + model.label_noise.bins,
        model.believed + model.label_noise.slopes,
        model.temperature + model.label_noise.temperature,
    ).mean()
    noise = model.image_noise
    again = model.estimate(
        model.observed + noise.bins, model.slopes + noise.slopes, model.fitted + noise.temperature
    )
    return Debiased(plain, plain - once + left.item() - truth, again.std().item(), again)


@dataclass(frozen=True)
class _Noise:
    """Deviations of R draws: of the ``bins`` [kinds, bins, R], of the ``slopes`` [kinds, 2, R] and of the ``temperature`` [R]."""

    bins: Tensor
    slopes: Tensor
    temperature: Tensor


@dataclass(frozen=True)
class _Model:
    """A smooth model of a network's miscalibration and what the images say of it.

    The temperature t stands for softmax((1 + t) · log p): ``fitted``, and ``temperature``, that part of it which is believed.
    ``observed`` and ``residuals`` [kinds, bins, 1]: sums of hits − forecasts in a bin, seen and in the model; ``slopes`` and
    ``believed`` [kinds, 2, 1]: scores of offset and slope of each kind beyond the temperature.
    """

    count: int
    fitted: float
    temperature: float
    # information on the temperature, and residuals of the bins at a temperature of 1
    information: float
    per_temperature: Tensor
    # information on offset and slope, what they do to the bins, and what the temperature does to their scores
    slope_information: Tensor
    per_slope: Tensor
    crossed: Tensor
    deviation: Tensor
    observed: Tensor
    residuals: Tensor
    slopes: Tensor
    believed: Tensor
    label_noise: _Noise
    image_noise: _Noise

    @classmethod
    def of(cls, p: Tensor, labels: Tensor, bins: int, forecasts: Callable, binning: Callable) -> _Model:
        count, log_p = len(p), p.clamp_min(1e-12).log()
        forecast, hit = forecasts(p, labels)
        kinds, index = len(forecast), binning(forecast, bins)
        top = kinds == 1

        def pick(table: Tensor) -> Tensor:
            return table.gather(1, p.argmax(dim=1, keepdim=True)).T if top else table.T.contiguous()

        fitted = _temperature(log_p, labels)
        per_temperature = _binned(index, pick(_at(log_p, fitted)) - forecast, bins) / fitted
        _, _, information = _moments(log_p, fitted)
        believed = fitted * _share(fitted**2 * information, _NOISE[0]).item()
        q, mean, information = _moments(log_p, believed)
        chance = pick(q).clamp(1e-9, 1 - 1e-9)
        variance, x = chance * (1 - chance), chance.logit()
        moved = chance * (pick(log_p) - mean)
        # of each kind: Σ v, Σ v x, Σ v x²
        sums = torch.stack([(variance * x**k).sum(dim=1) for k in range(3)])
        slope_information = torch.stack([sums[:2], sums[1:]]).permute(2, 0, 1) + 1e-3 * torch.eye(2)
        per_slope = torch.stack([_binned(index, variance * x**k, bins) for k in range(2)], dim=2)
        crossed = torch.stack([moved.sum(dim=1), (moved * x).sum(dim=1)], dim=1)[..., None]
        times = image_counts(count, DRAWS)
        rest = hit.double() - chance
        by_bin = _resampled(index, rest, bins, times)
        by_slope = torch.stack([rest @ times.T, (rest * x) @ times.T], dim=1)
        surprise = times @ (log_p.gather(1, labels[:, None])[:, 0] - mean)
        base = _binned(index, chance - forecast, bins)[..., None]
        model = cls(
            count, fitted, believed, information, per_temperature[..., None], slope_information, per_slope, crossed,
            _binned(index, variance, bins).sqrt()[..., None],
            by_bin[..., :1] + base, base, by_slope[..., :1], by_slope[..., :1],
            _labels_drawn(q, log_p - mean[:, None], chance, x, index, p.argmax(dim=1) if top else None, bins, information),
            _Noise(by_bin[..., 1:] - by_bin[..., :1], by_slope[..., 1:] - by_slope[..., :1],
                   (surprise[1:] - surprise[0]) / information),
        )  # fmt: skip
        shift, share = model._beyond(model.slopes)
        return replace(model, residuals=base + shift, believed=share * model.slopes)

    def estimate(self, bins: Tensor, slopes: Tensor, temperature: Tensor | float) -> Tensor:
        """Return the error less its bias where the bins' residuals [kinds, bins, R], the scores of the slopes [kinds, 2, R] and the
        fitted temperature [R] are these: [R]."""
        fitted = torch.as_tensor(temperature, dtype=torch.float64).view(-1)
        believed = fitted * _share(fitted**2 * self.information, _NOISE[0])
        shift, _ = self._beyond(slopes - self.crossed * (believed - self.temperature))
        residuals = self.per_temperature * believed + shift
        errors = bins.abs() - _folded(residuals, self.deviation) + residuals.abs()
        return errors.sum(dim=1).mean(dim=0) / self.count

    def _beyond(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Return what offsets and slopes add to the bins' residuals [kinds, bins, R], and the share of them that is believed [R]."""
        found = torch.linalg.solve(self.slope_information, slopes)
        share = _share((slopes * found).sum(dim=(0, 1)), _NOISE[1] * 2 * len(slopes))
        return share * torch.einsum("kbi,kir->kbr", self.per_slope, found), share


def _labels_drawn(
    q: Tensor, log_p: Tensor, chance: Tensor, x: Tensor, index: Tensor, top: Tensor | None, bins: int, information: float
) -> _Noise:  # fmt: skip
    """Return what labels drawn from the model q [N, classes] do to bins and scores, the same uniform numbers for every network.

    ``log_p``: less its mean under q; ``chance``, its logits ``x`` and ``index`` [kinds, N] as in ``_Model.of``; ``top``: each
    image's top class where that is all that is asked for.
    """
    count, classes = q.shape
    drawn = torch.searchsorted(q.cumsum(dim=1), _uniform(count)).clamp_max(classes - 1)
    if top is not None:
        hit = (drawn == top[:, None]).double()
        bins_of = torch.zeros(1, bins, LABELS, dtype=torch.float64)
        bins_of[0].index_add_(0, index[0], hit)
        slopes = torch.stack([hit.sum(dim=0), (hit * x[0][:, None]).sum(dim=0)])[None]
    else:
        once = torch.ones_like(drawn, dtype=torch.float64)
        places = drawn * bins + index.T.gather(1, drawn)
        flat = torch.zeros(classes * bins, LABELS, dtype=torch.float64)
        bins_of = flat.scatter_add_(0, places, once).view(classes, bins, LABELS)
        by_class = torch.zeros(2, classes, LABELS, dtype=torch.float64)
        for scores, each in zip(by_class, (once, x.T.gather(1, drawn)), strict=True):
            scores.scatter_add_(0, drawn, each)
        slopes = by_class.transpose(0, 1)
    expected = torch.stack([chance.sum(dim=1), (chance * x).sum(dim=1)], dim=1)[..., None]
    temperature = log_p.gather(1, drawn).sum(dim=0) / information
    return _Noise(bins_of - _binned(index, chance, bins)[..., None], slopes - expected, temperature)


@functools.lru_cache(maxsize=2)
def _uniform(count: int) -> Tensor:
    return torch.rand(count, LABELS, dtype=torch.float64, generator=generator(DRAWS, "labels", count))


def _at(log_p: Tensor, temperature: float) -> Tensor:
    return ((1 + temperature) * log_p).softmax(dim=1)


def _moments(log_p: Tensor, temperature: float) -> tuple[Tensor, Tensor, float]:
    """Return q, the mean of log p under it [N], and the information on the temperature, the sum of its variances."""
    q = _at(log_p, temperature)
    mean = (q * log_p).sum(dim=1)
    return q, mean, max(((q * log_p**2).sum(dim=1) - mean**2).sum().item(), 1e-9)


def _temperature(log_p: Tensor, labels: Tensor) -> float:
    """Return the t of largest likelihood, by Newton's steps, never exactly 0; a network without errors has no finite one, and
    gets a large one."""
    t, right = 0.0, log_p.gather(1, labels[:, None])[:, 0]
    for _ in range(20):
        _, mean, information = _moments(log_p, t)
        step = (right - mean).sum().item() / information
        t += min(max(step, -(1 + t) / 2), 0.5)
        if abs(step) < 1e-9:
            break
    return t if abs(t) > 1e-6 else 1e-6


def _share(chi: Tensor | float, noise: float) -> Tensor:
    """Return James and Stein's share of a deviation that noise does not explain: 1 − noise/χ², at least 0."""
    return (1 - noise / torch.as_tensor(chi, dtype=torch.float64).clamp_min(1e-12)).clamp_min(0)


def _folded(mean: Tensor, deviation: Tensor) -> Tensor:
    """Return E|X| of X ~ N(mean, deviation²)."""
    z = mean.abs() / deviation.clamp_min(1e-12)
    return deviation * math.sqrt(2 / math.pi) * (-(z**2) / 2).exp() + mean.abs() * (z / math.sqrt(2)).erf()


def _binned(index: Tensor, values: Tensor, bins: int) -> Tensor:
    """Return the sums of values [kinds, N] over bins: [kinds, bins]."""
    return torch.zeros(len(values), bins, dtype=torch.float64).scatter_add_(1, index, values)


def _resampled(index: Tensor, values: Tensor, bins: int, times: Tensor) -> Tensor:
    """Return the sums of values [kinds, N] over bins with each image counted ``times`` [R, N]: [kinds, bins, R]."""
    step = max(1, _CHUNK // (bins * values.shape[1]))
    parts = []
    for place, value in zip(index.split(step), values.split(step), strict=True):
        spread = torch.zeros(len(place), bins, values.shape[1], dtype=torch.float64)
        parts.append(spread.scatter_(1, place[:, None], value[:, None]) @ times.T)
    return torch.cat(parts)
