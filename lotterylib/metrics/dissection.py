"""The public path of ``interpretability.dissection``."""

from .interpretability.dissection import (
    Cells,
    Dissection,
    Formula,
    compose,
    dissect,
    feature_maps,
    iou,
    last_feature_map,
    search,
    thresholds,
)

__all__ = [
    "Cells", "Dissection", "Formula", "compose", "dissect", "feature_maps", "iou", "last_feature_map", "search", "thresholds",
]  # fmt: skip
