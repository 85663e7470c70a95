"""The store of tickets and records: a folder of small files, each whole or not there.

- ``store.json``: the format's version
- ``tickets/<cell>.safetensors``: the trained network
- ``cells/<cell>.json``: how the ticket came to be, or why there is none
- ``records/<cell>-<metric>-….json``: one measurement: a row of the results
- ``unmeasured/…``: why a measurement failed
- ``generated/``: corrupted images, made once for all networks
- ``checkpoints/``: of long trainings that are not done
- ``choices/``: the precision that a burst chose for networks of one shape
- ``index.sqlite``: what large stores hold, so that looking is quick; rebuilt if it is lost

A file's name is the hash of all that determines its content, so two processes can only ever write the same thing. Each
file carries its own checksum; one that is damaged counts as missing and is computed again. The folder may lie in an
object store (``s3://bucket/folder``); what is generated or chosen, and checkpoints, then stay on each machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, SettingError
from ..files import exists, is_remote, place, write_whole
from ..ticket import Ticket, is_whole
from .cells import Cell, digest
from .versions import pruner_version

FORMAT = 1
Record = dict[str, Any]


class Shelf(ABC):
    """Answers about cells, given whether there is a ticket and what was noted about it."""

    @abstractmethod
    def has_ticket(self, cell: Cell) -> bool:
        """Return whether the cell's ticket is there, in full length."""

    @abstractmethod
    def about(self, cell: Cell) -> Record | None:
        """Return the cell's own record: its training or its failure."""

    def has_present_ticket(self, cell: Cell) -> bool:
        """Return whether there is a ticket, and of the present version of its pruner."""
        return self.has_ticket(cell) and self.ticket_version(cell) == pruner_version(cell.pruner)

    def ticket_version(self, cell: Cell) -> int:
        """Return the version of the pruner that found the ticket."""
        return (self.about(cell) or {}).get("pruner_version", 1)

    def failure(self, cell: Cell) -> dict[str, str] | None:
        """Return ``{"kind": …, "reason": …}`` if the cell failed and has no ticket since. A cell that waits for a failed
        one has that one's ``kind``, and its label under ``needs``."""
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
        """Return whether a new attempt would fail again: a diverged cell diverges from the same seed, and one that needs
        it stays without."""
        failure = self.failure(cell)
        return failure is not None and failure["kind"] == "diverged"


@dataclass(frozen=True)
class Store(Shelf):
    """A folder of tickets and records; ``root`` may be any address that fsspec knows.

    Raises:
        SettingError: for a file, which is no store.
        DataError: if another version of the library wrote it, or if it does not answer.
    """

    root: Path

    def __post_init__(self):
        object.__setattr__(self, "root", place(self.root))
        marker = self.root / "store.json"
        if not is_remote(self.root) and self.root.is_file():
            raise SettingError(f"{self.root} is a file, and a store is a folder")
        try:
            if not exists(marker):
                return
        # of many libraries: no credentials, no network
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(f"the store {self.root} does not answer: {reason}") from None
        try:
            found = json.loads(marker.read_text()).get("format")
        # no JSON, or none that is an object
        except (ValueError, AttributeError):
            found = "unreadable"
        if found != FORMAT:
            raise DataError(
                f"the store {self.root} has format {found!r}, this version of lotterylib reads {FORMAT}: name another "
                "folder with --store, or remove that one"
            )

    def open_for_writing(self) -> Store:
        """Make the folder and its marker if they are not there."""
        if not exists(self.root / "store.json"):
            write_whole(self.root / "store.json", _to_bytes({"format": FORMAT}))
        return self

    @property
    def generated(self) -> Path:
        """Return the folder of what is made once for all networks."""
        return self._near / "generated"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of trainings that are not done."""
        return self._near / "checkpoints"

    @property
    def choices(self) -> Path:
        """Return the folder of what was measured to be fastest, to which all trainings of the study keep."""
        return self._near / "choices"

    @property
    def _near(self) -> Path:
        """Return the store, or a folder of this machine if that lies elsewhere."""
        if is_remote(self.root):
            return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lotterylib"
        return self.root

    # --- tickets

    def ticket_path(self, cell: Cell) -> Path:
        return self.root / "tickets" / f"{cell.id}.safetensors"

    def has_ticket(self, cell: Cell) -> bool:
        path = self.ticket_path(cell)
        return exists(path) if is_remote(path) else is_whole(path)

    def load_ticket(self, cell: Cell) -> Ticket:
        """Read a ticket.

        Raises:
            DataError: if it is missing or damaged.
        """
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
        """Write the record of its training, then the ticket: one that is killed in between leaves a record that the next
        attempt writes again, where the other way round the ticket would count as found and lack its record for good."""
        self._note(cell, {"training": ticket.record, **facts})
        path = self.ticket_path(cell)
        if is_remote(path):
            write_whole(path, ticket.packed())
        else:
            ticket.save(path)

    def drop_ticket(self, cell: Cell) -> None:
        """Remove a ticket that turned out to be damaged, so that it is found again."""
        with contextlib.suppress(FileNotFoundError):
            self.ticket_path(cell).unlink()

    def save_failure(self, cell: Cell, kind: str, reason: str, facts: Record) -> None:
        """Note why a cell has no ticket. ``kind`` "diverged" is final; anything else is tried again by the next run."""
        self._note(cell, {"failure": {"kind": kind, "reason": reason}, **facts})

    def about(self, cell: Cell) -> Record | None:
        return read_record(self.about_path(cell))

    def about_path(self, cell: Cell) -> Path:
        return self.root / "cells" / f"{cell.id}.json"

    def _note(self, cell: Cell, facts: Record) -> None:
        _write(self.about_path(cell), {"cell": cell.id, **cell.identity, **facts})

    # --- measurements

    def record_path(self, cell: Cell, metric: str, settings: Record) -> Path:
        return self.root / "records" / f"{cell.metric_id(metric, settings)}.json"

    def record(self, cell: Cell, metric: str, settings: Record) -> Record | None:
        """Return a measurement; a damaged one counts as none."""
        return read_record(self.record_path(cell, metric, settings))

    def save_record(self, cell: Cell, metric: str, settings: Record, record: Record) -> None:
        _write(self.record_path(cell, metric, settings), record)
        with contextlib.suppress(FileNotFoundError):
            self._unmeasured_path(cell, metric, settings).unlink()

    def save_unmeasured(self, cell: Cell, metric: str, settings: Record, reason: str, facts: Record) -> None:
        """Note why a ticket could not be measured; the next run tries again."""
        about = {"cell": cell.id, **cell.identity, "metric": metric, "failure": {"reason": reason}, **facts}
        _write(self._unmeasured_path(cell, metric, settings), about)

    def unmeasured(self, cell: Cell, metric: str, settings: Record) -> str | None:
        """Return why the last attempt at a measurement failed, if it did and there is no record since."""
        if exists(self.record_path(cell, metric, settings)):
            return None
        about = read_record(self._unmeasured_path(cell, metric, settings))
        return about["failure"]["reason"] if about else None

    def _unmeasured_path(self, cell: Cell, metric: str, settings: Record) -> Path:
        return self.root / "unmeasured" / f"{cell.metric_id(metric, settings)}.json"


def open_store(store: Store | str | Path | None) -> Store | None:
    """Return the store of an address; None, or nothing in the address, means none."""
    if isinstance(store, Store):
        return store
    return Store(place(store)) if store else None


def read_record(path: Path) -> Record | None:
    """Return what a file holds; None if it is not there or damaged."""
    try:
        return parse_record(path.read_bytes())
    except FileNotFoundError:
        return None


def parse_record(content: bytes) -> Record | None:
    """Return a record without its checksum; None if that does not fit. Records of before there were any have none."""
    try:
        record = json.loads(content)
        checksum = record.pop("checksum", None)
    except (ValueError, AttributeError, TypeError):
        return None
    return record if record and checksum in (None, digest(record)) else None


def _write(path: Path, record: Record) -> None:
    # as it will be read: keys that are numbers are text there
    read = json.loads(json.dumps(record))
    write_whole(path, _to_bytes(record | {"checksum": digest(read)}))


def _to_bytes(record: Record) -> bytes:
    return json.dumps(record, sort_keys=True, indent=1).encode()
