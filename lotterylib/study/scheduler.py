"""Runs a study on Dask: a local cluster by default, any existing scheduler by its address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker
from tqdm import tqdm

from ..errors import LotteryError, SettingError
from ..files import exists, is_remote, remove, write_whole
from ..machine.devices import pick_device, places, processors
from ..training import Launch
from .cells import Cell, with_ancestors
from .store import Record, Store
from .work import Outcome, find_ticket, measure_ticket

_alone = threading.Lock()  # threads of one worker would share PyTorch's random state and number of threads

ATTEMPTS = 3  # a cell that takes its worker down is tried this often

_LOCAL = {
    # Dask's own default adds MALLOC_TRIM_THRESHOLD_=65536, which gives memory back to the system after every layer and
    # makes a training half as slow again
    "distributed.nanny.pre-spawn-environ": {
        f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")
    },
    # Dask suspects every task that waited on a worker that died, not only the one that ran; ``_attempt`` counts better
    "distributed.scheduler.allowed-failures": 100,
    "distributed.worker.daemon": False,  # else it may not start processes that read images or train with it
    # a worker that holds much data would pause for ever; one that outgrows its share of the memory is ended
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


@dataclass
class Summary:
    """What a run did: tasks by outcome, and what failed and why (label → reason). ``final`` are the labels of those
    that the next run will not try again: diverged cells, and cells that need them."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    final: set[str] = field(default_factory=set)


def hush() -> None:
    """Silences Dask's own log for the rest of this process, where it would print tracebacks of connections that end
    because we end. What matters of it, ``run`` says in the summary or raises."""
    for name in ("distributed", "tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def run(
    todo: list[tuple[Cell, dict[str, Record]]],
    store: Store,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    per_gpu: int | None = None,
    processes: int = 1,
    progress: bool = True,
) -> Summary:
    """Computes what ``missing`` listed: tickets, in an order that shares rounds and dense networks, then metrics.

    ``scheduler``: address of a running Dask scheduler (its workers must see the same store); without it, a local
    cluster of ``workers`` processes (one a GPU or, without GPUs, one a core) of ``threads`` PyTorch threads each is started
    on loopback. ``per_gpu``: that many cells share a GPU. ``processes``: that many, a GPU each, train one ticket together. Of
    a running scheduler's workers, each cell then asks for ``processes``/``per_gpu`` of the resource ``GPU``.

    A cell that fails is named in the summary and the others go on. Ctrl-C ends within seconds; the next run resumes.
    Raises ``LotteryError`` if no scheduler answers, or if it goes away, ``SettingError`` for processes that there are no
    GPUs for or that a batch cannot be shared out to.
    """
    return _run(
        todo,
        store,
        scheduler,
        workers,
        threads,
        device,
        progress,
        find_ticket,
        measure_ticket,
        per_gpu,
        processes,
    )


def _run(
    todo: list[tuple[Cell, dict[str, Record]]],
    store: Store,
    scheduler: str | None,
    workers: int | None,
    threads: int,
    device: str | None,
    progress: bool,
    find: Callable[..., Outcome],
    measure: Callable[..., Outcome],
    per_gpu: int | None = None,
    processes: int = 1,
) -> Summary:
    """``run``, with the work itself as arguments."""
    for batch in {cell.recipe.batch_size for cell, _ in todo}:
        if batch % processes:
            raise SettingError(
                f"a batch of {batch} images cannot be shared out evenly to {processes} processes"
            )
    summary = Summary()
    cells = []
    for cell in with_ancestors([cell for cell, _ in todo], store.has_ticket):
        if store.is_final(cell):
            summary.failures[cell.label] = store.failure(cell)["reason"]
            summary.final.add(cell.label)
        else:
            cells.append(cell)
    metrics = {cell.id: wanted for cell, wanted in todo}
    if not any(cell.id in metrics for cell in cells):
        return summary
    if not is_remote(store.root):
        store = Store(store.root.resolve())  # workers may have another working folder
    attempts = store.open_for_writing().root / "attempts" / uuid.uuid4().hex[:8]
    devices = None if scheduler else tuple(places(workers, threads, device, per_gpu or 1, processes))
    wants_gpus = scheduler and (per_gpu or processes > 1)
    share = {"GPU": processes / (per_gpu or 1)} if wants_gpus else {}
    how = threads, devices or device, Launch(processes, workers=_readers(devices, processes))
    try:
        with _client(scheduler, len(devices or ()), share) as client:
            tasks = _submit(client, store, cells, metrics, attempts, how, share, find, measure)
            _watch(tasks, store, summary, progress, lambda: _running(client))
    finally:
        remove(attempts)
    return summary


def _readers(devices: tuple[str | None, ...] | None, processes: int) -> int | None:
    """Processes that read images in files beside each training process of a local worker: the processors that GPUs leave
    idle, shared out. A worker elsewhere knows best itself (None)."""
    if devices is None:
        return None
    return processors() // (len(devices) * processes) if pick_device(devices[0]).type == "cuda" else 0


def _submit(
    client: Client,
    store: Store,
    cells: list[Cell],
    metrics: dict[str, Any],
    attempts: Path,
    how: tuple[int, Any, Launch],
    share: dict[str, float],
    find: Callable[..., Outcome],
    measure: Callable[..., Outcome],
) -> dict[Future, Cell]:
    """One task a missing ticket, one a cell to measure; parents are arguments, so Dask orders them. Keys carry the
    run's name: two runs on one scheduler may have different stores and different metrics."""
    steps = _steps_to_come(cells)
    tickets: dict[str, Future] = {}
    tasks: dict[Future, Cell] = {}
    for cell in cells:
        if not store.has_ticket(cell):
            before = [tickets[p.id] for p in cell.parents() if p.id in tickets]
            task = client.submit(
                _attempt, before, attempts / f"find-{cell.id}", find, store, cell, *how,
                key=f"find-{cell.id}-{attempts.name}", pure=False, priority=steps[cell.id], resources=share,
            )  # fmt: skip
            tickets[cell.id] = task
            tasks[task] = cell
        if cell.id in metrics:
            before = [tickets[c.id] for c in {cell, cell.twin()} if c.id in tickets]
            task = client.submit(
                _attempt, before, attempts / f"measure-{cell.id}", measure, store, cell, metrics[cell.id], *how,
                key=f"measure-{cell.id}-{attempts.name}", pure=False, priority=0, resources=share,
            )  # fmt: skip
            tasks[task] = cell
    return tasks


def _attempt(
    _before: list[Outcome], marks: Path, work: Callable[..., Outcome], store: Store, cell: Cell, *how
):
    """Runs ``work`` on a worker. The parents' outcomes only make Dask wait: what they left is in the store. A byte in
    the file ``marks`` says that an attempt began; it stays if the worker dies."""
    with _alone:
        died = 0
        with contextlib.suppress(Exception):  # a full disk, no answer; the work will say so
            died = len(marks.read_bytes()) if exists(marks) else 0
            if died < ATTEMPTS:
                write_whole(marks, b"." * (died + 1))
        if died >= ATTEMPTS:
            reason = f"the worker died {died} times while computing it (out of memory?)"
            _blame(store, cell, reason)
            return Outcome("failed", {cell.label: reason})
        outcome = work(store, cell, *(_own(value) for value in how))
        with contextlib.suppress(Exception):
            marks.unlink()
        return outcome


def _own(value: Any) -> Any:
    """Of the devices of all local workers (a tuple), this worker's: they are numbered. Anything else stays as it is."""
    return value[int(get_worker().name) % len(value)] if isinstance(value, tuple) else value


def _running(client: Client) -> int:
    """Tasks that workers are at, as they last said."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    counts = (worker.get("metrics", {}).get("task_counts", {}) for worker in workers)
    return sum(int(count.get("executing", 0)) for count in counts)


def _watch(
    tasks: dict[Future, Cell],
    store: Store,
    summary: Summary,
    progress: bool,
    running: Callable[[], int] = lambda: 0,
) -> None:
    with tqdm(total=len(tasks), desc="study", unit="task", disable=not progress, smoothing=0.05) as bar:
        for task in as_completed(list(tasks)):
            cell = tasks[task]
            try:
                outcome = task.result()
            except CancelledError:
                raise LotteryError(
                    "the scheduler is gone; what is finished is kept, the same command resumes"
                ) from None
            except KilledWorker as error:
                if error.task == task.key:
                    reason = f"{error.allowed_failures + 1} workers died while it ran or waited on them"
                    _blame(store, cell, reason)
                else:
                    first = next((c for t, c in tasks.items() if t.key == error.task), None)
                    reason = f"needs {first.label if first else error.task}, which failed"
                outcome = Outcome("failed", {cell.label: reason})
            except Exception as error:  # e.g. a worker that cannot import this package
                outcome = Outcome("failed", {cell.label: f"{type(error).__name__}: {error}"})
            summary.counts[outcome.what] += 1
            for label, reason in outcome.reasons.items():
                summary.failures.setdefault(label, reason)
            if outcome.what == "failed" and store.is_final(cell):
                summary.final.add(cell.label)
            if progress:
                failed = summary.counts["failed"]
                counts = f"{bar.n + 1 - failed} finished, {running()} running, {failed} failed"
                bar.set_postfix_str(f"{counts}; last {cell.label}: {outcome.what}", refresh=False)
            bar.update()


def _blame(store: Store, cell: Cell, reason: str) -> None:
    with contextlib.suppress(OSError):
        if not store.has_ticket(cell):
            store.save_failure(cell, "killed", reason, {})


def _steps_to_come(cells: list[Cell]) -> dict[str, int]:
    """How many trainings wait in line behind each cell: long chains start first, so that none is left at the end."""
    steps = {cell.id: 1 for cell in cells}
    for cell in reversed(cells):
        for parent in (p for p in cell.parents() if p.id in steps):  # else nothing waits on it
            steps[parent.id] = max(steps[parent.id], steps[cell.id] + 1)
    return steps


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int, share: dict[str, float]) -> Iterator[Client]:
    if scheduler:
        with _connected(scheduler, share) as client:
            yield client
        return
    cluster = client = None
    with dask.config.set(_LOCAL):
        try:
            with _sigint_held():
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any free port, so that two runs do not meet
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL,
                )
            client = Client(cluster)
            yield client
        except KeyboardInterrupt:
            print("\nstopping …", file=sys.stderr)
            if cluster:
                _kill(cluster)
            raise
        finally:
            for part in (client, cluster):
                with contextlib.suppress(Exception):
                    if part:
                        part.close(timeout=3)


@contextlib.contextmanager
def _connected(scheduler: str, share: dict[str, float]) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise LotteryError(f"no Dask scheduler answers at {scheduler} ({reason})") from None
    with client:
        offers = [w.get("resources", {}) for w in client.scheduler_info(n_workers=-1)["workers"].values()]
        if not any(all(has.get(name, 0) >= part for name, part in share.items()) for has in offers):
            offer = "".join(f" that offer {name}={part:g}" for name, part in share.items())
            print(f"waiting for workers{offer} to join {scheduler} …", file=sys.stderr)
        yield client


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """Ctrl-C is for us, not for the workers, to whom the terminal sends it too: the threads that start them, now and
    after a death, inherit what is held here, and so do they. We get ours at the block's end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would let go of the signal in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(cluster: LocalCluster) -> None:
    """Workers deep in a training do not listen: end their processes, whose files are whole or not there."""
    for nanny in list(cluster.workers.values()):
        process = getattr(nanny, "process", None)
        if process and process.pid:
            nanny.auto_restart = False
            with contextlib.suppress(OSError):
                os.kill(process.pid, 9)
