"""Metrics that a network is judged by. A new one is one class in its dimension's file: see ``Metric``.

The pure functions (arrays in, number out) stand beside the classes; ``evaluate`` feeds them a trained network.
"""

from .base import (
    About,
    Metric,
    Question,
    Reads,
    Shape,
    Tolerance,
    build,
    describe,
    evaluate,
    names,
    register,
)
from .subject import Measurement, Subject, paired

# in the order in which tables list the dimensions
# isort: off
from . import generalization
from . import calibration
from . import interpretability
from . import geometry
from .interpretability import dissection
# isort: on

__all__ = [
    "About", "Measurement", "Metric", "Question", "Reads", "Shape", "Subject", "Tolerance", "build", "calibration", "describe",
    "dissection", "evaluate", "generalization", "geometry", "interpretability", "names", "paired", "register",
]  # fmt: skip
