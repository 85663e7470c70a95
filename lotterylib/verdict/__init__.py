"""Does a ticket hold up? Regions of accuracy, intervals, a verdict for each metric, and LTH-PASS over all of them."""

from ..metrics import Tolerance
from .intervals import (
    NETWORK,
    Interval,
    differences,
    error_unseen,
    interval,
    over_seeds,
    paired_change,
    paired_gap,
    paired_proportions,
    proportion,
    student,
)
from .passes import (
    Verdict,
    judge,
    limits,
    lth_pass,
    passes,
    rank_agreement,
    resolution,
    together,
    unjudged,
)
from .regions import TOLERANCE, Region, region

__all__ = [
    "NETWORK", "TOLERANCE", "Interval", "Region", "Tolerance", "Verdict", "differences",
    "error_unseen", "interval", "judge", "limits", "lth_pass", "over_seeds", "paired_change", "paired_gap", "paired_proportions", "passes",
    "proportion", "rank_agreement", "region", "resolution", "student", "together", "unjudged",
]  # fmt: skip
