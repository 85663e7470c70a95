"""A metric of our study beside the paper's own curves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import metrics
from ..errors import DataError
from ..verdict import over_seeds
from .style import in_order, look, styled
from .sweep import rounds

_FIRST = ("cifar10", "resnet20s")  # the paper's smallest setting, shown where none is ours


def beside_paper(
    table: pd.DataFrame, theirs: pd.DataFrame, metric: str, *, smoke: bool = False
) -> tuple[Figure, str]:
    """A row a network of ours: left our mean over seeds against sparsity, right the paper's curves (``theirs``: from
    ``paper.digitised``) of the same data set and network, or of its smallest setting where none is the same, which the title
    says. Where it is the same, the paper's curves are drawn over ours too, thin and dotted. Returns the figure and its
    alt text. Raises ``DataError`` if either has no such metric."""
    about, ours = metrics.describe(metric), over_seeds(table, metric)
    printed = theirs[theirs.metric == metric]
    if printed.empty:
        raise DataError(f"the paper has no curve of {metric}")
    rows = list(ours.groupby(["dataset", "model"]))
    words = ["Smoke run, the numbers mean nothing."] if smoke else []
    words.append(f"{about.label} against sparsity, {about.direction} is better.")
    with styled():
        figure, axes = plt.subplots(len(rows), 2, figsize=(9.6, 3.6 * len(rows)), squeeze=False)
        for pair, ((dataset, model), left) in zip(axes, rows, strict=True):
            right = printed[(printed.dataset == dataset) & (printed.model == model)]
            same = len(right) > 0
            if not same:
                right = printed[(printed.dataset == _FIRST[0]) & (printed.model == _FIRST[1])]
            setting, note = ((dataset, model), "same setting") if same else (_FIRST, "ANOTHER SETTING")
            titles = (
                f"this study: {model} on {dataset}",
                f"the paper, digitised: {setting[1]} on {setting[0]} ({note})",
            )
            for axis, curves, title in zip(pair, (left, right), titles, strict=True):
                _curves(axis, curves)
                axis.set_title(title, loc="left", fontsize=9)
                words.append(_order(curves, about, title))
            if same:
                _overlay(pair[0], right)
                words.append("The paper's curves are dotted in our panel.")
            pair[0].set_ylabel(f"{about.label} {about.arrow}")
        for axis in axes[-1]:
            axis.set_xlabel("sparsity (%)")
        named = {}  # label → handle, each pruner once
        for axis in axes.flat:
            handles, labels = axis.get_legend_handles_labels()
            named |= dict(zip(labels, handles, strict=True))
        figure.tight_layout()
        figure.legend(named.values(), named.keys(), ncols=5, loc="upper center", bbox_to_anchor=(0.5, 0.0))
        if smoke:
            figure.suptitle("SMOKE RUN: NUMBERS MEAN NOTHING", color="red", y=1.04)
    return figure, " ".join(words)


def _curves(axis: Axes, curves: pd.DataFrame) -> None:
    for pruner in in_order(curves.pruner):
        label, colour, marker = look(pruner)
        curve = curves[curves.pruner == pruner].sort_values("sparsity")
        if pruner == "dense":
            axis.axhline(curve.value.iloc[0], color="black", linestyle="-.", label=label)
            continue
        x = [rounds(s) for s in curve.sparsity]
        axis.plot(x, curve.value, marker=marker, markersize=4, color=colour, label=label, linewidth=1.3)
    ticks = sorted(curves[curves.sparsity > 0].sparsity.unique())
    ticks = ticks[:: max(1, len(ticks) // 7)]
    axis.set_xticks([rounds(s) for s in ticks], [f"{100 * s:.3g}" for s in ticks], rotation=45)


def _overlay(axis: Axes, printed: pd.DataFrame) -> None:
    for pruner in in_order(set(printed.pruner) - {"dense"}):
        curve = printed[printed.pruner == pruner].sort_values("sparsity")
        axis.plot(
            [rounds(s) for s in curve.sparsity], curve.value, ":", color=look(pruner).colour, linewidth=1
        )
    axis.plot([], [], ":", color="#555555", label="the paper")


def _order(curves: pd.DataFrame, about: metrics.Metric, title: str) -> str:
    deepest = curves[curves.sparsity == curves.sparsity.max()]
    order = deepest.sort_values("value", ascending=about.direction == "lower").pruner
    named = ", ".join(look(p).label for p in order)
    return f"{title}: at {curves.sparsity.max():.1%} sparsity, from best to worst: {named}."
