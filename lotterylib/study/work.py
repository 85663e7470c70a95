"""The work of one worker process: find one ticket, or measure one. Both skip what the store already holds."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import metrics
from ..datasets import Dataset
from ..errors import DamagedError, DivergedError, LotteryError
from ..files import exists, write_whole
from ..machine.devices import describe_device, pick_device
from ..machine.revision import revision, versions
from ..masks import Mask
from ..pruners import train_dense
from ..text import duration
from ..ticket import Ticket
from ..training import Launch, launching
from .cells import DENSE, Cell, digest
from .profile import DataSource
from .store import Record, Store
from .versions import Made, pruner_version

# seconds between two checkpoints of a training: what a killed one repeats, at least an epoch
SPACING = 60.0
# a cell that takes its worker down is tried this often
ATTEMPTS = 3
# what the marks of one that took too long hold
HUNG = b"hung"
# what a measurement's record says of the training
_OF_TRAINING = ("kept", "prunable", "sparsity", "precision", "processes")


class ParentFailed(Exception):
    """A cell cannot start because one that it needs has no ticket."""


@dataclass(frozen=True)
class Outcome:
    """``what``: "found", "kept" (it was there) or "failed", which comes with ``reasons``: what failed → why. ``mended``:
    tickets that were damaged and have been found again."""

    what: str
    reasons: dict[str, str] = field(default_factory=dict)
    mended: tuple[str, ...] = ()


class Worker:
    """Finds and measures tickets of a store, one cell at a time. Data sets and the dense networks that tickets are compared
    with stay in memory, since the next cells mostly need the same. With ``refresh``, what another version of a pruner or
    metric made is made anew."""

    def __init__(
        self,
        store: Store,
        threads: int = 1,
        device: str | None = None,
        launch: Launch | None = None,
        refresh: bool = False,
    ):
        self.store, self.threads, self.device, self.launch = store, threads, device, launch or Launch()
        self.refresh = refresh
        self._data: Callable[[DataSource], Dataset] = functools.lru_cache(maxsize=2)(DataSource.load)
        self._mended: list[str] = []
        # some seeds: a worker meets them in turns
        self._dense: Callable[[Cell], metrics.Subject] = functools.lru_cache(maxsize=4)(self._dense_subject)

    def find(self, cell: Cell) -> Outcome:
        """Train the cell's ticket and store it, unless it is there; a long training that was killed goes on from its
        checkpoint. One that diverges, or any other error, is stored as the cell's failure, if the disk takes it; nothing is
        raised, the study goes on."""
        began = time.perf_counter()
        try:
            if self.refresh and not self.store.has_present_ticket(cell):
                # else what starts from it would start from the old one if this fails
                self.store.drop_ticket(cell)
            if self.store.has_ticket(cell):
                return Outcome("kept")
            kept = dict(checkpoints=self.store.checkpoints, choices=self.store.choices)
            launch = replace(self.launch, spacing=SPACING, **kept)
            with fixed_threads(self.threads), launching(launch):
                ticket = self._train(cell)
                facts = self._facts(began) | {"pruner_version": pruner_version(cell.pruner)}
                self.store.save_ticket(cell, ticket, _form(self._data(cell.dataset)) | facts)
            return Outcome("found", mended=self._mended_now())
        # not stored: it stops being true when the parent is there
        except ParentFailed as error:
            return Outcome("failed", {cell.label: str(error)})
        except Exception as error:
            kind = "diverged" if isinstance(error, DivergedError) else "error"
            with contextlib.suppress(Exception):
                self.store.save_failure(cell, kind, _words(error), self._facts(began))
            return Outcome("failed", {cell.label: _words(error)})

    def measure(self, cell: Cell, wanted: dict[str, Record]) -> Outcome:
        """Measure the metrics (name → settings) that the store lacks. One that fails does not hold up the others; it is
        stored and named as by ``find``."""
        try:
            todo = {m: s for m, s in wanted.items() if not self._has_measured(cell, m, s)}
            if not todo:
                return Outcome("kept")
            if lacking := self._lacking(cell):
                return Outcome("failed", lacking)
            ticket = self._load(cell)
            dense = None if cell.pruner == DENSE else self._dense(cell.baseline())
            subject = self._subject(cell, ticket.model, ticket.mask, dense)
            found_by = self.store.ticket_version(cell)
        except Exception as error:
            return Outcome("failed", {f"measuring {cell.label}": _words(error)})
        failed: dict[str, str] = {}
        for metric, settings in todo.items():
            began = time.perf_counter()
            try:
                with fixed_threads(self.threads), launching(self.launch):
                    row = _row(cell, metric, settings, subject, ticket)
                    versions = {
                        "metric_version": metrics.describe(metric).version,
                        "pruner_version": found_by,
                    }
                    self.store.save_record(cell, metric, settings, row | versions | self._facts(began))
            except Exception as error:
                failed[f"{metric} of {cell.label}"] = reason = _words(error)
                with contextlib.suppress(Exception):
                    self.store.save_unmeasured(cell, metric, settings, reason, self._facts(began))
        return Outcome("failed" if failed else "found", failed, self._mended_now())

    def _has_measured(self, cell: Cell, metric: str, settings: Record) -> bool:
        record = self.store.record(cell, metric, settings)
        if record is None or not self.refresh:
            return record is not None
        return Made.of(record) == Made.now(metric, cell.pruner)

    def _lacking(self, cell: Cell) -> dict[str, str]:
        """Return the ticket that is not there to measure or to compare with, and why; empty if both are."""
        if not self.store.has_ticket(cell):
            failure = self.store.failure(cell) or {"reason": "there is no ticket to measure"}
            return {cell.label: failure["reason"]}
        if not self.store.has_ticket(cell.baseline()):
            return {f"measuring {cell.label}": f"needs {cell.baseline().label}, which failed"}
        return {}

    def _train(self, cell: Cell) -> Ticket:
        for parent in cell.parents():
            if not self.store.has_ticket(parent):
                needs = (self.store.failure(parent) or {}).get("needs", parent.label)
                raise ParentFailed(f"needs {needs}, which failed")
        data = self._data(cell.dataset)
        model = cell.model.build(data, cell.training_seed)
        how: dict[str, Any] = dict(device=self.device, progress=False)
        if cell.unpruned:
            return train_dense(model, data, cell.recipe, cell.training_seed, **how)
        dense, previous = (parent and self._load(parent) for parent in (cell.dense(), cell.previous()))
        return cell.build_pruner().find(
            model, data, cell.sparsity, cell.recipe, cell.seed, dense=dense, previous=previous, **how
        )

    def _load(self, cell: Cell) -> Ticket:
        """Return a ticket; one that turns out to be damaged is found again first."""
        try:
            return self.store.load_ticket(cell)
        except DamagedError:
            self.store.drop_ticket(cell)
        outcome = self.find(cell)
        if outcome.what == "failed":
            raise ParentFailed("; ".join(outcome.reasons.values()))
        self._mended.append(cell.label)
        return self.store.load_ticket(cell)

    def _mended_now(self) -> tuple[str, ...]:
        """Return what has been mended since the last call."""
        mended, self._mended = tuple(self._mended), []
        return mended

    def _dense_subject(self, cell: Cell) -> metrics.Subject:
        return self._subject(cell, self._load(cell).model)

    def _subject(
        self, cell: Cell, model: nn.Module, mask: Mask | None = None, dense: metrics.Subject | None = None
    ) -> metrics.Subject:
        data, cache = self._data(cell.dataset), self.store.generated
        return metrics.Subject(model, data, mask, cell.seed, self.device, dense, cache)

    def _facts(self, began: float) -> Record:
        return {
            "revision": revision(),
            "versions": versions(),
            "device": describe_device(pick_device(self.device)),
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 3),
        }


def attempt(
    marks: Path, store: Store, cell: Cell, work: Callable[[], Outcome], limit: float = math.inf
) -> Outcome:
    """Do some work on a cell, unless it has taken its worker down ``ATTEMPTS`` times, or once taken longer than ``limit``
    seconds. A byte in the file ``marks`` says that an attempt began; it stays if the worker dies."""
    died, before = 0, b""
    # a full disk, no answer; the work will say so
    with contextlib.suppress(Exception):
        before = marks.read_bytes() if exists(marks) else b""
        died = ATTEMPTS if before == HUNG else len(before)
        if died < ATTEMPTS:
            write_whole(marks, b"." * (died + 1))
    if died >= ATTEMPTS:
        reason = f"the worker died {died} times while computing it (out of memory?)"
        if before == HUNG:
            reason = f"it did not end within {duration(limit)} (hours_per_cell of the profile)"
        blame(store, cell, reason)
        return Outcome("failed", {cell.label: reason})
    with _ending(marks, limit):
        outcome = work()
    with contextlib.suppress(Exception):
        marks.unlink()
    return outcome


@contextlib.contextmanager
def _ending(marks: Path, limit: float) -> Iterator[None]:
    """End this process if the block takes longer: a thread that hangs can be ended by no other means. The next attempt
    reads why."""

    def end() -> None:
        with contextlib.suppress(Exception):
            write_whole(marks, HUNG)
        os._exit(1)

    timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def blame(store: Store, cell: Cell, reason: str) -> None:
    """Note that a cell without a ticket took its worker down, if the disk takes it."""
    with contextlib.suppress(OSError):
        if not store.has_ticket(cell):
            store.save_failure(cell, "killed", reason, {})


def _words(error: Exception) -> str:
    """Return the message; our own errors say all in it, of others the type is half of what one needs to know."""
    known = isinstance(error, (LotteryError, ParentFailed))
    return str(error) if known else f"{type(error).__name__}: {error}"


def _of_dense(dense: metrics.Subject, metric: str, settings: Record) -> metrics.Measurement:
    """Return the dense network's own measurement, made once for all tickets of its seed."""
    return dense.once(
        ("measured", metric, digest(settings)), lambda: metrics.evaluate(dense, metric, settings)
    )


def _row(cell: Cell, metric: str, settings: Record, subject: metrics.Subject, ticket: Ticket) -> Record:
    """Measure, and return the record: the values and how far they lie from those of the dense network of the seed."""
    measured, dense, data = metrics.evaluate(subject, metric, settings), subject.dense, subject.data
    difference = dense and metrics.paired(measured, _of_dense(dense, metric, settings))
    record: Record = dict(ticket.record)
    variants = {
        name: _numbers(variant, difference and difference.variants.get(name))
        for name, variant in measured.variants.items()
    }
    return {
        "id": cell.metric_id(metric, settings),
        "dataset": cell.dataset.name,
        "model": cell.model.label,
        "pruner": cell.pruner,
        "sparsity": round(cell.sparsity, 9),
        "seed": cell.seed,
        "metric": metric,
        **_numbers(measured, difference),
        "chance": 1 / data.classes,
        **_form(data),
        "settings": {"metric": settings, "cell": cell.identity},
        **({"variants": variants} if variants else {}),
        **({"extra": measured.extra} if measured.extra else {}),
        "ticket": {name: record[name] for name in _OF_TRAINING if name in record},
    }


def _form(data: Dataset) -> Record:
    return {"form": data.form} if data.form else {}


def _numbers(measured: metrics.Measurement, difference: metrics.Measurement | None) -> Record:
    numbers = {"value": measured.value, "error": measured.error, "samples": measured.samples}
    if difference:
        numbers["difference"] = {"value": difference.value, "error": difference.error}
    return numbers


@contextlib.contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Give PyTorch so many threads in the block: sums depend on their number in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
