"""Write into the README how much of the library the tests run: ``make cover`` calls it with coverage's JSON report."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
MARKED = re.compile(r"(<!-- coverage -->).*?(<!-- /coverage -->)", re.DOTALL)


def sentence(report: dict) -> str:
    """Return the line for the README, from a report of ``coverage json``."""
    totals = report["totals"]
    return f"The tests run {totals['percent_covered']:.0f}% of the library's {totals['num_statements']:,} statements."


def with_sentence(text: str, line: str) -> str:
    """Return a text with ``line`` between its markers."""
    new, count = MARKED.subn(rf"\g<1>{line}\g<2>", text)
    if count != 1:
        raise ValueError(
            f"{count} places between <!-- coverage --> and <!-- /coverage -->; there must be one"
        )
    return new


if __name__ == "__main__":
    line = sentence(json.loads(Path(sys.argv[1]).read_text()))
    README.write_text(with_sentence(README.read_text(encoding="utf-8"), line), encoding="utf-8")
    print(line)
