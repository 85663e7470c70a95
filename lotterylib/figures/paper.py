"""A metric of our study next to the paper's own curves."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import metrics
from ..errors import DataError
from ..results import setting_name
from ..text import percent
from ..verdict import over_seeds
from .drawing import Drawn, by_setting, curve_of, legend_below, logarithmic, marked
from .style import in_order, look, styled
from .sweep import beyond_of, cut_off, rounds

# How the paper's curves lie over ours.
_SMALL: dict[str, Any] = {
    "linewidth": 0.8,
    "markersize": 2.5,
    "markerfacecolor": "white",
    "markeredgewidth": 0.6,
}
# A value this many times farther from dense than nine tenths of a panel's values is cut off.
FAR = 2
# The paper's smallest setting, shown where none is ours.
_FIRST = ("cifar10", "resnet20s")


def beside_paper(table: pd.DataFrame, theirs: pd.DataFrame, metric: str, *, smoke: bool = False) -> Drawn:
    """Draw our mean over seeds against sparsity (left) next to the paper's curves (right), one row per network of ours.

    The paper's are of the same data set and network, and then dotted over ours too; where none is the same, of its smallest
    setting with that metric, which the title says. Each of its panels is drawn once. Ours has
    the methods that the paper's has, if it shares one. What lies far outside is cut off: an arrow gives its value.

    ``table`` is from ``results.tidy``, ``theirs`` from ``paper.digitised``. Raises ``DataError`` if either lacks the metric.

    Example:
        >>> from lotterylib.results import example
        >>> from lotterylib.verdict.paper import digitised
        >>> _, alt = beside_paper(example(), digitised(), "accuracy")
        >>> print(alt)
        Test accuracy against sparsity, higher is better. this book: LeNet on scikit-learn's digits:
        at 80% sparsity, from best to worst: LTH. the paper, digitised (other data or network): ResNet-20s on CIFAR-10: at 99.1% sparsity, from best to worst: LTH, OMP.
    """
    about = metrics.describe(metric)
    percent = about.percent
    ours, theirs = over_seeds(table, metric), theirs.loc[theirs.metric == metric]
    rows, printed = (by_setting(t.assign(value=t.value * (100 if percent else 1))) for t in (ours, theirs))
    printed = {(d, m): curves for d, m, curves in printed}
    if not printed:
        raise DataError(f"the paper has no curve of {metric}")
    words = [f"{about.label} against sparsity, {about.direction} is better."]
    drawn: set[tuple[str, str]] = set()
    with styled():
        figure, axes = plt.subplots(len(rows), 2, figsize=(8, 3.4 * len(rows)), squeeze=False)
        for pair, (dataset, model, left) in zip(axes, rows, strict=True):
            same = (dataset, model) in printed
            another = _FIRST if _FIRST in printed else next(iter(printed))
            setting, note = (another, "other data or network")
            if same:
                setting, note = (dataset, model), "same data and network"
            shared = left[left.pruner.isin({"dense", *printed[setting].pruner})]
            left = shared if shared.sparsity.gt(0).any() else left
            begun = left.sparsity.gt(0).any()
            whose = "this book" if begun else "this book, nothing pruned yet"
            whose += " (dotted: the paper)" * same
            panels = [(f"{whose}:\n{setting_name(model, dataset)}", left)]
            if same or another not in drawn:
                title = f"the paper, digitised ({note}):\n{setting_name(*setting[::-1])}"
                panels.append((title, printed[setting]))
            drawn.add(setting)
            for axis, (title, curves) in zip(pair, panels, strict=False):
                # the paper's curves of the same network stand in both panels, which have one scale then
                wide = logarithmic(axis, pd.concat([curves.value, *(c.value for _, c in panels if same)]))
                overlaid = [printed[setting]] if same and curves is left else []
                limits = _limits([curves, *overlaid], wide)
                axis.set_ylim(*limits)
                if wide and limits[1] < 3 * limits[0]:
                    # less than a decade: its powers of ten are one number or none
                    axis.yaxis.set_major_locator(MaxNLocator(5))
                _curves(axis, curves)
                cut_off(axis, curves, limits)
                axis.set_title(f"{title}{', log axis' * wide}", loc="left", fontsize=9)
                words.append(_order(curves, about, title.replace("\n", " ")))
            pair[1].set_visible(len(panels) > 1)
            if same:
                _overlay(pair[0], printed[setting])
                # one tick is no axis
                if left.sparsity[left.sparsity > 0].nunique() < 2:
                    _ticks(pair[0], printed[setting])
                words.append("The paper's curves are dotted in our panel.")
            pair[0].set_ylabel(_wrapped(about.axis))
        for column in axes.T:
            [axis for axis in column if axis.get_visible()][-1].set_xlabel("sparsity (%)")
        # Each pruner once, whichever panel it is in.
        named: dict[Any, Any] = {
            h.get_label(): h for axis in axes.flat for h in axis.get_legend_handles_labels()[0]
        }
        places = [look(p).label for p in in_order({*ours.pruner, *theirs.pruner})]
        named = {
            n: named[n] for n in [*(p for p in places if p in named), *(n for n in named if n not in places)]
        }
        for arrow in beyond_of(figure):
            named["cut"] = arrow
            words.append("Arrows give values beyond the axis.")
        figure.tight_layout()
        legend_below(figure, list(named.values()), 5)
    return marked(figure, " ".join(words), smoke)


def _wrapped(label: str) -> str:
    """Break a label into lines that fit the height of a panel; its arrow stays with the last word.

    >>> _wrapped("Corruption error (% of the dense network's error) ↓").split("\\n")
    ['Corruption error (% of the', "dense network's error) ↓"]
    """
    return textwrap.fill(label.replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓"), 28).replace("\u00a0", " ")


def _curves(axis: Axes, curves: pd.DataFrame) -> None:
    for pruner in in_order(curves["pruner"]):
        label, colour, marker = look(pruner)
        curve = curve_of(curves, pruner)
        if pruner == "dense":
            axis.axhline(curve["value"].iloc[0], color="black", linestyle="-.", label=label)
            continue
        x = [rounds(s) for s in curve["sparsity"]]
        axis.plot(x, curve["value"], marker=marker, markersize=4, color=colour, label=label, linewidth=1.3)
    _ticks(axis, curves)


def _limits(shown: list[pd.DataFrame], wide: bool) -> tuple[float, float]:
    """Return limits of the y axis around all of lottery tickets, and around whatever of the other curves lies near dense."""
    near: list[np.ndarray] = []
    for curves in shown:
        known = curves.dropna(subset="value")
        values = known["value"].to_numpy(dtype=float)
        dense = known["value"][known["pruner"] == "dense"]
        if len(dense) and len(values) > len(dense):
            heights, level = (np.log(values), np.log(dense.iloc[0])) if wide else (values, dense.iloc[0])
            far = np.abs(heights - level)
            keep = (far <= FAR * np.quantile(far, 0.9)) | known["pruner"].isin(["dense", "lottery"])
            values = values[keep]
        near.append(values)
    every = np.log(np.concatenate(near)) if wide else np.concatenate(near)
    margin = 0.06 * (every.max() - every.min()) or 0.01
    low, high = every.min() - margin, every.max() + margin
    return (math.exp(low), math.exp(high)) if wide else (float(low), float(high))


def _ticks(axis: Axes, curves: pd.DataFrame) -> None:
    ticks = sorted(s for s in curves["sparsity"].unique() if s > 0)
    ticks = ticks[:: max(1, len(ticks) // 7)]
    axis.set_xticks([rounds(s) for s in ticks], [f"{100 * s:.3g}" for s in ticks], rotation=45)


def _overlay(axis: Axes, printed: pd.DataFrame) -> None:
    for pruner in in_order(set(printed["pruner"]) - {"dense"}):
        curve = curve_of(printed, pruner)
        x = [rounds(s) for s in curve["sparsity"]]
        _, colour, marker = look(pruner)
        axis.plot(x, curve["value"], ":", marker=marker, color=colour, **_SMALL)
    axis.plot([], [], ":", marker="o", color="#555555", label="the paper", **_SMALL)


def _order(curves: pd.DataFrame, about: metrics.About, title: str) -> str:
    most = curves["sparsity"].max()
    if most == 0:
        return f"{title}."
    deepest = curves.loc[curves["sparsity"] == most]
    order = deepest.sort_values(by="value", ascending=about.direction == "lower")["pruner"]
    named = ", ".join(look(p).label for p in order)
    return f"{title}: at {percent(most)} sparsity, from best to worst: {named}."
