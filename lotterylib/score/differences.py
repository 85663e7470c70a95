"""What two networks differ by in a metric: intervals that know when they rest on few images, and the verdict on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .. import metrics, verdict
from ..metrics import Measurement, Subject, paired
from ..metrics.generalization.accuracy import right

# images without which nothing is called as good: a normal interval from fewer promises too much
FEW = 30
# what a difference is over where there is no interval, and where there need be none
NOTHING, ONE = "nothing", "one network"
# more images than this decide nothing that anybody would wait for
_MOST = 1_000_000
Ends = tuple[float, float]
# of images that both networks, the ticket alone, the dense one alone, and neither get right
Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Difference:
    """A difference, ticket − dense, and its 95% interval ``low`` to ``high``.

    ``over``: what was sampled; ``images``: how many images it rests on; ``at``: the interval that k times as many would
    give if the difference stayed, None where images are not what it lacks.
    """

    value: float
    low: float
    high: float
    over: str
    images: int
    at: Callable[[float], Ends] | None = None


class Share(NamedTuple):
    """A share of images that two networks get right (or wrong): of ``name``, e.g. a class, with ``images`` behind it."""

    name: str
    images: int
    dense: float
    ticket: float
    difference: float
    low: float
    high: float


def difference(
    about: metrics.About,
    ours: Measurement,
    theirs: Measurement,
    pair: tuple[Subject, Subject],
    fifths: float | None,
    images: int,
    same: bool = False,
) -> Difference:
    """Return the difference of two measurements of ``pair``, the ticket and the dense network.

    Args:
        fifths: The standard error over fifths, where a metric has one.
        images: As many as the metric looks at.
        same: Whether they are one network, which differs from itself by nothing on any images. Two that answer all images
            alike may differ on others.
    """
    if same:
        return Difference(0.0, 0.0, 0.0, ONE, images)
    found = paired(ours, theirs)
    if about.over == "classes":
        counts = list(_class_counts(*pair).values())
        return _ended(found.value, lambda k: _worst_of(counts, k), len(pair[0].test_labels))
    if counts := share_counts(ours, theirs):
        return _ended(found.value, lambda k: _newcombe(counts, k), sum(counts))
    if fifths is not None:
        # five numbers tell what one standard error is
        width = verdict.student(math.hypot(fifths, found.error or 0.0), freedom=4)
        over = ["images, by fifths"]
    elif found.error is not None:
        images = images_behind(ours, theirs, images)
        width = verdict.student(found.error, max(images - 1, 1))
        over = [] if about.over == "fifths" else ["images"]
    else:
        width, over = math.nan, []
    least = _unseen(theirs, images)
    # but for rounding, no image tells the networks apart
    if width <= 1e-3 * least or width < 1e-9 * max(abs(ours.value), abs(theirs.value)):
        width = least
    if not width > 0:
        return Difference(found.value, found.value, found.value, NOTHING, images)
    if about.noise and found.error is not None:
        over.append(about.noise)
    value, grows = found.value, over[0].startswith("images")
    at = (lambda k: (value - width / math.sqrt(k), value + width / math.sqrt(k))) if grows else None
    return Difference(value, value - width, value + width, " and ".join(over), images, at)


def _ended(value: float, at: Callable[[float], Ends], images: int) -> Difference:
    return Difference(value, *at(1), "images", images, at)


def _unseen(theirs: Measurement, images: int) -> float:
    """Return half the width of the interval of a difference that no image shows, NaN where it cannot be known: from the dense
    network's own error, or where that is 0 too, at an end of the scale, by the share of images that may lie elsewhere."""
    error = math.nan if theirs.error is None else verdict.error_unseen(theirs.error, images)
    return verdict.proportion(0, images).high if error == 0 else verdict.student(error, max(images - 1, 1))


def judge(
    low: float,
    high: float,
    direction: Literal["higher", "lower"],
    tolerance: float,
    images: float = math.inf,
) -> str:
    """Return the verdict on a difference, ticket − dense, that lies between ``low`` and ``high``.

    It is that of ``verdict.judge`` with one word more: "better" where the interval lies beyond the tolerance on the good
    side. Fewer than 30 ``images`` may find a network worse, and never as good.

    Example:
        >>> judge(-0.5, 0.5, "higher", tolerance=1.0), judge(2.0, 3.0, "higher", tolerance=1.0)
        ('holds', 'better')
        >>> judge(-0.5, 0.5, "higher", tolerance=1.0, images=16)
        'undecided'
    """
    words = {"pass": "holds", "fail": "worse", "undecided": "undecided"}
    word = words[verdict.judge(low, high, direction, tolerance)]
    if word == "holds" and images < FEW:
        return "undecided"
    return "better" if word == "holds" and (low if direction == "higher" else -high) > tolerance else word


def images_needed(found: Difference, direction: Literal["higher", "lower"], tolerance: float) -> int | None:
    """Return how many more images would decide a difference that stays as it is; None where none would, or more than a
    million.

    Example:
        >>> narrow = lambda k: (-0.02 / k**0.5, 0.02 / k**0.5)
        >>> images_needed(Difference(0.0, -0.02, 0.02, "images", 100, narrow), "higher", tolerance=0.01)
        300
    """
    if found.at is None or found.images < 1:
        return None

    def decided(images: float) -> bool:
        assert found.at is not None
        return judge(*found.at(images / found.images), direction, tolerance, images) != "undecided"

    low, high = found.images, _MOST
    if not decided(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high - found.images


# --- shares of images


def hits(measured: Measurement) -> Tensor | None:
    """Return 1 or 0 per image where a measurement is a share of images: its draws are an image's own score over √N."""
    if measured.draws is None or len(measured.draws) != measured.samples:
        return None
    scores = measured.draws.double() * math.sqrt(len(measured.draws))
    rounded = scores.round()
    is_share = torch.allclose(scores, rounded, rtol=0, atol=1e-6) and set(rounded.tolist()) <= {0.0, 1.0}
    return rounded if is_share and abs(rounded.mean().item() - measured.value) < 1e-6 else None


def share_counts(ours: Measurement, theirs: Measurement) -> Counts | None:
    """Return what two shares of the same images have in common; None where they are no such shares."""
    a, b = hits(ours), hits(theirs)
    return None if a is None or b is None or len(a) != len(b) else _counts(a, b)


def by_class(ticket: Subject, dense: Subject) -> list[Share]:
    """Return the recall of each class that has images, with intervals that hold for all classes at once (Bonferroni)."""
    counts = _class_counts(ticket, dense)
    rows = []
    for name, of_class in counts.items():
        both, ours, theirs, _ = of_class
        images = sum(of_class)
        low, high = _newcombe(of_class, 1, len(counts))
        change = (ours - theirs) / images
        rows.append(Share(name, images, (both + theirs) / images, (both + ours) / images, change, low, high))
    return rows


def by_corruption(ticket: Subject, dense: Subject, images: int) -> list[Share]:
    """Return the error rate under each corruption, its mean over severities, with intervals that hold for all corruptions at
    once; an image counts once, with its five severities."""
    labels = ticket.corrupted_labels(images)
    ours, theirs = (subject.corrupted_logits(images) for subject in (ticket, dense))
    rows = []
    for name in ours:
        a, b = (torch.stack([1 - right(z, labels) for z in each[name]]).mean(0) for each in (ours, theirs))
        change = a - b
        error = change.std().item() / math.sqrt(len(change)) if len(change) > 1 else math.nan
        half = verdict.student(error, max(len(change) - 1, 1), 1 - 0.05 / len(ours))
        mean = change.mean().item()
        rows.append(
            Share(name, len(change), b.mean().item(), a.mean().item(), mean, mean - half, mean + half)
        )
    return rows


def images_behind(ours: Measurement, theirs: Measurement, images: int) -> int:
    """Return on how many images a measurement rests: the fewer of what it looks at and its own samples."""
    samples = min(ours.samples, theirs.samples)
    draws = ours.draws
    per_image = draws is not None and len(draws) == ours.samples
    return samples if per_image else min(images, samples)


def _class_counts(ticket: Subject, dense: Subject) -> dict[str, Counts]:
    labels = ticket.test_labels
    ours, theirs = right(ticket.test_logits, labels), right(dense.test_logits, labels)
    of = {name: labels == c for c, name in enumerate(ticket.data.class_names)}
    return {name: _counts(ours[chosen], theirs[chosen]) for name, chosen in of.items() if chosen.any()}


def _counts(ours: Tensor, theirs: Tensor) -> Counts:
    both, alone, other = (int(t.sum()) for t in (ours * theirs, ours * (1 - theirs), (1 - ours) * theirs))
    return both, alone, other, len(ours) - both - alone - other


def _newcombe(counts: Counts, times: float, kinds: int = 1) -> Ends:
    """Return the ends of the interval with ``times`` as many images, to hold for so many ``kinds`` at once."""
    found = verdict.paired_proportions(*(round(times * c) for c in counts), confidence=1 - 0.05 / kinds)
    return found.low, found.high


def _worst_of(counts: Sequence[Counts], times: float) -> Ends:
    """Return the interval of the largest loss of several shares: where all of them lie in theirs, so does their largest."""
    ends = [_newcombe(each, times, len(counts)) for each in counts]
    return max(-high for _, high in ends), max(-low for low, _ in ends)
