"""`make gpu` where there is no GPU: it says so; and its checks, on the emulated one or the processor, so that its first run on a
real one stops at nothing that could have been seen here."""

import inspect
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from lotterylib.cli.options import parser
from lotterylib.publish import runner
from tests.device.emulated import emulated
from tests.sources import NOTEBOOKS

SMALL = dict(device="cuda", images=20, epochs=1)


def test_without_a_gpu_it_is_one_line(capsys, tmp_path):
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "sees no GPU here" in said.err and not said.out
    assert not (tmp_path / "out").exists()


def test_an_unknown_check_is_named(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "speeed"])
    assert "no check 'speeed'" in capsys.readouterr().err


CHECKS = gpu.CHECKS | {
    "hessian memory": partial(gpu.hessian_memory, name="resnet8", size=32, images=4),
    "views": partial(gpu.views, workers=0),
    "metrics": partial(
        gpu.attacks_and_curvature, settings={"hessian_top": {"steps": 3}, "pac_bayes_sigma": {"draws": 2}}
    ),
    "speed": partial(gpu.speeds, names=["smoke"], seconds=0.01),
}


@pytest.mark.parametrize("name", [n for n in CHECKS if not n.startswith(("four", "notebooks"))])
def test_each_check_passes_on_the_emulated_device(name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward: forward)
    with emulated():
        [row] = gpu.run(gpu.Visit(out=tmp_path, **SMALL), {name: CHECKS[name]})
    assert row[1] == "ok", row
    assert row[2]


def test_what_fails_or_is_skipped_is_a_row_too(tmp_path):
    def broken(visit):
        raise RuntimeError("CUDA error:\nout of memory")

    def impossible(visit):
        raise gpu.Skipped("no MPS here")

    visit = gpu.Visit(out=tmp_path)
    rows = gpu.run(visit, {"one": broken, "two": impossible})
    rows += gpu.run(gpu.Visit(out=tmp_path, seconds=0), {"three": impossible})
    assert [row[:3] for row in rows] == [
        ("one", "failed", "CUDA error: out of memory"),
        ("two", "skipped", "no MPS here"),
        ("three", "skipped", "no time left"),
    ]
    assert (tmp_path / "one.error.txt").exists()
    assert "| two | skipped | no MPS here | 0 |" in gpu.table("a GPU", rows)


def test_a_shared_device_is_held_against_the_processor(tmp_path, monkeypatch):
    """The commands are such that `lottery` takes; the studies themselves are the tests of studies'."""
    asked, values = [], {"processor": 0.5, "shared": 0.52}

    def ran(command, **settings):
        assert command[1:3] == ["-m", "lotterylib.cli"] and settings["timeout"] > 0
        asked.append(parser().parse_args(command[3:]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setattr(gpu, "_accuracies", lambda profile, store: {("random", 0.2, 0): values[store.name]})
    said = gpu.shared(gpu.Visit(out=tmp_path), by_mps=False)
    assert said.startswith("1 accuracies in ") and said.endswith("at most 0.020 from the processor's")
    assert [(a.device, a.per_gpu, a.only) for a in asked] == [
        ("cuda", 4, ["magnitude", "random"]),
        ("cpu", None, ["magnitude", "random"]),
    ]


def test_accuracies_are_those_of_the_records():
    found = gpu._accuracies("laptop", Path("no-such-store"))
    assert found and all(0 < value <= 1 for value in found.values())


def test_mps_is_skipped_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    [row] = gpu.run(gpu.Visit(out=tmp_path), {"mps": gpu.CHECKS["four to a GPU, MPS"]})
    assert row[1] == "skipped" and "nvidia-cuda-mps-control" in row[2]


def test_notebooks_that_fail_are_named(tmp_path, monkeypatch):
    signature = inspect.signature(runner.run_notebooks)

    def ran(*arguments, **settings):
        given = signature.bind(*arguments, **settings).arguments
        return [
            runner.Execution(p, p, p.stem != "rigl", 1.0, error=f"{p.stem}: bad") for p in given["notebooks"]
        ]

    monkeypatch.setattr(runner, "run_notebooks", ran)
    [row] = gpu.run(gpu.Visit(out=tmp_path), {"notebooks": gpu.notebooks})
    assert row[1] == "failed" and f"{len(NOTEBOOKS) - 1} ran, 1 failed: rigl: bad" in row[2]
