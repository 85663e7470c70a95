"""The book's plotting conventions, in one place.

Every function returns a matplotlib figure and its alt text; ``show`` displays both, so that the page, a screen reader
and a reader without colours get the same facts.
"""

from . import diagrams
from .answers import (
    Answer,
    alike,
    answer,
    better_than_dense,
    first_lost,
    leads,
    least_sensitive,
    not_judged,
    price_answer,
    pruner_answer,
    sensitivity,
    tale,
    tiles,
)
from .calibration import calibration_under_shift, reliability_diagram
from .corruptions import corruption_grid, corruption_heatmap
from .dissection import concept_counts, concept_gallery, unit_gallery, unit_ious
from .frames import frames
from .generalization import adversarial_examples, attack_curves, recall_changes, score_histograms
from .geometry import connection, pixel_directions, shaken, spectra, surfaces
from .interpretability import one_explanation, superpixel_cuts, superpixel_maps
from .kept import kept_counts
from .notebook import record, save, show
from .panels import against, agreement, doubt_bars, forest, resolution_bars, sweep_panels
from .paper import beside_paper
from .pictures import (
    bars,
    cost_and_accuracy,
    curves,
    density_bars,
    images,
    layer_bars,
    layer_name,
    lines,
    mask_change,
    mask_picture,
    overlap,
    scatter,
    weight_histogram,
)
from .scorecard import differences, sparse_speed, trade_offs, worth
from .style import Look, called, in_order, look
from .sweep import region_table, sweep, sweep_caption
from .verdict import radar, verdict_board, verdict_boards
from .words import convergence_in_words, gap_in_words, study_in_words

__all__ = [
    "Answer", "Look", "adversarial_examples", "against", "agreement", "alike", "answer", "attack_curves", "bars",
    "beside_paper", "better_than_dense", "calibration_under_shift", "called", "concept_counts", "concept_gallery", "connection", "convergence_in_words",
    "corruption_grid", "corruption_heatmap", "cost_and_accuracy", "curves", "density_bars", "diagrams",
    "differences", "doubt_bars", "first_lost", "forest", "frames", "gap_in_words", "images", "in_order",
    "kept_counts", "layer_bars", "layer_name", "leads", "least_sensitive", "lines", "look", "mask_change", "mask_picture", "not_judged", "one_explanation",
    "overlap", "pixel_directions", "price_answer", "pruner_answer", "radar", "recall_changes", "record",
    "region_table", "reliability_diagram", "resolution_bars", "save", "scatter", "score_histograms", "sensitivity", "shaken",
    "show", "sparse_speed", "spectra", "study_in_words", "superpixel_cuts", "superpixel_maps", "surfaces", "sweep", "sweep_caption", "sweep_panels",
    "tale", "tiles", "trade_offs", "unit_gallery", "unit_ious", "verdict_board", "verdict_boards", "weight_histogram", "worth",
]  # fmt: skip
