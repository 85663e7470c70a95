"""Pictures of corrupted images, and of what they do to networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..datasets import CORRUPTIONS, corrupt
from ..datasets.corruptions import spelled
from ..errors import DataError
from .drawing import Drawn, bare, draw_image, panels
from .style import ink_on, look, styled

COMMON = CORRUPTIONS[:15]


def corruption_grid(
    image: Tensor,
    severities: Sequence[int] = (3,),
    corruptions: Sequence[str] = COMMON,
    scale: Literal["cifar-c", "imagenet-c"] | None = None,
) -> Drawn:
    """Draw one image [C, H, W] in [0, 1] as it is, and under each corruption.

    At one severity these are tiles, four per row; at several, one row per corruption. ``scale``: as in ``datasets.corrupt``.

    Example:
        >>> import torch
        >>> _, alt = corruption_grid(torch.full((1, 32, 32), 0.5), corruptions=["brightness"])
        >>> print(alt)
        One image as it is and under 1 corruption at severity 3. Mean change of a pixel, of at most 1:
        brightness 0.15.
    """
    tiles = {c: [corrupt(image, c, s, scale=scale) for s in severities] for c in corruptions}
    with styled():
        if len(severities) == 1:
            figure, axes = panels(1 + len(tiles), 4, (1.6, 1.9))
            _show(axes[0], image, "as it is")
            for axis, (name, (tile,)) in zip(axes[1:], tiles.items(), strict=True):
                _show(axis, tile, spelled(name))
        else:
            rows, columns = len(tiles), 1 + len(severities)
            size = 1.3 * columns, 1.4 * rows + 0.2
            figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
            for row, (name, pictures) in zip(axes, tiles.items(), strict=True):
                _show(row[0], image, "")
                row[0].set_ylabel(spelled(name), fontsize=9)
                for axis, picture in zip(row[1:], pictures, strict=True):
                    _show(axis, picture, "")
            titles = ["as it is", *(f"severity {s}" for s in severities)]
            for axis, title in zip(axes[0], titles, strict=True):
                axis.set_title(title, fontsize=9)
        figure.tight_layout(pad=0.4, h_pad=0.9)
    moved = "; ".join(
        f"{spelled(name)} {', '.join(f'{(p - image).abs().mean():.2f}' for p in pictures)}"
        for name, pictures in tiles.items()
    )
    return figure, (
        f"One image as it is and under {len(tiles)} corruption{'s' * (len(tiles) > 1)} at severity "
        f"{', '.join(str(s) for s in severities)}. Mean change of a pixel, of at most 1: {moved}."
    )


def corruption_heatmap(
    accuracies: Mapping[str, Mapping[str, Sequence[float]]], floor: float | None = None
) -> Drawn:
    """Draw accuracy under each corruption (row) at each severity (column), written into the cells; one panel per network.

    ``accuracies``: network → corruption → a share in [0, 1] for each severity; cells at or below ``floor`` are crossed out.
    Raises ``DataError`` where the panels' corruptions or the rows' severities differ.

    Example:
        >>> _, alt = corruption_heatmap({"dense": {"fog": [0.9, 0.7], "snow": [0.8, 0.4]}})
        >>> print(alt)
        Accuracy under each corruption at severities 1 to 2. Dense: 70.0% on average, 85.0% at severity 1
        and 55.0% at the last, where fog leaves 70.0% and snow 40.0%.
    """
    names = list(next(iter(accuracies.values())))
    tables = {network: _table(cells, names, network) for network, cells in accuracies.items()}
    severities = np.arange(1, next(iter(tables.values())).shape[1] + 1)
    with styled():
        size = min(9.6, 1.7 + 3.1 * len(tables)), 0.29 * len(names) + 1.2
        figure, axes = plt.subplots(1, len(tables), figsize=size, sharey=True, squeeze=False)
        for axis, (network, table) in zip(axes[0], tables.items(), strict=True):
            drawn = axis.imshow(100 * table, cmap="viridis", vmin=0, vmax=100, aspect="auto")
            for (row, column), share in np.ndenumerate(table):
                shade = ink_on(drawn.cmap(share))
                middle = {"ha": "center", "va": "center", "fontsize": 9}
                axis.text(column, row, f"{100 * share:.0f}", color=shade, **middle)
                if floor is not None and share <= floor:
                    ends = [column - 0.45, column + 0.45], [row + 0.42, row - 0.42]
                    axis.plot(*ends, color="white", linewidth=1)
            axis.set_xticks(severities - 1, severities)
            axis.set_yticks(range(len(names)), [spelled(n) for n in names], fontsize=9)
            axis.tick_params(length=0)
            axis.grid(False)
            axis.spines[:].set_visible(False)
            axis.set_title(f"{look(network).label}: mean {table.mean():.1%}", loc="left", fontsize=10)
            axis.set_xlabel("severity")
        axes[0, 0].set_ylabel("accuracy (%) ↑")
        figure.tight_layout()
    words = [_summary(look(network).label, table, names, floor) for network, table in tables.items()]
    return figure, f"Accuracy under each corruption at severities 1 to {len(severities)}. {' '.join(words)}"


def _show(axis: Axes, picture: Tensor, title: str) -> None:
    # As the pixels are: a fog that is white looks white.
    draw_image(axis, picture, "gray")
    axis.set_title(title, fontsize=9)
    bare(axis)


def _table(cells: Mapping[str, Sequence[float]], names: Sequence[str], network: str) -> np.ndarray:
    if list(cells) != list(names) or len({len(row) for row in cells.values()}) != 1:
        raise DataError(f"{network}: want the corruptions {', '.join(names)}, equally many severities each")
    return np.array([cells[name] for name in names], dtype=float)


def _summary(label: str, table: np.ndarray, names: Sequence[str], floor: float | None) -> str:
    last = table[:, -1]
    best, worst = names[int(last.argmax())], names[int(last.argmin())]
    text = (
        f"{label}: {table.mean():.1%} on average, {table[:, 0].mean():.1%} at severity 1 and {last.mean():.1%} at the "
        f"last, where {spelled(best)} leaves {last.max():.1%} and {spelled(worst)} {last.min():.1%}"
    )
    if floor is None:
        return f"{text}."
    return f"{text}; {int((table <= floor).sum())} of {table.size} squares are at or below {floor:.1%}."
