"""`lottery score` as a gate: what closes it, and what it leaves for machines to read."""

import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml

from lotterylib import metrics, models, scorecard
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
    [("fail_onn: worse", "did you mean 'fail-on'"), ("- a", "want options"), ("variants: 3", "true or false"), ("a: [", "no YAML"), ("arch:", "arch has no value"),
     ("only: []", "only has no value")],
)  # fmt: skip
def test_a_bad_config_is_one_line(tmp_path, capsys, text, words):
    (tmp_path / "score.yaml").write_text(text)
    assert main(["score", "p.pt", "--config", str(tmp_path / "score.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0]


BAD = {
    "--seed=-1": "whole number of at least 0",
    "--seed=x": "whole number of at least 0",
    "--size=0": "whole number of at least 1",
    "--expect=x": "number above 0",
    "--expect=91.25": "above 0 and at most 1",
    "--outputs=softmax": "invalid choice: 'softmax'",
    "--fail-on=better": "invalid choice: 'better'",
    "--foo": "unrecognized arguments: --foo",
    "--mean=0.5": "mean and std go together",
    "--memory=lots": "an amount such as 2GB",
    "--limit=5": "at least 10 images",
    "--only=acuracy": "did you mean 'accuracy'",
    "--setting=ece=1": "METRIC.KEY=VALUE",
    "--set=width": "KEY=VALUE, e.g. width=0.5",
    "--tolerance=accuracy": "METRIC=AMOUNT, e.g. accuracy=0.005",
    "--tolerance=accuracy=-1": "number above 0, got -1",
    "--tolerance=acuracy=1": "did you mean 'accuracy'",
    "--tolerance=accuracy=true": "number above 0, got True",
    "--arch=nowhere:net": "cannot be imported",
    "--arch=lenett": "did you mean 'lenet'",
    "--key=ema": "has no key 'ema'",
    "--classes=nowhere": "no list of classes",
    "--dense=nowhere.pt": "no file nowhere.pt",
    "--data=nowhere": "unknown data set or folder 'nowhere'",
    "--outliers=nowhere": "nowhere is no folder",
    "--corrupted=nowhere": "nowhere is no folder",
    "--device=gpu": "device 'gpu' cannot be used",
    "--config=nowhere.yaml": "nowhere.yaml: cannot be read",
    "--conf=nowhere.yaml": "unrecognized arguments: --conf=nowhere.yaml",
}  # fmt: skip


def test_two_configs_are_one_line(capsys):
    assert main(["score", "p.pt", "--config", "a.yaml", "--config=b.yaml"]) == 2
    assert capsys.readouterr().err.strip() == "lottery score: one --config at a time, got a.yaml and b.yaml"


@pytest.mark.parametrize("given, words", BAD.items(), ids=BAD)
def test_bad_arguments_are_one_line_and_leave_nothing(files, tmp_path, capsys, given, words):
    with contextlib.suppress(SystemExit):
        assert main(command(files, given, "--out", tmp_path / "out")) == 2
    said = capsys.readouterr()
    [line] = said.err.strip().splitlines()
    assert line.startswith("lottery") and words in line and not said.out
    assert not list(tmp_path.glob("out/*"))


def test_the_command_exits_with_2_where_argparse_stops_it(capsys):
    for given in (["score"], ["score", "p.pt", "--seed", "-1"], ["scoer"]):
        with pytest.raises(SystemExit) as stop:
            main(given)
        [line] = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2 and "--help` says more" in line


def test_what_was_named_and_is_not_there_closes_the_gate(files, tmp_path, monkeypatch, capsys):
    """Of images too small to be corrupted; without its name the metric is only left out."""
    network = models.build("lenet", 2, 3, size=16)
    images, labels = torch.rand(60, 3, 16, 16), torch.arange(60) % 2
    images[:, :, 4:9, 4:9] = labels.view(-1, 1, 1, 1).float()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    how = {"tolerances": {"accuracy": 0.2}, "speed": False, "progress": False}
    named = scorecard(network, network, (images, labels), only=["accuracy", "corruption_error"], **how)
    alone = scorecard(network, network, (images, labels), only=["accuracy"], **how)
    assert list(named.missing) == ["corruption_error"] and named.fails("worse") and not named.passes
    assert not alone.missing and not alone.fails("undecided") and alone.passes
    [suite] = ElementTree.fromstring(named.to_junit())
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "0")
    assert "32 pixels" in suite.find("testcase/failure").get("message")

    def failing(subject, name, settings=None, whole=metrics.evaluate):
        return whole(subject, name, settings) if name == "accuracy" else 1 / 0

    default = {"images": 10, "settings": {}, **how}
    monkeypatch.setattr(metrics, "evaluate", failing)
    card = scorecard(network, network, (images, labels), **default)
    # they were to be measured; others never were, on such data
    assert "nll" in card.missing and "corruption_error" in card.skipped.keys() - card.missing.keys()
    assert card.fails("worse")


def test_the_command_and_the_function_say_the_same():
    """Each argument of ``scorecard`` is an option of the command, and the other way round."""
    [sub] = [a for a in parser()._actions if a.dest == "==SUPPRESS=="] or [
        parser()._subparsers._group_actions[0]
    ]
    options = {action.dest for action in sub.choices["score"]._actions}
    other_names = {"model": "pruned", "arch_settings": "set", "settings": "setting", "tolerances": "tolerance", "speed": "no_speed", "progress": "quiet"}  # fmt: skip
    arguments = {other_names.get(name, name) for name in inspect.signature(scorecard).parameters}
    assert arguments - options == {"on_message"}
    # of a process: where its options, its report and its exit status go
    assert options - arguments == {"help", "config", "fail_on", "out", "threads", "json"}


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
        if line.startswith("lottery score")
        for word in line.split()
        if word.startswith("--")
    }
    assert {"--data", "--fail-on"} <= used <= known
    [job] = example["jobs"].values()
    [step] = [step for step in job["steps"] if "actions/score" in step.get("uses", "")]
    assert set(step["with"]) <= set(action["inputs"])
    assert all(
        "${{" not in step.get("run", "") for step in action["runs"]["steps"]
    )  # inputs go through the environment


def steps():
    action = yaml.safe_load((ROOT / ".github/actions/score/action.yml").read_text())
    return action["inputs"], [step for step in action["runs"]["steps"] if "run" in step]


def test_every_step_of_the_action_is_valid_bash():
    for step in steps()[1]:
        assert step["shell"] == "bash"
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def filled(text, context):
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: context[found[1]], text)


@pytest.fixture
def act(tmp_path):
    """Run the action's steps as GitHub does, with programs that write down how they are called; return the status of the last.

    ``comments`` are those of the pull request, a line each: number and first line.
    """
    tools = tmp_path / "tools"
    tools.mkdir()

    def run(lottery, gh="exit 0", comments="", event="pull_request", **given):
        listing = f"if [[ \"$*\" == *--paginate* ]]; then cat <<'END'\n{comments}\nEND\nfi"
        for name, script in {"python": "", "gh": f"{listing}\n{gh}", "lottery": lottery}.items():
            (tmp_path / name).unlink(missing_ok=True)
            (tools / name).write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {tmp_path}/{name}\n{script}\n')
            (tools / name).chmod(0o755)
        declared, todo = steps()
        inputs = {name: about.get("default") for name, about in declared.items()} | given
        context = {f"inputs.{name}": value for name, value in inputs.items()}
        context |= {
            "github.token": "token",
            "github.event.pull_request.number": "7",
            "github.repository": "o/r",
        }
        wanted = {
            "inputs.install != ''": inputs["install"] != "",
            "inputs.comment == 'true' && github.event_name == 'pull_request'": inputs["comment"] == "true" and event == "pull_request",
            None: True,
        }  # fmt: skip
        status, output = 0, tmp_path / "output"
        output.unlink(missing_ok=True)
        places = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        places |= {"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(ROOT / ".github/actions/score")}
        places["PATH"] = f"{tools}:{os.environ['PATH']}"
        for step in todo:
            if status or not wanted[step.get("if")]:
                continue
            env = {name: filled(value, context) for name, value in step.get("env", {}).items()}
            how = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            status = subprocess.run(
                how, cwd=tmp_path, env={**os.environ, **env, **places}, check=False
            ).returncode
            if step.get("id") and output.exists():
                pairs = [line.split("=") for line in output.read_text().split()]
                context |= {f"steps.{step['id']}.outputs.{key}": value for key, value in pairs}
        return status

    return run


def asked(files, tmp_path):
    """What a workflow gives, with a configuration whose name has a space in it."""
    (tmp_path / "a score.yaml").write_text(
        yaml.safe_dump({"arch": "lenet", "only": ["accuracy"], "limit": 40})
    )
    return {"pruned": f"{files}/pruned.pt\n{files}/dense.pt\n", "dense": f"{files}/dense.pt", "data": f"{files}/images",
            "config": "a score.yaml", "out": "the card"}  # fmt: skip


def test_the_action_scores_comments_and_fails(act, files, tmp_path, monkeypatch):
    """What it types is run here; then its steps get the status and the files that this left."""
    monkeypatch.setattr("lotterylib.score.measure.speeds", lambda *_, **how: {})
    given = asked(files, tmp_path)
    assert act("exit 2", **given) == 2
    typed = (tmp_path / "lottery").read_text().splitlines()
    monkeypatch.chdir(tmp_path)
    status = main(typed)
    assert status == 3
    assert {path.suffix for path in (tmp_path / "the card").iterdir()} == {".json", ".html", ".md", ".xml"}
    done = tmp_path / "done"
    (tmp_path / "the card").rename(done)
    assert act(f"cp -r {done} 'the card'; exit {status}", **given) == status
    installed = (tmp_path / "python").read_text().split()
    assert installed[:4] == ["-m", "pip", "install", "--quiet"] and Path(installed[4]).samefile(ROOT)
    summary = (tmp_path / "summary").read_text()
    assert "Scorecard of pruned.pt" in summary and "Scorecard of dense.pt" in summary
    body = (tmp_path / "lottery-comment.md").read_text()
    assert body == f"<!-- lottery score: the card -->\n{(done / 'scorecard.md').read_text()}"
    posted = ["api", "--silent", "--method", "POST", "repos/o/r/issues/7/comments", "--field", f"body=@{tmp_path}/lottery-comment.md"]  # fmt: skip
    assert (tmp_path / "gh").read_text().splitlines()[-7:] == posted


def test_the_action_changes_its_own_comment_and_no_other(act, tmp_path):
    given = {"pruned": "p.pt", "dense": "d.pt", "data": "digits", "install": ""}
    others = "3 <!-- coverage -->\n4 <!-- lottery score: another -->\n9 A word"
    wrote = "mkdir -p scorecard; echo table > scorecard/scorecard.md"
    for comments, where in ((f"{others}\n5 <!-- lottery score: scorecard -->", ["PATCH", "repos/o/r/issues/comments/5"]),
                            (others, ["POST", "repos/o/r/issues/7/comments"])):  # fmt: skip
        assert act(wrote, comments=comments, **given) == 0
        assert (tmp_path / "gh").read_text().splitlines()[-4:-2] == where


def test_a_long_table_is_cut_where_a_character_ends(act, tmp_path):
    given = {"pruned": "p.pt", "dense": "d.pt", "data": "digits", "install": ""}
    (tmp_path / "long.md").write_text("a" + "−" * 30_000)
    assert act("mkdir scorecard; cp long.md scorecard/scorecard.md", **given) == 0
    first, body, _, rest = (tmp_path / "lottery-comment.md").read_text().splitlines()
    assert body == "a" + "−" * 19_999 and "summary of the job" in rest


@pytest.mark.long
def test_the_action_runs_the_command_itself(act, files, tmp_path):
    code = "import sys; from lotterylib.cli import main; sys.exit(main())"
    lottery = f"PYTHONPATH={ROOT} exec {sys.executable} -c '{code}' \"$@\""
    assert act(lottery, **asked(files, tmp_path)) == 3 and (tmp_path / "the card" / "scorecard.md").exists()


def test_the_action_passes_on_bad_input_and_survives_a_comment_that_is_not_allowed(act, tmp_path):
    """What an earlier run left is not commented as if it were of this one."""
    given = {"dense": "a.pt b.pt", "data": "digits", "install": ""}
    (tmp_path / "scorecard").mkdir()
    (tmp_path / "scorecard" / "scorecard.md").write_text("of before")
    assert act("exit 2", pruned="no.pt", **given) == 2
    assert "not scored (exit status 2)" in (tmp_path / "lottery-comment.md").read_text()
    assert not (tmp_path / "python").exists() and not (tmp_path / "scorecard" / "scorecard.md").exists()
    assert {"--dense=a.pt", "--dense=b.pt"} <= set((tmp_path / "lottery").read_text().split())
    assert act("touch scorecard/scorecard.md", gh="exit 1", pruned="p.pt", **given) == 0
    assert (tmp_path / "gh").exists()
    assert act("exit 0", event="push", pruned="p.pt", **given) == 0 and not (tmp_path / "gh").exists()
