"""Folders are filled by one build at a time."""

import subprocess
import sys

import pytest

from lotterylib.publish.errors import PublishError
from lotterylib.publish.folders import building


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
