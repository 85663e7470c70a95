"""Second dimension: when the network says 90%, is it right nine times in ten?

Binned scores compare what was said with what came true, bin by bin; proper scores (negative log-likelihood, Brier) ask
for confidence and accuracy at once. All are lower-is-better.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import scipy
import torch
from pydantic import PositiveInt
from torch import Tensor

from ..datasets.base import DatasetBuilder
from ..errors import DataError, SettingError
from .base import About, Metric, Question, Reads, Shape, Tolerance, register
from .checks import check_labels
from .debiased import debiased
from .resampling import DRAWS, image_counts
from .subject import CORRUPTIBLE, Measurement, Subject

if TYPE_CHECKING:
    import pandas as pd

# where a fit looks; a result at an end means that there is no optimum between
TEMPERATURES = (0.01, 100.0)
# how far from 1 a row of probabilities may sum, from low precision or printed digits
_ROUNDING = 1e-3
# numbers held at once while resampling: 32 MB
_CHUNK = 2**22

Kind = Literal["ece", "sce", "ace", "equal mass"]
Forecasts = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Binning = Callable[[Tensor, int], Tensor]
# (logits [cells, N, classes], labels [N]) → one value per cell [cells], and draws [cells, M]: the standard deviation of
# their mean over cells is the standard error of the values' mean
Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the distance between confidence and accuracy, bin by bin: in [0, 1], lower is better.

        ECE = Σ_b n_b/N · |accuracy(b) − confidence(b)|

    Confidence is the largest probability of an image. Bins are of equal width and right-closed, ((b−1)/B, b/B];
    confidence 1.0 falls into the last, 0 into the first (Naeini et al., 2015; Guo et al., 2017, equation 3).

    ``probabilities``: [N, classes]; ``labels``: int [N]. On few images the score is biased upwards: see
    ``calibration_floor``. Raises ``DataError`` for no images, rows that are no probabilities (a sum within 0.001 of 1
    counts as rounding), NaN, or labels out of range; ``SettingError`` for fewer than one bin.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0])
        >>> expected_calibration_error(p, y)
        0.25
    """
    return _calibration_error(probabilities, labels, bins, _top_label, _equal_width)


def static_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the calibration error of every class's probability, not of the top one alone: in [0, 1], lower is better.

        SCE = 1/K · Σ_k Σ_b n_bk/N · |frequency of class k(b, k) − mean probability of k(b, k)|

    Bins as in ``expected_calibration_error``, over each class's probabilities for all N images (Nixon et al., 2019). A
    class without images is no special case: all that was promised to it is error. With many classes nearly all
    probabilities are near 0, and so is the score: compare networks on the same data only. Raises as
    ``expected_calibration_error`` does.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0])
        >>> static_calibration_error(p, y)
        0.5
    """
    return _calibration_error(probabilities, labels, bins, _each_class, _equal_width)


def adaptive_calibration_error(
    probabilities: Tensor, labels: Tensor, bins: int = 15, classwise: bool = True
) -> float:
    """Return the calibration error with bins that hold as many images each: in [0, 1], lower is better.

    ``classwise``: over every class's probabilities, which is the ACE of Nixon et al. (2019),

        ACE = 1/K · Σ_k Σ_r n_rk/N · |frequency of class k(r, k) − mean probability of k(r, k)|

    with n_rk/N = 1/R where N divides by the number of bins R. Otherwise over the top probability alone: the "adaptive
    ECE" of other authors. Equal probabilities always share a bin, so the score does not depend on the order of images;
    bins are then unequal, and weighted by what they hold. Raises as ``expected_calibration_error`` does.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0])
        >>> adaptive_calibration_error(p, y, bins=2)
        0.5
    """
    forecasts = _each_class if classwise else _top_label
    return _calibration_error(probabilities, labels, bins, forecasts, _equal_mass)


def calibration_floor(probabilities: Tensor, bins: int = 15) -> float:
    """Return the ECE to expect of a *perfectly calibrated* network with these confidences on as many images.

    Its hits are coins of probability cᵢ, so the sum of a bin's residuals has variance V_b = Σ cᵢ(1 − cᵢ) and a mean
    absolute value of √(2 V_b/π) if it is normal; 2 V_b bounds it where few images make it anything but.

        floor = 1/N · Σ_b min(√(2 V_b/π), 2 V_b)

    An ECE near its floor may be perfect calibration. Raises as ``expected_calibration_error`` does.

    Example:
        >>> calibration_floor(torch.tensor([[1.0, 0.0]]))
        0.0
    """
    confidence = _probabilities(probabilities, bins).amax(dim=1)
    spread = confidence.double() * (1 - confidence.double())
    variance = torch.zeros(bins).double().index_add_(0, _equal_width(confidence, bins), spread)
    return torch.minimum((2 / math.pi * variance).sqrt(), 2 * variance).sum().item() / len(confidence)


def calibration_interval(
    probabilities: Tensor, labels: Tensor, bins: int = 15, kind: Kind = "ece"
) -> tuple[float, float, float]:
    """Return a calibration error, what noise adds to it on average, and the standard error of what is left: take the noise's
    part off to compare networks, or numbers of images.

    A bin's residual is never exactly 0, and its size is all that counts. ``calibration_floor`` is what noise adds to a
    network that is perfectly calibrated; to others it adds less, since it has no say in the sign of a large residual. How
    large the true ones are is read off a smooth model of the network's miscalibration: see ``metrics.debiased``. ``kind``:
    "ece", "sce", "ace" or "equal mass" (the ECE with bins of equal mass). Else as ``expected_calibration_error``.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25]]).expand(4, 2), torch.tensor([0, 0, 0, 1])
        >>> error, bias, _ = calibration_interval(p, y)
        >>> error, 0 < bias < 0.25
        (0.0, True)
    """
    probabilities, labels = _check(probabilities, labels, bins)
    return debiased(probabilities.double(), labels, bins, *_HOW[kind])[:3]


def calibration_truth(probabilities: Tensor, true: Tensor, bins: int = 15, kind: Kind = "ece") -> float:
    """Return the calibration error of probabilities [N, classes] where the ``true`` ones of the same images are known, in a
    simulation: without the noise of labels.

    Example:
        >>> p = torch.tensor([[0.75, 0.25]])
        >>> calibration_truth(p, torch.tensor([[0.5, 0.5]]))
        0.25
    """
    probabilities, _ = _check(probabilities, true.argmax(dim=1), bins)
    forecasts, binning = _HOW[kind]
    forecast, _ = forecasts(probabilities, true.argmax(dim=1))
    top = probabilities.argmax(dim=1, keepdim=True)
    chance = true.gather(1, top).T if len(forecast) == 1 else true.T
    index = binning(forecast, bins)
    sums = torch.zeros(len(forecast), bins, dtype=torch.float64)
    sums.scatter_add_(1, index, (chance - forecast).double())
    return sums.abs().sum(dim=1).mean().item() / len(true)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Return the mean surprise at the labels, in nats: 0 or more, lower is better, without bound for the confidently wrong.

        NLL = 1/N · Σᵢ (log Σₖ exp zᵢₖ − zᵢ,yᵢ)

    From ``logits`` [N, classes] in float64: a softmax first would round to 0, and its logarithm to −∞. Raises
    ``DataError`` for no images, logits that are not finite, or labels out of range.

    Example:
        >>> round(negative_log_likelihood(torch.zeros(1, 2), torch.tensor([0])), 4)
        0.6931
    """
    logits, labels = _check_logits(logits, labels)
    return _surprise(logits, labels).mean().item()


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Return the squared distance of the forecast from the truth: in [0, 2], lower is better.

        Brier = 1/N · Σᵢ Σₖ (pᵢₖ − [k = yᵢ])²

    A sum over classes, as Brier (1950) has it, so that always being surely wrong costs 2; some libraries halve it.
    Raises as ``expected_calibration_error`` does.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0])
        >>> brier_score(p, y)
        0.625
    """
    probabilities, labels = _check(probabilities, labels)
    return _squares(probabilities.double(), labels).mean().item()


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> pd.DataFrame:
    """Return what a reliability diagram draws: one row per bin (``low``, ``high``], with the ``count`` of images, their mean
    ``confidence`` and their ``accuracy``, both NaN for an empty bin. The ECE is Σ count/N · |accuracy − confidence|.

    Raises as ``expected_calibration_error`` does.

    Example:
        >>> p, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0])
        >>> reliability(p, y, bins=2)["count"].tolist()
        [0, 2]
    """
    probabilities, labels = _check(probabilities, labels, bins)
    confidence, hit = (t[0] for t in _top_label(probabilities, labels))
    index = _equal_width(confidence, bins)
    count = index.bincount(minlength=bins)
    said, true = (index.bincount(t.double(), minlength=bins) / count for t in (confidence, hit))
    edges = torch.arange(bins + 1).double() / bins
    columns = {"low": edges[:-1], "high": edges[1:], "count": count, "confidence": said, "accuracy": true}
    # a study is planned and run without pandas
    import pandas as pd

    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the T > 0 whose softmax(z/T) has the least negative log-likelihood: above 1 for a network too sure of itself.

    Fit it on validation data. NLL is convex in β = 1/T, so its minimum is where the slope changes sign:

        ∂NLL/∂β = 1/N · Σᵢ Σₖ softmax(β zᵢ)ₖ · (zᵢₖ − zᵢ,yᵢ)

    Looks within ``TEMPERATURES`` and returns an end if the best T lies beyond: the lower one if every label has the
    largest logit, the upper one for a network that is no better than chance. Logits that say nothing give 1. Dividing by
    T never changes which class is first (Guo et al., 2017, section 4.2). Raises as ``negative_log_likelihood`` does.

    Example:
        >>> temperature(torch.tensor([[3.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1]))
        100.0
    """
    logits, labels = _check_logits(logits, labels)
    # of every class over the label's
    margins = logits - logits.gather(1, labels[:, None])
    if not margins.any():
        return 1.0

    def slope(log_temperature: float) -> float:
        beta = math.exp(-log_temperature)
        return ((beta * margins).softmax(dim=1) * margins).sum(dim=1).mean().item()

    return temperature_where(slope, *TEMPERATURES)


def temperature_where(falling: Callable[[float], float], coldest: float, hottest: float) -> float:
    """Return the T at which a function of log T, which falls, is 0; the nearer end where it is so at none between."""
    low, high = math.log(coldest), math.log(hottest)
    if falling(low) <= 0:
        return coldest
    if falling(high) >= 0:
        return hottest
    return math.exp(
        scipy.optimize.root_scalar(falling, bracket=(low, high), method="brentq", xtol=1e-12).root
    )


# --- binned scores


def _calibration_error(probabilities: Tensor, labels: Tensor, bins: int, *how: Any) -> float:
    probabilities, labels = _check(probabilities, labels, bins)
    once = torch.ones(1, len(labels)).double()
    return _errors(probabilities, labels, bins, *how, times=once).item()


def _errors(
    probabilities: Tensor, labels: Tensor, bins: int, forecasts: Forecasts, binning: Binning, times: Tensor
) -> Tensor:
    """Return the calibration error of probabilities [..., N, classes] with each image counted ``times`` [R, N]: [..., R].

    Counts cancel: n_b/N · |accuracy − confidence| = |Σ (hit − forecast)| / N over the bin's images, so a resample needs
    nothing but a weighted sum of residuals.
    """
    # both [..., kinds, N]
    forecast, hit = forecasts(probabilities, labels)
    shape, count = forecast.shape[:-1], forecast.shape[-1]
    index = binning(forecast, bins).view(-1, 1, count)
    residual = (hit.double() - forecast.double()).view(-1, 1, count)
    step = max(1, _CHUNK // (bins * count))
    parts = []
    for place, value in zip(index.split(step), residual.split(step), strict=True):
        binned = torch.zeros(len(place), bins, count).double().scatter_(1, place, value)
        parts.append((binned @ times.T).abs().sum(dim=1) / count)
    return torch.cat(parts).view(*shape, len(times)).mean(dim=-2)


def _top_label(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return one forecast per image, that its first class is right: forecasts and hits, both [..., 1, N]."""
    top = probabilities.max(dim=-1)
    return top.values.unsqueeze(-2), (top.indices == labels).unsqueeze(-2)


def _each_class(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return a forecast for every class of an image: forecasts and hits, both [..., classes, N]."""
    forecast = probabilities.transpose(-1, -2).contiguous()
    return forecast, (torch.arange(forecast.shape[-2])[:, None] == labels).expand_as(forecast)


def _equal_width(forecast: Tensor, bins: int) -> Tensor:
    """Return the bin of each forecast, 0 to bins − 1: bin b is (b/B, (b+1)/B]. Edges are rounded as the forecasts are, so that
    0.8 lies on its edge in float32 too."""
    inner = (torch.arange(1, bins).double() / bins).to(forecast.dtype)
    return torch.bucketize(forecast, inner)


def _equal_mass(forecast: Tensor, bins: int) -> Tensor:
    """Return the bin of each forecast among its row's, by rank; the edge of a bin is the largest forecast that it holds, and
    equal forecasts go to the same."""
    last = -(-torch.arange(1, bins + 1) * forecast.shape[-1] // bins) - 1
    return torch.searchsorted(forecast.sort(dim=-1).values[..., last].contiguous(), forecast.contiguous())


_HOW: dict[Kind, tuple[Forecasts, Binning]] = {
    "ece": (_top_label, _equal_width),
    "sce": (_each_class, _equal_width),
    "ace": (_each_class, _equal_mass),
    "equal mass": (_top_label, _equal_mass),
}


# --- proper scores


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −log softmax at the label: [..., N, classes] → [..., N]."""
    place = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits.logsumexp(dim=-1) - logits.gather(-1, place).squeeze(-1)


def _squares(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return Σₖ (pₖ − [k = y])²: [..., N, classes] → [..., N]."""
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[-1])
    return (probabilities - truth).square().sum(dim=-1)


def _plain(bins: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns as JSON values; None for NaN."""
    return {name: [None if v != v else round(v, 6) for v in bins[name].tolist()] for name in bins}


# --- measuring a network


class _Calibration(Metric):
    """A score with three variants: ``scaled`` (after temperature scaling, fitted on clean validation images),
    ``corrupted`` (mean over 15 corruptions × 5 severities of the score of each) and ``corrupted-scaled`` (at the same
    temperature). ``images``: how many test images are corrupted."""

    splits = ("val", "test")

    images: PositiveInt = 1000

    @property
    @abstractmethod
    def score(self) -> Score:
        """The score of logits."""

    def asks(self, data: Shape) -> dict[Question, float]:
        images = min(self.images, data.test)
        clean = {Question("val"): data.val, Question("sample", (images,)): images}
        corruptible = data.size >= CORRUPTIBLE or data.corrupted[0]
        corrupted = {Question("corrupted", (images,)): data.corruptions(images)} if corruptible else {}
        return super().asks(data) | clean | corrupted

    def reads(self, builder: DatasetBuilder) -> Reads:
        return Reads(corruptions=True)

    def measure(self, subject: Subject) -> Measurement:
        score = self.score
        fitted = subject.once("temperature", lambda: temperature(subject.val_logits, subject.val_labels))
        labels, spoilt = subject.sample(self.images)[1].cpu(), subject.corrupted_labels(self.images)
        clean = subject.sample_logits(self.images)
        corrupted = subject.corrupted_logits(self.images).values()
        measured, severities = {}, {}
        for scaled, t in ((False, 1.0), (True, fitted)):
            on_test = _scores(score, [subject.test_logits[None]], subject.test_labels, t)
            measured["scaled" if scaled else "clean"] = _summary(*on_test, len(subject.test_labels))
            name = "corrupted-scaled" if scaled else "corrupted"
            values, draws = _scores(score, corrupted, spoilt, t)
            measured[name] = _summary(values, draws, len(spoilt))
            # severity 0 is clean, on the same images as the others: binned scores of fewer images are higher
            [unharmed], _ = _scores(score, [clean[None]], labels, t)
            rising = [*unharmed.tolist(), *torch.stack(values).mean(0).tolist()]
            severities[name] = [round(value, 6) for value in rising]
        extra = {
            "temperature": fitted,
            "temperature_at_bound": fitted in TEMPERATURES,
            "by_severity": severities,
            **subject.corruptions_from,
        }
        return replace(measured.pop("clean"), variants=measured, extra=extra)


class _Binned(_Calibration):
    """A calibration error, as published. On clean images its ``bias`` is known (``calibration_interval``), and the error is that
    of the value without it, over images; on corrupted ones the error is bootstrapped, with the bins of the whole sample."""

    how: ClassVar[Kind]
    bins: PositiveInt = 15

    @property
    def score(self) -> Score:
        return _binned(self.bins, *_HOW[self.how])

    def measure(self, subject: Subject) -> Measurement:
        measured = super().measure(subject)
        logits, labels = subject.test_logits.double(), subject.test_labels
        after = logits / measured.extra["temperature"]
        clean = self.unbiased(measured, logits, labels)
        variants = {"scaled": self.unbiased(measured.variants["scaled"], after, labels)}
        extra = {**measured.extra, "bias": round(clean.bias, 6)}
        return replace(clean, variants=measured.variants | variants, extra=extra)

    def unbiased(
        self, plain: Measurement, logits: Tensor, labels: Tensor, how: Kind | None = None
    ) -> Measurement:
        """Return a measurement with its bias and the error of the rest."""
        if plain.error is None:
            return plain
        found = debiased(logits.softmax(dim=1), labels, self.bins, *_HOW[how or self.how])
        return replace(plain, error=found.error, bias=found.bias, draws=found.draws, pairs=False)

    def other_work(self, data: Shape) -> dict[Question, float]:
        # binning every resample
        return {Question("bins", (self.about.name,)): 0.15 * min(self.images, data.test) * data.classes}


@register
class ExpectedCalibrationError(_Binned):
    """ECE, with the variant ``equal-mass`` and what reliability diagrams draw."""

    about = About(
        "ece", "ECE", "calibration", "lower", "probability", Tolerance(0.01),
        "top label, equal-width bins (Guo et al., 2017, equation 3)",
        words=("better calibrated", "worse calibrated"), version=2,
    )  # fmt: skip
    how = "ece"

    def measure(self, subject: Subject) -> Measurement:
        measured = super().measure(subject)
        logits, labels = subject.test_logits.double(), subject.test_labels
        values, draws = _binned(self.bins, *_HOW["equal mass"])(logits[None], labels)
        before, after = ((logits / t).softmax(dim=1) for t in (1.0, measured.extra["temperature"]))
        bins = {
            "before": _plain(reliability(before, labels, self.bins)),
            "after": _plain(reliability(after, labels, self.bins)),
        }
        extra = {"floor": round(calibration_floor(before, self.bins), 6), "reliability": bins}
        mass = self.unbiased(_summary([values], [draws], len(labels)), logits, labels, "equal mass")
        variants = {"equal-mass": mass}
        return replace(measured, variants=measured.variants | variants, extra=measured.extra | extra)


@register
class StaticCalibrationError(_Binned):
    """SCE."""

    about = About(
        "sce", "SCE", "calibration", "lower", "probability", Tolerance(0.005),
        "every class, equal-width bins (Nixon et al., 2019)",
        words=ExpectedCalibrationError.about.words, version=2,
    )  # fmt: skip
    how = "sce"


@register
class AdaptiveCalibrationError(_Binned):
    """Class-wise ACE."""

    about = About(
        "ace", "ACE", "calibration", "lower", "probability", Tolerance(0.005),
        "every class, bins of equal mass (Nixon et al., 2019)",
        words=ExpectedCalibrationError.about.words, version=2,
    )  # fmt: skip
    how = "ace"


@register
class NegativeLogLikelihood(_Calibration):
    """NLL in nats; the error is that of a mean over images."""

    about = About(
        "nll", "NLL (nats)", "calibration", "lower", "nats", Tolerance(0.1, relative=True),
        "mean cross-entropy on the test set (Guo et al., 2017, section 2)", short="NLL",
    )  # fmt: skip

    @property
    def score(self) -> Score:
        return _averaged(_surprise)


@register
class BrierScore(_Calibration):
    """Brier score; the error is that of a mean over images."""

    about = About(
        "brier", "Brier score", "calibration", "lower", "squared probability, 0 to 2", Tolerance(0.02),
        "sum over classes of squared errors (Brier, 1950)", short="Brier",
    )  # fmt: skip

    @property
    def score(self) -> Score:
        return _averaged(lambda logits, labels: _squares(logits.softmax(dim=-1), labels))


def _scores(
    score: Score, batches: Iterable[Tensor], labels: Tensor, temperature: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return values and draws of each batch of cells; a corruption at a time bounds the memory."""
    parts = [score(_finite(logits) / temperature, labels) for logits in batches]
    return [values for values, _ in parts], [draws for _, draws in parts]


def _summary(values: list[Tensor], draws: list[Tensor], samples: int) -> Measurement:
    """Return the mean over all cells and its standard error."""
    value, mean = torch.cat(values).mean().item(), torch.cat(draws).mean(dim=0)
    return Measurement(value, mean.std().item() if samples > 1 else None, samples, draws=mean)


def _averaged(losses: Callable[[Tensor, Tensor], Tensor]) -> Score:
    """Return the score that is a mean over images; its draws are the images' own losses over √N."""

    def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        each = losses(logits, labels)
        return each.mean(dim=1), each / math.sqrt(len(labels))

    return score


def _binned(bins: int, forecasts: Forecasts, binning: Binning) -> Score:
    """Return the score that is a calibration error; its draws are bootstrap resamples of the images, the same ones for every cell."""
    _check_bins(bins)

    def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        times = image_counts(len(labels), DRAWS)
        errors = _errors(logits.softmax(dim=-1), labels, bins, forecasts, binning, times)
        return errors[:, 0], errors[:, 1:]

    return score


# --- what comes in


def _check(probabilities: Any, labels: Any, bins: int = 1) -> tuple[Tensor, Tensor]:
    """Return probabilities within [0, 1] and labels, both on the CPU."""
    probabilities = _probabilities(probabilities, bins)
    return probabilities, _labels(labels, probabilities)


def _check_logits(logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    logits = _finite(_table(logits, "logits"))
    return logits, _labels(labels, logits)


def _probabilities(given: Any, bins: int) -> Tensor:
    _check_bins(bins)
    given = _table(given, "probabilities")
    given = given if given.dtype == torch.float32 else given.double()
    if given.isnan().any():
        raise DataError("probabilities contain NaN: the network is broken, not unsure")
    off, least = (given.double().sum(dim=1) - 1).abs().max().item(), given.min().item()
    if not off <= _ROUNDING or least < -_ROUNDING:
        raise DataError(
            f"want softmax(logits): the sum of a row is off 1 by {off:.3g}, the least entry is {least:.3g}"
        )
    return given.clamp(0, 1)


def _table(given: Any, what: str) -> Tensor:
    given = torch.as_tensor(given).detach().cpu()
    if given.ndim != 2:
        raise DataError(f"want {what} [N, classes], got {list(given.shape)}")
    if given.numel() == 0:
        raise DataError("no images to score")
    return given


def _labels(given: Any, scores: Tensor) -> Tensor:
    given = torch.as_tensor(given).detach().cpu()
    labels = given.long()
    if given.shape != scores.shape[:1] or not torch.equal(labels.to(given.dtype), given):
        got = f"{given.dtype} {list(given.shape)}"
        raise DataError(f"want a whole number as label of each of {len(scores)} images, got {got}")
    check_labels(labels, scores.shape[1])
    return labels


def _finite(logits: Tensor) -> Tensor:
    """Return the logits in float64."""
    if not logits.isfinite().all():
        raise DataError("logits are not finite: the network is broken, not unsure")
    return logits.double()


def _check_bins(bins: int) -> None:
    if not isinstance(bins, int) or isinstance(bins, bool) or bins < 1:
        raise SettingError(f"bins must be a whole number of 1 or more, got {bins!r}")
