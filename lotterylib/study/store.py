"""Where tickets and records are kept: a folder of small files, each whole or not there.

    store.json                       the format's version
    tickets/<cell>.safetensors       the trained network
    cells/<cell>.json                how the ticket came to be, or why there is none
    records/<cell>-<metric>-….json   one measurement: a row of the results
    generated/                       corrupted images, made once for all networks
    checkpoints/                     of long trainings that are not done

A file's name is the hash of all that determines its content, so two processes can only ever write the same thing. The
folder may lie in an object store (``s3://bucket/folder``); what is generated, and checkpoints, then stay on each machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..datasets.base import verify
from ..errors import DataError
from ..files import exists, is_remote, names, place, write_whole
from ..ticket import Ticket, is_whole
from .cells import DENSE, Cell, expand, with_ancestors
from .profile import Profile, load_profile

FORMAT = 1
REFERENCE = Path(__file__).parents[1] / "reference"
Record = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A folder of tickets and records; ``root`` may be any address that fsspec knows. Raises ``DataError`` if another
    version of the library wrote it, or if it does not answer."""

    root: Path

    def __post_init__(self):
        object.__setattr__(self, "root", place(self.root))
        marker = self.root / "store.json"
        try:
            if not exists(marker):
                return
        except Exception as error:  # of many libraries: no credentials, no network
            raise DataError(
                f"the store {self.root} does not answer: {' '.join(str(error).split())}"
            ) from None
        try:
            found = json.loads(marker.read_text()).get("format")
        except (ValueError, AttributeError):  # no JSON, or none that is an object
            found = "unreadable"
        if found != FORMAT:
            raise DataError(
                f"the store {self.root} has format {found!r}, this version of lotterylib reads {FORMAT}: name another "
                "folder with --store, or remove that one"
            )

    def open_for_writing(self) -> Store:
        """Makes the folder and its marker if they are not there."""
        if not exists(self.root / "store.json"):
            self._write(self.root / "store.json", {"format": FORMAT})
        return self

    @property
    def generated(self) -> Path:
        """The folder of what is made once for all networks."""
        return self._near / "generated"

    @property
    def checkpoints(self) -> Path:
        """The folder of trainings that are not done."""
        return self._near / "checkpoints"

    @property
    def _near(self) -> Path:
        """The store, or a folder of this machine if that lies elsewhere."""
        if is_remote(self.root):
            return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lotterylib"
        return self.root

    # --- tickets

    def ticket_path(self, cell: Cell) -> Path:
        return self.root / "tickets" / f"{cell.id}.safetensors"

    def has_ticket(self, cell: Cell) -> bool:
        """A truncated or overwritten file counts as none: the cell is trained again."""
        path = self.ticket_path(cell)
        return exists(path) if is_remote(path) else is_whole(path)

    def load_ticket(self, cell: Cell) -> Ticket:
        path = self.ticket_path(cell)
        if not is_remote(path):
            return Ticket.load(path)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            try:
                copy.write_bytes(path.read_bytes())
            except FileNotFoundError:
                raise DataError(f"no ticket at {path}") from None
            return Ticket.load(copy)

    def save_ticket(self, cell: Cell, ticket: Ticket, facts: Record) -> None:
        """The record of its training, then the ticket: one that is killed in between leaves a record that the next attempt
        writes again, where the other way round the ticket would count as found and lack its record for good."""
        self._write(
            self._cell_path(cell), {"cell": cell.id, **cell.identity, "training": ticket.record, **facts}
        )
        path = self.ticket_path(cell)
        if is_remote(path):
            with tempfile.TemporaryDirectory() as folder:
                ticket.save(Path(folder) / path.name)
                write_whole(path, (Path(folder) / path.name).read_bytes())
        else:
            ticket.save(path)

    # --- failures

    def save_failure(self, cell: Cell, kind: str, reason: str, facts: Record) -> None:
        """Why a cell has no ticket. ``kind`` "diverged" is final; anything else is tried again by the next run."""
        failure = {"kind": kind, "reason": reason}
        self._write(self._cell_path(cell), {"cell": cell.id, **cell.identity, "failure": failure, **facts})

    def failure(self, cell: Cell) -> dict[str, str] | None:
        """``{"kind": …, "reason": …}`` if the cell failed and has no ticket since. A cell that waits for a failed one has
        that one's ``kind``, and its label under ``needs``."""
        if self.has_ticket(cell):
            return None
        if own := (self.about(cell) or {}).get("failure"):
            return own
        for parent in cell.parents():
            if failed := self.failure(parent):
                first = failed.get("needs", parent.label)
                return {"kind": failed["kind"], "reason": f"needs {first}, which failed", "needs": first}
        return None

    def is_final(self, cell: Cell) -> bool:
        """A diverged cell diverges again: the same seed gives the same numbers. A cell that needs it stays without."""
        failure = self.failure(cell)
        return failure is not None and failure["kind"] == "diverged"

    def about(self, cell: Cell) -> Record | None:
        """The cell's own record: its training or its failure."""
        return self._read(self._cell_path(cell))

    # --- measurements

    def record_path(self, cell: Cell, metric: str, settings: Record) -> Path:
        return self.root / "records" / f"{cell.metric_id(metric, settings)}.json"

    def record(self, cell: Cell, metric: str, settings: Record) -> Record | None:
        return self._read(self.record_path(cell, metric, settings))

    def save_record(self, cell: Cell, metric: str, settings: Record, record: Record) -> None:
        self._write(self.record_path(cell, metric, settings), record)
        with contextlib.suppress(FileNotFoundError):
            self._unmeasured_path(cell, metric, settings).unlink()

    def save_unmeasured(self, cell: Cell, metric: str, settings: Record, reason: str, facts: Record) -> None:
        """Why a ticket could not be measured; the next run tries again."""
        about = {"cell": cell.id, **cell.identity, "metric": metric, "failure": {"reason": reason}, **facts}
        self._write(self._unmeasured_path(cell, metric, settings), about)

    def unmeasured(self, cell: Cell, metric: str, settings: Record) -> str | None:
        """Why the last attempt at a measurement failed, if it did and there is no record since."""
        if exists(self.record_path(cell, metric, settings)):
            return None
        about = self._read(self._unmeasured_path(cell, metric, settings))
        return about and about["failure"]["reason"]

    def _unmeasured_path(self, cell: Cell, metric: str, settings: Record) -> Path:
        return self.root / "unmeasured" / f"{cell.metric_id(metric, settings)}.json"

    def _cell_path(self, cell: Cell) -> Path:
        return self.root / "cells" / f"{cell.id}.json"

    def _write(self, path: Path, record: Record) -> None:
        write_whole(path, json.dumps(record, sort_keys=True, indent=1).encode())

    def _read(self, path: Path) -> Record | None:
        try:
            about = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            about = None
        if not isinstance(about, dict):
            raise DataError(f"{path} is damaged (no JSON record); delete it and run again")
        return about


class Reference:
    """What comes with the package for a profile: ``records.jsonl`` and the tickets, with their checksums in
    ``manifest.json``. A damaged file raises ``DataError``."""

    def __init__(self, profile: str):
        self.folder = REFERENCE / profile

    @cached_property
    def manifest(self) -> Record:
        """Checksums by file; empty if the profile has no reference."""
        path = self.folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text())
            return {"sha256": manifest["sha256"], "tickets": dict(manifest["tickets"])}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is damaged; fetch it again") from None

    @cached_property
    def rows(self) -> dict[str, Record]:
        """Record id → row."""
        if not self.manifest:
            return {}
        content = verify(self.folder / "records.jsonl", self.manifest["sha256"])
        rows = [row for line in content.decode().splitlines() for row in _unpacked(json.loads(line))]
        return {row["id"]: row for row in rows}

    def ticket_path(self, cell: Cell) -> Path | None:
        """Where the cell's ticket lies, its content checked, if it is one of those that come with the package."""
        checksum = self.manifest.get("tickets", {}).get(cell.id)
        if checksum is None:
            return None
        path = self.folder / "tickets" / f"{cell.id}.safetensors"
        verify(path, checksum)
        return path


def wanted(profile: Profile) -> list[tuple[Cell, str, Record]]:
    """Every measurement that the profile asks for: (cell, metric, settings)."""
    return [(cell, m, s) for cell in expand(profile) for m, s in profile.metrics_at(cell.seed).items()]


def records(profile: Profile | str | Path, store: Store | str | Path | None = None) -> list[Record]:
    """All measurements of a profile that are there: from the store, else from the package's reference run."""
    profile = profile if isinstance(profile, Profile) else load_profile(profile)
    reference = Reference(profile.name).rows
    local = None if not store else store if isinstance(store, Store) else Store(store)
    found = []
    for cell, metric, settings in wanted(profile):
        row = local and local.record(cell, metric, settings)
        row = row or reference.get(cell.metric_id(metric, settings))
        if row:
            found.append(row)
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
    """One ticket of a profile ("dense" has sparsity 0): from the store, else from those that come with the package.

    ``seed`` and ``model`` default to the profile's first. Raises ``DataError`` if the profile has no such cell, or if
    its ticket is in neither place.
    """
    profile = profile if isinstance(profile, Profile) else load_profile(profile)
    seed = profile.seeds[0] if seed is None else seed
    model = model or profile.models[0].name
    sought = f"{pruner} {sparsity:.1%} {model} seed {seed}"
    for cell in expand(profile):
        same = (cell.pruner, cell.model.name, cell.seed) == (pruner, model, seed)
        if same and abs(cell.sparsity - sparsity) < 1e-6:
            break
    else:
        raise DataError(f"the profile {profile.name} has no {sought}")
    local = None if not store else store if isinstance(store, Store) else Store(store)
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
    told: Callable[[str], object] = print,
    **which: Any,
) -> dict[str, Ticket]:
    """The tickets of those pruners that the profile has, in the order wanted, or if it has none of them, of its own;
    ``told`` is given a sentence about the others. ``which`` (seed, model) and errors as in ``ticket``."""
    profile, wanted = profile if isinstance(profile, Profile) else load_profile(profile), list(wanted)
    if left_out := [name for name in wanted if name not in profile.pruners]:
        told(f"The study {profile.name} does without {' and '.join(left_out)}.")
    if left_out == wanted:
        wanted = list(profile.pruners)[: len(wanted)]
    return {n: ticket(profile, n, sparsity, store, **which) for n in wanted if n in profile.pruners}


def failures(profile: Profile, store: Store) -> dict[str, dict[str, str]]:
    """What failed and has not been mended since: label → ``{"kind": …, "reason": …}``, tickets before measurements."""
    found = {}
    for cell in with_ancestors(expand(profile)):
        if failure := store.failure(cell):
            found[cell.label] = failure
    tried = names(store.root / "unmeasured")
    for cell, metric, settings in wanted(profile) if tried else ():
        if reason := store.unmeasured(cell, metric, settings):
            found[f"{metric} of {cell.label}"] = {"kind": "measuring", "reason": reason}
    return found


def missing(profile: Profile, store: Store, reference: bool = False) -> list[tuple[Cell, dict[str, Record]]]:
    """Cells with measurements that neither the store nor (if asked) the reference holds: (cell, metric → settings)."""
    known: Iterable[str] = Reference(profile.name).rows if reference else ()
    todo: dict[str, tuple[Cell, dict[str, Record]]] = {}
    there = names(store.root / "records")  # one question, not one a record: they may be far away
    for cell, metric, settings in wanted(profile):
        id = cell.metric_id(metric, settings)
        if id in known or f"{id}.json" in there:
            continue
        todo.setdefault(cell.id, (cell, {}))[1][metric] = settings
    return list(todo.values())


def adopt(profile: Profile, store: Store, cells: list[Cell]) -> int:
    """Copies into the store those of the cells' tickets that come with the package, so that a new metric needs no
    training. Returns how many were copied."""
    reference, copied = Reference(profile.name), 0
    for cell in with_ancestors(cells, store.has_ticket):
        if not store.has_ticket(cell) and (shipped := reference.ticket_path(cell)):
            ticket = Ticket.load(shipped)
            store.open_for_writing().save_ticket(cell, ticket, {"source": f"reference/{profile.name}"})
            copied += 1
    return copied


def export(profile: Profile, store: Store, folder: Path | None = None) -> Path:
    """Writes a complete study as reference: a text file of records, a line a cell; the tickets of the first seed and the
    dense networks of all (with their rewind states, which pruners start from), as far as the store holds them; and a
    manifest with the checksums.

    Raises ``DataError`` if a measurement is missing: a reference has no holes.
    """
    rows: dict[str, list[Record]] = {}
    for cell, metric, settings in wanted(profile):
        row = store.record(cell, metric, settings)
        if row is None:
            raise DataError(
                f"{metric} of {cell.label} is missing in {store.root}: run the study to its end first"
            )
        rows.setdefault(cell.id, []).append(row)
    folder = folder or REFERENCE / profile.name
    shutil.rmtree(folder / "tickets", ignore_errors=True)
    tickets = {}
    shipped = [c for c in expand(profile) if c.pruner == DENSE or c.seed == profile.seeds[0]]
    for cell in filter(store.has_ticket, shipped):
        path = folder / "tickets" / f"{cell.id}.safetensors"
        found = store.load_ticket(cell)
        found.rewind = found.rewind if cell.pruner == DENSE else None
        found.save(path)
        tickets[cell.id] = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = "".join(json.dumps(_packed(rows[i]), sort_keys=True) + "\n" for i in sorted(rows))
    every = [row for cell_rows in rows.values() for row in cell_rows]
    manifest = {
        "profile": profile.name,
        "records": len(every),
        "revisions": sorted({row["revision"] for row in every}),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "tickets": tickets,
    }
    write_whole(folder / "records.jsonl", lines.encode())
    write_whole(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return folder


def _packed(rows: list[Record]) -> Record:
    """The records of one cell with what all of them say, half of their text, said once."""
    flat = [{**row, "settings": row["settings"]["metric"], "cell": row["settings"]["cell"]} for row in rows]
    common = {k: v for k, v in flat[0].items() if k != "settings" and all(row.get(k) == v for row in flat)}
    apart = [{k: v for k, v in row.items() if k not in common} for row in flat]
    return {"all": common, "each": sorted(apart, key=lambda row: row.get("metric", ""))}


def _unpacked(line: Record) -> list[Record]:
    rows = [line["all"] | row for row in line["each"]]
    return [row | {"settings": {"metric": row["settings"], "cell": row.pop("cell")}} for row in rows]
