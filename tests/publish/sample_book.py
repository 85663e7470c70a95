"""A book of three pages, made with the repository's own configuration, extensions and styles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lotterylib.publish.book import build_book

REPOSITORY = Path(__file__).resolve().parents[2]
ALT = "A straight line that falls from 0.9 to 0.8 & more"
CAPTION = "Accuracy falls with sparsity $s$."
CARD = {"profile": "smoke", "seeds": [0, 1], "device": "CPU", "revision": "abc1234", "smoke": True}

FIGURE = f"""\
from matplotlib.figure import Figure

from lotterylib.figures import record, show

figure = Figure(figsize=(6, 3))
figure.subplots().plot([0, 0.9], [top, 0.8])
show(figure, alt={ALT!r}, caption={CAPTION!r}, name="line")
record("top-accuracy", 100 * top)"""

EXPLORER = """\
from matplotlib.figure import Figure

from lotterylib.figures import frames


def two_bars(level):
    figure = Figure(figsize=(3, 2))
    figure.subplots().bar([0, 1], [1, level])
    return figure, f"Two bars; the right one is {level} of the left one"


frames({str(level): two_bars(level) for level in (0.25, 0.5, 0.75)}, "level")"""

INDEX = """\
# A sample book

The dense network reaches {glue:text}`../notebooks/sample.ipynb::top-accuracy:.1f`%, as {numref}`line` shows.

$$s = 1 - 0.8^n$$ (eq-sparsity)

```{figure} figures/line.png
:alt: The figure of the other page
:name: line-again

The same figure, on another page.
```

| method | decides | cost beside one dense training |
|---|---|---|
| random | before training | none |
"""

TOC = """\
format: jb-book
root: book/index
parts:
  - caption: One
    chapters:
      - file: notebooks/sample
      - file: notebooks/explorer
      - file: book/reference/masks
"""


def cell(code: str, *tags: str):
    return new_code_cell(code, metadata={"tags": list(tags)} if tags else {})


def write_notebook(path: Path, *cells, parameters: str = "top = 0.9") -> Path:
    """A notebook with a title, a cell of parameters and then ``cells`` (texts are code)."""
    own = [cell(item) if isinstance(item, str) else item for item in cells]
    notebook = new_notebook(cells=[new_markdown_cell(f"# {path.stem}"), cell(parameters, "parameters"), *own])
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def write_sample(root: Path) -> Path:
    """The sources of the sample book, as a repository at ``root``."""
    write_notebook(
        root / "notebooks" / "sample.ipynb",
        new_markdown_cell("Sparsity is $s$, and after $n$ rounds\n\n$$\\frac{w_{pruned}}{w} = s.$$"),
        cell("installed_on_colab = False", "colab-setup"),
        FIGURE,
        "print('a line that is much wider than a telephone ' * 4)",
        cell("# @title Solution 1\nprint('forty-two')", "solution", "hide-cell"),
    )
    formula = new_markdown_cell("Widgets and MathJax share this page: $s$.")
    write_notebook(root / "notebooks" / "explorer.ipynb", formula, EXPLORER)
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("book/_ext", "book/_static"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=ignore)
    shutil.copy(REPOSITORY / "_config.yml", root)
    (root / "_toc.yml").write_text(TOC)
    (root / "book" / "reference").mkdir()
    shutil.copy(REPOSITORY / "book" / "reference" / "masks.md", root / "book" / "reference")
    (root / "book" / "references.bib").write_text("")
    (root / "book" / "index.md").write_text(INDEX)
    return root


def publish_sample(root: Path) -> Path:
    """Publish the book at ``root`` to ``root/out``; returns the site's folder."""
    return build_book(root, root / "out", {"top": 0.925}, CARD).parent


def shared_site(base: Path) -> Path:
    """The sample's site below ``base``, built once however many modules and test processes ask for it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the folder that all workers of this run have in common
    site = base / "sample" / "out" / "site"
    with FileLock(base / "sample.lock"):
        return site if site.is_dir() else publish_sample(write_sample(base / "sample"))
