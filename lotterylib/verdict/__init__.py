"""Does a ticket hold up? Regions of accuracy, intervals, a verdict for each metric, and LTH-PASS over all of them."""

from ..metrics import Tolerance

# in the order in which the reference lists them: what is called comes before what it is made of
# isort: off
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
# isort: on

__all__ = [
    "NETWORK", "TOLERANCE", "Interval", "Region", "Tolerance", "Verdict", "differences",
    "error_unseen", "interval", "judge", "limits", "lth_pass", "over_seeds", "paired_change", "paired_gap", "paired_proportions", "passes",
    "proportion", "rank_agreement", "region", "resolution", "student", "together", "unjudged",
]  # fmt: skip
