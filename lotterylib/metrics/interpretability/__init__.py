"""Third dimension: can one say why the network answers as it does? From outside (LIME), or by its units (dissection)."""

# in the order in which tables list the metrics
# isort: off
from .lime import (
    Explanation,
    Surrogates,
    draw_masks,
    explain,
    fidelity,
    fidelity_r2,
    linear_surrogates,
    match_confidence,
    stability,
    superpixels,
)
from . import dissection
# isort: on

__all__ = [
    "Explanation", "Surrogates", "dissection", "draw_masks", "explain", "fidelity", "fidelity_r2", "linear_surrogates",
    "match_confidence", "stability", "superpixels",
]  # fmt: skip
