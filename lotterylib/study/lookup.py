"""Questions to a study: its records and tickets, what is missing, and what failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import is_remote, names
from ..ticket import Ticket
from .cells import CONTROL, Cell, expand, with_ancestors
from .cells import wanted as measurements
from .index import Index
from .profile import Profile, load_profile
from .reference import Reference
from .store import Record, Store, open_store
from .versions import Made, outdated

# a cell, and what to measure on it: metric → settings
Todo = tuple[Cell, dict[str, Record]]


def records(profile: Profile | str | Path, store: Store | str | Path | None = None) -> list[Record]:
    """Return the measurements of a profile that are there: from the store, else from the package's reference run. Those of
    controls are left out (``controls``).

    Those that are damaged count as missing; the error output names them.

    Example:
        >>> records("laptop")[0]["metric"]
        'accuracy'
    """
    return _records(load_profile(profile), store, lambda cell: cell.pruner != CONTROL)


def controls(profile: Profile | str | Path, store: Store | str | Path | None = None) -> list[Record]:
    """Return the measurements of a profile's controls that are there, as ``records`` does: dense networks trained anew, with
    "control" for their pruner and a difference to a dense network of the study. Empty for a profile without ``controls``.

    Example:
        >>> controls("laptop")
        []
    """
    return _records(load_profile(profile), store, lambda cell: cell.pruner == CONTROL)


def _records(
    profile: Profile, store: Store | str | Path | None, chosen: Callable[[Cell], bool]
) -> list[Record]:
    reference, local = Reference(profile.name).rows, open_store(store)
    asked = [(cell, cell.metric_id(m, s)) for cell, m, s in measurements(profile) if chosen(cell)]
    if local:
        index = Index(local)
        for path in index.damaged:
            print(f"{path} is damaged and left out; `lottery run` computes it again", file=sys.stderr)
        stored = index.records([id for _, id in asked])
    else:
        stored = [None] * len(asked)
    found = ((cell, row or reference.get(id)) for (cell, id), row in zip(asked, stored, strict=True))
    # another profile may have measured the same network under another label
    return [
        row if row["pruner"] == cell.pruner else row | {"pruner": cell.pruner} for cell, row in found if row
    ]


def beside(profile: Profile | str | Path, store: Store | str | Path | None = None) -> list[Record]:
    """Return the records of the study that a profile wants shown with its own: none where it names none, or where there are none.

    Example:
        >>> beside("laptop-twice")
        []
    """
    other = load_profile(profile).beside
    return records(other, store) if other else []


def ticket(
    profile: Profile | str | Path,
    pruner: str,
    sparsity: float,
    store: Store | str | Path | None = None,
    *,
    seed: int | None = None,
    model: str | None = None,
) -> Ticket:
    """Return one ticket of a profile: from the store, else from those that come with the package.

    Args:
        pruner: A pruner of the profile, or "dense".
        sparsity: One of the profile's; 0 for "dense".
        seed: By default the profile's first.
        model: By default the profile's first.

    Raises:
        DataError: if the profile has no such cell, or if its ticket is in neither place.

    Example:
        >>> ticket("laptop", "dense", 0.0).sparsity
        0.0
    """
    profile = load_profile(profile)
    seed = profile.seeds[0] if seed is None else seed
    model = model or profile.models[0].name
    sought = f"{pruner} {sparsity:.1%} {model} seed {seed}"
    for cell in expand(profile):
        same = (cell.pruner, cell.model.name, cell.seed) == (pruner, model, seed)
        if same and abs(cell.sparsity - sparsity) < 1e-6:
            break
    else:
        raise DataError(f"the profile {profile.name} has no {sought}")
    local = open_store(store)
    if local and local.has_ticket(cell):
        return local.load_ticket(cell)
    if shipped := Reference(profile.name).ticket_path(cell):
        return Ticket.load(shipped)
    raise DataError(f"no ticket of {sought}: run `lottery run --profile {profile.name}` and name its store")


def tickets(
    profile: Profile | str | Path,
    wanted: Iterable[str],
    sparsity: float,
    store: Store | str | Path | None = None,
    *,
    on_message: Callable[[str], object] = print,
    **which: Any,
) -> dict[str, Ticket]:
    """Return the tickets of those pruners that the profile has, in the order wanted, or if it has none of them, of its
    own first ones. ``on_message`` is given a sentence about the others; ``which`` (seed, model) and errors as in
    ``ticket``.

    Example:
        >>> sparsity = load_profile("laptop").levels[0]
        >>> list(tickets("laptop", ["magnitude", "mine"], sparsity))
        The study laptop does without mine.
        ['magnitude']
    """
    profile, wanted = load_profile(profile), list(wanted)
    if left_out := [name for name in wanted if name not in profile.pruners]:
        on_message(f"The study {profile.name} does without {' and '.join(left_out)}.")
    if left_out == wanted:
        wanted = list(profile.pruners)[: len(wanted)]
    return {n: ticket(profile, n, sparsity, store, **which) for n in wanted if n in profile.pruners}


def missing(
    profile: Profile, store: Store | Index, reference: bool = False, refresh: bool = False
) -> list[Todo]:
    """Return the cells with measurements that neither the store nor (if asked) the reference holds whole; with
    ``refresh`` also those that another version of metric or pruner made."""
    known: Iterable[str] = Reference(profile.name).rows if reference else ()
    index, todo = Index.of(store), {}
    for cell, metric, settings in measurements(profile):
        id = cell.metric_id(metric, settings)
        stale = refresh and index.has_record(id) and index.made(id) != Made.now(metric, cell.pruner)
        if stale or id not in known and not index.has_record(id):
            todo.setdefault(cell.id, (cell, {}))[1][metric] = settings
    return list(todo.values())


def mixture(profile: Profile, store: Store | Index) -> list[str]:
    """Return a line for each metric and pruner with records in a folder's store that another than its present version
    made. A store with an address is not asked: that would be a question per record."""
    index = Index.of(store)
    if is_remote(index.store.root):
        return []
    asked = ((cell, metric, cell.metric_id(metric, own)) for cell, metric, own in measurements(profile))
    return outdated((m, cell.pruner, index.made(id)) for cell, m, id in asked if index.has_record(id))


def remaining(todo: list[Todo], store: Store | Index) -> list[Cell]:
    """Return the trainings behind what is missing, shared rounds once, those that would diverge again left out."""
    index = Index.of(store)
    every = with_ancestors([cell for cell, _ in todo], index.has_ticket)
    return [cell for cell in every if not index.has_ticket(cell) and not index.is_final(cell)]


def failures(profile: Profile, store: Store | Index) -> dict[str, dict[str, str]]:
    """Return what failed or is damaged, and has not been mended since: label → ``{"kind": …, "reason": …}``, tickets
    before measurements."""
    index, found = Index.of(store), {}
    damaged = {path.stem for path in index.damaged}
    for cell in with_ancestors(expand(profile)):
        if failure := index.failure(cell):
            found[cell.label] = failure
        elif cell.id in damaged:
            found[cell.label] = {"kind": "damaged", "reason": _DAMAGED.format(index.store.ticket_path(cell))}
    tried = {Path(name).stem for name in names(index.store.root / "unmeasured")}
    for cell, metric, settings in measurements(profile) if tried or damaged else ():
        id, label = cell.metric_id(metric, settings), f"{metric} of {cell.label}"
        if id in damaged:
            path = index.store.record_path(cell, metric, settings)
            found[label] = {"kind": "damaged", "reason": _DAMAGED.format(path)}
        elif id in tried and (reason := index.store.unmeasured(cell, metric, settings)):
            found[label] = {"kind": "measuring", "reason": reason}
    return found


_DAMAGED = "{} is damaged and counts as missing"
