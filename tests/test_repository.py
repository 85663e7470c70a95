"""What surrounds the code: workflows, recipes, and commands that the documents promise."""

import re
from pathlib import Path

import pytest
import yaml

from lotterylib.cli import parser
from tests.colab.contract import VERSIONS, drift, pinned
from tests.sources import DOCUMENTS, PAGES, ROOT, name

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
CONTRIBUTING = (ROOT / ".github/CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_their_actions_and_ask_for_little(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}, "each job asks for what it needs"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert job["permissions"] in ({"contents": "read"}, {"pages": "write", "id-token": "write"})
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
                if "checkout" in step["uses"]:
                    assert step["with"]["persist-credentials"] is False
            else:  # no text that a stranger can write reaches a shell
                assert "${{" not in step["run"]


def test_the_book_is_tested_on_the_pythons_of_the_readme_before_it_is_published():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    jobs = workflow["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert "Python 3.10 to 3.13" in (ROOT / "README.md").read_text()
    assert jobs["build"]["needs"] == "test" and jobs["publish"]["needs"] == "build"
    assert "refs/heads/main" in jobs["publish"]["if"]


def test_what_is_published_is_what_make_book_builds():
    steps = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())["jobs"]["build"]["steps"]
    [built] = [step["run"] for step in steps if step.get("run", "").startswith("make book")]
    profile = built.partition("PROFILE=")[2]
    [upload] = [step["with"]["path"] for step in steps if "upload-pages" in step.get("uses", "")]
    assert Path(upload) == parser().parse_args(["book"]).out / profile / "site"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_ask_for_the_environment(path):
    form = yaml.safe_load(path.read_text())
    asked = {item["id"]: item for item in form["body"]}
    assert asked["environment"]["validations"]["required"]
    assert "check_environment" in asked["environment"]["attributes"]["description"]
    if path.stem == "notebook":
        assert asked["notebook"]["validations"]["required"] and asked["cell"]["validations"]["required"]


@pytest.mark.parametrize("path", [*DOCUMENTS, *PAGES], ids=name)
def test_commands_and_files_that_documents_name_exist(path):
    text = path.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[` ]|$)", "".join(re.findall(r"`+[^`]*`+", text)))) <= targets
    (commands,) = (action.choices for action in parser()._actions if action.choices)
    assert set(re.findall(r"\.venv/bin/lottery ([a-z]+)", text)) <= set(commands)
    for file in re.findall(r"`((?:lotterylib|notebooks|tests|book|benchmarks)/[\w./-]+)`", text):
        assert "NAME" in file or (ROOT / file).exists(), file


def test_the_recipes_are_there():
    for word in ("Add a pruner", "Add a metric", "Add a notebook", "Release"):
        assert f"## {word}\n" in CONTRIBUTING


def test_what_is_checked_before_a_commit_is_what_make_lint_checks():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"], (
        "nothing is fetched; the versions are those of .venv"
    )
    programs = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks[0]["hooks"]}
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert {"ruff", "pyright", "lint-imports"} <= programs
    assert programs <= set(re.findall(r"\$\(BIN\)/([\w-]+)", lint))


def test_drift_of_colabs_versions_is_noticed():
    theirs = pinned(
        "torch @ https://host/torch-2.11.0%2Bcu128-cp313-cp313-linux_x86_64.whl\nnumpy==2.2.6\nPyYAML==6.0.9\n# x==1\n"
    )
    assert theirs == {"torch": "2.11.0", "numpy": "2.2.6", "pyyaml": "6.0.9"}
    ours = {"torch": "2.11.1", "numpy": "2.1.3", "pyyaml": "6.0.3", "seaborn": "0.13.2"}
    assert drift(ours, theirs) == [
        "numpy: checked with 2.1.3, Colab has 2.2.6",
        "seaborn: checked with 0.13.2, Colab has missing",
    ]
    checked = pinned(VERSIONS.read_text())
    assert checked["ipywidgets"].startswith("7.7") and checked["numpy"].startswith("2.1")
    assert not {"papermill", "jupyter-book", "distributed"} & checked.keys()
