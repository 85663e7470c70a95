"""Regions of accuracy, after Chen et al. (2022): winning, degraded, collapsed."""

from __future__ import annotations

import math
from enum import IntEnum

import pandas as pd

from ..errors import DataError, SettingError

# Region I ends one percentage point of accuracy below dense.
TOLERANCE = 0.01


class Region(IntEnum):
    """One of the three regions of accuracy, see ``region``."""

    I = 1  # noqa: E741 (the paper's own name)
    """A winning ticket, drawn solid."""

    II = 2
    """A degraded one, drawn dashed."""

    III = 3
    """A collapsed one, drawn dotted."""

    def __str__(self) -> str:
        return f"Region {self.name}"


def region(accuracy: float, dense_accuracy: float, chance: float) -> Region:
    """Return the region of a ticket by its test accuracy; all three are fractions in [0, 1].

    I: at most one percentage point below dense. III: less than half of what dense gains over ``chance`` (1/classes).
    II: in between. Raises ``SettingError`` for a percentage or NaN.

    >>> [str(region(accuracy, 0.9, 0.1)) for accuracy in (0.89, 0.6, 0.3)]
    ['Region I', 'Region II', 'Region III']
    """
    for name, value in {"accuracy": accuracy, "dense_accuracy": dense_accuracy, "chance": chance}.items():
        if not 0 <= value <= 1:
            raise SettingError(f"{name} must be a fraction in [0, 1], got {value}")
    # One point exactly still wins, whatever the last bit says.
    if accuracy >= dense_accuracy - TOLERANCE - 1e-9:
        return Region.I
    if accuracy - chance < (dense_accuracy - chance) / 2:
        return Region.III
    return Region.II


def regions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the ``region`` of each (dataset, model, pruner, sparsity) by its mean test accuracy over seeds.

    Raises ``DataError`` where the dense network has no accuracy.
    """
    keys = ["dataset", "model", "pruner", "sparsity"]
    accuracy = table[table.metric == "accuracy"].groupby(keys)
    means, chances = accuracy.value.mean(), accuracy.chance.first().to_dict()
    rows = []
    for key, mean in means.items():
        dataset, model, *_ = key
        dense = means.get((dataset, model, "dense", 0.0), math.nan)
        if math.isnan(dense):
            raise DataError(f"no accuracy of the dense {model} on {dataset}, which regions are relative to")
        rows.append((*key, region(mean, dense, chances[key])))
    return pd.DataFrame(rows, columns=pd.Index([*keys, "region"]))
