"""What a worker does: find one ticket, or measure one. Both skip what the store already holds."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from .. import metrics
from ..datasets import Dataset
from ..errors import DivergedError, LotteryError
from ..machine.devices import describe_device, pick_device
from ..machine.revision import revision, versions
from ..pruners import train_dense
from ..ticket import Ticket
from ..training import Launch, launching
from .cells import DENSE, Cell, digest
from .profile import DataSource
from .store import Record, Store

SPACING = 60.0  # seconds between two checkpoints of a training: what a killed one repeats, at least an epoch


class ParentFailed(Exception):
    """A cell cannot start because one that it needs has no ticket."""


@dataclass(frozen=True)
class Outcome:
    """``what``: "found", "kept" (it was there) or "failed", which comes with ``reasons``: what failed → why."""

    what: str
    reasons: dict[str, str] = field(default_factory=dict)


ALONE = Launch()


def find_ticket(
    store: Store, cell: Cell, threads: int, device: str | None, launch: Launch = ALONE
) -> Outcome:
    """Trains the cell's ticket and stores it, unless it is there; a long training that was killed goes on from its
    checkpoint. One that diverges, or any other error, is stored as the cell's failure, if the disk takes it; nothing is
    raised, the study goes on."""
    began = time.perf_counter()
    try:
        if store.has_ticket(cell):
            return Outcome("kept")
        with _threads(threads), launching(replace(launch, checkpoints=store.checkpoints, spacing=SPACING)):
            ticket = _find(store, cell, device)
            store.save_ticket(cell, ticket, _form(_data(cell.dataset)) | _facts(began, device))
        return Outcome("found")
    except ParentFailed as error:  # not stored: it stops being true when the parent is there
        return Outcome("failed", {cell.label: str(error)})
    except Exception as error:
        kind, reason = "error", _words(error)
        if isinstance(error, DivergedError):
            kind, reason = "diverged", str(error)
        with contextlib.suppress(Exception):
            store.save_failure(cell, kind, reason, _facts(began, device))
        return Outcome("failed", {cell.label: reason})


def measure_ticket(
    store: Store,
    cell: Cell,
    wanted: dict[str, Record],
    threads: int,
    device: str | None,
    launch: Launch = ALONE,
) -> Outcome:
    """Measures the metrics (name → settings) that the store lacks. One that fails does not hold up the others; it is
    stored and named as ``find_ticket`` does."""
    failed: dict[str, str] = {}
    try:
        todo = {m: s for m, s in wanted.items() if store.record(cell, m, s) is None}
        if not todo:
            return Outcome("kept")
        if not store.has_ticket(cell):
            failure = store.failure(cell) or {"reason": "there is no ticket to measure"}
            return Outcome("failed", {cell.label: failure["reason"]})
        if not store.has_ticket(cell.twin()):
            return Outcome("failed", {f"measuring {cell.label}": f"needs {cell.twin().label}, which failed"})
        ticket, data = store.load_ticket(cell), _data(cell.dataset)
        dense = None if cell.pruner == DENSE else _dense_subject(store, cell.twin(), device)
    except Exception as error:
        return Outcome("failed", {f"measuring {cell.label}": _words(error)})
    subject = metrics.Subject(ticket.model, data, ticket.mask, cell.seed, device, dense, store.generated)
    facts = ("kept", "prunable", "sparsity", "precision", "processes")
    training = {k: ticket.record[k] for k in facts if k in ticket.record}
    for metric, settings in todo.items():
        began = time.perf_counter()
        try:
            with _threads(threads), launching(launch):
                measured = metrics.evaluate(subject, metric, settings)
                apart = dense and metrics.paired(measured, _of_dense(dense, metric, settings))
                row = _row(cell, metric, settings, measured, apart, data)
                store.save_record(cell, metric, settings, row | {"ticket": training} | _facts(began, device))
        except Exception as error:
            failed[f"{metric} of {cell.label}"] = reason = _words(error)
            with contextlib.suppress(Exception):
                store.save_unmeasured(cell, metric, settings, reason, _facts(began, device))
    return Outcome("failed", failed) if failed else Outcome("found")


def _words(error: Exception) -> str:
    """Our own errors say all in their message; of others the type is half of what one needs to know."""
    return str(error) if isinstance(error, LotteryError) else f"{type(error).__name__}: {error}"


def _find(store: Store, cell: Cell, device: str | None) -> Ticket:
    for parent in cell.parents():
        if not store.has_ticket(parent):
            needs = (store.failure(parent) or {}).get("needs", parent.label)
            raise ParentFailed(f"needs {needs}, which failed")
    data = _data(cell.dataset)
    model = cell.model.build(data, cell.seed)
    if cell.pruner == DENSE:
        return train_dense(model, data, cell.recipe, cell.seed, device=device, progress=False)
    dense, previous = (parent and store.load_ticket(parent) for parent in (cell.dense(), cell.previous()))
    return cell.build_pruner().find(
        model, data, cell.sparsity, cell.recipe, cell.seed,
        dense=dense, previous=previous, device=device, progress=False,
    )  # fmt: skip


def _of_dense(dense: metrics.Subject, metric: str, settings: Record) -> metrics.Measurement:
    """The dense network's own measurement, made once for all tickets of its seed."""
    return dense.once(
        ("measured", metric, digest(settings)), lambda: metrics.evaluate(dense, metric, settings)
    )


def _row(
    cell: Cell,
    metric: str,
    settings: Record,
    measured: metrics.Measurement,
    apart: metrics.Measurement | None,
    data: Dataset,
) -> Record:
    """The record of a measurement; ``apart``: how far the ticket lies from the dense network of its seed."""
    return {
        "id": cell.metric_id(metric, settings),
        "dataset": cell.dataset.name,
        "model": cell.model.name,
        "pruner": cell.pruner,
        "sparsity": round(cell.sparsity, 9),
        "seed": cell.seed,
        "metric": metric,
        **_numbers(measured, apart),
        "chance": 1 / data.classes,
        **_form(data),
        "settings": {"metric": settings, "cell": cell.identity},
        **({"variants": variants} if (variants := _variants(measured, apart)) else {}),
        **({"extra": measured.extra} if measured.extra else {}),
    }


def _form(data: Dataset) -> Record:
    return {"form": data.form} if data.form else {}


def _variants(measured: metrics.Measurement, apart: metrics.Measurement | None) -> Record:
    return {n: _numbers(m, apart and apart.variants.get(n)) for n, m in measured.variants.items()}


def _numbers(measured: metrics.Measurement, apart: metrics.Measurement | None) -> Record:
    numbers = {"value": measured.value, "error": measured.error, "samples": measured.samples}
    return numbers | ({"difference": {"value": apart.value, "error": apart.error}} if apart else {})


def _facts(began: float, device: str | None) -> dict[str, Any]:
    return {
        "revision": revision(),
        "versions": versions(),
        "device": describe_device(pick_device(device)),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began, 3),
    }


@functools.lru_cache(maxsize=4)  # some seeds: a worker meets them in turns
def _dense_subject(store: Store, cell: Cell, device: str | None) -> metrics.Subject:
    """The dense network that tickets are compared with; what was measured on it serves all tickets of its seed."""
    ticket = store.load_ticket(cell)
    return metrics.Subject(ticket.model, _data(cell.dataset), None, cell.seed, device, cache=store.generated)


@functools.lru_cache(maxsize=2)
def _data(source: DataSource) -> Dataset:
    """A worker loads a data set once, not once a cell."""
    return source.load()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums depend on the number of threads in their last bit: the study fixes it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
