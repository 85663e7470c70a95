import json

import pytest

from lotterylib.errors import DataError, SettingError
from lotterylib.results import tidy
from lotterylib.study import Store, expand, load_profile, records, reference
from lotterylib.study.lookup import missing, remaining
from lotterylib.study.reference import Reference, adopt, adopt_records, export
from lotterylib.study.work import Worker
from lotterylib.ticket import Ticket
from tests.study.helpers import PROFILE, TINY, cell_of, one_line, same_state, tiny


def test_export_round_trips_through_the_reference(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    folder = export(PROFILE, finished)
    assert folder == tmp_path / "reference" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["records"] == 5 and len(manifest["revisions"]) == 1
    from_reference = records(PROFILE)
    assert from_reference == records(PROFILE, finished)
    assert len(tidy(from_reference)) == 5
    assert missing(PROFILE, Store(tmp_path / "empty"), reference=True) == []
    assert len(missing(PROFILE, Store(tmp_path / "empty"))) == 5
    other = tiny(recipe=TINY["recipe"] | {"lr": 0.01})  # another study of the same name finds none of it
    assert records(other) == [] and len(missing(other, Store(tmp_path / "empty"), reference=True)) == 7
    first = (folder / "records.jsonl").read_bytes()
    export(PROFILE, finished)
    assert (folder / "records.jsonl").read_bytes() == first


def test_export_refuses_holes(finished, tmp_path):
    finished.record_path(cell_of(PROFILE, "random"), "accuracy", {}).unlink()
    with pytest.raises(
        DataError, match="accuracy of random 20.0% lenet-x0.5 digits seed 0 is missing"
    ) as caught:
        export(PROFILE, finished, tmp_path / "out")
    one_line(caught)
    assert not (tmp_path / "out").exists()


def test_what_an_unfinished_study_has_measured_is_kept_without_tickets(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    finished.record_path(cell_of(PROFILE, "random"), "accuracy", {}).unlink()
    folder = export(PROFILE, finished, partial=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["records"], manifest["missing"], manifest["tickets"]) == (4, 1, {})
    assert records(PROFILE) == records(PROFILE, finished) and not (folder / "tickets").exists()
    left = missing(PROFILE, Store(tmp_path / "empty"), reference=True)
    assert [cell.pruner for cell, _ in left] == ["random"]
    # elsewhere the study goes on where these records end
    fresh = Store(tmp_path / "fresh")
    assert adopt_records(PROFILE, fresh) == 4 and adopt_records(PROFILE, fresh) == 0
    assert records(PROFILE, fresh) == records(PROFILE, finished)
    assert [cell.pruner for cell, _ in missing(PROFILE, fresh)] == ["random"]
    with pytest.raises(DataError, match="has no record of tiny: run the study first"):
        export(PROFILE, Store(tmp_path / "empty"), partial=True)


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
def test_a_damaged_reference_is_one_line(finished, tmp_path, monkeypatch, name, damage):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    path = export(PROFILE, finished) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="damaged.*fetch it again") as caught:
        records(PROFILE)
    assert str(path) in one_line(caught)


def test_a_reference_without_its_records_is_one_line(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    (export(PROFILE, finished) / "records.jsonl").unlink()
    with pytest.raises(DataError, match=r"records\.jsonl is missing"):
        _ = Reference("tiny").rows


def test_committed_references_are_whole():
    for folder in reference.REFERENCE.glob("*/"):
        assert (
            len(Reference(folder.name).rows) == json.loads((folder / "manifest.json").read_text())["records"]
        )


def test_the_laptop_study_ships_a_ticket_for_every_cell_of_its_first_seed():
    laptop = load_profile("laptop")
    for cell in expand(laptop):
        if cell.seed == laptop.seeds[0]:
            found = Ticket.load(Reference("laptop").ticket_path(cell))
            assert found.sparsity == pytest.approx(cell.sparsity, abs=0.01), cell.label
            assert found.record["cost"] > 0


def test_shipped_tickets_serve_a_new_metric_without_training(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    export(PROFILE, finished)
    fresh = Store(tmp_path / "fresh")
    more = PROFILE.model_copy(update={"pruners": PROFILE.pruners | {"magnitude": {}}})
    todo = missing(more, fresh)
    assert adopt(more, fresh, [cell for cell, _ in todo]) == len(expand(PROFILE))
    assert {cell.pruner for cell in remaining(todo, fresh)} == {
        "magnitude"
    }  # and no round that only led to others
    for cell in expand(PROFILE):
        Worker(fresh, 1, "cpu").measure(cell, {"accuracy": {}})
        value, again = (s.record(cell, "accuracy", {})["value"] for s in (finished, fresh))
        assert value == again
    new = cell_of(more, "magnitude")  # starts from the shipped dense network's rewind state
    assert Worker(fresh, 1, "cpu").find(new).what == "found"
    assert Worker(finished, 1, "cpu").find(new).what == "found"
    assert same_state(*(s.load_ticket(new).model.state_dict() for s in (finished, fresh)))


def test_export_removes_only_the_tickets_that_it_wrote(finished, tmp_path):
    folder = tmp_path / "out"
    (folder / "tickets").mkdir(parents=True)
    mine = folder / "tickets" / "mine.safetensors"
    mine.write_text("precious")
    (folder / "manifest.json").write_text('{"sha256": "", "tickets": {"0000": ""}}')
    old = folder / "tickets" / "0000.safetensors"
    old.write_text("of an earlier export")
    export(PROFILE, finished, folder)
    assert mine.read_text() == "precious" and not old.exists()
    (folder / "manifest.json").write_text('{"sha256": "", "tickets": {"../../victim": ""}}')
    (tmp_path / "victim.safetensors").write_text("precious")
    with pytest.raises(SettingError, match="victim"):
        export(PROFILE, finished, folder)
    assert (tmp_path / "victim.safetensors").exists()


def test_export_leaves_a_folder_of_something_else_alone(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingError, match="was not made by `lottery`, so it is left alone"):
        export(PROFILE, finished, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["thesis.tex"]
