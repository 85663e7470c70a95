import json

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from lotterylib.errors import DataError
from lotterylib.study import Store, expand, records
from lotterylib.study.cells import with_ancestors
from lotterylib.study.lookup import failures, missing
from lotterylib.study.reference import export
from lotterylib.study.work import Worker
from tests.study.helpers import PROFILE, cell_of, one_line


def test_tickets_are_what_their_cells_say(finished):
    for cell in with_ancestors(expand(PROFILE)):
        ticket = finished.load_ticket(cell)
        assert ticket.sparsity == pytest.approx(cell.sparsity, abs=1e-4)
        assert (ticket.rewind is not None) == (cell.pruner == "dense")
    row = finished.record(cell_of(PROFILE, "lottery", 1), "accuracy", {})
    assert 0 <= row["value"] <= 1 and row["samples"] == 60 and row["chance"] == 0.1
    assert row["ticket"]["kept"] == finished.load_ticket(cell_of(PROFILE, "lottery", 1)).mask.kept
    assert row["threads"] == 1 and {"revision", "versions", "device", "seconds"} <= row.keys()


@pytest.mark.parametrize("content", ['{"format": 99}', "{", "[1]", ""])
def test_a_store_of_another_version_is_one_line(finished, content):
    (finished.root / "store.json").write_text(content)
    with pytest.raises(DataError, match="--store") as caught:
        Store(finished.root)
    assert str(finished.root) in one_line(caught)


def value_of(store, cell):
    return store.record(cell, "accuracy", {})["value"]


def test_a_truncated_ticket_is_trained_again_to_the_same_bits(finished):
    """It counts as missing, for itself and for those that start from it."""
    parent, child = (c for c in expand(PROFILE) if c.pruner == "lottery")
    for cell in (parent, child):
        whole = finished.ticket_path(cell).read_bytes()
        finished.ticket_path(cell).write_bytes(whole[: len(whole) // 2])
    before, worker = child.previous(), Worker(finished, 1, "cpu")
    assert finished.has_ticket(before) and not finished.has_ticket(parent) and not finished.has_ticket(child)
    assert [worker.find(cell).what for cell in (before, child, parent)] == ["kept", "found", "found"]
    old = value_of(finished, child)
    finished.record_path(child, "accuracy", {}).unlink()
    assert worker.measure(child, {"accuracy": {}}).what == "found"
    assert value_of(finished, child) == old


def test_a_ticket_with_a_flipped_byte_is_refused_then_found_again_and_named(finished):
    """In every tenth place of the file: none of them may change a number without a word."""
    cell = cell_of(PROFILE, "random")
    path, old = finished.ticket_path(cell), value_of(finished, cell)
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 10):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match=cell.id):
            finished.load_ticket(cell)
    finished.record_path(cell, "accuracy", {}).unlink()
    outcome = Worker(finished, 1, "cpu").measure(cell, {"accuracy": {}})
    assert (outcome.what, outcome.mended) == ("found", (cell.label,))
    assert value_of(finished, cell) == old


def test_a_damaged_dense_ticket_is_found_again_before_others_are_compared_with_it(finished):
    cell = cell_of(PROFILE, "random")
    path, before = finished.ticket_path(cell.baseline()), finished.record(cell, "accuracy", {})["difference"]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    finished.record_path(cell, "accuracy", {}).unlink()
    outcome = Worker(finished, 1, "cpu").measure(cell, {"accuracy": {}})
    assert (outcome.what, outcome.mended) == ("found", (cell.baseline().label,))
    assert finished.record(cell, "accuracy", {})["difference"] == before


def test_a_ticket_and_a_record_of_before_there_were_checksums_are_read(finished):
    """Studies go on that began with an earlier version."""
    cell = cell_of(PROFILE, "random")
    with safe_open(finished.ticket_path(cell), framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about["checksum"]
    ticket = finished.load_ticket(cell)
    save_file(tensors, finished.ticket_path(cell), metadata=about)
    assert finished.load_ticket(cell).mask.equals(ticket.mask)
    path = finished.record_path(cell, "accuracy", {})
    content = json.loads(path.read_text())
    row = finished.record(cell, "accuracy", {})
    assert "checksum" in content and "checksum" not in row
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "checksum"}))
    assert finished.record(cell, "accuracy", {}) == row and row in records(PROFILE, finished)


@pytest.mark.parametrize("damage", [b"{", b"", b"[]", b"null", b"{}", b"\x00\x01\xff", "flip", "truncate"])
def test_a_damaged_record_counts_as_missing_everywhere_and_is_computed_again(finished, capsys, damage):
    cell = cell_of(PROFILE, "lottery")
    path = finished.record_path(cell, "accuracy", {})
    whole = path.read_bytes()
    row = finished.record(cell, "accuracy", {})
    flipped = whole.replace(b'"value": 0.', b'"value": 1.')
    path.write_bytes({"flip": flipped, "truncate": whole[:-30]}.get(damage, damage))
    assert path.read_bytes() != whole
    assert finished.record(cell, "accuracy", {}) is None
    assert row not in records(PROFILE, finished) and len(records(PROFILE, finished)) == 4
    assert str(path) in capsys.readouterr().err
    [(lacking, wanted)] = missing(PROFILE, finished)
    assert (lacking, wanted) == (cell, {"accuracy": {}})
    [(label, failure)] = failures(PROFILE, finished).items()
    assert label == f"accuracy of {cell.label}" and str(path) in failure["reason"]
    with pytest.raises(DataError, match="is damaged in"):
        export(PROFILE, finished, finished.root / "out")
    assert Worker(finished, 1, "cpu").measure(cell, wanted).what == "found"
    assert missing(PROFILE, finished) == [] and failures(PROFILE, finished) == {}
    assert value_of(finished, cell) == row["value"]


def test_what_is_written_is_what_is_read(finished):
    """Also with keys that become text, and in another order."""
    cell = cell_of(PROFILE, "random")
    row = {"value": 0.1, "extra": {10: 1, 9: float("nan")}}
    finished.save_record(cell, "accuracy", {}, row)
    assert finished.record(cell, "accuracy", {})["extra"].keys() == {"10", "9"}
