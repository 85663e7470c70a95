"""A metric of our study beside the paper's own curves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from .. import metrics
from ..errors import DataError
from ..results import over_seeds
from .style import in_order, look, styled
from .sweep import rounds

_FIRST = ("cifar10", "resnet20s")  # the paper's smallest setting, shown where none is ours


def beside_paper(
    table: pd.DataFrame, theirs: pd.DataFrame, metric: str, *, smoke: bool = False
) -> tuple[Figure, str]:
    """Left our mean over seeds against sparsity, right the paper's curves (``theirs``: from ``paper.digitised``) of the same
    data set and network, or of its smallest setting where none is the same, which the title says. Returns the figure and its
    alt text. Raises ``DataError`` if either has no such metric."""
    about, ours = metrics.describe(metric), over_seeds(table, metric)
    dataset, model = ours.dataset.iloc[0], ours.model.iloc[0]
    printed = theirs[theirs.metric == metric]
    if printed.empty:
        raise DataError(f"the paper has no curve of {metric}")
    same = ((printed.dataset == dataset) & (printed.model == model)).any()
    setting = (dataset, model) if same else _FIRST
    right = printed[(printed.dataset == setting[0]) & (printed.model == setting[1])]
    left = ours[(ours.dataset == dataset) & (ours.model == model)]
    note = "same setting" if same else "ANOTHER SETTING"
    titles = (
        f"this study: {model} on {dataset}",
        f"the paper, digitised: {setting[1]} on {setting[0]} ({note})",
    )
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6))
        for axis, curves, title in zip(axes, (left, right), titles, strict=True):
            for pruner in in_order(curves.pruner):
                label, colour, marker = look(pruner)
                curve = curves[curves.pruner == pruner].sort_values("sparsity")
                if pruner == "dense":
                    axis.axhline(curve.value.iloc[0], color="black", linestyle="-.", label=label)
                    continue
                x = [rounds(s) for s in curve.sparsity]
                axis.plot(
                    x, curve.value, marker=marker, markersize=4, color=colour, label=label, linewidth=1.3
                )
            ticks = sorted(curves[curves.sparsity > 0].sparsity.unique())
            ticks = ticks[:: max(1, len(ticks) // 7)]
            axis.set_xticks([rounds(s) for s in ticks], [f"{100 * s:.3g}" for s in ticks], rotation=45)
            axis.set_xlabel("sparsity (%)")
            axis.set_title(title, loc="left", fontsize=9)
        axes[0].set_ylabel(f"{about.label} {about.arrow}")
        named = {}  # label → handle, each pruner once
        for axis in axes:
            handles, labels = axis.get_legend_handles_labels()
            named |= dict(zip(labels, handles, strict=True))
        figure.tight_layout()
        figure.legend(named.values(), named.keys(), ncols=5, loc="upper center", bbox_to_anchor=(0.5, 0.0))
        if smoke:
            figure.suptitle("SMOKE RUN: NUMBERS MEAN NOTHING", color="red", y=1.04)
    return figure, _words(left, right, about, titles, smoke)


def _words(left: pd.DataFrame, right: pd.DataFrame, about: metrics.Metric, titles: tuple, smoke: bool) -> str:
    words = ["Smoke run, the numbers mean nothing."] if smoke else []
    words.append(f"{about.label} against sparsity, {about.direction} is better.")
    for curves, title in ((left, titles[0]), (right, titles[1])):
        deepest = curves[curves.sparsity == curves.sparsity.max()]
        order = deepest.sort_values("value", ascending=about.direction == "lower").pruner
        named = ", ".join(look(p).label for p in order)
        words.append(f"{title}: at {curves.sparsity.max():.1%} sparsity, from best to worst: {named}.")
    return " ".join(words)
