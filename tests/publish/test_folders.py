"""Folders: only this program's own are filled and emptied, and by one build at a time."""

import subprocess
import sys

import pytest

from lotterylib.publish.errors import PublishError
from lotterylib.publish.folders import MARKER, building, claim, empty


def test_a_new_or_an_empty_folder_is_taken_and_marked(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "deep" / "new"):
        assert claim(claim(folder)) == folder
        (folder / "page").write_text("old")
        assert [path.name for path in empty(folder).iterdir()] == [MARKER]


def test_what_others_made_stays(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for take in (claim, empty):
        with pytest.raises(PublishError, match="was not made by `lottery book`, so it is left alone"):
            take(tmp_path)
        with pytest.raises(PublishError, match="left alone"):
            take(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_build_says_who_builds_and_a_killed_one_leaves_no_lock(tmp_path):
    out = tmp_path / "out"
    program = (
        "import sys, time; from pathlib import Path; from lotterylib.publish.folders import building\n"
        "with building(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, out], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(PublishError, match=f"out: process {other.pid} builds here; wait"), building(out):
            pass
        other.kill()
        other.wait()
    with building(out):
        pass
