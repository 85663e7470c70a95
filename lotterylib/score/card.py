"""The scorecard: every metric of a pruned network beside its dense twin's, and a verdict on each difference."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from .. import metrics, verdict
from ..datasets import CORRUPTIONS, Dataset, corrupt
from ..efficiency.speed import Size, Speed, size_of, speeds
from ..errors import DataError, LotteryError, SettingError, UnknownNameError
from ..machine.devices import device_name, pick_device
from ..machine.revision import versions
from ..masks import Mask
from ..metrics import Measurement, Subject, paired
from ..rng import generator
from ..ticket import Ticket
from ..training import predict
from . import checkpoints
from .checkpoints import Checkpoint, Network
from .programs import Program
from .sources import dataset

Z = verdict.student(1.0)  # standard errors on either side of a 95 % interval
_WITH_CONCEPTS = ("digits", "fashion-mini", "fashion-mnist")  # for which datasets.concepts has rules
_OVER = {  # beside images, what the intervals of these metrics are over
    "hessian_trace": "random probes",
    "pac_bayes_sigma": "random draws of noise",
    "input_trace": "random probes",
}
BY_FIFTHS = ("hessian_trace", "hessian_top", "pac_bayes_sigma")  # of a whole set of images, no mean over them
T = verdict.student(1.0, freedom=4)  # standard errors on either side, where five numbers tell what one is
LARGE = 64  # pixels a side above which images are many pixels: fewer of them are looked at, in smaller pieces


@dataclass(frozen=True)
class Row:
    """One metric: of the ticket, of the dense network, and their difference (ticket − dense) with its 95 % interval
    ``low`` to ``high``: the normal interval, ``difference`` ± 1.96 standard errors. No interval (the two equal
    ``difference``) where the metric has no sampling error.

    ``over``: what was sampled. "images": the standard error is that of the paired bootstrap, which draws the images anew
    and shows both networks the same ones. For means over images (accuracy, NLL …) that is a closed form, the error of
    the images' mean difference, what a bootstrap of infinitely many resamples gives; for corruption error (delta method)
    and AUROC (DeLong) a closed form that agrees with it in large samples; for all others (calibration errors, FPR95,
    AUPR, dissection) the spread of 200 resamples; recall loss has the error of the worst class's own recall. "images, by
    fifths": curvature in the weights and the noise that they bear belong to a whole set of images and are measured again
    on five disjoint fifths of it (``_of_fifths``), 2.78 standard errors on either side. "… and random probes", "… and random
    draws of noise": what these add is in it. Without images in front: these alone, where a fifth gave no number. "nothing":
    there is no interval.

    ``tolerance`` is what counts as comparable, in the metric's own unit. ``verdict``: "better" or "worse" if the
    interval lies beyond the tolerance, "holds" if it does not reach beyond it on the bad side, else "undecided"."""

    metric: str
    label: str
    dimension: str
    direction: str
    unit: str
    ticket: float
    ticket_error: float | None
    dense: float
    dense_error: float | None
    difference: float
    low: float
    high: float
    tolerance: float
    verdict: str
    samples: int
    over: str = "images"
    variants: dict[str, dict[str, float | None]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    dense_extra: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Scorecard:
    """All that was measured. ``skipped``: metric → why it was not; ``costs`` and ``speed``: "dense" and "ticket" → what
    they take; ``notes``: what a reader should know; ``about``: data, network, settings, device, versions.

    ``print(card)`` shows it; ``to_json``, ``to_html`` and ``save`` write it.
    """

    rows: list[Row]
    skipped: dict[str, str]
    sparsity: float
    costs: dict[str, Size]
    speed: dict[str, Speed]
    notes: list[str]
    about: dict[str, Any]
    diagrams: dict[str, Any] = field(
        default_factory=dict, repr=False
    )  # what the figures need beside the rows

    def __getitem__(self, metric: str) -> Row:
        for row in self.rows:
            if row.metric == metric:
                return row
        raise UnknownNameError("metric of this scorecard", metric, [row.metric for row in self.rows])

    def of(self, verdict: str) -> list[Row]:
        """The rows with a verdict: one of "better", "holds", "undecided", "worse"."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def passes(self) -> bool:
        """Whether it holds up (or is better) in every metric that was measured, none undecided: a card that skipped
        some says so."""
        return all(row.verdict in ("better", "holds") for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "about": self.about,
            "sparsity": self.sparsity,
            "passes": self.passes,
            "metrics": [asdict(row) for row in self.rows],
            "skipped": self.skipped,
            "costs": {name: asdict(size) for name, size in self.costs.items()},
            "speed": {name: asdict(speed) for name, speed in self.speed.items()},
            "notes": self.notes,
        }

    def to_json(self) -> str:
        return json.dumps(_finite(self.to_dict()), indent=1, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """One page that needs no other file and no network: the table, where it breaks, and the figures."""
        from .report import page

        return page(self)

    def __str__(self) -> str:
        from .report import text

        return text(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes ``scorecard.json`` and ``scorecard.html``; their paths."""
        from ..files import write_whole

        paths = []
        for name, content in (("scorecard.json", self.to_json()), ("scorecard.html", self.to_html())):
            paths.append(Path(folder) / name)
            write_whole(paths[-1], content.encode())
        return paths


def scorecard(
    model: nn.Module | Ticket | str | Path,
    dense: nn.Module | Ticket | str | Path,
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
    told: Callable[[str], None] | None = None,
) -> Scorecard:
    """Judges a pruned network against its dense twin in all four dimensions.

    ``model`` and ``dense``: modules (masks of ``torch.nn.utils.prune`` are understood), tickets, or files: a state dict
    (needs ``arch``), a ticket, or a ``torch.export`` archive. ``arch``: a name of ``models.names()`` (with
    ``arch_settings``), ``torchvision:NAME``, or an untrained module. ``data``: see ``sources.dataset``; ``size``,
    ``resize`` and ``limit`` go there. ``mean`` and ``std`` (one number a channel): what a network that expects
    normalised images is given them by; this library's own normalise by themselves.

    ``images``: at most so many are corrupted, attacked and explained (default 1,000; 100 above 64 pixels a side).
    ``only``: metrics to measure (default: all); ``settings``: metric → its own settings; ``tolerances``: metric → what
    counts as comparable, in its own unit. ``cache``: a folder that keeps corrupted images for the next card. ``speed``:
    whether to time both networks. ``told``: called with each line of news before the long work starts.

    Each difference comes with its 95 % interval, the normal one with the standard error of the paired bootstrap over
    images; that of curvature and noise in the weights comes from fifths of the images (see ``Row``). Each network is one
    training: what another seed would change, no interval here covers.

    The networks are left as found. Raises ``DataError`` or ``SettingError``, in one line, for what does not fit.
    """
    began, told = time.perf_counter(), told or (lambda line: None)
    device_name(device)  # there, or one line says that it is not
    device = pick_device(device)
    wanted = _wanted(only, settings)
    data, notes, networks, masks = _prepare(
        model, dense, data, arch, arch_settings or {}, mean, std, size, resize, limit, seed
    )
    images = min(images or (1000 if data.size <= LARGE else 100), len(data.test[1]))
    if images < 10:
        raise SettingError(f"want 10 test images or more to judge by, got {images}")
    plan, skipped = _plan(wanted, data, images, settings or {}, networks["dense"])
    if not plan:
        raise SettingError("nothing to measure: " + "; ".join(f"{m}: {why}" for m, why in skipped.items()))
    with contextlib.ExitStack() as stack:
        folder = Path(cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="lottery-")))
        twin = Subject(networks["dense"], data, None, seed, device, cache=folder)
        ticket = Subject(networks["ticket"], data, masks["ticket"], seed, device, twin, folder)
        if data.size < 32:
            twin, ticket = _Uncorrupted.like(twin), _Uncorrupted.like(ticket)
            ticket.dense = twin
        work = {name: _work(name, each, data, images) for name, each in plan.items()}
        cost = _probe(
            networks, data, device, any(key[:1] == ("corrupted",) for w in work.values() for key in w)
        )
        total = sum(cost(key, count) for key, count in _merged(work.values()).items())
        told(
            f"{data.name}: {len(data.test[1]):,} test images, {data.classes} classes; {len(plan)} metric{'s' * (len(plan) > 1)} of 2 networks"
        )
        total += 4.0 if speed else 0.0
        told(f"about {_duration(total)} on this device ({device.type})")
        right = [_right(each, which) for each, which in ((twin, "dense network"), (ticket, "pruned network"))]
        told(f"right: the dense network on {right[0]:.1%} of them, the pruned one on {right[1]:.1%}")
        if right[0] < 1.5 / data.classes:
            notes.append(
                f"the dense network is right on {right[0]:.1%} of the images, hardly more than guessing: check mean "
                "and std, and that the classes are numbered as in training (folders: sorted by name)"
            )
        for note in notes:
            told(note)
        rows, done = [], set()
        bar = tqdm(total=round(total, 1), disable=not progress, unit="s", leave=False, bar_format=_BAR)
        stack.enter_context(_ticking(bar))
        for name, each in plan.items():
            bar.set_description_str(metrics.describe(name).label)
            try:
                rows.append(_row(name, each, ticket, twin, tolerances or {}))
            except LotteryError as error:
                skipped[name] = str(error)
            except RuntimeError as error:  # out of memory, no derivative: the other metrics still count
                skipped[name] = f"PyTorch says: {(str(error) or type(error).__name__).splitlines()[0]}"
            new = {key: count for key, count in work[name].items() if key not in done}
            done |= set(new)
            bar.update(round(sum(cost(key, count) for key, count in new.items()), 1))
        diagrams = _diagrams(ticket, twin)
    shape = data.train[0].shape[1:]
    costs = {n: size_of(networks[n].cpu(), masks[n], shape) for n in ("dense", "ticket")}
    times = {}
    if speed:  # batches that take about a tenth of a second bound the time of this to a few seconds
        batch = max(1, min(100, int(0.1 / (cost(("test",), 1) / 2))))
        times = speeds(networks, shape, batch_size=batch, rounds=8, device=device)
    about = {
        "data": data.name, "test images": len(data.test[1]), "classes": data.classes,
        "pixels": list(shape), "ticket": _called(model), "dense": _called(dense),
        "arch": arch if isinstance(arch, str) else None, "seed": seed, "device": device.type,
        "threads": torch.get_num_threads(), "settings": plan, "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
    }  # fmt: skip
    sparsity = 1 - masks["ticket"].kept / Mask.ones(networks["dense"]).total
    return Scorecard(rows, skipped, sparsity, costs, times, notes, about, diagrams)


_BAR = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}<{remaining}"


@contextlib.contextmanager
def _ticking(bar: tqdm) -> Iterator[None]:
    """Shows the time go by within a long metric, too; closes the bar in the end."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(1.0):
            bar.refresh()

    clock = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        clock.start()
    try:
        yield
    finally:
        over.set()
        if clock.is_alive():
            clock.join()
        bar.close()


def _wanted(only: Iterable[str] | None, settings: Mapping[str, Any] | None) -> list[str]:
    """The metrics to measure, in the registry's order."""
    chosen = list(metrics.names() if only is None else only)
    for name in [*chosen, *(settings or {})]:
        if name not in metrics.names():
            raise UnknownNameError("metric", name, metrics.names())
    return [name for name in metrics.names() if name in chosen]


def _prepare(model, dense, source, arch, arch_settings, mean, std, size, resize, limit, seed):
    """Data, notes, networks and masks, both under "ticket" and "dense"."""
    found = {"ticket": _opened(model), "dense": _opened(dense)}
    names = {"ticket": _called(model), "dense": _called(dense)}
    for name, each in found.items():
        if each.model is None and arch is None:
            raise SettingError(
                f"{names[name]} is a state dict, which does not say what network it is of: give arch, e.g. "
                f"{checkpoints.TORCHVISION}resnet18, or export the network with torch.export"
            )
    foreign = isinstance(arch, str) and arch.startswith(checkpoints.TORCHVISION)
    takes = _takes(found, None if arch is None or isinstance(arch, str) else arch)
    if size is None:
        size = takes[1] or (224 if foreign else 32)
    if resize is None:
        resize = round(size * 256 / 224) if size > LARGE else size
    data, notes = dataset(source, size=size, resize=resize, channels=takes[0] or 3, limit=limit, seed=seed)
    grey = data.channels == 1 and takes[0] == 3
    if takes[0] not in (None, data.channels) and not grey:
        raise DataError(
            f"the network takes {takes[0]} channel(s), the images of {data.name} have {data.channels}"
        )
    if grey:
        notes.append("the images are grey: the networks are shown three equal channels")
    networks, masks = {}, {}
    for name, each in found.items():
        if each.model is None:
            body = arch
            if isinstance(arch, str):
                body = checkpoints.build(
                    arch, data.classes, takes[0] or data.channels, data.size, arch_settings
                )
            body, mask = checkpoints.fit(each, body, data.classes if isinstance(arch, str) else None)
        else:
            body, mask = each.model, checkpoints.mask_of(each.model, each.masks)
            fixed = body.input_shape[0] if isinstance(body, Program) else None
            if fixed is not None and fixed < 32:
                notes.append(
                    f"{names[name]} was exported for {fixed} image(s) at a time, which takes long: torch.export.export(…, "
                    "dynamic_shapes=({0: torch.export.Dim('batch')},)) lets it take any number"
                )
        network, prefix = body, ""
        if mean is not None or std is not None or grey or data.size > LARGE:
            batch = 32 if data.size > LARGE else None
            network, prefix = Network(body, mean, std, grey, batch).eval(), "net."
        checkpoints.try_out(network, data.train[0].shape[1:], data.classes, names[name])
        networks[name], masks[name] = network, Mask({prefix + n: t for n, t in mask.items()})
    kept = {name: mask.kept for name, mask in masks.items()}
    if kept["dense"] < kept["ticket"]:
        notes.append(
            f"the dense network keeps fewer weights ({kept['dense']:,}) than the pruned one ({kept['ticket']:,}): are they "
            "in the wrong order?"
        )
    masks["dense"] = None
    return data, notes, networks, masks


def _opened(given: nn.Module | Ticket | str | Path) -> Checkpoint:
    if isinstance(given, (str, Path)):
        return checkpoints.read(given)
    if isinstance(given, Ticket):
        return Checkpoint(Path(), masks=dict(given.mask), model=checkpoints.plain(given.model))
    if isinstance(given, nn.Module):
        return Checkpoint(Path(), masks=checkpoints.masks_in(given), model=checkpoints.plain(given))
    raise SettingError(f"want a module, a ticket or the path of a file, got {type(given).__name__}")


def _called(given: Any) -> str:
    if isinstance(given, (str, Path)):
        return Path(given).name
    return str(given.record.get("pruner", "ticket")) if isinstance(given, Ticket) else type(given).__name__


def _takes(found: Mapping[str, Checkpoint], arch: nn.Module | None) -> tuple[int | None, int | None]:
    """Channels, and pixels a side where they are fixed, that the networks take; None where nothing says so."""
    channels = size = None
    for each in found.values():
        if each.model is not None:
            channels = channels or checkpoints.input_channels(each.model)
            shape = getattr(each.model, "input_shape", None)
            spec = getattr(each.model, "spec", None)
            size = size or (shape[3] if shape else spec["size"] if spec else None)
        elif arch is not None:
            channels = channels or checkpoints.input_channels(arch)
        else:
            channels = channels or next((t.shape[1] for t in each.state.values() if t.dim() == 4), None)
    return channels, size


def _plan(
    wanted: Sequence[str],
    data: Dataset,
    images: int,
    given: Mapping[str, Mapping[str, Any]],
    dense: nn.Module,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Metric → settings for what these data allow, and metric → reason for what they do not."""
    plan, skipped = {}, {}
    few = min(200 if data.size <= LARGE else 24, len(data.train[1]))
    grey = data.channels == 1
    settings: dict[str, dict[str, Any]] = {
        **dict.fromkeys(("corruption_error", "corrupted_accuracy", "fgsm_accuracy"), {"images": images}),
        **dict.fromkeys(("ece", "sce", "ace", "nll", "brier"), {"images": images}),
        "pgd_accuracy": {"images": max(10, images // 2)},
        **dict.fromkeys(("fidelity", "fidelity_r2"), {"images": min(50, images)}),
        "stability": {"images": min(100, images)},
        **dict.fromkeys(("explained_units", "unit_iou"), {"images": min(2000, len(data.test[1]))}),
        **dict.fromkeys(
            ("hessian_trace", "hessian_top", "input_trace", "input_top", "pac_bayes_sigma"), {"images": few}
        ),
    }
    outliers = [
        s for s in ("digits", "gaussian", "uniform") if s.partition("-")[0] != data.name.partition("-")[0]
    ]
    for name in wanted:
        reason = None
        if name.startswith("ood"):
            settings[name] = {
                "sets": outliers if grey or data.name != "digits" else ["fashion-mini", *outliers]
            }
            if data.channels not in (1, 3):
                reason = f"outliers come in 1 or 3 channels, the images have {data.channels}"
        elif name in ("corruption_error", "corrupted_accuracy"):
            if data.size < 32:
                reason = f"corruptions need images of 32 pixels a side, these have {data.size}"
            elif data.channels not in (1, 3):
                reason = f"corruptions are defined for 1 or 3 channels, the images have {data.channels}"
        elif name in ("explained_units", "unit_iou") and not (
            data.name in _WITH_CONCEPTS or given.get(name, {}).get("broden")
        ):
            reason = (
                f"needs images whose concepts are known pixel by pixel: {', '.join(_WITH_CONCEPTS)}, or, in colour, a "
                "folder of Broden (setting broden)"
            )
        if reason:
            skipped[name] = reason
        else:
            plan[name] = {**settings.get(name, {}), **given.get(name, {})}
    return plan, skipped


class _Uncorrupted(Subject):
    """For images too small to corrupt: calibration is measured on clean images alone."""

    @classmethod
    def like(cls, subject: Subject) -> _Uncorrupted:
        return cls(
            subject.model,
            subject.data,
            subject.mask,
            subject.seed,
            subject.device,
            subject.dense,
            subject.cache,
        )

    def corrupted_logits(self, images: int, held_out: bool = False):
        return {"none": self.logits(self.sample(images)[0])[None]}


def judge(low: float, high: float, direction: str, tolerance: float) -> str:
    """``verdict.judge`` with a word more: "better" where the interval lies beyond the tolerance on the good side."""
    if (low if direction == "higher" else -high) > tolerance:
        return "better"
    words = {"pass": "holds", "fail": "worse", "undecided": "undecided"}
    return words[verdict.judge(low, high, direction, tolerance)]


def _row(
    name: str, settings: Mapping[str, Any], ticket: Subject, dense: Subject, given: Mapping[str, float]
) -> Row:
    about = metrics.describe(name)
    curved = about.dimension == "geometry"  # fused attention has no second derivative; the plain formula has
    with sdpa_kernel(SDPBackend.MATH) if curved else contextlib.nullcontext():
        measured, twin = (metrics.evaluate(subject, name, settings) for subject in (ticket, dense))
        of_fifths = _of_fifths(name, settings, ticket, dense) if name in BY_FIFTHS else None
    for subject, found in ((ticket, measured), (dense, twin)):
        if not math.isfinite(found.value):
            which = "ticket" if subject is ticket else "dense network"
            raise DataError(f"the {which} gives {found.value}: nothing to compare")
    difference = paired(measured, twin)
    tolerance = given.get(name, verdict.TOLERANCES[name].of(twin.value))
    error, width, over = difference.error, Z, "" if name in BY_FIFTHS else "images"
    if of_fifths is not None:
        error, width, over = math.hypot(of_fifths, error or 0.0), T, "images, by fifths"
    if difference.error is not None:
        over = " and ".join(filter(None, (over, _OVER.get(name))))
    width *= error or 0.0
    width = 0.0 if width < 1e-6 * tolerance else width  # what rounding leaves of equal networks
    low, high = difference.value - width, difference.value + width
    found = judge(low, high, about.direction, tolerance)
    clean = isinstance(ticket, _Uncorrupted)
    variants = {
        n: {
            "ticket": m.value, "dense": twin.variants[n].value, "difference": d.value,
            "low": d.value - Z * d.error if d.error is not None else None,
            "high": d.value + Z * d.error if d.error is not None else None,
        }
        for n, m in measured.variants.items()
        if n in twin.variants and not (clean and n.startswith("corrupted"))
        for d in [difference.variants[n]]
    }  # fmt: skip
    return Row(
        name, about.label, about.dimension, about.direction, about.unit, measured.value, measured.error,
        twin.value, twin.error, difference.value, low, high, tolerance, found, measured.samples,
        over if error is not None else "nothing", variants,
        _short(measured), _short(twin),
    )  # fmt: skip


def _of_fifths(name: str, settings: Mapping[str, Any], ticket: Subject, dense: Subject) -> float | None:
    """Standard error over images of the difference in a metric of one whole set of training images, by subsampling (Politis
    & Romano, 1994): measured on each of five disjoint fifths, drawn at random, the same for both networks,

        error = s / √5,    s = standard deviation of the five differences,

    since error falls with the square root of the number of images. None where a fifth gives no number."""
    images, labels = ticket.sample(settings["images"], "train")
    order = torch.randperm(len(labels), generator=generator(ticket.seed, "fifths"))
    differences = []
    for part in order.chunk(5):
        data = replace(ticket.data, train=(images[part], labels[part]))
        try:
            pair = [
                metrics.evaluate(
                    Subject(each.model, data, each.mask, each.seed, each.device),
                    name,
                    {**settings, "images": len(part)},
                ).value
                for each in (ticket, dense)
            ]
        except LotteryError:
            return None
        differences.append(pair[0] - pair[1])
    found = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) == 5 else math.nan
    return found if math.isfinite(found) else None


def _right(subject: Subject, which: str) -> float:
    """Share of the test images; their logits are kept for the metrics."""
    try:
        return metrics.generalization.accuracy(subject.test_logits, subject.test_labels)
    except DataError as error:
        raise DataError(f"the {which} cannot be judged: {error}") from None


def _short(measured: Measurement) -> dict[str, Any]:
    """What the figures and the reader need, without what each image did."""
    return {k: v for k, v in measured.extra.items() if k not in ("mistakes", "ious", "formulas", "concepts")}


def _diagrams(ticket: Subject, dense: Subject) -> dict[str, Any]:
    found = {}
    for name, subject in (("dense", dense), ("ticket", ticket)):
        probabilities = subject.test_logits.double().softmax(dim=1)
        found[name] = metrics.calibration.reliability(probabilities, subject.test_labels)
    return {"reliability": found}


# --- how long it takes


def _work(name: str, settings: Mapping[str, Any], data: Dataset, images: int) -> dict[tuple, float]:
    """What a metric asks of a network, as forward passes of single images; metrics with a key in common share it."""
    count, test = settings.get("images", images), len(data.test[1])
    work: dict[tuple, float] = {}
    if name in ("accuracy", "recall_loss"):
        work["test",] = test
    elif name.startswith("ood"):
        work |= {("test",): test, ("outliers",): 1000 * len(settings["sets"])}
    elif name in ("corruption_error", "corrupted_accuracy", "ece", "sce", "ace", "nll", "brier"):
        kept = "corrupted" if data.size >= 32 else "sample"
        work |= {("test",): test, (kept, count): count * (75 if data.size >= 32 else 1)}
        if name in ("ece", "sce", "ace"):
            work["bins", name] = 0.15 * count * data.classes  # no passes, but as long as so many
    elif name == "fgsm_accuracy":
        work["fgsm",] = 10 * count
    elif name == "pgd_accuracy":
        work["pgd",] = 2 * count * (3 * settings.get("steps", 10) + 1)
    elif name in ("fidelity", "fidelity_r2"):
        work["lime", count] = count * settings.get("samples", 400)
    elif name == "stability":
        work["stability",] = 2 * count * settings.get("samples", 100)
    elif name in ("explained_units", "unit_iou"):
        work["dissection", count] = 8 * count
    elif name in ("hessian_trace", "hessian_top"):
        work["weights",] = 2 * 6 * 29 * count
    elif name in ("input_trace", "input_top"):
        work["inputs",] = 6 * 19 * count
    elif name == "pac_bayes_sigma":
        work["pac-bayes",] = 2 * 2 * 9 * settings.get("draws", 12) * count
    return work


def _merged(work: Iterable[Mapping[tuple, float]]) -> dict[tuple, float]:
    every: dict[tuple, float] = {}
    for each in work:
        every |= each
    return every


def _probe(
    networks: Mapping[str, nn.Module], data: Dataset, device: torch.device, corrupts: bool
) -> Callable[[tuple, float], float]:
    """Seconds of an amount of work, both networks together, from a second or two of measuring."""
    few = data.test[0][: 250 if data.size <= LARGE else 8]  # as many as a batch of most metrics
    forward = 0.0
    for network in networks.values():
        predict(network, few, device=device)
        times = []
        while len(times) < 3 or sum(times) < 0.3 and len(times) < 20:
            began = time.perf_counter()
            predict(network, few, device=device)
            times.append(time.perf_counter() - began)
        forward += statistics.median(times) / len(few)
    generate = 0.0
    if corrupts:
        began = time.perf_counter()
        for name in CORRUPTIONS[:15]:
            corrupt(few[:2], name, 3)
        generate = (time.perf_counter() - began) / 2 / 15

    def seconds(key: tuple, count: float) -> float:
        return count * (forward + (generate if key[0] == "corrupted" else 0))

    return seconds


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
