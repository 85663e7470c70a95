"""The whole book as one PDF: Jupyter Book's single page, printed by a Chromium without a window."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from .errors import SiteError
from .site import run_jupyter_book
from .toc import root_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# that printing may take; the whole book takes some fifteen
SECONDS = 600


def find_browser() -> str:
    """Return the path of a Chromium or Chrome, or raise ``SiteError``."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SiteError("a PDF is printed by Chromium or Chrome, and none is on the PATH: install one")
    return found


def build_pdf(stage: Path, pdf: Path) -> Path:
    """Print the book in ``stage`` to ``pdf``, all solutions shown; return it. The log of the build is ``<pdf>.log``.

    Raises:
        SiteError: with the warnings of the build, or if there is no browser or it fails; an older PDF stays.
    """
    stage, pdf, browser = Path(stage).resolve(), Path(pdf).resolve(), find_browser()
    pdf.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pdf-", dir=pdf.parent) as work:
        folder = run_jupyter_book(stage, Path(work), pdf.with_name(f"{pdf.name}.log"), "singlehtml")
        page = Path(work) / "book.pdf"
        _print(browser, single_page(folder, root_page(stage)), page)
        page.replace(pdf)
    return pdf


def single_page(folder: Path, root: str) -> Path:
    """Put the page where its addresses start from, and open what a reader would click open; return it.

    Sphinx writes it below the folder of ``root``, with addresses as seen from ``folder``, and lets some of its links lead
    to that file.
    """
    html = (folder / f"{root}.html").read_text(encoding="utf-8")
    page = folder / "whole-book.html"
    html = re.sub(r"<details(?=[\s>])", "<details open", html)
    html = html.replace(f'href="{root}.html#', 'href="#')
    # there is none for a single page
    html = html.replace('<script src="searchindex.js"></script>', "")
    page.write_text(html, encoding="utf-8")
    return page


def _print(browser: str, page: Path, pdf: Path) -> None:
    with TemporaryDirectory(prefix="browser-") as home:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            f"--user-data-dir={home}",
            "--no-pdf-header-footer",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # its sandbox does not start for root; the page is our own
            command.append("--no-sandbox")
        command += [f"--print-to-pdf={pdf}", "--virtual-time-budget=60000", page.as_uri()]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise SiteError(f"{browser} did not print the book within {SECONDS} s") from None
    if done.returncode or not pdf.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise SiteError(f"{browser} did not print the book: {said[-1]}")
