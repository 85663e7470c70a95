"""Measuring a scorecard: every metric of a pruned network against the dense one, and a verdict on each difference."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from .. import metrics
from ..efficiency.macs import multiply_adds
from ..efficiency.speed import Size, Speed, size_of, speeds
from ..errors import DataError, SettingError, UnknownNameError, one_line
from ..machine.devices import device_name, pick_device
from ..machine.revision import versions
from ..masks import Mask
from ..metrics import Subject
from ..text import amount, duration, opening
from . import checks, differences
from .bench import Bench, Plan, Wishes, reason
from .estimate import BAR, ticking
from .foreign.modules import Network
from .prepare import Case, Given, Judged, Reading, prepare
from .report import Comparison, Report, check_folder
from .structure import zeros

# what timing two networks takes
SPEED_SECONDS = 4.0


def scorecard(
    model: Given,
    dense: Given | Sequence[Given] | None = None,
    data: Any = None,
    *,
    arch: str | nn.Module | None = None,
    arch_settings: Mapping[str, Any] | None = None,
    key: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
    resize: int | None = None,
    limit: int | None = None,
    batch: int | None = None,
    memory: str | int | None = None,
    classes: str | Path | None = None,
    outputs: Literal["logits", "probabilities"] | None = None,
    outliers: Any = None,
    corrupted: Any = None,
    expect: float | None = None,
    images: int | None = None,
    only: Iterable[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tolerances: Mapping[str, float] | None = None,
    variants: bool = False,
    seed: int = 0,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    speed: bool = True,
    progress: bool = True,
    on_message: Callable[[str], object] | None = None,
) -> Report:
    """Judge a pruned network against the dense one in all four dimensions.

    Each difference comes with its 95% interval (see ``Row``). Each network is one training: what another seed would
    change, no interval here covers, unless ``dense`` names several trainings. The networks are left as found.

    Args:
        model: The pruned network: a module (masks of ``torch.nn.utils.prune`` and parametrizations are understood), a
            ticket, or a file: a state dict (needs ``arch``), a ticket, or a ``torch.export`` archive.
        dense: The network that it was pruned from, likewise. Several: the first is that one, the others further trainings of
            it, and what lies within what a retraining changes is not held against the ticket. None: values alone.
        data: See ``dataset``; ``size``, ``resize`` and ``limit`` go there.
        arch: What network a state dict is of: a name of ``models.names()``, ``torchvision:NAME``, ``timm:NAME``,
            ``package.module:function`` (imported and called), or an untrained module.
        arch_settings: Settings of the network.
        key: Where in the file the state dict lies, if it is not found by itself, e.g. ``ema``.
        mean: What a network that expects normalised images is given them by, one number per channel; this library's own
            networks normalise by themselves. With torchvision's and timm's networks: their own unless given.
        std: Goes with ``mean``.
        batch: Images that go through a network at a time, which bounds its memory.
        memory: What measuring may take, e.g. "2GB", on the device: fewer images are read and go through a network at a time, and
            metrics that do not fit are left out.
        classes: A file that says which output is which class, see ``classes.read_classes``.
        outputs: What the networks give, if it is not logits.
        outliers: Sets of outliers of one's own: a folder of pictures, images, an iterable; several in a list or a mapping.
        corrupted: Corrupted images of one's own: a folder with a folder for each corruption (and, in it, for each severity),
            in which folders of the data's classes lie; or a mapping from names to (images, labels).
        expect: The test accuracy that the dense network is known to have, in [0, 1]: says whether images are prepared rightly.
        images: At most so many are corrupted, attacked, explained, and looked at for curvature (default 1,000; 100 above 64
            pixels a side, and fewer where that would take more than 15 minutes).
        only: Metrics to measure (default: all).
        settings: Metric → its own settings.
        tolerances: Metric → what counts as comparable, in its own unit.
        variants: Whether to measure calibration on corrupted images too, for its own sake.
        seed: Of the split and of all that is drawn.
        cache: A folder that keeps corrupted images for the next card, and what was measured if this one is interrupted.
        speed: Whether to time both networks.
        progress: Whether to show a bar.
        on_message: Called with each line of news before the long work starts.

    Raises:
        DataError, SettingError, UnknownNameError: In one line, for what does not fit.

    Example:
        >>> from lotterylib import datasets, models
        >>> data = datasets.load("digits", limit=40)
        >>> network = models.build("lenet", data.classes, data.channels, size=data.size)
        >>> card = scorecard(network, network, data, only=["nll"], speed=False, progress=False)
        >>> card["nll"].difference, card["nll"].over
        (0.0, 'one network')
    """
    how = Reading(
        arch, arch_settings, key, mean, std, size, resize, limit, batch, memory, classes, outputs, outliers, corrupted, seed
    )  # fmt: skip
    wishes = Wishes(
        expect, images, only, settings or {}, tolerances or {}, variants, device, cache, speed, progress
    )
    [card] = _cards([model], _several(dense), data, how, wishes, on_message or (lambda line: None))
    return card


def compare(
    networks: Sequence[Given],
    dense: Given | Sequence[Given] | None = None,
    data: Any = None,
    *,
    on_message: Callable[[str], object] | None = None,
    **options: Any,
) -> Comparison:
    """Judge several pruned networks against one dense network: a card of each, and all of them side by side.

    The arguments are those of ``scorecard``.

    Example:
        >>> from lotterylib import datasets, models
        >>> data, how = datasets.load("digits", limit=40), {"only": ["accuracy"], "speed": False, "progress": False}
        >>> one, two, dense = (models.build("lenet", data.classes, data.channels, seed=s) for s in range(3))
        >>> [card.passes for card in compare([one, two], dense, data, **how).cards]
        [False, False]
    """
    reading = {name: options.pop(name) for name in Reading.__dataclass_fields__ if name in options}
    for name in options:
        if name not in Wishes.__dataclass_fields__:
            raise UnknownNameError("option", name, Wishes.__dataclass_fields__)
    wishes, say = Wishes(**options), on_message or (lambda line: None)
    if not networks:
        raise SettingError("give one pruned network or more: there is none to compare")
    return Comparison(_cards(list(networks), _several(dense), data, Reading(**reading), wishes, say))


def _several(dense: Given | Sequence[Given] | None) -> list[Given]:
    if dense is None:
        return []
    return list(dense) if isinstance(dense, (list, tuple)) else [dense]  # type: ignore[list-item]


# a caller in inference mode would get copies that know no gradient
@torch.inference_mode(False)
def _cards(
    tickets: list[Given], denses: list[Given], source: Any, how: Reading, wishes: Wishes, say: Callable[[str], object]
) -> list[Report]:  # fmt: skip
    began, device = time.perf_counter(), wishes.device
    device_name(None if device is None else str(device))
    where = pick_device(device)
    if source is None:
        raise SettingError("give data: the name of a data set, a folder, or images and labels")
    if wishes.expect is not None and not 0 < wishes.expect <= 1:
        raise SettingError(f"expect is an accuracy above 0 and at most 1, got {wishes.expect}")
    if wishes.expect is not None and not denses:
        raise SettingError("expect is the accuracy of the dense network, and none was given")
    if how.seed < 0:
        raise SettingError(f"seed must be 0 or more, got {how.seed}")
    wishes.check()
    if wishes.cache is not None:
        check_folder(wishes.cache)
    case = prepare(tickets, denses, source, how)
    with contextlib.ExitStack() as stack:
        folder = Path(wishes.cache or stack.enter_context(_temporary()))
        plan = Plan.of(wishes, case, where)
        bench = Bench(case, plan, wishes, how.seed, where, folder)
        _announce(case, plan, wishes, where, say)
        doubts, own = _first_look(case, bench, how, wishes.expect, where, say)
        bar = tqdm(
            total=round(plan.estimate.total, 1), disable=not wishes.progress, unit="s", leave=False, bar_format=BAR
        )  # fmt: skip
        stack.enter_context(ticking(bar))
        bench.measure(bar)
    cards = []
    for k, ticket in enumerate(case.tickets):
        notes, pair = list(case.notes), bench.pair(k)
        costs = _or_note("sizes", notes, lambda t=ticket: _sizes(case, t))
        speed = (
            _or_note("speed", notes, lambda t=ticket: _times(case, t, plan, where)) if wishes.speed else {}
        )
        structure = _or_note(
            "zeros", notes, lambda t=ticket: zeros(t.mask, multiply_adds(t.model, case.shape))
        )
        about = _about(case, ticket, how, plan, where)
        about["guesses"] = checks.guessing(pair[0].test_logits, pair[0].test_labels)
        about["only"] = None if wishes.only is None else wishes.wanted
        about["seconds"] = round(time.perf_counter() - began, 1)
        sides = {"dense": pair[1], "ticket": pair[0]} if case.denses else {"ticket": pair[0]}
        diagrams = {"reliability": {name: _diagram(each) for name, each in sides.items()}}
        whole = (case.denses or case.tickets)[0].model if case.denses else ticket.model
        cards.append(
            Report(
                bench.rows[k],
                bench.skipped[k],
                1 - ticket.mask.kept / Mask.ones(whole).total,
                costs,
                speed,
                notes,
                about,
                [*doubts, *own[k]],
                differences.by_class(*pair),
                bench.corruptions[k],
                _changed(*pair),
                structure,
                diagrams,
            )  # fmt: skip
        )
    return cards


def _about(case: Case, ticket: Judged, how: Reading, plan: Plan, where: torch.device) -> dict[str, Any]:
    files = {each.name: each.digest for each in (ticket, *case.denses) if each.digest}
    return {
        "data": case.data.title,
        "test images": len(case.data.test[1]),
        "classes": case.data.classes,
        "pixels": list(case.shape),
        "preprocessing": case.preprocessing,
        "ticket": ticket.name,
        "dense": ", ".join(each.name for each in case.denses),
        "trainings of dense": len(case.denses),
        "files": files,
        "arch": how.arch if isinstance(how.arch, str) else None,
        "seed": how.seed,
        "device": where.type,
        "threads": torch.get_num_threads(),
        "settings": plan.settings,
        "versions": versions(),
    }


def _temporary() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="lottery-")
    except OSError as error:
        raise SettingError(
            f"no temporary folder can be made ({one_line(error)}): set TMPDIR, or give a cache"
        ) from None


# --- before the long work


def _announce(
    case: Case, plan: Plan, wishes: Wishes, where: torch.device, say: Callable[[str], object]
) -> None:
    data, count = case.data, len(case.tickets) + len(case.denses)
    say(
        f"{opening(data.title)}: {len(data.test[1]):,} test images, {data.classes} classes; {len(plan.settings)} "
        f"metric{'s' * (len(plan.settings) > 1)} of {count} network{'s' * (count > 1)}; {case.preprocessing}"
    )
    total = plan.estimate.total + (SPEED_SECONDS * len(case.tickets) if wishes.speed else 0.0)
    most = sorted(plan.estimate.of.items(), key=lambda each: -each[1])
    long = [f"{metrics.describe(name).short} {duration(seconds)}" for name, seconds in most if seconds >= 1]
    rest = [f"{len(most) - len(long)} others less than a second each"] if 0 < len(long) < len(most) else []
    said = f": {', '.join([*long, *rest])}" if long else ""
    say(f"about {duration(total)} on this device ({where.type}){said}")
    if case.memory:
        once = next(each.model.batch for each in case.tickets if isinstance(each.model, Network))
        say(
            f"memory {amount(case.memory, 'B')}: {once} image{'s' * (once != 1)} at a time, {plan.at_once} where gradients are taken"
        )
    for note in plan.notes:
        case.notes.append(note)


def _first_look(
    case: Case,
    bench: Bench,
    how: Reading,
    expect: float | None,
    where: torch.device,
    say: Callable[[str], object],
) -> tuple[list[str], list[list[str]]]:
    """Say how many images the networks are right on; return why numbers cannot be trusted, of all and of each ticket. What is
    only odd is added to the notes. The logits are kept for the metrics."""
    labels, doubts, right = case.data.test[1].cpu(), [], []
    own: list[list[str]] = [[] for _ in case.tickets]
    several = len(bench.tickets) > 1
    subjects = list(zip(_names_of_denses(case), bench.denses, strict=True))
    subjects += [
        (t.name if several else "the pruned network", s)
        for t, s in zip(case.tickets, bench.tickets, strict=True)
    ]
    for name, subject in subjects:
        try:
            share = metrics.generalization.accuracy(subject.test_logits, labels)
        # a network of the user's own raises anything
        except Exception as error:
            raise DataError(f"{name} cannot be judged: {reason(error)}") from error
        _check_outputs(name, subject, how.outputs, case.notes)
        right.append(f"{name.replace(' network', ' one') if right else name} on {share:.1%}")
    say(f"right: {right[0]} of them{''.join(f', {each}' for each in right[1:])}")
    judged = (case.denses or case.tickets)[0]
    if preparation := _preparation(judged.model, case, where):
        trusted = case.denses and expect is not None
        (case.notes if trusted else doubts).append(preparation)
    for i, (name, subject) in enumerate(zip(_names_of_denses(case), bench.denses, strict=True)):
        known = expect if i == 0 else None
        doubts += checks.doubts_of(name, subject.test_logits, labels, known, case.data.class_names)
    for ticket, subject, reasons in zip(case.tickets, bench.tickets, own, strict=True):
        if checks.constant(subject.test_logits):
            reasons.append(f"{ticket.name} gives the same answer for every image")
        elif checks.guessing(subject.test_logits, labels):
            case.notes.append(f"{ticket.name} is not measurably better than guessing")
        if bench.denses and checks.one_network(subject, bench.denses[0]):
            case.notes.append(f"{ticket.name} and the dense network are one: the same weights")
        elif bench.denses and checks.alike(subject.test_logits, bench.denses[0].test_logits):
            case.notes.append(
                f"{ticket.name} and the dense network answer alike on all {len(labels):,} images; on others they may not"
            )
    for note in [*doubts, *case.notes]:
        say(note)
    return doubts, own


def _names_of_denses(case: Case) -> list[str]:
    """Return what each dense network is called: the first is the one to compare with, the others are trainings of it."""
    return ["the dense network", *(each.name for each in case.denses[1:])] if case.denses else []


def _check_outputs(name: str, subject: Subject, outputs: str | None, notes: list[str]) -> None:
    """Raise ``SettingError`` where a network's outputs are not what was said; note where they may be no logits."""
    logits, some = subject.test_logits, getattr(subject.model, "chosen", None) is not None
    if outputs is None and checks.are_probabilities(logits, some):
        raise SettingError(
            f"{name} gives probabilities, not logits: say so with outputs probabilities (or logits, if they are none)"
        )
    if outputs == "probabilities" and not checks.are_probabilities(logits.exp(), some):
        raise SettingError(f"{name} gives no probabilities, which sum to 1 for each image: leave outputs out")
    if outputs is None and logits.min() >= 0 and logits.max() <= 1 and not checks.constant(logits):
        notes.append(
            f"all outputs of {name} lie between 0 and 1: if a sigmoid gave them, calibration and NLL, which take them for "
            "logits, say nothing; give the network without that layer"
        )


def _preparation(model: nn.Module, case: Case, where: torch.device) -> str:
    shots, labels = case.data.limited(100).test
    images = shots[:]
    if not isinstance(model, Network):
        return checks.preprocessing(model, model, images, images, where)
    twice = model.normalises and checks.twice(model, model.bare(), images, labels.cpu(), where)
    shown = images.expand(-1, 3, -1, -1) if model.grey else images
    return twice or checks.preprocessing(model, model.net, images, shown, where)


# --- beside the metrics


def _changed(ticket: Subject, dense: Subject) -> list[dict[str, Any]]:
    """Return the test images that the two networks answer differently: their file, or else place, label and both answers."""
    ours, theirs = (each.test_logits.argmax(dim=1) for each in (ticket, dense))
    names, labels, files = ticket.data.class_names, ticket.test_labels, ticket.data.files
    return [
        {
            "image": files[i] if files else i,
            "label": names[labels[i]],
            "dense": names[theirs[i]],
            "ticket": names[ours[i]],
        }
        for i in (ours != theirs).nonzero().flatten().tolist()
    ]


def _diagram(subject: Subject) -> Any:
    return metrics.calibration.reliability(subject.test_logits.double().softmax(dim=1), subject.test_labels)


def _sizes(case: Case, ticket: Judged) -> dict[str, Size]:
    found = {"ticket": size_of(ticket.model.cpu(), ticket.mask, case.shape)}
    return {"dense": size_of(case.denses[0].model.cpu(), None, case.shape), **found} if case.denses else found


def _times(case: Case, ticket: Judged, plan: Plan, device: torch.device) -> dict[str, Speed]:
    """Batches that take about a tenth of a second bound the time of this to a few seconds."""
    each = plan.estimate.forward / (len(case.tickets) + len(case.denses))
    most = ticket.model.batch if isinstance(ticket.model, Network) else None
    batch = max(1, min(most or 100, 100, int(0.1 / each)))
    networks = (
        {"dense": case.denses[0].model, "ticket": ticket.model} if case.denses else {"dense": ticket.model}
    )
    found = speeds(networks, case.shape, batch_size=batch, rounds=8, device=device)
    return found if case.denses else {"ticket": found["dense"]} if found else {}


def _or_note(what: str, notes: list[str], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``make`` gives; where it fails, nothing and a note."""
    try:
        return make()
    except Exception as error:
        notes.append(f"{what} could not be measured: {reason(error)}")
        return {}
