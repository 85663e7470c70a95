"""The reference: every package has its page, and every docstring can be shown as it is written."""

import inspect
import re
import subprocess
import sys

import pytest
import yaml

from lotterylib.datasets.base import BUILDERS
from lotterylib.pruners import PRUNERS, Start
from lotterylib.pruners.set import RandomUpdate
from lotterylib.verdict import Region
from tests.publish.sample_book import REPOSITORY

PAGES = REPOSITORY / "book" / "reference"
# what is run, not imported
WITHOUT = {"cli", "publish"}
CONF = """\
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_parser", "sphinx.ext.napoleon", "reference"]
root_doc = "index"
globals().update({config!r})
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What Sphinx says of the reference's pages under the book's settings."""
    folder = tmp_path_factory.mktemp("reference")
    config = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["sphinx"]["config"]
    config = {
        key: value for key, value in config.items() if not key.startswith(("html", "nb_", "mathjax", "bib"))
    }
    (folder / "conf.py").write_text(CONF.format(ext=str(REPOSITORY / "book" / "_ext"), config=config))
    names = []
    for page in PAGES.glob("*.md"):
        (folder / page.name).write_text(page.read_text())
        names.append(page.stem)
    (folder / "index.md").write_text("# All\n\n```{toctree}\n" + "\n".join({*names} - {"index"}) + "\n```\n")
    command = [sys.executable, "-m", "sphinx", "-b", "text", "-n", "-q", str(folder), str(folder / "out")]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500
    ), folder / "out"


def test_every_package_has_its_page():
    parts = {path.stem for path in (REPOSITORY / "lotterylib").iterdir() if path.suffix == ".py"}
    parts |= {path.parent.name for path in (REPOSITORY / "lotterylib").glob("*/__init__.py")}
    text = "\n".join(path.read_text() for path in PAGES.glob("*.md"))
    assert {part for part in parts - WITHOUT - {"__init__"} if f"lotterylib.{part}" not in text} == set()


def test_no_method_inherits_words_that_are_true_of_its_base_alone():
    # what a base does where nobody says otherwise, and RigL's gradients
    alone = ("by default", "those of the test set", "∂L/∂θ")
    kinds = [PRUNERS[name] for name in PRUNERS.names()] + [BUILDERS[name] for name in BUILDERS.names()]
    said = []
    for kind in {*kinds, RandomUpdate}:
        for method, own in vars(kind).items():
            inherited = inspect.getdoc(getattr(kind, method)) or ""
            if inspect.isfunction(own) and not own.__doc__ and any(words in inherited for words in alone):
                said.append(f"{kind.__name__}.{method}")
    assert sorted(said) == []


@pytest.mark.parametrize("kind", [Start, Region])
def test_each_member_of_an_enumeration_says_what_it_is(kind):
    analyzer = pytest.importorskip("sphinx.pycode").ModuleAnalyzer
    # autodoc shows a member that has a docstring, with its value
    said = analyzer.for_module(kind.__module__).find_attr_docs()
    assert {member for owner, member in said if owner == kind.__name__} == set(kind.__members__)


# `make test` builds these pages strictly, too, with the rest of the book
@pytest.mark.long
def test_no_docstring_trips_the_generator(built):
    done, _ = built
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.long
def test_pages_show_signatures_fields_and_sections(built):
    _, out = built
    masks, base = (out / "masks.txt").read_text(), (out / "base.txt").read_text()
    assert "class Mask(" in masks and "density: float" in masks
    assert "Parameters:" in base and "Raises:" in base
    assert "Registry" in base and ">>> shapes" in base
    every = "\n".join(path.read_text() for path in out.glob("*.txt"))
    assert "model_config" not in every and "Alias for field" not in every
    assert not re.search(r"FieldInfo|Annotated|<factory>|~\w|dict\[str,$", every, re.MULTILINE)
    # a title says the last part of a name; there is none above a package that only hands on names
    metrics = (out / "metrics.txt").read_text()
    assert '\nood\n===\n\n"lotterylib.metrics.generalization.ood"\n' in metrics
    assert "generalization\n===" not in metrics and "dissection\n===" in metrics
    # what is aligned stays so
    assert "t(ν) · √(v₁ + v₂),   ν = (v₁ + v₂)²" in every and "over v in G\n" in every
    assert 'allocate, "allocate()": how' in every
    # a method that overrides another has its types
    pruners = (out / "pruners.txt").read_text()
    typed = "scores( model: Module, data: Dataset, seed: int, ) -> dict[str, Tensor]"
    assert re.sub(r"\s+", " ", pruners).count(typed) > 5
    assert "scores(model, data, seed)" not in pruners
    # how Enum is called
    assert (
        "qualname" not in every
        and "class Start\n" in every
        and "UNTRAINED = 'the untrained network'" in every
    )
    # a sentence with a colon is no type
    assert not re.search(r"Type:\n +Return ", every)
