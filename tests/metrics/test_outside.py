"""The metric of CONTRIBUTING's recipe, from another package: planned, measured, scored, judged and drawn like any other."""

import os
import re
import subprocess
import sys

import pytest

from tests.sources import ROOT
from tests.study.helpers import TINY, lottery, write

PROFILE = TINY | {
    "name": "outside",
    "pruners": ["magnitude"],
    "rounds": [3],
    "metrics": {"accuracy": {}, "margin": {"temperature": 2.0}},
}
CHECK = """
import sys
from lotterylib import figures, metrics, results, scorecard, study, verdict
from lotterylib.cli import main
from margin import Margin, margin

for command in ("plan", "status"):
    assert main([command, "--profile", sys.argv[1], "--store", sys.argv[2]]) == 0

profile, store = study.load_profile(sys.argv[1]), study.Store(sys.argv[2])
assert metrics.names()[-1] == "margin" and metrics.describe("margin:scaled").label == "Margin, scaled"
records = list(study.records(profile, store))
table = results.tidy(records)
rows = table[table.metric == "margin"]
assert len(rows) == 2 and rows.value.between(0, 1).all() and rows.difference.notna().sum() == 1

dense, ticket = (store.load_ticket(c) for c in sorted(study.expand(profile), key=lambda c: c.pruner))
data = profile.dataset.load()
subject = metrics.Subject(ticket.model, data)
expected = margin(subject.test_logits, 2.0).mean().item()
assert abs(rows[rows.pruner == "magnitude"].value.item() - expected) < 1e-9

judged, whole = verdict.passes(records), verdict.lth_pass(records)
[one] = judged[judged.metric == "margin"].to_dict("records")
assert one["tolerance"] == 0.05 and one["dimension"] == "calibration" and one["low"] < one["high"]
assert verdict.judge(one["low"], one["high"], "higher", 0.05) == one["verdict"] == whole.calibration.item()

for figure, alt in (figures.sweep(table, "margin"), figures.verdict_board(judged, whole)):
    assert "argin" in alt or figure.axes[0].get_xticklabels()[1].get_text() == "Margin"

card = scorecard(ticket, dense, data, only=["accuracy", "margin"], settings={"margin": {"temperature": 2.0}},
                 speed=False, progress=False)
[row] = [row for row in card.rows if row.metric == "margin"]
assert row.label == "Margin" and abs(row.ticket - expected) < 1e-9 and row.verdict in ("better", "holds", "undecided", "worse")
"""


@pytest.fixture
def environment(tmp_path):
    """The recipe's file and its entry point, installed beside the library."""
    text = (ROOT / ".github/CONTRIBUTING.md").read_text().split("\n## Add a metric\n")[1].split("\n## ")[0]
    [code], [point] = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    about = tmp_path / "margin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: margin\nVersion: 1.0\n")
    points = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", point).replace('"', "")
    (about / "entry_points.txt").write_text(points)
    (tmp_path / re.match(r"# (\w+\.py)\n", code)[1]).write_text(code)
    return os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def test_a_metric_from_outside_takes_part_everywhere(environment, tmp_path):
    path, store = write(tmp_path, PROFILE), tmp_path / "store"
    status, out, errors = lottery(
        "run", "--profile", path, "--store", store, "--workers", 1, "--quiet", env=environment
    )
    assert status == 0, out + errors
    checked = subprocess.run(
        [sys.executable, "-c", CHECK, path, store],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_wrong_setting_of_it_is_refused_in_one_line(environment, tmp_path):
    path = write(tmp_path, PROFILE | {"metrics": {"margin": {"temperature": "cold"}}})
    status, _, errors = lottery("plan", "--profile", path, "--store", tmp_path / "store", env=environment)
    assert status != 0 and "margin" in errors and "temperature" in errors and "Traceback" not in errors


def test_the_recipe_names_no_file_that_is_gone():
    text = (ROOT / ".github/CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:lotterylib|tests|notebooks)/[\w/.-]+)`", text)
    assert named and not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
