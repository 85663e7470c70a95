"""The book's sources as tests see them: notebooks, pages, and the cells in them."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
PAGES = sorted((ROOT / "book").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / ".github").rglob("*.md"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    """A cell's text, which the format allows to be a list of lines."""
    return "".join(cell["source"])


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


def code(path: Path) -> str:
    return "\n".join(source(cell) for cell in cells(path, "code"))


def prose(path: Path) -> str:
    """The words of a notebook or a page."""
    if path.suffix == ".ipynb":
        return "\n\n".join(source(cell) for cell in cells(path, "markdown"))
    return path.read_text(encoding="utf-8")


def tagged(path: Path, tag: str) -> list[dict]:
    return [cell for cell in read(path)["cells"] if tag in cell["metadata"].get("tags", ())]
