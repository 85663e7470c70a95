"""A package from outside with a data set, a model and a metric, as the recipes in CONTRIBUTING have them, and a pruner: they are
planned, trained, measured, scored, judged and drawn like any other."""

import os
import re
import subprocess
import sys

import pytest

from lotterylib import pruners
from tests.sources import ROOT
from tests.study.helpers import TINY, write

CONTRIBUTING = (ROOT / ".github/CONTRIBUTING.md").read_text()
RECIPES = ("Add a data set", "Add a model", "Add a metric")
PRUNER = '''# last.py
from lotterylib import masks
from lotterylib.pruners import Pruner, register
from lotterylib.pruners.base import Look


@register
class Last(Pruner):
    """Keeps the last weights of each tensor first; a pruner of another package."""

    name = "last"
    look = Look("Last", "#123456", "x")
    offset: int = 0

    def scores(self, model, data, seed):
        weights = masks.prunable(model, self.scope)
        return {n: (w.new_ones(w.shape).cumsum(0) + self.offset) for n, w in weights.items()}
'''


def recipe(section: str) -> tuple[str, str]:
    """Its code and its entry point."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## )", CONTRIBUTING, re.DOTALL | re.MULTILINE)[1]
    [code], [point] = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    return code, re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", point).replace('"', "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python where the package is installed beside the library: modules, and a distribution that names them."""
    folder = tmp_path_factory.mktemp("outside")
    about = folder / "outside-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    parts = [*map(recipe, RECIPES), (PRUNER, "[lotterylib.pruners]\nlast = last:Last\n")]
    for code, _ in parts:
        (folder / re.match(r"# (\w+\.py)\n", code)[1]).write_text(code)
    (about / "entry_points.txt").write_text("".join(point for _, point in parts))
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}

    def run(script, *arguments):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=480, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


PROFILE = TINY | {
    "name": "outside",
    "dataset": {"name": "stripes", "noise": 0.2, "limit": 40},
    "models": [{"name": "flat", "width": 0.5, "settings": {"bias": False}}],
    "pruners": {"magnitude": {}, "last": {"offset": 2}},
    "rounds": [3],
    "metrics": {
        "accuracy": {},
        "ood_auroc": {"sets": ["uniform"], "images": 20},
        "margin": {"temperature": 2.0},
    },
}
STUDY = """
import contextlib, io, sys
from lotterylib.cli import main

path, store = sys.argv[1:]
assert main(["plan", "--profile", path, "--store", store]) == 0
# nothing is imported yet that the command does not import itself; its worker is a process of its own
with contextlib.redirect_stderr(io.StringIO()) as said:
    status = main(["run", "--profile", path, "--store", store, "--workers", "1", "--quiet"])
assert (status, said.getvalue()) == (0, ""), said.getvalue()
assert main(["status", "--profile", path, "--store", store]) == 0

from lotterylib import figures, metrics, pruners, results, scorecard, study, verdict
from margin import margin

profile, store = study.load_profile(path), study.Store(store)
records = list(study.records(profile, store))
assert {(r["dataset"], r["model"], r["metric"]) for r in records} == {
    ("stripes", "flat-x0.5", name) for name in ("accuracy", "ood_auroc", "margin")
}
assert len(records) == 9 and all(0 <= r["value"] <= 1 for r in records)

cells = {cell.pruner: cell for cell in study.expand(profile)}
dense, ticket, last = (store.load_ticket(cells[name]) for name in ("dense", "magnitude", "last"))
assert last.record["settings"]["offset"] == 2 and last.mask.kept == last.record["kept"]
assert store.record(cells["last"], "accuracy", {})["pruner"] == "last"
assert pruners.names()[-1] == "last" and figures.look("last").colour == "#123456"

assert metrics.names()[-1] == "margin" and metrics.describe("margin:scaled").label == "Margin, scaled"
table = results.tidy(records)
rows = table[table.metric == "margin"]
assert len(rows) == 3 and rows.value.between(0, 1).all() and rows.difference.notna().sum() == 2

data = profile.dataset.load()
expected = margin(metrics.Subject(ticket.model, data).test_logits, 2.0).mean().item()
assert abs(rows[rows.pruner == "magnitude"].value.item() - expected) < 1e-9

judged, whole = verdict.passes(records), verdict.lth_pass(records)
[one] = judged[(judged.metric == "margin") & (judged.pruner == "magnitude")].to_dict("records")
assert one["tolerance"] == 0.05 and one["dimension"] == "calibration" and one["low"] < one["high"]
calibration = whole[whole.pruner == "magnitude"].calibration.item()
assert verdict.judge(one["low"], one["high"], "higher", 0.05) == one["verdict"] == calibration

_, alt = figures.sweep(table, "margin")
assert "argin" in alt
board, alt = figures.verdict_board(judged, whole)
assert "argin" in alt or "Margin" in [label.get_text() for label in board.axes[0].get_xticklabels()]

card = scorecard(ticket, dense, data, only=["accuracy", "margin"], settings={"margin": {"temperature": 2.0}},
                 speed=False, progress=False)
[row] = [row for row in card.rows if row.metric == "margin"]
assert row.label == "Margin" and abs(row.ticket - expected) < 1e-9 and row.verdict in ("better", "holds", "undecided", "worse")
"""


def test_a_study_of_all_that_is_from_outside(run, tmp_path):
    run(STUDY, write(tmp_path, PROFILE), tmp_path / "store")
    assert "last" not in pruners.names()


WRONG = """
import contextlib, io, sys
from lotterylib import datasets, models
from lotterylib.cli import main
from lotterylib.errors import SettingError

cold, far, store = sys.argv[1:]
for command, path, words in (("plan", cold, ("margin", "temperature")), ("run", far, ("offset",))):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main([command, "--profile", path, "--store", store]) != 0
    errors = said.getvalue()
    assert errors.count("\\n") == 1 and all(word in errors for word in words), errors

assert "stripes" in datasets.names() and "flat" in models.names()
assert datasets.load("stripes", limit=10).builder.noise == 0.1
for call, words in (
    (lambda: datasets.build("stripes", noise="much"), "stripes: noise"),
    (lambda: models.build("flat", 2, 1, bias=3), "flat: bias"),
    (lambda: models.build("flat", 2, 1, depth=3), "no setting 'depth'"),
):
    try:
        call()
    except SettingError as error:
        assert words in str(error) and "\\n" not in str(error), error
    else:
        raise AssertionError(words)
"""


def test_wrong_settings_of_theirs_are_one_line_too(run, tmp_path):
    cold = write(tmp_path, PROFILE | {"name": "cold", "metrics": {"margin": {"temperature": "cold"}}})
    far = write(tmp_path, PROFILE | {"name": "far", "pruners": {"last": {"offset": "far"}}})
    run(WRONG, cold, far, tmp_path / "store")


def test_the_recipes_name_no_file_that_is_gone():
    named = re.findall(r"`((?:lotterylib|tests|notebooks)/[\w/.-]+)`", CONTRIBUTING)
    assert named and not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
