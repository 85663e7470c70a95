"""The book's plotting conventions, in one place.

Every function returns a matplotlib figure and its alt text; ``show`` displays both, so that the page, a screen reader
and a reader without colours get the same facts.
"""

from .notebook import record, save, show
from .pictures import (
    bars,
    curves,
    density_bars,
    images,
    layer_bars,
    lines,
    mask_change,
    mask_picture,
    weight_histogram,
)
from .style import LOOKS, Look, look
from .sweep import region_table, sweep

__all__ = [
    "LOOKS", "Look", "bars", "curves", "density_bars", "images", "layer_bars", "lines", "look", "mask_change",
    "mask_picture", "record", "region_table", "save", "show", "sweep", "weight_histogram",
]  # fmt: skip
