"""What many figures draw alike: images, bare axes, legends, the mark of a smoke run; and tables split by setting and pruner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

# What a figure of a smoke run carries, and its alt text.
SMOKE = "SMOKE RUN: NUMBERS MEAN NOTHING"
SMOKE_WORDS = "Smoke run, the numbers mean nothing."


def stroke(pruner: str) -> str:
    """Return the line style of a pruner: dense is dash-dotted."""
    return "-." if pruner == "dense" else "-"


def bare(axis: Axes) -> None:
    """Take ticks, grid and frame off an axis."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def draw_image(axis: Axes, picture: Tensor, cmap: str = "gray_r") -> None:
    """Draw an image [C, H, W] in [0, 1], grey or colour."""
    axis.imshow(picture.movedim(0, -1).squeeze(-1).cpu().numpy(), cmap=cmap, vmin=0, vmax=1)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int, **how: Any) -> None:
    """Put a legend below a figure that is laid out already; artists bring their own labels."""
    figure.legend(handles=handles, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 0.0), **how)


def smoke_title(axis: Axes, smoke: bool) -> None:
    """Say above an axis that the numbers of a smoke run mean nothing."""
    if smoke:
        axis.set_title(SMOKE, color="red")


def by_setting(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Split a table by data set and model: (dataset, model, rows)."""
    groups: Any = table.groupby(["dataset", "model"])
    return [(dataset, model, rows) for (dataset, model), rows in groups]


def curve_of(table: pd.DataFrame, pruner: str) -> pd.DataFrame:
    """Return one pruner's rows, sparsity rising."""
    return table.loc[table["pruner"].eq(pruner)].sort_values(by="sparsity")
