"""A metric against sparsity, for all pruners: one small panel per pruner, or one pruner among a few others."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import metrics
from ..results import setting_name
from ..text import percent, short
from ..verdict import Region, over_seeds, paper
from .drawing import Drawn, by_rows, by_setting, curve_of, legend_below, marked, spanned
from .style import called, in_order, legible, look, styled

# the paper's own curve: a dot at each sparsity that it printed
_PRINTED: dict[str, Any] = {
    "gid": "the paper, digitised",
    "color": "black",
    "linestyle": ":",
    "linewidth": 0.8,
    "marker": "o",
    "markersize": 2,
}
_STROKES: dict[Region, Any] = {Region.I: "-", Region.II: "--", Region.III: ":"}
# Of more pruners than these an alt text says only between which values they lie.
_TOLD = 4
# Beside a highlighted pruner stand, where nobody says otherwise, the paper's ticket and chance.
_BESIDE = ("lottery", "random")
QUIET = "#b8b8b8"
# Between two curves that are one line.
_GAP = np.full((2, 1), np.nan)
# What lies beyond the axis: no method's own marker.
_UP, _DOWN, _BOTH = r"$\uparrow$", r"$\downarrow$", r"$\updownarrow$"
# What artists are, for the legend: it explains what is drawn, and nothing else.
_END, _INTERVAL, _OPEN, _BEYOND = "end of Region I", "95% interval", "interval goes on", "beyond the axis"
# The share of the y axis by which it grows for what would just miss it.
_NEAR = 0.2
# Inches and columns: no wider than a page shows them, so that 9 points stay 9 points; the second on a phone.
_WIDTH, _COLUMNS, _TEXT = 8.0, 3, 9
_NARROW_WIDTH, _NARROW_COLUMNS = 4.5, 2


def sweep(
    table: pd.DataFrame,
    metric: str = "accuracy",
    *,
    highlight: str | None = None,
    beside: Sequence[str] = _BESIDE,
    narrow: bool = False,
    smoke: bool = False,
) -> Drawn:
    """Draw a metric's mean over seeds against sparsity, with its 95% interval as whiskers.

    Each pruner has a small panel in which the others are grey; with ``highlight``, that one stands beside a few others, with
    a close-up. The x axis counts rounds of pruning (20% of the remaining weights each). A curve is
    solid up to the last sparsity of Region I, where a thin vertical line stands, then dashed (Region II), and dotted once
    collapsed (Region III). Dense is the black dash-dot line. What lies far outside is cut off: an arrow gives its value.
    Where the paper has printed the same curve, it is drawn dotted in black.

    Args:
        table: From ``results.tidy``; each data set and model has rows of panels of its own.
        metric: Name, or ``metric:variant``.
        highlight: Name of the one pruner that the figure is about.
        beside: Names of the pruners that stand beside it, as far as the table has them.
        narrow: Whether the panels of all pruners stand two abreast, for a phone, rather than three.
        smoke: Whether the numbers mean nothing, which figure and alt text then say.

    Example:
        >>> from lotterylib.results import example
        >>> _, alt = sweep(example(), "accuracy")
        >>> print(alt)
        Test accuracy (higher is better) against sparsity, LeNet on scikit-learn's digits, mean of 2 seeds.
        Dense: 90%. LTH: 89.8 at 50%, 85 at 80%. RP: 40 at 50%.
    """
    about = metrics.describe(metric)
    percent = about.percent
    means: Any = over_seeds(table, metric)
    means[["value", "low", "high"]] *= 100 if percent else 1
    if percent:
        # A t interval knows no bounds, a share does.
        means[["low", "high"]] = means[["low", "high"]].clip(0, 100)
    settings = [_Setting.of(d, m, rows, metric, percent) for d, m, rows in by_setting(means)]
    # a study under way may have measured its dense networks alone: nothing to see beside another's tickets
    settings = [s for s in settings if s.pruners] or settings
    chosen = [] if highlight is None else list(dict.fromkeys((highlight, *beside)))
    with styled():
        figure = _among(settings, about.axis, chosen) if chosen else _multiples(settings, about.axis, narrow)
    words = [_alt(s, about, chosen) for s in settings]
    return marked(figure, " ".join(words), smoke)


def sweep_caption(pruner: str) -> str:
    """Return what a page says below a sweep of test accuracy that highlights a pruner.

    Example:
        >>> sweep_caption("snip")[:58]
        'Test accuracy against sparsity, SNIP as the thick curve, w'
    """
    return (
        f"Test accuracy against sparsity, {called(pruner)} as the thick curve, which alone has whiskers (95% intervals). Its thin "
        "vertical line, if it has one, marks the highest sparsity at which its mean is at most one point below dense. The answer "
        "asks for more: that this be certain."
    )


class _Setting(NamedTuple):
    """One data set and model: means over seeds, and the paper's own curves where it has some."""

    dataset: str
    model: str
    means: pd.DataFrame
    printed: pd.DataFrame

    @classmethod
    def of(cls, dataset: str, model: str, means: pd.DataFrame, metric: str, percent: bool) -> _Setting:
        theirs = paper.digitised()
        same = (theirs.dataset == dataset) & (theirs.model == model) & (theirs.metric == metric)
        # beyond our sparsest there is nothing to compare
        same &= theirs.sparsity <= means["sparsity"].max() + 0.005
        scaled = theirs.loc[same].assign(value=theirs.value[same] * (100 if percent else 1))
        return cls(dataset, model, means, scaled)

    @property
    def name(self) -> str:
        return setting_name(self.model, self.dataset)

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of the y axis: around ours, and around the paper's lottery tickets and dense network."""
        low, high = span(self.means)
        theirs: Any = self.printed.loc[self.printed["pruner"].isin(["lottery", "dense"]), "value"]
        if theirs.empty:
            return low, high
        margin = 0.04 * (theirs.max() - theirs.min())
        return min(low, theirs.min() - margin), max(high, theirs.max() + margin)

    @property
    def pruners(self) -> list[str]:
        return in_order(set(self.means["pruner"]) - {"dense"})


def _multiples(settings: Sequence[_Setting], label: str, narrow: bool) -> Figure:
    width, columns = (_NARROW_WIDTH, _NARROW_COLUMNS) if narrow else (_WIDTH, _COLUMNS)
    rows = [-(-max(1, len(s.pruners)) // columns) for s in settings]
    figure = plt.figure(figsize=(width, 1.75 * sum(rows) + 0.35 * len(rows) + 0.3), layout="constrained")
    blocks: Any = figure.subfigures(len(settings), squeeze=False, height_ratios=rows)
    for block, count, setting in zip(blocks[:, 0], rows, settings, strict=True):
        axes = block.subplots(count, columns, sharex=True, sharey=True, squeeze=False)
        block.suptitle(f"{label}, {setting.name}", fontsize=10, x=0.01, ha="left")
        limits = setting.limits
        # A study of dense networks alone has one panel, with their line.
        shown = setting.pruners or ["dense"]
        for axis, pruner in zip(axes.flat, shown, strict=False):
            draw_panel(axis, setting.means, [pruner], limits)
            _print(axis, setting, [pruner])
            colour = legible(look(pruner).colour)
            axis.set_title(_name(setting.means, pruner), loc="left", fontsize=10, color=colour)
        for axis in axes.flat[len(shown) :]:
            axis.axis("off")
        # the lowest of each column, which need not be in the last row
        for axis in axes.flat[max(0, len(shown) - columns) : len(shown)]:
            axis.tick_params(axis="x", labelbottom=True)
        block.supxlabel("sparsity (% of prunable weights removed)", fontsize=_TEXT)
    entries = legend_of(figure)
    abreast = min(2 if narrow else 6, len(entries))
    figure.legend(
        handles=by_rows(entries, abreast), ncols=abreast, loc="outside lower center", fontsize=_TEXT
    )
    return figure


def _among(settings: Sequence[_Setting], label: str, pruners: Sequence[str]) -> Figure:
    figure, axes = plt.subplots(len(settings), 2, figsize=(_WIDTH, 3.4 * len(settings)), squeeze=False)
    for row, setting in zip(axes, settings, strict=True):
        bold = [p for p in pruners if p in setting.pruners]
        means = setting.means[setting.means["pruner"].isin([*bold, "dense"])]
        for axis, limits in zip(row, (span(means, whole=True), span(means)), strict=True):
            draw_panel(axis, means, bold[:1], limits, bold[1:])
            _print(axis, setting, bold[:1])
            _name_ends(axis, means, bold, limits)
            axis.set_xlabel("sparsity (% removed)", fontsize=_TEXT)
        row[0].set_ylabel(label, fontsize=_TEXT)
        row[0].set_title(setting.name, loc="left", fontsize=10)
        row[1].set_title("the same, close to dense", loc="left", fontsize=10)
    entries = legend_of(figure)
    figure.tight_layout(w_pad=2.5)
    legend_below(figure, entries, min(6, len(entries)), fontsize=_TEXT)
    return figure


def region_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each pruner the last measured sparsity of Region I and the first of Region III, in words ("none").

    Example:
        >>> from lotterylib.results import example
        >>> region_table(example())["in Region I up to"].tolist()
        ['50%', 'none']
    """
    found = by_setting(over_seeds(table, "accuracy"))
    rows = []
    for dataset, model, panel in found:
        for pruner in in_order(set(panel["pruner"]) - {"dense"}):
            curve: Any = curve_of(panel, pruner)
            won, lost = (curve["sparsity"][curve["region"] == r] for r in (Region.I, Region.III))
            setting = [dataset, model] if len(found) > 1 else []
            rows.append((*setting, look(pruner).label, _percent(won.max()), _percent(lost.min())))
    setting = ["data set", "model"] if len(found) > 1 else []
    names = [*setting, "pruner", "in Region I up to", "collapsed from"]
    return pd.DataFrame(rows, columns=pd.Index(names)).set_index("pruner").rename_axis(None)


def _percent(sparsity: float) -> str:
    return "none" if math.isnan(sparsity) else percent(sparsity)


def rounds(sparsity: float) -> float:
    """Return how many rounds of 20% lead to a sparsity: log(1 − s) / log 0.8.

    >>> round(rounds(0.488), 6)
    3.0
    """
    return math.log(1 - sparsity) / math.log(0.8)


def span(means: pd.DataFrame, *, whole: bool = False) -> tuple[float, float]:
    """Return limits of the y axis: around all of lottery tickets and of dense, and around the nine tenths of the others that lie
    nearest to dense; ``whole``: around everything. Collapsed networks count where ``whole``, or where there are no others.

    Whiskers may leave it, since one collapsed seed makes an interval as wide as the axis.
    """
    alive = means if whole else means[means["region"] != Region.III]
    dense: Any = means.loc[means["pruner"] == "dense", "value"]
    values: Any = (alive if len(alive) > len(dense) else means)["value"].dropna()
    # of two or three values, all
    if not whole and len(values) > 3:
        far = (values - dense.iloc[0]).abs()
        values = values[far <= far.quantile(0.9)]
        always = alive["pruner"].isin(["lottery", "dense"])
        values = pd.concat([values, alive["value"][always].dropna()])
    low, high = values.min(), values.max()
    if not whole:
        # what would miss the axis by little: other points, and the intervals of lottery tickets
        spare = _NEAR * (high - low)
        ends: Any = alive.loc[alive["pruner"] == "lottery", ["low", "high"]]
        near = np.concatenate([values, alive["value"], ends.to_numpy().ravel()])
        near = near[(near >= low - spare) & (near <= high + spare)]
        low, high = near.min(), near.max()
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin


def draw_panel(
    axis: Axes,
    means: pd.DataFrame,
    bold: Collection[str],
    limits: tuple[float, float],
    named: Collection[str] = (),
) -> None:
    """Draw one setting's curves (from ``over_seeds``) on an axis that counts rounds: ``bold`` ones with markers, whiskers and the
    end of their Region I, ``named`` ones in their colour with markers, all others in quiet grey."""
    axis.set_ylim(*limits)
    dense = means[means.pruner == "dense"].iloc[0]
    axis.axhline(dense.value, color="black", linestyle="-.", linewidth=1.1, zorder=2)
    curves = dict(iter(means[means.pruner != "dense"].sort_values("sparsity").groupby("pruner")))
    quiet = [_points(curve, dense.value) for p, curve in curves.items() if p not in {*bold, *named}]
    if quiet:
        # as one line with gaps: a figure of many panels has hundreds of them
        x, y = np.concatenate([part for line in quiet for part in (line, _GAP)], axis=1)
        axis.plot(x, y, "-", color=QUIET, linewidth=0.8, zorder=1)
    for pruner in sorted(in_order(curves.keys() & {*bold, *named}), key=lambda p: p in bold):
        _line(axis, curves[pruner], dense.value, pruner, bold=pruner in bold)
        if pruner in bold:
            _whiskers(axis, curves[pruner], pruner, limits)
            cut_off(axis, curves[pruner], limits)
    levels = sorted(means["sparsity"].unique())
    shown = [s for s in levels if s > 0]
    shown = shown[:: max(1, -(-len(shown) // 7))]
    axis.set_xticks([rounds(s) for s in (0.0, *shown)], ["0", *_short(shown)], fontsize=_TEXT)
    axis.tick_params(axis="y", labelsize=_TEXT)


def _short(levels: Sequence[float]) -> list[str]:
    """Return sparsities in per cent, as short as tells them apart."""
    whole = [f"{100 * s:.0f}" for s in levels]
    return (
        whole if len(set(whole)) == len(whole) and "100" not in whole else [f"{100 * s:.3g}" for s in levels]
    )


def _points(curve: pd.DataFrame, start: float) -> np.ndarray:
    """Return the places of a curve's points, from dense on: rounds and values."""
    return np.array([[0.0, *(rounds(s) for s in curve.sparsity)], [start, *curve.value]])


def _line(axis: Axes, curve: pd.DataFrame, start: float, pruner: str, *, bold: bool) -> None:
    _, colour, marker = look(pruner)
    x, y = _points(curve, start)
    won = [i + 1 for i, r in enumerate(curve.region) if r == Region.I]
    end = max(won, default=0)
    # without its colour, too, a named curve is no grey one
    style = {"color": colour, "linewidth": 1.9 if bold else 1.4, "zorder": 4 if bold else 3}
    for i in range(1, len(x)):
        region = Region.I if i <= end else Region(curve.region.iloc[i - 1])
        axis.plot(x[i - 1 : i + 1], y[i - 1 : i + 1], _STROKES[region], gid=str(region), **style)
    size = 5.5 if bold else 4.8
    axis.plot(
        x[1:], y[1:], linestyle="", marker=marker, color=colour, markersize=size, zorder=style["zorder"]
    )
    if bold and end:
        axis.axvline(x[end], color=colour, linewidth=0.9, dashes=(1, 2), zorder=1, gid=_END)


def _whiskers(axis: Axes, curve: pd.DataFrame, pruner: str, limits: tuple[float, float]) -> None:
    """Draw intervals; one that goes on beyond the axis has an open head there, and one whose
    point lies beyond it is left out."""
    known = curve[curve.low.notna() & curve.value.between(*limits)]
    x = np.array([rounds(s) for s in known.sparsity])
    colour = look(pruner).colour
    if len(x):
        axis.vlines(x, known.low, known.high, color=colour, linewidth=1.5, zorder=3, gid=_INTERVAL)
    head: dict[str, Any] = {"gid": _OPEN, "linestyle": "", "color": colour, "markerfacecolor": "white"}
    low, high = limits
    for edge, marker, beyond in ((low, "v", known.low < low), (high, "^", known.high > high)):
        there = x[beyond.to_numpy()]
        if len(there):
            axis.plot(
                there, np.full(len(there), edge), marker=marker, markersize=4, zorder=4, clip_on=False, **head
            )


def cut_off(axis: Axes, curves: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Point out of the axis to what of some pruners' curves lies beyond it, with its values right of the arrow: its curve comes
    from the left."""
    # room for numbers right of the last points, where no curve passes
    axis.margins(x=0.1)
    low, high = limits
    far: Any = curves[curves["value"].notna() & ~curves["value"].between(low, high)]
    for (sparsity, below), points in far.groupby(["sparsity", far["value"] < low]):
        at = (rounds(sparsity), low if below else high)
        tip: dict[str, Any] = {"marker": _DOWN if below else _UP, "markersize": 10, "clip_on": False}
        for pruner in points["pruner"]:
            axis.plot(*at, linestyle="", color=look(pruner).colour, zorder=5, gid=_BEYOND, **tip)
        numbers = ", ".join(f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.3g}" for v in points["value"])
        box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        # away from the arrow, and inside the axis
        place = {"xytext": (5, 2 if below else -2), "ha": "left", "va": "bottom" if below else "top"}
        axis.annotate(
            numbers, at, textcoords="offset points", fontsize=8.5, rotation=90, bbox=box, zorder=4.5, **place
        )


def _name_ends(axis: Axes, means: pd.DataFrame, pruners: Sequence[str], limits: tuple[float, float]) -> None:
    """Write each pruner's label, and dense, where its curve ends, one below the other where they would touch."""
    low, high = limits
    ends = {"dense": float(curve_of(means, "dense")["value"].iloc[0])}
    ends |= {p: float(curve_of(means, p)["value"].iloc[-1]) for p in pruners}
    order = sorted((who for who, value in ends.items() if not math.isnan(value)), key=lambda w: -ends[w])
    for who, place in zip(order, _apart([ends[w] for w in order], low, high), strict=True):
        style = {"color": look(who).colour, "fontsize": _TEXT, "va": "center", "annotation_clip": False}
        off = "" if low <= ends[who] <= high else " ↓" if ends[who] < low else " ↑"
        at = {"xycoords": ("axes fraction", "data"), "ha": "left"}
        axis.annotate(f"{look(who).label}{off}", (1.02, place), **at, **style)


def _apart(values: Sequence[float], low: float, high: float, share: float = 0.075) -> list[float]:
    """Return falling values moved apart by a share of the axis, within its limits.

    >>> [round(v, 2) for v in _apart([2.0, 0.99, -1.0], 0.0, 1.0, 0.1)]
    [1.0, 0.9, 0.0]
    """
    least, places = share * (high - low), []
    for value in values:
        places.append(min(max(low, min(high, value)), places[-1] - least if places else high))
    for i in range(len(places) - 1, -1, -1):
        floor = low if i == len(places) - 1 else places[i + 1] + least
        places[i] = max(places[i], floor)
    return places


def _print(axis: Axes, setting: _Setting, pruners: Sequence[str]) -> None:
    """Draw the paper's own curve of each pruner, dotted."""
    for pruner in pruners:
        curve = curve_of(setting.printed, pruner)
        if len(curve):
            x = [rounds(s) for s in curve["sparsity"]]
            axis.plot(x, curve["value"], zorder=2, **_PRINTED)


def _name(means: pd.DataFrame, pruner: str) -> str:
    """Return a pruner's label, with its seeds where it has fewer than others."""
    seeds: Any = means["seeds"]
    own = seeds[means["pruner"] == pruner]
    least, most = int(own.min()), int(own.max())
    if least == seeds.max():
        return look(pruner).label
    count = f"{least}" if least == most else f"{least} to {most}"
    return f"{look(pruner).label} ({count} seed{'s' * (most > 1)})"


def beyond_of(figure: Figure) -> list[Artist]:
    """Return the legend's line for arrows out of the axis, which points where those of the figure do; none where it has none."""
    drawn = {
        str(line.get_marker()) for axis in figure.axes for line in axis.lines if line.get_gid() == _BEYOND
    }
    marker = _BOTH if len(drawn) > 1 else next(iter(drawn), None)
    style: dict[str, Any] = {"marker": marker, "markersize": 10, "linestyle": "", "color": "#333333"}
    return [Line2D([], [], label=_BEYOND, **style)] if drawn else []


def legend_of(figure: Figure) -> list[Artist]:
    """Return the legend's lines for what a figure shows: dense, regions, the end of the first, intervals, and the paper."""
    grey: dict[str, Any] = {"linestyle": "", "color": "#333333"}
    lines: list[Artist] = [Line2D([], [], color="black", linestyle="-.", label="dense")]
    lines += [Line2D([], [], color="#333333", linestyle=s, label=str(r)) for r, s in _STROKES.items()]
    lines += [
        Line2D([], [], label=_END, marker=r"$\vdots$", markersize=11, **grey),
        Line2D([], [], label=_INTERVAL, marker="|", markersize=11, markeredgewidth=1.5, **grey),
        Line2D([], [], label=_OPEN, marker="^", markersize=4, markerfacecolor="white", **grey),
        *beyond_of(figure),
        Line2D([], [], label=_PRINTED["gid"], **_PRINTED),
    ]
    parts = (part for axis in figure.axes for part in (*axis.lines, *axis.collections, *axis.texts))
    drawn = {"dense", *(part.get_gid() for part in parts)}
    return [line for line in lines if line.get_label() in drawn]


def _ends(means: pd.DataFrame) -> list[float]:
    levels = means.loc[(means["sparsity"] > 0) & means["value"].notna(), "sparsity"]
    return sorted({levels.min(), levels.max()})


def _spans(means: pd.DataFrame, sparsity: float) -> str:
    """Say between which values all pruners lie that have this sparsity."""
    at = means[(means["sparsity"] == sparsity) & means["value"].notna()]
    values = {look(p).label: v for p, v in zip(at["pruner"], at["value"], strict=True)}
    return f"At {_percent(sparsity)}, {len(at)} method{'s' * (len(at) > 1)}: {spanned(values)}."


def _alt(setting: _Setting, about: metrics.About, chosen: Sequence[str]) -> str:
    unit = {"%": "%", "points": " points"}.get(about.sign, "")
    seeds = int(setting.means["seeds"].max())
    dense = curve_of(setting.means, "dense")["value"].iloc[0]
    words = [
        f"{about.label} ({about.direction} is better) against sparsity, {setting.name}, mean of "
        f"{seeds} seed{'s' * (seeds > 1)}. Dense: {short(dense)}{unit}."
    ]
    shown = chosen or setting.pruners
    if len(shown) > _TOLD:
        words += [_spans(setting.means, s) for s in _ends(setting.means)]
        shown = _BESIDE
    for pruner in [p for p in shown if p in setting.pruners]:
        curve: Any = curve_of(setting.means, pruner)
        first, last = curve.iloc[0], curve.iloc[-1]
        ends = dict.fromkeys(f"{short(p.value)} at {_percent(p.sparsity)}" for p in (first, last))
        words.append(f"{_name(setting.means, pruner)}: {', '.join(ends)}.")
    if len(setting.printed):
        words.append("The paper's own curves are dotted.")
    return " ".join(words)
