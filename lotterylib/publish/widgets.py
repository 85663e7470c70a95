"""The scripts (and their fonts) that keep widgets alive on a page without a kernel, fetched from npm when the book is built.

``widgets.json`` locks the version and checksum of each package and says which of its files go where; what does not match
is refused. Fetched once, the packages lie in the user's cache, and later builds need no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..files import write_whole
from .errors import WidgetError

LOCK = Path(__file__).with_name("widgets.json")
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
STILL = "*The slider that belongs here needs a script that was not there when this page was built; the figure beside it shows the same.*"


def has_widgets(notebook) -> bool:
    """Return whether an executed notebook shows a widget."""
    return bool(notebook.metadata.get("widgets", {}).get(STATE, {}).get("state"))


def make_still(notebook) -> None:
    """Replace each widget of an executed notebook by a sentence, in place."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if VIEW in output.get("data", {}):
                output["data"] = {"text/markdown": STILL, "text/plain": STILL.strip("*")}


def add_scripts(notebooks: list, folder: Path) -> None:
    """Put the scripts into ``folder`` if any of the executed ``notebooks`` needs them. Where they cannot be had, one
    line on stderr says why, and the notebooks are made still instead: a book without a slider beats no book."""
    live = [notebook for notebook in notebooks if has_widgets(notebook)]
    if not live:
        return
    try:
        files = {
            name: content for entry in json.loads(LOCK.read_text()) for name, content in fetch(entry).items()
        }
    except WidgetError as error:
        print(f"warning: {error}; sliders are left out of {len(live)} page(s)", file=sys.stderr)
        for notebook in live:
            make_still(notebook)
        return
    for name, content in files.items():
        write_whole(folder / name, content)


def fetch(entry: dict[str, Any], cache: Path | None = None) -> dict[str, bytes]:
    """Return the files of one entry of the lock, from the cache or from npm: where each goes → content.

    Raises:
        WidgetError: no npm, no network, or a package that is not the one that the lock names.
    """
    package = f"{entry['package']}@{entry['version']}"
    cached = (cache or default_cache()) / f"{package.replace('/', '-')}.tgz"
    if not (cached.is_file() and integrity(cached.read_bytes()) == entry["integrity"]):
        packed = pack(package)
        if integrity(packed) != entry["integrity"]:
            raise WidgetError(f"{package} from npm is not what {LOCK.name} has the checksum of: refused")
        write_whole(cached, packed)
    with tarfile.open(cached) as archive:
        files = {name: archive.extractfile(member) for name, member in entry["files"].items()}
        return {name: file.read() for name, file in files.items() if file}


def default_cache() -> Path:
    """Return the folder of what was fetched once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lotterylib"


def integrity(content: bytes) -> str:
    """Return the checksum in npm's form."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def pack(package: str) -> bytes:
    """Return the archive of a package, as ``npm pack`` downloads it."""
    npm = shutil.which("npm")
    if npm is None:
        raise WidgetError(
            "live sliders need npm (part of Node.js) once, to fetch two scripts; it is not installed"
        )
    with TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, package]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            raise WidgetError(f"npm did not fetch {package} within two minutes") from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WidgetError(f"npm could not fetch {package} ({reason})")
        return archives[0].read_bytes()
