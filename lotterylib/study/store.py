"""Where tickets and records are kept: a folder of small files, each whole or not there.

    store.json                       the format's version
    tickets/<cell>.safetensors       the trained network
    cells/<cell>.json                how the ticket came to be, or why there is none
    records/<cell>-<metric>-….json   one measurement: a row of the results

A file's name is the hash of all that determines its content, so two processes can only ever write the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import write_whole
from ..ticket import Ticket
from .cells import Cell, expand
from .profile import Profile, load_profile

FORMAT = 1
REFERENCE = Path(__file__).parents[1] / "reference"
Record = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A folder of tickets and records. Raises ``DataError`` if another version of the library wrote it."""

    root: Path

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root))
        marker = self.root / "store.json"
        if not marker.is_file():
            return
        try:
            found = json.loads(marker.read_text()).get("format")
        except (ValueError, AttributeError):
            found = "unreadable"
        if found != FORMAT:
            raise DataError(
                f"the store {self.root} has format {found!r}, this version of lotterylib reads {FORMAT}: name another "
                "folder with --store, or remove that one"
            )

    def open_for_writing(self) -> Store:
        """Makes the folder and its marker if they are not there."""
        if not (self.root / "store.json").is_file():
            self._write(self.root / "store.json", {"format": FORMAT})
        return self

    # --- tickets

    def ticket_path(self, cell: Cell) -> Path:
        return self.root / "tickets" / f"{cell.id}.safetensors"

    def has_ticket(self, cell: Cell) -> bool:
        return self.ticket_path(cell).is_file()

    def load_ticket(self, cell: Cell) -> Ticket:
        return Ticket.load(self.ticket_path(cell))

    def save_ticket(self, cell: Cell, ticket: Ticket, facts: Record) -> None:
        """The ticket and the record of its training; the record last, so that it never stands alone."""
        ticket.save(self.ticket_path(cell))
        self._write(
            self._cell_path(cell), {"cell": cell.id, **cell.identity, "training": ticket.record, **facts}
        )

    # --- failures

    def save_failure(self, cell: Cell, kind: str, reason: str, facts: Record) -> None:
        """Why a cell has no result. ``kind`` "diverged" is final; anything else is tried again by the next run."""
        failure = {"kind": kind, "reason": reason}
        self._write(self._cell_path(cell), {"cell": cell.id, **cell.identity, "failure": failure, **facts})

    def failure(self, cell: Cell) -> dict[str, str] | None:
        """``{"kind": …, "reason": …}`` if the cell failed and has no ticket since."""
        about = self.about(cell)
        return about.get("failure") if about and not self.has_ticket(cell) else None

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

    def _cell_path(self, cell: Cell) -> Path:
        return self.root / "cells" / f"{cell.id}.json"

    def _write(self, path: Path, record: Record) -> None:
        write_whole(path, json.dumps(record, sort_keys=True, indent=1).encode())

    def _read(self, path: Path) -> Record | None:
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise DataError(f"{path} is damaged (no JSON); delete it and run again") from None


class Reference:
    """The records that come with the package: ``reference/<profile>/records.jsonl``, its checksum in a manifest."""

    def __init__(self, profile: str):
        self.folder = REFERENCE / profile

    @cached_property
    def rows(self) -> dict[str, Record]:
        """Record id → row; empty if the profile has no reference. Raises ``DataError`` for a damaged file."""
        from ..datasets.base import verify

        if not (self.folder / "manifest.json").is_file():
            return {}
        manifest = json.loads((self.folder / "manifest.json").read_text())
        content = verify(self.folder / "records.jsonl", manifest["sha256"])
        rows = map(json.loads, content.decode().splitlines())
        return {row["id"]: row for row in rows}


def wanted(profile: Profile) -> list[tuple[Cell, str, Record]]:
    """Every measurement that the profile asks for: (cell, metric, settings)."""
    return [(cell, m, settings) for cell in expand(profile) for m, settings in profile.metrics.items()]


def records(profile: Profile | str | Path, store: Store | str | Path | None = None) -> list[Record]:
    """All measurements of a profile that are there: from the store, else from the package's reference run."""
    profile = profile if isinstance(profile, Profile) else load_profile(profile)
    reference = Reference(profile.name).rows
    local = None if not store else store if isinstance(store, Store) else Store(Path(store))
    found = []
    for cell, metric, settings in wanted(profile):
        row = local and local.record(cell, metric, settings)
        row = row or reference.get(cell.metric_id(metric, settings))
        if row:
            found.append(row)
    return found


def missing(profile: Profile, store: Store, reference: bool = False) -> list[tuple[Cell, dict[str, Record]]]:
    """Cells with measurements that neither the store nor (if asked) the reference holds: (cell, metric → settings)."""
    known: Iterable[str] = Reference(profile.name).rows if reference else ()
    todo: dict[str, tuple[Cell, dict[str, Record]]] = {}
    for cell, metric, settings in wanted(profile):
        if store.record_path(cell, metric, settings).is_file() or cell.metric_id(metric, settings) in known:
            continue
        todo.setdefault(cell.id, (cell, {}))[1][metric] = settings
    return list(todo.values())


def export(profile: Profile, store: Store, folder: Path | None = None) -> Path:
    """Writes a complete study as reference: one sorted text file and a manifest with its checksum.

    Raises ``DataError`` if a measurement is missing: a reference has no holes.
    """
    import hashlib

    rows = []
    for cell, metric, settings in wanted(profile):
        row = store.record(cell, metric, settings)
        if row is None:
            raise DataError(
                f"{metric} of {cell.label} is missing in {store.root}: run the study to its end first"
            )
        rows.append(row)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in sorted(rows, key=lambda r: r["id"]))
    folder = folder or REFERENCE / profile.name
    manifest = {
        "profile": profile.name,
        "records": len(rows),
        "revisions": sorted({row["revision"] for row in rows}),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }
    write_whole(folder / "records.jsonl", lines.encode())
    write_whole(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return folder
