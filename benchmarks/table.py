"""The table that `make bench` writes: a row per comparison, and what it was made on."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lotterylib.files import write_whole
from lotterylib.machine.devices import describe_device, pick_device, processors
from lotterylib.machine.revision import revision, versions

FILE = Path(__file__).with_name("table.md")
# load per processor above which the table says that other work ran
BUSY = 0.25


@dataclass(frozen=True)
class Row:
    """One comparison: what was done, how long it took here and beside it, the ratio of each turn, and what a ratio says."""

    what: str
    here: str
    beside: str
    ratios: Sequence[float]
    says: str = "times as fast"


def span(ratios: Sequence[float], digits: int = 2) -> str:
    """Return the median, and the least and the greatest where there are several.

    >>> span([1, 3, 2], 1), span([0.5])
    ('2.0 (1.0 to 3.0)', '0.50')
    """
    median, least, most = (f"{f(ratios):.{digits}f}" for f in (statistics.median, min, max))
    return f"{median} ({least} to {most})" if len(ratios) > 1 else median


def load() -> float:
    """Return the load average of the last minute; 0 on systems that have none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def about(load: float, threads: str) -> list[str]:
    """Return what the table was made on: a line, and another if ``load``, that of before the start, was not ours alone."""
    packages = versions()
    numbered = ", ".join(f"{name} {packages[name]}" for name in ("python", "torch", "numpy"))
    here = f"{describe_device(pick_device())}, {processors()} processors, PyTorch threads: {threads}"
    lines = [f"{date.today()}, {here}; {numbered}; commit {revision()}."]
    if load > BUSY * processors():
        lines.append(f"Other work ran on the machine: its load average was {load:.1f} at the start.")
    return lines


def write(path: Path, rows: Sequence[Row], about: Sequence[str]) -> None:
    """Write the rows as a Markdown page."""
    body = [[row.what, row.here, row.beside, f"{span(row.ratios)} {row.says}"] for row in rows]
    table = [["what", "here", "beside", "ratio: median (least to most)"], ["---"] * 4, *body]
    lines = ["# What `make bench` gave", *about, "\n".join(f"| {' | '.join(row)} |" for row in table)]
    write_whole(path, ("\n\n".join(lines) + "\n").encode())
