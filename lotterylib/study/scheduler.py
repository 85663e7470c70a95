"""Run a study on Dask: a local cluster by default, any existing scheduler by its address."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, Future, KilledWorker, LocalCluster, Security, Status, as_completed, get_worker
from tqdm import tqdm

from ..errors import LotteryError, SettingError, one_line
from ..files import is_remote, names, remove, write_whole
from ..machine.devices import pick_device, places, processors
from ..machine.mps import mps
from ..training import Launch
from .cells import Cell, with_ancestors
from .index import Index
from .store import Record, Store
from .work import Outcome, Worker, attempt, blame

# threads of one worker process would share PyTorch's random state and number of threads
_alone = threading.Lock()

# tasks that a scheduler is given at once: it keeps workers busy, and forgets a thousand quickly when we stop
AHEAD = 1000
_HERE = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname()) or "here"

_LOCAL = {
    # Dask's own default adds MALLOC_TRIM_THRESHOLD_=65536, which gives memory back to the system after every layer and
    # makes a training half as slow again
    "distributed.nanny.pre-spawn-environ": {
        f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")
    },
    # Dask suspects every task that waited on a worker that died, not only the one that ran; ``attempt`` counts better
    "distributed.scheduler.allowed-failures": 100,
    # when a machine wakes up, every worker has been silent for long; one that died is missed by the process that started it
    "distributed.scheduler.worker-ttl": None,
    # else it may not start processes that read images or train with it
    "distributed.worker.daemon": False,
    # a worker that holds much data would pause for ever; one that outgrows its share of the memory is ended
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # at Dask's own pace (its loop every 20 ms, memory every 100, the worker's stack every 10) they looked after a worker
    # for a seventh of a core's time
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.worker.profile.enabled": False,
    # pages on what runs here, for any local user to read
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class SchedulerGone(LotteryError):
    """The scheduler went away while it was needed."""

    status = 1


@dataclass
class Summary:
    """Result of a run: tasks by outcome, and what failed and why (label → reason). ``final`` are the labels of those
    that the next run will not try again: diverged cells, and cells that need them. ``mended`` are damaged tickets that
    were found again."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    final: set[str] = field(default_factory=set)
    mended: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, final: bool) -> None:
        """Count one task; ``final``: if it failed, it would fail again."""
        self.counts[outcome.what] += 1
        self.mended += outcome.mended
        for label, reason in outcome.reasons.items():
            self.failures.setdefault(label, reason)
            if final:
                self.final.add(label)

    def followed_by(self, later: Summary) -> Summary:
        """Return both together."""
        return Summary(
            self.counts + later.counts,
            self.failures | later.failures,
            self.final | later.final,
            self.mended + later.mended,
        )


@dataclass(frozen=True)
class How:
    """Settings of how a study is computed.

    Args:
        scheduler: Address of a running Dask scheduler, whose workers must see the same store; without it, a local cluster
            is started on loopback.
        workers: Processes of the local cluster; by default one per GPU or, without GPUs, per core.
        threads: PyTorch threads of each worker.
        device: "cpu", "cuda", "cuda:1" …; by default a GPU if there is one.
        per_gpu: So many cells share a GPU, at the same time where NVIDIA's MPS can be had.
        processes: So many, a GPU each, train one ticket together. Of a running scheduler's workers, each cell asks for
            ``processes``/``per_gpu`` of the resource ``GPU``.
        cuda_graphs: Record each training's step once on a GPU, and replay it.
        views_on_device: Bring parts of images in files to size on the device, decoded there by the decoder of this name.
        refresh: Make anew what another version of a pruner or metric made.
    """

    scheduler: str | None = None
    workers: int | None = None
    threads: int = 1
    device: str | None = None
    per_gpu: int | None = None
    processes: int = 1
    cuda_graphs: bool = False
    views_on_device: str | None = None
    refresh: bool = False

    def devices(self) -> tuple[str | None, ...]:
        """Return the device of each local worker, or of any worker of a running scheduler."""
        if self.scheduler:
            return (self.device,)
        return tuple(places(self.workers, self.threads, self.device, self.per_gpu or 1, self.processes))

    def launch(self, devices: tuple[str | None, ...]) -> Launch:
        """Return how trainings are launched. Beside each training process of a local worker, the processors that GPUs
        leave idle read images in files, shared out; a worker elsewhere knows best itself."""
        launch = Launch(self.processes, cuda_graphs=self.cuda_graphs, views_on_device=self.views_on_device)
        if self.scheduler:
            return launch
        on_gpus = pick_device(devices[0]).type == "cuda"
        readers = processors() // (len(devices) * self.processes) if on_gpus else 0
        return replace(launch, workers=readers)

    def share(self, processes: int | None = None) -> dict[str, float]:
        """Return what a task of so many processes (by default those of a training) asks of a running scheduler's workers."""
        asks = self.scheduler and (self.per_gpu or self.processes > 1)
        return {"GPU": (processes or self.processes) / (self.per_gpu or 1)} if asks else {}


def open_enough_files(workers: int) -> None:
    """Let this process open as many files as so many workers take, pipes and connections included.

    Raises:
        SettingError: if it may not; Dask would wait for ever.
    """
    try:
        import resource
    # Windows has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < (needed := 128 + 32 * workers):
        raise SettingError(
            f"{workers} worker(s) take about {needed} open files, and this process may have {hard} (ulimit -n): "
            "raise that, or ask for fewer --workers"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_tracker() -> None:
    """Start the process that removes what killed workers leave behind, and let it do so without a word."""
    quiet = "ignore:resource_tracker"
    sys.warnoptions.append(quiet)
    resource_tracker.ensure_running()
    sys.warnoptions.remove(quiet)


def check_semaphores() -> None:
    """Raise ``SettingError`` if this machine gives none, where workers would not start."""
    _start_tracker()
    try:
        multiprocessing.get_context("spawn").SimpleQueue()
    except (OSError, ImportError) as error:
        raise SettingError(
            f"no worker can be started, since there are no semaphores ({one_line(error)}): /dev/shm must be writable"
        ) from None


def hush() -> None:
    """Silence Dask's own log for the rest of this process, where it would print tracebacks of connections that end
    because we end. What matters of it, ``run`` says in the summary or raises."""
    for name in ("distributed", "tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def run(
    todo: list[tuple[Cell, dict[str, Record]]],
    store: Store,
    how: How | None = None,
    *,
    progress: bool = True,
    worker: Callable[..., Worker] = Worker,
    limit: float = math.inf,
) -> Summary:
    """Compute what ``missing`` listed: tickets, in an order that shares rounds and dense networks, then metrics.

    A cell that fails is named in the summary and the others go on. Ctrl-C ends within seconds; the next run resumes.
    ``worker`` makes what does the work in each process.

    Raises:
        LotteryError: if no scheduler answers, or if it goes away.
        SettingError: for processes that there are no GPUs for or that a batch cannot be shared out to.
        OSError: if the store cannot be written to.
    """
    how = how or How()
    if how.processes == 1 or how.scheduler:
        return _run(todo, store, how, progress, worker, limit)
    # here a worker has the GPUs of one training, and a measurement takes one of them
    summary = _run([(cell, {}) for cell, _ in todo], store, how, progress, worker, limit)
    trained = [each for each in todo if store.has_ticket(each[0]) and store.has_ticket(each[0].baseline())]
    alone = replace(how, processes=1, workers=how.workers and how.workers * how.processes)
    return summary.followed_by(_run(trained, store, alone, progress, worker, limit))


def _run(
    todo: list[tuple[Cell, dict[str, Record]]],
    store: Store,
    how: How,
    progress: bool,
    worker: Callable[..., Worker],
    limit: float,
) -> Summary:
    for batch in {cell.recipe.batch_size for cell, _ in todo}:
        if batch % how.processes:
            raise SettingError(
                f"a batch of {batch} images cannot be shared out evenly to {how.processes} processes"
            )
    summary, index, cells = Summary(), Index(store), []
    found = index.has_present_ticket if how.refresh else index.has_ticket
    for cell in with_ancestors([cell for cell, _ in todo], found):
        if index.is_final(cell) and (failure := index.failure(cell)):
            summary.failures[cell.label] = failure["reason"]
            summary.final.add(cell.label)
        else:
            cells.append(cell)
    metrics = {cell.id: wanted for cell, wanted in todo}
    if not any(cell.id in metrics for cell in cells):
        return summary
    if not is_remote(store.root):
        # workers may have another working folder
        store = Store(store.root.resolve())
    devices = how.devices()
    if not how.scheduler:
        open_enough_files(len(devices))
        check_semaphores()
    marks = store.open_for_writing().root / "attempts" / f"{_HERE}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    _forget_the_dead(marks.parent)
    job = _Job(worker, store, marks, how.threads, devices, how.launch(devices), how.refresh, limit)
    try:
        # a full or read-only store is better noticed now than after the first training
        write_whole(marks / "began", b"." * 4096)
        with (
            _sharing(how, devices) as environment,
            _client(how.scheduler, len(devices), how.share(), environment) as client,
        ):
            # a network is measured by one process
            shares = {"find": how.share(), "measure": how.share(1)}
            study = _Study(client, job, cells, metrics, found, shares)
            _watch(study, store, summary, progress, lambda: _running(client))
    finally:
        remove(marks)
    return summary


@dataclass(frozen=True)
class _Job:
    """The common part of every task of a run."""

    make: Callable[..., Worker]
    store: Store
    marks: Path
    threads: int
    devices: tuple[str | None, ...]
    launch: Launch
    refresh: bool
    limit: float

    def find(self, before: list[Outcome], cell: Cell) -> Outcome:
        """Find a ticket; ``before`` only makes Dask wait for the parents, whose tickets are in the store."""
        return self._attempt("find", cell, lambda: self._worker().find(cell))

    def measure(self, before: list[Outcome], cell: Cell, wanted: dict[str, Record]) -> Outcome:
        """Measure a ticket; ``before`` as in ``find``."""
        return self._attempt("measure", cell, lambda: self._worker().measure(cell, wanted))

    def _attempt(self, what: str, cell: Cell, work: Callable[[], Outcome]) -> Outcome:
        with _alone:
            return attempt(self.marks / f"{what}-{cell.id}", self.store, cell, work, self.limit)

    def _worker(self) -> Worker:
        """Return this process's worker, which lasts as long as the run: it keeps data in memory."""
        here: Any = get_worker()
        if getattr(here, "lottery_marks", None) != self.marks:
            # local workers are numbered, and each has a device
            number = int(here.name) % len(self.devices) if len(self.devices) > 1 else 0
            here.lottery_marks = self.marks
            here.lottery_worker = self.make(
                self.store, self.threads, self.devices[number], self.launch, self.refresh
            )
        return here.lottery_worker


class _Study:
    """The tasks of a run: one per missing ticket, long chains first, then one per cell to measure. What a task needs are its
    arguments, so Dask orders them. Keys carry the run's name: two runs on one scheduler may have different stores and
    different metrics."""

    def __init__(
        self,
        client: Client,
        job: _Job,
        cells: list[Cell],
        metrics: dict[str, dict[str, Record]],
        found: Callable[[Cell], bool],
        shares: dict[str, dict[str, float]],
    ):
        self.client, self.job, self.metrics = client, job, metrics
        self.shares = shares
        self.steps = _steps_to_come(cells)
        # a parent has more steps to come than its children, so it stays in front of them
        self.to_find = sorted((c for c in cells if not found(c)), key=lambda cell: -self.steps[cell.id])
        self.to_measure = [cell for cell in cells if metrics.get(cell.id)]
        # of those that were given to the scheduler; of tickets until what came of them is known
        self.cells: dict[Any, Cell] = {}
        self.tickets: dict[str, Future] = {}

    def __len__(self) -> int:
        return len(self.to_find) + len(self.to_measure)

    def submitted(self) -> Iterator[Future]:
        """Give the scheduler one task after the other, as they are asked for."""
        for cell in self.to_find:
            self.tickets[cell.id] = self._submit("find", cell, cell.parents(), priority=self.steps[cell.id])
            yield self.tickets[cell.id]
        for cell in self.to_measure:
            yield self._submit("measure", cell, [cell, cell.baseline()], self.metrics[cell.id], priority=0)

    def _submit(self, what: str, cell: Cell, needs: list[Cell], *more: Any, priority: int) -> Future:
        key = f"{what}-{cell.id}-{self.job.marks.name}"
        self.cells[key] = cell
        before = [self.tickets[id] for id in dict.fromkeys(c.id for c in needs) if id in self.tickets]
        work = getattr(self.job, what)
        return self.client.submit(
            work, before, cell, *more, key=key, priority=priority, pure=False, resources=self.shares[what]
        )

    def done(self, task: Future) -> Cell:
        """Return the cell of a task that has ended: what comes after it finds its ticket in the store."""
        cell = self.cells[task.key]
        if self.tickets.get(cell.id) is task:
            del self.tickets[cell.id]
        return cell


def _running(client: Client) -> int:
    """Return the number of tasks that workers are at, as they last said."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    counts = (worker.get("metrics", {}).get("task_counts", {}) for worker in workers)
    return sum(int(count.get("executing", 0)) for count in counts)


def _watch(study: _Study, store: Store, summary: Summary, progress: bool, running: Callable[[], int]) -> None:
    to_come = study.submitted()
    with tqdm(total=len(study), desc="study", unit="task", disable=not progress, smoothing=0.05) as bar:
        tasks = as_completed(itertools.islice(to_come, AHEAD))
        for task in tasks:
            cell, outcome = study.done(task), _outcome(task, study.cells, store)
            for following in itertools.islice(to_come, 1):
                tasks.add(following)
            summary.add(outcome, final=outcome.what == "failed" and store.is_final(cell))
            if progress:
                failed = summary.counts["failed"]
                counts = f"{bar.n + 1 - failed} finished, {running()} running, {failed} failed"
                bar.set_postfix_str(f"{counts}; last {cell.label}: {outcome.what}", refresh=False)
            bar.update()


def _outcome(task: Future, cells: dict[Any, Cell], store: Store) -> Outcome:
    """Return what came of a task, also where its worker could not say."""
    cell = cells[task.key]
    try:
        return task.result()
    except CancelledError:
        raise SchedulerGone(
            "the scheduler is gone; what is finished is kept, the same command resumes"
        ) from None
    except KilledWorker as error:
        if error.task == task.key:
            reason = f"{error.allowed_failures + 1} workers died while it ran or waited on them"
            blame(store, cell, reason)
        else:
            first = cells.get(error.task)
            reason = f"needs {first.label if first else error.task}, which failed"
    # e.g. a worker that cannot import this package
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    return Outcome("failed", {cell.label: reason})


def _forget_the_dead(folder: Path) -> None:
    """Remove the marks of runs on this machine that were killed."""
    for name in names(folder):
        host, _, rest = name.rpartition(".")[0].rpartition(".")
        if host == _HERE and rest.isdecimal() and not _lives(int(rest)):
            remove(folder / name)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # another user's
    except OSError:
        return True
    return True


def _steps_to_come(cells: list[Cell]) -> dict[str, int]:
    """Return how many trainings wait in line behind each cell: long chains start first, so that none is left at the end."""
    steps = {cell.id: 1 for cell in cells}
    for cell in reversed(cells):
        # else nothing waits on it
        for parent in (p for p in cell.parents() if p.id in steps):
            steps[parent.id] = max(steps[parent.id], steps[cell.id] + 1)
    return steps


@contextlib.contextmanager
def _sharing(how: How, devices: tuple[str | None, ...]) -> Iterator[dict[str, str]]:
    """Give the environment of local workers, of which several may share a GPU at the same time if there is a way."""
    environment: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        if not how.scheduler and (how.per_gpu or 1) > 1 and pick_device(devices[0]).type == "cuda":
            try:
                environment = stack.enter_context(mps())
            except SettingError as reason:
                print(f"{reason}: the cells that share a GPU take turns on it", file=sys.stderr)
        yield environment


@contextlib.contextmanager
def _client(
    scheduler: str | None, workers: int, share: dict[str, float], environment: dict[str, str]
) -> Iterator[Client]:
    if scheduler:
        with _connected(scheduler, share) as client:
            yield client
        return
    # seconds in which each side says goodbye
    cluster, client, patience = None, None, 3
    spawn = "distributed.nanny.pre-spawn-environ"
    with dask.config.set(_LOCAL | {spawn: _LOCAL[spawn] | environment}):
        try:
            key = _key_for_this_run()
            with _sigint_held():
                cluster = LocalCluster(
                    # they come later, and start for as long as they like while we listen
                    n_workers=0,
                    memory_limit=1 / workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    # who reaches a scheduler can run code as its owner, and loopback is every local user's
                    protocol="tls://",
                    security=key,
                    # any free port, so that two runs do not meet
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL,
                )
            cluster.scale(workers)
            cluster.sync(_started, cluster)
            client = Client(cluster)
            yield client
        except KeyboardInterrupt:
            patience = 1
            print("\nstopping …", file=sys.stderr)
            if cluster:
                _kill(cluster)
            raise
        finally:
            for part in (client, cluster):
                with contextlib.suppress(Exception):
                    if part:
                        part.close(timeout=patience)
            # some workers were about to start, or took their time to say goodbye: Dask would wait for these once more,
            # ten seconds, at Python's end
            if cluster and (patience == 1 or cluster.status != Status.closed):
                _kill(cluster)


async def _started(cluster: LocalCluster) -> None:
    await cluster


def _key_for_this_run() -> Security:
    """Return a key that this process and its workers alone know."""
    try:
        return Security.temporary()
    except ImportError:
        raise SettingError(
            'workers talk to each other encrypted, for which cryptography is missing: pip install "lotterylib[cluster]"'
        ) from None


@contextlib.contextmanager
def _connected(scheduler: str, share: dict[str, float]) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise LotteryError(f"no Dask scheduler answers at {scheduler} ({reason})") from None
    if scheduler.startswith("tcp://"):
        print(f"whoever reaches {scheduler} can run code as you; see SECURITY.md on tls://", file=sys.stderr)
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
    # Windows has none
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # it would let go of the signal in the thread that starts it
    _start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(cluster: LocalCluster) -> None:
    """Workers deep in a training, or about to start, do not listen: end their processes, whose files are whole or not there."""
    # else Python would wait for it at the end
    cluster.shutdown_on_close = False
    # those that start are not among its workers yet
    for nanny in list(cluster._created):
        process = getattr(nanny, "process", None)
        if process and process.pid:
            nanny.auto_restart = False
            with contextlib.suppress(OSError):
                os.kill(process.pid, 9)
