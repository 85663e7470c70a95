"""A changed metric or pruner does not mix into an old study without a word, and can be had throughout."""

import json
from dataclasses import replace

import pytest
from distributed import LocalCluster

from lotterylib.cli import main
from lotterylib.metrics.generalization.accuracy import Accuracy
from lotterylib.pruners.random import Random
from lotterylib.publish import run_card
from lotterylib.study import Store, records
from lotterylib.study import index as index_module
from lotterylib.study.lookup import missing, mixture
from lotterylib.study.reference import export
from lotterylib.study.scheduler import How, run
from lotterylib.study.work import Worker
from tests.study.helpers import PROFILE, TINY, cell_of, write


@pytest.fixture
def newer_metric(monkeypatch):
    monkeypatch.setattr(Accuracy, "about", replace(Accuracy.about, version=2))


def measure_anew(store, cell, **how):
    return Worker(store, 1, "cpu", **how).measure(cell, {"accuracy": {}}).what


@pytest.mark.parametrize("kept", [1, 1000], ids=["with an index", "without one"])
def test_a_changed_metric_that_fills_a_gap_is_named(finished, newer_metric, monkeypatch, kept):
    monkeypatch.setattr(index_module, "WORTH_KEEPING", kept)
    cell = cell_of(PROFILE, "random")
    assert mixture(PROFILE, finished) == [
        "metric accuracy: 5 record(s) of version 1; the present one is 2",
    ]
    assert missing(PROFILE, finished) == []
    finished.record_path(cell, "accuracy", {}).unlink()
    assert measure_anew(finished, cell) == "found"
    [line] = mixture(PROFILE, finished)
    assert line == "metric accuracy: 4 record(s) of version 1, 1 of version 2; the present one is 2"
    assert "4 record(s) of version 1" in run_card({"outdated": [line]})


def test_records_of_before_there_were_versions_are_of_the_first(finished):
    cell = cell_of(PROFILE, "random")
    row = finished.record(cell, "accuracy", {})
    assert (row.pop("metric_version"), row.pop("pruner_version")) == (1, 1)
    finished.save_record(cell, "accuracy", {}, row)
    assert mixture(PROFILE, finished) == []
    assert missing(PROFILE, finished, refresh=True) == []


def test_status_run_and_export_say_so(finished, newer_metric, tmp_path, capsys):
    profile = write(tmp_path, TINY | {"pruners": ["random", "lottery"]})
    arguments = ["--profile", str(profile), "--store", str(finished.root)]
    said = "metric accuracy: 5 record(s) of version 1; the present one is 2"
    for command in (["status"], ["run"], ["export", "--to", str(tmp_path / "out")]):
        assert main([*command, *arguments]) == 0
        assert said in "".join(capsys.readouterr())
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["outdated"] == [said]


def test_export_of_one_version_says_nothing(finished, tmp_path):
    assert "outdated" not in json.loads(
        (export(PROFILE, finished, tmp_path / "out") / "manifest.json").read_text()
    )


def test_refresh_measures_anew_what_another_version_made_and_nothing_else(finished, newer_metric):
    todo = missing(PROFILE, finished, refresh=True)
    assert len(todo) == 5
    for cell, _ in todo[1:]:
        assert measure_anew(finished, cell) == "kept"
        assert measure_anew(finished, cell, refresh=True) == "found"
        assert measure_anew(finished, cell, refresh=True) == "kept"
    # one that was interrupted goes on with the rest
    assert missing(PROFILE, finished, refresh=True) == todo[:1]


def test_refresh_finds_tickets_of_another_version_anew(finished, monkeypatch):
    """In a study on Dask, in this process: others would not know of a pruner changed here."""
    monkeypatch.setattr(Random, "version", 2)
    assert {c.pruner for c, _ in missing(PROFILE, finished, refresh=True)} == {"random"}
    before = {path: path.stat().st_mtime_ns for path in finished.root.glob("tickets/*")}
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        how = How(cluster.scheduler_address, device="cpu", refresh=True)
        summary = run(missing(PROFILE, finished, refresh=True), finished, how, progress=False)
    assert summary.failures == {} and summary.counts == {"found": 4}
    after = {path: path.stat().st_mtime_ns for path in finished.root.glob("tickets/*")}
    changed = {path.stem for path in before if before[path] != after[path]}
    assert changed == {cell_of(PROFILE, "random", level).id for level in (0, 1)}
    assert missing(PROFILE, finished, refresh=True) == mixture(PROFILE, finished) == []
    assert {row["pruner_version"] for row in records(PROFILE, finished)} == {1, 2}


def test_a_record_is_of_the_version_that_found_its_ticket(finished, monkeypatch):
    """A later pruner does not make an old ticket its own."""
    monkeypatch.setattr(Random, "version", 2)
    cell = cell_of(PROFILE, "random")
    finished.record_path(cell, "accuracy", {}).unlink()
    assert measure_anew(finished, cell) == "found"
    assert finished.record(cell, "accuracy", {})["pruner_version"] == 1
    assert not finished.has_present_ticket(cell) and Store(finished.root).has_ticket(cell)
