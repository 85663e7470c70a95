"""What a network is judged by. A new metric is one function in its dimension's file and one line in ``_METRICS``.

Each metric is a pure function first (arrays in, number out); ``evaluate`` feeds it a trained network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import UnknownNameError
from . import generalization
from .subject import Measurement, Subject

__all__ = ["Measurement", "Metric", "Subject", "describe", "evaluate", "generalization", "names"]


@dataclass(frozen=True)
class Metric:
    """``dimension``: one of the four; ``direction``: which way is better; ``unit``: of the value; ``source``: where
    the definition comes from; ``label``: how figures call it."""

    label: str
    dimension: Literal["generalization", "calibration", "interpretability", "geometry"]
    direction: Literal["higher", "lower"]
    unit: str
    source: str
    measure: Callable[..., Measurement]

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return "↑" if self.direction == "higher" else "↓"


_METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "Test accuracy",
        "generalization",
        "higher",
        "fraction of images",
        "top-1 on the test set (Chen et al., 2022, section 4.1)",
        generalization.measure_accuracy,
    ),
}


def names() -> list[str]:
    """Names that ``describe`` and ``evaluate`` know."""
    return list(_METRICS)


def describe(name: str) -> Metric:
    """Dimension, direction, unit and source of a metric. Raises ``UnknownNameError`` for a name not in ``names()``."""
    if name not in _METRICS:
        raise UnknownNameError("metric", name, _METRICS)
    return _METRICS[name]


def evaluate(subject: Subject, name: str, settings: Mapping[str, Any] | None = None) -> Measurement:
    """Measures one metric on a network. Work that metrics share (a forward pass over the test set) is done once a
    ``subject``. Raises ``UnknownNameError`` for the metric, ``TypeError`` for a setting that it does not have."""
    return describe(name).measure(subject, **(settings or {}))
