"""When a page is made again: where something that its notebook can read has changed, and not otherwise."""

import ast
import shutil

import pytest

from lotterylib.publish import reads
from lotterylib.publish.reads import PACKAGE, Reads, imported
from lotterylib.study import Store, expand, load_profile
from tests.publish.sample_book import REPOSITORY, write_notebook

STUDY = "from lotterylib import study\nstudy.records(profile)"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the library's files that may be changed; the code that runs stays."""
    copy = tmp_path / "lotterylib"
    ignore = shutil.ignore_patterns("__pycache__", "reference", "*.gz")
    shutil.copytree(PACKAGE, copy, ignore=ignore)
    monkeypatch.setattr(reads, "PACKAGE", copy)
    return copy


def key(notebook, profile="smoke", store="none"):
    return Reads(load_profile(profile), Store(store))(notebook)


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_imports_are_followed_down_and_only_those():
    found = imported(ast.parse("from lotterylib import masks, Recipe"))
    assert {"lotterylib", "lotterylib.masks", "lotterylib.masks.mask", "lotterylib.errors"} <= found
    assert "lotterylib.training.recipe" in found
    assert not {
        m for m in found if m.startswith(("lotterylib.publish", "lotterylib.score", "lotterylib.cli"))
    }
    assert imported(ast.parse("import numpy, lotterylibrary")) == set()


def test_every_notebook_has_imports_that_are_found():
    for path in (REPOSITORY / "notebooks").rglob("*.ipynb"):
        assert len(imported(reads.notebook_code(path))) > 10, path


def test_a_comment_a_docstring_or_a_stranger_changes_nothing(package, tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "from lotterylib.masks import Mask")
    before = key(notebook)
    append(package / "masks" / "mask.py", "\n# a comment\n")
    text = (package / "errors.py").read_text()
    (package / "errors.py").write_text(text.replace('"""Errors', '"""All errors', 1))
    append(package / "figures" / "style.py", "\nNEW = 1\n")
    assert key(notebook) == before


@pytest.mark.parametrize("file", ["masks/mask.py", "errors.py"])
def test_code_that_the_notebook_imports_counts(package, tmp_path, file):
    notebook = write_notebook(tmp_path / "a.ipynb", "from lotterylib.masks import Mask")
    before = key(notebook)
    append(package / file, "\nNEW = 1\n")
    assert key(notebook) != before


def test_digitised_curves_count(package, tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb")
    before = key(notebook)
    append(next((package / "verdict" / "paper").glob("*.csv")), "\n")
    assert key(notebook) != before


def test_a_profile_counts_with_those_that_it_extends(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb")
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("extends: smoke\ntitle: One\n")
    mine.write_text("extends: base.yaml\n")
    before = key(notebook, mine)
    base.write_text("extends: smoke\ntitle: Two\n")
    assert key(notebook, mine) != before


@pytest.mark.parametrize("named", [True, False])
def test_data_on_disk_count(tmp_path, monkeypatch, named):
    """Also in the folder where they are looked for if a profile names none."""
    monkeypatch.chdir(tmp_path)
    notebook, mine = write_notebook(tmp_path / "a.ipynb"), tmp_path / "mine.yaml"
    own = f"root: {tmp_path / 'data'}" if named else "name: fashion-mnist"
    mine.write_text(f"extends: smoke\ndataset: {{{own}}}\n")
    (tmp_path / "data").mkdir()
    before = key(notebook, mine)
    (tmp_path / "data" / "images.gz").write_bytes(b"1")
    assert key(notebook, mine) != before


@pytest.mark.parametrize("whose", ["its own", "longer", "named"])
def test_records_and_tickets_count_where_the_notebook_can_read_them(tmp_path, whose):
    profile, code = "smoke", "1"
    if whose == "longer":
        profile = tmp_path / "mine.yaml"
        profile.write_text("extends: smoke\nlonger: smoke\n")
    elif whose == "named":
        profile, code = "laptop", "from lotterylib import study\nstudy.records('smoke')"
    notebook = write_notebook(tmp_path / "a.ipynb", code)
    stranger = write_notebook(tmp_path / "b.ipynb")
    store = Store(tmp_path / "store").open_for_writing()
    smoke = load_profile("smoke")
    cell = expand(smoke)[0]
    found = [key(notebook, profile, store.root)]
    other = key(stranger, "laptop", store.root)
    store.save_record(cell, "accuracy", smoke.metrics["accuracy"], {"value": 0.5, "pruner": cell.pruner})
    found.append(key(notebook, profile, store.root))
    store.ticket_path(cell).parent.mkdir()
    store.ticket_path(cell).write_bytes(b"a ticket")
    found.append(key(notebook, profile, store.root))
    store.ticket_path(cell).write_bytes(b"another ticket")
    found.append(key(notebook, profile, store.root))
    assert len(set(found)) == 4
    assert key(stranger, "laptop", store.root) == other
