"""Questions to a study: its records and tickets, what is missing, and what failed."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..errors import DataError
from ..files import is_remote, names
from ..ticket import Ticket
from .cells import CONTROL, Cell, everything, expand, with_ancestors
from .cells import wanted as measurements
from .index import Index
from .profile import Profile, load_profile
from .reference import Reference
from .store import Record, Store, open_store
from .versions import Made, outdated

if TYPE_CHECKING:
    import pandas as pd

# records that are held in memory together
MANY = 5000
# a cell, and what to measure on it: metric → settings
Todo = tuple[Cell, dict[str, Record]]


class Rows(Sequence[Record]):
    """The records of a study too large for memory, read one by one as they are asked for; ``slim`` yields what
    ``results.tidy`` needs of them, quickly."""

    def __init__(self, index: Index, asked: dict[str, str], reference: dict[str, Record]):
        self._index, self._reference, self._pruners = index, reference, asked
        self._ids = [id for id in asked if index.has_record(id) or id in reference]

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if isinstance(place, slice):
            return list(self._rows(self._index.records, self._ids[place]))
        return next(self._rows(self._index.records, [self._ids[place]]))

    def __iter__(self) -> Iterator[Record]:
        return self._rows(self._index.records, self._ids)

    def slim(self) -> Iterator[Record]:
        """Yield the part of each record that tables need."""
        return self._rows(self._index.slim, self._ids)

    def _rows(
        self, read: Callable[[Iterable[str]], Iterator[Record | None]], ids: list[str]
    ) -> Iterator[Record]:
        for id, row in zip(ids, read(ids), strict=True):
            if row := row or self._reference.get(id):
                yield named(row, self._pruners[id])


def named(row: Record, pruner: str) -> Record:
    """Return the record under the pruner's label in this profile; another may have measured the same network under its own."""
    return row if row["pruner"] == pruner else row | {"pruner": pruner}


def records(
    profile: Profile | str | Path, store: Store | Index | str | Path | None = None
) -> Sequence[Record]:
    """Return the measurements of a profile that are there: from the store, else from the package's reference run. Those of
    controls are left out (``controls``).

    Those that are damaged count as missing; the error output names them. More than ``MANY`` are read as they are asked for.

    Example:
        >>> records("laptop")[0]["metric"]
        'accuracy'
    """
    return _records(load_profile(profile), store, lambda cell: cell.pruner != CONTROL)


def controls(
    profile: Profile | str | Path, store: Store | Index | str | Path | None = None
) -> Sequence[Record]:
    """Return the measurements of a profile's controls that are there, as ``records`` does: dense networks trained anew, with
    "control" for their pruner and a difference to a dense network of the study. Empty for a profile without ``controls``.

    Example:
        >>> controls("smoke")
        []
    """
    return _records(load_profile(profile), store, lambda cell: cell.pruner == CONTROL)


def _records(
    profile: Profile,
    store: Store | Index | str | Path | None,
    chosen: Callable[[Cell], bool],
) -> Sequence[Record]:
    reference = Reference(profile.name).rows
    asked = {a.id: a.cell.pruner for a in measurements(profile) if chosen(a.cell)}
    if local := store if isinstance(store, Index) else open_store(store):
        index = Index.of(local)
        for path in index.damaged:
            print(f"{path} is damaged and left out; `lottery run` computes it again", file=sys.stderr)
        rows = Rows(index, asked, reference)
        return rows if len(rows) > MANY else list(rows)
    return [named(reference[id], pruner) for id, pruner in asked.items() if id in reference]


def beside(profile: Profile | str | Path, store: Store | str | Path | None = None) -> Sequence[Record]:
    """Return the records of the study that a profile wants shown with its own: none where it names none, or where there are none.

    Example:
        >>> beside("laptop-twice")
        []
    """
    other = load_profile(profile).beside
    return records(other, store) if other else []


def family(profile: Profile | str | Path, store: Store | str | Path | None = None) -> pd.DataFrame:
    """Return the tidy table of a study with the records of its profile's ``family`` added, as far as there are any.

    Raises:
        DataError: if the study itself has no records.

    Example:
        >>> sorted(set(family("laptop").model))
        ['resnet8', 'resnet8-x0.5']
    """
    import pandas as pd

    from ..results import tidy

    profile = load_profile(profile)
    others = (records(name, store) for name in profile.family if name != profile.name)
    return pd.concat([table(profile, store), *(tidy(rows) for rows in others if rows)], ignore_index=True)


def outstanding(
    profile: Profile | str | Path, store: Store | str | Path | None = None
) -> Counter[tuple[str, str]]:
    """Count the records that a study under way still has to make, by pruner (those of controls too) and metric; none of a
    complete one. What was tried in vain counts as done.

    Example:
        >>> outstanding("laptop")
        Counter()
    """
    profile = load_profile(profile)
    reference, local = Reference(profile.name).rows, open_store(store)
    index = Index.of(local) if local else None
    tried = {Path(name).stem for name in names(index.store.root / "unmeasured")} if index else set()
    return Counter(
        (cell.pruner, metric)
        for cell, metric, _, id in measurements(profile)
        if id not in reference
        and not (index and (index.has_record(id) or id in tried or index.is_final(cell)))
    )


def state(profile: Profile | str | Path, store: Store | str | Path | None = None) -> str:
    """Return a study's title, and where it is under way how far it has come.

    Example:
        >>> state("laptop")
        'ResNet-8 on 10,000 images of Fashion-MNIST, crops and flips'
    """
    profile = load_profile(profile)
    title, every = profile.title or profile.name, len(measurements(profile))
    left = outstanding(profile, store).total()
    return f"{title} (under way, {every - left:,} of {every:,} records)" if left else title


def table(
    profile: Profile | str | Path,
    store: Store | str | Path | None = None,
    *,
    control: bool = False,
    other: bool = False,
) -> pd.DataFrame:
    """Return the tidy table of a study (``results.tidy``) with the column ``cost``: what a retraining of the dense network usually
    costs in a metric (``verdict.retraining.usual``), NaN where too few dense networks tell. Verdicts are judged by it.

    Args:
        control: With the rows of the controls.
        other: With those of the study that the profile wants shown beside it.

    Raises:
        DataError: if there are no records.

    Example:
        >>> {"metric", "value", "difference", "cost"} <= set(table("laptop"))
        True
    """
    # a study is planned and run without pandas
    import pandas as pd

    from ..results import tidy
    from ..verdict.intervals import SETTING
    from ..verdict.retraining import usual

    profile, local = load_profile(profile), open_store(store)
    # its files are listed once for both questions
    index = Index.of(local) if local else None
    found = tidy(records(profile, index))
    if again := controls(profile, index):
        found = pd.concat([found, tidy(again)], ignore_index=True)
    costs = usual(found)
    keys = found[SETTING].itertuples(index=False, name=None)
    found["cost"] = [costs.get(key, math.nan) for key in keys]
    if not control:
        found = found[found.pruner != CONTROL].reset_index(drop=True)
    if other and profile.beside and records(profile.beside, store):
        found = pd.concat([found, table(profile.beside, store, control=control)], ignore_index=True)
    return found


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
    model = model or profile.models[0].label
    sought = f"{pruner} {sparsity:.1%} {model} seed {seed}"
    for cell in expand(profile):
        same = (cell.pruner, cell.model.label, cell.seed) == (pruner, model, seed)
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
        This study has no mine.
        ['magnitude']
    """
    profile, wanted = load_profile(profile), list(wanted)
    if left_out := [name for name in wanted if name not in profile.pruners]:
        on_message(f"This study has no {' and no '.join(left_out)}.")
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
    for cell, metric, settings, id in measurements(profile):
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
    there = (asked for asked in measurements(profile) if index.has_record(asked.id))
    return outdated((asked.metric, asked.cell.pruner, index.made(asked.id)) for asked in there)


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
    for cell in everything(profile):
        if failure := index.failure(cell):
            found[cell.label] = failure
        elif cell.id in damaged:
            found[cell.label] = {"kind": "damaged", "reason": _DAMAGED.format(index.store.ticket_path(cell))}
    tried = {Path(name).stem for name in names(index.store.root / "unmeasured")}
    for cell, metric, settings, id in measurements(profile) if tried or damaged else ():
        label = f"{metric} of {cell.label}"
        if id in damaged:
            path = index.store.record_path(cell, metric, settings)
            found[label] = {"kind": "damaged", "reason": _DAMAGED.format(path)}
        elif id in tried and (reason := index.store.unmeasured(cell, metric, settings)):
            found[label] = {"kind": "measuring", "reason": reason}
    return found


_DAMAGED = "{} is damaged and counts as missing"
