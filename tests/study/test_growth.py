"""Large studies: what a command does for a cell does not grow with their number. Work is counted, not timed."""

import cProfile
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc

import pytest

from benchmarks.growth import pretend
from lotterylib.cli import main
from lotterylib.results import tidy
from lotterylib.study import Store, expand, index, load_profile, lookup, records
from lotterylib.study.cells import Cell
from lotterylib.study.lookup import missing
from tests.study.helpers import TINY, finish, start, wait_for_tickets, write

# cells of a seed: dense, and two pruners at ten levels
PER_SEED = 21
SEEDS = (15, 30)


def study(folder, seeds):
    """A profile and a store that looks finished: nothing was trained."""
    changes = {"pruners": ["random", "lottery"], "rounds": list(range(1, 11)), "seeds": list(range(seeds))}
    path = write(folder, TINY | changes | {"name": f"of-{seeds}"})
    profile, store = load_profile(path), Store(folder / f"store-{seeds}").open_for_writing()
    pretend(profile, store, rest="x" * 2000)
    # what was read once is kept
    assert missing(profile, store) == []
    return path, store


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "WORTH_KEEPING", 1)
        yield [study(folder, seeds) for seeds in SEEDS]


def status(path, store):
    assert main(["status", "--profile", str(path), "--store", str(store.root)]) == 0


def plan(path, store):
    assert main(["plan", "--profile", str(path), "--store", str(store.root)]) == 0


def plan_of_all(path, store):
    """Nothing of it is there yet."""
    ask = ["--store", str(store.root / "none"), "--images-per-second", "100"]
    assert main(["plan", "--profile", str(path), *ask]) == 0


def table(path, store):
    assert len(tidy(records(load_profile(path), store))) == len(expand(load_profile(path)))


@pytest.mark.parametrize("command", [status, plan, plan_of_all, table])
def test_twice_the_cells_are_twice_the_work(studies, command, monkeypatch, capsys):
    monkeypatch.setattr(lookup, "MANY", 1)
    command(*studies[0])
    calls, peaks = [], []
    for each in studies:
        watch = cProfile.Profile()
        watch.runcall(command, *each)
        calls.append(sum(entry.callcount for entry in watch.getstats()))
        tracemalloc.start()
        command(*each)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert calls[1] < 2.2 * calls[0] and peaks[1] < 2.2 * peaks[0]
    # 20,000 cells are five million calls of Python and 60 MB: about a second beside that in which PyTorch is loaded
    more = (SEEDS[1] - SEEDS[0]) * PER_SEED
    assert (calls[1] - calls[0]) / more < 250 and (peaks[1] - peaks[0]) / more < 3_000


def test_a_status_makes_each_cell_once(studies, monkeypatch, capsys):
    """And the round before each, which the profile need not ask for."""
    made, init = [], Cell.__init__
    monkeypatch.setattr(Cell, "__init__", lambda self, *a, **k: made.append(1) or init(self, *a, **k))
    status(*studies[0])
    assert len(made) < 2.1 * SEEDS[0] * PER_SEED


def test_workers_are_sent_a_cell_without_those_before_it(studies):
    cell = expand(load_profile(studies[0][0]))[-1]
    before = len(pickle.dumps(cell))
    assert cell.previous().previous() is not None and cell.previous() is cell.previous()
    copied = pickle.loads(pickle.dumps(cell))
    assert len(pickle.dumps(cell)) == before and copied.id == cell.id


# what the system can take back, such as PyTorch's code, is not counted
PRIVATE = """
import sys
from lotterylib.cli import main
assert main(sys.argv[1:]) == 0
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")][0])
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from Linux's /proc")
def test_twenty_thousand_cells(tmp_path, monkeypatch):
    """What shows them takes less than 500 MB; a run begins to work, and ends when it is asked to."""
    path, store = study(tmp_path, 20_000 // PER_SEED)
    for command in ("status", "plan"):
        ask = [sys.executable, "-c", PRIVATE, command, "--profile", str(path), "--store", str(store.root)]
        done = subprocess.run(ask, capture_output=True, text=True, check=True)
        assert int(done.stdout.split()[-1]) < 500_000, command
    run = start("run", "--profile", path, "--store", tmp_path / "new", "--workers", 1, "--quiet")
    wait_for_tickets(tmp_path / "new", 1)
    os.killpg(run.pid, signal.SIGINT)
    status, _, errors = finish(run, 20)
    assert status == 130 and "resumes" in errors and "Traceback" not in errors
    assert not (tmp_path / "new" / "attempts").exists()
