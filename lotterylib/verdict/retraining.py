"""What a retraining changes: the band of each metric over dense networks that differ in their seeds alone.

"Within the tolerance?" rests on a tolerance that somebody chose. "Within what a retraining of the dense network changes?" rests
on nothing but further dense networks: those of the study, and its controls. Pure functions of the tidy table.
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
from .intervals import CONTROL, NETWORK, SETTING, student

# the networks that retraining bands are made of
DENSE = ("dense", CONTROL)
# dense networks whose spread is known well enough to judge others by
FEWEST = 6
# standard deviations that 39 of 40 retrainings stay within, on the worse side
USUAL = 1.96


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

    def error(self, more: int = 1) -> float:
        """Return the standard error of the mean of ``more`` further trainings about this one, sd · √(1/K + 1/more)."""
        return self.sd * math.sqrt(1 / self.count + 1 / more)

    def predict(self, more: int = 1, confidence: float = 0.95) -> tuple[float, float]:
        """Return the prediction interval of the mean of ``more`` further dense trainings.

            mean ± t(K − 1) · sd · √(1/K + 1/more)

        >>> [round(end, 2) for end in Band(mean=1.0, sd=1.0, count=3).predict()]
        [-3.97, 5.97]
        """
        half = student(self.error(more), self.count - 1, confidence)
        return self.mean - half, self.mean + half

    def chance(self, mean: float, more: int = 1) -> float:
        """Return how often the mean of ``more`` further dense trainings lies as far off or farther (two-sided).

        >>> round(Band(mean=1.0, sd=1.0, count=3).chance(5.97), 2)
        0.05
        """
        from scipy.special import stdtr

        if math.isnan(mean):
            return 0.0
        return 2 * float(stdtr(self.count - 1, -abs(mean - self.mean) / self.error(more)))


def of_table(table: pd.DataFrame) -> dict[tuple[str, str, str], Band]:
    """Return (dataset, model, metric) → the band of the table's dense networks and controls, where there are two or more that
    differ. A metric that is measured relative to the dense network is the same for each of the study's own: there the
    controls alone tell."""
    rows = table[table.pruner.isin(DENSE) & ~table.metric.str.contains(":") & table.value.notna()]
    values, studied = rows.value.to_numpy(float), (rows.pruner == "dense").to_numpy()
    found = {}
    for key, place in rows.groupby(SETTING).indices.items():
        own = values[place[studied[place]]]
        told = values[place] if len(set(own)) > 1 else values[place[~studied[place]]]
        if len(set(told)) > 1:
            found[key] = Band.of(told)
    return found


def usual(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return (dataset, model, metric) → what a retraining usually costs: 39 of 40 dense networks trained anew are worse than the
    one they replace by no more than this. In the metric's unit, from 0 on; only metrics whose spread is known from ``FEWEST``
    dense networks or more.

        1.96 · √2 · sd,   of a metric that is measured relative to dense: 1.96 · sd + its mean over controls

    Example:
        >>> dense = dict(dataset="digits", model="lenet", pruner="dense", metric="nll")
        >>> table = pd.DataFrame([dense | dict(seed=s, value=s % 2) for s in range(6)])
        >>> {key: round(cost, 2) for key, cost in usual(table).items()}
        {('digits', 'lenet', 'nll'): 1.52}
    """
    found, again = {}, table[table.pruner == CONTROL]
    different = table[table.pruner == "dense"].groupby(SETTING).value.nunique()
    for key, band in of_table(table).items():
        if band.count < FEWEST:
            continue
        relative, worse = different.get(key) == 1, 0.0
        if relative:
            sign = -1 if metrics.describe(key[2]).direction == "higher" else 1
            worse = max(sign * float(again[(again[SETTING] == key).all(axis=1)].difference.mean()), 0.0)
        found[key] = worse + USUAL * band.sd * (1 if relative else math.sqrt(2))
    return found


def bands(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Return the retraining band of each metric: one row per (dataset, model, metric) with ``mean``, ``sd``, ``count``, and
    ``low`` to ``high``, where one more dense training lies with this confidence; see ``of_table``."""
    found = of_table(table).items()
    rows = [(*key, band.mean, band.sd, band.count, *band.predict(1, confidence)) for key, band in found]
    columns = ["dataset", "model", "metric", "mean", "sd", "count", "low", "high"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def within_retraining(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Tell whether each ticket lies within what a retraining of the dense network changes; no tolerance is asked for.

    A ticket's mean over its S seeds is held against the prediction interval of the mean of S further dense trainings.

    One row per (dataset, model, pruner, sparsity, metric): ``value``, ``low``, ``high``, ``seeds``, ``chance`` (that a mean of
    dense trainings lies as far off) and ``retraining``, "within", "better" or "worse" (also where a value is NaN). Metrics
    without a band are left out.
    """
    found, rows = of_table(table), []
    tickets: Any = table[~table.pruner.isin(DENSE) & ~table.metric.str.contains(":")]
    values = tickets.value.to_numpy(float)
    for key, place in tickets.groupby([*NETWORK, "metric"]).indices.items():
        band, count = found.get((key[0], key[1], key[4])), len(place)
        if band is not None:
            low, high = band.predict(count, confidence)
            mean = float(values[place].mean())
            chance = band.chance(mean, count)
            rows.append((*key, mean, low, high, count, chance, _place(mean, low, high, key[4])))
    columns = [*NETWORK, "metric", "value", "low", "high", "seeds", "chance", "retraining"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _place(mean: float, low: float, high: float, metric: str) -> str:
    if low <= mean <= high:
        return "within"
    good = mean > high if metrics.describe(metric).direction == "higher" else mean < low
    return "better" if good else "worse"
