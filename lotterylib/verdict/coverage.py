"""How often 95% intervals hold, the verdict's and the metrics' own, simulated where the truth is known (``benchmarks/intervals.py``)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FILE = Path(__file__).parent / "coverage.csv"


def coverage() -> pd.DataFrame:
    """Return the committed table: one row per case with ``part`` (verdict, bias or metrics), ``interval``, ``setting``, ``coverage`` and
    ``draws``, and the seed and versions that it was made with.

    Example:
        >>> list(coverage().columns[:5])
        ['part', 'interval', 'setting', 'coverage', 'draws']
    """
    return pd.read_csv(FILE)
