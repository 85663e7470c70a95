"""What `make bench` writes, and what it says of a study's time; nothing is timed here."""

import json
import os
import re
import socket

import pytest

from benchmarks import growth, study, table
from lotterylib.study import load_profile
from lotterylib.study.lookup import missing
from tests.sources import ROOT

ROWS = [
    table.Row("LIME of one image", "0.1000 s", "lime: 0.4000 s", [4.0, 3.5, 5.0]),
    table.Row("a study: training", "6.0 s", "12 s", [0.5], "of it"),
]


def test_the_table_has_a_row_for_each_comparison(tmp_path):
    table.write(tmp_path / "table.md", ROWS, ["One processor."])
    assert (tmp_path / "table.md").read_text() == (
        "# What `make bench` gave\n\nOne processor.\n\n"
        "| what | here | beside | ratio: median (least to most) |\n| --- | --- | --- | --- |\n"
        "| LIME of one image | 0.1000 s | lime: 0.4000 s | 4.00 (3.50 to 5.00) times as fast |\n"
        "| a study: training | 6.0 s | 12 s | 0.50 of it |\n"
    )


def test_other_work_on_the_machine_is_said():
    [alone], [same, busy] = table.about(0.0, "2"), table.about(1000.0, "2")
    assert alone == same and "torch" in alone and "commit" in alone
    assert "1000.0" in busy


def test_the_committed_table_names_no_machine():
    text = table.FILE.read_text()
    assert len(re.findall(r"^\|", text, re.MULTILINE)) > 10
    assert socket.gethostname() not in text and str(ROOT) not in text
    assert not re.search(r"(?<![\w`])/(?:home|work|tmp|root|Users)/|https?://", text)


def test_the_time_of_a_study_is_split(tmp_path):
    """Two workers from 1000 to 1010: 5 s of training from 1001 on, 8 s of measuring until 1009."""
    for name, written, seconds in (("cells/a", 1004, 3), ("cells/b", 1006, 2), ("records/a", 1009, 8)):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seconds": seconds}))
        os.utime(path, (written, written))
    assert study.split(tmp_path, 1000, 1010, workers=2) == pytest.approx(
        {"training": 5, "measuring": 8, "overhead: start and end": 4, "overhead: in between": 3}
    )


def test_a_large_study_looks_finished(tmp_path):
    path, store = growth.finished(tmp_path, levels=2, seeds=3)
    assert missing(load_profile(path), store) == []
    assert set(growth.study(tmp_path / "again", 2, 3)()) == {
        "`lottery status`",
        "`lottery plan`",
        "the table of a study",
    }


def test_growth_is_a_ratio_within_a_turn(capsys):
    """The machine gets slower; what is compared does not."""
    clock = iter((9, 9, 1, 4, 2, 8, 3, 15))
    points = {size: lambda: {"work": next(clock)} for size in (10, 40)}
    [row] = growth.grow("images", points, repeats=3)
    assert list(row.ratios) == [4, 4, 5] and row.what == "work, 4.0 times the images"
    assert "×4.0" in capsys.readouterr().out
