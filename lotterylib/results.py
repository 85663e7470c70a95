"""Records → one tidy table: a row a metric of a ticket."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .errors import DataError
from .verdict import region

COLUMNS = [
    "dataset", "model", "pruner", "sparsity", "seed", "metric", "value", "error", "samples", "chance", "revision",
]  # fmt: skip


def tidy(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a (dataset, model, pruner, sparsity, seed, metric) with ``value``, its standard ``error`` over samples
    and the number of ``samples``. A record's variants are rows of their own, ``metric:variant``. ``sparsity`` is the one
    asked for, in [0, 1]; dense rows have 0.

    Raises ``DataError`` when there is none, since an empty figure looks like a result.
    """
    rows = []
    for record in records:
        if "metric" in record:
            rows.append({c: record.get(c) for c in COLUMNS})
            for variant, measured in record.get("variants", {}).items():
                rows.append(rows[-1] | measured | {"metric": f"{record['metric']}:{variant}"})
    if not rows:
        raise DataError("no records: run `lottery run` first, or name a profile that has some (e.g. laptop)")
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["dataset", "model", "metric", "pruner", "sparsity", "seed"], ignore_index=True)


def over_seeds(table: pd.DataFrame, metric: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds of one metric, a row a (dataset, model, pruner, sparsity), with ``low`` and ``high``: Student's t
    interval of the mean over seeds (NaN with one seed), the ``seeds`` behind it, and the accuracy ``region``."""
    from scipy.stats import t as student

    keys = ["dataset", "model", "pruner", "sparsity"]
    chosen = table[table.metric == metric]
    if chosen.empty:
        raise DataError(
            f"no records of metric {metric!r}; there are: {', '.join(sorted(table.metric.unique()))}"
        )
    mean = chosen.groupby(keys).value.agg(["mean", "std", "count"]).reset_index()
    half = student.ppf((1 + confidence) / 2, mean["count"] - 1) * mean["std"] / mean["count"] ** 0.5
    mean["low"], mean["high"] = mean["mean"] - half, mean["mean"] + half
    mean = mean.rename(columns={"mean": "value", "count": "seeds"}).drop(columns="std")
    return mean.merge(regions(table), on=keys, how="left")


def regions(table: pd.DataFrame) -> pd.DataFrame:
    """Region of each (dataset, model, pruner, sparsity) by its mean test accuracy over seeds."""
    keys = ["dataset", "model", "pruner", "sparsity"]
    mean = (
        table[table.metric == "accuracy"]
        .groupby(keys)
        .agg(value=("value", "mean"), chance=("chance", "first"))
    )
    rows = []
    for (dataset, model, pruner, sparsity), ticket in mean.iterrows():
        dense = mean.value.get((dataset, model, "dense", 0.0), math.nan)
        if math.isnan(dense):
            raise DataError(f"no accuracy of the dense {model} on {dataset}, which regions are relative to")
        rows.append((dataset, model, pruner, sparsity, region(ticket.value, dense, ticket.chance)))
    return pd.DataFrame(rows, columns=[*keys, "region"])


def paired_gap(
    table: pd.DataFrame, metric: str, pruner: str, other: str, sparsity: float, confidence: float = 0.95
) -> tuple[float, float, float, int]:
    """Mean difference ``pruner`` − ``other`` at one sparsity over the seeds that both have, with its Student's t
    interval: (mean, low, high, seeds). Seeds are paired: both start from the same initial weights.

    Raises ``DataError`` with fewer than two common seeds, since one difference has no interval.
    """
    return _paired(
        _by_seed(table, metric, pruner, sparsity), _by_seed(table, metric, other, sparsity), confidence
    )


def paired_change(
    before: pd.DataFrame,
    after: pd.DataFrame,
    metric: str,
    pruner: str,
    sparsity: float,
    confidence: float = 0.95,
) -> tuple[float, float, float, int]:
    """How one network changes from one study to another (say, trained for longer): mean ``after`` − ``before`` over
    common seeds, as ``paired_gap`` gives it."""
    return _paired(
        _by_seed(after, metric, pruner, sparsity), _by_seed(before, metric, pruner, sparsity), confidence
    )


def _by_seed(table: pd.DataFrame, metric: str, pruner: str, sparsity: float) -> pd.Series:
    at = (table.metric == metric) & (table.pruner == pruner) & ((table.sparsity - sparsity).abs() < 1e-6)
    series = table[at].set_index(["dataset", "model", "seed"]).value
    return series.rename(f"{metric} of {pruner} at sparsity {sparsity:.3f}")


def _paired(first: pd.Series, second: pd.Series, confidence: float) -> tuple[float, float, float, int]:
    from scipy.stats import t as student

    gap = (first - second).dropna()
    if len(gap) < 2:
        raise DataError(f"{first.name} and {second.name} need two common seeds or more, there are {len(gap)}")
    half = student.ppf((1 + confidence) / 2, len(gap) - 1) * gap.std() / math.sqrt(len(gap))
    return gap.mean(), gap.mean() - half, gap.mean() + half, len(gap)
