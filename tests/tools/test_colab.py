"""The set-up cell, the one place that names the release, and what a lone notebook gets from the wheel."""

import json
import re
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from tests.publish.sample_book import REPOSITORY, write_notebook
from tools.colab import main, outdated, release, setup_cell, with_setup

NEXT = "https://github.com/someone/a-book", "v9.8.7"


def write_project(root, repository=NEXT[0], version="9.8.7"):
    text = f'[project]\nversion = "{version}"\n[project.urls]\nRepository = "{repository}"\n'
    (root / "pyproject.toml").write_text(text)
    return root


def test_notebooks_install_the_release_of_the_project():
    wrong = [path.relative_to(REPOSITORY).as_posix() for path in outdated()]
    assert wrong == [], "run: .venv/bin/python -m tools.colab"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("_config.yml", r"^  url: (\S+)$"),
        ("CITATION.cff", r"^repository-code: (\S+)$"),
        ("README.md", r"^git clone (\S+?)(?:\.git)? lottery-ticket-book$"),
        (".github/ISSUE_TEMPLATE/config.yml", r"url: (https://github\.com/[^/\s]+/[^/\s]+)/"),
    ],
)
def test_files_agree_on_the_address_of_the_repository(file, line):
    assert re.findall(line, (REPOSITORY / file).read_text(), re.MULTILINE) == [release()[0]]


def test_citation_and_changelog_name_the_version_of_the_project():
    version = release()[1].removeprefix("v")
    assert f"\nversion: {version}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"\n## [{version}] - " in (REPOSITORY / "CHANGELOG.md").read_text()


def test_the_cell_goes_below_the_title_and_stays_there(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "print(1)")
    once = with_setup(path.read_text(), *NEXT)
    assert with_setup(once, *NEXT) == once
    before, after = json.loads(path.read_text()), json.loads(once)
    assert after["metadata"].pop("accelerator") == "GPU"
    assert after["cells"].pop(1)["metadata"]["tags"] == ["colab-setup"]
    assert after == before
    moved = json.loads(once)
    moved["cells"].append(moved["cells"].pop(1))
    assert json.loads(with_setup(json.dumps(moved), *NEXT))["cells"][-1]["metadata"]["tags"] == [
        "colab-setup"
    ]
    moved["cells"].append(moved["cells"][-1])
    with pytest.raises(ValueError, match="2 cells are tagged colab-setup"):
        with_setup(json.dumps(moved), *NEXT)


@pytest.mark.parametrize(
    "project",
    [{"repository": "github.com/a/b"}, {"repository": "https://github.com/a/b.git"}, {"version": "1.0"}],
)
def test_what_is_no_address_or_version_is_refused(tmp_path, project):
    with pytest.raises(ValueError, match="use "):
        release(write_project(tmp_path, **project))


def test_the_command_checks_writes_and_says_so(tmp_path, capsys):
    write_notebook(write_project(tmp_path) / "notebooks" / "deep" / "a.ipynb", "print(1)")
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out == "outdated: notebooks/deep/a.ipynb\n"
    assert main([], tmp_path) == 0 and main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out.endswith(f"all notebooks install {NEXT[0]} v9.8.7\n")


def run_cell(monkeypatch, installed: bool, on_colab: bool) -> list[list[str]]:
    """The commands that the cell runs."""
    commands = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(setup_cell(*NEXT), {})
    return commands


def test_the_cell_does_nothing_where_the_library_is(monkeypatch):
    assert run_cell(monkeypatch, installed=True, on_colab=False) == []
    assert run_cell(monkeypatch, installed=True, on_colab=True) == []


def test_the_cell_installs_the_release_and_leaves_colabs_packages_alone(monkeypatch):
    (command,) = run_cell(monkeypatch, installed=False, on_colab=True)
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    packages = command[command.index("--no-deps") + 1 :]
    assert packages[0] == "lotterylib @ https://github.com/someone/a-book/archive/refs/tags/v9.8.7.zip"
    for package in packages[1:]:
        assert not package.startswith(("torch>", "torch=", "numpy", "ipywidgets", "torchvision"))


def test_elsewhere_the_cell_says_in_one_line_what_to_do(monkeypatch):
    with pytest.raises(
        ModuleNotFoundError, match=r"^no lotterylib here: clone \S+, run `make book`, use .venv$"
    ):
        run_cell(monkeypatch, installed=False, on_colab=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What a release installs, built from a copy of the sources without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        REPOSITORY / "lotterylib", source / "lotterylib", ignore=shutil.ignore_patterns("__pycache__")
    )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    program = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    built = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder / built.stdout.splitlines()[-1]


def test_the_wheel_holds_all_that_notebooks_need(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    package = REPOSITORY / "lotterylib"
    wanted = {
        path.relative_to(REPOSITORY).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - packed == set()
    assert any(name.endswith("reference/laptop/records.jsonl") for name in packed)
    assert any(name.endswith(".safetensors") for name in packed)
    strangers = {name for name in packed if not name.startswith(("lotterylib/", "lotterylib-"))}
    assert strangers == set()
    assert wheel.stat().st_size < 60e6, "Colab downloads this for every notebook"


def test_a_lone_notebook_finds_its_data_in_the_wheel(wheel, tmp_path):
    """From the unpacked wheel, in a foreign folder: records, tickets, data and profiles are there."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = """
from pathlib import Path
import lotterylib
from lotterylib import datasets, study, results
assert Path(lotterylib.__file__).is_relative_to(Path.cwd().parent / "site"), lotterylib.__file__
case = study.load_profile("laptop")
assert len(results.tidy(study.records(case, ""))) > 100
assert study.ticket(case, "lottery", case.levels[-1], "").sparsity > 0.9
assert datasets.load("fashion-mini", limit=20).classes == 10
"""
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "elsewhere",
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
