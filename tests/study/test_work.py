"""What a worker does when things go wrong, one cell at a time and without Dask."""

import errno
import os

import pytest
import torch

from lotterylib import files
from lotterylib.metrics import About, Measurement, Metric, Tolerance, register
from lotterylib.metrics.generalization.accuracy import Accuracy
from lotterylib.study import Store, controls, records, reference, work
from lotterylib.study.cells import with_ancestors
from lotterylib.study.lookup import failures, missing
from lotterylib.study.reference import export
from lotterylib.study.scheduler import How, run
from lotterylib.study.work import ATTEMPTS, Worker, attempt, fixed_threads
from tests.conftest import untouched_rng
from tests.study.helpers import TINY, cell_of, complete, same_state, tiny

DIVERGING = tiny(recipe=TINY["recipe"] | {"lr": 1e9, "epochs": 5})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store").open_for_writing()


def fail_to_write(monkeypatch, where: str = ""):
    """A full disk, for files below a folder of that name."""
    whole = files.os.replace

    def full(source, target):
        if where in str(target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        whole(source, target)

    monkeypatch.setattr(files.os, "replace", full)


def test_a_worker_leaves_the_random_state_alone(store):
    with untouched_rng():
        cell = cell_of(tiny(), "random")
        assert Worker(store, 1, "cpu").find(cell.baseline()).what == "found"
        assert Worker(store, 1, "cpu").find(cell).what == "found"
        assert Worker(store, 1, "cpu").measure(cell, {"accuracy": {}}).what == "found"


def test_divergence_is_final_and_what_needs_it_is_named(store):
    dense, lottery = cell_of(DIVERGING, "dense"), cell_of(DIVERGING, "lottery", 1)
    outcome = Worker(store, 1, "cpu").find(dense)
    assert outcome.what == "failed" and "training diverged: the loss was" in outcome.reasons[dense.label]
    assert store.is_final(dense) and store.is_final(lottery) and not store.has_ticket(dense)
    assert not store.is_final(cell_of(DIVERGING, "random"))
    outcome = Worker(store, 1, "cpu").find(lottery)
    assert outcome.reasons == {lottery.label: f"needs {dense.label}, which failed"}
    outcome = Worker(store, 1, "cpu").measure(lottery, {"accuracy": {}})
    assert outcome.reasons == {lottery.label: f"needs {dense.label}, which failed"}
    assert records(DIVERGING, store) == []
    found = failures(DIVERGING, store)
    assert {label.split()[0] for label in found} == {"dense", "magnitude", "lottery"}
    assert len(found) == 1 + 2 + 3  # with the round in between


def test_a_study_of_final_failures_ends_at_once(store):
    """No cluster is started for it, and all of it is named."""
    for pruner, level in (("dense", 0), ("random", 0), ("random", 1)):
        Worker(store, 1, "cpu").find(cell_of(DIVERGING, pruner, level))
    summary = run(missing(DIVERGING, store), store, How(scheduler="tcp://127.0.0.1:1"))
    assert summary.failures.keys() == summary.final == failures(DIVERGING, store).keys()
    assert not summary.counts


def test_nothing_to_do_is_no_work(store):
    assert not run([], store, How(scheduler="tcp://127.0.0.1:1")).counts


def test_a_passing_failure_is_tried_again_and_forgotten(store, monkeypatch):
    cell = cell_of(tiny(), "dense")
    with monkeypatch.context() as patch:
        fail_to_write(patch, "tickets")
        assert Worker(store, 1, "cpu").find(cell).what == "failed"
    assert "No space left" in failures(tiny(), store)[cell.label]["reason"]
    assert not store.is_final(cell) and not store.is_final(cell_of(tiny(), "lottery"))
    assert failures(tiny(), store)[cell_of(tiny(), "lottery").label]["reason"] == f"needs {cell.label}, which failed"  # fmt: skip
    assert Worker(store, 1, "cpu").find(cell).what == "found"
    assert failures(tiny(), store) == {}


def test_a_disk_too_full_even_for_the_failure_still_names_the_cell(store, monkeypatch):
    cell = cell_of(tiny(), "random")
    fail_to_write(monkeypatch)
    outcome = Worker(store, 1, "cpu").find(cell)
    assert outcome.what == "failed" and "No space left" in outcome.reasons[cell.label]
    left = [p for p in store.root.rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["store.json"]


def test_a_failed_measurement_is_reported_tried_again_and_forgotten(store, own_metrics, monkeypatch):
    """It neither hides behind the ticket nor takes the ticket's own record away, and other metrics go on."""
    profile, cell = tiny(), cell_of(tiny(), "random")
    assert Worker(store, 1, "cpu").find(cell).what == "found"
    alone = Worker(store, 1, "cpu").measure(cell, {"accuracy": {}})
    assert "needs dense 0.0% lenet-x0.5 digits seed 0, which failed" in alone.reasons.values()
    assert Worker(store, 1, "cpu").find(cell.baseline()).what == "found"
    training = store.about(cell)

    def broken(self, subject):
        raise ValueError("no such luck")

    @register
    class Fine(Metric):
        about = About("fine", "Fine", "geometry", "higher", "1", Tolerance(1.0), "here")

        def measure(self, subject):
            return Measurement(1.0, None, 1)

    with monkeypatch.context() as patch:
        patch.setattr(Accuracy, "measure", broken)
        outcome = Worker(store, 1, "cpu").measure(cell, {"accuracy": {}, "fine": {}})
    name = f"accuracy of {cell.label}"
    assert outcome.what == "failed" and outcome.reasons == {name: "ValueError: no such luck"}
    assert store.record(cell, "fine", {})["value"] == 1.0 and store.record(cell, "accuracy", {}) is None
    assert failures(profile, store) == {name: {"kind": "measuring", "reason": "ValueError: no such luck"}}
    assert store.about(cell) == training and store.failure(cell) is None
    assert cell.id in {c.id for c, _ in missing(profile, store)}
    assert Worker(store, 1, "cpu").measure(cell, {"accuracy": {}, "fine": {}}).what == "found"
    assert failures(profile, store) == {} and not list((store.root / "unmeasured").iterdir())
    assert Worker(store, 1, "cpu").measure(cell, {"accuracy": {}, "fine": {}}).what == "kept"


def test_tickets_of_a_lottery_chain_do_not_depend_on_who_found_them(store):
    """Round by round through the store, or all at once in memory: the same bits."""
    cell = cell_of(tiny(rounds=[3]), "lottery")
    for step in with_ancestors([cell]):
        assert Worker(store, 1, "cpu").find(step).what == "found"
    data = cell.dataset.load()
    with fixed_threads(1):
        alone = cell.build_pruner().find(
            cell.model.build(data, cell.seed), data, cell.sparsity, cell.recipe, cell.seed,
            device="cpu", progress=False,
        )  # fmt: skip
    stored = store.load_ticket(cell)
    assert stored.mask.equals(alone.mask)
    assert same_state(stored.model.state_dict(), alone.model.state_dict())


def test_a_temporary_file_is_no_ticket(store):
    """What a killed writer may leave behind."""
    cell = cell_of(tiny(), "random")
    store.ticket_path(cell).parent.mkdir()
    (store.ticket_path(cell).parent / f".{cell.id}.safetensors.abc.partial").write_bytes(os.urandom(100))
    assert not store.has_ticket(cell)


def test_attempts_are_counted_by_who_ran_not_by_who_waited(store, tmp_path):
    """Three attempts that never ended: the fourth gives up, however often it is asked; one that ends is forgotten."""
    cell, marks, ran = cell_of(tiny(), "random"), tmp_path / "attempts" / "find-x", []

    def dies():
        ran.append(marks.stat().st_size)
        raise SystemExit  # the worker is gone

    for _ in range(ATTEMPTS):
        with pytest.raises(SystemExit):
            attempt(marks, store, cell, dies)
    for _ in range(2):  # a lost outcome is computed again
        outcome = attempt(marks, store, cell, dies)
        assert outcome.reasons == {cell.label: "the worker died 3 times while computing it (out of memory?)"}
    assert ran == [1, 2, 3]
    assert store.failure(cell)["kind"] == "killed" and not store.is_final(cell)
    marks.unlink()
    assert attempt(marks, store, cell, lambda: Worker(store, 1, "cpu").find(cell)).what == "found"
    assert not marks.exists()


def test_a_ticket_is_recorded_beside_the_dense_network_of_its_seed(store):
    cell, wanted = cell_of(tiny(), "random"), {"accuracy": {}, "nll": {"images": 10}}
    for each in (cell.baseline(), cell):
        assert Worker(store, 1, "cpu").find(each).what == "found"
        assert Worker(store, 1, "cpu").measure(each, wanted).what == "found"
    for metric, settings in wanted.items():
        ticket, dense = (store.record(c, metric, settings) for c in (cell, cell.baseline()))
        assert ticket["difference"]["value"] == ticket["value"] - dense["value"]
        assert 0 < ticket["difference"]["error"] < ticket["error"] + dense["error"]
        assert "difference" not in dense
    scaled = store.record(cell, "nll", {"images": 10})["variants"]["scaled"]
    assert scaled["difference"]["error"] > 0


def test_a_worker_that_dies_while_it_stores_a_ticket_leaves_none_without_its_record(store, monkeypatch):
    cell = cell_of(tiny(), "dense")
    for dying in ("lotterylib.study.store.write_whole", "lotterylib.ticket.Ticket.save"):
        with monkeypatch.context() as patch:
            patch.setattr(dying, interrupted)
            with pytest.raises(KeyboardInterrupt):
                Worker(store, 1, "cpu").find(cell)
        assert not store.has_ticket(cell)
    assert Worker(store, 1, "cpu").find(cell).what == "found"
    assert store.about(cell)["training"]["seed"] == 0


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_a_long_training_goes_on_where_its_worker_died(tmp_path, store, monkeypatch):
    """Checkpoints lie in the store; where an object store holds the rest, on the machine."""
    cell = cell_of(tiny(recipe=TINY["recipe"] | {"epochs": 3}), "dense")
    plain = Store(tmp_path / "plain").open_for_writing()
    assert Worker(plain, 1, "cpu").find(cell).what == "found"
    monkeypatch.setattr(work, "SPACING", 0.0)
    step, seen = torch.optim.SGD.step, []

    def dies_in_the_third_epoch(optimizer, *closure):
        seen.append(1)
        # of nine
        if len(seen) == 8:
            raise KeyboardInterrupt
        return step(optimizer, *closure)

    monkeypatch.setattr(torch.optim.SGD, "step", dies_in_the_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        Worker(store, 1, "cpu").find(cell)
    assert len(list(store.checkpoints.iterdir())) == 1
    assert Worker(store, 1, "cpu").find(cell).what == "found"
    assert len(seen) == 8 + 3 and not list(store.checkpoints.iterdir())
    one, other = (s.load_ticket(cell).model.state_dict() for s in (plain, store))
    assert same_state(one, other)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Store("memory://bucket/study").checkpoints == tmp_path / "cache/lotterylib/checkpoints"


def test_a_control_is_a_dense_network_measured_like_a_ticket(store, tmp_path, monkeypatch):
    profile = tiny(controls=1, pruners={"layerwise": {"pruner": "random", "distribution": "erk"}}, rounds=[1])
    complete(profile, store)
    control = cell_of(profile, "control")
    ticket, dense = (store.load_ticket(cell).model.state_dict() for cell in (control, control.baseline()))
    assert not same_state(ticket, dense)
    anew = cell_of(tiny(seeds=[1000]), "dense")
    Worker(store, 1, "cpu").find(anew)
    assert same_state(ticket, store.load_ticket(anew).model.state_dict()), "the dense network of seed 1000"
    [row] = controls(profile, store)
    assert (row["pruner"], row["seed"], row["sparsity"]) == ("control", 0, 0.0)
    [own] = [r for r in records(profile, store) if r["pruner"] == "dense"]
    assert row["difference"]["value"] == pytest.approx(row["value"] - own["value"])
    assert [r["pruner"] for r in records(profile, store)] == ["dense", "layerwise"]
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    export(profile, store)
    assert controls(profile) == [row] and len(records(profile)) == 2


def test_records_go_by_the_labels_of_the_profile_that_asks(store):
    own = tiny(pruners={"random": {"distribution": "erk"}}, rounds=[1])
    complete(own, store)
    labelled = tiny(pruners={"layerwise": {"pruner": "random", "distribution": "erk"}}, rounds=[1])
    assert [r["pruner"] for r in records(labelled, store)] == ["dense", "layerwise"]
    assert missing(labelled, store) == []
