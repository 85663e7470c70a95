"""A data set and a model from another package, as the recipes in CONTRIBUTING have them, in a study."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.sources import ROOT
from tests.study.helpers import TINY

CONTRIBUTING = (ROOT / ".github/CONTRIBUTING.md").read_text()


def blocks(section: str, language: str) -> list[str]:
    """The code of a recipe."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## )", CONTRIBUTING, re.DOTALL | re.MULTILINE)[1]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def outside(tmp_path):
    """The recipes' files beside each other, installed: modules, and a distribution that names them."""
    about = tmp_path / "stripes_and_flat-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes-and-flat\nVersion: 1.0\n")
    points = ""
    for section in ("Add a data set", "Add a model"):
        (code,), (point,) = blocks(section, "python"), blocks(section, "toml")
        name = re.match(r"# (\w+\.py)\n", code)[1]
        (tmp_path / name).write_text(code)
        points += re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", point).replace('"', "")
    (about / "entry_points.txt").write_text(points)
    return tmp_path


def run(outside, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{outside}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PROFILE = TINY | {
    "name": "outside",
    "dataset": {"name": "stripes", "noise": 0.2, "limit": 40},
    "models": [{"name": "flat", "width": 0.5, "settings": {"bias": False}}],
    "pruners": ["magnitude"],
    "rounds": [2],
    "metrics": {"accuracy": {}, "ood_auroc": {"sets": ["uniform"], "images": 20}},
}


def test_a_study_of_a_data_set_and_a_model_from_outside(outside):
    profile = outside / "outside.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    run(outside, "-m", "lotterylib.cli", "plan", "--profile", profile)
    store = outside / "store"
    run(outside, "-m", "lotterylib.cli", "run", "--profile", profile, "--store", store, "--workers", 1)
    records = [json.loads(path.read_text()) for path in store.glob("records/*.json")]
    assert {(r["dataset"], r["model"], r["metric"]) for r in records} == {
        ("stripes", "flat-x0.5", "accuracy"),
        ("stripes", "flat-x0.5", "ood_auroc"),
    }
    assert len(records) == 4 and all(0 <= r["value"] <= 1 for r in records)


def test_wrong_settings_of_theirs_are_one_line_too(outside):
    script = """
from lotterylib import datasets, models
from lotterylib.errors import SettingError
assert "stripes" in datasets.names() and "flat" in models.names()
assert datasets.load("stripes", limit=10).builder.noise == 0.1
for call in (lambda: datasets.build("stripes", noise="much"), lambda: models.build("flat", 2, 1, bias=3),
             lambda: models.build("flat", 2, 1, depth=3)):
    try:
        call()
    except SettingError as error:
        print(error)
"""
    lines = run(outside, "-c", script).splitlines()
    assert len(lines) == 3
    assert "stripes: noise" in lines[0] and "flat: bias" in lines[1] and "no setting 'depth'" in lines[2]
