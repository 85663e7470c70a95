"""What counts as comparable, and the verdict on a difference that is known to within an interval."""

from __future__ import annotations

from ..verdict import TOLERANCES, judge


def tolerance_of(metric: str, dense: float) -> float:
    """What counts as comparable, in the metric's own unit."""
    return TOLERANCES[metric].of(dense)


def grade(low: float, high: float, direction: str, tolerance: float) -> str:
    """``verdict.judge`` in a user's words, of a difference (ticket − dense) that lies between ``low`` and ``high``: "holds",
    "worse" or "undecided", and "better" where it lies beyond the tolerance on the good side."""
    opposite = "lower" if direction == "higher" else "higher"
    if judge(low, high, opposite, tolerance) == "fail":
        return "better"
    return {"pass": "holds", "fail": "worse"}.get(judge(low, high, direction, tolerance), "undecided")
