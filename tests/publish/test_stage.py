"""Staging: the run card, and figures with alt text, caption and name."""

import base64

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lotterylib.errors import SettingError
from lotterylib.files import MARKER, claim
from lotterylib.publish import Execution, StageError, run_card, stage_book
from lotterylib.publish.stage import stage_notebook
from tests.publish.sample_book import write_notebook

PNG = base64.b64encode(b"not really a picture").decode()


def figure(**about):
    metadata = {"lotterylib": about} if about else {}
    return new_output("display_data", {"image/png": PNG, "text/plain": "x"}, metadata=metadata)


def record(name="key"):
    metadata = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
    return new_output("display_data", {"application/papermill.record/text/plain": "1"}, metadata=metadata)


def notebook(*outputs):
    return new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell("show()", outputs=list(outputs))])


def test_card_is_one_escaped_line_without_what_is_unknown():
    card = {"profile": "<b>", "seeds": [0, 1], "device": "A&B", "revision": "abc", "seconds": 61.4}
    assert run_card(card) == (
        '<div class="run-card">profile <b>&lt;b&gt;</b> · seeds 0, 1 · A&amp;B · revision <code>abc</code>'
        " · ran in 61 s</div>"
    )
    assert run_card({"seeds": [3]}) == '<div class="run-card">seed 3</div>'
    assert ">seed 3<br>What names no study is of A&amp;B, or" in run_card({"seeds": [3], "study": "A&B"})


def test_smoke_card_warns():
    assert "The numbers on this page mean nothing" in run_card({"smoke": True})
    assert "mean nothing" not in run_card({"smoke": False, "profile": "smoke"})


def test_card_follows_the_title():
    page = notebook()
    stage_notebook(page, {"profile": "laptop"}, "notebooks/a")
    assert [cell.cell_type for cell in page.cells] == ["markdown", "markdown", "code"]
    assert "run-card" in page.cells[1].source


def test_an_answer_stands_below_the_question_and_again_in_the_summary():
    page = notebook()
    page.cells[0].source = "# Title\n\n**Question: is it?**\n\nIn this notebook you will read."
    said = new_code_cell("answer", outputs=[new_output("display_data", {"text/html": "<p>It is.</p>"})])
    said.metadata["tags"] = ["answer"]
    widget = new_code_cell("widget")
    widget.metadata["tags"] = ["opening"]
    page.cells += [widget, said, new_markdown_cell("**Why?**\n\n## Summary\n\n- One point.\n\n## Try it")]
    stage_notebook(page, {"profile": "laptop"}, "notebooks/a")
    shown = ["It is." if cell.get("outputs") else cell.source for cell in page.cells]
    assert shown[0].endswith("**Question: is it?**") and "run-card" in shown[1]
    assert shown[2:] == [
        "It is.",
        "widget",
        "In this notebook you will read.",
        "show()",
        "**Why?**\n\n## Summary",
        "It is.",
        "- One point.\n\n## Try it",
    ]
    assert all("remove-input" in cell.metadata["tags"] for cell in page.cells if cell.get("outputs"))
    assert len({cell["id"] for cell in page.cells}) == len(page.cells)
    nbformat.validate(page)


def test_figure_gets_alt_caption_and_name_where_myst_nb_looks():
    page = notebook(figure(alt="A line", caption="It falls.", name="line"), record())
    assert stage_notebook(page, {}, "notebooks/a") == {"line": b"not really a picture"}
    assert page.cells[2].metadata["mystnb"] == {
        "image": {"alt": "A line"},
        "figure": {"caption": "It falls.", "name": "line"},
    }


def test_a_page_s_style_and_script_are_told_what_a_picture_is():
    page = notebook(figure(alt="A face", photograph=True, window="wide", letters=8.5))
    stage_notebook(page, {}, "notebooks/a")
    assert page.cells[2].metadata["mystnb"] == {
        "image": {"alt": "A face", "classes": "photograph on-wide letters-85"}
    }


def test_lids_say_what_is_under_them():
    solution = new_code_cell("# @title Solution 1\n1", metadata={"tags": ["solution", "hide-cell"]})
    plumbing = new_code_cell("import os", metadata={"tags": ["hide-input"]})
    page = notebook()
    page.cells += [solution, plumbing, new_code_cell("2")]
    stage_notebook(page, {}, "notebooks/a")
    lids = [c.metadata.get("mystnb", {}).get("code_prompt_show") for c in page.cells[3:]]
    assert lids == ["Solution 1", "Show this code", None]


def test_captioned_figure_without_a_name_gets_a_target_of_its_own():
    page = notebook(figure(alt="A line", caption="It falls.", name=None))
    assert stage_notebook(page, {}, "notebooks/a") == {}
    assert page.cells[2].metadata["mystnb"]["figure"]["name"] == "notebooks-a-cell-2"


def test_cells_that_no_reader_needs_are_hidden():
    page = notebook()
    page.cells[1].metadata["tags"] = ["injected-parameters"]
    stage_notebook(page, {}, "notebooks/a")
    assert {"remove-input", "remove-output"} <= set(page.cells[2].metadata["tags"])


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([figure()], "an image without alt text"),
        ([figure(alt="", name="line")], "an image without alt text"),
        ([new_output("display_data", {"image/svg+xml": "<svg/>"})], "an image without alt text"),
        ([figure(alt="a"), figure(alt="b")], "2 figures in one cell"),
        ([figure(alt="a"), new_output("display_data", {"text/html": "b"})], "2 outputs beside a figure"),
        ([figure(alt="a", name="A line")], "figure name 'A line'; use lower-case letters"),
    ],
)
def test_refuses_a_figure_that_a_page_cannot_show_well(outputs, message):
    with pytest.raises(StageError, match=message) as caught:
        stage_notebook(notebook(*outputs), {}, "notebooks/a")
    assert str(caught.value).startswith("notebooks/a, cell 2 (show()): ")


def executed(root, name, *outputs):
    """A notebook that looks as if the runner had executed it."""
    source = write_notebook(root / "notebooks" / f"{name}.ipynb")
    output = root / "out" / "notebooks" / f"{name}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(*outputs), output)
    output.with_suffix(".run.json").write_text('{"seconds": 7, "revision": "ran"}')
    return Execution(source, output, ok=True, seconds=7)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "book" / "__pycache__").mkdir(parents=True)
    (tmp_path / "book" / "index.md").write_text("---\nkey: value\n---\n# Title\n\nText\n")
    for name in ("_config.yml", "_toc.yml"):
        (tmp_path / name).write_text("a: 1\n")
    return tmp_path


def test_stage_is_clean_and_laid_out_like_the_repository(root):
    (claim(root / "stage") / "old").mkdir()
    execution = executed(root, "a", figure(alt="a", name="line"))
    stage = stage_book([execution], root, root / "stage", {"profile": "laptop", "revision": "now"})
    files = {path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()}
    assert files == {
        MARKER,
        "_config.yml",
        "_toc.yml",
        "book/index.md",
        "book/figures/line.png",
        "notebooks/a.ipynb",
    }
    assert not (stage / "old").exists() and not (stage / "book" / "__pycache__").exists()
    card = nbformat.read(stage / "notebooks" / "a.ipynb", as_version=4).cells[1].source
    assert "revision <code>ran</code> · ran in 7 s" in card and "laptop" in card


def test_two_figures_of_one_name_are_an_error(root):
    both = [executed(root, name, figure(alt="a", name="line")) for name in "ab"]
    with pytest.raises(StageError, match=r"notebooks/b.ipynb: book/figures/line.png exists already"):
        stage_book(both, root, root / "stage", {})


def test_staging_never_empties_the_repository(root):
    for folder in (root, root.parent):
        with pytest.raises(StageError, match="holds the repository"):
            stage_book([], root, folder, {})
    assert (root / "book" / "index.md").is_file()


def test_a_stage_of_somebody_else_is_left_alone(root, tmp_path_factory):
    theirs = tmp_path_factory.mktemp("thesis")
    (theirs / "thesis.tex").write_text("years of work")
    (root / "link").symlink_to(theirs)
    for stage in (theirs, root / "link"):
        with pytest.raises(SettingError, match="was not made by `lottery`, so it is left alone"):
            stage_book([], root, stage, {})
    assert (theirs / "thesis.tex").read_text() == "years of work"


def test_smoke_run_warns_on_pages_of_prose_too(root):
    page = stage_book([], root, root / "stage", {"smoke": True}) / "book" / "index.md"
    assert page.read_text().startswith('---\nkey: value\n---\n# Title\n\n<div class="smoke-run"')
    assert (
        stage_book([], root, root / "stage", {}).joinpath("book", "index.md").read_text().count("<div") == 0
    )
