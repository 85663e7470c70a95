"""Third dimension, from outside: how well does a linear model of superpixels explain a network's answer?

LIME (Ribeiro et al., 2016) hides superpixels of an image at random, asks the network again, and fits a linear model of
what is shown to the probability of the class. Its residual is ``fidelity``; how its coefficients move when the image
moves a little is ``stability``. Both are in units of probability, so a network that is merely unsure scores well: each
comes with R², and with the dense network made as unsure as the ticket (``match_confidence``).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ...datasets import Dataset
from ...errors import DataError, SettingError
from ...machine.devices import pick_device
from ...rng import generator
from ...training import predict
from ..base import About, Metric, Question, Shape, Tolerance, register
from ..calibration import temperature_where
from ..checks import check_pixels
from ..resampling import DRAWS, of_images, standard_error
from ..subject import Measurement, Subject

# as in the lime package
KERNEL_WIDTH, ALPHA = 0.25, 1.0
# an output that varies less than this over all masks has nothing to explain
CONSTANT = 1e-6
# pixels a side; below it, "auto" takes SLIC
_SMALL = 64
# superpixels that SLIC aims at, if the image has 16 pixels for each
_CELLS = 64
# images, and pixel values, that go through the network at once
_BATCH, _VALUES = 500, 2**24


@dataclass(frozen=True)
class Explanation:
    """LIME's linear model of one image: probability of ``target`` ≈ ``intercept`` + Σ ``coefficients`` of the
    superpixels that are shown.

    ``segments``: int64 [H, W], the superpixel of each pixel, −1 for background (never hidden, since it has the hidden
    colour anyway). ``target``: the network's own answer to the clean image, ``prediction`` its probability there.
    ``coefficients``: float64 [P]. ``mse``: mean squared residual over the samples, unweighted. ``r2``: weighted by the
    kernel, as lime's ``score``; NaN where ``constant``. ``spread``: the largest minus the smallest probability.
    """

    segments: Tensor
    target: int
    prediction: float
    coefficients: Tensor
    intercept: float
    mse: float
    r2: float
    spread: float

    @property
    def constant(self) -> bool:
        """Return whether the probability does not depend on what is shown: there is nothing to explain."""
        return self.spread < CONSTANT

    @property
    def heat(self) -> Tensor:
        """Return the coefficient of each pixel's superpixel: float64 [H, W], NaN in the background."""
        return torch.cat([self.coefficients, torch.tensor([math.nan]).double()])[self.segments]


@dataclass(frozen=True)
class Surrogates:
    """Linear models of N images, float64, as in ``Explanation``: ``coefficients`` [N, P] (0 beyond an image's own superpixels),
    all others [N]."""

    coefficients: Tensor
    intercept: Tensor
    mse: Tensor
    r2: Tensor
    spread: Tensor

    @property
    def varies(self) -> Tensor:
        """Return bool [N]: False where the network's output is constant."""
        return self.spread >= CONSTANT


# LIME, step by step


def superpixels(images: Tensor, method: str = "auto") -> Tensor:
    """Cut images [N, C, H, W] in [0, 1] into superpixels: int64 [N, H, W], numbered from 0, −1 = background.

    Background are segments that are all 0, the colour that hiding paints: to hide them changes nothing. Methods:
    ``"slic"``: about 64 compact cells per image, of 16 pixels or more; ``"felzenszwalb"``: scale 10, σ 0.4, at least 20
    pixels, as the paper for CIFAR (too few on small grey images, too many on large ones); ``"quickshift"``: as its code and
    the lime package for ImageNet; ``"auto"``: SLIC below 64 pixels a side, else quickshift.

    Raises ``DataError`` for images of another form, ``SettingError`` for an unknown method.

    Example:
        >>> superpixels(torch.zeros(1, 1, 8, 8)).unique().tolist()
        [0]
    """
    from skimage.segmentation import felzenszwalb, quickshift, slic

    _check_images(images)
    if method == "auto":
        method = "slic" if max(images.shape[-2:]) < _SMALL else "quickshift"
    colour = images.shape[1] == 3
    cells = max(1, min(_CELLS, images[0, 0].numel() // 16))
    cut: dict[str, Callable] = {
        # colours are compared in Lab space, 0 to 100, where compactness has to be a hundred times as large
        "slic": lambda x: slic(x, cells, compactness=10 if colour else 0.1, start_label=0),
        "felzenszwalb": lambda x: felzenszwalb(x, scale=10, sigma=0.4, min_size=20),
        "quickshift": lambda x: quickshift(
            x if colour else x[..., :1].repeat(3, -1), ratio=0.2, kernel_size=4, max_dist=200
        ),
    }
    if method not in cut:
        raise SettingError(f"unknown superpixels {method!r}; known: auto, {', '.join(cut)}")
    pictures = images.movedim(1, -1).double().cpu().numpy()
    return torch.stack([torch.from_numpy(_without_background(cut[method](x), x)) for x in pictures])


def draw_masks(images: Tensor, segments: Tensor, samples: int = 1000, seed: int = 0) -> Tensor:
    """Draw which superpixels each sample shows: bool [N, samples, P], the first sample all of them, the others by the toss of a coin.

    An image's masks depend on the seed and on the image, not on its place among the others.

    Example:
        >>> draw_masks(torch.rand(1, 1, 4, 4), torch.zeros(1, 4, 4).long(), samples=5).shape
        torch.Size([1, 5, 1])
    """
    _check_images(images)
    counts = _counts(images, segments)
    if samples <= counts.max():
        raise SettingError(f"want more samples than superpixels ({int(counts.max())}), got {samples}")
    masks = torch.zeros(len(images), samples, int(counts.max()), dtype=torch.bool)
    for mask, image, count in zip(masks, images, counts.tolist(), strict=True):
        random = generator(seed, "lime", _fingerprint(image))
        mask[:, :count] = torch.randint(2, (samples, count), generator=random).bool()
        mask[0, :count] = True
    return masks


def linear_surrogates(masks: Tensor, outcomes: Tensor, counts: Tensor | None = None) -> Surrogates:
    """Fit weighted ridge regressions of ``outcomes`` [N, samples] on ``masks`` [N, samples, P], all in one solve.

        minimise Σₛ πₛ (yₛ − b − xₛ·β)² + α ‖β‖²,   πₛ = √exp(−dₛ²/w²),   dₛ = 1 − cos(xₛ, 1) = 1 − √(shown/P)

    with α = 1 and w = 0.25, in float64, by normal equations after weighted centring: what the lime package gets from
    scikit-learn. ``counts`` [N]: superpixels of each image, if columns beyond them are only padding.

    Raises ``DataError`` for shapes that do not fit, no samples, or outcomes that are not finite.

    Example:
        >>> masks = torch.tensor([[[True, True], [True, False], [False, True], [False, False]]])
        >>> linear_surrogates(masks, torch.tensor([[1.0, 0.5, 0.5, 0.0]])).varies
        tensor([True])
    """
    if masks.ndim != 3 or outcomes.shape != masks.shape[:2] or 0 in masks.shape:
        raise DataError(
            f"want masks [N, samples, P] and outcomes [N, samples], got {list(masks.shape)} and {list(outcomes.shape)}"
        )
    if not outcomes.isfinite().all():
        raise DataError("the network's probabilities are not finite: it is broken, not inexplicable")
    x, y = masks.double(), outcomes.double()
    total = torch.full((len(x), 1), x.shape[2]) if counts is None else counts.unsqueeze(1)
    distance = 1 - (x.sum(dim=2) / total).sqrt()
    weight = (-(distance**2) / KERNEL_WIDTH**2).exp().sqrt()
    share = (weight / weight.sum(dim=1, keepdim=True)).unsqueeze(1)
    x_mean, y_mean = share @ x, share @ y.unsqueeze(2)
    x, y = x - x_mean, y.unsqueeze(2) - y_mean
    pulled = x.mT * weight.unsqueeze(1)
    gram = pulled @ x + ALPHA * torch.eye(x.shape[2], dtype=x.dtype)
    beta = torch.linalg.solve(gram, pulled @ y)
    residual, y = (y - x @ beta).squeeze(2), y.squeeze(2)
    spread = y.amax(dim=1) - y.amin(dim=1)
    r2 = 1 - (weight * residual**2).sum(dim=1) / (weight * y**2).sum(dim=1)
    return Surrogates(
        coefficients=beta.squeeze(2),
        intercept=(y_mean - x_mean @ beta).flatten(),
        mse=residual.square().mean(dim=1),
        r2=r2.where(spread >= CONSTANT, math.nan),
        spread=spread,
    )


def explain(
    model: nn.Module, images: Tensor, segments: Tensor | None = None, *, samples: int = 1000, seed: int = 0
) -> Explanation | list[Explanation]:
    """Return LIME's explanation of what the network answers to an image [C, H, W]; a list of them for images [N, C, H, W].

    ``segments``: int64 [(N,) H, W], by default ``superpixels(images)``. An image's explanation is the same alone or among
    others, up to float32 rounding of the network.

    Raises ``DataError`` for pixels outside [0, 1], segments that do not fit or are not numbered from 0, and a network
    whose output is not finite; ``SettingError`` unless there are more samples than superpixels. Ribeiro et al. (2016).

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> explain(network, torch.rand(1, 8, 8), samples=20).segments.shape
        torch.Size([8, 8])
    """
    alone = images.ndim == 3
    near, images = _neighbourhood(images, segments, samples, seed)
    outcomes, targets = _outcomes(_ask(model, images, near))
    found = linear_surrogates(near.masks, outcomes, near.counts)
    explanations = [
        Explanation(
            cut, int(targets[i]), outcomes[i, 0].item(), found.coefficients[i, : near.counts[i]],
            *(row[i].item() for row in (found.intercept, found.mse, found.r2, found.spread)),
        )
        for i, cut in enumerate(near.segments)
    ]  # fmt: skip
    return explanations[0] if alone else explanations


# The metrics


def fidelity(
    model: nn.Module, images: Tensor, segments: Tensor | None = None, *, samples: int = 1000, seed: int = 0
) -> float:
    """Return the mean squared residual between LIME's linear model and the probability of the network's own top class, over samples
    (each counts the same), then over images: in [0, 1], lower is better.

        fidelity = meanᵢ meanₛ (fᵢ(xᵢₛ) − bᵢ − xᵢₛ·βᵢ)²

    Unweighted as in the paper's code, although the fit is weighted. Images on which the output is constant (it varies by
    less than 1e-6) are left out: there, nothing is explained perfectly. Raises ``DataError`` where that leaves none, so
    that a constant network is never best; else as ``explain``, whose arguments it takes. Chen et al. (2022).

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> 0 <= fidelity(network, torch.rand(1, 8, 8), samples=20) <= 1
        True
    """
    return _mean(explain(model, images, segments, samples=samples, seed=seed), "mse")


def fidelity_r2(
    model: nn.Module, images: Tensor, segments: Tensor | None = None, *, samples: int = 1000, seed: int = 0
) -> float:
    """Return the share of the probability's variance over samples that the linear model explains, mean over images: at most 1,
    higher is better. Scale-free, unlike ``fidelity``, though a softer softmax is also a straighter one; weighted by the
    kernel, as lime's ``score``.

        R² = 1 − Σₛ πₛ (yₛ − ŷₛ)² / Σₛ πₛ (yₛ − ȳ)²

    Arguments, constant images and errors as ``fidelity``.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> fidelity_r2(network, torch.rand(1, 8, 8), samples=20) <= 1
        True
    """
    return _mean(explain(model, images, segments, samples=samples, seed=seed), "r2")


def stability(
    model: nn.Module,
    images: Tensor,
    segments: Tensor | None = None,
    *,
    sigma: float = 0.02,
    draws: int = 1,
    samples: int = 1000,
    seed: int = 0,
) -> float:
    """Return the mean squared change of the linear model's coefficients when Gaussian noise of σ = ``sigma`` falls on the image and
    the network is asked again: over superpixels, ``draws`` of noise and images; in probability², lower is better.

        stability = meanᵢ mean_d 1/Pᵢ · ‖β(xᵢ + ε_d) − β(xᵢ)‖²,   ε_d ~ N(0, σ²), pixels clipped to [0, 1]

    Superpixels, masks and class are those of the clean image, so that nothing but the network's response differs.
    Constant images and errors as ``fidelity``; ``SettingError`` for a σ or number of draws that is not positive.
    After Alvarez-Melis & Jaakkola (2018) and Plumb et al. (2020).

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> stability(network, torch.rand(1, 8, 8), samples=20) >= 0
        True
    """
    if not (sigma > 0 and math.isfinite(sigma)) or draws < 1:
        raise SettingError(f"want sigma above 0 and one draw or more, got {sigma} and {draws}")
    near, images = _neighbourhood(images, segments, samples, seed)
    logits = _ask(model, images, near)
    noisy = [_ask(model, _noisy(images, sigma, draw, seed), near) for draw in range(draws)]
    fits = _fit_all(near, logits, noisy)
    _check_varies(fits.clean.varies)
    return _change(fits)[fits.clean.varies].mean().item()


def match_confidence(logits: Tensor, confidence: float) -> float:
    """Return the temperature T at which the mean of the largest probability of softmax(logits / T) is ``confidence``.

    It changes no decision, only how sure the network is: the control for scores in units of probability. Confidence
    falls as T grows; where no T between 1e-4 and 1e4 reaches it (a confidence of 1, say), the nearer end is returned.
    ``logits``: [N, classes]. Raises ``DataError`` for logits of another form or not finite, and for a confidence that no
    network can have, outside [1/classes, 1].

    Example:
        >>> round(match_confidence(torch.tensor([[2.0, 0.0]]), torch.tensor([1.0, 0.0]).softmax(0)[0].item()), 3)
        2.0
    """
    if logits.ndim != 2 or 0 in logits.shape or not logits.isfinite().all():
        raise DataError(f"want finite logits [N, classes], got {list(logits.shape)}")
    if not 1 / logits.shape[1] - 1e-6 <= confidence <= 1 + 1e-6:
        raise DataError(f"confidence must lie between 1/{logits.shape[1]} and 1, got {confidence}")
    scores = logits.double()

    def excess(log_t: float) -> float:
        return (scores / math.exp(log_t)).softmax(dim=1).amax(dim=1).mean().item() - confidence

    return temperature_where(excess, 1e-4, 1e4)


# Feeding them a trained network


@dataclass(frozen=True)
class Fits:
    """The linear models of one network: ``clean``, and ``noisy`` for each draw of noise. ``counts``: superpixels of each
    image, int64 [N]."""

    clean: Surrogates
    noisy: list[Surrogates]
    counts: Tensor


class _Lime(Metric):
    """A score of LIME on the first ``images`` of the test set, class by class; the error is over images.

    Variants: ``control``, the dense network at the ticket's mean confidence on the same images, and ``gap``, ticket −
    control, paired by image. ``extra``: the network's confidence, the control's temperature, the mean number of
    superpixels, and the share of ``constant`` images, which are left out. A network that is constant on all of them has
    the value NaN: no fidelity, good or bad.
    """

    images: PositiveInt = 50
    samples: Annotated[int, Field(ge=2)] = 400
    superpixels: Literal["auto", "slic", "felzenszwalb", "quickshift"] = "auto"

    @property
    def noise(self) -> tuple[float, int]:
        """Return σ and the number of draws of noise."""
        return 0.0, 0

    def scores(self, fits: Fits) -> Tensor:
        """Return a score for each image: float64 [N]."""
        return fits.clean.mse

    def asks(self, data: Shape) -> dict[Question, float]:
        images, draws = min(self.images, data.test), self.noise[1]
        shown, count = (images, self.samples, self.superpixels), float(images * self.samples)
        asked = {Question("lime", shown): count}
        noisy = {Question("lime under noise", (*shown, *self.noise)): count * draws}
        return asked | noisy if draws else asked

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, Any]:
        return {"images": min(images, cls.model_fields["images"].default)}

    def measure(self, subject: Subject) -> Measurement:
        return self._compared(subject, self.scores)

    def _compared(self, subject: Subject, scores: Callable[[Fits], Tensor]) -> Measurement:
        near, logits, noisy = self._answers(subject)
        own = _fit_all(near, logits, noisy)
        confidence = logits[:, 0].double().softmax(dim=1).amax(dim=1).mean().item()
        temperature, dense = 1.0, own
        if subject.dense is not None:
            _, logits, noisy = self._answers(subject.dense)
            temperature = match_confidence(logits[:, 0], confidence)
            dense = _fit_all(near, logits, noisy, temperature)
        value, control = scores(own), scores(dense)
        varies, dense_varies = own.clean.varies, dense.clean.varies
        variants = {
            "control": _summary(control, dense_varies),
            "gap": _summary(value - control, varies & dense_varies),
        }
        extra = {
            "confidence": round(confidence, 6),
            "temperature": round(temperature, 6),
            "constant": round(1 - varies.double().mean().item(), 6),
            "superpixels": round(near.counts.double().mean().item(), 2),
        }
        return replace(_summary(value, varies), variants=variants, extra=extra)

    def _answers(self, subject: Subject) -> tuple[Neighbourhood, Tensor, list[Tensor]]:
        """Return the logits of each masked image, clean and under each draw of noise. They are asked once for a subject,
        so the dense network's serve all of its tickets, and its superpixels all metrics."""
        pictures, keep = subject.sample(self.images)[0].cpu(), subject.baseline.once
        shown, (sigma, draws) = (self.images, self.samples, self.superpixels), self.noise

        def cut(image: Tensor) -> Tensor:
            key = "superpixels", self.superpixels, _fingerprint(image)
            return keep(key, lambda: superpixels(image[None], self.superpixels)[0])

        def neighbourhood() -> Neighbourhood:
            segments = torch.stack([cut(x) for x in pictures])
            return _neighbourhood(pictures, segments, self.samples, DRAWS)[0]

        near = keep(("lime", *shown), neighbourhood)

        def answer(images: Tensor) -> Tensor:
            return _ask(subject.model, images, near, pick_device(subject.device))

        def under_noise(draw: int) -> Tensor:
            key = "lime answers", *shown, sigma, draw
            return subject.once(key, lambda: answer(_noisy(pictures, sigma, draw, DRAWS)))

        logits = subject.once(("lime answers", *shown), lambda: answer(pictures))
        return near, logits, [under_noise(draw) for draw in range(draws)]


@register
class Fidelity(_Lime):
    """``fidelity``, the mean squared residual of LIME's linear model."""

    about = About(
        "fidelity", "Fidelity (LIME residual)", "interpretability", "lower", "squared probability",
        Tolerance(0.1, relative=True), "linear model of superpixels (Ribeiro et al., 2016; Chen et al., 2022)",
        short="fidelity",
        words=("easier to explain by LIME", "harder to explain by LIME"), version=2,
    )  # fmt: skip


@register
class FidelityR2(_Lime):
    """``fidelity_r2``, from the same answers as ``Fidelity``."""

    about = About(
        "fidelity_r2", "Fidelity as R² (LIME)", "interpretability", "higher", "share of variance, at most 1",
        Tolerance(0.05), "weighted R² of the linear model, lime's score (Ribeiro et al., 2016)", short="LIME R²",
        words=Fidelity.about.words, version=2, floor=0.0,
    )  # fmt: skip

    def scores(self, fits: Fits) -> Tensor:
        return fits.clean.r2


@register
class Stability(_Lime):
    """``stability``, on more images and fewer samples than fidelity, since its error comes from images and noise, hardly
    from masks.

    Scale-free variant ``relative``: ‖Δβ‖² over the sum of both ‖β‖², so 0 if nothing changed, 1 if the two have nothing
    in common, 2 at most. Its control is ``relative-control``, since a softer softmax is also a straighter one.
    """

    about = About(
        "stability", "Stability (change of LIME)", "interpretability", "lower", "squared probability",
        Tolerance(0.25, relative=True),
        "change of the coefficients under noise (Alvarez-Melis & Jaakkola, 2018; Plumb et al., 2020)", short="stability",
        words=("explained more steadily by LIME", "explained less steadily by LIME"), version=2,
    )  # fmt: skip

    images: PositiveInt = 100
    samples: Annotated[int, Field(ge=2)] = 100
    sigma: PositiveFloat = 0.02
    draws: PositiveInt = 1

    @classmethod
    def variant_unit(cls, variant: str) -> str:
        return "share, 0 to 2" if variant.startswith("relative") else super().variant_unit(variant)

    @property
    def noise(self) -> tuple[float, int]:
        return self.sigma, self.draws

    def scores(self, fits: Fits) -> Tensor:
        return _change(fits)

    def measure(self, subject: Subject) -> Measurement:
        measured, relative = super().measure(subject), self._compared(subject, _relative_change)
        variants = {
            "relative": replace(relative, variants={}, extra={}),
            "relative-control": relative.variants["control"],
        }
        return replace(measured, variants=measured.variants | variants)


def _summary(each: Tensor, chosen: Tensor) -> Measurement:
    """Return the mean over the chosen images with its standard error; NaN for none."""
    values = each[chosen]
    error = standard_error(values) if len(values) > 1 else None
    # else two networks may not share their images
    draws = of_images(each) if chosen.all() else None
    return Measurement(values.mean().item(), error, len(values), draws=draws)


# What they share


@dataclass(frozen=True)
class Neighbourhood:
    """``segments`` int64 [N, H, W], ``masks`` bool [N, samples, P] over the superpixels, ``counts`` int64 [N]."""

    segments: Tensor
    masks: Tensor
    counts: Tensor


def _neighbourhood(
    images: Tensor, segments: Tensor | None, samples: int, seed: int
) -> tuple[Neighbourhood, Tensor]:
    """Return the neighbourhoods of images [N, C, H, W], and the images; one image [C, H, W] becomes a batch of one."""
    if images.ndim == 3:
        images, segments = images.unsqueeze(0), None if segments is None else segments.unsqueeze(0)
    shown = images.cpu()
    segments = superpixels(shown) if segments is None else segments.cpu()
    masks = draw_masks(shown, segments, samples, seed)
    return Neighbourhood(segments, masks, _counts(shown, segments)), images


def _ask(model: nn.Module, images: Tensor, near: Neighbourhood, device: torch.device | None = None) -> Tensor:
    """Return the logits of every image under each of its masks: float32 [N, samples, classes]; hidden pixels are 0."""
    device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    count, samples, columns = near.masks.shape
    cells = near.segments.flatten(1)
    # background reads one more column, which is always shown
    cells = torch.where(cells < 0, columns, cells)
    rows = max(1, min(_BATCH, _VALUES // images[0].numel()))
    answers = []
    for part in torch.arange(count * samples).split(rows):
        which, sample = part // samples, part % samples
        some = slice(int(which[0]), int(which[-1]) + 1)
        pictures, places = images[some].to(device), cells[some].to(device)
        masks = torch.nn.functional.pad(near.masks[which, sample], (0, 1), value=True).to(device)
        which = (which - some.start).to(device)
        shown = masks.gather(1, places[which]).view(len(part), 1, *images.shape[2:])
        answers.append(predict(model, pictures[which] * shown, device=device))
    return torch.cat(answers).view(count, samples, -1)


def _outcomes(
    logits: Tensor, targets: Tensor | None = None, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the probability of each image's target class, float64 [N, samples], and the targets: by default the top class of the
    first sample, which shows everything."""
    targets = logits[:, 0].argmax(dim=1) if targets is None else targets
    rows = [(z.double() / temperature).softmax(dim=1)[:, t] for z, t in zip(logits, targets, strict=True)]
    return torch.stack(rows), targets


def _fit_all(near: Neighbourhood, logits: Tensor, noisy: list[Tensor], temperature: float = 1.0) -> Fits:
    outcomes, targets = _outcomes(logits, temperature=temperature)
    moved = [_outcomes(z, targets, temperature)[0] for z in noisy]
    clean, *rest = (linear_surrogates(near.masks, y, near.counts) for y in (outcomes, *moved))
    return Fits(clean, rest, near.counts)


def _change(fits: Fits) -> Tensor:
    """Return the mean over draws and superpixels of the squared change of the coefficients: float64 [N]."""
    moved = torch.stack([noisy.coefficients for noisy in fits.noisy])
    return (moved - fits.clean.coefficients).square().sum(dim=2).mean(dim=0) / fits.counts


def _relative_change(fits: Fits) -> Tensor:
    """Return the mean over draws of ‖β′ − β‖² / (‖β′‖² + ‖β‖²), float64 [N]: 0 where nothing changed, 1 where the two have
    nothing in common. Divided by ‖β‖² alone, a few images with small coefficients would decide the mean."""
    before, moved = fits.clean.coefficients, torch.stack([noisy.coefficients for noisy in fits.noisy])
    return ((moved - before).square().sum(dim=2) / (moved**2 + before**2).sum(dim=2)).mean(dim=0)


def _mean(explanations: Explanation | list[Explanation], score: str) -> float:
    found = explanations if isinstance(explanations, list) else [explanations]
    varies = torch.tensor([not e.constant for e in found])
    _check_varies(varies)
    return torch.tensor([getattr(e, score) for e in found], dtype=torch.float64)[varies].mean().item()


def _noisy(images: Tensor, sigma: float, draw: int, seed: int) -> Tensor:
    """Return images under Gaussian noise, each with its own generator, clipped to [0, 1]."""
    moved = [
        x + sigma * torch.randn(x.shape, generator=generator(seed, "lime noise", draw, _fingerprint(x)))
        for x in images.cpu()
    ]
    return torch.stack(moved).clamp(0, 1)


def _fingerprint(image: Tensor) -> int:
    return zlib.crc32(image.contiguous().cpu().numpy().tobytes())


def _without_background(cut: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return segments renumbered from 0, those that are all 0 as −1; one superpixel if all of the picture is 0."""
    bright = np.bincount(cut.ravel(), picture.sum(axis=-1).ravel()) > 0
    if not bright.any():
        return np.zeros(cut.shape, np.int64)
    return np.where(bright, np.cumsum(bright) - 1, -1).astype(np.int64)[cut]


def _counts(images: Tensor, segments: Tensor) -> Tensor:
    """Return the number of superpixels of each image: int64 [N]."""
    wanted = [len(images), *images.shape[2:]]
    if list(segments.shape) != wanted or segments.dtype != torch.int64:
        raise DataError(f"want segments int64 {wanted}, got {segments.dtype} {list(segments.shape)}")
    for i, cut in enumerate(segments):
        labels = cut.unique()
        labels = labels[labels != -1]
        if not torch.equal(labels, torch.arange(len(labels))) or not len(labels):
            raise DataError(
                f"segments of image {i} must be numbered 0, 1, …, with −1 for background, got {labels.tolist()[:8]}"
            )
    return segments.amax(dim=(1, 2)) + 1


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or 0 in images.shape or not images.is_floating_point():
        raise DataError(f"want float images [N, C, H, W], got {images.dtype} {list(images.shape)}")
    check_pixels(images)


def _check_varies(varies: Tensor) -> None:
    if not varies.any():
        raise DataError(
            f"on none of {len(varies)} images does the output vary by {CONSTANT:f}: nothing to explain in a constant network"
        )
