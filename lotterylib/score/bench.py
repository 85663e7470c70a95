"""One metric after the other, of all networks of a scorecard."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from .. import metrics
from ..datasets import Dataset, Images
from ..errors import DataError, LotteryError, SettingError, UnknownNameError
from ..files import sha256, write_whole
from ..machine.revision import versions
from ..metrics import Measurement, Question, Shape, Subject, paired
from ..metrics.base import METRICS
from ..metrics.checks import at_most
from ..metrics.subject import CORRUPTIBLE
from ..rng import generator
from ..text import amount, duration
from ..verdict import Tolerance, proportion, student
from ..verdict.controls import Band
from . import checks
from .card import Row
from .differences import (
    FEW,
    NOTHING,
    Share,
    by_corruption,
    difference,
    hits,
    images_needed,
    judge,
)
from .estimate import LARGE, Estimate
from .foreign.modules import Network
from .memory import Budget
from .prepare import Case

# seconds that a card at more than LARGE pixels a side may be estimated at by default; it looks at fewer images until it is. Memory
# and other work make it take up to a sixth longer, and a quarter of an hour is the promise
PATIENCE = 13 * 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What to measure and how; the fields are arguments of ``scorecard``."""

    expect: float | None = None
    images: int | None = None
    only: Iterable[str] | None = None
    settings: Mapping[str, Mapping[str, Any]] | None = None
    tolerances: Mapping[str, float] | None = None
    variants: bool = False
    device: str | torch.device | None = None
    cache: str | Path | None = None
    speed: bool = True
    progress: bool = True

    def check(self) -> None:
        """Raise ``UnknownNameError`` or ``SettingError`` for a metric or tolerance that there is none of."""
        for name in [*(self.only or ()), *(self.settings or ()), *(self.tolerances or ())]:
            if name not in metrics.names():
                raise UnknownNameError("metric", name, metrics.names())
        for name, tolerance in (self.tolerances or {}).items():
            if isinstance(tolerance, bool) or not (
                isinstance(tolerance, (int, float)) and 0 < tolerance < math.inf
            ):
                raise SettingError(f"tolerance of {name}: want a number above 0, got {tolerance!r}")

    @property
    def wanted(self) -> list[str]:
        """Return the metrics to measure, in the registry's order."""
        return [name for name in metrics.names() if self.only is None or name in list(self.only)]


@dataclass
class Plan:
    """What is measured: metric → ``settings``; metric → why not, ``skipped``; what it takes, what a reader should know, and how many
    images go through a network ``at_once`` where gradients are taken (None: as many as the metrics' own)."""

    settings: dict[str, dict[str, Any]]
    skipped: dict[str, str]
    estimate: Estimate
    notes: list[str]

    at_once: int | None = None

    @classmethod
    def of(cls, wishes: Wishes, case: Case, where: torch.device) -> Plan:
        """Return what these data allow, with fewer images than asked for, or without the dearest metrics, by default where images
        are large and networks slow."""
        judged = [*case.tickets, *case.denses]
        networks = [(each.name, each.model) for each in judged]
        budget, notes, patient = _budget(case, where), [], wishes.images is not None
        asked = _count(wishes.images, case.data)
        if budget and budget.images < asked:
            asked = budget.images
            wishes = replace(wishes, images=asked)
            notes.append(
                f"only {asked} images are corrupted, attacked and explained: more do not fit into the memory given"
            )
        images, whole, dropped = asked, len(case.data.test[1]), {}
        settings, skipped = _allowed(wishes, case, images, budget)
        estimate = Estimate.measured(_work(settings, case.data, wishes), networks, case.data, where)
        while not patient and case.data.size > LARGE and estimate.total > PATIENCE:
            tested = len(case.data.test[1])
            if images > FEW:
                images = max(FEW, images // 2)
            elif tested > 200:
                case.data = case.data.limited(max(200, tested // 2))
            elif wishes.only is None and (dear := _too_dear(settings, case.data, wishes, estimate)):
                dropped |= {
                    name: f"it would take {duration(seconds)} on this device: name it with --only, or give --images"
                    for name, seconds in dear.items()
                }
            elif tested > FEW:
                case.data = case.data.limited(max(FEW, tested // 2))
            else:
                break
            settings, skipped = _allowed(replace(wishes, images=images), case, images, budget)
            settings = {name: own for name, own in settings.items() if name not in dropped}
            estimate = estimate.without_measuring(_work(settings, case.data, wishes))
        if images < asked or dropped:
            tested = f", and {len(case.data.test[1])} of {whole:,} are tested on" * (
                len(case.data.test[1]) < whole
            )
            left = (
                f"; left out: {', '.join(metrics.describe(name).short for name in dropped)}"
                if dropped
                else ""
            )
            notes.append(
                f"only {images} images are corrupted, attacked and explained{tested}{left}, so that it takes "
                f"{duration(estimate.total)}: --images takes more"
            )
        limits = [each for each in (case.batch, budget.backward if budget else None) if each is not None]
        at_once = max(1, min(limits)) if limits else None
        return cls(settings, skipped | dropped, estimate, notes, at_once)


class Bench:
    """All networks of a case, measured metric by metric: ``rows``, ``skipped`` and ``corruptions``, one entry per ticket."""

    def __init__(self, case: Case, plan: Plan, wishes: Wishes, seed: int, device: torch.device, folder: Path):
        data, self.plan, self.wishes = case.data, plan, wishes
        kind = Subject if _corrupts(plan.settings, data, wishes) else _Uncorrupted
        self.denses = [kind(each.model, data, None, seed, device, cache=folder) for each in case.denses]
        first = self.denses[0] if self.denses else None
        self.tickets = [
            kind(each.model, data, each.mask, seed, device, first, folder) for each in case.tickets
        ]
        self.rows: list[list[Row]] = [[] for _ in self.tickets]
        self.skipped = [dict(plan.skipped) for _ in self.tickets]
        self.corruptions: list[list[Share]] = [[] for _ in self.tickets]
        self._notes = case.notes
        self._memory = _Memory(folder / "measured", case, seed, str(device)) if wishes.cache else None

    def pair(self, k: int) -> tuple[Subject, Subject]:
        """Return ticket k and the dense network, or itself where there is none."""
        return self.tickets[k], (self.denses or [self.tickets[k]])[0]

    def measure(self, bar: tqdm) -> None:
        """Measure all; what fails leaves the other metrics."""
        for name, settings in self.plan.settings.items():
            bar.set_description_str(metrics.describe(name).label)
            try:
                with at_most(self.plan.at_once) if self.plan.at_once else contextlib.nullcontext():
                    self._measure(name, settings)
            except Exception as error:
                # of the dense network: there is nothing to compare with
                for skipped in self.skipped:
                    skipped[name] = reason(error)
            bar.update(round(self.plan.estimate.of[name], 1))

    def _measure(self, name: str, settings: Mapping[str, Any]) -> None:
        theirs: list[Measurement] = []
        own = (self.wishes.tolerances or {}).get(name)
        limit = metrics.describe(name).tolerance if own is None else Tolerance(own)
        for k in range(len(self.tickets)):
            if self._memory and (known := self._memory.read(k, name, settings, limit)):
                row, self.corruptions[k] = known[0], known[1] or self.corruptions[k]
                self.rows[k].append(row)
                continue
            with _differentiable(name):
                theirs = theirs or [_measured(each, name, settings, "dense network") for each in self.denses]
            try:
                with _differentiable(name):
                    row = self._row(k, name, settings, theirs, limit)
            except Exception as error:
                # The other metrics still count.
                self.skipped[k][name] = reason(error)
                continue
            shares: list[Share] = []
            if self.denses and _corrupted_itself(name, settings):
                shares = self.corruptions[k] = by_corruption(*self.pair(k), settings["images"])
            self.rows[k].append(row)
            if self._memory:
                self._keep(self._memory, k, name, settings, limit, row, shares)

    def _keep(self, memory: _Memory, *measured: Any) -> None:
        """Keep a row for the next card; where it cannot be kept, it is a row all the same."""
        try:
            memory.write(*measured)
        except OSError as error:
            note = f"not all that was measured is kept for the next card: {error.strerror} in {memory.folder}"
            if note not in self._notes:
                self._notes.append(note)

    def _row(
        self, k: int, name: str, settings: Mapping[str, Any], theirs: list[Measurement], limit: Tolerance
    ) -> Row:
        about, kind, (ticket, dense) = metrics.describe(name), METRICS[name], self.pair(k)
        ours = _measured(ticket, name, settings, "ticket")
        images = min(
            [settings.get("images", math.inf), *(len(getattr(ticket.data, s)[1]) for s in kind.splits[-1:])]
        )
        extra = {key: value for key, value in ours.extra.items() if key not in kind.bulky}
        common = (name, about.label, about.dimension, about.direction, about.unit, ours.value, ours.error)
        if not theirs:
            low, high = alone(ours)
            nothing = math.nan, None, math.nan
            return Row(
                *common, *nothing, low, high, limit.of(ours.value), "measured", ours.samples, "images", images, extra=extra
            )  # fmt: skip
        fifths = fifths_error(name, settings, ticket, dense) if about.over == "fifths" else None
        same = checks.one_network(ticket, dense)
        found = difference(about, ours, theirs[0], (ticket, dense), fifths, int(images), same)
        tolerance = limit.of(theirs[0].value)
        low, high = found.low, found.high
        word = judge(low, high, about.direction, tolerance, math.inf if same else found.images)
        if found.over == NOTHING:
            word = "undecided"
        chance, certain = 1 / len(ticket.data.class_names), alone(ours)[about.direction == "lower"]
        # from the floor a network may rise, but not by guessing
        if about.at_floor(theirs[0].value, tolerance, chance) and (
            word != "better" or about.at_floor(certain, tolerance, chance)
        ):
            word = "floor"
        needed = images_needed(found, about.direction, tolerance) if word == "undecided" else None
        band, place = _retraining([m.value for m in theirs], ours.value, about.direction)
        variants = {
            variant: _variant(ours.variants[variant], theirs[0].variants[variant])
            for variant in ours.variants
            if variant in theirs[0].variants
            and (not isinstance(ticket, _Uncorrupted) or not variant.startswith("corrupted"))
        }
        dense_extra = {key: value for key, value in theirs[0].extra.items() if key not in kind.bulky}
        return Row(
            *common, theirs[0].value, theirs[0].error, found.value, low, high, tolerance, word, ours.samples, found.over,
            found.images, needed, band, place, len(theirs), variants, extra, dense_extra,
        )  # fmt: skip


# --- what to measure


class _Uncorrupted(Subject):
    """A subject whose images are not corrupted, since they are too small or nobody asked: calibration is measured on clean
    images alone."""

    def corrupted_logits(self, images: int, held_out: bool = False) -> dict[str, Tensor]:
        return {"none": self.logits(self.sample(images)[0][:])[None]}

    def corrupted_labels(self, images: int) -> Tensor:
        return self.sample(images)[1].cpu()


def _count(images: int | None, data: Dataset) -> int:
    return min(images or (1000 if data.size <= LARGE else 100), len(data.test[1]))


def _budget(case: Case, where: torch.device) -> Budget | None:
    """Return what fits into the memory given, and let as many images at a time through the networks."""
    if case.memory is None:
        return None
    networks = [each.model for each in (*case.tickets, *case.denses)]
    budget = Budget.of(case.memory, networks, case.data.test[0][:4], where)
    for network in networks:
        if isinstance(network, Network):
            network.batch = min(network.batch or budget.forward, budget.forward)
    return budget


def _too_large(metric: metrics.Metric, case: Case, budget: Budget) -> str:
    """Return why a metric does not fit into memory; empty if it does."""
    networks, allowed = [*case.tickets, *case.denses], amount(budget.memory, "B")
    if metric.second_order and not budget.backward:
        return f"its second derivatives do not fit into {allowed}, not even of one image"
    # those of all networks, and of the dense one over each ticket's weights, are kept, in the weights and in the inputs
    count = len(networks) + len(case.tickets) * bool(case.denses)
    held = count * metric.vectors(Shape.of(case.data), max(each.mask.kept for each in networks))
    if held > budget.vectors / 2:
        return f"it keeps {amount(held, 'B')} of vectors, more than fits into {allowed}"
    return ""


def _allowed(
    wishes: Wishes, case: Case, images: int, budget: Budget | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return metric → settings for what these data allow, and metric → reason for what they do not."""
    data, given = case.data, wishes.settings or {}
    if images < 10:
        raise SettingError(f"want 10 test images or more to judge by, got {images}")
    plan, skipped = {}, {}
    for name in wishes.wanted:
        own, kind = given.get(name, {}), METRICS[name]
        if reason := metrics.build(name, **own).obstacle(data):
            skipped[name] = reason
        elif kind.relative and not case.denses:
            skipped[name] = "it compares with a dense network, and none was given"
        else:
            suited = kind.suited(data, images)
            if wishes.images and (most := suited.get("images", _default(kind))):
                suited["images"] = min(most, wishes.images)
            plan[name] = {**suited, **own}
            if budget and (reason := _too_large(metrics.build(name, **plan[name]), case, budget)):
                del plan[name]
                skipped[name] = reason
    if not plan:
        raise SettingError("nothing to measure: " + "; ".join(f"{m}: {why}" for m, why in skipped.items()))
    return plan, skipped


def _default(kind: type[metrics.Metric]) -> int | None:
    return kind.model_fields["images"].default if "images" in kind.model_fields else None


def _corruptible(data: Dataset) -> bool:
    return data.size >= CORRUPTIBLE or data.corrupted is not None


def _corrupted_itself(name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a metric is of corrupted images and of nothing else."""
    return {question.kind for question in _asked(name, settings)} == {"corrupted"}


def _corrupts(settings: Mapping[str, Mapping[str, Any]], data: Dataset, wishes: Wishes) -> bool:
    """Return whether images are corrupted: for a metric of such images, or for variants; then others take them along."""
    wanted = wishes.variants or any(_corrupted_itself(name, own) for name, own in settings.items())
    return wanted and _corruptible(data)


def _asked(name: str, settings: Mapping[str, Any]) -> dict[Question, float]:
    return metrics.build(name, **settings).asks(Shape(3, CORRUPTIBLE, 10, 100, 100, 100))


def _work(
    settings: Mapping[str, Mapping[str, Any]], data: Dataset, wishes: Wishes
) -> dict[str, dict[Question, float]]:
    """Return what measuring takes of each network: metric → question → forward passes of one image."""
    shape, corrupts, found = Shape.of(data), _corrupts(settings, data, wishes), {}
    for name, own in settings.items():
        metric = metrics.build(name, **own)
        work = {**metric.asks(shape), **metric.other_work(shape)}
        if not corrupts:
            work = {q: count for q, count in work.items() if q.kind not in ("corrupted", "held out")}
        # once whole and once in fifths
        times = 2 if metric.about.over == "fifths" else 1
        found[name] = {question: times * count for question, count in work.items()}
    return found


def _too_dear(
    settings: Mapping[str, Mapping[str, Any]], data: Dataset, wishes: Wishes, estimate: Estimate
) -> dict[str, float]:
    """Return the metrics to leave out, with the seconds that each would add to the others: the cheapest stay, one after the
    other, as long as all of them together take no more than ``PATIENCE``. Those of the test images alone stay always."""

    def total(names: Iterable[str]) -> float:
        return estimate.without_measuring(_work({n: settings[n] for n in names}, data, wishes)).total

    kept = [name for name, own in settings.items() if {q.kind for q in _asked(name, own)} <= {"test"}]
    rest = [name for name in settings if name not in kept]
    while rest:
        adds = {name: total([*kept, name]) for name in rest}
        cheapest = min(adds, key=adds.__getitem__)
        if adds[cheapest] > PATIENCE:
            base = total(kept)
            return {name: seconds - base for name, seconds in adds.items()}
        kept.append(cheapest)
        rest.remove(cheapest)
    return {}


# --- one metric


def alone(measured: Measurement) -> tuple[float, float]:
    """Return the 95% interval of a value: Wilson's for shares of images, else Student's; the value itself without an error.

    Example:
        >>> [round(end, 3) for end in alone(Measurement(0.5, 0.1, 10**6))]
        [0.304, 0.696]
    """
    if (found := hits(measured)) is not None:
        _, low, high, _ = proportion(int(found.sum()), len(found))
        return low, high
    half = student(measured.error or 0.0, max(measured.samples - 1, 1))
    return measured.value - half, measured.value + half


def _measured(subject: Subject, name: str, settings: Mapping[str, Any], which: str) -> Measurement:
    found = metrics.evaluate(subject, name, settings)
    if not math.isfinite(found.value):
        raise DataError(f"the {which} gives {found.value}: nothing to compare")
    return found


def _differentiable(name: str) -> contextlib.AbstractContextManager[Any]:
    """Fused attention has no second derivative; the plain formula has."""
    return sdpa_kernel(SDPBackend.MATH) if METRICS[name].second_order else contextlib.nullcontext()


def _retraining(dense: list[float], ticket: float, direction: str) -> tuple[tuple[float, float] | None, str]:
    """Return where one more training of the dense network would lie, by several, and whether the ticket does."""
    if len(dense) < 2 or len(set(dense)) == 1:
        return None, ""
    low, high = Band.of(dense).predict(1)
    if low <= ticket <= high:
        return (low, high), "within"
    return (low, high), "better" if (ticket > high) == (direction == "higher") else "worse"


def _variant(ticket: Measurement, dense: Measurement) -> dict[str, float | None]:
    change = paired(ticket, dense)
    half = None if change.error is None else student(change.error, max(change.samples - 1, 1))
    ends = (None, None) if half is None else (change.value - half, change.value + half)
    return dict(ticket=ticket.value, dense=dense.value, difference=change.value, low=ends[0], high=ends[1])


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


def reason(error: Exception) -> str:
    """Return why something was not measured, in one line."""
    if isinstance(error, LotteryError):
        return str(error)
    _log.debug("not measured", exc_info=error)
    first = (str(error).strip().splitlines() or [""])[0]
    if type(error) is RuntimeError or type(error).__module__.startswith("torch"):
        return f"PyTorch says: {first or type(error).__name__}"
    return f"it failed with {type(error).__name__}{': ' * bool(first)}{first}"


# --- what an interrupted card has measured


class _Memory:
    """Rows kept in a folder, under a digest of all that decides them: networks, images, settings, versions."""

    def __init__(self, folder: Path, case: Case, seed: int, device: str):
        self.folder = folder
        dense = [_content(each.model, each.digest) for each in case.denses]
        self.networks = [[_content(each.model, each.digest), *dense] for each in case.tickets]
        splits = [split for name in ("train", "val", "test") for split in getattr(case.data, name)]
        own = case.data.corrupted
        corrupted = {name: list(map(_pixels, sets)) for name, sets in own.images.items()} if own else {}
        outliers = {name: _pixels(images) for name, images in case.data.outliers.items()}
        data = [list(map(_pixels, splits)), outliers, corrupted]
        self.common = [data, seed, device, versions(), case.data.name]

    def read(
        self, k: int, name: str, settings: Mapping[str, Any], limit: Tolerance
    ) -> tuple[Row, list[Share]] | None:
        path = self._path(k, name, settings, limit)
        try:
            found = json.loads(path.read_text())
            band = found["row"].pop("band")
            row = Row(**found["row"], band=None if band is None else tuple(band))
            return row, [Share(**share) for share in found["shares"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(
        self, k: int, name: str, settings: Mapping[str, Any], limit: Tolerance, row: Row, shares: list[Share]
    ) -> None:
        content = {"row": asdict(row), "shares": [share._asdict() for share in shares]}
        write_whole(self._path(k, name, settings, limit), json.dumps(content).encode())

    def _path(self, k: int, name: str, settings: Mapping[str, Any], limit: Tolerance) -> Path:
        version = metrics.describe(name).version
        key = [self.common, self.networks[k], name, version, dict(settings), asdict(limit)]
        return self.folder / f"{sha256(json.dumps(key, default=str).encode())[:32]}.json"


def _pixels(images: Images) -> str:
    """Return a digest of images; of those in files by their names, sizes and times."""
    if isinstance(images, Tensor):
        return sha256(images.cpu().numpy().tobytes())
    files = [images.path(i) for i in range(len(images))]
    seen = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return sha256(repr((images.reader, seen)).encode())


def _content(model: nn.Module, digest: str) -> str:
    state = b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in model.state_dict().values())
    return sha256(state + repr(model).encode() + digest.encode())
