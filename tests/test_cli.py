"""The command line, in this process; tests/study/test_processes.py starts real ones."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lotterylib.cli import main
from lotterylib.study import Store
from lotterylib.study.lookup import missing
from lotterylib.study.work import Worker
from tests.study.helpers import TINY, cell_of, complete, tiny, write

COMMANDS = ("plan", "run", "status", "book", "data", "bench", "export")


@pytest.fixture
def profile(tmp_path):
    return write(tmp_path, TINY)


def call(capsys, *arguments) -> tuple[int, str, str]:
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as exit:
        status = exit.code
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return status, out.out, out.err


def test_help_is_quick_and_names_every_command():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "lotterylib.cli", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert time.monotonic() - began < 10
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout
    assert "examples:" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(capsys, command):
    status, out, _ = call(capsys, command, "--help")
    assert status == 0 and "--profile" in out and f"usage: lottery {command}" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "COMMAND"),
        (["runn"], "runn"),
        (["run", "--workers", "0"], "whole number of at least 1"),
        (["run", "--workers", "two"], "whole number of at least 1"),
        (["run", "--thread"], "--thread"),
        (["run", "--profile", "labtop"], "did you mean 'laptop'"),
        (["plan", "--profile", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_bad_input_ends_with_status_two_and_says_why(capsys, arguments, words):
    status, _, errors = call(capsys, *arguments)
    assert status == 2 and words in errors.splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_profile_with_a_mistake_is_one_line_from_every_command(capsys, tmp_path, command):
    file = write(tmp_path, TINY | {"rounds": [0]})
    status, out, errors = call(capsys, command, "--profile", file)
    assert (status, out) == (2, "")
    assert errors.count("\n") == 1 and errors.startswith(f"lottery {command}: {file}: rounds.0: ")


@pytest.mark.parametrize("command", ["plan", "run", "status", "export"])
def test_a_store_of_another_version_is_one_line(capsys, tmp_path, profile, command):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text('{"format": 7}')
    status, _, errors = call(capsys, command, "--profile", profile, "--store", tmp_path / "s")
    assert status == 2 and errors.count("\n") == 1 and "format 7" in errors


def test_a_fresh_store_is_planned_and_shown_but_not_made(capsys, tmp_path, profile):
    status, out, _ = call(capsys, "plan", "--profile", profile, "--store", tmp_path / "s", "--workers", 1)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert status == 0
    assert rows["dense"][:4] == ["1", "0", "1", "1"]
    assert rows["lottery"][:4] == ["2", "0", "3", "2"]  # round 2 is trained on the way to round 3
    assert rows["all"][:4] == ["7", "0", "8", "7"]
    assert "8 trainings in all" in out and "estimated time with 1 worker(s)" in out
    status, out, _ = call(capsys, "status", "--profile", profile, "--store", tmp_path / "s")
    assert status == 0 and "0 of 7 cells finished, 0 of 8 tickets found, 0 failed" in out
    assert not (tmp_path / "s").exists()


def test_plan_says_what_a_pilot_of_controls_tells(capsys, tmp_path):
    """The controls of the laptop's study are in the package; a study that nobody has run has none."""
    _, out, _ = call(
        capsys, "plan", "--profile", "laptop", "--store", tmp_path / "s", "--images-per-second", 1000
    )
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert len(rows["ece"]) == 7 and rows["ece"][1] == "0.01" and rows["ece"][4].endswith("%")
    assert "from 13 dense networks: retraining, sd of the difference" in out
    _, out, _ = call(
        capsys, "plan", "--profile", "smoke", "--store", tmp_path / "s", "--images-per-second", 1000
    )
    assert (
        "5 dense networks or more would tell, 0 measured; give the profile some (controls: 10), then" in out
    )


def test_plan_and_status_count_what_is_there(capsys, tmp_path, profile):
    store = Store(tmp_path / "s").open_for_writing()
    for pruner in ("random", "dense"):
        Worker(store, 1, "cpu").find(cell_of(tiny(), pruner))
    Worker(store, 1, "cpu").measure(cell_of(tiny(), "random"), {"accuracy": {}})
    _, out, _ = call(capsys, "plan", "--profile", profile, "--store", store.root)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["random"][:4] == ["2", "1", "1", "1"]
    assert rows["dense"][:4] == ["1", "0", "0", "1"]  # trained, not measured
    _, out, _ = call(capsys, "status", "--profile", profile, "--store", store.root)
    assert "1 of 7 cells finished, 2 of 8 tickets found, 0 failed" in out


def test_status_names_failures_of_trainings_and_measurements(capsys, tmp_path, profile):
    store = Store(tmp_path / "s").open_for_writing()
    random, dense = (cell_of(tiny(), pruner) for pruner in ("random", "dense"))
    Worker(store, 1, "cpu").find(random)
    store.save_unmeasured(random, "accuracy", {}, "ValueError: no luck", {})
    store.save_failure(dense, "diverged", "training diverged: the loss was nan at step 3", {})
    status, out, _ = call(capsys, "status", "--profile", profile, "--store", store.root)
    assert status == 0 and "7 failed" in out
    assert f"failed: accuracy of {random.label}: ValueError: no luck (the next run tries again)" in out
    assert f"failed: {dense.label}: training diverged: the loss was nan at step 3 (final" in out
    assert f"failed: {cell_of(tiny(), 'lottery', 1).label}: needs {dense.label}, which failed (final" in out


def test_a_part_of_a_study_of_data_that_are_not_there_is_planned(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("plan", "--profile", "cifar10-colab", "--only", "lottery", "--sparsities", "0.672")
    status, out, _ = call(capsys, *arguments)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert status == 0 and rows["lottery"][:4] == ["1", "0", "5", "1"] and "random" not in rows
    assert "missing: data set cifar10" in out and "--images-per-second N" in out
    status, out, _ = call(capsys, *arguments, "--images-per-second", "1e4", "--workers", 2)
    assert status == 0 and "reckoned with resnet20s 10,000 images/s per worker" in out
    assert "estimated time with 2 worker(s)" in out and not list(tmp_path.iterdir())
    assert re.search(
        r"^corruptions: of [\d,]+ images [\d,]+ are made, once, .*: [\d.]+ [MG]B, about .* of one processor",
        out,
        re.M,
    )


@pytest.mark.parametrize("command", ["plan", "run", "status"])
@pytest.mark.parametrize(
    "part, words",
    [
        (("--only", "snip"), "unknown pruner of this profile 'snip'"),
        (("--seeds", "7"), "seed 7 is not in the profile tiny"),
        (("--seeds", "one"), "want whole numbers with commas between"),
        (("--sparsities", "0.9"), "sparsity 0.9 is not in the profile tiny"),
    ],
)
def test_parts_that_are_not_there_are_one_line(capsys, tmp_path, profile, command, part, words):
    status, _, errors = call(capsys, command, "--profile", profile, "--store", tmp_path / "s", *part)
    assert status == 2 and words in errors.splitlines()[-1]


def test_plan_measures_speed_whatever_the_learning_rate(capsys, tmp_path):
    file = write(tmp_path, TINY | {"recipe": TINY["recipe"] | {"lr": 1e9}})
    status, out, errors = call(capsys, "plan", "--profile", file, "--store", tmp_path / "s")
    assert status == 0 and errors == "" and "images/s per worker" in out


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"models": [{"name": "lenet", "settings": {"stem_stride": 2}}]},
            "{file}: models.0.settings: model lenet has ",
        ),
        (
            {"dataset": {"name": "fashion-mnist", "root": "/nonexistent"}},
            "Fashion-MNIST: no readable idx files",
        ),
    ],
)
def test_what_would_fail_every_cell_is_met_before_workers_start(capsys, tmp_path, monkeypatch, change, words):
    from torchvision.datasets import mnist

    def refuse(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    monkeypatch.setattr(mnist.os, "makedirs", refuse)
    file = write(tmp_path, TINY | change)
    status, _, errors = call(capsys, "run", "--profile", file, "--store", tmp_path / "s")
    assert (
        status == 2
        and errors.count("\n") == 1
        and errors.startswith(f"lottery run: {words.format(file=file)}")
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("device", ["cuda:63", "gpu"])
@pytest.mark.parametrize("command", ["plan", "run", "bench"])
def test_a_device_that_is_not_there_is_one_line(capsys, tmp_path, profile, command, device):
    store = [] if command == "bench" else ["--store", tmp_path / "s"]
    status, _, errors = call(capsys, command, "--profile", profile, *store, "--device", device)
    assert status == 2 and errors.count("\n") == 1 and f"device '{device}' cannot be used" in errors


def test_data_and_bench(capsys, profile):
    status, out, _ = call(capsys, "data", "--profile", profile)
    assert status == 0 and "digits: train 60, val 60, test 60; 10 classes, 1×32×32 pixels" in out
    status, out, _ = call(capsys, "bench", "--profile", profile)
    assert status == 0 and "lenet-x0.5 on" in out and "training images/s" in out


def test_export_refuses_an_unfinished_study_and_writes_a_finished_one(capsys, tmp_path):
    file = write(tmp_path, TINY | {"pruners": [], "rounds": []})
    arguments = ("export", "--profile", file, "--store", tmp_path / "s", "--to", tmp_path / "out")
    status, _, errors = call(capsys, *arguments)
    assert status == 2 and errors.count("\n") == 1 and "run the study to its end" in errors
    store, profile = Store(tmp_path / "s").open_for_writing(), tiny(pruners=[], rounds=[])
    for cell, wanted in missing(profile, store):
        Worker(store, 1, "cpu").find(cell)
        Worker(store, 1, "cpu").measure(cell, wanted)
    status, out, _ = call(capsys, *arguments)
    assert status == 0 and str(tmp_path / "out") in out
    assert (tmp_path / "out" / "records.jsonl").read_text().count("\n") == 1


def test_an_interrupt_is_a_line_and_status_130(capsys, monkeypatch, profile):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lotterylib.cli.study.load_profile", interrupted)
    status, _, errors = call(capsys, "status", "--profile", profile)
    assert status == 130 and "resumes" in errors


def test_a_store_that_cannot_be_made_is_one_line(capsys, tmp_path, profile):
    (tmp_path / "file").write_text("")
    status, _, errors = call(capsys, "run", "--profile", profile, "--store", tmp_path / "file" / "s")
    assert status == 1 and errors.count("\n") == 1 and str(tmp_path / "file") in errors


def test_the_book_goes_on_without_diverged_cells_but_not_without_others(
    capsys, monkeypatch, tmp_path, profile
):
    """A study with one diverged cell must have a book; one whose worker died must first be finished."""
    from lotterylib.study import scheduler
    from lotterylib.study.scheduler import Summary

    made = []
    monkeypatch.setattr(
        "lotterylib.cli.book.make_book", lambda *a, **k: made.append(a) or tmp_path / "index.html"
    )
    arguments = ("book", "--profile", profile, "--store", tmp_path / "s")
    for final, status in ((set(), 1), ({"a cell"}, 0)):
        summary = Summary(failures={"a cell": "why"}, final=final)
        monkeypatch.setattr(scheduler, "run", lambda *_, **__: summary)  # noqa: B023
        got, _, errors = call(capsys, *arguments)
        assert got == status and "failed: a cell: why" in errors
        assert len(made) == (status == 0)


@pytest.mark.parametrize("kind", ["a closed pipe", "a full device", "an ASCII terminal"])
def test_an_output_that_takes_nothing_is_no_traceback(profile, kind):
    if kind == "a full device" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"} if kind == "an ASCII terminal" else None
    output: object = subprocess.PIPE
    if kind == "a closed pipe":
        reader, output = os.pipe()
        os.close(reader)
    elif kind == "a full device":
        output = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-m", "lotterylib.cli", "data", "--profile", str(profile)]
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if kind == "an ASCII terminal":
        assert done.returncode == 0 and "1x32x32 pixels" in done.stdout
    else:
        assert done.returncode == (kind == "a full device")


def test_a_report_is_saved_before_it_is_printed(capsys, monkeypatch, tmp_path):
    """The terminal may take nothing of it."""

    class Card:
        def save(self, folder):
            folder.mkdir()
            return [folder]

        def __str__(self):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("lotterylib.cli.score.scorecard", lambda *_, **__: Card())
    status, _, errors = call(capsys, "score", "a.pt", "--dense", "b.pt", "--out", tmp_path / "out")
    assert status == 1 and "Broken pipe" in errors and (tmp_path / "out").is_dir()


def test_foreign_words_do_not_command_the_terminal(capsys, tmp_path, profile):
    store = Store(tmp_path / "s").open_for_writing()
    store.save_failure(cell_of(tiny(), "dense"), "error", "\x1b[2Jgone", {})
    _, out, _ = call(capsys, "status", "--profile", profile, "--store", store.root)
    assert "\\x1b[2Jgone" in out and "\x1b" not in out


def test_a_damaged_record_is_named_and_computed_again(capsys, tmp_path):
    file, study = write(tmp_path, TINY | {"pruners": [], "rounds": []}), tiny(pruners=[], rounds=[])
    store = complete(study, Store(tmp_path / "s"))
    path = store.record_path(cell_of(study, "dense"), "accuracy", {})
    path.write_text("")
    arguments = ("--profile", file, "--store", store.root)
    _, out, _ = call(capsys, "status", *arguments)
    assert "0 of 1 cells finished" in out and f"{path} is damaged" in out
    status, out, errors = call(capsys, "run", *arguments, "--workers", 1, "--quiet")
    assert status == 0 and f"{path} is damaged and computed again" in errors and "1 found" in out
    _, out, _ = call(capsys, "status", *arguments)
    assert "1 of 1 cells finished" in out and "0 failed" in out
