"""A study of seconds, and what process tests need to start, watch and compare it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch
import yaml

from lotterylib.study import Cell, Profile, Store, expand
from lotterylib.study.cells import with_ancestors
from lotterylib.study.lookup import missing
from lotterylib.study.work import Outcome, Worker

TINY = {
    "name": "tiny",
    "dataset": {"name": "digits", "limit": 60},
    "models": [{"name": "lenet", "width": 0.5}],
    "pruners": ["random", "magnitude", "lottery"],
    "rounds": [1, 3],
    "seeds": [0],
    "recipe": {"epochs": 1, "batch_size": 20, "warmup": 0, "rewind": 0.34, "precision": "float32"},
    "metrics": ["accuracy"],
    "live": {"limit": 20, "recipe": {"epochs": 1, "rewind": 0}},
}
# Two chains of five trainings of about half a second, so that there is a middle to disturb.
SLOW = TINY | {
    "name": "slow",
    "pruners": ["lottery"],
    "rounds": [2, 4],
    "seeds": [0, 1],
    "recipe": TINY["recipe"] | {"epochs": 40, "lr": 0.02},
}


def tiny(**changes) -> Profile:
    return Profile(**(TINY | changes))


PROFILE = tiny(pruners=["random", "lottery"])


def complete(profile: Profile, store: Store) -> Store:
    """Do a whole study here, as workers would."""
    worker = Worker(store.open_for_writing(), 1, "cpu")
    for cell in with_ancestors(expand(profile)):
        worker.find(cell)
    for cell, settings in missing(profile, store):
        worker.measure(cell, settings)
    return store


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def cell_of(profile: Profile, pruner: str, level: int = 0) -> Cell:
    """The first seed's cell of a pruner at its ``level``-th sparsity."""
    return [c for c in expand(profile) if c.pruner == pruner][level]


def write(folder: Path, content: dict) -> Path:
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def start(*arguments, before=lambda: None, **options) -> subprocess.Popen:
    """``lottery …`` in a process group of its own, which a terminal's Ctrl-C would go to. ``before`` runs in it first."""

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background inherit it ignored
        before()

    command = [sys.executable, "-m", "lotterylib.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=prepare, **options,
    )  # fmt: skip


def finish(process: subprocess.Popen, seconds: float = 240) -> tuple[int, str, str]:
    """(exit status, output, errors); whatever happens, nothing of it stays behind."""
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def lottery(*arguments, **options) -> tuple[int, str, str]:
    return finish(start(*arguments, **options))


def wait_for(what, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def wait_for_tickets(store: Path, count: int) -> None:
    wait_for(lambda: len(list(store.glob("tickets/*.safetensors"))) >= count)


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes that it started."""
    return psutil.Process(process.pid).children(recursive=True)


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    found = []
    for each in family(process):
        # it may end while we look
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(each.cmdline()):
                found.append(each)
    return found


def assert_same_study(profile: Profile, one: Path, other: Path) -> None:
    """The same tickets, tensor by tensor, and the same values, to the bit; no half-written file in either."""
    one, other = Store(one), Store(other)
    for cell in with_ancestors(expand(profile)):
        first, second = one.load_ticket(cell), other.load_ticket(cell)
        assert first.mask.equals(second.mask), cell.label
        assert same_state(first.model.state_dict(), second.model.state_dict()), cell.label
        assert (first.rewind is None) == (second.rewind is None)
        assert first.rewind is None or same_state(first.rewind, second.rewind), cell.label
    for cell in expand(profile):
        value, again = (store.record(cell, "accuracy", {})["value"] for store in (one, other))
        assert value == again, cell.label
    assert _files(one) == _files(other)


def _files(store: Store) -> set[str]:
    """A killed writer may leave a temporary file, which no reader looks at."""
    names = {str(p.relative_to(store.root)) for p in store.root.rglob("*")}
    return {n for n in names if not n.endswith(".partial") and not n.startswith("attempts")}


def same_state(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class FatalForOne(Worker):
    """Work of which one cell takes its worker down, as running out of memory would."""

    def find(self, cell: Cell) -> Outcome:
        if cell.pruner == "magnitude" and cell.seed == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find(cell)
