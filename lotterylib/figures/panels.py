"""Many metrics on one page: sweeps side by side, how metrics agree, and what a matched comparison leaves of a gap."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from .. import metrics
from ..errors import DataError
from ..text import percent
from ..verdict import over_seeds
from .drawing import Drawn, legend_below, logarithmic, marked, panels, spanned
from .paper import FAR
from .style import in_order, ink_on, look, styled
from .sweep import QUIET, cut_off, draw_panel, legend_of, span

# Of more pruners or named values than these an alt text says only the first and the last.
_TOLD, _MANY = 5, 12


def sweep_panels(
    table: pd.DataFrame, names: Sequence[str], *, highlight: str | None = None, smoke: bool = False
) -> Drawn:
    """Draw several metrics against sparsity as ``sweep`` does, one panel per metric: ``highlight`` with whiskers, or lottery
    tickets with whiskers and random pruning without, among the others in grey.

    ``table`` is of one data set and model. Values that span more than a factor of ten are on a logarithmic axis. Raises
    ``DataError`` for several models, or without any of the metrics.

    Example:
        >>> from lotterylib.results import example
        >>> _, alt = sweep_panels(example(), ["accuracy", "ece"])
        >>> print(alt)
        Test accuracy (higher is better) at 80% sparsity, best to worst: LTH. ECE (lower is better) at
        80% sparsity, best to worst: LTH.
    """
    if len(table.groupby(["dataset", "model"])) > 1:
        raise DataError("panels of sweeps show one data set and one model: choose one of the table's")
    found = {name: over_seeds(table, name) for name in names if name in set(table.metric)}
    if not found:
        raise DataError(f"no records of {', '.join(names)}")
    columns, words = min(3, len(found)), []
    own = [p for p in ([highlight] if highlight else ["lottery", "random"]) if p in set(table.pruner)]
    with styled():
        figure, axes = panels(len(found), columns, (8.0 / columns, 2.6))
        for axis, (name, means) in zip(axes, found.items(), strict=True):
            about = metrics.describe(name)
            means[["value", "low", "high"]] *= 100 if about.percent else 1
            values = means.value.dropna()
            wide = logarithmic(axis, values)
            limits = (values.min() / 1.5, 1.5 * values.max()) if wide else span(means)
            # one method's whiskers and regions: those of two stand on one another
            draw_panel(axis, means, own[:1], limits, own[1:])
            cut_off(axis, means[means.pruner.isin(own[1:])], limits)
            title = f"{about.axis}{', log axis' * wide}"
            axis.set_title(textwrap.fill(title, 32), loc="left", fontsize=9.5)
            words.append(_ranked(means, about, highlight))
        for axis in axes[-columns:]:
            axis.set_xlabel("sparsity (% removed)", fontsize=9)
        shown = [
            Line2D([], [], color=look(p).colour, marker=look(p).marker, label=look(p).label) for p in own
        ]
        if set(table.pruner) - {"dense", *own}:
            shown.append(Line2D([], [], color=QUIET, linewidth=0.8, label="each other method"))
        figure.tight_layout()
        legend_below(figure, [*shown, *legend_of(figure)], 4, fontsize=9)
    return marked(figure, " ".join(words), smoke)


def _each(values: Mapping[str, float], form: str) -> str:
    """Return named values in words; of many only the lowest and the highest."""
    if len(values) > _MANY:
        return spanned(values, form)
    return "; ".join(f"{name} {value:{form}}" for name, value in values.items())


def _ranked(means: pd.DataFrame, about: metrics.About, highlight: str | None) -> str:
    most = means["sparsity"].max()
    deepest = means.loc[(means["sparsity"] == most) & means["value"].notna()]
    order = list(deepest.sort_values(by="value", ascending=about.direction == "lower")["pruner"])
    said = f"{about.label} ({about.direction} is better) at {percent(most)} sparsity"
    if highlight is not None and highlight in order:
        return f"{said}: {look(highlight).label} is number {order.index(highlight) + 1} of {len(order)}."
    if len(order) > _TOLD:
        return f"{about.label} at {percent(most)} sparsity: best {look(order[0]).label}, worst {look(order[-1]).label}."
    return f"{said}, best to worst: {', '.join(look(p).label for p in order)}."


def agreement(matrix: pd.DataFrame, *, smoke: bool = False) -> Drawn:
    """Draw rank correlations (from ``verdict.rank_agreement``) as a table of colours with their numbers.

    1 where two metrics or dimensions order the tickets alike, −1 where one's best is the other's worst. Metrics come in the
    order of their dimensions.

    Example:
        >>> import pandas as pd
        >>> names = ["accuracy", "ece"]
        >>> _, alt = agreement(pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], names, names))
        >>> print(alt)
        Rank correlations of 2 rows over all tickets. Least: accuracy with ECE +0.50. Most: accuracy with
        ECE +0.50.
    """
    known = metrics.names()
    order = [n for n in known if n in matrix] or list(matrix)
    shown = matrix.loc[order, order]
    labels = [metrics.describe(n).short if n in known else n for n in order]
    # Many rows have numbers in tenths, on a figure no wider than a page.
    many = len(order) > 6
    size = min(7.6, 0.34 * len(order) + 1.6) if many else 0.8 * len(order) + 1.6
    numbers = {
        "ha": "center",
        "va": "center",
        "fontsize": 8 if many else 9,
        "fontweight": "bold" if many else "normal",
    }
    with styled():
        figure, axis = plt.subplots(figsize=(size, size))
        drawn = axis.imshow(shown, cmap="PuOr", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(shown.to_numpy(dtype=float)):
            if not math.isnan(value):
                text = (f"{round(10 * value)}" if many else f"{value:.2f}").replace("-", "−")
                if value < 0:
                    # the scale's two ends are equally dark
                    about = {"fill": False, "hatch": "////", "edgecolor": "#8a8a8a", "linewidth": 0}
                    axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **about))
                axis.text(j, i, text, color=ink_on(drawn.cmap(drawn.norm(value))), **numbers)
        slanted = {"rotation": 60, "ha": "right", "rotation_mode": "anchor", "fontsize": 9}
        axis.set_xticks(range(len(order)), labels, **slanted)
        axis.set_yticks(range(len(order)), labels, fontsize=9)
        axis.grid(False)
        kinds = [metrics.describe(n).dimension if n in known else n for n in order]
        for i in range(1, len(order)) if many else ():
            if kinds[i] != kinds[i - 1]:
                axis.axhline(i - 0.5, color="black", linewidth=1)
                axis.axvline(i - 0.5, color="black", linewidth=1)
        axis.set_title(
            f"Spearman's rank correlation{', in tenths' if many else ''}; hatched below 0",
            loc="left",
            fontsize=10,
        )
    pairs = shown.where(np.triu(np.ones(shown.shape, dtype=bool), 1)).stack().dropna().sort_values()
    named = dict(zip(order, labels, strict=True))
    ends = [f"{named[a]} with {named[b]} {r:+.2f}" for (a, b), r in pairs.items()]
    far = f" Least: {'; '.join(ends[:3])}. Most: {'; '.join(ends[:-4:-1])}." if ends else ""
    return marked(figure, f"Rank correlations of {len(order)} rows over all tickets.{far}", smoke)


def against(table: pd.DataFrame, first: str, second: str, *, smoke: bool = False) -> Drawn:
    """Draw one metric against another, one point per ticket (mean over seeds), larger where sparser.

    The line is equality and the black cross is dense. Shares are drawn in per cent. What lies far outside is cut off: an arrow
    gives its sparsity and both values. Raises ``DataError`` where no ticket has both.

    Example:
        >>> from lotterylib.results import example
        >>> _, alt = against(example(), "accuracy", "ece")
        >>> print(alt)
        ECE against Test accuracy, one point per network: 4 of 4 lie below the line of equality; rank
        correlation -1.00 over the tickets.
    """
    keys = ["pruner", "sparsity"]
    pair = over_seeds(table, first).merge(over_seeds(table, second), on=keys, suffixes=("_1", "_2"))
    if pair.empty:
        raise DataError(f"no ticket has records of both {first} and {second}")
    labels = [metrics.describe(n) for n in (first, second)]
    scale = 100 if all(a.percent for a in labels) else 1
    pair = pair.dropna(subset=["value_1", "value_2"])
    pair[["value_1", "value_2"]] *= scale
    (left, right), (low, high) = _limits(pair[["value_1", "value_2"]], pair.pruner)
    inside = pair.value_1.between(left, right) & pair.value_2.between(low, high)
    with styled():
        figure, axis = plt.subplots(figsize=(5.4, 4.2))
        for pruner in in_order(pair.pruner):
            at = pair[inside & (pair.pruner == pruner)]
            label, colour, marker = look(pruner)
            style = {"color": colour, "marker": marker or "+", "label": label, "alpha": 0.85}
            sizes = (20 + 50 * at.sparsity) if marker else 120
            # what all others are compared with is covered by none
            axis.scatter(at.value_1, at.value_2, s=sizes, zorder=3 if marker else 4, **style)
        ends = [min(left, low), max(right, high)]
        axis.plot(ends, ends, "--", color="#888888", linewidth=1)
        axis.set(xlim=(left, right), ylim=(low, high))
        outside = [_point_out(axis, row) for row in pair[~inside].itertuples()]
        named = [a.axis if scale == 100 else f"{a.label} {a.arrow}" for a in labels]
        # along a horizontal axis, up is right
        axis.set(xlabel=named[0].replace("↑", "→").replace("↓", "←"), ylabel=named[1])
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    tickets = pair[pair.pruner != "dense"]
    rank = tickets.value_1.corr(tickets.value_2, method="spearman")
    below = int((pair.value_2 < pair.value_1).sum())
    words = (
        f"{labels[1].label} against {labels[0].label}, one point per network: {below} of {len(pair)} lie below the "
        f"line of equality; rank correlation {rank:.2f} over the tickets."
    )
    if outside:
        words += f" Beyond the axes (arrows): {'; '.join(outside)}."
    return marked(figure, words, smoke)


def _limits(values: pd.DataFrame, pruners: pd.Series) -> list[tuple[float, float]]:
    """Return limits of each axis around what lies near dense in both metrics, and around lottery tickets."""
    dense = values[pruners == "dense"]
    far = (values - (dense if len(dense) else values).median()).abs()
    near = values[(far <= FAR * far.quantile(0.9)).all(axis=1) | pruners.isin(["dense", "lottery"])]
    margin = 0.1 * (near.max() - near.min()).replace(0, 1)
    return list(zip(near.min() - margin, near.max() + margin, strict=True))


def _point_out(axis: Axes, row: Any) -> str:
    """Draw an arrow where a point lies beyond the axes; return what is written beside it."""
    x, y = float(row.value_1), float(row.value_2)
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    across, up = int(x > right) - int(x < left), int(y > high) - int(y < low)
    names = {
        (-1, -1): "sw", (-1, 0): "left", (-1, 1): "nw", (0, -1): "down", (0, 1): "up",
        (1, -1): "se", (1, 0): "right", (1, 1): "ne",
    }  # fmt: skip
    label, colour, _ = look(row.pruner)
    said = f"{label} at {percent(row.sparsity)}, {x:.3g} and {y:.3g}"
    at = min(max(x, left), right), min(max(y, low), high)
    tip = rf"$\{names[across, up]}arrow$"
    axis.plot(*at, marker=tip, color=colour, markersize=13, clip_on=False, zorder=5)
    side: dict[str, Any] = {"ha": "left" if across < 1 else "right", "va": "bottom" if up < 1 else "top"}
    shift = (10 if across < 1 else -10, 4 if up < 1 else -4)
    axis.annotate(said, at, shift, textcoords="offset points", fontsize=9, **side)
    return said


def forest(effects: Mapping[str, tuple[float, float, float]], label: str, *, smoke: bool = False) -> Drawn:
    """Draw effects with their intervals and a line at zero, one row each.

    ``effects``: name → (mean, low, high), NaN bounds where there is no interval. Names that share what stands before a colon
    are grouped. Raises ``DataError`` without effects.

    Example:
        >>> _, alt = forest({"accuracy": (-0.1, -0.2, 0.0)}, "effect")
        >>> print(alt)
        effect, mean and interval, filled where zero lies outside: accuracy -0.1 (-0.2 to +0).
    """
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
            face = "#0072B2" if sure else "white"
            axis.plot(mean, i, "o", color="#0072B2", markerfacecolor=face, markersize=7)
        for i in range(1, len(names)):
            if heads[i] != heads[i - 1]:
                axis.axhline(i - 0.5, color="#999999", linewidth=0.7)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.invert_yaxis()
        axis.set_xlabel(label)
        figure.tight_layout()
    said = "; ".join(f"{n} {m:+.3g} ({low:+.3g} to {high:+.3g})" for n, (m, low, high) in effects.items())
    return marked(figure, f"{label}, mean and interval, filled where zero lies outside: {said}.", smoke)


def doubt_bars(shares: Mapping[str, float], *, smoke: bool = False) -> Drawn:
    """Draw which share of the doubt about a difference (its variance) comes from the trainings, the rest from the test images.

    ``shares``: metric → in [0, 1], one bar each. Raises ``DataError`` for none.

    Example:
        >>> _, alt = doubt_bars({"accuracy": 0.3})
        >>> print(alt)
        Share of the doubt that comes from the trainings, the rest from the test images: Test accuracy 30%.
    """
    if not shares:
        raise DataError("no metric has records of several seeds with an error")
    order = sorted(shares, key=shares.__getitem__)
    labels = [metrics.describe(n).label for n in order]
    values = [100 * shares[n] for n in order]
    with styled():
        figure, axis = plt.subplots(figsize=(7.2, 0.26 * len(order) + 1))
        axis.barh(labels, values, color="#0072B2", label="trainings")
        rest = {"color": "#eeeeee", "edgecolor": "#999999", "hatch": "///", "linewidth": 0.5}
        axis.barh(labels, [100 - v for v in values], left=values, label="test images", **rest)
        axis.set(xlim=(0, 100), ylim=(-0.6, len(order) - 0.4))
        axis.set_xlabel("share of the variance of a ticket's difference to dense (%)")
        axis.tick_params(axis="y", labelsize=8)
        axis.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        figure.tight_layout()
    said = _each(dict(zip(labels, [v / 100 for v in values], strict=True)), ".0%")
    share = "Share of the doubt that comes from the trainings, the rest from the test images"
    return marked(figure, f"{share}: {said}.", smoke)


def resolution_bars(found: pd.DataFrame, *, smoke: bool = False) -> Drawn:
    """Draw half the interval of a typical ticket as a multiple of the limit used (``verdict.resolution``), one dot per metric,
    on a logarithmic axis, with a thread to the line at 1.

    Open diamonds lie beyond it, where not even a network as good as dense would pass. Raises ``DataError`` where no metric has
    an interval.

    Example:
        >>> from lotterylib.results import example
        >>> from ..verdict import passes, resolution
        >>> resolution_bars(resolution(passes(example())))[1][:72]
        'Half the interval of a typical ticket / limit used, above 1 for 0 metric'
    """
    shown = found.loc[found["ratio"] > 0].sort_values(by="ratio")
    if shown.empty:
        raise DataError("no metric has an interval")
    labels = [metrics.describe(n).label for n in shown.index]
    with styled():
        figure, axis = plt.subplots(figsize=(7.2, 0.26 * len(shown) + 1))
        for i, (ratio, able) in enumerate(zip(shown["ratio"], shown["able"], strict=True)):
            colour, marker, face = ("#0072B2", "o", "#0072B2") if able else ("#B34700", "D", "white")
            axis.plot([1, ratio], [i, i], color=colour, linewidth=1, alpha=0.6)
            axis.plot(ratio, i, marker, color=colour, markerfacecolor=face, markersize=6, markeredgewidth=1.5)
        axis.axvline(1, color="black", linewidth=1.2)
        axis.set_xscale("log")
        axis.set_xlim(shown.ratio.min() / 1.5, 1.6 * max(1, shown.ratio.max()))
        axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
        axis.set_yticks(range(len(shown)), labels, fontsize=8)
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.set_xlabel("half the interval / limit used, log axis")
        figure.tight_layout()
    said = _each(dict(zip(labels, shown.ratio, strict=True)), ".2g")
    beyond = int((~shown.able).sum())
    above = f"above 1 for {beyond} metric{'s' * (beyond != 1)}"
    return marked(figure, f"Half the interval of a typical ticket / limit used, {above}: {said}.", smoke)
