"""The notebooks that the book's table of contents lists, in the order of reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import PublishError


def notebooks_in_toc(root: Path, notebooks: Path) -> list[Path]:
    """Return the notebooks that ``root/_toc.yml`` lists.

    Raises:
        PublishError: for a page that is not there, and for a notebook that is not listed.
    """
    root, notebooks = Path(root).resolve(), Path(notebooks).resolve()
    pages = {page: _find(root, page) for page in _pages(_read_toc(root))}
    missing = [page for page, path in pages.items() if path is None]
    if missing:
        raise PublishError(
            f"_toc.yml lists {', '.join(missing)}, for which there is no .ipynb and no .md file"
        )
    listed = [path for path in pages.values() if path and path.suffix == ".ipynb"]
    present = (p for p in sorted(notebooks.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts)
    unlisted = [path.relative_to(root).as_posix() for path in present if path not in listed]
    if unlisted:
        raise PublishError(f"_toc.yml does not list {', '.join(unlisted)}: add it there or delete the file")
    return listed


def root_page(root: Path) -> str:
    """Return the first page of the book in ``root``, as ``root/_toc.yml`` names it."""
    return _read_toc(root)["root"]


def _read_toc(root: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PublishError(f"{root} holds no _toc.yml: run this in the book's repository") from None
    except yaml.YAMLError as error:
        raise PublishError(f"_toc.yml is not YAML: {' '.join(str(error).split())}") from None


def _pages(node: Any) -> Iterator[str]:
    """Every ``root`` and ``file`` entry, depth first."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("root", "file") if key in node)
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _pages(child)


def _find(root: Path, page: str) -> Path | None:
    candidates = (root / f"{page}{suffix}" for suffix in ("", ".ipynb", ".md"))
    return next((path for path in candidates if path.is_file()), None)
