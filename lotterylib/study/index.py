"""The content of a store, seen at once: thousands of files are listed, and only those that changed since are read."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..files import is_remote, names
from ..results import slim
from ..ticket import is_whole
from .cells import Cell
from .store import Record, Shelf, Store, parse_record, read_record
from .versions import Made

FILE = "index.sqlite"
# a store of fewer files is read as quickly without one
WORTH_KEEPING = 1000
# records that one question to the database names: some builds take no more than 999
AT_ONCE = 500
# what most questions ask is apart from the records themselves, which are a hundred times as large
_TABLES = """
CREATE TABLE IF NOT EXISTS known (path TEXT PRIMARY KEY, stamp INT, whole INT, metric INT, pruner INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS slim (path TEXT PRIMARY KEY, content BLOB, crc INT) WITHOUT ROWID;
"""


class Index(Shelf):
    """A store as it was when this was made. ``damaged`` are the files that count as missing because they are not whole.

    What was read stays in ``index.sqlite`` with each file's size and time. That file may be lost or damaged at no cost but
    time; where it cannot be written, or where the store is no folder of this machine, nothing is kept.
    """

    def __init__(self, store: Store):
        self.store = store
        self.damaged: list[Path] = []
        self._noted, self._database = names(store.root / "cells"), None
        self._failures: dict[str, dict[str, str] | None] = {}
        # of records that others than the first versions made
        self._made: dict[str, Made] = {}
        if is_remote(store.root):
            # one question per folder, not one per file
            self._whole = {f"{part}/{name}" for part in _READ for name in names(store.root / part)}
            return
        self._database = _database(store.root)
        self._whole = {path for (path,) in self._database.execute("SELECT path FROM known WHERE whole")}
        torn = self._database.execute("SELECT path FROM known WHERE NOT whole ORDER BY path")
        self.damaged = [store.root / path for (path,) in torn]
        later = "SELECT path, metric, pruner FROM known WHERE metric > 1 OR pruner > 1"
        self._made = {path: Made(*versions) for path, *versions in self._database.execute(later)}

    @classmethod
    def of(cls, store: Store | Index) -> Index:
        """Return the index of a store, or the index that is given."""
        return store if isinstance(store, Index) else cls(store)

    def has_ticket(self, cell: Cell) -> bool:
        return f"tickets/{cell.id}.safetensors" in self._whole

    def about(self, cell: Cell) -> Record | None:
        return self.store.about(cell) if f"{cell.id}.json" in self._noted else None

    def failure(self, cell: Cell) -> dict[str, str] | None:
        if cell.id not in self._failures:
            self._failures[cell.id] = super().failure(cell)
        return self._failures[cell.id]

    def has_record(self, id: str) -> bool:
        """Return whether there is a record of that name, and whole."""
        return f"records/{id}.json" in self._whole

    def made(self, id: str) -> Made:
        """Return the versions of metric and pruner that made the record of that name, which is there."""
        path = f"records/{id}.json"
        if self._database is None:
            return Made.of(self._record(path) or {})
        return self._made.get(path, Made())

    def records(self, ids: Iterable[str]) -> Iterator[Record | None]:
        """Yield the records of these names, None for those that are missing or damaged."""
        for id in ids:
            yield self._record(f"records/{id}.json") if self.has_record(id) else None

    def slim(self, ids: Iterable[str]) -> Iterator[Record | None]:
        """Yield what tables need of these records, None for those that are missing or damaged."""
        asked = [f"records/{id}.json" for id in ids]
        for start in range(0, len(asked), AT_ONCE):
            kept = self._kept_slim(paths := asked[start : start + AT_ONCE])
            for path in paths:
                row = kept.get(path)
                if row is None and path in self._whole:
                    found = self._record(path)
                    row = found and slim(found)
                yield row

    def _kept_slim(self, paths: Sequence[str]) -> dict[str, Record]:
        """Return what the database keeps of these records for tables, by path."""
        kept: dict[str, Record] = {}
        if self._database:
            question = f"SELECT path, content, crc FROM slim WHERE path IN ({', '.join('?' * len(paths))})"
            with contextlib.suppress(sqlite3.DatabaseError):
                for path, content, crc in self._database.execute(question, paths):
                    with contextlib.suppress(ValueError, TypeError):
                        if path in self._whole and zlib.crc32(content) == crc:
                            kept[path] = json.loads(content)
        return kept

    def _record(self, path: str) -> Record | None:
        if self._database:
            with contextlib.suppress(sqlite3.DatabaseError):
                for (content,) in self._database.execute(
                    "SELECT content FROM contents WHERE path = ?", (path,)
                ):
                    if record := parse_record(content):
                        return record
        return read_record(self.store.root / path)


class _Read(NamedTuple):
    """What is kept of a file: whether it is whole, and of a record all of it."""

    whole: bool
    made: Made = Made()
    content: bytes | None = None
    slim: bytes | None = None


def _ticket(path: Path) -> _Read:
    return _Read(is_whole(path))


def _record(path: Path) -> _Read:
    try:
        content = path.read_bytes()
    except OSError:
        return _Read(False)
    record = parse_record(content)
    if record is None:
        return _Read(False)
    return _Read(True, Made.of(record), content, json.dumps(slim(record)).encode())


_READ = {"tickets": _ticket, "records": _record}


def _database(root: Path) -> sqlite3.Connection:
    """Return the table of all files: path, stamp, content."""
    stamps = dict(_stamps(root))
    file = root / FILE
    if len(stamps) >= WORTH_KEEPING:
        for _ in range(2):
            try:
                return _updated(sqlite3.connect(file, timeout=5), root, stamps)
            except sqlite3.OperationalError:
                # read-only, full, or held by another process
                break
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    file.unlink()
    return _updated(sqlite3.connect(":memory:"), root, stamps)


def _stamps(root: Path) -> Iterator[tuple[str, int]]:
    """Yield each file with a number that changes when it does."""
    for part in _READ:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(root / part) as entries:
            for entry in entries:
                # temporary files begin with a dot
                if not entry.name.startswith("."):
                    about = entry.stat()
                    yield f"{part}/{entry.name}", (about.st_mtime_ns * 1_000_003 + about.st_size) % 2**63


def _updated(database: sqlite3.Connection, root: Path, stamps: dict[str, int]) -> sqlite3.Connection:
    database.executescript(_TABLES)
    known = dict(database.execute("SELECT path, stamp FROM known"))
    gone = [(path,) for path in known.keys() - stamps.keys()]
    with database:
        for table in ("known", "contents", "slim"):
            database.executemany(f"DELETE FROM {table} WHERE path = ?", gone)
        for path, stamp in stamps.items():
            if known.get(path) != stamp:
                read = _READ[path.partition("/")[0]](root / path)
                row = (path, stamp, read.whole, *read.made)
                database.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", row)
                if read.content is not None and read.slim is not None:
                    database.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (path, read.content))
                    row = (path, read.slim, zlib.crc32(read.slim))
                    database.execute("INSERT OR REPLACE INTO slim VALUES (?, ?, ?)", row)
    return database
