"""How often the verdict's intervals hold, simulated where the truth is known (``benchmarks/intervals.py``)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FILE = Path(__file__).parent / "coverage.csv"


def coverage() -> pd.DataFrame:
    """Return the committed table: one row per case with ``interval``, ``setting``, ``coverage`` and ``draws``, and the seed and
    versions that it was made with.

    Example:
        >>> list(coverage().columns[:4])
        ['interval', 'setting', 'coverage', 'draws']
    """
    return pd.read_csv(FILE)
