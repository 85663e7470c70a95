"""The set-up cell, the one place that names the release, and what a lone notebook gets from the wheel."""

import json
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from sample_book import REPOSITORY, write_notebook

from lotterylib.publish import PublishError, colab
from lotterylib.publish.colab import Release, outdated, rewrite, setup_cell, with_setup

NEXT = Release("https://github.com/someone/a-book", "v9.8.7")


@pytest.fixture
def clone(tmp_path):
    """The files that repeat the release, and one notebook that does not yet."""
    for file in colab.REPEATED:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, tmp_path / file)
    write_notebook(tmp_path / "notebooks" / "deep" / "a.ipynb", "print(1)")
    return tmp_path


def test_repository_and_notebooks_agree_on_the_release():
    wrong = [path.relative_to(REPOSITORY).as_posix() for path in outdated(REPOSITORY, Release.read())]
    assert wrong == [], "run: python -m lotterylib.publish.colab"


def test_a_new_release_is_put_everywhere_and_nowhere_twice(clone):
    changes = outdated(clone, NEXT)
    assert {path.relative_to(clone).as_posix() for path in changes} == {
        *colab.REPEATED,
        "notebooks/deep/a.ipynb",
    }
    for path, text in changes.items():
        path.write_text(text)
    assert outdated(clone, NEXT) == {}
    old = Release.read()
    for path in changes:
        text = path.read_text()
        assert old.repository not in text and old.tag not in text, path.name
    assert 'version = "9.8.7"' in (clone / "pyproject.toml").read_text()


def test_the_cell_goes_below_the_title_and_stays_there(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "print(1)")
    once = with_setup(path.read_text(), NEXT)
    assert with_setup(once, NEXT) == once
    before, after = json.loads(path.read_text()), json.loads(once)
    assert after["metadata"].pop("accelerator") == "GPU"
    assert after["cells"].pop(1)["metadata"]["tags"] == ["colab-setup"]
    assert after == before
    moved = json.loads(once)
    moved["cells"].append(moved["cells"].pop(1))
    assert json.loads(with_setup(json.dumps(moved), NEXT))["cells"][-1]["metadata"]["tags"] == ["colab-setup"]
    moved["cells"].append(moved["cells"][-1])
    with pytest.raises(PublishError, match="2 cells are tagged colab-setup"):
        with_setup(json.dumps(moved), NEXT)


@pytest.mark.parametrize(
    "repository, tag",
    [("github.com/a/b", "v1.0.0"), ("https://github.com/a/b.git", "v1.0.0"), ("https://github.com/a/b", "1.0"),
     ("https://github.com/a/b", 'v1.0.0"; evil')],
)  # fmt: skip
def test_what_is_no_address_or_tag_is_refused(repository, tag):
    with pytest.raises(PublishError, match="use "):
        Release(repository, tag)


def test_a_file_that_changed_its_form_is_noticed():
    with pytest.raises(PublishError, match="README.md: no line like .* the repository"):
        rewrite("nothing here", colab.REPEATED["README.md"], NEXT, "README.md")


def test_the_command_checks_writes_and_says_so(clone, monkeypatch, capsys):
    monkeypatch.chdir(clone)
    (clone / "_toc.yml").write_text("root: book/index\n")
    assert colab.main(["--check"]) == 1
    assert capsys.readouterr().out == "outdated: notebooks/deep/a.ipynb\n"
    assert colab.main([]) == 0 and colab.main(["--check"]) == 0
    assert "all agree on https://github.com/" in capsys.readouterr().out
    assert colab.main(["--tag", "latest"]) == 2
    assert "use v and the package's version" in capsys.readouterr().err


def run_cell(monkeypatch, installed: bool, on_colab: bool) -> list[list[str]]:
    """The commands that the cell runs."""
    commands = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(setup_cell(NEXT), {})
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
