"""Does the network notice images that are none of its data set's? (out-of-distribution detection)

Its confidence decides, and positive means in-distribution throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..datasets.ood import COUNT, against, usual
from ..errors import DataError, SettingError
from ..rng import generator
from .subject import Measurement, Subject

_REPLICATES = 200  # of a bootstrap: its standard error is then known to 5 %


def max_softmax(logits: Tensor) -> Tensor:
    """Maximum softmax probability, the confidence that detection ranks images by: float64 [N], in [1/classes, 1].

        s(x) = maxₖ exp zₖ / Σⱼ exp zⱼ

    In double precision, since in single all logits further than 17 apart tie at 1. Raises ``DataError`` for no images
    or logits that are not finite. Hendrycks & Gimpel (2017), section 3.
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise DataError(f"want logits [N, classes] of one image or more, got {list(logits.shape)}")
    if not logits.isfinite().all():
        raise DataError("logits are not finite: the network is broken, not sure or unsure")
    return logits.double().softmax(dim=1).amax(dim=1)


def ood_auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Area under the ROC curve: the probability that an image of the distribution scores higher than one from outside,
    ties counting half. In [0, 1], higher is better, .5 is chance; swapped sets give 1 − x.

        AUROC = 1/(N M) · Σᵢⱼ ([sᵢ > tⱼ] + ½ [sᵢ = tⱼ])

    ``in_scores`` [N] and ``out_scores`` [M]: higher = more like the distribution. Raises ``DataError`` for an empty set,
    another shape, or a NaN.
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    return _placements(in_scores, out_scores).mean().item()


def ood_fpr95(in_scores: Tensor, out_scores: Tensor) -> float:
    """Share of images from outside that are let in when at least 95 % of the distribution's own are: in [0, 1], lower
    is better.

        FPR95 = 1/M · Σⱼ [tⱼ ≥ θ],   θ = the largest score with 1/N · Σᵢ [sᵢ ≥ θ] ≥ .95

    A saturated network that scores everything alike lets all in. Arguments and errors as ``ood_auroc``.
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    enough = (95 * len(in_scores) + 99) // 100  # ⌈.95 N⌉ without rounding
    threshold = in_scores.kthvalue(len(in_scores) - enough + 1).values
    return (out_scores >= threshold).double().mean().item()


def ood_aupr(in_scores: Tensor, out_scores: Tensor) -> float:
    """Area under the precision-recall curve, as average precision: in [0, 1], higher is better.

        AP = Σₙ (Rₙ − Rₙ₋₁) Pₙ over the distinct thresholds n, falling

    Chance is N / (N + M): values compare only between sets of the same two sizes (``measure_aupr`` takes equally
    many of both, so chance is .5). Arguments and errors as ``ood_auroc``.
    """
    in_scores, out_scores = _checked(in_scores), _checked(out_scores)
    scores, order = torch.cat([in_scores, out_scores]).sort(descending=True)
    # a threshold takes all of equal scores or none: count at the last of them
    last = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])
    accepted = torch.arange(1, len(scores) + 1)[last].double()
    hits = (order < len(in_scores)).cumsum(0)[last].double()
    gained = hits.diff(prepend=torch.zeros(1, dtype=hits.dtype))
    return (gained / len(in_scores) * hits / accepted).sum().item()


def measure_auroc(subject: Subject, sets: Sequence[str] | None = None, images: int = COUNT) -> Measurement:
    """Mean AUROC over ``sets`` of outliers, one variant a set; the error is DeLong's, over images.

    ``sets``: names of ``load_ood``; None: those that are usual for the data (``datasets.ood.usual``). ``images``: of each
    set, class by class. ImageNet-O is told from the classes that it was chosen to be taken for, alone.
    """
    inside, outside = _ood_scores(subject, sets, images)
    columns = inside.T.contiguous()
    # a set's AUROC is a mean over either side's placements; sets share the images inside, all or some of them
    rank_in = torch.stack([_placements(s, out) for s, out in zip(columns, outside.values(), strict=True)])
    rank_out = [_placements(out, s) for s, out in zip(columns, outside.values(), strict=True)]
    shares = [_shared(ranks) for ranks in rank_in]
    noise_in = torch.stack([share.var() / len(inside) for share in shares])
    noise_out = torch.stack([ranks.var() / len(ranks) for ranks in rank_out])
    variants = {
        name: Measurement(
            ood_auroc(_asked(s), out),
            math.sqrt(a + b),
            len(_asked(s)) + len(out),
            draws=_placed([share, ranks]),
        )
        for (name, out), s, a, b, share, ranks in zip(
            outside.items(), columns, noise_in, noise_out, shares, rank_out, strict=True
        )
    }
    together = torch.stack(shares).mean(dim=0)
    joint = together.var() / len(inside) + noise_out.sum() / len(outside) ** 2
    draws = _placed([together, *(ranks / len(outside) for ranks in rank_out)])
    return _mean_of(variants, joint.sqrt().item(), len(inside) + sum(map(len, rank_out)), draws)


def measure_fpr95(subject: Subject, sets: Sequence[str] | None = None, images: int = COUNT) -> Measurement:
    """Mean FPR95 over ``sets`` of outliers, one variant a set; the error is a bootstrap over images of both sides.
    Settings as ``measure_auroc``."""
    return _measure(ood_fpr95, *_ood_scores(subject, sets, images), subject.seed)


def measure_aupr(subject: Subject, sets: Sequence[str] | None = None, images: int = COUNT) -> Measurement:
    """Mean average precision over ``sets`` of outliers, one variant a set; the error is a bootstrap over images.
    Settings as ``measure_auroc``.

    All sets and the images of the distribution are cut to the same count, spread evenly over each, so chance is .5.
    """
    inside, outside = _ood_scores(subject, sets, images)
    count = min(map(len, [*map(_asked, inside.T), *outside.values()]))
    chosen = torch.full_like(inside, math.nan)
    for k, scores in enumerate(inside.T):
        there = (~scores.isnan()).nonzero()[:, 0]
        rows = there[_spread(len(there), count)]
        chosen[rows, k] = inside[rows, k]
    chosen = chosen[~chosen.isnan().all(dim=1)]
    cut = {name: scores[_spread(len(scores), count)] for name, scores in outside.items()}
    return _measure(ood_aupr, chosen, cut, subject.seed)


def _ood_scores(
    subject: Subject, sets: Sequence[str] | None, images: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores of the distribution's images against each set [N, sets], and of each set's own. Outliers that are to be told
    from some classes alone (``ood.against``) are scored over these, and so are the images of these classes; the others
    are NaN."""
    sets = usual(subject.data) if sets is None else sets
    if not sets:
        raise SettingError("sets is empty: name a set of outliers, e.g. digits")
    columns, outside = [], {}
    for name in sets:
        classes, logits = against(name, subject.data), subject.outlier_logits(name, images)
        if classes is None:
            columns.append(max_softmax(subject.test_logits))
            outside[name] = max_softmax(logits)
        else:
            scores = max_softmax(subject.test_logits[:, classes])
            scores[~torch.isin(subject.test_labels, torch.tensor(classes))] = math.nan
            columns.append(scores)
            outside[name] = max_softmax(logits[:, classes])
    return torch.stack(columns, dim=1), outside


def _asked(scores: Tensor) -> Tensor:
    """Those that are not NaN."""
    return scores[~scores.isnan()]


def _measure(
    score: Callable[[Tensor, Tensor], float], inside: Tensor, outside: dict[str, Tensor], seed: int
) -> Measurement:
    """``inside``: [N, sets], NaN where an image has no part in a set's score."""

    def scores(i: Tensor, *o: Tensor) -> list[float]:
        return [score(_asked(s), out) for s, out in zip(i.T, o, strict=True)]

    found = _bootstrap(scores, [inside, *outside.values()], seed)
    values = scores(inside, *outside.values())
    variants = {
        name: Measurement(value, draws.std().item(), len(_asked(s)) + len(out), draws=draws)
        for (name, out), s, value, draws in zip(outside.items(), inside.T, values, found.T, strict=True)
    }
    draws = found.mean(dim=1)
    return _mean_of(variants, draws.std().item(), len(inside) + sum(map(len, outside.values())), draws)


def _mean_of(variants: dict[str, Measurement], error: float, samples: int, draws: Tensor) -> Measurement:
    value = math.fsum(v.value for v in variants.values()) / len(variants)
    return Measurement(value, error, samples, variants, draws=draws)


def _placed(samples: Sequence[Tensor]) -> Tensor:
    """``Measurement.draws`` of a sum of means over independent samples of images, whose variance is the sum of theirs."""
    count = sum(map(len, samples))
    return torch.cat([(s - s.mean()) * math.sqrt((count - 1) / (len(s) * (len(s) - 1))) for s in samples])


def _placements(scores: Tensor, against: Tensor) -> Tensor:
    """For each score the share of ``against`` below it, ties counting half: float64 [N]; NaN for NaN, and NaN in
    ``against`` is left out."""
    ranked = _asked(against).sort().values
    below, up_to = torch.searchsorted(ranked, scores), torch.searchsorted(ranked, scores, right=True)
    placed = (below + up_to).double() / (2 * len(ranked))
    return placed.where(~scores.isnan(), math.nan)


def _shared(ranks: Tensor) -> Tensor:
    """Placements as shares of a mean over all images: as they are, or, where some have no part in it (NaN), their
    distance from the mean times N/n for the n that have, and 0 for the others. The variance of their mean is that of the
    mean over the n."""
    there = ~ranks.isnan()
    if there.all():
        return ranks
    return ((ranks - ranks[there].mean()) * len(ranks) / there.sum()).where(there, 0.0)


def _spread(size: int, count: int) -> Tensor:
    """``count`` of ``size`` places, evenly spaced."""
    return torch.arange(count) * size // count


def _bootstrap(statistic: Callable[..., Sequence[float]], samples: Sequence[Tensor], seed: int) -> Tensor:
    """The statistics of samples drawn anew, each with replacement: float64 [replicates, statistics]."""
    dice = generator(seed, "bootstrap")

    def drawn(scores: Tensor) -> Tensor:
        return scores[torch.randint(len(scores), (len(scores),), generator=dice)]

    return torch.tensor([statistic(*map(drawn, samples)) for _ in range(_REPLICATES)], dtype=torch.float64)


def _checked(scores: Tensor) -> Tensor:
    scores = torch.as_tensor(scores, dtype=torch.float64, device="cpu")
    if scores.ndim != 1 or len(scores) == 0:
        raise DataError(f"want one score an image, of one image or more, got {list(scores.shape)}")
    if scores.isnan().any():
        raise DataError("scores contain NaN, which has no rank")
    return scores
