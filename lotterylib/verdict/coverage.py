"""How often 95% intervals hold, the verdict's and the metrics' own, simulated where the truth is known (``benchmarks/intervals.py``)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .intervals import proportion

PROMISED = 0.95
FILE = Path(__file__).parent / "coverage.csv"


def coverage() -> pd.DataFrame:
    """Return the committed table: one row per case with ``part`` (verdict, bias or metrics), ``interval``, ``setting``, ``coverage`` and
    ``draws``, and the seed and versions that it was made with.

    Example:
        >>> list(coverage().columns[:5])
        ['part', 'interval', 'setting', 'coverage', 'draws']
    """
    return pd.read_csv(FILE)


def too_narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cases of ``coverage`` in which intervals certainly hold too rarely: the interval of their share lies below
    what is promised, at 5% for all cases together (after Bonferroni).

    Example:
        >>> too_narrow(coverage()).interval.tolist()
        ['Changed answers (churn)']
    """
    # tickets of one study are right or wrong together
    at_once = table.setting.str.extract(r"(\d+) tickets")[0].fillna(1).astype(int)
    confidence = 1 - 0.05 / len(table)
    highest = [
        proportion(round(share * (draws // size)), draws // size, confidence).high
        for share, draws, size in zip(table.coverage, table.draws, at_once, strict=True)
    ]
    return table[[high < PROMISED for high in highest]]
