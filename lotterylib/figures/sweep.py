"""A metric against sparsity, for all pruners: the figure that the paper draws for every metric."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import metrics
from ..verdict import Region, over_seeds
from .style import in_order, look, styled

_STROKES = {Region.I: "-", Region.II: "--", Region.III: ":"}


def sweep(
    table: pd.DataFrame, metric: str = "accuracy", *, highlight: str | None = None, smoke: bool = False
) -> tuple[Figure, str]:
    """One row a model, all of it and a close-up: mean over seeds with the band of its 95 % interval; dense is the black
    dash-dot line.

    The x axis counts rounds of pruning (20 % of the remaining weights each) and is labelled with the sparsity. A curve
    is solid up to the last sparsity of Region I, where a thin vertical line stands, then dashed (Region II), and
    dotted once collapsed (Region III). ``highlight`` names the pruner to keep in full colour while the others fade.
    ``smoke`` writes across the figure that its numbers mean nothing.

    Returns the figure and its alt text.
    """
    about = metrics.describe(metric)
    percent = about.unit.startswith("fraction")
    means = over_seeds(table, metric)
    scale = 100 if percent else 1
    means[["value", "low", "high"]] *= scale
    if percent:  # a t interval knows no bounds, a share does
        means[["low", "high"]] = means[["low", "high"]].clip(0, 100)
    panels = list(means.groupby(["dataset", "model"], sort=True))
    with styled():
        figure, axes = plt.subplots(len(panels), 2, figsize=(9.6, 3.9 * len(panels)), squeeze=False)
        for row, ((dataset, model), panel) in zip(axes, panels, strict=True):
            for axis in row:
                _panel(axis, panel, highlight)
                axis.set_xlabel("sparsity (% of prunable weights removed)")
            row[0].set_title(f"{model} on {dataset}", loc="left", fontsize=10)
            row[0].set_ylabel(f"{about.label}{' (%)' if percent else ''} {about.arrow}")
            row[0].set_ylim(*_limits(panel.value))
            row[1].set_title("the same, close to dense", loc="left", fontsize=10)
            row[1].set_ylim(*_limits(panel.value, near=panel[panel.pruner == "dense"].value.iloc[0]))
        entries = _legend(means)
        figure.tight_layout()
        figure.legend(
            handles=entries, ncols=min(5, len(entries)), loc="upper center", bbox_to_anchor=(0.5, 0.0)
        )
        if smoke:
            figure.text(0.5, 0.5, "SMOKE RUN: NUMBERS MEAN NOTHING", color="red", alpha=0.6, fontsize=18,
                        ha="center", va="center", rotation=18)  # fmt: skip
    return figure, _alt(means, about, percent, smoke)


def region_table(table: pd.DataFrame) -> pd.DataFrame:
    """For each pruner the last measured sparsity of Region I and the first of Region III, in words ("none")."""
    means = over_seeds(table, "accuracy")
    rows = []
    for (dataset, model), panel in means[means.pruner != "dense"].groupby(["dataset", "model"]):
        for pruner in in_order(panel.pruner):
            curve = panel[panel.pruner == pruner]
            won, lost = (curve[curve.region == r].sparsity for r in (Region.I, Region.III))
            rows.append((dataset, model, look(pruner).label, _percent(won.max()), _percent(lost.min())))
    columns = ["data set", "model", "pruner", "wins up to sparsity", "collapsed from sparsity"]
    return pd.DataFrame(rows, columns=columns)


def _percent(sparsity: float) -> str:
    return "none" if math.isnan(sparsity) else f"{sparsity:.1%}"


def rounds(sparsity: float) -> float:
    """How many rounds of 20 % lead to a sparsity: log(1 − s) / log 0.8."""
    return math.log(1 - sparsity) / math.log(0.8)


def _limits(values: pd.Series, near: float | None = None) -> tuple[float, float]:
    """The y axis: all mean values, or the three quarters nearest to ``near``; bands may leave it, since one collapsed
    seed makes a band as wide as the axis."""
    if near is not None:
        far = (values - near).abs()
        values = values[far <= far.quantile(0.75)]
    margin = 0.08 * (values.max() - values.min()) or 0.01
    return values.min() - margin, values.max() + margin


def _panel(axis: Axes, panel: pd.DataFrame, highlight: str | None) -> None:
    dense = panel[panel.pruner == "dense"].iloc[0]
    axis.axhline(dense.value, color="black", linestyle="-.", linewidth=1.3, zorder=2)
    if not math.isnan(dense.low):
        axis.axhspan(dense.low, dense.high, color="black", alpha=0.08, linewidth=0)
    for pruner in in_order(set(panel.pruner) - {"dense"}):
        curve = panel[panel.pruner == pruner].sort_values("sparsity")
        _curve(axis, curve, dense.value, pruner, alpha=1.0 if highlight in (None, pruner) else 0.3)
    levels = sorted(panel.sparsity.unique())
    axis.set_xticks([rounds(s) for s in levels], [f"{100 * s:.3g}" for s in levels], rotation=45)


def _curve(axis: Axes, curve: pd.DataFrame, start: float, pruner: str, alpha: float) -> None:
    _, colour, marker = look(pruner)
    x = np.array([0.0, *(rounds(s) for s in curve.sparsity)])
    y = np.array([start, *curve.value])
    won = [i + 1 for i, r in enumerate(curve.region) if r == Region.I]
    end = max(won, default=0)
    for i in range(1, len(x)):
        stroke = _STROKES[Region.I if i <= end else curve.region.iloc[i - 1]]
        axis.plot(
            x[i - 1 : i + 1], y[i - 1 : i + 1], stroke, color=colour, linewidth=1.7, alpha=alpha, zorder=3
        )
    axis.plot(x[1:], y[1:], linestyle="", marker=marker, color=colour, markersize=5.5, alpha=alpha, zorder=4)
    if curve.low.notna().all():
        axis.fill_between(x[1:], curve.low, curve.high, color=colour, alpha=0.15 * alpha, linewidth=0)
    if end:
        axis.axvline(x[end], color=colour, linewidth=0.9, alpha=0.8 * alpha, zorder=1)


def _legend(means: pd.DataFrame) -> list[Line2D]:
    entries, full = [], means.seeds.max()
    for pruner in in_order(means.pruner):
        label, colour, marker = look(pruner)
        if (seeds := means[means.pruner == pruner].seeds.min()) < full:
            label += f" ({seeds} seed{'s' if seeds > 1 else ''})"
        stroke = "-." if pruner == "dense" else "-"
        entries.append(Line2D([], [], color=colour, marker=marker, linestyle=stroke, label=label))
    strokes = {"-": "Region I", "--": "Region II", ":": "Region III"}
    return entries + [Line2D([], [], color="#555555", linestyle=s, label=t) for s, t in strokes.items()]


def _alt(means: pd.DataFrame, about: metrics.Metric, percent: bool, smoke: bool) -> str:
    unit = " %" if percent else ""
    words = ["Smoke run, the numbers mean nothing."] if smoke else []
    for (dataset, model), panel in means.groupby(["dataset", "model"]):
        dense = panel[panel.pruner == "dense"].iloc[0]
        words.append(
            f"{about.label} ({about.direction} is better) against sparsity, {model} on {dataset}, mean of "
            f"{int(panel.seeds.max())} seed(s). Dense: {dense.value:.3g}{unit}."
        )
        for pruner in in_order(set(panel.pruner) - {"dense"}):
            curve = panel[panel.pruner == pruner].sort_values("sparsity")
            won = curve[curve.region == Region.I].sparsity.max()
            end = "never in Region I" if math.isnan(won) else f"in Region I up to {won:.1%} sparsity"
            first, last = curve.iloc[0], curve.iloc[-1]
            fewer = (
                f", {int(curve.seeds.min())} seed(s) only" if curve.seeds.min() < panel.seeds.max() else ""
            )
            words.append(
                f"{look(pruner).label}: {first.value:.3g}{unit} at {first.sparsity:.1%} sparsity, "
                f"{last.value:.3g}{unit} at {last.sparsity:.1%}; {end}{fewer}."
            )
    return " ".join(words)
