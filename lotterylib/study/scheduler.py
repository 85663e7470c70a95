"""Runs a study on Dask: a local cluster by default, any existing scheduler by its address."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from tqdm.auto import tqdm

from ..errors import LotteryError
from .cells import Cell, with_ancestors
from .store import Record, Store
from .work import find_ticket, measure_ticket

ATTEMPTS = 3  # a worker that dies takes its cell down at most this often


@dataclass
class Summary:
    """What a run did: tasks by outcome, and why cells failed (label → reason)."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)


def run(
    todo: list[tuple[Cell, dict[str, Record]]],
    store: Store,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    progress: bool = True,
) -> Summary:
    """Computes what ``missing`` listed: tickets, in an order that shares rounds and dense networks, then metrics.

    ``scheduler``: address of a running Dask scheduler (its workers must see the same store); without it, a local
    cluster of ``workers`` processes (one a core) of ``threads`` PyTorch threads each is started on loopback.

    A cell that fails is named in the summary and the others go on. Ctrl-C ends within seconds; the next run resumes.
    """
    if not todo:
        return Summary()
    store.open_for_writing()
    cells = with_ancestors([cell for cell, _ in todo])
    metrics = {cell.id: wanted for cell, wanted in todo}
    with _client(scheduler, workers, threads) as client:
        tasks = _submit(client, store, cells, metrics, threads, device)
        return _watch(tasks, store, progress)


def _submit(
    client: Client, store: Store, cells: list[Cell], metrics: dict[str, Any], threads: int, device: str | None
) -> dict[Future, Cell]:
    """One task a missing ticket, one a cell to measure; parents are arguments, so Dask orders them."""
    steps = _steps_to_come(cells)
    tickets: dict[str, Future] = {}
    tasks: dict[Future, Cell] = {}
    for cell in cells:
        if not store.has_ticket(cell) and not _is_final(store, cell):
            before = [tickets[p.id] for p in cell.parents() if p.id in tickets]
            task = client.submit(
                _after, before, find_ticket, store, cell, threads, device,
                key=f"find-{cell.id}", pure=False, priority=steps[cell.id],
            )  # fmt: skip
            tickets[cell.id] = task
            tasks[task] = cell
        if cell.id in metrics and not _is_final(store, cell):
            before = [tickets[cell.id]] if cell.id in tickets else []
            task = client.submit(
                _after, before, measure_ticket, store, cell, metrics[cell.id], threads, device,
                key=f"measure-{cell.id}", pure=False, priority=0,
            )  # fmt: skip
            tasks[task] = cell
    return tasks


def _after(_before: list[str], work, *arguments) -> str:
    """Dask passes the parents' outcomes; that they ended is all a task needs to know, the rest is in the store."""
    return work(*arguments)


def _watch(tasks: dict[Future, Cell], store: Store, progress: bool) -> Summary:
    summary = Summary()
    with tqdm(total=len(tasks), desc="study", unit="task", disable=not progress, smoothing=0.05) as bar:
        for task in as_completed(list(tasks)):
            cell = tasks[task]
            try:
                outcome = task.result()
            except KilledWorker:
                outcome = "failed"
                _blame(
                    store,
                    cell,
                    "killed",
                    f"the worker died {ATTEMPTS} times while computing it (out of memory?)",
                )
            except Exception as error:  # e.g. a full disk, where even the failure could not be written
                outcome = "failed"
                _blame(store, cell, "error", f"{type(error).__name__}: {error}")
                summary.failures[cell.label] = f"{type(error).__name__}: {error}"
            summary.counts[outcome] += 1
            if outcome == "failed" and (failure := store.failure(cell)):
                summary.failures[cell.label] = failure["reason"]
            elif outcome == "failed":
                about = store.about(cell) or {}
                reason = about.get("failure", {}).get("reason", "its ticket failed")
                summary.failures.setdefault(cell.label, reason)
            bar.set_postfix_str(f"{cell.label}: {outcome}", refresh=False)
            bar.update()
    return summary


def _blame(store: Store, cell: Cell, kind: str, reason: str) -> None:
    with contextlib.suppress(OSError):
        store.save_failure(cell, kind, reason, {})


def _is_final(store: Store, cell: Cell) -> bool:
    """Diverged cells diverge again: the same seed gives the same numbers."""
    failure = store.failure(cell)
    return failure is not None and failure["kind"] == "diverged"


def _steps_to_come(cells: list[Cell]) -> dict[str, int]:
    """How many trainings wait in line behind each cell: long chains start first, so that none is left at the end."""
    steps = {cell.id: 1 for cell in cells}
    for cell in reversed(cells):
        for parent in cell.parents():
            steps[parent.id] = max(steps[parent.id], steps[cell.id] + 1)
    return steps


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int | None, threads: int) -> Iterator[Client]:
    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError, TimeoutError) as error:
            raise LotteryError(f"no Dask scheduler answers at {scheduler} ({error})") from None
        with client:
            yield client
        return
    # a worker that died may have been killed for a passing reason; Dask counts from 0
    dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS - 1})
    cluster = LocalCluster(
        n_workers=workers or max(1, (os.cpu_count() or 1) // threads),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    client = Client(cluster)
    try:
        yield client
    except KeyboardInterrupt:
        print("\nstopping; what is finished is kept, the same command resumes", file=sys.stderr)
        _kill(cluster)
        raise
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)
            cluster.close(timeout=5)


def _kill(cluster: LocalCluster) -> None:
    """Workers deep in a training do not listen: end their processes, whose files are whole or not there."""
    for nanny in list(cluster.workers.values()):
        process = getattr(nanny, "process", None)
        if process and process.pid:
            nanny.auto_restart = False
            with contextlib.suppress(OSError):
                os.kill(process.pid, 9)
