"""The reference of the package, as the book's extension makes it of docstrings."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, PositiveInt

EXTENSION = Path(__file__).parents[2] / "book/_ext/reference.py"


@pytest.fixture
def extension():
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("reference", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def changed(extension):
    def change(*lines):
        lines = list(lines)
        extension.keep_bars(None, "", "", None, None, lines)
        extension.keep_lines(None, "", "", None, None, lines)
        return lines

    return change


@pytest.mark.parametrize(
    "said",
    [
        "Return whether figures show it times a hundred: it is a share.",
        "Return ``a: b`` and so on: more",
        "Return it.",
    ],
)
def test_a_property_with_a_colon_is_a_sentence(extension, said):
    napoleon = pytest.importorskip("sphinx.ext.napoleon")
    lines = [said]
    extension.keep_colons(None, "property", "percent", None, None, lines)
    docstring = napoleon.GoogleDocstring(lines, napoleon.Config(), what="property", name="percent")
    assert str(docstring).strip() == said


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that imports some of its modules."""
    folder = tmp_path / "ordered"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from .called import x\nfrom .sub.made import y\nfrom . import apart\n"
    )
    for name in ("apart", "aside", "called", "_own", "sub/__init__", "sub/made", "sub/inner"):
        (folder / f"{name}.py").write_text("x = y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder.name


def test_modules_come_in_the_order_in_which_their_package_imports_them(extension, package):
    found = [name.removeprefix(f"{package}.") for name in extension.modules(package)]
    assert found == ["ordered", "called", "sub.made", "apart", "aside", "sub", "sub.inner"]


def test_the_page_of_the_score_begins_with_what_a_user_calls(extension):
    assert extension.modules("lotterylib.score")[1] == "lotterylib.score.measure"


def test_formulas_and_tables_stay_as_they_are_written(changed):
    block = ["    a = |b|        b: another", "      + c", "", "    d = e"]
    lines = ["Two of |x|:", "", *block, "", "More."]
    assert changed(*lines) == ["Two of \\|x\\|:", "", ".. code-block:: text", "", *block, "", "More."]


@pytest.mark.parametrize(
    "lines",
    [
        (":param x: first", "    second", "", "    third"),
        (".. rubric:: Example", "", "    text", "    more"),
        ("Example::", "", "    text"),
        ("- one", "", "    more of it"),
        ("Example:", "", "    >>> 1", "    1"),
    ],
)
def test_all_else_stays_as_it_is(changed, lines):
    assert changed(*lines) == list(lines)


class Settings(BaseModel):
    share: Annotated[float, Field(ge=0, lt=1)] = 8 / 255
    interval: Annotated[float, Field(gt=0)] | None = None
    rounds: list[PositiveInt] = []
    name: str = "none"


@dataclass
class Found:
    path: Path
    kept: dict[str, Path] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    weight: float = 0.1234567891


@pytest.mark.parametrize(
    "kind, shown",
    [
        (
            Settings,
            "(*, share: float = 8/255, interval: float | None = None, rounds: list[int] = [], name: str = 'none')",
        ),
        (
            Found,
            "(path: ~pathlib.Path, kept: dict[str, ~pathlib.Path] = {}, settings: ~"
            f"{__name__}.Settings = Settings(), weight: float = 0.1234567891)",
        ),
    ],
)
def test_fields_have_the_types_and_defaults_that_one_would_write(extension, kind, shown):
    assert extension.shorten(None, "class", "", kind, None, "(…)", None) == (shown, None)
    # else Sphinx would break the line at every comma
    compile(f"def parsed{shown.replace('~', '')}: ...", "", "exec")


def test_settings_name_their_limits(extension):
    lines = ["Say it."]
    extension.name_limits(None, "class", "", Settings, None, lines)
    said = lines[2].replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Limits: ``share`` ≥ 0 and < 1; ``interval`` > 0; each of ``rounds`` > 0."
