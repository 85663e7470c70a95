"""What the drawings are made of: a sheet measured in inches, words, arrows, boxes, grids of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from ..style import styled

INK, QUIET, PALE = "#222222", "#6B6B6B", "#E8EDF2"
BLUE, ORANGE, OCHRE, RED, GREEN = "#0072B2", "#E69F00", "#A06400", "#C44E00", "#00805C"

# A page on a phone shows this many inches still in letters that can be read.
WIDTH = 5.0
# In points; nothing is written smaller.
SIZE = 10.0


def sheet(height: float, width: float = WIDTH) -> tuple[Figure, Any]:
    """Return a figure and one axis that fills it, whose units are inches from the lower left corner."""
    with styled():
        figure = plt.figure(figsize=(width, height))
        axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axis.axis("off")
    return figure, axis


def plot(figure: Figure, left: float, bottom: float, width: float, height: float, **how: Any) -> Any:
    """Return an axis with two spines and no numbers at a place in inches; ``how`` goes to ``Figure.add_axes``."""
    across, up = figure.get_size_inches()
    with styled():
        axis = figure.add_axes(
            (left / across, bottom / up, width / across, height / up), facecolor="none", **how
        )
    axis.grid(False)
    axis.set(xticks=[], yticks=[])
    return axis


def say(axis: Axes, x: float, y: float, words: str, colour: str = INK, **how: Any) -> None:
    """Write words around a point."""
    how = {"ha": "center", "va": "center", "fontsize": SIZE} | how
    axis.text(x, y, words, color=colour, **how)


def arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = INK,
    *,
    bend: float = 0.0,
    width: float = 1.4,
    **how: Any,
) -> None:
    """Draw an arrow; ``bend`` is its height beside its length, to the right of its way."""
    curve = f"arc3,rad={bend}"
    how = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0, "zorder": 3} | how
    axis.add_patch(FancyArrowPatch(start, end, connectionstyle=curve, color=colour, linewidth=width, **how))


def box(
    axis: Axes, x: float, y: float, width: float, height: float, words: str = "", face: str = PALE, **how: Any
) -> None:
    """Draw a rounded box with words in it; x and y are its lower left corner."""
    style = {"boxstyle": "round,pad=0,rounding_size=0.06", "edgecolor": INK, "linewidth": 0.8} | how
    axis.add_patch(FancyBboxPatch((x, y), width, height, facecolor=face, **style))
    say(axis, x + width / 2, y + height / 2, words)


def weight_grid(
    axis: Axes,
    x: float,
    y: float,
    values: np.ndarray,
    cell: float,
    kept: np.ndarray | None = None,
    words: Sequence[Sequence[str]] | None = None,
    marked: np.ndarray | None = None,
    full: float = 1.0,
) -> None:
    """Draw a matrix of weights, darker blue for a larger size; removed ones are white with a dot, marked ones framed.

    Behind ``words`` the blue stays pale, so that they can be read on a light page and on a dark one.
    """
    rows, columns = values.shape
    kept = np.ones(values.shape, dtype=bool) if kept is None else kept
    for i, j in np.ndindex(rows, columns):
        left, low = x + j * cell, y + (rows - 1 - i) * cell
        strength = min(1.0, abs(values[i, j]) / full) * (1.0 if words is None else 0.5) if kept[i, j] else 0.0
        shade = tuple(1 - strength * (1 - np.array((0.0, 0.447, 0.698))))
        face = shade if kept[i, j] else "white"
        axis.add_patch(Rectangle((left, low), cell, cell, facecolor=face, edgecolor="#9A9A9A", linewidth=0.7))
        middle = left + cell / 2, low + cell / 2
        if words is not None:
            say(axis, *middle, str(words[i][j]))
        elif not kept[i, j]:
            axis.plot(*middle, ".", color="#9A9A9A", markersize=3)
        if marked is not None and marked[i, j]:
            edge = {"facecolor": "none", "edgecolor": RED, "linewidth": 2.0, "zorder": 4}
            axis.add_patch(Rectangle((left + 0.02, low + 0.02), cell - 0.04, cell - 0.04, **edge))
