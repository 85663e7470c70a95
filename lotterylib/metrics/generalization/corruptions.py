"""Does the network still get images right when they are noisy, blurred or badly compressed?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from ...datasets import Dataset
from ...datasets.base import DatasetBuilder
from ...datasets.corruptions import spelled
from ...errors import DataError
from ..base import About, Metric, Question, Reads, Shape, Tolerance, register
from ..resampling import standard_error
from ..subject import CORRUPTIBLE, Measurement, Subject
from .accuracy import right

# corruption → error rate at each severity
Errors = Mapping[str, Sequence[float]]


def corruption_error(errors: Errors, baseline: Errors) -> float:
    """Return the mean corruption error relative to a baseline network: in per cent, lower is better, 100 = as bad as the baseline.

        CE_c = Σₛ Eₛ,c / Σₛ Eₛ,c(baseline),   mCE = 100 · mean_c CE_c

    A ratio of sums over severities, then a mean over corruptions. ``errors`` and ``baseline``: corruption → error rate
    in [0, 1] at each severity. Name the baseline wherever you show the number.

    Raises ``DataError`` for other corruptions or severities than the baseline's, no corruption at all, a rate outside
    [0, 1], or a baseline without any error on some corruption. Hendrycks & Dietterich (2019), section 4.

    Example:
        >>> corruption_error({"fog": [0.25, 0.5]}, {"fog": [0.25, 0.25]})
        150.0
    """
    _check_errors(errors, baseline)
    ratios = [math.fsum(rates) / math.fsum(baseline[name]) for name, rates in errors.items()]
    return 100 * math.fsum(ratios) / len(ratios)


def uniform_corruption_error(errors: Errors) -> float:
    """Return the plain mean of the error rates over all corruptions and severities: in [0, 1], lower is better, relative to
    nothing. Arguments and errors as ``corruption_error``.

    Example:
        >>> uniform_corruption_error({"fog": [0.25, 0.5], "snow": [0.5, 0.75]})
        0.5
    """
    _check_errors(errors)
    return math.fsum(math.fsum(rates) / len(rates) for rates in errors.values()) / len(errors)


class _Corrupted(Metric):
    """``images``: of the test set, class by class; ``held_out`` adds the 4 other corruptions as a variant."""

    images: PositiveInt = 1000
    held_out: bool = False

    def asks(self, data: Shape) -> dict[Question, float]:
        images = min(self.images, data.test)
        asked = {Question("corrupted", (images,)): float(data.corruptions(images))}
        return asked | {Question("held out", (images,)): images * 4 * 5.0} if self.held_out else asked

    def reads(self, builder: DatasetBuilder) -> Reads:
        return Reads(corruptions=True)

    def obstacle(self, data: Dataset) -> str:
        if data.corrupted:
            return "own corrupted images have none held out" if self.held_out else ""
        if data.size < CORRUPTIBLE:
            return f"corruptions need images of {CORRUPTIBLE} pixels a side, these have {data.size}"
        if data.channels not in (1, 3):
            return f"corruptions are defined for 1 or 3 channels, the images have {data.channels}"
        return ""


@register
class CorruptionError(_Corrupted):
    """Corruption error over the 15 common corruptions, relative to the dense network of the same seed (dense = 100).

    The error is over images and paired: both networks see the same ones, so it is that of a ratio (delta method).
    """

    about = About(
        "corruption_error", "Corruption error", "generalization", "lower", "% of the dense network's error",
        Tolerance(5.0), "15 corruptions, ratio of sums over severities (Hendrycks & Dietterich, 2019, section 4)",
        short="corruption error",
        words=("better on corrupted images", "worse on corrupted images"),
    )  # fmt: skip
    relative = True

    def measure(self, subject: Subject) -> Measurement:
        measured, errors = self._relative(subject, held_out=False)
        variants = {"held-out": self._relative(subject, held_out=True)[0]} if self.held_out else {}
        about = {"errors": errors, "baseline": "the dense network of the same seed"}
        return replace(measured, variants=variants, extra=about | subject.corruptions_from)

    def _relative(self, subject: Subject, held_out: bool) -> tuple[Measurement, dict[str, list[float]]]:
        wrong, base = (_wrong(s, self.images, held_out) for s in (subject, subject.baseline))
        errors, reference = ({n: w.mean(dim=1).tolist() for n, w in each.items()} for each in (wrong, base))
        value = corruption_error(errors, reference)
        pull = torch.zeros(len(next(iter(wrong.values()))[0]), dtype=torch.float64)
        # how far each image pulls the ratio r = Σw / Σb: (w − r b) / mean b
        for name in wrong:
            w, b = wrong[name].sum(dim=0), base[name].sum(dim=0)
            pull += 100 * (w - w.mean() / b.mean() * b) / b.mean() / len(wrong)
        rounded = {name: [round(rate, 6) for rate in rates] for name, rates in errors.items()}
        return Measurement(value, standard_error(pull, plug_in=True), len(pull)), rounded

    @classmethod
    def breaks(cls, extra: Mapping[str, Any], dense_extra: Mapping[str, Any]) -> str:
        more = {n: sum(rates) / sum(dense_extra["errors"][n]) - 1 for n, rates in extra["errors"].items()}
        worst = [n for n in sorted(more, key=more.__getitem__, reverse=True)[:3] if more[n] > 0]
        named = ", ".join(f"{spelled(n)} (+{100 * more[n]:.0f}% errors)" for n in worst)
        return f"Corruptions that it bears worst, against dense: {named}" if worst else ""


@register
class CorruptedAccuracy(_Corrupted):
    """Share of right answers over all 15 corruptions and 5 severities, 1 − the uniform corruption error.

    An image counts once: the error is over images, each with the mean of its corruptions and severities.
    """

    about = About(
        "corrupted_accuracy", "Accuracy on corrupted images", "generalization", "higher", "fraction of images",
        Tolerance(0.02), "plain mean over 15 corruptions and 5 severities (Hendrycks & Dietterich, 2019)", short="corrupted accuracy",
        words=CorruptionError.about.words, floor="chance",
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measurement:
        variants = {"held-out": self._mean(subject, held_out=True)} if self.held_out else {}
        measured = self._mean(subject, held_out=False)
        return replace(measured, variants=variants, extra=subject.corruptions_from)

    def _mean(self, subject: Subject, held_out: bool) -> Measurement:
        wrong = _wrong(subject, self.images, held_out)
        each = torch.cat(list(wrong.values())).mean(dim=0)
        return Measurement.mean_of(1 - each, plug_in=True)


def _wrong(subject: Subject, images: int, held_out: bool) -> dict[str, Tensor]:
    """Return 1 where the network is wrong: corruption → float64 [5 severities, N]."""
    labels = subject.corrupted_labels(images)
    answers = subject.corrupted_logits(images, held_out)
    return {n: torch.stack([1 - right(z, labels) for z in logits]) for n, logits in answers.items()}


def _check_errors(errors: Errors, baseline: Errors | None = None) -> None:
    if not errors:
        raise DataError("no corruptions to score")
    if baseline is not None and set(errors) != set(baseline):
        sides = set(errors) - set(baseline), set(baseline) - set(errors)
        ours, theirs = (", ".join(sorted(side)) or "none" for side in sides)
        raise DataError(f"want the baseline's corruptions; only here: {ours}; only in the baseline: {theirs}")
    every = [*errors.items(), *(baseline or {}).items()]
    counts = {len(rates) for _, rates in every}
    for name, rates in every:
        if len(counts) > 1 or not rates:
            raise DataError(f"want as many severities for every corruption, got {sorted(counts)} ({name})")
        if not all(0 <= rate <= 1 for rate in rates):
            raise DataError(f"error rates of {name} must lie in [0, 1], got {list(rates)}")
    for name, rates in (baseline or {}).items():
        if not any(rates):
            raise DataError(f"the baseline makes no error on {name}: nothing is relative to zero")
