import pytest
import torch

from lotterylib.errors import DataError
from lotterylib.results import tidy
from lotterylib.study import (
    Store,
    beside,
    expand,
    family,
    outstanding,
    records,
    reference,
    state,
    ticket,
    tickets,
)  # fmt: skip
from lotterylib.study.cells import wanted
from lotterylib.study.lookup import failures, missing
from lotterylib.study.reference import export
from tests.study.helpers import PROFILE, cell_of, complete, same_state, tiny


def test_a_finished_study_lacks_nothing(finished):
    assert missing(PROFILE, finished) == [] and failures(PROFILE, finished) == {}
    assert len(records(PROFILE, finished)) == len(expand(PROFILE)) == 5


def test_a_fresh_store_lacks_everything_and_is_not_made_by_looking(tmp_path):
    store = Store(tmp_path / "none")
    assert [cell.id for cell, _ in missing(PROFILE, store)] == [cell.id for cell in expand(PROFILE)]
    assert failures(PROFILE, store) == {} and records(PROFILE, store) == []
    assert not store.root.exists()


def test_the_store_goes_before_the_reference(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    export(PROFILE, finished)
    cell = cell_of(PROFILE, "random")
    row = finished.record(cell, "accuracy", {}) | {"value": 0.125}
    finished.save_record(cell, "accuracy", {}, row)
    assert row in records(PROFILE, finished) and row not in records(PROFILE)


def test_a_study_named_beside_another_gives_the_records_it_has(finished, monkeypatch, tmp_path):
    """None named: nothing. Named, without records: nothing. With records: all of them."""
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    path = tmp_path / "mine.yaml"
    path.write_text("extends: smoke\nname: mine\nbeside: cifar10-cpu\n")
    assert beside(PROFILE, finished) == [] and beside(path) == []
    other = PROFILE.model_copy(update={"beside": PROFILE})
    assert beside(other, finished) == records(PROFILE, finished) != []


def test_networks_of_two_widths_are_told_apart(finished, tmp_path, monkeypatch):
    """In one study, and in studies of one family."""
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    export(PROFILE, finished)
    wide = tiny(models=[{"name": "lenet", "width": 1}], pruners=["random"], name="wide")
    both = tiny(models=[{"name": "lenet", "width": w} for w in (0.5, 1)], pruners=["random"])
    store = complete(both, Store(tmp_path / "store"))
    own = tidy(records(both, store)).groupby("model").size()
    assert own.to_dict() == {"lenet": 3, "lenet-x0.5": 3}
    assert (
        ticket(both, "random", 0.2, store, model="lenet").record["prunable"]
        > 2 * (ticket(both, "random", 0.2, store).record["prunable"])
    )
    wide = wide.model_copy(update={"family": ["wide", PROFILE]})
    assert family(wide, store).groupby("model").size().to_dict() == {"lenet": 3, "lenet-x0.5": 5}


def test_what_a_study_under_way_has_still_to_make(finished, monkeypatch, tmp_path):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    assert outstanding(PROFILE, finished).total() == 0 and state(PROFILE, finished) == PROFILE.name
    every = outstanding(PROFILE, tmp_path / "empty")
    assert every.total() == len(wanted(PROFILE)) == len(records(PROFILE, finished))
    cell = cell_of(PROFILE, "random")
    part = Store(tmp_path / "part").open_for_writing()
    part.save_record(cell, "accuracy", {}, finished.record(cell, "accuracy", {}))
    assert every - outstanding(PROFILE, part) == {("random", "accuracy"): 1}
    assert f"(under way, 1 of {every.total()} records)" in state(PROFILE, part)


def test_a_ticket_comes_from_the_store_else_from_the_reference(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    with pytest.raises(DataError, match="no ticket of lottery 20.0% lenet-x0.5 seed 0: run `lottery run"):
        ticket(PROFILE, "lottery", 0.2)
    folder = export(PROFILE, finished)
    local, shipped = ticket(PROFILE, "lottery", 0.2, finished), ticket(PROFILE, "lottery", 0.2)
    assert shipped.mask.equals(local.mask) and shipped.record == local.record
    state = local.model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in shipped.model.state_dict().items())
    assert same_state(ticket(PROFILE, "dense", 0.0).rewind, ticket(PROFILE, "dense", 0.0, finished).rewind)
    with pytest.raises(DataError, match="the profile tiny has no lottery 90.0% lenet-x0.5 seed 0"):
        ticket(PROFILE, "lottery", 0.9)
    for path in (folder / "tickets").glob("*"):
        path.write_bytes(path.read_bytes()[:-4] + b"!!!!")  # whole to look at, but for its checksum
    with pytest.raises(DataError, match="damaged.*fetch it again"):
        ticket(PROFILE, "lottery", 0.2)


def test_tickets_are_those_of_the_pruners_that_the_profile_has(finished):
    said = []
    found = tickets(PROFILE, ("snip", "random", "lottery"), 0.2, finished, on_message=said.append)
    assert list(found) == ["random", "lottery"] and said == ["This study has no snip."]
    assert found["lottery"].mask.equals(ticket(PROFILE, "lottery", 0.2, finished).mask)
    assert list(tickets(PROFILE, ("random",), 0.2, finished, on_message=pytest.fail)) == ["random"]
    said.clear()
    own = tickets(
        PROFILE, ("snip", "grasp"), 0.2, finished, on_message=said.append
    )  # better than an empty picture
    assert list(own) == [*PROFILE.pruners][:2] and said == ["This study has no snip and no grasp."]
