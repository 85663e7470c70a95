"""``lottery plan``, ``run``, ``status`` and ``export``."""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, TextIO

from ..datasets import Shape
from ..datasets.corruptions import SEVERITIES
from ..files import is_remote
from ..machine.devices import device_name, places
from ..machine.terminal import show
from ..study import Cell, Profile, Store, controls, expand, load_profile, records
from ..study.cells import everything
from ..study.estimate import images_per_second, seconds_to_corrupt
from ..study.index import Index
from ..study.lookup import Todo, failures, missing, mixture, remaining
from ..study.needs import needs
from ..study.plan import Plan, images_to_corrupt, rates, shape
from ..study.plan import plan as costs
from ..study.reference import adopt, adopt_records
from ..study.reference import export as write_reference
from ..text import amount, duration
from ..training import Launch, launching
from . import tables

# dense networks that a pilot has at least: the spread of fewer is a guess
FEWEST = 5

if TYPE_CHECKING:
    from ..study.scheduler import Summary


def plan(options: argparse.Namespace) -> int:
    """Print what a study costs and what of it is missing, then how long that takes."""
    profile = _part(options)
    if options.device:
        # says clearly if it is not there
        device_name(options.device)
    index, cells = Index(Store(options.store)), expand(profile)
    todo = missing(profile, index)
    trainings = remaining(todo, index)
    found = costs(profile, cells, todo, trainings)
    show(f"{profile.name}: {profile.title}\n")
    show(tables.pruners(cells, todo, trainings, found))
    if todo:
        show(f"\n{tables.metrics(todo, found)}\n")
    show(f"\n{_power(profile, index)}\n")
    needed = needs(profile)
    for need in needed:
        if not need.met:
            show(f"missing: {need.what}: {need.remark or need.place}")
    generated = any(need.what.startswith("corruptions") and need.state == "generated" for need in needed)
    if generated and (count := images_to_corrupt(todo, shape(profile.dataset))):
        show(_corruptions(count, shape(profile.dataset)))
    show(_time(profile, options, found, data_here=needed[0].met) if todo else "nothing to compute")
    return 0


def _corruptions(count: int, data: Shape) -> str:
    """Return what it takes to make the corrupted images."""
    made = count * 15 * len(SEVERITIES)
    return (
        f"corruptions: of {count:,} images {made:,} are made, once, by all workers that need them: "
        f"{amount(made * data.channels * data.size**2, 'B')}, about {duration(count * seconds_to_corrupt(data))} "
        "of one processor (measured now)"
    )


def _power(profile: Profile, index: Index) -> str:
    """Return what each metric needs to decide, from the dense networks and controls that are measured."""
    pilot = profile.model_copy(update={"pruners": {}})
    rows = [*records(pilot, index), *controls(pilot, index)]
    networks = len({row["id"].split("-")[0] for row in rows if row["model"] == profile.models[0].label})
    if networks < FEWEST:
        first = "" if profile.controls else "give the profile some (controls: 10), then "
        return (
            f"seeds and images needed to decide: {FEWEST} dense networks or more would tell, {networks} measured; "
            f"{first}run `lottery run --only control`"
        )
    # pandas and SciPy, which a study without a pilot does without
    from ..results import tidy
    from ..verdict.power import needed

    table = tidy(rows)
    found = needed(
        table[table.model == profile.models[0].label],
        len(profile.seeds),
        len(profile.pruners) * len(profile.levels),
    )
    return tables.power(profile, networks, bool((table.pruner == "control").any()), found)


def _time(profile: Profile, options: argparse.Namespace, found: Plan, data_here: bool) -> str:
    """Return how long the rest takes at the speed given or measured."""
    workers = len(places(options.workers, options.threads, options.device, 1, options.processes))
    if options.images_per_second:
        speeds, how = rates(profile, options.images_per_second), "reckoned with"
    elif data_here:
        speeds, how = _measured(profile, options), f"measured now on {device_name(options.device)}:"
    else:
        return "hours: name the speed with --images-per-second N, since there are no data to measure it with"
    each = ", ".join(f"{name} {rate:,.0f} images/s per worker" for name, rate in speeds.items())
    seconds = sum(found.work[name] / rate for name, rate in speeds.items()) / workers
    return f"{how} {each}\nestimated time with {workers} worker(s): {duration(seconds)}, measuring included"


def _measured(profile: Profile, options: argparse.Namespace) -> dict[str, float]:
    data, how = profile.dataset.load(), dict(threads=options.threads, device=options.device)
    with launching(Launch(options.processes, cuda_graphs=options.cuda_graphs)):
        return {m.label: images_per_second(m, data, profile.recipe, **how) for m in profile.models}


def run(options: argparse.Namespace) -> int:
    """Compute what is missing; 1 if something of it failed."""
    profile, store = _part(options), Store(options.store)
    if options.shipped and (copied := adopt_records(profile, store)):
        show(f"{profile.name}: {copied} records come with the package", sys.stderr)
    index = Index(store)
    todo = missing(profile, index, refresh=options.refresh)
    if not options.refresh:
        _say_what_is_outdated(mixture(profile, index), sys.stderr)
    for path in index.damaged:
        show(f"{profile.name}: {path} is damaged and computed again", sys.stderr)
    if not todo:
        show(f"{profile.name}: all {len(profile.metrics)} metric(s) of every cell are in {store.root}")
        return 0
    return 1 if compute(profile, todo, store, options, options.shipped).failures else 0


def compute(
    profile: Profile, todo: list[Todo], store: Store, options: argparse.Namespace, shipped: bool
) -> Summary:
    """Compute what ``missing`` listed and say how it went; ``shipped``: use tickets that come with the package."""
    # Dask, which plan and status do without
    from ..study.scheduler import How, hush, run

    hush()
    cells = [cell for cell, _ in todo]
    if not options.scheduler:
        _check_space(store, _try_out(cells, options.device))
    if shipped and (copied := adopt(profile, store, cells)):
        show(f"{profile.name}: {copied} tickets come with the package", sys.stderr)
    how = How(**{field.name: getattr(options, field.name) for field in fields(How)})
    limit = 3600 * profile.hours_per_cell
    summary = run(todo, store, how, progress=not options.quiet, limit=limit)
    done = ", ".join(f"{n} {outcome}" for outcome, n in sorted(summary.counts.items())) or "none"
    show(f"{profile.name}: tasks: {done}; store: {store.root}")
    for label in summary.mended:
        show(f"  was damaged, found again: {label}", sys.stderr)
    for label, reason in summary.failures.items():
        show(_failed(label, reason, label in summary.final), sys.stderr)
    return summary


def _try_out(cells: list[Cell], device: str | None) -> int:
    """Meet here, in one line and before workers start, what would fail every cell: no such device, data that are not
    there, a setting that a model does not have. Return the bytes of the largest network's ticket."""
    device_name(device)
    largest = 0
    for dataset in {cell.dataset for cell in cells}:
        data = dataset.load()
        for model in {cell.model.label: cell.model for cell in cells if cell.dataset == dataset}.values():
            network = model.build(data, seed=0)
            # of a dense one, with its rewind state
            largest = max(largest, 2 * sum(t.nbytes for t in network.state_dict().values()))
    return largest


def _check_space(store: Store, needed: int) -> None:
    """Raise ``OSError`` if a folder's disk has no room for a single ticket."""
    if is_remote(store.root):
        return
    there = next(folder for folder in (store.root, *store.root.absolute().parents) if folder.is_dir())
    if (free := shutil.disk_usage(there).free) < needed:
        raise OSError(
            errno.ENOSPC,
            f"{amount(free, 'B')} are free and one ticket takes {amount(needed, 'B')}",
            str(store.root),
        )


def _say_what_is_outdated(lines: list[str], stream: TextIO | None = None) -> None:
    for line in lines:
        show(f"  {line} (`lottery run --refresh` makes what is older anew)", stream)


def status(options: argparse.Namespace) -> int:
    """Print how many cells are finished, what failed, and whether the next run tries it again."""
    profile, store = _part(options), Store(options.store)
    index, cells = Index(store), expand(profile)
    todo, every, failed = missing(profile, index), everything(profile), failures(profile, index)
    tickets = sum(map(index.has_ticket, every))
    show(
        f"{profile.name} in {store.root}: {len(cells) - len(todo)} of {len(cells)} cells finished, "
        f"{tickets} of {len(every)} tickets found, {len(failed)} failed"
    )
    _say_what_is_outdated(mixture(profile, index))
    for label, failure in failed.items():
        show(_failed(label, failure["reason"], failure["kind"] == "diverged"))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a study as reference, with a picture of it."""
    # pandas and Matplotlib, which plan, run and status do without
    from .. import figures, results

    profile, store = load_profile(options.profile), Store(options.store)
    folder = write_reference(profile, store, options.to, partial=options.partial)
    _say_what_is_outdated(mixture(profile, store), sys.stderr)
    figure, _ = figures.sweep(results.tidy(records(profile, store)), smoke=profile.smoke)
    figures.save(figure, folder / "accuracy.png")
    show(f"reference records and their picture: {folder}")
    return 0


def _failed(label: str, reason: str, final: bool) -> str:
    what_next = "final: it would diverge again" if final else "the next run tries again"
    return f"  failed: {label}: {reason} ({what_next})"


def _part(options: argparse.Namespace) -> Profile:
    """Return the profile, cut down as the options say."""
    return load_profile(options.profile).cut(options.only, options.seeds, options.sparsities)
