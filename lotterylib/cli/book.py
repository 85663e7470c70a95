"""``lottery book``: from a profile to its site."""

from __future__ import annotations

import argparse
import os
import sys

from ..machine.terminal import show
from ..publish.book import make_book, print_book
from ..publish.pdf import find_browser
from ..study import Store, load_profile
from ..study.lookup import missing
from .study import compute


def book(options: argparse.Namespace) -> int:
    """Compute what is missing, then build the site; cells that would diverge again do not hold it up."""
    profile, store = load_profile(options.profile), Store(options.store)
    if options.pdf:
        # better said now than after an hour
        find_browser()
    todo = missing(profile, store, reference=True)
    if todo:
        show(f"{profile.name}: {len(todo)} cells lack records; computing them", sys.stderr)
        summary = compute(profile, todo, store, options, shipped=True)
        if set(summary.failures) - summary.final:
            return 1
        if summary.final:
            show(f"{profile.name}: the book goes on without the failed cells", sys.stderr)
    workers = options.workers or os.cpu_count() or 1
    index = make_book(profile, options.profile, store, options.out, workers, progress=not options.quiet)
    show(f"the book: open {index.resolve().as_uri()}")
    if options.pdf:
        show(f"as one PDF: {print_book(index).as_uri()}")
    return 0
