"""Records → one tidy table: a row a metric of a ticket."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .errors import DataError
from .verdict.regions import region

COLUMNS = [
    "dataset", "model", "pruner", "sparsity", "seed", "metric", "value", "error", "samples",
    "difference", "difference_error", "chance", "revision",
]  # fmt: skip


def tidy(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a (dataset, model, pruner, sparsity, seed, metric) with ``value``, its standard ``error`` over samples
    and the number of ``samples``, and its ``difference`` to the dense network of the same seed, with the error that pairs
    of images leave (both NaN for dense). A record's variants are rows of their own, ``metric:variant``. ``sparsity`` is the one
    asked for, in [0, 1]; dense rows have 0.

    Raises ``DataError`` when there is none, since an empty figure looks like a result.
    """
    rows = []
    for record in records:
        if "metric" in record:
            about = {c: record.get(c) for c in COLUMNS}
            rows.append(about | _apart(record))
            for variant, measured in record.get("variants", {}).items():
                name = f"{record['metric']}:{variant}"
                rows.append(about | measured | _apart(measured) | {"metric": name})
    if not rows:
        raise DataError("no records: run `lottery run` first, or name a profile that has some (e.g. laptop)")
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["value", "error", "difference", "difference_error"]
    table[numbers] = table[numbers].astype(float)
    return table.sort_values(["dataset", "model", "metric", "pruner", "sparsity", "seed"], ignore_index=True)


def _apart(measured: Mapping[str, Any]) -> dict[str, Any]:
    apart = measured.get("difference") or {}
    return {"difference": apart.get("value"), "difference_error": apart.get("error")}


def differences(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Ticket − dense of the same seed, over seeds: a row a (dataset, model, pruner, sparsity, metric) with the mean
    ``difference``, its interval ``low`` to ``high``, the number of ``seeds``, and the mean ``dense`` value.

        v₁ = s²/S between S seeds,   v₂ = mean over seeds of the squared paired error over images
        d̄ ± t(ν) · √(v₁ + v₂),   ν = (v₁ + v₂)² · (S − 1) / v₁²    (Welch–Satterthwaite)

    All seeds see the same images, so v₂ does not shrink with S. Part of it shows up between seeds as well: the interval
    is on the safe side. One seed leaves the images alone (v₁ = 0); one seed without an error leaves no interval (NaN), as
    does a value that is NaN. Rows without a difference (dense itself, old records) are left out.
    """
    from scipy.stats import t as student

    keys = ["dataset", "model", "metric"]
    dense = table[table.pruner == "dense"].groupby(keys).value.mean().rename("dense").reset_index()
    tickets = table[table.difference.notna() | (table.value.isna() & (table.pruner != "dense"))]
    if tickets.empty:
        raise DataError(
            "no record says how far a ticket lies from its dense network: measure with this version"
        )
    rows = []
    for key, group in tickets.groupby([*keys, "pruner", "sparsity"]):
        apart, count = group.difference, len(group)
        between = apart.var() / count if count > 1 else 0.0
        images = (group.difference_error**2).mean()  # of the seeds that have one
        if math.isnan(images):
            images = 0.0 if count > 1 else math.nan
        spread = between + images
        freedom = spread**2 * (count - 1) / between**2 if between > 0 else math.inf
        half = student.ppf((1 + confidence) / 2, freedom) * math.sqrt(spread)
        mean = apart.mean(skipna=False)  # one broken network of three is no mean of two
        rows.append((*key, mean, mean - half, mean + half, count))
    columns = [*keys, "pruner", "sparsity", "difference", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=columns).merge(dense, on=keys, how="left")


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
    interval: (mean, low, high, seeds). Seeds are paired: both start from the same initial weights. One seed says nothing
    about others, so its interval goes from −∞ to ∞.

    Raises ``DataError`` if there is no common seed.
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
    if gap.empty:
        raise DataError(f"{first.name} and {second.name} have no seed in common")
    if len(gap) == 1:
        return gap.mean(), -math.inf, math.inf, 1
    half = student.ppf((1 + confidence) / 2, len(gap) - 1) * gap.std() / math.sqrt(len(gap))
    return gap.mean(), gap.mean() - half, gap.mean() + half, len(gap)
