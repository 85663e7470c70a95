"""Large stores: what has been read once is not read again, and never believed where the files say otherwise."""

import os
import sqlite3
from pathlib import Path

import pytest

from lotterylib.study import index as index_module
from lotterylib.study import records
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
