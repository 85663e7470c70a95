"""The book of one profile: its card, its records' fingerprint, and the call that publishes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..machine.devices import describe_device, pick_device
from ..machine.revision import revision, versions
from ..study import Profile, Store, records
from . import publish
from .errors import PublishError
from .pdf import build_pdf

PACKAGE = Path(__file__).parents[1]


def make_book(
    profile: Profile, name: str, store: Store, out: Path, workers: int, progress: bool = True
) -> Path:
    """Runs every notebook under ``profile`` (``name``: as the user gave it) and builds the site below ``out``; returns
    its ``index.html``. What has not changed since the last call is not done again. Raises ``PublishError``."""
    root = find_root()
    rows = records(profile, store)
    card = {
        "profile": profile.name,
        "seeds": profile.seeds,
        "device": describe_device(pick_device()),
        "revision": revision(),
        "smoke": profile.smoke,
    }
    is_file = Path(name).suffix in (".yaml", ".yml")
    parameters = {
        "profile": str(Path(name).resolve()) if is_file else name,
        "store": str(store.root.resolve()),
    }
    return publish(
        card, root / "notebooks", root, out / profile.name, parameters, fingerprint(rows), workers=workers,
        progress=progress,
    )  # fmt: skip


def print_book(index: Path) -> Path:
    """Prints the book whose site ``make_book`` has built to ``book.pdf`` beside the site's folder; returns that file.
    Raises ``SiteError``."""
    made = index.resolve().parents[1]
    return build_pdf(made / "stage", made / "book.pdf")


def find_root() -> Path:
    """The checkout that holds the book's sources: here or above, else the one that the package lies in."""
    for folder in (Path.cwd(), *Path.cwd().parents, PACKAGE.parent):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise PublishError(
        "no _toc.yml and notebooks/ here: run `lottery book` in a clone of the book's repository"
    )


def fingerprint(rows: list[dict[str, Any]]) -> str:
    """A hash of what a notebook's output depends on beside its own text: the library's code, the records, versions."""
    whole = hashlib.sha256(json.dumps([versions(), rows], sort_keys=True).encode())
    for source in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.glob("profiles/*.yaml")]):
        whole.update(source.read_bytes())
    return whole.hexdigest()
