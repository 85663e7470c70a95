"""Large stores: what has been read once is not read again, and never believed where the files say otherwise."""

import os
import sqlite3
from pathlib import Path

import pytest

from lotterylib.results import tidy
from lotterylib.study import index as index_module
from lotterylib.study import lookup, records, reference
from lotterylib.study.index import FILE, Index
from lotterylib.study.lookup import failures, missing
from tests.study.helpers import PROFILE, cell_of


@pytest.fixture(autouse=True)
def every_store_is_large(monkeypatch):
    monkeypatch.setattr(index_module, "WORTH_KEEPING", 1)


def everything(store) -> tuple:
    return records(PROFILE, store), missing(PROFILE, store), failures(PROFILE, store)


def test_files_are_read_once_and_again_when_they_change(finished, monkeypatch):
    before, read = everything(finished), []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    assert (finished.root / FILE).exists()
    assert everything(finished) == before and read == []
    cell = cell_of(PROFILE, "random")
    row = finished.record(cell, "accuracy", {}) | {"value": 0.125}
    finished.save_record(cell, "accuracy", {}, row)
    read.clear()
    assert row in everything(finished)[0] and set(read) == {finished.record_path(cell, "accuracy", {})}
    finished.record_path(cell, "accuracy", {}).unlink()
    finished.ticket_path(cell).unlink()
    index = Index(finished)
    assert not index.has_ticket(cell) and [c for c, _ in missing(PROFILE, index)] == [cell]


@pytest.mark.parametrize("damage", ["lost", "rubbish", "empty", "torn", "flipped", "another table"])
def test_a_damaged_index_costs_time_and_nothing_else(finished, damage):
    before, file = everything(finished), finished.root / FILE
    whole = file.read_bytes()
    if damage == "lost":
        file.unlink()
    elif damage == "another table":
        file.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE known (x)")
    else:
        content = {
            "rubbish": os.urandom(5000),
            "empty": b"",
            "torn": whole[: len(whole) // 2],
            "flipped": whole.replace(b'"value": 0.', b'"value": 1.'),
        }
        file.write_bytes(content[damage])
        assert content[damage] != whole
    assert everything(finished) == before
    assert everything(finished) == before


def test_every_place_of_an_index_may_be_overwritten(finished):
    before, file = everything(finished), finished.root / FILE
    whole = file.read_bytes()
    for start in range(0, len(whole), 1500):
        file.write_bytes(whole[:start] + b"\xff" * 200 + whole[start + 200 :])
        assert everything(finished) == before, start


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read(finished):
    before = everything(finished)
    (finished.root / FILE).unlink()
    finished.root.chmod(0o500)
    try:
        assert everything(finished) == before
    finally:
        finished.root.chmod(0o700)


def test_an_index_that_another_process_holds_is_not_waited_for_long(finished, monkeypatch):
    before = everything(finished)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout=0: connect(path, timeout=0.1))
    cell = cell_of(PROFILE, "random")
    finished.record_path(cell, "accuracy", {}).touch()
    with connect(finished.root / FILE) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert everything(finished) == before


def test_small_stores_have_none(finished, monkeypatch):
    monkeypatch.setattr(index_module, "WORTH_KEEPING", 1000)
    everything(finished)
    assert not (finished.root / FILE).exists()


@pytest.fixture
def every_study_is_large(monkeypatch):
    monkeypatch.setattr(lookup, "MANY", 1)


def test_a_study_too_large_for_memory_is_read_as_it_is_asked_for(finished, monkeypatch):
    before = records(PROFILE, finished)
    monkeypatch.setattr(lookup, "MANY", 1)
    rows = records(PROFILE, finished)
    assert not isinstance(rows, list) and len(rows) == 5
    assert list(rows) == list(rows) == before and rows[-1] == before[-1] and rows[1:3] == before[1:3]
    finished.record_path(cell_of(PROFILE, "random"), "accuracy", {}).unlink()
    assert len(records(PROFILE, finished)) == 4


def test_its_table_is_that_of_its_records_and_needs_only_a_part_of_them(
    finished, every_study_is_large, monkeypatch
):
    rows = records(PROFILE, finished)
    table = tidy(list(rows))
    monkeypatch.setattr(index_module, "parse_record", lambda content: pytest.fail("a whole record is read"))
    assert tidy(rows).equals(table)


def test_a_damaged_part_of_its_table_is_read_from_the_records(finished, every_study_is_large):
    table = tidy(records(PROFILE, finished))
    with sqlite3.connect(finished.root / FILE) as index:
        index.execute(
            "UPDATE slim SET content = replace(CAST(content AS TEXT), '\"value\": 0.', '\"value\": 1.')"
        )
    assert tidy(records(PROFILE, finished)).equals(table)


def test_a_study_of_a_store_and_of_its_reference(finished, every_study_is_large, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    table = tidy(records(PROFILE, finished))
    reference.export(PROFILE, finished)
    finished.record_path(cell_of(PROFILE, "random"), "accuracy", {}).unlink()
    assert tidy(records(PROFILE, finished)).equals(table)
