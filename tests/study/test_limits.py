"""What is small, full, dead or without end is met in time and by name."""

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from multiprocessing import synchronize

import dask.config
import psutil
import pytest
from distributed import Client, LocalCluster

from lotterylib.cli import main
from lotterylib.errors import SettingError
from lotterylib.study import Store, records, scheduler
from lotterylib.study.lookup import failures, missing
from lotterylib.study.scheduler import How, open_enough_files, run
from lotterylib.study.work import attempt
from tests.study.helpers import PROFILE, TINY, cell_of, tiny, write


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_scheduler_is_given_little_at_a_time(cluster, tmp_path, monkeypatch):
    """So a study of thousands of cells starts, and stops, as quickly as a small one; and it is all done."""
    profile, store = tiny(pruners=["lottery"], rounds=[2]), Store(tmp_path / "s")
    submit, given, waiting = Client.submit, [], []

    def watched(*arguments, **options):
        waiting.append(sum(not future.done() for future in given))
        given.append(submit(*arguments, **options))
        return given[-1]

    monkeypatch.setattr(scheduler, "AHEAD", 1)
    monkeypatch.setattr(Client, "submit", watched)
    summary = run(missing(profile, store), store, How(cluster, device="cpu"), progress=False)
    assert summary.counts == {"found": 5} and not summary.failures
    assert len(given) == 5 and max(waiting) <= 1
    assert missing(profile, store) == [] and len(records(profile, store)) == 2


def test_marks_of_killed_runs_go_and_those_of_others_stay(cluster, tmp_path):
    store = Store(tmp_path / "s").open_for_writing()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())
    names = [f"{here}.{dead.pid}.0a", f"{here}.{os.getpid()}.0b", f"elsewhere.{dead.pid}.0c"]
    for name in names:
        (store.root / "attempts" / name).mkdir(parents=True)
        (store.root / "attempts" / name / "find-1").write_text(".")
    todo = [(cell_of(PROFILE, "dense"), {"accuracy": {}})]
    assert not run(todo, store, How(cluster, device="cpu"), progress=False).failures
    assert sorted(p.name for p in (store.root / "attempts").iterdir()) == sorted(names[1:])


def test_a_cell_that_hangs_ends_its_worker_and_fails_by_name(tmp_path):
    store, cell = Store(tmp_path / "s").open_for_writing(), cell_of(PROFILE, "random")
    marks, (never, _) = tmp_path / "marks", os.pipe()
    worker = os.fork()
    if worker == 0:
        attempt(marks, store, cell, lambda: os.read(never, 1), limit=0.1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 1
    outcome = attempt(marks, store, cell, lambda: pytest.fail("it is not tried again"), limit=7200)
    reason = "it did not end within 2.0 h (hours_per_cell of the profile)"
    assert outcome.reasons == {cell.label: reason}
    assert failures(PROFILE, store)[cell.label]["reason"] == reason and not store.is_final(cell)


def test_too_few_open_files_are_one_line_and_not_a_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 40))
    with pytest.raises(SettingError, match=r"2 worker\(s\) take about 192 .* may have 40 \(ulimit -n\)"):
        run(missing(PROFILE, store := Store(tmp_path / "s")), store, How(workers=2, device="cpu"))
    assert not store.root.exists()


@pytest.mark.parametrize("key", scheduler._LOCAL)
def test_dask_knows_what_it_is_told(key):
    """A key that it does not know would change nothing, and say nothing."""
    assert dask.config.get(key, "unknown") != "unknown"


def test_ctrl_c_does_not_wait_for_workers_to_start(tmp_path, monkeypatch):
    """Here they never do. None of them stays behind."""
    (tmp_path / "never.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setitem(scheduler._LOCAL, "distributed.worker.preload", [str(tmp_path / "never.py")])
    before, seen = set(psutil.Process().children()), []

    def interrupt():
        while not seen:
            children = set(psutil.Process().children()) - before
            seen.extend(each for each in children if "spawn_main" in " ".join(each.cmdline()))
            stop.wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # tests that run in the background inherit it ignored
    handler, stop = signal.signal(signal.SIGINT, signal.default_int_handler), threading.Event()
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(
                missing(PROFILE, store := Store(tmp_path / "s")),
                store,
                How(workers=2, device="cpu"),
                progress=False,
            )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert seen and not psutil.wait_procs(seen, timeout=60)[1]
    assert not list((store.root / "attempts").glob("*"))


def test_a_machine_without_semaphores_is_one_line(monkeypatch, tmp_path):
    """As where /dev/shm may only be read."""

    def none(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(synchronize.SemLock, "__init__", none)
    with pytest.raises(SettingError, match="Read-only file system.*/dev/shm must be writable"):
        run(missing(PROFILE, store := Store(tmp_path / "s")), store, How(workers=1, device="cpu"))
    assert not store.root.exists()


def test_a_low_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch):
    changed = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: changed.append(limits))
    open_enough_files(8)
    assert changed == [(4096, 4096)]


def test_a_full_disk_is_noticed_before_the_first_training(monkeypatch, tmp_path, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5000, 5000))
    profile = write(tmp_path, TINY)
    assert main(["run", "--profile", str(profile), "--store", str(tmp_path / "s")]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "5 kB are free and one ticket takes" in errors
    assert not (tmp_path / "s").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read_is_noticed_before_the_first_training(tmp_path):
    (tmp_path / "s").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        run(missing(PROFILE, store := Store(tmp_path / "s")), store, How(workers=1, device="cpu"))
