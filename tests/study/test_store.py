import json
import shutil
from collections import Counter

import pytest
import torch

from lotterylib.errors import DataError
from lotterylib.results import tidy
from lotterylib.study import Store, expand, load_profile, records, ticket, tickets
from lotterylib.study import store as store_module
from lotterylib.study.cells import with_ancestors
from lotterylib.study.estimate import remaining
from lotterylib.study.store import Reference, adopt, export, failures, missing, wanted
from lotterylib.study.work import find_ticket, measure_ticket
from lotterylib.ticket import Ticket
from tests.study.helpers import TINY, cell_of, same_state, tiny

PROFILE = tiny(pruners=["random", "lottery"])


def complete(profile, store: Store) -> Store:
    """Does a whole study here, as workers would."""
    store.open_for_writing()
    for cell in with_ancestors(expand(profile)):
        find_ticket(store, cell, 1, "cpu")
    for cell, settings in missing(profile, store):
        measure_ticket(store, cell, settings, 1, "cpu")
    return store


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return complete(PROFILE, Store(tmp_path_factory.mktemp("study") / "store"))


@pytest.fixture
def store(template, tmp_path):
    """A finished study, to be damaged."""
    shutil.copytree(template.root, tmp_path / "store")
    return Store(tmp_path / "store")


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_finished_study_lacks_nothing(store):
    assert missing(PROFILE, store) == [] and failures(PROFILE, store) == {}
    assert len(records(PROFILE, store)) == len(expand(PROFILE)) == 5


def test_a_fresh_store_lacks_everything_and_is_not_made_by_looking(tmp_path):
    store = Store(tmp_path / "none")
    assert [cell.id for cell, _ in missing(PROFILE, store)] == [cell.id for cell in expand(PROFILE)]
    assert failures(PROFILE, store) == {} and records(PROFILE, store) == []
    assert not store.root.exists()


def test_tickets_are_what_their_cells_say(store):
    for cell in with_ancestors(expand(PROFILE)):
        ticket = store.load_ticket(cell)
        assert ticket.sparsity == pytest.approx(cell.sparsity, abs=1e-4)
        assert (ticket.rewind is not None) == (cell.pruner == "dense")
    row = store.record(cell_of(PROFILE, "lottery", 1), "accuracy", {})
    assert 0 <= row["value"] <= 1 and row["samples"] == 60 and row["chance"] == 0.1
    assert row["ticket"]["kept"] == store.load_ticket(cell_of(PROFILE, "lottery", 1)).mask.kept
    assert row["threads"] == 1 and {"revision", "versions", "device", "seconds"} <= row.keys()


@pytest.mark.parametrize("content", ['{"format": 99}', "{", "[1]", ""])
def test_a_store_of_another_version_is_one_line(store, content):
    (store.root / "store.json").write_text(content)
    with pytest.raises(DataError, match="--store") as caught:
        Store(store.root)
    assert str(store.root) in one_line(caught)


@pytest.mark.parametrize("content", ["{", "", "[]", "null", "\x00\x01"])
def test_a_damaged_record_is_one_line_that_says_what_to_delete(store, content):
    path = store.record_path(cell_of(PROFILE, "lottery"), "accuracy", {})
    path.write_text(content)
    with pytest.raises(DataError, match="delete it and run again") as caught:
        records(PROFILE, store)
    assert str(path) in one_line(caught)
    path.unlink()
    [(cell, wanted)] = missing(PROFILE, store)
    assert (cell.label, wanted) == ("lottery 20.0% lenet digits seed 0", {"accuracy": {}})


def test_a_truncated_ticket_is_trained_again_to_the_same_bits(store):
    """It counts as missing, for itself and for those that start from it."""
    parent, child = (c for c in expand(PROFILE) if c.pruner == "lottery")
    for cell in (parent, child):
        whole = store.ticket_path(cell).read_bytes()
        store.ticket_path(cell).write_bytes(whole[: len(whole) // 2])
    before = child.previous()
    assert store.has_ticket(before) and not store.has_ticket(parent) and not store.has_ticket(child)
    assert find_ticket(store, before, 1, "cpu").what == "kept"
    assert find_ticket(store, child, 1, "cpu").what == "found"
    assert find_ticket(store, parent, 1, "cpu").what == "found"
    again = measure_again(store, child)
    assert again == again_from(store, child)


def measure_again(store, cell):
    old = store.record(cell, "accuracy", {})["value"]
    store.record_path(cell, "accuracy", {}).unlink()
    return old


def again_from(store, cell):
    assert measure_ticket(store, cell, {"accuracy": {}}, 1, "cpu").what == "found"
    return store.record(cell, "accuracy", {})["value"]


def test_export_round_trips_through_the_reference(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    folder = export(PROFILE, store)
    assert folder == tmp_path / "reference" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["records"] == 5 and len(manifest["revisions"]) == 1
    from_reference = records(PROFILE)
    assert from_reference == records(PROFILE, store)
    assert len(tidy(from_reference)) == 5
    assert missing(PROFILE, Store(tmp_path / "empty"), reference=True) == []
    assert len(missing(PROFILE, Store(tmp_path / "empty"))) == 5
    other = tiny(recipe=TINY["recipe"] | {"lr": 0.01})  # another study of the same name finds none of it
    assert records(other) == [] and len(missing(other, Store(tmp_path / "empty"), reference=True)) == 7
    first = (folder / "records.jsonl").read_bytes()
    export(PROFILE, store)
    assert (folder / "records.jsonl").read_bytes() == first


def test_export_refuses_holes(store, tmp_path):
    store.record_path(cell_of(PROFILE, "random"), "accuracy", {}).unlink()
    with pytest.raises(DataError, match="accuracy of random 20.0% lenet digits seed 0 is missing") as caught:
        export(PROFILE, store, tmp_path / "out")
    one_line(caught)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, damage",
    [
        ("records.jsonl", lambda b: b[:-20]),
        ("records.jsonl", lambda b: b.replace(b"0.", b"1.", 1)),
        ("manifest.json", lambda b: b"{"),
        ("manifest.json", lambda b: b"[]"),
        ("manifest.json", lambda b: b"{}"),
    ],
)
def test_a_damaged_reference_is_one_line(store, tmp_path, monkeypatch, name, damage):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    path = export(PROFILE, store) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="damaged.*fetch it again") as caught:
        records(PROFILE)
    assert str(path) in one_line(caught)


def test_a_reference_without_its_records_is_one_line(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    (export(PROFILE, store) / "records.jsonl").unlink()
    with pytest.raises(DataError, match=r"records\.jsonl is missing"):
        _ = Reference("tiny").rows


def test_the_store_goes_before_the_reference(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    export(PROFILE, store)
    cell = cell_of(PROFILE, "random")
    row = store.record(cell, "accuracy", {}) | {"value": 0.125}
    store.save_record(cell, "accuracy", {}, row)
    assert row in records(PROFILE, store) and row not in records(PROFILE)


def test_committed_references_are_whole():
    for folder in store_module.REFERENCE.glob("*/"):
        assert (
            len(Reference(folder.name).rows) == json.loads((folder / "manifest.json").read_text())["records"]
        )


def test_a_ticket_comes_from_the_store_else_from_the_reference(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    with pytest.raises(DataError, match="no ticket of lottery 20.0% lenet seed 0: run `lottery run"):
        ticket(PROFILE, "lottery", 0.2)
    folder = export(PROFILE, store)
    local, shipped = ticket(PROFILE, "lottery", 0.2, store), ticket(PROFILE, "lottery", 0.2)
    assert shipped.mask.equals(local.mask) and shipped.record == local.record
    state = local.model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in shipped.model.state_dict().items())
    assert same_state(ticket(PROFILE, "dense", 0.0).rewind, ticket(PROFILE, "dense", 0.0, store).rewind)
    with pytest.raises(DataError, match="the profile tiny has no lottery 90.0% lenet seed 0"):
        ticket(PROFILE, "lottery", 0.9)
    for path in (folder / "tickets").glob("*"):
        path.write_bytes(path.read_bytes()[:-4] + b"!!!!")  # whole to look at, but for its checksum
    with pytest.raises(DataError, match="damaged.*fetch it again"):
        ticket(PROFILE, "lottery", 0.2)


def test_tickets_are_those_of_the_pruners_that_the_profile_has(store):
    said = []
    found = tickets(PROFILE, ("snip", "random", "lottery"), 0.2, store, told=said.append)
    assert list(found) == ["random", "lottery"] and said == ["The study tiny does without snip."]
    assert found["lottery"].mask.equals(ticket(PROFILE, "lottery", 0.2, store).mask)
    assert list(tickets(PROFILE, ("random",), 0.2, store, told=pytest.fail)) == ["random"]
    said.clear()
    own = tickets(PROFILE, ("snip", "grasp"), 0.2, store, told=said.append)  # better than an empty picture
    assert list(own) == [*PROFILE.pruners][:2] and said == ["The study tiny does without snip and grasp."]


def test_the_laptop_study_ships_a_ticket_for_every_cell_of_its_first_seed():
    laptop = load_profile("laptop")
    for cell in expand(laptop):
        if cell.seed == laptop.seeds[0]:
            found = Ticket.load(Reference("laptop").ticket_path(cell))
            assert found.sparsity == pytest.approx(cell.sparsity, abs=0.01), cell.label
            assert found.record["cost"] > 0


def test_shipped_tickets_serve_a_new_metric_without_training(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "REFERENCE", tmp_path / "reference")
    export(PROFILE, store)
    fresh = Store(tmp_path / "fresh")
    more = PROFILE.model_copy(update={"pruners": PROFILE.pruners | {"magnitude": {}}})
    todo = missing(more, fresh)
    assert adopt(more, fresh, [cell for cell, _ in todo]) == len(expand(PROFILE))
    assert {cell.pruner for cell in remaining(todo, fresh)} == {
        "magnitude"
    }  # and no round that only led to others
    for cell in expand(PROFILE):
        measure_ticket(fresh, cell, {"accuracy": {}}, 1, "cpu")
        value, again = (s.record(cell, "accuracy", {})["value"] for s in (store, fresh))
        assert value == again
    new = cell_of(more, "magnitude")  # starts from the shipped dense network's rewind state
    assert find_ticket(fresh, new, 1, "cpu").what == "found"
    assert find_ticket(store, new, 1, "cpu").what == "found"
    assert same_state(*(s.load_ticket(new).model.state_dict() for s in (store, fresh)))


def test_more_than_accuracy_may_be_measured_on_some_seeds_only():
    profile = tiny(seeds=[0, 1], metrics=["accuracy", "nll"], metric_seeds=[1])
    counted = Counter((m, cell.seed) for cell, m, _ in wanted(profile))
    assert counted == {("accuracy", 0): 7, ("accuracy", 1): 7, ("nll", 1): 7}
    with pytest.raises(ValueError, match="metric_seeds: want some of the seeds"):
        tiny(metric_seeds=[3])
