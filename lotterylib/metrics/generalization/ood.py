"""Does the network notice images that are none of its data set's? (out-of-distribution detection)

Its confidence decides, and positive means in-distribution throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt
from torch import Tensor

from ...datasets import Dataset, ood
from ...datasets.base import DatasetBuilder
from ...errors import DataError, UnknownNameError
from ..base import About, Metric, Question, Reads, Shape, Tolerance, register
from ..resampling import DRAWS, bootstrap, of_samples
from ..subject import Measurement, Subject


def max_softmax(logits: Tensor) -> Tensor:
    """Return the maximum softmax probability, the confidence that detection ranks images by: float64 [N], in [1/classes, 1].

        s(x) = maxₖ exp zₖ / Σⱼ exp zⱼ

    In double precision, since in single all logits further than 17 apart tie at 1. Raises ``DataError`` for no images
    or logits that are not finite. Hendrycks & Gimpel (2017), section 3.

    Example:
        >>> max_softmax(torch.tensor([[0.0, 0.0], [50.0, 0.0]])).tolist()
        [0.5, 1.0]
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise DataError(f"want logits [N, classes] of one image or more, got {list(logits.shape)}")
    if not logits.isfinite().all():
        raise DataError("logits are not finite: the network is broken, not sure or unsure")
    return logits.double().softmax(dim=1).amax(dim=1)


def ood_auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Return the area under the ROC curve: the probability that an image of the distribution scores higher than one from outside,
    ties counting half. In [0, 1], higher is better, .5 is chance; swapped sets give 1 − x.

        ROC-AUC = 1/(N M) · Σᵢⱼ ([sᵢ > tⱼ] + ½ [sᵢ = tⱼ])

    ``in_scores`` [N] and ``out_scores`` [M]: higher = more like the distribution. Raises ``DataError`` for an empty set,
    another shape, or a NaN.

    Example:
        >>> ood_auroc(torch.tensor([0.9, 0.8]), torch.tensor([0.8, 0.1]))
        0.875
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    return _placements(in_scores, out_scores).mean().item()


def ood_fpr95(in_scores: Tensor, out_scores: Tensor) -> float:
    """Return the share of images from outside that are let in when at least 95% of the distribution's own are: in [0, 1], lower
    is better.

        FPR95 = 1/M · Σⱼ [tⱼ ≥ θ],   θ = the largest score with 1/N · Σᵢ [sᵢ ≥ θ] ≥ .95

    A saturated network that scores everything alike lets all in. Arguments and errors as ``ood_auroc``.

    Example:
        >>> ood_fpr95(torch.tensor([0.9, 0.8]), torch.tensor([0.8, 0.1]))
        0.5
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    # ⌈.95 N⌉ without rounding
    enough = (95 * len(in_scores) + 99) // 100
    threshold = in_scores.kthvalue(len(in_scores) - enough + 1).values
    return (out_scores >= threshold).double().mean().item()


def ood_aupr(in_scores: Tensor, out_scores: Tensor) -> float:
    """Return the area under the precision-recall curve, as average precision: in [0, 1], higher is better.

        AP = Σₙ (Rₙ − Rₙ₋₁) Pₙ over the distinct thresholds n, falling

    Chance is N / (N + M): values compare only between sets of the same two sizes (the metric takes equally
    many of both, so chance is .5). Arguments and errors as ``ood_auroc``.

    Example:
        >>> ood_aupr(torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.1]))
        1.0
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    scores, order = torch.cat([in_scores, out_scores]).sort(descending=True)
    # a threshold takes all of equal scores or none: count at the last of them
    last = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])
    accepted = torch.arange(1, len(scores) + 1)[last].double()
    hits = (order < len(in_scores)).cumsum(0)[last].double()
    gained = hits.diff(prepend=torch.zeros(1, dtype=hits.dtype))
    return (gained / len(in_scores) * hits / accepted).sum().item()


def _known(name: str) -> str:
    if name not in ood.names():
        raise ValueError(str(UnknownNameError("out-of-distribution set", name, ood.names())))
    return name


OutlierSet = Annotated[str, AfterValidator(_known)]
_one_or_more = BeforeValidator(lambda given: [given] if isinstance(given, str) else given)


class _OutlierMetric(Metric):
    """A mean over ``sets`` of outliers, with one variant per set.

    ``sets``: names of ``load_ood``; None: the real images that are usual for the data (``datasets.ood.usual``), with noise
    as variants that are no part of the mean: noise is so far from all data that chance decides how sure a network is of it,
    and two trainings of one network differ by .1. ``images``: of each set, class by class. ImageNet-O is held against those
    classes alone that it was chosen to be taken for. ``extra`` names the sets of the mean.
    """

    sets: Annotated[list[OutlierSet], _one_or_more, Field(min_length=1)] | None = None
    images: PositiveInt = ood.COUNT

    @classmethod
    def variant_title(cls, variant: str) -> str:
        return ood.title(variant)

    def sets_of(self, data: Dataset | Shape | DatasetBuilder | str) -> list[str]:
        """Return the sets whose mean is the value, for such data."""
        return list(self.sets or ood.usual(data))

    def shown(self, data: Dataset | Shape | DatasetBuilder | str) -> list[str]:
        """Return all sets that there is a variant for, those of the mean first."""
        return list(dict.fromkeys([*self.sets_of(data), *(() if self.sets else ood.extras(data))]))

    def asks(self, data: Shape) -> dict[Question, float]:
        sets = self.shown(data)
        return super().asks(data) | {Question("outliers", (name, self.images)): self.images for name in sets}

    def reads(self, builder: DatasetBuilder) -> Reads:
        return Reads(outliers=tuple(self.shown(builder)))

    def obstacle(self, data: Dataset) -> str:
        if data.channels not in (1, 3):
            return f"outliers come in 1 or 3 channels, the images have {data.channels}"
        return ""

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, Any]:
        return {}

    def scores(self, subject: Subject) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scores of the distribution's images against each set, [N, sets], and those of each set's own.

        Outliers that are held against some classes alone (``ood.against``) are scored over these, and so are the images of
        these classes; the others are NaN.
        """
        columns, outside = [], {}
        for name in self.shown(subject.data):
            classes, logits = ood.against(name, subject.data), subject.outlier_logits(name, self.images)
            if classes is None:
                columns.append(max_softmax(subject.test_logits))
                outside[name] = max_softmax(logits)
            else:
                scores = max_softmax(subject.test_logits[:, classes])
                scores[~torch.isin(subject.test_labels, torch.tensor(classes))] = math.nan
                columns.append(scores)
                outside[name] = max_softmax(logits[:, classes])
        return torch.stack(columns, dim=1), outside


@register
class OodAuroc(_OutlierMetric):
    """Mean ROC-AUC over sets of outliers; the error is DeLong's, over images."""

    about = About(
        "ood_auroc", "Outlier detection, ROC-AUC", "generalization", "higher", "probability, chance 0.5", Tolerance(0.01),
        "maximum softmax probability, positive = in-distribution (Hendrycks & Gimpel, 2017, section 3)", short="outlier ROC-AUC",
        words=("better at noticing outliers", "worse at noticing outliers"), version=2, floor=0.5,
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measurement:
        inside, outside = self.scores(subject)
        found = {
            name: _Placed.of(scores, out)
            for (name, out), scores in zip(outside.items(), inside.T.contiguous(), strict=True)
        }
        sets = self.sets_of(subject.data)
        # sets share the images inside, all or some of them
        share = torch.stack([found[name].inside for name in sets]).mean(dim=0)
        ranks = [found[name].outside for name in sets]
        noise = torch.stack([r.var() / len(r) for r in ranks]).sum() / len(ranks) ** 2
        error = (share.var() / len(share) + noise).sqrt().item()
        draws = of_samples([share, *(r / len(ranks) for r in ranks)])
        samples = len(inside) + sum(map(len, ranks))
        return _mean_of(
            {name: placed.measured() for name, placed in found.items()}, sets, error, samples, draws
        )


@register
class OodFpr95(_OutlierMetric):
    """Mean FPR95 over sets of outliers; the error is a bootstrap over images of both sides."""

    about = About(
        "ood_fpr95", "Outliers let in at 95% TPR", "generalization", "lower", "fraction of outliers", Tolerance(0.05),
        "maximum softmax probability (Liang et al., 2018)", short="outliers let in",
        words=OodAuroc.about.words, version=2, floor=0.95,
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measurement:
        return _bootstrapped(ood_fpr95, *self.scores(subject), self.sets_of(subject.data))


@register
class OodAupr(_OutlierMetric):
    """Mean average precision over sets of outliers; the error is a bootstrap over images.

    All sets and the images of the distribution are cut to the same count, spread evenly over each, so chance is .5.
    """

    about = About(
        "ood_aupr", "Outlier detection, average precision", "generalization", "higher", "area, chance 0.5", Tolerance(0.01),
        "maximum softmax probability, positive = in-distribution (Hendrycks & Gimpel, 2017, section 3)", short="outlier precision",
        words=OodAuroc.about.words, version=2, floor=0.5,
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measurement:
        inside, outside = self.scores(subject)
        count = min(map(len, [*map(_present, inside.T), *outside.values()]))
        chosen = torch.full_like(inside, math.nan)
        for k, scores in enumerate(inside.T):
            there = (~scores.isnan()).nonzero()[:, 0]
            rows = there[_spread(len(there), count)]
            chosen[rows, k] = inside[rows, k]
        chosen = chosen[~chosen.isnan().all(dim=1)]
        cut = {name: scores[_spread(len(scores), count)] for name, scores in outside.items()}
        return _bootstrapped(ood_aupr, chosen, cut, self.sets_of(subject.data))


@dataclass(frozen=True)
class _Placed:
    """The ROC-AUC of one set as a mean over either side: ``inside``, the placements of the distribution's images among the
    outliers, as shares of a mean over all of them, and ``outside``, those of the outliers. ``samples``: images in both."""

    value: float
    inside: Tensor
    outside: Tensor
    samples: int

    @classmethod
    def of(cls, inside: Tensor, outside: Tensor) -> _Placed:
        """Return the placements of scores; NaN inside where an image has no part in it."""
        present = _present(inside)
        shares = _shared(_placements(inside, outside))
        samples = len(present) + len(outside)
        return cls(ood_auroc(present, outside), shares, _placements(outside, inside), samples)

    def measured(self) -> Measurement:
        sides = self.inside, self.outside
        error = math.sqrt(sum(ranks.var() / len(ranks) for ranks in sides))
        return Measurement(self.value, error, self.samples, draws=of_samples(sides))


def _present(scores: Tensor) -> Tensor:
    """Return those that are not NaN."""
    return scores[~scores.isnan()]


def _bootstrapped(
    score: Callable[[Tensor, Tensor], float], inside: Tensor, outside: dict[str, Tensor], sets: list[str]
) -> Measurement:
    """Return the mean score over ``sets``; ``inside`` [N, sets] is NaN where an image has no part in a set's score."""

    def scores(i: Tensor, *o: Tensor) -> list[float]:
        return [score(_present(s), out) for s, out in zip(i.T, o, strict=True)]

    found = bootstrap(scores, [inside, *outside.values()], DRAWS)
    values = scores(inside, *outside.values())
    variants = {
        name: Measurement(value, draws.std().item(), len(_present(s)) + len(outside[name]), draws=draws)
        for name, value, draws, s in zip(outside, values, found.T, inside.T, strict=True)
    }
    draws = found[:, [list(outside).index(name) for name in sets]].mean(dim=1)
    samples = len(inside) + sum(len(outside[name]) for name in sets)
    return _mean_of(variants, sets, draws.std().item(), samples, draws)


def _mean_of(
    variants: dict[str, Measurement], sets: list[str], error: float, samples: int, draws: Tensor
) -> Measurement:
    value = math.fsum(variants[name].value for name in sets) / len(sets)
    return Measurement(value, error, samples, variants, {"sets": sets}, draws)


def _placements(scores: Tensor, against: Tensor) -> Tensor:
    """Return for each score the share of ``against`` below it, ties counting half: float64 [N]; NaN for NaN, and NaN in
    ``against`` is left out."""
    ranked = _present(against).sort().values
    below, up_to = torch.searchsorted(ranked, scores), torch.searchsorted(ranked, scores, right=True)
    placed = (below + up_to).double() / (2 * len(ranked))
    return placed.where(~scores.isnan(), math.nan)


def _shared(ranks: Tensor) -> Tensor:
    """Return placements as shares of a mean over all images. Where only n of N have a part in it (the others are NaN, and
    become 0), they are N/n of the distance from their mean, so that the variance of the mean is that over the n."""
    there = ~ranks.isnan()
    if there.all():
        return ranks
    return ((ranks - ranks[there].mean()) * len(ranks) / there.sum()).where(there, 0.0)


def _spread(size: int, count: int) -> Tensor:
    """Return ``count`` of ``size`` places, evenly spaced."""
    return torch.arange(count) * size // count


def _checked(scores: Tensor) -> Tensor:
    scores = torch.as_tensor(scores, dtype=torch.float64, device="cpu")
    if scores.ndim != 1 or len(scores) == 0:
        raise DataError(f"want one score per image, of one image or more, got {list(scores.shape)}")
    if scores.isnan().any():
        raise DataError("scores contain NaN, which has no rank")
    return scores
