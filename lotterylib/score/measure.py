"""Measuring a scorecard: every metric of a pruned network against the dense one, and a verdict on each difference."""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from .. import metrics, verdict
from ..datasets import Dataset
from ..efficiency.speed import Size, Speed, size_of, speeds
from ..errors import DataError, LotteryError, SettingError, UnknownNameError
from ..machine.devices import device_name, pick_device
from ..machine.revision import versions
from ..masks import Mask
from ..metrics import Measurement, Question, Shape, Subject, paired
from ..metrics.base import METRICS
from ..metrics.subject import CORRUPTIBLE
from ..rng import generator
from ..text import duration
from ..verdict import Tolerance
from .card import Row
from .estimate import BAR, LARGE, Estimate, ticking
from .prepare import Case, Given, called, prepare
from .report import Report, check_folder

# standard errors on either side of a 95 % interval; and where five numbers tell what one is
Z, T = verdict.student(1.0), verdict.student(1.0, freedom=4)
# what timing both networks takes
SPEED_SECONDS = 4.0
_log = logging.getLogger(__name__)


def scorecard(
    model: Given,
    dense: Given,
    data: Any,
    *,
    arch: str | nn.Module | None = None,
    arch_settings: Mapping[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
    resize: int | None = None,
    limit: int | None = None,
    images: int | None = None,
    only: Iterable[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tolerances: Mapping[str, float] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    speed: bool = True,
    progress: bool = True,
    on_message: Callable[[str], object] | None = None,
) -> Report:
    """Judge a pruned network against the dense one in all four dimensions.

    Each difference comes with its 95 % interval (see ``Row``). Each network is one training: what another seed would
    change, no interval here covers. The networks are left as found.

    Args:
        model: The pruned network: a module (masks of ``torch.nn.utils.prune`` and parametrizations are understood), a
            ticket, or a file: a state dict (needs ``arch``), a ticket, or a ``torch.export`` archive.
        dense: The network that it was pruned from, likewise.
        data: See ``dataset``; ``size``, ``resize`` and ``limit`` go there.
        arch: What network a state dict is of: a name of ``models.names()``, ``torchvision:NAME``, or an untrained module.
        arch_settings: Settings of a network of this library.
        mean: What a network that expects normalised images is given them by, one number per channel; this library's own
            networks normalise by themselves.
        std: Goes with ``mean``.
        images: At most so many are corrupted, attacked and explained (default 1,000; 100 above 64 pixels a side).
        only: Metrics to measure (default: all).
        settings: Metric → its own settings.
        tolerances: Metric → what counts as comparable, in its own unit.
        seed: Of the split and of all that is drawn.
        cache: A folder that keeps corrupted images for the next card.
        speed: Whether to time both networks.
        progress: Whether to show a bar.
        on_message: Called with each line of news before the long work starts.

    Raises:
        DataError, SettingError, UnknownNameError: In one line, for what does not fit.
    """
    began, say = time.perf_counter(), on_message or (lambda line: None)
    device_name(None if device is None else str(device))
    where = pick_device(device)
    settings, tolerances = settings or {}, tolerances or {}
    wanted = _wanted(only, settings, tolerances)
    if cache is not None:
        check_folder(cache)
    case = prepare(model, dense, data, arch, arch_settings, mean, std, size, resize, limit, seed)
    plan, skipped = _plan(wanted, case.data, images, settings)
    with contextlib.ExitStack() as stack:
        folder = Path(cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="lottery-")))
        pair = _subjects(case, seed, where, folder)
        work = {name: _work(name, each, case.data) for name, each in plan.items()}
        estimate = Estimate.measured(work, case.networks, case.data, where)
        total = estimate.total + (SPEED_SECONDS if speed else 0.0)
        images_found = (
            f"{case.data.name}: {len(case.data.test[1]):,} test images, {case.data.classes} classes"
        )
        say(f"{images_found}; {len(plan)} metric{'s' * (len(plan) > 1)} of 2 networks")
        say(f"about {duration(total)} on this device ({where.type})")
        say(_first_look(*pair, case.notes))
        for note in case.notes:
            say(note)
        rows: list[Row] = []
        bar = tqdm(total=round(total, 1), disable=not progress, unit="s", leave=False, bar_format=BAR)
        stack.enter_context(ticking(bar))
        for name, each in plan.items():
            bar.set_description_str(metrics.describe(name).label)
            try:
                own = metrics.describe(name).tolerance
                comparable = Tolerance(tolerances[name]) if name in tolerances else own
                rows.append(_row(name, each, *pair, comparable))
            except Exception as error:
                # The other metrics still count.
                skipped[name] = _reason(error)
            bar.update(round(estimate.of[name], 1))
        diagrams = {"reliability": {"dense": _diagram(pair[1]), "ticket": _diagram(pair[0])}}
    costs = _or_note("sizes", case.notes, lambda: _sizes(case))
    times = _or_note("speed", case.notes, lambda: _times(case, estimate, where)) if speed else {}
    about = {
        "data": case.data.name,
        "test images": len(case.data.test[1]),
        "classes": case.data.classes,
        "pixels": list(case.shape),
        "ticket": called(model),
        "dense": called(dense),
        "arch": arch if isinstance(arch, str) else None,
        "seed": seed,
        "device": where.type,
        "threads": torch.get_num_threads(),
        "settings": plan,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
    }
    sparsity = 1 - case.mask.kept / Mask.ones(case.networks["dense"]).total
    return Report(rows, skipped, sparsity, costs, times, case.notes, about, diagrams)


# --- what to measure


class _Uncorrupted(Subject):
    """A subject with images too small to corrupt: calibration is measured on clean images alone."""

    def corrupted_logits(self, images: int, held_out: bool = False) -> dict[str, Tensor]:
        return {"none": self.logits(self.sample(images)[0][:])[None]}


def _subjects(case: Case, seed: int, device: torch.device, folder: Path) -> tuple[Subject, Subject]:
    kind = Subject if case.data.size >= CORRUPTIBLE else _Uncorrupted
    dense = kind(case.networks["dense"], case.data, None, seed, device, cache=folder)
    return kind(case.networks["ticket"], case.data, case.mask, seed, device, dense, folder), dense


def _wanted(only: Iterable[str] | None, *named: Mapping[str, Any]) -> list[str]:
    """Return the metrics to measure, in the registry's order."""
    known = metrics.names()
    chosen = known if only is None else list(only)
    for name in [*chosen, *(name for each in named for name in each)]:
        if name not in known:
            raise UnknownNameError("metric", name, known)
    return [name for name in known if name in chosen]


def _plan(
    wanted: Sequence[str], data: Dataset, images: int | None, given: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return metric → settings for what these data allow, and metric → reason for what they do not."""
    images = min(images or (1000 if data.size <= LARGE else 100), len(data.test[1]))
    if images < 10:
        raise SettingError(f"want 10 test images or more to judge by, got {images}")
    plan, skipped = {}, {}
    for name in wanted:
        own = given.get(name, {})
        if reason := metrics.build(name, **own).obstacle(data):
            skipped[name] = reason
        else:
            plan[name] = {**METRICS[name].suited(data, images), **own}
    if not plan:
        raise SettingError("nothing to measure: " + "; ".join(f"{m}: {why}" for m, why in skipped.items()))
    return plan, skipped


def _work(name: str, settings: Mapping[str, Any], data: Dataset) -> dict[Question, float]:
    """Return what measuring takes of each network: question → forward passes of one image."""
    metric, shape = metrics.build(name, **settings), Shape.of(data)
    work = {**metric.asks(shape), **metric.other_work(shape)}
    if data.size < CORRUPTIBLE:
        work = {
            question: count
            for question, count in work.items()
            if question.kind not in ("corrupted", "held out")
        }
    # once whole and once in fifths
    return (
        {question: 2 * count for question, count in work.items()} if metric.about.over == "fifths" else work
    )


# --- one metric


def _row(name: str, settings: Mapping[str, Any], ticket: Subject, dense: Subject, limit: Tolerance) -> Row:
    about, kind = metrics.describe(name), METRICS[name]
    # Fused attention has no second derivative; the plain formula has.
    with sdpa_kernel(SDPBackend.MATH) if kind.second_order else contextlib.nullcontext():
        ours, theirs = (metrics.evaluate(subject, name, settings) for subject in (ticket, dense))
        fifths = fifths_error(name, settings, ticket, dense) if about.over == "fifths" else None
    for which, measured in (("ticket", ours), ("dense network", theirs)):
        if not math.isfinite(measured.value):
            raise DataError(f"the {which} gives {measured.value}: nothing to compare")
    difference = paired(ours, theirs)
    tolerance = limit.of(theirs.value)
    low, high, over = _interval(about, difference, fifths, tolerance)
    variants = {
        variant: _variant(ours.variants[variant], theirs.variants[variant], change)
        for variant, change in difference.variants.items()
        if ticket.data.size >= CORRUPTIBLE or not variant.startswith("corrupted")
    }
    # what each image did is too much for a card
    extras = ({k: v for k, v in m.extra.items() if k not in kind.bulky} for m in (ours, theirs))
    return Row(
        name, about.label, about.dimension, about.direction, about.unit,
        ours.value, ours.error, theirs.value, theirs.error,
        difference.value, low, high,
        tolerance, judge(low, high, about.direction, tolerance),
        ours.samples, over, variants, *extras,
    )  # fmt: skip


def judge(low: float, high: float, direction: Literal["higher", "lower"], tolerance: float) -> str:
    """Return the verdict on a difference, ticket − dense, that lies between ``low`` and ``high``.

    It is that of ``verdict.judge`` with one word more: "better" where the interval lies beyond the tolerance on the good
    side.

    Example:
        >>> judge(-0.5, 0.5, "higher", tolerance=1.0), judge(2.0, 3.0, "higher", tolerance=1.0)
        ('holds', 'better')
    """
    if (low if direction == "higher" else -high) > tolerance:
        return "better"
    words = {"pass": "holds", "fail": "worse", "undecided": "undecided"}
    return words[verdict.judge(low, high, direction, tolerance)]


def _interval(
    about: metrics.About, difference: Measurement, fifths: float | None, tolerance: float
) -> tuple[float, float, str]:
    """Return the 95 % interval of a difference, and what it is over. ``fifths``: the standard error over fifths, where a metric
    has one."""
    value, drawn = difference.value, about.noise
    if fifths is not None:
        width = T * math.hypot(fifths, difference.error or 0.0)
        over = ["images, by fifths"]
    elif difference.error is not None:
        width = Z * difference.error
        over = [] if about.over == "fifths" else ["images"]
    else:
        return value, value, "nothing"
    if drawn and difference.error is not None:
        over.append(drawn)
    if width < 1e-6 * tolerance:
        # What rounding leaves of equal networks.
        width = 0.0
    return value - width, value + width, " and ".join(over)


def _variant(ticket: Measurement, dense: Measurement, difference: Measurement) -> dict[str, float | None]:
    value, width = difference.value, None if difference.error is None else Z * difference.error
    ends = (None, None) if width is None else (value - width, value + width)
    return dict(ticket=ticket.value, dense=dense.value, difference=value, low=ends[0], high=ends[1])


def fifths_error(name: str, settings: Mapping[str, Any], ticket: Subject, dense: Subject) -> float | None:
    """Return the standard error over images of the difference in a metric of one whole set of training images.

    The metric is measured on each of five disjoint fifths, drawn at random, the same for both networks. With s the
    standard deviation of the five differences the error is s / √5, since it falls with the square root of the number of
    images. None where a fifth gives no number.

    Source:
        Subsampling (Politis & Romano, 1994).
    """
    images, labels = ticket.sample(settings["images"], "train")
    order = torch.randperm(len(labels), generator=generator(ticket.seed, "fifths"))
    if len(order) < 5:
        return None

    def value(subject: Subject, part: Tensor) -> float:
        data = replace(subject.data, train=(images[part], labels[part]))
        fifth = Subject(subject.model, data, subject.mask, subject.seed, subject.device)
        return metrics.evaluate(fifth, name, {**settings, "images": len(part)}).value

    try:
        differences = [value(ticket, part) - value(dense, part) for part in order.tensor_split(5)]
    except LotteryError:
        return None
    error = statistics.stdev(differences) / math.sqrt(5)
    return error if math.isfinite(error) else None


def _reason(error: Exception) -> str:
    """Return why something was not measured, in one line."""
    if isinstance(error, LotteryError):
        return str(error)
    _log.debug("not measured", exc_info=error)
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, RuntimeError):
        return f"PyTorch says: {first or type(error).__name__}"
    return f"it failed with {type(error).__name__}{': ' * bool(first)}{first}"


# --- beside the metrics


def _first_look(ticket: Subject, dense: Subject, notes: list[str]) -> str:
    """Return how many images the networks are right on; note what looks wrong. The logits are kept for the metrics."""
    right = {}
    for which, subject in (("dense", dense), ("pruned", ticket)):
        try:
            right[which] = metrics.generalization.accuracy(subject.test_logits, subject.test_labels)
        except DataError as error:
            raise DataError(f"the {which} network cannot be judged: {error}") from None
    if right["dense"] < 1.5 / dense.data.classes:
        notes.append(
            f"the dense network is right on {right['dense']:.1%} of the images, hardly more than guessing: check mean "
            "and std, and that the classes are numbered as in training (folders: sorted by name)"
        )
    return (
        f"right: the dense network on {right['dense']:.1%} of them, the pruned one on {right['pruned']:.1%}"
    )


def _diagram(subject: Subject) -> Any:
    return metrics.calibration.reliability(subject.test_logits.double().softmax(dim=1), subject.test_labels)


def _sizes(case: Case) -> dict[str, Size]:
    masks = {"dense": None, "ticket": case.mask}
    return {name: size_of(case.networks[name].cpu(), mask, case.shape) for name, mask in masks.items()}


def _times(case: Case, estimate: Estimate, device: torch.device) -> dict[str, Speed]:
    """Batches that take about a tenth of a second bound the time of this to a few seconds."""
    batch = max(1, min(100, int(0.1 / (estimate.forward / 2))))
    return speeds(case.networks, case.shape, batch_size=batch, rounds=8, device=device)


def _or_note(what: str, notes: list[str], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``make`` gives; where it fails, nothing and a note."""
    try:
        return make()
    except Exception as error:
        notes.append(f"{what} could not be measured: {_reason(error)}")
        return {}
