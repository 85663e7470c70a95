"""Which ticket passes what: a board of verdicts, and the paper's radar charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .. import metrics
from ..errors import DataError
from .style import in_order, look, styled

# colour, sign: the signs alone say it too
_VERDICTS = {"fail": ("#f2b8a0", "×"), "undecided": ("#f5f0d8", "?"), "pass": ("#9fc9e8", "●")}


def verdict_board(
    judged: pd.DataFrame, whole: pd.DataFrame | None = None, *, smoke: bool = False
) -> tuple[Figure, str]:
    """One square a ticket and metric, a block a pruner with its sparsities from top to bottom: ● pass, × fail, ?
    undecided. ``judged``: from ``verdict.passes``, of one data set and model; ``whole`` from ``verdict.lth_pass`` adds a last
    column for all at once. Returns the figure and its alt text.

    Raises ``DataError`` for several data sets or models, which need a board each.
    """
    if len(judged.groupby(["dataset", "model"])) != 1:
        raise DataError("a board of verdicts shows one data set and one model: choose one of the table's")
    names = [m for m in metrics.names() if m in set(judged.metric)]
    pruners = in_order(judged.pruner)
    wide = judged.pivot(index=["pruner", "sparsity"], columns="metric", values="verdict")[names]
    if whole is not None:
        wide = wide.assign(**{"LTH-PASS": whole.set_index(["pruner", "sparsity"]).lth_pass})
    wide = wide.reindex([row for p in pruners for row in wide.index if row[0] == p])
    order = list(_VERDICTS)
    codes = wide.apply(lambda column: column.map(lambda v: order.index(v) if v in order else math.nan))
    rows, columns = codes.shape
    with styled():
        figure, axis = plt.subplots(figsize=(0.36 * columns + 2.4, 0.21 * rows + 2.2))
        colours = ListedColormap([colour for colour, _ in _VERDICTS.values()])
        axis.imshow(codes, cmap=colours, vmin=0, vmax=len(order) - 1, aspect="auto")
        for (i, j), code in np.ndenumerate(codes.to_numpy(dtype=float)):
            if not math.isnan(code):
                axis.text(j, i, _VERDICTS[order[int(code)]][1], ha="center", va="center", fontsize=7)
        _frame(axis, wide, names)
        handles = [Patch(color=c, label=f"{sign} {name}") for name, (c, sign) in _VERDICTS.items()]
        axis.legend(handles=handles[::-1], ncols=3, loc="upper center", bbox_to_anchor=(0.5, -1 / rows))
        if smoke:
            axis.set_title("SMOKE RUN: VERDICTS MEAN NOTHING", color="red")
    return figure, _board_words(wide, smoke)


def _frame(axis, wide: pd.DataFrame, names: list[str]) -> None:
    """Labels of rows and columns, and lines between pruners and dimensions."""
    labels = [metrics.describe(n).label for n in names] + [c for c in wide if c not in names]
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="left", rotation_mode="anchor", fontsize=8)
    axis.xaxis.tick_top()
    rows = list(wide.index)
    axis.set_yticks(range(len(rows)), [f"{100 * s:.3g} %" for _, s in rows], fontsize=7)
    axis.grid(False)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for pruner in dict.fromkeys(p for p, _ in rows):
        places = [i for i, (p, _) in enumerate(rows) if p == pruner]
        axis.axhline(places[-1] + 0.5, color="white", linewidth=4)
        axis.annotate(
            look(pruner).label, (0, sum(places) / len(places)), xycoords=axis.get_yaxis_transform(),
            xytext=(-40, 0), textcoords="offset points", ha="right", va="center", fontsize=9, fontweight="bold",
        )  # fmt: skip
    kinds = [metrics.describe(n).dimension for n in names] + ["all"] * (len(labels) - len(names))
    for kind in dict.fromkeys(kinds):
        places = [i for i, k in enumerate(kinds) if k == kind]
        axis.axvline(places[-1] + 0.5, color="white", linewidth=4)
        if kind != "all" and len(kind) <= 4 * len(places):  # where there is room for the word
            axis.text(
                sum(places) / len(places), len(rows) - 0.3, kind.capitalize(), ha="center", va="top",
                fontsize=9, fontweight="bold",
            )  # fmt: skip


def _board_words(wide: pd.DataFrame, smoke: bool) -> str:
    words = ["Smoke run, the verdicts mean nothing."] if smoke else []
    words.append(
        "Verdicts by ticket (rows, grouped by pruner, sparsity rising downwards) and metric (columns)."
    )
    for pruner, group in wide.groupby(level="pruner", sort=False):
        counts = group.stack().value_counts()
        said = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))
        words.append(f"{look(pruner).label}: {said}.")
    return " ".join(words)


def radar(
    table: pd.DataFrame, sparsity: float, names: Sequence[str], *, smoke: bool = False
) -> tuple[Figure, str]:
    """The paper's radar chart: a small chart a pruner, dense beside it in black, one axis a metric, outward is better.

        r = (v − worst) / (best − worst)    over the compared networks, each the mean over its seeds

    So 1 is the best of those shown and 0 the worst, not zero: a chart ranks, it does not measure. ``table``: from
    ``results.tidy``, one data set and model; ``names``: three metrics or more, clockwise from the top. A metric that a
    network lacks counts as the worst. Returns the figure and its alt text.

    Raises ``DataError`` for fewer than three metrics, or no ticket at this sparsity.
    """
    places = scaled(table, sparsity, names)
    pruners = in_order(p for p in places.index if p != "dense")
    columns = min(3, len(pruners))
    rows = math.ceil(len(pruners) / columns)
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[0])
    with styled():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(3.9 * columns, 3.2 * rows),
            subplot_kw={"projection": "polar"},
            squeeze=False,
        )
        for axis in axes.flat[len(pruners) :]:
            axis.set_visible(False)
        for axis, pruner in zip(axes.flat, pruners, strict=False):
            axis.set_theta_offset(np.pi / 2)
            axis.set_theta_direction(-1)
            for who, stroke in (("dense", "-."), (pruner, "-")):
                label, colour, marker = look(who)
                radii = places.loc[who, list(names)].to_numpy(dtype=float)
                radii = np.append(radii, radii[0])
                axis.plot(closed, radii, stroke, color=colour, marker=marker, markersize=4, linewidth=1.4)
                if who != "dense":
                    axis.fill(closed, radii, color=colour, alpha=0.2)
            axis.set_ylim(0, 1.05)
            axis.set_yticks([0.5, 1.0], ["", ""])
            axis.set_xticks(angles, [_short(n) for n in names], fontsize=7.5)
            for label, angle in zip(axis.get_xticklabels(), angles, strict=True):
                side = np.sin(angle)  # labels stand outside, on their own side
                label.set_horizontalalignment(
                    "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
                )
            axis.tick_params(axis="x", pad=-1)
            axis.set_title(look(pruner).label, fontsize=10, pad=14)
        heading = f"{100 * sparsity:.3g} % sparsity; black dash-dot: dense; outward is better"
        figure.suptitle(
            "SMOKE RUN: " + heading if smoke else heading, fontsize=10, color="red" if smoke else "black"
        )
        figure.tight_layout()
    return figure, _radar_words(places, sparsity, pruners, names, smoke)


def scaled(table: pd.DataFrame, sparsity: float, names: Sequence[str]) -> pd.DataFrame:
    """What ``radar`` draws: a row a network ("dense" and each pruner at this sparsity), a column a metric, in [0, 1]."""
    if len(names) < 3:
        raise DataError(f"a radar chart needs three metrics or more, got {len(names)}")
    at = table[(table.pruner == "dense") | ((table.sparsity - sparsity).abs() < 1e-6)]
    means = at[at.metric.isin(names)].groupby(["pruner", "metric"]).value.mean().unstack("metric")
    if len(means) < 2 or "dense" not in means.index:
        raise DataError(f"no dense network and ticket to compare at sparsity {sparsity:.1%}")
    signs = pd.Series({n: 1 if metrics.describe(n).direction == "higher" else -1 for n in names})
    good = means.reindex(columns=list(names)) * signs
    span = (good.max() - good.min()).replace(0, math.nan)
    return ((good - good.min()) / span).fillna(0.0)


def _short(name: str) -> str:
    about = metrics.describe(name)
    label = about.label.split(" (")[0].replace("Accuracy ", "Acc. ")
    return label.replace(", ", "\n").replace(" under ", "\nunder ").replace("Corruption ", "Corruption\n")


def _radar_words(
    places: pd.DataFrame, sparsity: float, pruners: list[str], names: Sequence[str], smoke: bool
) -> str:
    words = ["Smoke run, the numbers mean nothing."] if smoke else []
    words.append(f"Radar charts at {sparsity:.1%} sparsity, min-max over the networks shown, 1 is best.")
    for who in ["dense", *pruners]:
        mean = places.loc[who].mean()
        best = [metrics.describe(n).label for n in names if places.loc[who, n] == 1]
        words.append(
            f"{look(who).label}: mean {mean:.2f}" + (f", best in {', '.join(best)}." if best else ".")
        )
    return " ".join(words)
