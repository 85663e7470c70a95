"""Make the tree that Jupyter Book reads: prose, executed notebooks, figures, placed as in the repository."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files import emptied
from .errors import StageError
from .runner import Execution
from .widgets import add_scripts

HIDDEN_TAGS = {"injected-parameters", "colab-setup"}
# what a page opens with; an answer stands in the summary once more
OPENING = {"answer", "opening"}
FIGURE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# behind what the run card and an answer stand
QUESTION = re.compile(r"\A# .+(\n+\*\*Question: .+\*\*)?")
SUMMARY = re.compile(r"^## Summary$", re.MULTILINE)
SMOKE = (
    '<div class="smoke-run" role="note"><b>Smoke run.</b> The numbers on this page mean nothing: '
    "they come from a tiny run that only tests that everything works.</div>\n"
)


def stage_book(executions: Sequence[Execution], root: Path, stage: Path, card: Mapping[str, Any]) -> Path:
    """Fill a clean ``stage`` with the book of ``root`` and the executed notebooks; return ``stage``.

    Figures that carry a name are written to ``book/figures/<name>.png`` as well, for any page to show.
    ``card`` is what each page says about its run; seconds, device and revision of the run itself win.

    Raises:
        StageError: for a figure that a page cannot show well.
        SettingError: if ``stage`` holds what this program did not put there.
    """
    import nbformat

    root, stage = Path(root).resolve(), Path(stage).resolve()
    if stage == root or stage in root.parents:
        raise StageError(f"the staging folder {stage} is emptied first, and it holds the repository {root}")
    emptied(stage)
    ignore = shutil.ignore_patterns("__pycache__", ".*", "_build")
    shutil.copytree(root / "book", stage / "book", ignore=ignore)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, stage / name)
    if card.get("smoke"):
        for page in (stage / "book").glob("*.md"):
            page.write_text(_warn(page.read_text(encoding="utf-8")), encoding="utf-8")
    notebooks = [nbformat.read(execution.output, as_version=4) for execution in executions]
    add_scripts(notebooks, stage / "book" / "_static" / "widgets")
    for execution, notebook in zip(executions, notebooks, strict=True):
        name = execution.source.relative_to(root)
        figures = stage_notebook(notebook, dict(card) | execution.facts, name.with_suffix("").as_posix())
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, stage / name)
        for figure, png in figures.items():
            _write_figure(stage / "book" / "figures" / f"{figure}.png", png, name)
    return stage


def stage_notebook(notebook, card: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """Dress an executed notebook for the page, in place; return its named figures as PNG bytes.

    Adds the run card, hides the cells no reader needs, and gives every image the alt text and caption that
    its output metadata carry under ``lotterylib``.
    """
    figures: dict[str, bytes] = {}
    number = 0
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", ()))
        # errors count cells as the source does
        number += "injected-parameters" not in tags
        if HIDDEN_TAGS & tags:
            cell.metadata["tags"] += ["remove-input", "remove-output"]
        elif cell.cell_type == "code":
            _name_lid(cell, tags)
            _dress_figure(cell, f"{name}, cell {number} ({cell.source.partition(chr(10))[0]})", figures)
    opening = [cell for cell in notebook.cells if OPENING & set(cell.metadata.get("tags", ()))]
    # words before pictures
    opening.sort(key=lambda cell: "answer" not in cell.metadata["tags"])
    _open(notebook, run_card(card), opening)
    _repeat_in_summary(notebook, [cell for cell in opening if "answer" in cell.metadata["tags"]])
    return figures


def run_card(card: Mapping[str, Any]) -> str:
    """Return one quiet line of HTML on the run: ``profile``, ``seeds``, ``device``, ``revision``, ``seconds``,
    ``outdated`` (lines on records that other versions made), ``study`` (whose numbers those are that name none).

    Absent keys are left out; ``smoke: True`` puts a warning above the line. Values are escaped.
    """
    seeds = ", ".join(str(seed) for seed in card.get("seeds", ()))
    parts = [
        f"profile <b>{escape(str(card['profile']))}</b>" if "profile" in card else "",
        f"seed{'s' if ',' in seeds else ''} {escape(seeds)}" if seeds else "",
        escape(str(card.get("device", ""))),
        f"revision <code>{escape(str(card['revision']))}</code>" if card.get("revision") else "",
        f"ran in {card['seconds']:.0f} s" if "seconds" in card else "",
    ]
    if lines := card.get("outdated"):
        parts.append(
            f'<span title="{escape("; ".join(lines))}">measured in part by older versions ({len(lines)})</span>'
        )
    line = " · ".join(filter(None, parts))
    if study := card.get("study"):
        line += f"<br>What names no study is of {escape(study)}, or of networks trained on this page."
    return (SMOKE if card.get("smoke") else "") + f'<div class="run-card">{line}</div>'


def _warn(page: str) -> str:
    """A page of prose with the smoke warning below its title: it quotes numbers of the run."""
    return re.sub(r"^# .*$", lambda title: f"{title[0]}\n\n{SMOKE}", page, count=1, flags=re.MULTILINE)


def _open(notebook, card: str, opening: list) -> None:
    """Put the run card, and below it what the opening cells show, between the title's question and what follows."""
    from nbformat.v4 import new_markdown_cell

    for cell in opening:
        cell.metadata["tags"].append("remove-input")
        notebook.cells.remove(cell)
    between = [new_markdown_cell(card, id="run-card"), *opening]
    if not _insert(notebook, QUESTION, between):
        notebook.cells[:0] = between


def _repeat_in_summary(notebook, answers: list) -> None:
    from copy import deepcopy

    again = deepcopy(answers)
    for cell in again:
        cell["id"] = f"{cell['id']}-summary"
    if again:
        _insert(notebook, SUMMARY, again)


def _insert(notebook, head: re.Pattern, cells: list) -> bool:
    """Put cells behind the first match of ``head`` in a Markdown cell, which is cut in two there; say whether it was found."""
    from nbformat.v4 import new_markdown_cell

    for i, cell in enumerate(notebook.cells):
        found = head.search(cell.source) if cell.cell_type == "markdown" else None
        if found:
            rest = cell.source[found.end() :].strip()
            cell["source"] = cell.source[: found.end()].strip()
            after = [new_markdown_cell(rest, id=f"{cell['id']}-rest")] if rest else []
            notebook.cells[i + 1 : i + 1] = [*cells, *after]
            return True
    return False


def _name_lid(cell, tags: set[str]) -> None:
    """Say on the lid of a folded cell what is under it: its title, or else that it is code."""
    titled = re.match(r"# @title (.+)", cell.source)
    if "hide-cell" in tags and titled:
        lids = titled[1], titled[1]
    elif "hide-input" in tags:
        lids = "Show this code", "Hide this code"
    else:
        return
    options = cell.metadata.setdefault("mystnb", {})
    options["code_prompt_show"], options["code_prompt_hide"] = lids


def _dress_figure(cell, where: str, figures: dict[str, bytes]) -> None:
    """Move a figure's alt text, caption and name to the cell metadata, where MyST-NB looks for them."""
    shown = [out for out in cell.get("outputs", ()) if "data" in out and "scrapbook" not in out.metadata]
    images = [out for out in shown if any(mime.startswith("image/") for mime in out.data)]
    if not images:
        return
    # the cell metadata would caption them all
    if len(shown) > 1:
        kind = "figures" if len(images) > 1 else "outputs beside a figure"
        raise StageError(f"{where}: {len(shown)} {kind} in one cell; give each a cell of its own")
    about = images[0].metadata.get("lotterylib", {})
    if "image/png" not in images[0].data or not about.get("alt"):
        raise StageError(
            f"{where}: an image without alt text; show it by lotterylib.figures.show(fig, alt=…)"
        )
    name = about.get("name")
    if name and not FIGURE_NAME.fullmatch(name):
        raise StageError(f"{where}: figure name {name!r}; use lower-case letters, digits and dashes")
    if name in figures:
        raise StageError(f"{where}: this notebook has another figure named {name!r}; names must differ")
    options = cell.metadata.setdefault("mystnb", {})
    # how far a phone may shrink it (book.js), in tenths of a point
    classes = ["photograph"] if about.get("photograph") else []
    classes += [f"on-{about['window']}"] if about.get("window") else []
    classes += [f"letters-{10 * about['letters']:.0f}"] if about.get("letters") else []
    options["image"] = {"alt": about["alt"]} | ({"classes": " ".join(classes)} if classes else {})
    if about.get("caption"):
        # Sphinx numbers every captioned figure and wants a target for it, also where nobody refers to it.
        target = re.sub(r"[^a-z0-9]+", "-", where.partition(" (")[0].lower())
        options["figure"] = {"caption": about["caption"], "name": name or target}
    if name:
        figures[name] = b64decode(images[0].data["image/png"])


def _write_figure(path: Path, png: bytes, notebook: Path) -> None:
    if path.exists():
        raise StageError(
            f"{notebook.as_posix()}: book/figures/{path.name} exists already; rename one of the two"
        )
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png)
