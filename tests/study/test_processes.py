"""Studies in real processes: what happens to them, and what it must not change."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from distributed import Client, Security

from lotterylib.cli import main
from lotterylib.study import Profile, Store, records
from lotterylib.study.lookup import failures, missing
from lotterylib.study.scheduler import How, run
from lotterylib.study.work import ATTEMPTS
from tests.study.helpers import (
    SLOW,
    TINY,
    FatalForOne,
    assert_same_study,
    cell_of,
    complete,
    family,
    finish,
    lottery,
    start,
    tiny,
    wait_for,
    wait_for_tickets,
    workers_of,
    write,
)

SLOW_PROFILE = Profile(**SLOW)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(profile file, store of a study that nothing happened to, in this process)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return write(folder, SLOW), complete(SLOW_PROFILE, Store(folder / "store")).root


def test_a_finished_study_is_left_alone(undisturbed, capsys):
    profile, store = undisturbed
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*")}
    assert main(["run", "--profile", str(profile), "--store", str(store)]) == 0
    assert "every cell" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in store.rglob("*")}
    assert not (store / "attempts").exists()


def test_a_killed_run_goes_on_to_the_same_bits(undisturbed, tmp_path, capsys):
    """What listens meanwhile, listens on loopback, and to nobody but its own. `make long` takes single workers away, too, and
    interrupts."""
    profile, whole = undisturbed
    store, arguments = tmp_path / "s", ("run", "--profile", profile, "--store", tmp_path / "s")
    run = start(*arguments, "--workers", 2, "--quiet")
    # what listens does so by the time that it has worked
    wait_for_tickets(store, 2)
    assert_all_is_private([psutil.Process(run.pid), *family(run)])
    os.killpg(run.pid, signal.SIGKILL)
    finish(run)
    # it was the middle
    assert missing(SLOW_PROFILE, Store(store))

    assert main([*map(str, arguments), "--workers", "1"]) == 0
    said = capsys.readouterr()
    tasks = re.search(r"tasks: (\d+) found", said.out)
    assert tasks and int(tasks[1]) <= 16 - 2
    # one bar over all that was left
    assert "100%" in said.err and f"{tasks[1]}/{tasks[1]}" in said.err
    assert not (store / "attempts").exists()
    assert_same_study(SLOW_PROFILE, whole, store)


@pytest.mark.long
def test_two_runs_at_once_on_one_store(undisturbed, tmp_path):
    profile, whole = undisturbed
    arguments = ("run", "--profile", profile, "--store", tmp_path / "s", "--workers", 1, "--quiet")
    runs = [start(*arguments), start(*arguments)]
    ends = [finish(run) for run in runs]
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert [errors for _, _, errors in ends] == ["", ""]
    assert_same_study(SLOW_PROFILE, whole, tmp_path / "s")


@pytest.mark.long
@pytest.mark.parametrize("to_all", [True, False], ids=["a terminal's Ctrl-C", "SIGINT to the main process"])
def test_an_interrupt_ends_it_in_seconds_and_leaves_nobody(undisturbed, tmp_path, to_all):
    profile, _ = undisturbed
    run = start("run", "--profile", profile, "--store", tmp_path / "s", "--workers", 2, "--quiet")
    wait_for_tickets(tmp_path / "s", 1)
    everyone = family(run)
    (os.killpg if to_all else os.kill)(run.pid, signal.SIGINT)
    assert_interrupted(run, everyone, tmp_path / "s", 20)


@pytest.mark.long
def test_an_interrupt_while_workers_start(undisturbed, tmp_path):
    profile, _ = undisturbed
    run = start("run", "--profile", profile, "--store", tmp_path / "s", "--workers", 2, "--quiet")
    wait_for(lambda: workers_of(run))
    everyone = family(run)
    os.killpg(run.pid, signal.SIGINT)
    status, _, errors = finish(run, 40)
    assert status == 130 and "Traceback" not in errors
    psutil.wait_procs(everyone, timeout=3)
    assert not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.long
def test_a_worker_that_dies_is_replaced(undisturbed, tmp_path):
    """And all that listens, listens on loopback, and to nobody but its own."""
    profile, whole = undisturbed
    run = start("run", "--profile", profile, "--store", tmp_path / "s", "--workers", 2, "--quiet")
    wait_for_tickets(tmp_path / "s", 2)
    assert_all_is_private([psutil.Process(run.pid), *family(run)])
    workers_of(run)[0].kill()
    status, out, errors = finish(run)
    assert (status, errors) == (0, "")  # --quiet
    assert_same_study(SLOW_PROFILE, whole, tmp_path / "s")


@pytest.mark.long
def test_a_machine_that_slept_goes_on(undisturbed, tmp_path):
    """All processes stand still for longer than Dask would wait for a worker's sign of life, and no training is lost."""
    profile, whole = undisturbed
    environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s"}
    command = ["run", "--profile", profile, "--store", tmp_path / "s", "--workers", 2, "--quiet"]
    run = start(*command, env=environment)
    wait_for_tickets(tmp_path / "s", 1)
    workers, everyone = workers_of(run), [psutil.Process(run.pid), *family(run)]
    for process in everyone:
        process.suspend()
    time.sleep(10)
    for process in reversed(everyone):
        process.resume()
    time.sleep(4)
    assert {p.pid for p in workers_of(run)} == {p.pid for p in workers}, "they were started anew"
    status, _, errors = finish(run)
    assert status == 0, errors
    assert_same_study(SLOW_PROFILE, whole, tmp_path / "s")


@pytest.mark.long
def test_cells_of_several_processes_each(tmp_path):
    """A worker is killed while two processes train for it: they end with it, and its successor finds the rest."""
    content = SLOW | {"rounds": [1], "seeds": [0], "recipe": SLOW["recipe"] | {"epochs": 80}}
    profile, store = write(tmp_path, content), Store(tmp_path / "s")
    how = ["--profile", profile, "--workers", 1, "--quiet"]
    run = start("run", *how, "--store", store.root, "--processes", 2)
    wait_for_tickets(store.root, 1)
    worker = workers_of(run)[0]
    wait_for(lambda: len(worker.children(recursive=True)) >= 2)
    theirs = worker.children(recursive=True)
    worker.kill()
    _, alive = psutil.wait_procs(theirs, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    status, _, errors = finish(run)
    assert status == 0, errors
    found = records(Profile(**content), store)
    assert [row["ticket"]["processes"] for row in found] == [2, 2] and not list(store.checkpoints.glob("*"))
    assert lottery("run", *how, "--store", tmp_path / "t", "--processes", 3)[::2] == (
        2, "lottery run: a batch of 20 images cannot be shared out evenly to 3 processes\n"
    )  # fmt: skip


@pytest.mark.long
def test_a_cell_that_always_kills_its_worker_fails_by_name_and_takes_no_other_along(tmp_path):
    profile, store = tiny(pruners=["random", "magnitude"], rounds=[1], seeds=[0, 1]), Store(tmp_path / "s")
    todo, guilty = missing(profile, store), cell_of(profile, "magnitude").label
    summary = run(todo, store, How(workers=2), progress=False, worker=FatalForOne)
    assert summary.failures == {
        guilty: f"the worker died {ATTEMPTS} times while computing it (out of memory?)"
    }
    assert list(failures(profile, store)) == [guilty]
    assert len(records(profile, store)) == 5
    assert not (tmp_path / "s" / "attempts").exists()


@pytest.mark.long
def test_divergence_is_recorded_named_and_final_and_the_others_go_on(tmp_path, capsys):
    """Fine-tuning at an absurd rate: the first round diverges, later rounds need it, other pruners do not care."""
    content = TINY | {
        "pruners": {"magnitude": {}, "lottery": {"retraining": "fine-tune", "fine_tune_lr": 1e9}},
        "recipe": TINY["recipe"] | {"epochs": 5},
    }
    profile, store = write(tmp_path, content), Store(tmp_path / "s")
    arguments = ["--profile", str(profile), "--store", str(store.root)]
    status, out, errors = lottery("run", *arguments, "--workers", 2, "--quiet")
    assert status == 1
    assert "failed: lottery 20.0% lenet-x0.5 digits seed 0: training diverged: the loss was" in errors
    needs = (
        "lottery 48.8% lenet-x0.5 digits seed 0: needs lottery 20.0% lenet-x0.5 digits seed 0, which failed"
    )
    assert needs in errors
    assert "Traceback" not in errors

    study = Profile(**content)
    assert {row["pruner"] for row in records(study, store)} == {"dense", "magnitude"}
    assert len(records(study, store)) == 3

    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    assert main(["run", *arguments, "--quiet"]) == 1  # nothing is tried again, and it still says so
    assert needs in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}

    assert main(["status", *arguments]) == 0
    text = capsys.readouterr().out
    assert "3 of 5 cells finished" in text and "training diverged" in text and "final" in text


@pytest.mark.long
def test_a_full_disk_fails_cells_by_name_and_leaves_no_half_file(tmp_path):
    """The operating system refuses to let any file grow beyond 20 kB: room for records, not for tickets."""
    profile = write(tmp_path, TINY | {"pruners": ["magnitude", "random"], "rounds": [1]})

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    status, _, errors = lottery(
        "run", "--profile", profile, "--store", tmp_path / "s", "--workers", 1, "--quiet",
        before=small_files_only,
        # what `make cover` would write of the run is large, too
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
    )  # fmt: skip
    assert status == 1
    assert "failed: dense 0.0% lenet-x0.5 digits seed 0: OSError: [Errno 27]" in errors
    assert "failed: random 20.0% lenet-x0.5 digits seed 0: OSError: [Errno 27]" in errors
    assert (
        "magnitude 20.0% lenet-x0.5 digits seed 0: needs dense 0.0% lenet-x0.5 digits seed 0, which failed"
        in errors
    )
    assert "Traceback" not in errors
    assert not list((tmp_path / "s" / "tickets").iterdir())
    assert not list((tmp_path / "s").rglob("*.partial"))


@pytest.mark.long
def test_an_external_scheduler_gives_the_same_study(undisturbed, tmp_path):
    """Started from another folder than the workers', with a relative store, and with one of the two workers gone in the
    middle; the scheduler's end is one clear line."""
    profile, whole = undisturbed
    port = _free_port()
    address = f"tls://127.0.0.1:{port}"
    (tmp_path / "elsewhere").mkdir()
    env = dict(env=with_a_key(tmp_path))
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path / "elsewhere", **env)
    python = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
         "--protocol", "tls", "--dashboard-address", "127.0.0.1:0", "--no-dashboard"], **quiet,
    )  # fmt: skip
    worker = [*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]  # fmt: skip
    workers = [subprocess.Popen(worker, **quiet) for _ in range(2)]
    try:
        run = start(
            "run",
            "--profile",
            profile,
            "--store",
            "s",
            "--scheduler",
            address,
            "--quiet",
            cwd=tmp_path,
            **env,
        )
        wait_for_tickets(tmp_path / "s", 1)
        assert_strangers_are_refused(port)
        end(workers.pop())
        status, _, errors = finish(run)
        assert status == 0, errors
        assert_same_study(SLOW_PROFILE, whole, tmp_path / "s")

        run = start(
            "run",
            "--profile",
            profile,
            "--store",
            "t",
            "--scheduler",
            address,
            "--quiet",
            cwd=tmp_path,
            **env,
        )
        wait_for_tickets(tmp_path / "t", 1)
        scheduler.kill()
        status, _, errors = finish(run, 60)
        assert status == 1 and "Traceback" not in errors
        assert errors.splitlines()[-1].startswith("lottery run: the scheduler")
    finally:
        for process in [*workers, scheduler]:
            end(process)


def with_a_key(folder: Path) -> dict[str, str]:
    """The environment after the commands that book/scale.md shows."""
    text = (Path(__file__).parents[2] / "book/scale.md").read_text()
    [shown] = [part for part in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "openssl" in part]
    done = subprocess.run(["bash", "-ec", shown + "env -0"], cwd=folder, capture_output=True, check=True)
    assert not any((folder / name).stat().st_mode & 0o077 for name in ("key.pem", "cert.pem"))
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


def end(process: subprocess.Popen) -> None:
    """Kills it with its children, by which Dask's workers mean themselves."""
    for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path, capsys, monkeypatch):
    """It is waited for, but not for ever; here a second, since nobody is about to start it."""

    def impatient(address, timeout):
        assert timeout == "10s"
        return Client(address, timeout="1s")

    monkeypatch.setattr("lotterylib.study.scheduler.Client", impatient)
    profile = write(tmp_path, TINY)
    began = time.monotonic()
    for address in (f"tcp://127.0.0.1:{_free_port()}", "nonsense://127.0.0.1:1"):
        assert main(["run", "--profile", str(profile), "--store", str(tmp_path / "s"), "--scheduler", address]) == 2  # fmt: skip
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"no Dask scheduler answers at {address}" in error
    assert time.monotonic() - began < 15


def tickets(store: Path) -> int:
    return len(list(store.glob("tickets/*.safetensors")))


def assert_interrupted(
    run: subprocess.Popen, everyone: list[psutil.Process], store: Path, seconds: int
) -> None:
    """It ends in time, in one way to be told from others, and nobody of its family stays."""
    status, _, errors = finish(run, seconds)
    assert status == 130
    assert "Traceback" not in errors and "semaphore" not in errors and "resumes" in errors
    assert not (store / "attempts").exists()
    psutil.wait_procs(everyone, timeout=3)
    assert not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not failures(SLOW_PROFILE, Store(store))  # interrupted is not failed


def assert_all_is_private(processes: list[psutil.Process]) -> None:
    listening = [c.laddr for p in processes for c in p.net_connections() if c.status == "LISTEN"]
    assert listening and {ip for ip, _ in listening} == {"127.0.0.1"}
    for _, port in listening:
        assert_strangers_are_refused(port)


def assert_strangers_are_refused(port: int) -> None:
    """Another user of this machine, who speaks plainly, or with a key of her own, or asks for pages."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            answer = plain.recv(1000)
            # a server of pages that has none
            if answer.startswith(b"HTTP/1.1 404"):
                return
            assert answer == b"", answer
    context = Security.temporary().get_connection_args("client")["ssl_context"]
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(("127.0.0.1", port), timeout=5) as tcp,
        context.wrap_socket(tcp) as tls,
    ):
        # in TLS 1.3 a refusal is read, not met in the handshake
        if not tls.recv(1000):
            raise ConnectionError("hung up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
