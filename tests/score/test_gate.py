"""`lottery score` as a gate: what closes it, and what it leaves for machines to read."""

import json
from xml.etree import ElementTree

import pytest
import torch
import yaml

from lotterylib import models
from lotterylib.cli import main
from lotterylib.cli.options import parser
from lotterylib.cli.score_config import with_config
from tests.score.test_sources import folder
from tests.sources import ROOT


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two networks that never trained on two classes of flat images, which both of them guess."""
    place = tmp_path_factory.mktemp("gate")
    folder(place / "images", {"a": 20, "b": 20}, size=(32, 32))
    for name, seed in (("pruned", 1), ("dense", 0)):
        torch.save(models.build("lenet", 2, 3, size=32, seed=seed).state_dict(), place / f"{name}.pt")
    return place


def command(files, *more):
    given = ["--dense", files / "dense.pt", "--data", files / "images", "--arch", "lenet", "--quiet"]
    return ["score", *map(str, [files / "pruned.pt", *given, *more])]


def test_an_untrained_network_passes_no_gate(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lotterylib.score.measure.speeds", lambda *_, **how: {})
    out = tmp_path / "out"
    assert main(command(files, "--only", "accuracy,nll", "--fail-on", "worse", "--out", out)) == 3
    assert "These numbers cannot be trusted yet: the dense network" in capsys.readouterr().out
    suite = ElementTree.parse(out / "scorecard.xml").getroot()[0]
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) != "0"
    found = json.loads((out / "scorecard.json").read_text())
    assert found["answer"].startswith("These numbers cannot be trusted") and not found["passes"]
    assert "| NLL (nats) ↓ |" in (out / "scorecard.md").read_text()


def test_a_config_is_typed_before_the_command_line(files, tmp_path):
    config = {
        "only": ["accuracy", "ece"], "tolerance": {"accuracy": 0.02}, "setting": {"ece": {"bins": 10}}, "fail-on": "worse",
        "mean": [0.5], "variants": True, "dense": ["a.pt", "b.pt"], "seed": 4,
    }  # fmt: skip
    (tmp_path / "score.yaml").write_text(yaml.safe_dump(config))
    typed = ["score", "p.pt", "--config", str(tmp_path / "score.yaml"), "--seed", "5"]
    found = parser().parse_args(with_config(typed))
    assert found.only == ["accuracy", "ece"] and found.tolerance == ["accuracy=0.02"] and found.seed == 5
    assert (
        found.setting == ["ece.bins=10"] and found.mean == [0.5] and found.variants and len(found.dense) == 2
    )
    assert found.fail_on == "worse" and found.pruned[0].name == "p.pt"


@pytest.mark.parametrize(
    "text, words",
    [("fail_onn: worse", "did you mean 'fail-on'"), ("- a", "want options"), ("variants: 3", "true or false"), ("a: [", "no YAML")],
)  # fmt: skip
def test_a_bad_config_is_one_line(tmp_path, capsys, text, words):
    (tmp_path / "score.yaml").write_text(text)
    assert main(["score", "p.pt", "--config", str(tmp_path / "score.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0]


@pytest.mark.parametrize(
    "text, words", [("accuracy", "KEY=VALUE"), ("accuracy=-1", "above 0"), ("acuracy=1", "did you mean")]
)
def test_a_bad_tolerance_is_one_line(files, capsys, text, words):
    assert main(command(files, "--tolerance", text)) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_the_action_speaks_the_command_s_own_options():
    action = yaml.safe_load((ROOT / ".github/actions/score/action.yml").read_text())
    example = yaml.safe_load((ROOT / ".github/actions/score/example.yml").read_text())
    assert action["runs"]["using"] == "composite"
    script = "\n".join(step.get("run", "") for step in action["runs"]["steps"])
    known = {
        text
        for a in parser()._subparsers._group_actions[0].choices["score"]._actions
        for text in a.option_strings
    }
    used = {
        word
        for line in script.splitlines()
        if "lottery score" in line or line.startswith("  ")
        for word in line.split()
        if word.startswith("--")
    }
    assert used and used <= known | {"--edit-last", "--create-if-none", "--body-file", "--quiet"}
    [job] = example["jobs"].values()
    [step] = [step for step in job["steps"] if "actions/score" in step.get("uses", "")]
    assert set(step["with"]) <= set(action["inputs"])
    assert all(
        "${{" not in step.get("run", "") for step in action["runs"]["steps"]
    )  # inputs go through the environment
