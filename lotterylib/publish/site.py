"""Build the site with Jupyter Book 1, strictly: one warning, and the last good site stays where it is."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from .environment import environment
from .errors import SiteError

BUILDERS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme")
PROGRAM = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
HASH = ".stage-sha256"
FAULT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^(?!RuntimeError:\s*$)[\w.]*(Error|Exception): |\w error: ")
# that a build may take; the whole book takes some fifty
SECONDS = 3600
# bytes of a page and its images
HEAVY = 2_000_000
IMAGE = re.compile(r'<img[^>]*\ssrc="([^":]+)"')
# faults that the error quotes; the log has them all
SHOWN = 20


def build_site(stage: Path, site: Path) -> Path:
    """Build the book in ``stage``; return ``site/index.html``, new or, if nothing changed, as it was.

    The full log is ``<site>.log``.

    Raises:
        SiteError: with the warnings of the build, or if ``site`` holds something else.
    """
    stage, site = Path(stage).resolve(), Path(site).resolve()
    check_jupyter_book()
    digest = hash_tree(stage, *map(metadata.version, BUILDERS))
    index, stamp = site / "index.html", site / HASH
    if index.is_file() and stamp.is_file() and stamp.read_text() == digest:
        return index
    if site.exists() and not stamp.is_file() and any(site.iterdir()):
        raise SiteError(f"{site} exists and is not a site of this book: move it away, or give another folder")
    site.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".site-", dir=site.parent) as work:
        html = run_jupyter_book(stage, Path(work), site.with_name(f"{site.name}.log"))
        (html / HASH).write_text(digest)
        _swap(html, site, Path(work) / "old")
    return index


def heavy_pages(site: Path, most: int = HEAVY) -> dict[str, int]:
    """Return the pages of a site that weigh more than ``most`` bytes with their images, without theme and MathJax, heaviest first."""
    found = {}
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        images = {(page.parent / name).resolve() for name in IMAGE.findall(text)}
        weight = page.stat().st_size + sum(image.stat().st_size for image in images if image.is_file())
        if weight > most and "_static" not in page.parts:
            found[page.relative_to(site).as_posix()] = weight
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def check_jupyter_book() -> None:
    """Raise ``SiteError`` if the installed Jupyter Book cannot build this book."""
    wanted = 'pip install "jupyter-book>=1.0.4.post1,<2"'
    try:
        version = metadata.version("jupyter-book")
    except metadata.PackageNotFoundError:
        raise SiteError(f"jupyter-book is not installed: {wanted}") from None
    # version 2 is another program: it writes no site and exits with 0
    if version.split(".")[0] != "1":
        raise SiteError(f"jupyter-book {version} cannot build this book, which needs version 1: {wanted}")


def hash_tree(folder: Path, *more: str) -> str:
    """Return one sha256 over the paths and contents of all files below ``folder``, and the texts in ``more``."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\0{path.relative_to(folder).as_posix()}\0{content}".encode())
    return digest.hexdigest()


def run_jupyter_book(stage: Path, work: Path, log: Path, builder: str = "html") -> Path:
    """Build below ``work`` from scratch (an incremental strict build forgets old warnings); return the folder of pages.

    ``builder`` is ``html`` or ``singlehtml``; ``log`` gets all that was said.

    Raises:
        SiteError: with the warnings.
    """
    options = ["-W", "-n", "--keep-going", "--path-output", str(work), "--builder", builder]
    command = [sys.executable, "-c", PROGRAM, "build", str(stage), *options]
    # the staged extension's folder stays as it was
    settings = environment(PYTHONDONTWRITEBYTECODE="1")
    try:
        result = subprocess.run(
            command, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SiteError(f"Jupyter Book did not build the site within {SECONDS} s") from None
    output = re.sub(r"\x1b\[[\d;]*m", "", result.stdout + result.stderr)
    log.write_text(output, encoding="utf-8")
    html = work / "_build" / builder
    if result.returncode == 0 and (html / "index.html").is_file():
        return html
    lines = output.replace(f"{stage}/", "").replace(" error:\n", " error: ").splitlines()
    faults = list(dict.fromkeys(line.strip() for line in lines if FAULT.search(line))) or lines[-SHOWN:]
    more = f"\n… and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    raise SiteError(f"Jupyter Book found faults (log: {log}):\n" + "\n".join(faults[:SHOWN]) + more)


def _swap(new: Path, site: Path, old: Path) -> None:
    """Put ``new`` at ``site``; if that fails, what was there comes back."""
    if site.exists():
        site.rename(old)
    try:
        new.rename(site)
    except OSError:
        if old.exists():
            old.rename(site)
        raise
    shutil.rmtree(old, ignore_errors=True)
