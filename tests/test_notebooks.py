"""What every notebook must be: a clean source that any reader, Colab and the book can use alike."""

import ast
import json
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from tests.sources import NOTEBOOKS, PAGES, ROOT, cells, code, name, prose, read, source, tagged

LINES = 40
# letters that a page shows in a line; the title of a cell on Colab is one line there
WIDTH = 96
# What a lone notebook may import: the core's dependencies, all of them on Colab.
ALLOWED = {"lotterylib", "torch", "torchvision", "numpy", "scipy", "sklearn", "skimage", "pandas", "matplotlib",
           "seaborn", "yaml", "IPython"}  # fmt: skip
WIDGETS = {"ipywidgets"}  # on Colab too, but as version 7, which lacks Stack
MYST = {
    "a role": r"\{[\w:-]+\}`",
    "a directive": r"^\s*(`{3,}|:{3,})\s*\{",
    "a target": r"^\([\w-]+\)=\s*$",
    "a substitution": r"\{\{.*?\}\}",
    "a footnote": r"\[\^\w+\]",
}
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`]*`", re.DOTALL)
notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@notebook
def test_source_is_clean(path):
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    nbformat.validate(content)
    assert text == json.dumps(content, indent=1, ensure_ascii=False) + "\n", "not as the tools write it"
    assert set(content["metadata"]) == {"accelerator", "kernelspec", "language_info"}
    assert content["metadata"]["language_info"] == {"name": "python"}
    for number, cell in enumerate(content["cells"], start=1):
        assert not cell.get("outputs") and cell.get("execution_count") is None, f"cell {number} holds results"
        assert set(cell["metadata"]) <= {"tags", "cellView"}, f"cell {number} holds {cell['metadata']}"
        assert source(cell).strip(), f"cell {number} is empty"
        assert not cell.get("attachments"), f"cell {number} holds a picture that no record made"


@notebook
def test_it_has_one_cell_of_parameters(path):
    (cell,) = tagged(path, "parameters")
    assigned = {target.id for line in ast.parse(source(cell)).body for target in line.targets}
    assert cell["cell_type"] == "code" and assigned >= {"profile", "store"}


@notebook
def test_text_is_plain_markdown(path):
    text = FORMULA.sub("", re.sub(MYST["a role"], "ROLE", prose(path)))
    assert "ROLE" not in text, "a MyST role, which Colab shows raw"
    for what, pattern in MYST.items():
        assert not re.search(pattern, text, re.MULTILINE), f"{what} of MyST, which Colab shows raw"


@notebook
def test_cells_are_short(path):
    for cell in cells(path, "code"):
        lines = source(cell).count("\n") + 1
        assert lines <= LINES, f"{lines} lines: {source(cell)[:60]!r}"
        for line in source(cell).splitlines():
            assert len(line) <= WIDTH or line.startswith("# @title"), f"a page breaks {line!r}"


def test_no_helper_is_defined_twice():
    homes: dict[str, list[str]] = {}
    for path in NOTEBOOKS:
        for statement in ast.parse(code(path)).body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                homes.setdefault(statement.name, []).append(name(path))
    twice = {helper: places for helper, places in homes.items() if len(places) > 1}
    assert not twice, "these belong in the library"


@notebook
def test_imports_are_all_on_colab(path):
    tree = ast.parse(code(path))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {module.partition(".")[0] for module in found}
    assert tops - ALLOWED - WIDGETS - set(sys.stdlib_module_names) == set()
    for module in found:
        parts = module.split(".")
        assert parts[:2] != ["lotterylib", "publish"], "the book's tools are not there for a lone notebook"
        if parts[0] == "lotterylib":
            assert (ROOT / Path(*parts)).is_dir() or (ROOT / Path(*parts)).with_suffix(".py").is_file()


@notebook
def test_widgets_have_a_way_out_on_colab(path):
    text = code(path)
    if re.search(r"\bStack\(", text):
        guard = re.search(r"hasattr\(\w+, \"Stack\"\)|ImportError|AttributeError", text)
        assert guard and "interact" in text, "ipywidgets 7 has no Stack: fall back to interact"


@notebook
def test_it_opens_with_a_question_and_goals(path):
    first = source(read(path)["cells"][0])
    assert re.match(r"# .+\n\n\*\*Question: .+\?\*\*", first), "a title, then **Question: …?**"
    goals = re.findall(r"^- .+[;.]$", first, re.MULTILINE)
    assert 2 <= len(goals) <= 5, "two to five learning goals, as a list"
    assert first.count("\n# ") == 0


@notebook
def test_it_closes_with_a_summary_exercises_and_where_to_go(path):
    text = prose(path)
    summary, practice = text.find("\n## Summary\n"), text.find("\n## Try it\n")
    assert 0 < summary < practice
    last = source(read(path)["cells"][-1])
    assert last.startswith("**Where to go next.**") and "](" in last


@notebook
def test_every_exercise_has_a_solution(path):
    text = prose(path)
    exercises = re.findall(r"^\*\*Exercise(?: (\d))?\.\*\*", text, re.MULTILINE)
    solutions = tagged(path, "solution")
    assert 2 <= len(exercises) <= 3, f"{len(exercises)} exercises; two or three"
    assert exercises == [str(number) for number in range(1, len(exercises) + 1)]
    titles = [f"# @title Solution {number}" for number in exercises]
    assert [source(cell).partition("\n")[0] for cell in solutions] == titles
    for cell in solutions:  # they run with the book, and are folded there and on Colab
        assert cell["cell_type"] == "code"
        assert cell["metadata"] == {"cellView": "form", "tags": ["solution", "hide-cell"]}


@notebook
def test_every_figure_has_a_caption(path):
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "figures.show":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            # that of the wide picture speaks for the narrow one, too
            assert "caption" in given or given["window"] == "'narrow'", ast.unparse(node)
            # the alt text is the second argument, or comes with the figure: figures.show(*figures.curves(…))
            assert "alt" in given or len(node.args) > 1 or isinstance(node.args[0], ast.Starred)


@notebook
def test_a_sweep_says_of_the_pruner_that_it_highlights_how_to_read_it(path):
    drawn = re.findall(r"figures\.sweep\([^*]*?highlight=(\S+?),", code(path))
    assert drawn == re.findall(r"figures\.sweep_caption\((\S+?)\)", code(path))


def shown_figures() -> dict[str, list[Path]]:
    """Names of figures, with the notebooks that draw them."""
    names: dict[str, list[Path]] = {}
    for path in NOTEBOOKS:
        for node in ast.walk(ast.parse(code(path))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "figures.show":
                for keyword in node.keywords:
                    if keyword.arg == "name":
                        names.setdefault(ast.literal_eval(keyword.value), []).append(path)
    return names


def test_every_figure_of_a_page_comes_from_one_notebook_and_its_records():
    shown = shown_figures()
    assert [figure for figure, places in shown.items() if len(places) > 1] == []
    pictures = re.compile(r"^```+\{(?:figure|image)\} (\S+)|!\[[^\]]*\]\(([^)\s]+)", re.MULTILINE)
    for page in PAGES:
        for match in pictures.finditer(page.read_text(encoding="utf-8")):
            address = match[1] or match[2]
            figure = re.fullmatch(r"figures/([\w-]+)\.png", address)
            assert figure and figure[1] in shown, f"{name(page)}: {address} is drawn by no notebook"
            assert re.search(r"study\.(records|table|ticket)\(", code(shown[figure[1]][0]))


def test_the_only_pictures_in_the_repository_are_drawn_from_records():
    kept = ROOT / "lotterylib" / "reference"
    for folder in ("book", "notebooks", "lotterylib"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf"):
                assert path.is_relative_to(kept) or path == ROOT / "book/_static/favicon.svg", name(path)
                if path.is_relative_to(kept):
                    assert (path.parent / "manifest.json").is_file(), name(path)


def test_cell_ids_are_unique():
    for path in NOTEBOOKS:
        twice = [cell for cell, count in Counter(c["id"] for c in read(path)["cells"]).items() if count > 1]
        assert twice == [], name(path)


TAUGHT = [p for p in NOTEBOOKS if p.parent.name in ("pruners", "dimensions") or p.stem == "lth_pass"]


@notebook
def test_a_picture_stands_before_the_first_formula(path):
    found = [source(cell) for cell in read(path)["cells"]]
    formula = next((i for i, text in enumerate(found) if "$$" in text), None)
    opens = any("opening" in cell["metadata"].get("tags", ()) for cell in cells(path, "code"))
    if path.stem == "scale" or formula is None or opens:
        pytest.skip("an appendix that counts, a page without formulas, or one that opens with its picture")
    assert any("figures.show(" in text for text in found[:formula]), "show the idea first"


PICTURED = [p for p in PAGES if "{math}" in prose(p) and p.stem != "notation"]


@pytest.mark.parametrize("path", PICTURED, ids=[path.stem for path in PICTURED])
def test_a_page_shows_a_picture_before_its_first_formula(path):
    text = prose(path)
    assert -1 < text.find("{figure}") < text.find("{math}")


@notebook
def test_plumbing_is_folded(path):
    """Imports, sentences for other pages and what a smoke run does instead are no part of a lesson."""
    for cell in cells(path, "code"):
        if not cell["metadata"].get("tags") and "class " not in source(cell):
            assert not re.search(r"^if case\.smoke|figures\.record\(", source(cell), re.MULTILINE), source(
                cell
            )[:60]
    first = next(c for c in cells(path, "code") if re.match(r"import |from ", source(c)))
    assert "hide-input" in first["metadata"].get("tags", ())


@pytest.mark.parametrize("path", TAUGHT, ids=[path.stem for path in TAUGHT])
def test_reading_records_and_showing_figures_is_folded(path):
    if path.parent.name == "verdict" or path.stem == "your_own":
        pytest.skip("here records and figures are the lesson")
    for cell in cells(path, "code"):
        if not cell["metadata"].get("tags"):
            text = source(cell)
            assert not re.search(r"study\.(records|table|tickets)\(|figures\.sweep", text), text[:60]
            alone = text.startswith("figures.show(\n") and not re.search(
                r"^\w", text.partition("\n")[2], re.MULTILINE
            )
            assert not alone, text[:60]


def test_where_to_go_next_is_where_the_next_button_goes():
    pages = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text())
    for page, after in pairwise(pages):
        if page.startswith("notebooks/"):
            path = ROOT / f"{page}.ipynb"
            links = re.findall(r"\]\(([^)#\s]+)", source(read(path)["cells"][-1]))
            leads = {(path.parent / link).resolve().with_suffix("") for link in links if "//" not in link}
            assert ROOT / after in leads, f"{page}: name the next page, {after}"
