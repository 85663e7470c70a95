"""Controls: dense networks trained anew, judged as if they were tickets.

A test that equal networks do not pass decides nothing, nor does one that worse networks pass. Both can be tried with dense
networks of several seeds alone, and their spread is what a retraining changes: the *retraining band* of each metric. Pure
functions of the tidy table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import DataError
from .intervals import NETWORK, student
from .passes import lth_pass, passes

CONTROL = "control"


@dataclass(frozen=True)
class Band:
    """The spread of retrained dense networks: mean and sd of a metric over ``count`` trainings."""

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Band:
        """Measure the band of two dense networks or more, else raise ``DataError``.

        >>> Band.of([0.0, 1.0, 2.0])
        Band(mean=1.0, sd=1.0, count=3)
        """
        numbers = np.asarray(list(values), float)
        if len(numbers) < 2:
            raise DataError(f"what a retraining changes needs two dense networks or more, got {len(numbers)}")
        return cls(float(numbers.mean()), float(numbers.std(ddof=1)), len(numbers))

    def predict(self, more: int = 1, confidence: float = 0.95) -> tuple[float, float]:
        """Return the prediction interval of the mean of ``more`` further dense trainings.

            mean ± t(K − 1) · sd · √(1/K + 1/more)

        >>> [round(end, 2) for end in Band(mean=1.0, sd=1.0, count=3).predict()]
        [-3.97, 5.97]
        """
        error = self.sd * math.sqrt(1 / self.count + 1 / more)
        half = student(error, self.count - 1, confidence)
        return self.mean - half, self.mean + half


def bands(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Return the retraining band of each metric from the dense networks of a tidy table: one row per (dataset, model, metric)
    with ``mean``, ``sd``, ``count``, and ``low`` to ``high``, where one more dense training lies with this confidence. Metrics
    with fewer than two dense networks are left out."""
    rows = []
    groups: Any = _dense(table).groupby(["dataset", "model", "metric"]).value
    for key, values in groups:
        if values.notna().sum() > 1:
            band = Band.of(values.dropna())
            rows.append((*key, band.mean, band.sd, band.count, *band.predict(1, confidence)))
    columns = ["dataset", "model", "metric", "mean", "sd", "count", "low", "high"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def within_retraining(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Tell whether each ticket lies within what a retraining of the dense network changes; no tolerance is asked for.

    A ticket's mean over its S seeds is held against the prediction interval of the mean of S further dense trainings.

    One row per (dataset, model, pruner, sparsity, metric): ``value``, ``low``, ``high``, ``seeds`` and ``retraining``,
    "within", "better" or "worse" (also where a value is NaN). Metrics without a spread between dense networks (those
    measured relative to dense itself) are left out.
    """
    dense: Any = _dense(table).groupby(["dataset", "model", "metric"]).value
    found = {key: Band.of(values) for key, values in dense if values.notna().all() and len(values) > 1}
    rows = []
    tickets: Any = table[(table.pruner != "dense") & ~table.metric.str.contains(":")]
    for key, values in tickets.groupby([*NETWORK, "metric"]).value:
        band = found.get((key[0], key[1], key[4]))
        if band is not None and band.sd > 0:
            low, high = band.predict(len(values), confidence)
            mean = float(values.mean(skipna=False))
            rows.append((*key, mean, low, high, len(values), _place(mean, low, high, key[4])))
    columns = [*NETWORK, "metric", "value", "low", "high", "seeds", "retraining"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _place(mean: float, low: float, high: float, metric: str) -> str:
    if low <= mean <= high:
        return "within"
    good = mean > high if metrics.describe(metric).direction == "higher" else mean < low
    return "better" if good else "worse"


def retrained(
    table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, worse: dict[str, float] | None = None
) -> pd.DataFrame:
    """Return a tidy table in which groups of dense networks stand as tickets against other dense networks.

    Each draw takes 2 · ``size`` dense networks at random, without replacement, and pairs the first half with the second.
    The paired error over images of a difference is the median that the tickets of the table have in this metric, or, without
    tickets, that of two networks measured on different images (which is larger). Metrics without a spread between dense
    networks are measured relative to dense itself; they are left out. Raises ``DataError`` for too few dense networks.

    Args:
        size: Networks per group, as many as a ticket has seeds.
        draws: Groups; the pruner of draw 7 is "control 7".
        worse: Metric → how much worse the stand-ins are made, in the metric's unit: a negative control.
    """
    generator, parts = np.random.default_rng(seed), []
    settings: Any = _dense(table).groupby(["dataset", "model"])
    for (dataset, model), dense in settings:
        seeds = dense.seed.unique()
        if len(seeds) < 2 * size:
            raise DataError(f"{model} on {dataset}: want {2 * size} dense networks or more, got {len(seeds)}")
        here: Any = table[(table.dataset == dataset) & (table.model == model)]
        groups = [generator.choice(seeds, 2 * size, replace=False) for _ in range(draws)]
        ours, theirs = np.concatenate([g[:size] for g in groups]), np.concatenate([g[size:] for g in groups])
        names = np.repeat([f"{CONTROL} {draw}" for draw in range(draws)], size)
        for metric, rows in dense.groupby("metric"):
            # Metrics that are measured relative to dense itself are the same for every dense network.
            if not rows.value.std() > 0:
                continue
            sign = -1 if metrics.describe(metric).direction == "higher" else 1
            shift = sign * (worse or {}).get(metric, 0.0)
            known = here[here.metric == metric].difference_error.median()
            by_seed = rows.set_index("seed")
            one, two = by_seed.loc[ours], by_seed.loc[theirs].set_axis(ours)
            stand_in = one.assign(
                pruner=names,
                value=one.value + shift,
                difference=one.value.to_numpy() - two.value.to_numpy() + shift,
                difference_error=np.hypot(one.error.to_numpy(), two.error.to_numpy())
                if np.isnan(known)
                else known,
            )
            parts += [rows, stand_in.reset_index(names="seed")]
    return pd.concat(parts, ignore_index=True).loc[:, list(table.columns)]


def positive(table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, **how: Any) -> pd.DataFrame:
    """Return ``lth_pass`` for groups of dense networks against others, one row per draw: what a network as good as dense gets.
    ``.lth_pass.value_counts(normalize=True)`` is the share that passes."""
    return lth_pass(retrained(table, size, draws, seed), **how)


def negative(
    table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, amount: float = 1.0, **how: Any
) -> pd.DataFrame:
    """Return the ``shares`` of verdicts on dense networks that are truly worse by ``amount`` tolerances, in every metric: at
    1.0, the edge, at most 2.5 % may pass."""
    limits = passes(retrained(table, size, draws, seed), **how).groupby("metric").tolerance.median()
    worse = {metric: amount * limit for metric, limit in limits.items()}
    return shares(passes(retrained(table, size, draws, seed, worse), **how))


def shares(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of the three verdicts, one row per metric of ``judged`` (from ``passes``)."""
    counts = judged.groupby("metric").verdict.value_counts(normalize=True).unstack(fill_value=0.0)
    return counts.reindex(columns=["pass", "undecided", "fail"], fill_value=0.0)


def _dense(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[(table.pruner == "dense") & ~table.metric.str.contains(":")]
