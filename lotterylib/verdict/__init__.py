"""Does a ticket hold up? Regions of accuracy, a verdict for each metric, and LTH-PASS over all of them."""

from ..metrics import Tolerance
from .passes import (
    TICKET,
    Verdict,
    judge,
    limits,
    lth_pass,
    passes,
    rank_agreement,
    resolution,
    together,
)
from .regions import TOLERANCE, Region, region

__all__ = [
    "TICKET", "TOLERANCE", "Region", "Tolerance", "Verdict", "judge", "limits", "lth_pass",
    "passes", "rank_agreement", "region", "resolution", "together",
]  # fmt: skip
