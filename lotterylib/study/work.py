"""What a worker does: find one ticket, or measure one. Both skip what the store already holds."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import metrics
from ..datasets import Dataset
from ..errors import DivergedError
from ..pruners import train_dense
from ..pruners.base import describe_device
from ..revision import revision, versions
from ..training import pick_device
from .cells import DENSE, Cell
from .profile import DataSource
from .store import Record, Store


class ParentFailed(Exception):
    """A cell cannot start because one that it needs failed."""


def find_ticket(store: Store, cell: Cell, threads: int, device: str | None) -> str:
    """Trains the cell's ticket and stores it. Returns "found", or "kept" if it was there; a training that diverges, or
    any other error, is recorded as the cell's failure and returned as "failed"."""
    if store.has_ticket(cell):
        return "kept"
    began = time.perf_counter()
    try:
        with _threads(threads):
            ticket = _find(store, cell, device)
        store.save_ticket(cell, ticket, _facts(began, device))
        return "found"
    except Exception as error:  # whatever it is, the study goes on and names the cell
        kind = {DivergedError: "diverged", ParentFailed: "parent"}.get(type(error), "error")
        store.save_failure(cell, kind, f"{error}" or type(error).__name__, _facts(began, device))
        return "failed"


def measure_ticket(
    store: Store, cell: Cell, wanted: dict[str, Record], threads: int, device: str | None
) -> str:
    """Measures the metrics (name → settings) that the store lacks. Returns as ``find_ticket`` does."""
    todo = {m: s for m, s in wanted.items() if store.record(cell, m, s) is None}
    if not todo:
        return "kept"
    began = time.perf_counter()
    try:
        if not store.has_ticket(cell):
            raise ParentFailed(f"no ticket of {cell.label}")
        ticket, data = store.load_ticket(cell), _data(cell.dataset)
        with _threads(threads):
            subject = metrics.Subject(ticket.model, data, ticket.mask, cell.seed, device)
            for metric, settings in todo.items():
                began = time.perf_counter()
                row = _row(cell, metric, settings, metrics.evaluate(subject, metric, settings), data)
                training = {k: ticket.record[k] for k in ("kept", "prunable", "sparsity", "precision")}
                store.save_record(cell, metric, settings, row | {"ticket": training} | _facts(began, device))
        return "found"
    except ParentFailed:
        return "failed"  # the ticket's own failure is on record
    except Exception as error:
        store.save_failure(
            cell, "error", f"measuring: {type(error).__name__}: {error}", _facts(began, device)
        )
        return "failed"


def _find(store: Store, cell: Cell, device: str | None):
    for parent in cell.parents():
        if not store.has_ticket(parent):
            raise ParentFailed(f"needs {parent.label}, which failed")
    data = _data(cell.dataset)
    model = cell.model.build(data, cell.seed)
    if cell.pruner == DENSE:
        return train_dense(model, data, cell.recipe, cell.seed, device=device, progress=False)
    dense, previous = (parent and store.load_ticket(parent) for parent in (cell.dense(), cell.previous()))
    return cell.build_pruner().find(
        model, data, cell.sparsity, cell.recipe, cell.seed,
        dense=dense, previous=previous, device=device, progress=False,
    )  # fmt: skip


def _row(cell: Cell, metric: str, settings: Record, measured: metrics.Measurement, data: Dataset) -> Record:
    return {
        "id": cell.metric_id(metric, settings),
        "dataset": cell.dataset.name,
        "model": cell.model.name,
        "pruner": cell.pruner,
        "sparsity": round(cell.sparsity, 9),
        "seed": cell.seed,
        "metric": metric,
        "value": measured.value,
        "error": measured.error,
        "samples": measured.samples,
        "chance": 1 / data.classes,
        "settings": {"metric": settings, "cell": cell.identity},
        **({"extra": measured.extra} if measured.extra else {}),
    }


def _facts(began: float, device: str | None) -> dict[str, Any]:
    return {
        "revision": revision(),
        "versions": versions(),
        "device": describe_device(pick_device(device)),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began, 3),
    }


@functools.lru_cache(maxsize=2)
def _load_data(name: str, root: Path | None, limit: int | None) -> Dataset:
    return DataSource(name=name, root=root, limit=limit).load()


def _data(source: DataSource) -> Dataset:
    """A worker loads a data set once, not once a cell."""
    return _load_data(source.name, source.root, source.limit)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums depend on the number of threads in their last bit: the study fixes it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
