"""Write the set-up cell that every notebook carries for Colab: it installs the release that ``pyproject.toml`` names.

.venv/bin/python -m tools.colab            write the cell into every notebook
.venv/bin/python -m tools.colab --check    only name the notebooks whose cell is not the one to write
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

try:
    import tomllib
# Python 3.10; pytest brings this one
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TAG = "colab-setup"
# what notebooks import and Colab lacks; never torch, numpy or ipywidgets
EXTRAS = ("torch-pruning>=1.6,<2",)
CELL = """\
# @title Set-up: installs the book's library on Google Colab, and does nothing where it is installed
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("lotterylib") is None:
    repository, tag = "{repository}", "{tag}"
    if "google.colab" not in sys.modules:
        hint = f"clone {{repository}}, run `make book`, use .venv"
        raise ModuleNotFoundError(f"no lotterylib here: {{hint}}")
    release = f"lotterylib @ {{repository}}/archive/refs/tags/{{tag}}.zip"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, release, {extras}], check=True)"""


def release(root: Path = ROOT) -> tuple[str, str]:
    """Return the repository's address and the tag of the release, as ``pyproject.toml`` says."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository, version = project["urls"]["Repository"], project["version"]
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)", repository):
        raise ValueError(f"repository {repository!r}: use https://github.com/OWNER/NAME")
    if not re.fullmatch(r"\d+\.\d+\.\d+([ab]\d+|rc\d+)?", version):
        raise ValueError(f"version {version!r}: use one like 0.2.0 or 0.2.0rc1")
    return repository, f"v{version}"


def setup_cell(repository: str, tag: str) -> str:
    """Return the source of the set-up cell."""
    return CELL.format(repository=repository, tag=tag, extras=", ".join(f'"{extra}"' for extra in EXTRAS))


def with_setup(notebook: str, repository: str, tag: str) -> str:
    """Return the text of a notebook with the set-up cell below its title (in its old place, if it has one) and a GPU asked
    for. All else stays as it was; applying it twice changes nothing more."""
    content = json.loads(notebook)
    cells = content["cells"]
    found = [number for number, cell in enumerate(cells) if TAG in cell["metadata"].get("tags", ())]
    if len(found) > 1:
        raise ValueError(f"{len(found)} cells are tagged {TAG}; delete all but one")
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": TAG,
        "metadata": {"cellView": "form", "tags": [TAG]},
        "outputs": [],
        # a list of lines, as Jupyter and ruff save it
        "source": setup_cell(repository, tag).splitlines(keepends=True),
    }
    if found:
        cells[found[0]] = cell
    else:
        titles = [number for number, cell in enumerate(cells) if cell["cell_type"] == "markdown"]
        cells.insert(titles[0] + 1 if titles else 0, cell)
    content["metadata"]["accelerator"] = "GPU"
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def outdated(root: Path = ROOT) -> dict[Path, str]:
    """Return the notebooks below ``root`` whose cell is not the one to write, with what they should hold."""
    wanted = {}
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            text = path.read_text(encoding="utf-8")
            try:
                wanted[path] = with_setup(text, *release(root))
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path.relative_to(root)}: {error}") from None
            if wanted[path] == text:
                del wanted[path]
    return wanted


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write what is outdated, or with ``--check`` only name it; the exit status says whether all agreed (0)."""
    parser = argparse.ArgumentParser(prog="python -m tools.colab", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if anything would change")
    check = parser.parse_args(arguments).check
    changes = outdated(root)
    for path, text in changes.items():
        print(("outdated: " if check else "wrote ") + path.relative_to(root).as_posix())
        if not check:
            path.write_text(text, encoding="utf-8")
    if not changes:
        print("all notebooks install", *release(root))
    return int(check and bool(changes))


if __name__ == "__main__":
    sys.exit(main())
