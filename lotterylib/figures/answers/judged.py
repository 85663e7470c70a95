"""Judged tickets as answers look at them: by study, method, metric and sparsity."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ... import metrics
from ...errors import DataError
from ...results import setting_name
from ...text import percent
from ...verdict import limits, passes
from ..drawing import by_setting
from ..style import in_order
from .wording import listing, reach

DIMENSIONS = ("generalization", "calibration", "interpretability", "geometry")
SIGNS = {"pass": "●", "undecided": "?", "fail": "×"}
# The methods that answers name, where the study has them.
_LEAD = "lottery"
# and the one that they are held against
RIVAL = "random"
_FALLBACK = 0.8


def judge_study(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``verdict.passes`` of all metrics, one row per ticket and metric, sparsity rising.

    Example:
        >>> from lotterylib.results import example
        >>> len(judge_study(example()))
        6
    """
    return passes(table).sort_values(by=["pruner", "metric", "sparsity"], ignore_index=True)


def headline(judged: pd.DataFrame, pruner: str) -> tuple[float, bool]:
    """Return the highest sparsity at which a pruner certainly keeps its test accuracy, there and at every lower one, and True;
    or, where there is none, a middle one and False.

    Example:
        >>> from lotterylib.results import example
        >>> headline(judge_study(example()), "lottery")
        (0.5, True)
    """
    chosen = judged.loc[judged.pruner == pruner]
    ends = limits(chosen)
    kept = float(ends["accuracy"].iloc[0]) if "accuracy" in ends else math.nan
    if not math.isnan(kept):
        return kept, True
    levels: list[float] = [float(str(s)) for s in chosen.sparsity.unique()]
    return min(levels, key=lambda s: abs(s - _FALLBACK)), False


def longest(judged: pd.DataFrame, metric: str) -> tuple[float, list[str]] | None:
    """Return the highest sparsity up to which a pruner certainly keeps a metric, and those that do; None where nobody keeps it.

    Example:
        >>> from lotterylib.results import example
        >>> longest(judge_study(example()), "accuracy")
        (0.5, ['lottery'])
    """
    ends = limits(judged.loc[judged.metric == metric])[metric].dropna()
    if ends.empty:
        return None
    best = float(ends.max())
    return best, in_order(str(p) for p in ends.index.get_level_values("pruner")[ends == best])


def by_study(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split judged tickets by data set and network, with what to put before a sentence where there are several."""
    try:
        judged = judge_study(table)
    except DataError:
        return []
    found = by_setting(judged)
    return [(f"{setting_name(m, d)}: " if len(found) > 1 else "", rows) for d, m, rows in found]


def leader(judged: pd.DataFrame, metric: str | None = None) -> str:
    """Return the method that an answer is about; a study under way may have a metric of others alone."""
    there = in_order(judged["pruner"] if metric is None else judged.pruner[judged.metric == metric])
    return _LEAD if _LEAD in there else there[0]


def with_rival(judged: pd.DataFrame, lead: str) -> list[str]:
    """Return a method and, where the study has it, random pruning."""
    return [lead, *([RIVAL] if RIVAL in set(judged.pruner) - {lead} else [])]


def rows_of(judged: pd.DataFrame, pruner: str, metric: str) -> pd.DataFrame:
    """Return the rows of one pruner and metric, sparsity rising."""
    rows = judged.loc[(judged.pruner == pruner) & (judged.metric == metric)]
    return rows.sort_values(by="sparsity")


def row_at(judged: pd.DataFrame, pruner: str, metric: str, level: float) -> Any:
    """Return the row of one pruner and metric at a sparsity, or at the nearest where the metric lacks it."""
    rows = rows_of(judged, pruner, metric)
    return rows.iloc[int((rows.sparsity - level).abs().argmin())]


def reach_of(rows: pd.DataFrame, most: float) -> str:
    """Say how far the verdicts of one pruner reach, and where others are measured farther, up to ``most``."""
    said, last = reach(list(rows.sparsity), list(rows.verdict)), rows.sparsity.max()
    return (
        f"{said} measured, up to {percent(last)}" if said.endswith("every sparsity") and last < most else said
    )


def first_losses(rows: pd.DataFrame) -> str:
    """Return the metrics that are lost at the lowest sparsity at which any is; nothing where none is lost."""
    lost = rows.loc[rows.verdict == "fail"]
    first = lost.loc[lost.sparsity == lost.sparsity.min()].metric
    return listing(metrics.describe(m).short for m in first) if len(first) else ""
