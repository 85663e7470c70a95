"""Parts that many figures share: panels, images, bare axes, legends, the mark of a smoke run; tables split by setting and pruner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor

from ..text import short

# a figure and its alt text
Drawn = tuple[Figure, str]
# values that differ by more than this factor are drawn on a logarithmic axis
_WIDE = 10


def panels(count: int, columns: int, size: tuple[float, float], **how: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure and its ``count`` panels, ``columns`` in a row, each of this ``size`` in inches."""
    rows = -(-count // columns)
    room = size[0] * columns, size[1] * rows
    figure, axes = plt.subplots(rows, columns, figsize=room, squeeze=False, **how)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def marked(figure: Figure, alt: str, smoke: bool) -> Drawn:
    """Return a figure and its alt text, both of which say of a smoke run that it means nothing."""
    if not smoke:
        return figure, alt
    title = "\n".join(filter(None, ("SMOKE RUN: NUMBERS MEAN NOTHING", figure.get_suptitle())))
    figure.suptitle(title, color="red", y=1.0, va="bottom")
    return figure, f"Smoke run, the numbers mean nothing. {alt}"


def spanned(values: Mapping[str, float], form: str = "", unit: str = "") -> str:
    """Return the lowest and the highest of named values in words: where an alt text would be too long with all of them.
    Without a ``form``, three digits count.

    >>> spanned({"LTH": 0.5, "RP": 0.25, "OMP": 0.3}, ".0%")
    '25% (RP) to 50% (LTH)'
    """
    low, high = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    said = (f"{f'{values[n]:{form}}' if form else short(values[n])}{unit} ({n})" for n in (low, high))
    return " to ".join(said)


def stroke(pruner: str) -> str:
    """Return the line style of a pruner: dense is dash-dotted."""
    return "-." if pruner == "dense" else "-"


def logarithmic(axis: Axes, values: pd.Series) -> bool:
    """Put an axis on a logarithmic scale if all values are above zero and span more than a factor of ten; return whether."""
    values = values.dropna()
    if values.empty or values.min() <= 0 or values.max() <= _WIDE * values.min():
        return False
    axis.set_yscale("log")
    steps = (1,) if values.max() > 100 * values.min() else (1, 2, 5)
    axis.yaxis.set(major_locator=LogLocator(subs=steps), major_formatter="{x:g}", minor_formatter="")
    return True


def bare(axis: Axes) -> None:
    """Take ticks, grid and frame off an axis."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def draw_image(axis: Axes, picture: Tensor, cmap: str = "gray_r") -> None:
    """Draw an image [C, H, W] in [0, 1], grey or colour."""
    axis.imshow(picture.movedim(0, -1).squeeze(-1).cpu().numpy(), cmap=cmap, vmin=0, vmax=1)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int, **how: Any) -> None:
    """Put a legend below a figure that is laid out already; artists bring their own labels."""
    entries = by_rows(handles, columns)
    figure.legend(handles=entries, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 0.0), **how)


def by_rows(handles: Sequence[Artist], columns: int) -> list[Artist]:
    """Return a legend's entries so that they read row by row: a legend fills its columns one after the other.

    >>> by_rows("abcde", 3)
    ['a', 'd', 'b', 'e', 'c']
    """
    return [handle for column in range(columns) for handle in handles[column::columns]]


def by_setting(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Split a table by data set and model: (dataset, model, rows)."""
    groups: Any = table.groupby(["dataset", "model"])
    return [(dataset, model, rows) for (dataset, model), rows in groups]


def curve_of(table: pd.DataFrame, pruner: str) -> pd.DataFrame:
    """Return one pruner's rows, sparsity rising."""
    return table.loc[table["pruner"].eq(pruner)].sort_values(by="sparsity")
