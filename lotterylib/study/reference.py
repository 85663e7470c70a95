"""The part of the package that belongs to a profile: the records of its reference run, and tickets to draw and start from."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from ..datasets.base import verify
from ..errors import DataError
from ..files import claim, component, exists, sha256, write_whole
from ..ticket import Ticket
from .cells import DENSE, Cell, expand, wanted, with_ancestors
from .index import Index
from .profile import Profile
from .store import Record, Store
from .versions import Made, outdated

REFERENCE = Path(__file__).parents[1] / "reference"


class Reference:
    """``records.jsonl`` and the tickets of a profile, with their checksums in ``manifest.json``.

    Raises:
        DataError: by every attribute, if a file is damaged.
    """

    def __init__(self, profile: str):
        self.folder = REFERENCE / profile

    @cached_property
    def manifest(self) -> Record:
        """Return the checksums by file; empty if the profile has no reference."""
        return _manifest(self.folder)

    @cached_property
    def rows(self) -> dict[str, Record]:
        """Return record id → row."""
        if not self.manifest:
            return {}
        content = verify(self.folder / "records.jsonl", self.manifest["sha256"])
        rows = [row for line in content.decode().splitlines() for row in _unpacked(json.loads(line))]
        return {row["id"]: row for row in rows}

    def versions(self, cell: Cell) -> Record:
        """Return the version of the pruner that found the cell's ticket, as its records say."""
        own = (row for id, row in self.rows.items() if id.startswith(cell.id))
        return {"pruner_version": next((Made.of(row).pruner for row in own), 1)}

    def ticket_path(self, cell: Cell) -> Path | None:
        """Return where the cell's ticket lies, its content checked, if it is one of those that come with the package."""
        checksum = self.manifest.get("tickets", {}).get(cell.id)
        if checksum is None:
            return None
        path = _ticket_path(self.folder, cell.id)
        verify(path, checksum)
        return path


def adopt(profile: Profile, store: Store, cells: list[Cell]) -> int:
    """Copy into the store those of the cells' tickets that come with the package, so that a new metric needs no
    training. Return how many were copied."""
    reference, copied = Reference(profile.name), 0
    for cell in with_ancestors(cells, store.has_ticket):
        if not store.has_ticket(cell) and (shipped := reference.ticket_path(cell)):
            ticket, about = Ticket.load(shipped), {"source": f"reference/{profile.name}"}
            store.open_for_writing().save_ticket(cell, ticket, about | reference.versions(cell))
            copied += 1
    return copied


def adopt_records(profile: Profile, store: Store) -> int:
    """Copy into the store those of the profile's records that come with the package and that it lacks, so that a study goes on
    where the package's ended. Return how many were copied."""
    rows, index = Reference(profile.name).rows, Index(store)
    lacking = [asked for asked in wanted(profile) if asked.id in rows and not index.has_record(asked.id)]
    if lacking:
        store.open_for_writing()
    for cell, metric, settings, id in lacking:
        store.save_record(cell, metric, settings, rows[id])
    return len(lacking)


def export(profile: Profile, store: Store, folder: Path | None = None, *, partial: bool = False) -> Path:
    """Write a complete study as reference: a text file of records, a line per cell; the tickets of the first seed and the
    dense networks of all (with their rewind states, which pruners start from), as far as the store holds them; and a
    manifest with the checksums. Of an earlier reference in the folder, the tickets that its manifest names are removed.

    ``partial`` keeps what an unfinished study has measured: its records alone, and the manifest says how many are ``missing``.

    Raises:
        DataError: if a measurement is missing or damaged: a reference has no holes, but for a ``partial`` one, which needs
            one record or more.
        SettingError: if the folder holds something else than an earlier reference.
    """
    rows: dict[str, list[Record]] = {}
    asked = wanted(profile)
    found = Index(store).records(each.id for each in asked)
    for (cell, metric, settings, _), row in zip(asked, found, strict=True):
        if row is None:
            if partial:
                continue
            state = "damaged" if exists(store.record_path(cell, metric, settings)) else "missing"
            raise DataError(
                f"{metric} of {cell.label} is {state} in {store.root}: run the study to its end first"
            )
        rows.setdefault(cell.id, []).append(row)
    if not rows:
        raise DataError(f"{store.root} has no record of {profile.name}: run the study first")
    folder = claim(folder or REFERENCE / profile.name, "manifest.json", note="")
    for id in _manifest(folder).get("tickets", {}):
        _ticket_path(folder, id).unlink(missing_ok=True)
    tickets = {}
    cells = [] if partial else expand(profile)
    shipped = [c for c in cells if c.pruner == DENSE or c.seed == profile.seeds[0]]
    for cell in filter(store.has_ticket, shipped):
        path, found = _ticket_path(folder, cell.id), store.load_ticket(cell)
        found.rewind = found.rewind if cell.pruner == DENSE else None
        found.save(path)
        tickets[cell.id] = sha256(path.read_bytes())
    lines = "".join(json.dumps(_packed(rows[i]), sort_keys=True) + "\n" for i in sorted(rows))
    every = [row for cell_rows in rows.values() for row in cell_rows]
    manifest = {
        "profile": profile.name,
        "records": len(every),
        **({"missing": len(asked) - len(every)} if partial else {}),
        "revisions": sorted({row["revision"] for row in every}),
        **({"outdated": mixed} if (mixed := _outdated(every)) else {}),
        "sha256": sha256(lines.encode()),
        "tickets": tickets,
    }
    write_whole(folder / "records.jsonl", lines.encode())
    write_whole(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return folder


def _manifest(folder: Path) -> Record:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        return {"sha256": manifest["sha256"], "tickets": dict(manifest["tickets"])}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged; fetch it again") from None


def _outdated(rows: list[Record]) -> list[str]:
    return outdated((row["metric"], row["pruner"], Made.of(row)) for row in rows)


def _ticket_path(folder: Path, id: str) -> Path:
    return folder / "tickets" / f"{component(id, 'ticket')}.safetensors"


def _packed(rows: list[Record]) -> Record:
    """Return the records of one cell with what all of them say, half of their text, said once."""
    flat = [{**row, "settings": row["settings"]["metric"], "cell": row["settings"]["cell"]} for row in rows]
    common = {k: v for k, v in flat[0].items() if k != "settings" and all(row.get(k) == v for row in flat)}
    each = [{k: v for k, v in row.items() if k not in common} for row in flat]
    return {"all": common, "each": sorted(each, key=lambda row: row.get("metric", ""))}


def _unpacked(line: Record) -> list[Record]:
    rows = [line["all"] | row for row in line["each"]]
    return [row | {"settings": {"metric": row["settings"], "cell": row.pop("cell")}} for row in rows]
