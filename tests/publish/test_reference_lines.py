"""The reference of the package, as the book's extension makes it of docstrings."""

import importlib.util
from pathlib import Path

import pytest

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


def test_lines_of_formulas_stay_lines(changed):
    assert changed("Two of them:", "", "    a = |b|", "      + c", "    d = e", "", "More.") == [
        "Two of them:", "", "    | a = \\|b\\|", "       + c", "    | d = e", "", "More.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        ("One formula:", "", "    a = b"),
        (":param x: first", "    second", "    third"),
        (".. rubric:: Example", "", "    text", "    more"),
        ("Example:", "", "    >>> 1", "    1"),
    ],
)
def test_all_else_stays_as_it_is(changed, lines):
    assert changed(*lines) == list(lines)
