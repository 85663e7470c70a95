"""The set-up cell that every notebook carries for Colab, and the release that it installs.

```sh
python -m lotterylib.publish.colab                                   # write the cell into every notebook
python -m lotterylib.publish.colab --tag v0.2.0                      # another release, everywhere
python -m lotterylib.publish.colab --repository https://github.com/me/my-book
```

Repository address and release tag stand in ``release.yaml`` beside this file; all that repeats them
(``_config.yml``, ``CITATION.cff``, ``pyproject.toml``, ``README.md``, issue templates, the cell) is rewritten from it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import LotteryError
from ..files import write_whole
from .errors import PublishError

RELEASE = Path(__file__).with_name("release.yaml")
TAG = "colab-setup"
EXTRAS = ("torch-pruning>=1.6,<2",)  # what notebooks import and Colab lacks; never torch, numpy or ipywidgets
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
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
# Files that repeat the address or the version, and how: each pattern must match, and its group is what is replaced.
REPEATED = {
    "_config.yml": {"repository": r"^  url: (\S+)$"},
    "CITATION.cff": {"repository": r"^repository-code: (\S+)$", "version": r"^version: (\S+)$"},
    "pyproject.toml": {"repository": r'^Repository = "(\S+)"$', "version": r'^version = "(\S+)"$'},
    "README.md": {"repository": r"^git clone (\S+?)(?:\.git)? lottery-ticket-book$"},
    ".github/ISSUE_TEMPLATE/config.yml": {"repository": r"url: (https://github\.com/[^/\s]+/[^/\s]+)/"},
    "lotterylib/publish/release.yaml": {"repository": r"^repository: (\S+)$", "tag": r"^tag: (\S+)$"},
}


@dataclass(frozen=True)
class Release:
    """``repository``: address on GitHub, without a slash at the end; ``tag``: of the release, ``v`` and the version."""

    repository: str
    tag: str

    def __post_init__(self):
        if not ADDRESS.fullmatch(self.repository) or self.repository.endswith(".git"):
            raise PublishError(f"repository {self.repository!r}: use https://github.com/OWNER/NAME")
        if not re.fullmatch(r"v\d+\.\d+\.\d+([ab]\d+|rc\d+)?", self.tag):
            raise PublishError(f"tag {self.tag!r}: use v and the package's version, like v0.2.0 or v0.2.0rc1")

    @property
    def version(self) -> str:
        return self.tag.removeprefix("v")

    @classmethod
    def read(cls) -> Release:
        """What ``release.yaml`` says."""
        import yaml

        return cls(**yaml.safe_load(RELEASE.read_text(encoding="utf-8")))


def setup_cell(release: Release) -> str:
    """Source of the set-up cell."""
    extras = ", ".join(f'"{extra}"' for extra in EXTRAS)
    return CELL.format(repository=release.repository, tag=release.tag, extras=extras)


def with_setup(notebook: str, release: Release) -> str:
    """The text of a notebook with the set-up cell below its title (in its old place, if it has one) and a GPU asked
    for. All else stays as it was; applying it twice changes nothing more. Raises ``PublishError``."""
    content = json.loads(notebook)
    cells = content["cells"]
    found = [number for number, cell in enumerate(cells) if TAG in cell["metadata"].get("tags", ())]
    if len(found) > 1:
        raise PublishError(f"{len(found)} cells are tagged {TAG}; delete all but one")
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": TAG,
        "metadata": {"cellView": "form", "tags": [TAG]},
        "outputs": [],
        "source": setup_cell(release).splitlines(keepends=True),  # as Jupyter and ruff save it
    }
    if found:
        cells[found[0]] = cell
    else:
        titles = [number for number, cell in enumerate(cells) if cell["cell_type"] == "markdown"]
        cells.insert(titles[0] + 1 if titles else 0, cell)
    content["metadata"]["accelerator"] = "GPU"
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def rewrite(text: str, patterns: dict[str, str], release: Release, where: str) -> str:
    """``text`` with the groups of ``patterns`` replaced by what ``release`` says. Raises ``PublishError`` where a
    pattern matches nothing: then the file has changed its form, and this module must follow."""
    for field, pattern in patterns.items():
        value = getattr(release, field)

        def put(match: re.Match, value: str = value) -> str:
            start, end = (place - match.start() for place in match.span(1))
            return match[0][:start] + value + match[0][end:]

        text, count = re.subn(pattern, put, text, flags=re.MULTILINE)
        if not count:
            raise PublishError(f"{where}: no line like {pattern!r}, which should hold the {field}")
    return text


def outdated(root: Path, release: Release) -> dict[Path, str]:
    """The files below ``root`` that do not agree with ``release``, with what they should hold."""
    wanted = {}
    for name, patterns in REPEATED.items():
        text = (root / name).read_text(encoding="utf-8")
        wanted[root / name] = rewrite(text, patterns, release, name)
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        try:
            wanted[path] = with_setup(path.read_text(encoding="utf-8"), release)
        except (ValueError, KeyError) as error:
            raise PublishError(f"{path.relative_to(root)}: not a notebook: {error!r}") from None
        except PublishError as error:
            raise PublishError(f"{path.relative_to(root)}: {error}") from None
    return {path: text for path, text in wanted.items() if path.read_text(encoding="utf-8") != text}


def main(arguments: list[str] | None = None) -> int:
    """Writes what is outdated, or with ``--check`` only names it; the exit status says whether all agreed (0)."""
    parser = argparse.ArgumentParser(
        prog="python -m lotterylib.publish.colab",
        description="Put the Colab set-up cell into every notebook.",
    )
    parser.add_argument("--repository", help="new address of the repository, https://github.com/OWNER/NAME")
    parser.add_argument("--tag", help="new release tag, like v0.2.0")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if anything would change")
    options = parser.parse_args(arguments)
    from .book import find_root

    try:
        root, now = find_root(), Release.read()
        release = Release(options.repository or now.repository, options.tag or now.tag)
        changes = outdated(root, release)
    except LotteryError as error:
        print(f"colab: {error}", file=sys.stderr)
        return 2
    for path, text in changes.items():
        print(("outdated: " if options.check else "wrote ") + path.relative_to(root).as_posix())
        if not options.check:
            write_whole(path, text.encode())
    if not changes:
        print(f"all agree on {release.repository} {release.tag}")
    return int(options.check and bool(changes))


if __name__ == "__main__":
    sys.exit(main())
