"""What is kept of each dimension: how many metrics pass, fail or are undecided, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..errors import DataError
from ..text import percent
from .answers import DIMENSIONS
from .drawing import Drawn, marked, panels
from .style import called, look, styled

# Verdict → word, face, hatch: told apart without colour too.
_PARTS = {
    "pass": ("kept", "#5aa5d6", ""),
    "undecided": ("undecided", "#f5f0d8", ""),
    "fail": ("lost", "#e08a63", "////"),
}


def kept_counts(
    judged: pd.DataFrame, pruners: Sequence[str], *, narrow: bool = False, smoke: bool = False
) -> Drawn:
    """Draw how many metrics of each dimension a pruner keeps, loses, or leaves undecided: one panel per dimension, one bar per
    sparsity, the pruners side by side; ``narrow``: one panel below the other, for a phone.

    ``judged`` is from ``verdict.passes``, of one data set and model. Raises ``DataError`` where it holds none of ``pruners``.

    Example:
        >>> from lotterylib.results import example
        >>> from lotterylib.verdict import passes
        >>> _, alt = kept_counts(passes(example()), ["lottery", "random"])
        >>> print(alt)
        Metrics kept, undecided and lost by sparsity. Generalization, LTH: 1 kept and 0 lost at 50%; 0 kept
        and 1 lost at 80%. Generalization, RP: 0 kept and 1 lost at 50%; 0 kept and 1 lost at 50%.
        Calibration, LTH: 1 kept and 0 lost at 50%; 1 kept and 0 lost at 80%. Calibration, RP: 0 kept and
        1 lost at 50%; 0 kept and 1 lost at 50%.
    """
    shown = [p for p in pruners if p in set(judged.pruner)]
    kinds = [d for d in DIMENSIONS if d in set(judged.dimension)]
    if not shown or not kinds:
        raise DataError(f"no verdicts on {', '.join(pruners)}")
    words = []
    with styled():
        figure, axes = panels(len(kinds), 1 if narrow else min(2, len(kinds)), (4.0, 2.5), sharey=False)
        for axis, kind in zip(axes, kinds, strict=True):
            rows = judged[(judged.dimension == kind) & judged.pruner.isin(shown)]
            counts = rows.groupby(["pruner", "sparsity"]).verdict.value_counts().unstack(fill_value=0)
            counts = counts.reindex(columns=list(_PARTS), fill_value=0)
            total = rows.metric.nunique()
            _bars(axis, counts, shown)
            axis.set_title(f"{kind.capitalize()}: {total} metrics", loc="left", fontsize=11)
            axis.set_yticks(range(total + 1))
            axis.tick_params(axis="y", labelsize=9)
            words += [_said(kind, p, counts.loc[p]) for p in shown]
        handles = [Patch(facecolor=f, hatch=h, edgecolor="#444444", label=w) for w, f, h in _PARTS.values()]
        figure.supxlabel("sparsity (% of weights removed)", fontsize=10, y=0.01)
        figure.tight_layout()
        figure.legend(handles=handles, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.0), fontsize=10)
    return marked(figure, f"Metrics kept, undecided and lost by sparsity. {' '.join(words)}", smoke)


def _bars(axis: Axes, counts: pd.DataFrame, pruners: Sequence[str]) -> None:
    gap, start, ticks, labels = 0.8, 0.0, [], []
    for pruner in pruners:
        rows = counts.loc[pruner].sort_index()
        x, bottom = start + np.arange(len(rows)), np.zeros(len(rows))
        for verdict, (_, face, hatch) in _PARTS.items():
            heights = rows[verdict].to_numpy(dtype=float)
            axis.bar(x, heights, 0.86, bottom, color=face, hatch=hatch, edgecolor="#444444", linewidth=0.6)
            bottom += heights
        axis.text(x.mean(), bottom.max() * 1.03, called(pruner), ha="center", va="bottom", fontsize=9.5)
        ticks += list(x)
        labels += [f"{100 * s:.0f}" for s in rows.index]
        start += len(rows) + gap
    axis.set_xticks(ticks, labels, fontsize=9)
    axis.margins(x=0.02)
    axis.set_ylim(0, counts.sum(axis=1).max() * 1.16)
    axis.grid(False)
    axis.tick_params(length=0)


def _said(kind: str, pruner: str, rows: pd.DataFrame) -> str:
    first, last = rows.sort_index().iloc[0], rows.sort_index().iloc[-1]
    ends = (
        f"{at['pass']} kept and {at['fail']} lost at {percent(float(str(s)))}"
        for s, at in ((rows.index.min(), first), (rows.index.max(), last))
    )
    return f"{kind.capitalize()}, {look(pruner).label}: {'; '.join(ends)}."
