"""All that a notebook can read beside its own text: where none of it has changed, the page need not be made again.

Code counts by what it does, so a comment or a docstring changes nothing; and only the modules that the notebook imports,
directly or through others, count at all.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import lotterylib

from ..datasets.base import data_root
from ..files import names, sha256
from ..machine.revision import versions
from ..study import Profile, Store, controls, expand, load_profile, profile_names, records

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.name
DRAWN_BY = ("matplotlib", "pandas", "scipy", "seaborn")


class Reads:
    """All that notebooks under one profile can read; called with a notebook, return a hash of it.

    Args:
        profile: The profile that they get as their parameter.
        store: The store that they get.
    """

    def __init__(self, profile: Profile, store: Store):
        self.profile, self.store = profile, store
        self._studies: dict[str, Any] = {}

    def __call__(self, notebook: Path) -> str:
        code = notebook_code(notebook)
        constants = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant)}
        studies = [
            self.profile.longer,
            self.profile.beside,
            load_profile(self.profile.beside).longer if self.profile.beside else None,
            *(name for name in profile_names() if name in constants),
        ]
        found = [
            self._common,
            self._study(self.profile),
            *(self._study(load_profile(name)) for name in studies if name),
            {name: _module(name).meaning for name in imported(code)},
        ]
        return sha256(json.dumps(found, sort_keys=True).encode())

    @cached_property
    def _common(self) -> Any:
        """Versions, and the package's files that are no code; its reference runs count with their studies."""
        files = (p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc"))
        kept = sorted(path for path in files if PACKAGE / "reference" not in path.parents)
        contents = {path.relative_to(PACKAGE).as_posix(): sha256(path.read_bytes()) for path in kept}
        return versions(), {name: metadata.version(name) for name in DRAWN_BY}, contents

    def _study(self, profile: Profile) -> Any:
        """A profile with its records, its tickets and the folder of its data."""
        if profile.name not in self._studies:
            manifest = PACKAGE / "reference" / profile.name / "manifest.json"
            tickets = (self.store.ticket_path(cell) for cell in expand(profile))
            given, builder = profile.dataset.root, profile.dataset.builder
            root = data_root(given) if given or builder.source() else None
            # an empty store leaves the reference run, for which its manifest stands
            read = (records, controls) if names(self.store.root) else ()
            rows = [row for each in read for row in each(profile, self.store)]
            data = [*root.glob("*"), *root.glob("*/*")] if root else []
            self._studies[profile.name] = [
                profile.model_dump_json(),
                _digest(rows),
                sha256(manifest.read_bytes()) if manifest.is_file() else "",
                *(stamp for path in sorted({*tickets, *data}) if (stamp := _stamp(path))),
            ]
        return self._studies[profile.name]


def _digest(rows: Iterable[Any]) -> str:
    """Return a hash of records, one by one: a large study does not fit in memory."""
    total = hashlib.sha256()
    for row in rows:
        total.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return total.hexdigest()


def notebook_code(notebook: Path) -> ast.Module:
    """Return the code cells of a notebook as one tree, without those that are not plain Python."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    whole = ast.Module([], [])
    for cell in cells:
        if cell["cell_type"] == "code":
            try:
                whole.body += ast.parse("".join(cell["source"])).body
            # a magic; running it will tell
            except SyntaxError:
                continue
    return whole


def imported(code: ast.Module) -> set[str]:
    """Return the modules of this package that some code imports, and those that these import in turn."""
    found: set[str] = set()
    left = _imports(code, ())
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            # those of the top level are for type checkers; at run time it imports what is asked for
            left |= _module(module).imports if module != ROOT else set()
    return found


class _Module(NamedTuple):
    """The part of a module that counts: a hash of its code without comments, docstrings and layout, and what it imports."""

    meaning: str
    imports: set[str]


def _module(name: str) -> _Module:
    path = _path(name)
    return _parsed(name, path, path.stat().st_mtime_ns)


@cache
def _parsed(name: str, path: Path, changed: int) -> _Module:
    tree = ast.parse(path.read_bytes())
    parts = tuple(name.split("."))
    imports = _imports(tree, parts if path.name == "__init__.py" else parts[:-1])
    for node in ast.walk(tree):
        scope = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if scope and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return _Module(sha256(ast.dump(tree).encode()), imports)


def _imports(code: ast.Module, package: tuple[str, ...]) -> set[str]:
    """The modules of this package that the code names, and the packages around them."""
    found: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            named = [base, *(f"{base}.{_home(base, alias.name)}" for alias in node.names)]
        else:
            continue
        for name in named:
            parts = name.split(".")
            if parts[0] == ROOT:
                around = (".".join(parts[: n + 1]) for n in range(len(parts)))
                found.update(module for module in around if _path(module).is_file())
    return found


def _home(base: str, name: str) -> str:
    """Where a name lies below its package; those of the top level are imported from elsewhere when first asked for."""
    if base != ROOT or _path(f"{ROOT}.{name}").is_file():
        return name
    return getattr(getattr(lotterylib, name, None), "__module__", name).removeprefix(f"{ROOT}.")


def _path(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _stamp(path: Path) -> tuple[str, int, float] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_size, found.st_mtime
