"""Many metrics on one page: sweeps side by side, how metrics agree, and what a matched comparison leaves of a gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import metrics
from ..errors import DataError
from ..verdict import over_seeds
from .style import in_order, look, styled
from .sweep import _legend, _limits, _panel

_WIDE = 10  # values that differ by more than this factor are drawn on a logarithmic axis


def sweep_panels(
    table: pd.DataFrame, names: Sequence[str], *, highlight: str | None = None, smoke: bool = False
) -> tuple[Figure, str]:
    """A panel a metric against sparsity, drawn as in ``sweep``: solid while accuracy is within a point of dense, dashed
    below, dotted once collapsed; dense is the black dash-dot line. ``table``: of one data set and model. Values that span
    more than a factor of ten are on a logarithmic axis. ``highlight`` names the pruner that keeps its full colour.

    Returns the figure and its alt text. Raises ``DataError`` for several models, or without any of the metrics.
    """
    if len(table.groupby(["dataset", "model"])) > 1:
        raise DataError("panels of sweeps show one data set and one model: choose one of the table's")
    found = {name: over_seeds(table, name) for name in names if name in set(table.metric)}
    if not found:
        raise DataError(f"no records of {', '.join(names)}")
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    words = ["Smoke run, the numbers mean nothing."] if smoke else []
    with styled():
        figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 3.0 * rows), squeeze=False)
        for axis in axes.flat[len(found) :]:
            axis.set_visible(False)
        for axis, (name, means) in zip(axes.flat, found.items(), strict=False):
            about = metrics.describe(name)
            _panel(axis, means, highlight)
            values = means.value.dropna()
            if len(values) and values.min() > 0 and values.max() > _WIDE * values.min():
                axis.set_yscale("log")
                axis.set_ylim(values.min() / 1.5, 1.5 * values.max())
            elif len(values):
                axis.set_ylim(*_limits(values))
            axis.set_title(f"{about.label} {about.arrow}", loc="left", fontsize=9)
            axis.tick_params(labelsize=7)
            words.append(_ranked(means, about, highlight))
        for axis in axes[-1]:
            axis.set_xlabel("sparsity (%)", fontsize=8)
        entries = _legend(next(iter(found.values())))
        figure.tight_layout()
        figure.legend(handles=entries, ncols=7, loc="upper center", bbox_to_anchor=(0.5, 0.0), fontsize=8)
        if smoke:
            figure.suptitle("SMOKE RUN: NUMBERS MEAN NOTHING", color="red", y=1.03)
    return figure, " ".join(words)


def _ranked(means: pd.DataFrame, about: metrics.Metric, highlight: str | None) -> str:
    deepest = means[means.sparsity == means.sparsity.max()].dropna(subset="value")
    order = list(deepest.sort_values("value", ascending=about.direction == "lower").pruner)
    said = f"{about.label} ({about.direction} is better) at {means.sparsity.max():.1%} sparsity"
    if highlight in order:
        return f"{said}: {look(highlight).label} is number {order.index(highlight) + 1} of {len(order)}."
    return f"{said}, best to worst: {', '.join(look(p).label for p in order)}."


def agreement(matrix: pd.DataFrame, *, smoke: bool = False) -> tuple[Figure, str]:
    """Rank correlations (from ``verdict.rank_agreement``) as a table of colours with their numbers: 1 where two metrics or
    dimensions order the tickets alike, −1 where one's best is the other's worst. Metrics come in the order of their
    dimensions. Returns the figure and its alt text."""
    known = metrics.names()
    order = [n for n in known if n in matrix] or list(matrix)
    shown = matrix.loc[order, order]
    labels = [metrics.describe(n).label.split(" (")[0] if n in known else n for n in order]
    size = 0.34 * len(order) + 2.6 if len(order) > 6 else 0.8 * len(order) + 1.6
    with styled():
        figure, axis = plt.subplots(figsize=(size, size - 0.8))
        drawn = axis.imshow(shown, cmap="PuOr", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(shown.to_numpy(dtype=float)):
            if not math.isnan(value):
                text = f"{value:.2f}" if len(order) <= 6 else f"{round(10 * value)}"
                colour = "white" if abs(value) > 0.75 else "black"
                axis.text(
                    j, i, text, ha="center", va="center", fontsize=9 if len(order) <= 6 else 6.5, color=colour
                )
        axis.set_xticks(
            range(len(order)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8
        )
        axis.set_yticks(range(len(order)), labels, fontsize=8)
        axis.grid(False)
        kinds = [metrics.describe(n).dimension if n in known else n for n in order]
        for i in range(1, len(order)) if len(order) > 6 else ():
            if kinds[i] != kinds[i - 1]:
                axis.axhline(i - 0.5, color="black", linewidth=1)
                axis.axvline(i - 0.5, color="black", linewidth=1)
        tenths = ", in tenths" if len(order) > 6 else ""
        bar = figure.colorbar(drawn, ax=axis, shrink=0.7)
        bar.set_label(f"Spearman's rank correlation{tenths}", fontsize=8)
        if smoke:
            axis.set_title("SMOKE RUN: NUMBERS MEAN NOTHING", color="red")
    pairs = shown.where(np.triu(np.ones(shown.shape, dtype=bool), 1)).stack().dropna().sort_values()
    named = dict(zip(order, labels, strict=True))
    ends = [f"{named[a]} with {named[b]} {r:+.2f}" for (a, b), r in pairs.items()]
    words = "Smoke run, the numbers mean nothing. " if smoke else ""
    far = f" Least: {'; '.join(ends[:3])}. Most: {'; '.join(ends[:-4:-1])}." if ends else ""
    return figure, f"{words}Rank correlations of {len(order)} rows over all tickets.{far}"


def against(table: pd.DataFrame, first: str, second: str, *, smoke: bool = False) -> tuple[Figure, str]:
    """One metric against another, a point a ticket (mean over seeds), a marker a pruner, larger where sparser; the line is
    equality and the black cross is dense. Shares are drawn in per cent. Returns the figure and its alt text."""
    keys = ["pruner", "sparsity"]
    pair = over_seeds(table, first).merge(over_seeds(table, second), on=keys, suffixes=("_1", "_2"))
    if pair.empty:
        raise DataError(f"no ticket has records of both {first} and {second}")
    labels = [metrics.describe(n) for n in (first, second)]
    scale = 100 if all(a.unit.startswith("fraction") for a in labels) else 1
    with styled():
        figure, axis = plt.subplots(figsize=(5.4, 4.2))
        for pruner in in_order(pair.pruner):
            at = pair[pair.pruner == pruner]
            label, colour, marker = look(pruner)
            axis.scatter(
                scale * at.value_1, scale * at.value_2, s=(20 + 50 * at.sparsity) if marker else 120, color=colour,
                marker=marker or "+", label=label, alpha=0.85, zorder=3,
            )  # fmt: skip
        values = scale * pair[["value_1", "value_2"]].to_numpy()
        ends = [np.nanmin(values), np.nanmax(values)]
        axis.plot(ends, ends, "--", color="#888888", linewidth=1)
        unit = " (%)" if scale == 100 else ""
        axis.set_xlabel(f"{labels[0].label}{unit} {labels[0].arrow}")
        axis.set_ylabel(f"{labels[1].label}{unit} {labels[1].arrow}")
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if smoke:
            axis.set_title("SMOKE RUN: NUMBERS MEAN NOTHING", color="red")
    tickets = pair[pair.pruner != "dense"]
    rank = tickets.value_1.corr(tickets.value_2, method="spearman")
    below = int((pair.value_2 < pair.value_1).sum())
    words = "Smoke run, the numbers mean nothing. " if smoke else ""
    return figure, (
        f"{words}{labels[1].label} against {labels[0].label}, a point a network: {below} of {len(pair)} lie below the "
        f"line of equality; rank correlation {rank:.2f} over the tickets."
    )


def forest(
    effects: Mapping[str, tuple[float, float, float]], label: str, *, smoke: bool = False
) -> tuple[Figure, str]:
    """Effects with their intervals, a row each (name → (mean, low, high), NaN bounds where there is none), and a line at
    zero. Names that share what stands before a colon are grouped. Returns the figure and its alt text."""
    if not effects:
        raise DataError("no effects to draw")
    names = list(effects)
    heads = [name.partition(":")[0] for name in names]
    with styled():
        figure, axis = plt.subplots(figsize=(7.2, 0.36 * len(names) + 1.1))
        axis.axvline(0, color="black", linewidth=1)
        for i, (mean, low, high) in enumerate(effects.values()):
            sure = low > 0 or high < 0
            if not math.isnan(low):
                axis.plot([low, high], [i, i], color="#0072B2", linewidth=2)
            axis.plot(
                mean, i, "o", color="#0072B2", markerfacecolor="#0072B2" if sure else "white", markersize=7
            )
        for i in range(1, len(names)):
            if heads[i] != heads[i - 1]:
                axis.axhline(i - 0.5, color="#999999", linewidth=0.7)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.invert_yaxis()
        axis.set_xlabel(label)
        if smoke:
            axis.set_title("SMOKE RUN: NUMBERS MEAN NOTHING", color="red")
        figure.tight_layout()
    words = "Smoke run, the numbers mean nothing. " if smoke else ""
    said = "; ".join(f"{n} {m:+.3g} ({low:+.3g} to {high:+.3g})" for n, (m, low, high) in effects.items())
    return figure, f"{words}{label}, mean and interval, filled where zero lies outside: {said}."


def doubt_bars(shares: Mapping[str, float], *, smoke: bool = False) -> tuple[Figure, str]:
    """A bar a metric: which share of the doubt about a difference (its variance) comes from the trainings rather than from
    the test images. ``shares``: metric → in [0, 1]. Returns the figure and its alt text."""
    if not shares:
        raise DataError("no metric has records of several seeds with an error")
    order = sorted(shares, key=shares.get)
    labels = [metrics.describe(n).label for n in order]
    values = [100 * shares[n] for n in order]
    with styled():
        figure, axis = plt.subplots(figsize=(7.2, 0.26 * len(order) + 1))
        axis.barh(labels, values, color="#0072B2", label="trainings")
        axis.barh(labels, [100 - v for v in values], left=values, color="#eeeeee", edgecolor="#999999",
                  hatch="///", linewidth=0.5, label="test images")  # fmt: skip
        axis.set(xlim=(0, 100), ylim=(-0.6, len(order) - 0.4))
        axis.set_xlabel("share of the variance of a ticket's difference to dense (%)")
        axis.tick_params(axis="y", labelsize=8)
        axis.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        if smoke:
            figure.text(0.5, 0.5, "SMOKE RUN: NUMBERS MEAN NOTHING", color="red", ha="center")
        figure.tight_layout()
    words = "Smoke run, the numbers mean nothing. " if smoke else ""
    said = "; ".join(f"{label} {v:.0f} %" for label, v in zip(labels, values, strict=True))
    return (
        figure,
        f"{words}Share of the doubt that comes from the trainings, the rest from the test images: {said}.",
    )


def resolution_bars(found: pd.DataFrame, *, smoke: bool = False) -> tuple[Figure, str]:
    """Half the interval of a typical ticket as a multiple of the tolerance (``verdict.resolution``), a bar a metric on a
    logarithmic axis, hatched beyond the line at 1, where not even a network as good as dense would pass. Returns the figure
    and its alt text."""
    shown = found[found.ratio > 0].sort_values("ratio")
    if shown.empty:
        raise DataError("no metric has an interval")
    labels = [metrics.describe(n).label for n in shown.index]
    with styled():
        figure, axis = plt.subplots(figsize=(7.2, 0.26 * len(shown) + 1))
        for i, row in enumerate(shown.itertuples()):
            face, hatch = ("#9fc9e8", "") if row.able else ("#f2b8a0", "///")
            axis.barh(i, row.ratio, color=face, hatch=hatch, edgecolor="#555555", linewidth=0.5)
        axis.axvline(1, color="black", linewidth=1.2)
        axis.set_xscale("log")
        axis.set_xlim(shown.ratio.min() / 2, 1.2 * max(1, shown.ratio.max()))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(shown)), labels, fontsize=8)
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.set_xlabel("half the interval / tolerance")
        if smoke:
            axis.set_title("SMOKE RUN: NUMBERS MEAN NOTHING", color="red")
        figure.tight_layout()
    words = "Smoke run, the numbers mean nothing. " if smoke else ""
    said = "; ".join(f"{label} {ratio:.2g}" for label, ratio in zip(labels, shown.ratio, strict=True))
    return (
        figure,
        f"{words}Half the interval of a typical ticket, in tolerances, above 1 for {(~shown.able).sum()} metrics: {said}.",
    )
