"""The noise that a network's weights bear before its loss rises.

Nothing is ever moved in place: a frozen copy runs with other weights, so the model cannot be left perturbed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import SettingError
from ...masks import Mask
from ...rng import generator
from ..base import About, Question, Shape, Tolerance, register
from ..resampling import DRAWS, of_images
from ..subject import Measurement, Subject
from .hessian import Estimate, Geometry, Loss, Part, check_batch, image_losses, surviving

# of the bracket that holds σ; the straight line across what is left is off by a few parts in a thousand
HALVINGS = 3
# numbers of noise that are kept for the next scale: 1 GB
KEPT = 2**28
# networks that a search for σ tries for each draw, about
SEARCH = 13


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
    """Estimate how much noise the weights bear: higher is flatter. A fraction of each weight's own size.

        σ = max { s : mean over draws of L(θ + s·|θ| ⊙ ε) ≤ (1 + rise)·L(θ) },    ε ~ N(0, 1)

    (Jiang et al., 2020, "magnitude-aware" sharpness). ``relative=False`` allows L(θ) + ``rise`` nats instead: a network
    with next to no loss is not punished for it. Every prunable weight is moved, a removed one stays 0. The same draws
    serve every s, so that bisection sees one smooth curve: s doubles or halves from ``upper``/64 until the threshold
    lies between s and 2s, the bracket is halved three times, and a straight line finds the crossing within. A higher
    ``rise`` can only give a higher σ.

    ``error`` is the standard error over draws (the jackknife; Tukey, 1958). If the loss is still below the threshold at ``upper``, that is returned
    with ``converged`` False: σ is at least that. Raises as ``hessian_trace`` does.

    Example:
        >>> 0 < pac_bayes_sigma(torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1])) <= 2
        True
    """
    shaken = Shaken(model, images, labels, mask, draws, seed, batch_size, loss)
    return shaken.largest(rise, relative, upper)


class Shaken:
    """A network under noise. The losses at a scale are computed once, however many thresholds ask for them."""

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, mask: Mask | None, draws: int, seed: int,
        batch_size: int = 500, loss: Loss = image_losses,
    ):  # fmt: skip
        if draws < 2:
            raise SettingError(f"draws must be 2 or more, got {draws}")
        model, keep = surviving(model, mask)
        weights = {name: model.get_parameter(name) for name in keep}
        batch = check_batch(model, images, labels, batch_size, loss)

        def drawn(draw: int) -> list[Tensor]:
            random = generator(seed, "noise", draw)
            return [normal(weight, random) for weight in weights.values()]

        small = draws * sum(weight.numel() for weight in weights.values()) <= KEPT
        noise = functools.cache(drawn) if small else drawn

        @functools.cache
        def losses(scale: float) -> list[float]:
            found = []
            for draw in range(draws):
                moved = {
                    n: w + scale * w.abs() * z for (n, w), z in zip(weights.items(), noise(draw), strict=True)
                }
                found.append(mean_loss(model, moved, batch, batch_size, loss))
            # read together, for reading makes a GPU wait
            return [value if math.isfinite(value) else math.inf for value in torch.stack(found).tolist()]

        self.losses, self.draws = losses, draws
        self.still = mean_loss(model, {}, batch, batch_size, loss).item()

    def mean(self, scale: float) -> float:
        """Return the mean loss over draws of noise of this scale."""
        return statistics.mean(self.losses(scale)) if scale else self.still

    def largest(self, rise: float, relative: bool, upper: float) -> Estimate:
        """Return the largest scale that the network bears; see ``pac_bayes_sigma``."""
        if not rise > 0 or not upper > 0:
            raise SettingError(f"rise and upper must be above 0, got {rise} and {upper}")
        allowed = self.still + (rise * abs(self.still) if relative else rise)
        high = upper / 64
        while self.mean(high) <= allowed:
            if high >= upper:
                return Estimate(upper, None, self.draws, converged=False)
            high *= 2
        while self.mean(high / 2) > allowed and high > upper * 1e-9:
            high /= 2
        # a network without any loss bears none relative to it
        if self.mean(high / 2) > allowed:
            return Estimate(0.0, None, self.draws)
        return self._crossing(high / 2, high, allowed)

    def _crossing(self, low: float, high: float, allowed: float) -> Estimate:
        """Return where the mean loss crosses a threshold that lies between those of two scales."""
        from scipy.special import ndtri, stdtrit

        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.mean(middle) <= allowed else (low, middle)
        below, above = (torch.tensor(self.losses(scale), dtype=torch.float64) for scale in (low, high))

        def root(below: Tensor, above: Tensor) -> Tensor:
            """Return where the line through the mean losses at both scales crosses the threshold."""
            return low + (allowed - below) * (high - low) / (above - below)

        found = Estimate(root(below.mean(), above.mean()).item(), None, self.draws)
        # a few draws with large losses decide, so the error is the jackknife's, widened as Student's for so few draws: the
        # delta method's held .90 with 24
        alone = self.draws - 1
        without = root((below.sum() - below) / alone, (above.sum() - above) / alone)
        if not above.isfinite().all() or not without.isfinite().all():
            return found
        # the same noise falls on every network: what one draw does to σ
        draws = -of_images(without) * alone * (stdtrit(alone, 0.975) / ndtri(0.975))
        found.draws, found.error = draws, draws.std().item()
        return found


@register
class PacBayesSigma(Geometry):
    """Noise that raises the loss by ``rise`` of itself; the variant ``absolute`` by ``absolute_rise`` nats."""

    about = About(
        "pac_bayes_sigma", "Weight noise (PAC-Bayes σ)", "geometry", "higher", "share of each weight",
        Tolerance(0.1, relative=True),
        "noise that raises the training loss by a tenth (Jiang et al., 2020; Chen et al., 2022)",
        short="weight noise", over="fifths", noise="random draws of noise",
        words=("steadier under noise on the weights", "less steady under noise on the weights"), version=3,
    )  # fmt: skip

    draws: Annotated[int, Field(ge=2)] = 12
    rise: PositiveFloat = 0.1
    absolute_rise: PositiveFloat = 0.1
    upper: PositiveFloat = 2.0

    def asks(self, data: Shape) -> dict[Question, float]:
        return {Question("noise"): self.count(data) * self.draws * SEARCH}

    def measure(self, subject: Subject) -> Measurement:
        batch = subject.sample(self.images, "train")
        shaken = Shaken(subject.placed, *batch, subject.mask, self.draws, DRAWS)
        found = {
            "relative": shaken.largest(self.rise, True, self.upper),
            "absolute": shaken.largest(self.absolute_rise, False, self.upper),
        }
        extra = {
            "loss": shaken.still,
            "images": self.images,
            "upper": self.upper,
            "at upper": [name for name, sigma in found.items() if not sigma.converged],
        }
        sigma, absolute = (Measurement(float(s), s.error, self.draws, draws=s.draws) for s in found.values())
        return replace(sigma, variants={"absolute": absolute}, extra=extra)


@torch.no_grad()
def mean_loss(model: nn.Module, weights: Mapping[str, Tensor], batch: Part, size: int, loss: Loss) -> Tensor:
    """Return the mean loss of a batch with some weights replaced: float64 [], where the model is."""
    parts = zip(*(part.split(size) for part in batch), strict=True)
    total = [loss(functional_call(model, dict(weights), (x.clone(),)), y).double().sum() for x, y in parts]
    return sum(total[1:], total[0]) / len(batch[1])


def normal(like: Tensor, random: torch.Generator) -> Tensor:
    """Return normal numbers in the form of a tensor, drawn on the CPU."""
    return torch.randn(like.shape, generator=random).to(like)
