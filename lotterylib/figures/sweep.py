"""A metric against sparsity, for all pruners: the figure that the paper draws for every metric."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .. import metrics
from ..verdict import Region, over_seeds
from .drawing import Drawn, by_setting, curve_of, legend_below, marked, stroke
from .style import in_order, look, styled

_STROKES: dict[Region, Any] = {Region.I: "-", Region.II: "--", Region.III: ":"}


def sweep(
    table: pd.DataFrame, metric: str = "accuracy", *, highlight: str | None = None, smoke: bool = False
) -> Drawn:
    """Draw a metric's mean over seeds with its 95 % interval: one row per model, all of it and a close-up.

    The x axis counts rounds of pruning (20 % of the remaining weights each) and is labelled with the sparsity. A curve
    is solid up to the last sparsity of Region I, where a thin vertical line stands, then dashed (Region II), and
    dotted once collapsed (Region III). Dense is the black dash-dot line.

    Args:
        table: From ``results.tidy``.
        metric: Name, or ``metric:variant``.
        highlight: The pruner that keeps its full colour while the others fade.
        smoke: Whether the numbers mean nothing, which figure and alt text then say.
    """
    about = metrics.describe(metric)
    percent = about.unit.startswith("fraction")
    means: Any = over_seeds(table, metric)
    means[["value", "low", "high"]] *= 100 if percent else 1
    if percent:
        # A t interval knows no bounds, a share does.
        means[["low", "high"]] = means[["low", "high"]].clip(0, 100)
    panels = by_setting(means)
    with styled():
        figure, axes = plt.subplots(len(panels), 2, figsize=(9.6, 3.9 * len(panels)), squeeze=False)
        for row, (dataset, model, panel) in zip(axes, panels, strict=True):
            for axis in row:
                draw_panel(axis, panel, highlight)
                axis.set_xlabel("sparsity (% of prunable weights removed)")
            row[0].set_title(f"{model} on {dataset}", loc="left", fontsize=10)
            row[0].set_ylabel(f"{about.label}{' (%)' if percent else ''} {about.arrow}")
            values: Any = panel["value"]
            row[0].set_ylim(*span(values))
            row[1].set_title("the same, close to dense", loc="left", fontsize=10)
            row[1].set_ylim(*span(values, near=curve_of(panel, "dense")["value"].iloc[0]))
        entries = legend_of(means)
        figure.tight_layout()
        legend_below(figure, entries, min(5, len(entries)))
    return marked(figure, _alt(means, about, percent), smoke)


def region_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each pruner the last measured sparsity of Region I and the first of Region III, in words ("none").

    Example:
        >>> from lotterylib.results import example
        >>> region_table(example())["wins up to sparsity"].tolist()
        ['50.0%', 'none']
    """
    rows = []
    for dataset, model, panel in by_setting(over_seeds(table, "accuracy")):
        for pruner in in_order(set(panel["pruner"]) - {"dense"}):
            curve: Any = curve_of(panel, pruner)
            won, lost = (curve["sparsity"][curve["region"] == r] for r in (Region.I, Region.III))
            rows.append((dataset, model, look(pruner).label, _percent(won.max()), _percent(lost.min())))
    columns = ["data set", "model", "pruner", "wins up to sparsity", "collapsed from sparsity"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _percent(sparsity: float) -> str:
    return "none" if math.isnan(sparsity) else f"{sparsity:.1%}"


def rounds(sparsity: float) -> float:
    """Return how many rounds of 20 % lead to a sparsity: log(1 − s) / log 0.8.

    >>> round(rounds(0.488), 6)
    3.0
    """
    return math.log(1 - sparsity) / math.log(0.8)


def span(values: pd.Series, near: float | None = None) -> tuple[float, float]:
    """Return limits of the y axis: around all mean values, or around the three quarters nearest to ``near``.

    Bands may leave it, since one collapsed seed makes a band as wide as the axis.
    """
    if near is not None:
        far = (values - near).abs()
        values = values.loc[far <= far.quantile(0.75)]
    margin = 0.08 * (values.max() - values.min()) or 0.01
    return values.min() - margin, values.max() + margin


def draw_panel(axis: Axes, panel: pd.DataFrame, highlight: str | None) -> None:
    """Draw all pruners' curves of one setting (from ``over_seeds``) on an axis that counts rounds."""
    dense = panel[panel.pruner == "dense"].iloc[0]
    axis.axhline(dense.value, color="black", linestyle="-.", linewidth=1.3, zorder=2)
    if not math.isnan(dense.low):
        axis.axhspan(dense.low, dense.high, color="black", alpha=0.08, linewidth=0)
    for pruner in in_order(set(panel["pruner"]) - {"dense"}):
        alpha = 1.0 if highlight in (None, pruner) else 0.3
        _curve(axis, curve_of(panel, pruner), dense.value, pruner, alpha)
    levels = sorted(panel["sparsity"].unique())
    axis.set_xticks([rounds(s) for s in levels], [f"{100 * s:.3g}" for s in levels], rotation=45)


def _curve(axis: Axes, curve: pd.DataFrame, start: float, pruner: str, alpha: float) -> None:
    _, colour, marker = look(pruner)
    x = np.array([0.0, *(rounds(s) for s in curve.sparsity)])
    y = np.array([start, *curve.value])
    won = [i + 1 for i, r in enumerate(curve.region) if r == Region.I]
    end = max(won, default=0)
    for i in range(1, len(x)):
        style = _STROKES[Region.I if i <= end else curve.region.iloc[i - 1]]
        ends = slice(i - 1, i + 1)
        axis.plot(x[ends], y[ends], style, color=colour, linewidth=1.7, alpha=alpha, zorder=3)
    axis.plot(x[1:], y[1:], linestyle="", marker=marker, color=colour, markersize=5.5, alpha=alpha, zorder=4)
    if curve.low.notna().all():
        axis.fill_between(x[1:], curve.low, curve.high, color=colour, alpha=0.15 * alpha, linewidth=0)
    if end:
        axis.axvline(x[end], color=colour, linewidth=0.9, alpha=0.8 * alpha, zorder=1)


def legend_of(means: Any) -> list[Line2D]:
    """Return the legend's lines: each pruner, with its seeds where it has fewer than others, and the three regions."""
    entries: list[Line2D] = []
    full = means["seeds"].max()
    for pruner in in_order(means["pruner"]):
        label, colour, marker = look(pruner)
        if (seeds := means["seeds"][means["pruner"] == pruner].min()) < full:
            label += f" ({seeds} seed{'s' if seeds > 1 else ''})"
        entries.append(Line2D([], [], color=colour, marker=marker, ls=stroke(pruner), label=label))
    return entries + [Line2D([], [], color="#555555", linestyle=s, label=str(r)) for r, s in _STROKES.items()]


def _alt(means: pd.DataFrame, about: metrics.About, percent: bool) -> str:
    unit, words = " %" if percent else "", []
    for dataset, model, panel in by_setting(means):
        seeds: Any = panel["seeds"]
        most = int(seeds.max())
        words.append(
            f"{about.label} ({about.direction} is better) against sparsity, {model} on {dataset}, mean of "
            f"{most} seed(s). Dense: {curve_of(panel, 'dense')['value'].iloc[0]:.3g}{unit}."
        )
        for pruner in in_order(set(panel["pruner"]) - {"dense"}):
            curve: Any = curve_of(panel, pruner)
            won = curve["sparsity"][curve["region"] == Region.I].max()
            end = "never in Region I" if math.isnan(won) else f"in Region I up to {won:.1%} sparsity"
            first, last = curve.iloc[0], curve.iloc[-1]
            least = int(curve["seeds"].min())
            fewer = f", {least} seed(s) only" if least < most else ""
            words.append(
                f"{look(pruner).label}: {first.value:.3g}{unit} at {first.sparsity:.1%} sparsity, "
                f"{last.value:.3g}{unit} at {last.sparsity:.1%}; {end}{fewer}."
            )
    return " ".join(words)
