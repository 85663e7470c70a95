"""Drawings that explain an idea before its formula. They are made of invented numbers; nothing in them is a result.

Each is as wide as a phone can show, and uses the colours of the other figures.
"""

from .judging import (
    annotated_sweep,
    bowls,
    epsilon_box,
    hidden_loss,
    lime_fit,
    one_bin,
    perspective,
    right_and_wrong,
    roc,
    shared_pixels,
    tolerance,
)
from .masking import lottery_round, mask_grid, staircase, timeline
from .methods import (
    coupled_channels,
    drop_and_grow,
    flow,
    gradient_kept,
    gradually,
    one_cut,
    rescaling,
    switches,
    wide_or_narrow,
)

__all__ = [
    "annotated_sweep", "bowls", "coupled_channels", "drop_and_grow", "epsilon_box", "flow", "gradient_kept", "gradually",
    "hidden_loss", "lime_fit", "lottery_round", "mask_grid", "one_bin", "one_cut", "perspective", "rescaling", "right_and_wrong", "roc",
    "shared_pixels", "staircase", "switches", "timeline", "tolerance", "wide_or_narrow",
]  # fmt: skip
