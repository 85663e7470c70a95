"""Pictures of what units stand for: concepts, units with their formulas, and which concepts vanish with sparsity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from ..errors import DataError
from ..metrics.dissection import Dissection
from ..text import percent
from .drawing import Drawn, panels, spanned, stroke
from .style import look, styled

# Of more concepts than these an alt text gives the names, and the span of their sizes.
_TOLD = 12
_SHOWN = np.array(to_rgb("#E69F00"))


def concept_gallery(images: Tensor, concepts: Mapping[str, np.ndarray], columns: int = 6) -> Drawn:
    """Draw each concept (name → bool [N, H, W]) bright, and orange, on one of the images [N, C, H, W] that show it.

    The image is one where the concept covers more than in most.

    Example:
        >>> import torch
        >>> seen = np.zeros((2, 8, 8), dtype=bool)
        >>> seen[1, :4] = True
        >>> _, alt = concept_gallery(torch.rand(2, 1, 8, 8), {"top": seen})
        >>> print(alt)
        One image for each concept, with the pixels that show it bright: top (25.0% of all pixels).
    """
    with styled():
        figure, axes = panels(len(concepts), columns, (1.25, 1.45))
        for axis, (name, mask) in zip(axes, concepts.items(), strict=True):
            axis.axis("off")
            size = mask.sum(axis=(1, 2))
            some = np.argsort(size, kind="stable")[-max(1, (size > 0).sum() // 4)]
            picture = 0.8 * _colour(images[some])
            picture[mask[some]] = 0.35 * picture[mask[some]] + 0.65 * _SHOWN
            picture[~mask[some]] *= 0.4
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(name, fontsize=9)
        figure.tight_layout(pad=0.3)
    shares = {name: float(mask.mean()) for name, mask in concepts.items()}
    covers = ", ".join(f"{name} ({share:.1%} of all pixels)" for name, share in shares.items())
    if len(shares) > _TOLD:
        covers = f"{', '.join(shares)}; from {spanned(shares, '.1%', ' of all pixels')}"
    return figure, f"One image for each concept, with the pixels that show it bright: {covers}."


def unit_gallery(
    images: Tensor,
    rows: Sequence[tuple[str, Dissection, int]],
    concepts: Mapping[str, np.ndarray],
    columns: int = 6,
) -> Drawn:
    """Draw units with their formulas, one row each, with the images on which the unit fires most.

    Bright and orange where it fires, dark elsewhere, outlined what fulfils the formula. Below: the share of what it fires on
    that fulfils the formula; a solid green frame with ✓ if there is any, else a dashed red one with ✗.

    ``images``: [N, C, H, W]; ``rows``: (pruner or "dense", dissection, unit); ``concepts``: name → bool [N, H, W];
    ``columns``: images per unit.

    Example:
        >>> import torch
        >>> found = Dissection([[None]], np.array([False]), [np.array([0, 1])], (1, 4, 4))
        >>> unit_gallery(torch.rand(1, 1, 4, 4), [("dense", found, 0)], {})[1]
        'Units with the images they fire on most. Dense, unit 0: no formula; it fires on that in 0 of 1 images.'
    """
    with styled():
        size = 1.3 * columns, 1.8 * len(rows)
        figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
        words = []
        for line, (network, found, unit) in zip(axes, rows, strict=True):
            formula, fires = found.formulas[unit][-1], found.fires(unit)
            holds = np.zeros_like(fires) if formula is None else formula.mask(concepts)
            size = fires.sum(axis=(1, 2))
            top = [i for i in np.argsort(-size, kind="stable")[:columns] if size[i]]
            shares = [(fires[i] & holds[i]).sum() / size[i] for i in top]
            about = f"IoU {formula.iou:.3f}, {formula}" if formula else "no formula"
            for axis in line:
                axis.axis("off")
            for axis, image, share in zip(line, top, shares, strict=False):
                _fired(axis, _colour(images[image]), fires[image], holds[image], share)
            title = f"{look(network).label}, unit {unit}: {about}"
            line[0].set_title(title, fontsize=9.5, loc="left")
            fit = sum(share > 0 for share in shares)
            words.append(f"{title}; it fires on that in {fit} of {len(top)} images")
        figure.subplots_adjust(0.01, 0.03, 0.99, 0.96, wspace=0.08, hspace=0.42)
    return figure, f"Units with the images they fire on most. {'. '.join(words)}."


def _fired(axis: Axes, picture: np.ndarray, fires: np.ndarray, holds: np.ndarray, share: float) -> None:
    """Draw one image of ``unit_gallery``."""
    picture[~fires] *= 0.4
    picture[fires] = 0.6 * picture[fires] + 0.4 * _SHOWN
    axis.axis("on")
    axis.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    if holds.any():
        # on bright and on dark ground
        axis.contour(holds, levels=[0.5], colors="black", linewidths=2.4)
        axis.contour(holds, levels=[0.5], colors="#9FDCFF", linewidths=1.2)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.set_xlabel(f"{'✓' if share else '✗'} {share:.0%}", fontsize=9, labelpad=2)
    for side in axis.spines.values():
        side.set(visible=True, linewidth=2.5, linestyle="-" if share else (0, (3, 2)))
        side.set_color("#009E73" if share else "#D62728")


def unit_ious(ious: Mapping[str, Sequence[float]], threshold: float = 0.04) -> Drawn:
    """Draw the IoU of every unit's best formula, largest first, one line per network (pruner or another name → IoUs).

    ``threshold``: above it a unit counts as explained.

    Example:
        >>> _, alt = unit_ious({"dense": [0.3, 0.02, 0.1], "lottery": [0.01, 0.05, 0.02]})
        >>> print(alt)
        IoU of each unit with its formula, sorted; threshold 0.04: Dense has 2 of 3 units above it, the best
        at 0.300; LTH has 1 of 3 units above it, the best at 0.050.
    """
    with styled():
        figure, axis = plt.subplots(figsize=(6.4, 3.4))
        words = []
        for network, values in ious.items():
            label, colour, marker = look(network)
            falling = np.sort(values)[::-1]
            above = int((falling > threshold).sum())
            style = {"color": colour, "marker": marker, "markevery": 8, "label": label}
            axis.plot(range(1, len(falling) + 1), falling, stroke(network), **style)
            words.append(
                f"{label} has {above} of {len(falling)} units above it, the best at {falling[0]:.3f}"
            )
        axis.axhline(threshold, color="#555555", linestyle=":", linewidth=1.3)
        # outside: within the axes it would lie on the curves
        where = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axis.annotate(
            f"explained\nabove {threshold:g}", (1, threshold), (4, 0), va="bottom", fontsize=9, **where
        )
        axis.set(xlabel="units, best explained first", ylabel="IoU with the best formula ↑")
        axis.set_ylim(bottom=0)
        # Above, at the left, which a phone shows first.
        axis.legend(ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
        figure.tight_layout()
    return figure, f"IoU of each unit with its formula, sorted; threshold {threshold:g}: {'; '.join(words)}."


def concept_counts(
    records: Iterable[Mapping[str, Any]], pruners: Sequence[str] = ("lottery", "random"), top: int = 16
) -> Drawn:
    """Draw which concepts vanish first: explained units that name a concept (row) at a sparsity (column), by pruner (panel).

    The ``top`` concepts are the dense network's most frequent ones; on top stand those of which the first pruner keeps the
    smallest share, mean over its sparsities. Numbers are means over seeds. Counted are records of ``explained_units``, of the
    first data set and model among them. Raises ``DataError`` if there are none, or if no unit of the dense network is explained.

    Example:
        >>> from ..study import records
        >>> concept_counts(records("laptop"), top=2)[1][:36]
        'Explained units that name a concept.'
    """
    rows = [r for r in records if r.get("metric") == "explained_units"]
    absent = [p for p in ("dense", *pruners) if p not in {r["pruner"] for r in rows}]
    if absent:
        raise DataError(f"no records of explained_units for {', '.join(absent)}")
    rows = [r for r in rows if (r["dataset"], r["model"]) == (rows[0]["dataset"], rows[0]["model"])]
    tables = {p: _mean_counts([r for r in rows if r["pruner"] in ("dense", p)]) for p in pruners}
    first = tables[pruners[0]]
    names = first.loc[:, 0.0].sort_values(ascending=False, kind="stable").index[:top]
    if names.empty:
        raise DataError("no unit of the dense network is explained, so there is no concept to lose")
    left = first.loc[names].iloc[:, 1:].mean(axis=1) / first.loc[names, 0.0]
    names = left.sort_values(kind="stable").index
    with styled():
        size = 8.0, 0.27 * len(names) + 1.1
        figure, axes = plt.subplots(1, len(pruners), figsize=size, sharey=True, squeeze=False)
        grids = {pruner: table.reindex(names, fill_value=0) for pruner, table in tables.items()}
        largest, words = max(grid.to_numpy().max(initial=0) for grid in grids.values()), []
        for axis, (pruner, grid) in zip(axes[0], grids.items(), strict=True):
            axis.imshow(grid, cmap="Blues", vmin=0, vmax=1.7 * largest, aspect="auto")
            for (y, x), units in np.ndenumerate(grid.to_numpy()):
                style = {"ha": "center", "va": "center", "color": "black" if units else "#999999"}
                axis.text(x, y, f"{units:.2g}", fontsize=8.5, **style)
            levels = ["dense", *(f"{100 * level:.3g}" for level in grid.columns[1:])]
            axis.set_xticks(range(len(levels)), levels, rotation=45)
            axis.set_yticks(range(len(names)), names, fontsize=9)
            axis.set_xlabel("sparsity (% of prunable weights removed)")
            axis.set_title(look(pruner).label, loc="left", fontsize=10)
            axis.grid(False)
            gone = {level: [n for n in names if grid.loc[n, level] == 0] for level in grid.columns[1:]}
            lost = "; ".join(f"{', '.join(g) or 'none'} at {percent(level)}" for level, g in gone.items())
            words.append(f"{look(pruner).label} names these no more: {lost}")
        figure.tight_layout()
    counts = ", ".join(f"{n} {first.loc[n, 0.0]:.2g}" for n in names)
    return figure, f"Explained units that name a concept. Dense: {counts}. {'. '.join(words)}."


def _mean_counts(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the units that name a concept, mean over seeds: one row per concept, one column per sparsity, rising."""
    levels = sorted({r["sparsity"] for r in rows})
    counts = {
        s: pd.DataFrame([r["extra"]["concepts"] for r in rows if r["sparsity"] == s]).fillna(0).mean()
        for s in levels
    }
    return pd.DataFrame(counts, dtype=float).fillna(0)


def _colour(image: Tensor) -> np.ndarray:
    """[C, H, W] → [H, W, 3]."""
    picture = image.movedim(0, -1).cpu().numpy()
    return picture.repeat(3, axis=-1) if picture.shape[-1] == 1 else picture.copy()
