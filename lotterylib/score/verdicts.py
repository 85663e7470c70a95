"""What counts as comparable, and the verdict on a difference that is known to within an interval."""

from __future__ import annotations

_ABSOLUTE = {
    "accuracy": 0.01, "recall_loss": 0.05, "ood_auroc": 0.01, "ood_fpr95": 0.02, "ood_aupr": 0.01,
    "corruption_error": 5.0, "corrupted_accuracy": 0.01, "fgsm_accuracy": 0.02, "pgd_accuracy": 0.02,
    "ece": 0.01, "sce": 0.005, "ace": 0.005, "nll": 0.05, "brier": 0.02,
    "fidelity_r2": 0.02, "explained_units": 0.1, "unit_iou": 0.01,
}  # fmt: skip
_RELATIVE = 0.25  # of the dense network's value, for scores that have no scale of their own


def tolerance_of(metric: str, dense: float) -> float:
    """What counts as comparable, in the metric's own unit."""
    return _ABSOLUTE.get(metric, _RELATIVE * abs(dense))


def judge(low: float, high: float, direction: str, tolerance: float) -> str:
    """The verdict on a difference to dense (ticket − dense) that lies between ``low`` and ``high``."""
    worst, best = (low, high) if direction == "higher" else (-high, -low)
    if worst > tolerance:
        return "better"
    if worst >= -tolerance:
        return "holds"
    return "worse" if best < -tolerance else "undecided"
