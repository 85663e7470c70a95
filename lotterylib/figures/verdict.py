"""Which ticket passes what: a board of verdicts, and the paper's radar charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from .. import metrics
from ..errors import DataError
from ..text import percent
from .drawing import Drawn, marked, panels, stroke
from .style import in_order, look, styled

_BOLD: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}
# Inches of a square, and of what stands above a board of all dimensions and of one.
_CELL = 0.275, 0.22
_LONG_HEAD, _HEAD = 3.5, 1.4
RETRAINING = "as a retraining"
# Colour and sign; the signs alone say it too.
_VERDICTS = {"fail": ("#e08a63", "×"), "undecided": ("#f5f0d8", "?"), "pass": ("#9fc9e8", "●")}


def verdict_board(judged: pd.DataFrame, whole: pd.DataFrame | None = None, *, smoke: bool = False) -> Drawn:
    """Draw one square per ticket and metric: ● pass, × fail, ? undecided. Pruners are blocks, sparsity rises downwards.

    ``judged`` is from ``verdict.passes``, of one data set and model (else ``DataError``); ``whole``, from
    ``verdict.lth_pass``, adds two columns for all metrics at once: LTH-PASS, and whether the ticket lies within what a
    retraining of the dense network changes (×: worse in one metric or more; left out where nothing says so).

    Example:
        >>> from lotterylib.results import example
        >>> from lotterylib.verdict import passes
        >>> _, alt = verdict_board(passes(example()))
        >>> print(alt)
        Verdicts by ticket (rows, grouped by pruner, sparsity rising downwards) and metric (columns). LTH: 3
        pass, 0 undecided, 1 fail. RP: 0 pass, 0 undecided, 2 fail.
    """
    wide, names = _squares(judged, whole)
    rows, columns = wide.shape
    with styled():
        tall = _CELL[1] * rows + _LONG_HEAD
        figure, axis = plt.subplots(figsize=(_CELL[0] * columns + 1.8, tall))
        figure.subplots_adjust(bottom=0, top=1 - _LONG_HEAD / tall)
        _fill(axis, wide, names)
        _legend(axis, rows)
    return marked(figure, _board_words(wide.drop(columns=RETRAINING, errors="ignore")), smoke)


def verdict_boards(judged: pd.DataFrame, whole: pd.DataFrame | None = None, *, smoke: bool = False) -> Drawn:
    """Draw the squares of ``verdict_board`` as one board per dimension, one below the other, for a window that is narrow.

    Example:
        >>> from lotterylib.results import example
        >>> from lotterylib.verdict import passes
        >>> figure, _ = verdict_boards(passes(example()))
        >>> [axis.texts[-1].get_text() for axis in figure.axes]
        ['Generalization', 'Calibration']
    """
    wide, names = _squares(judged, whole)
    kinds = list(dict.fromkeys(metrics.describe(n).dimension for n in names))
    boards = [wide[[n for n in names if metrics.describe(n).dimension == kind]] for kind in kinds]
    # what says it of all metrics stands beside the last ones
    boards[-1] = pd.concat([boards[-1], wide.drop(columns=names)], axis=1)
    across = max(board.shape[1] for board in boards)
    with styled():
        squares = _CELL[1] * len(wide)
        figure, axes = panels(len(boards), 1, (_CELL[0] * across, squares))
        tall = len(boards) * (squares + _HEAD)
        # every board's head within the figure, so that nothing above the figure runs into the first
        figure.subplots_adjust(0, 0, 1, 1 - _HEAD / tall, hspace=_HEAD / squares)
        figure.set_figheight(tall)
        for axis, board, kind in zip(axes, boards, kinds, strict=True):
            _fill(axis, board, [n for n in board if n in names], apart=True)
            place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axis.annotate(kind.capitalize(), (0, 1), (-8, 14), ha="right", **place, **_BOLD)
        _legend(axes[-1], len(wide))
    return marked(figure, _board_words(wide.drop(columns=RETRAINING, errors="ignore")), smoke)


def _squares(judged: pd.DataFrame, whole: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the verdicts of a board, a row per ticket, and which of its columns are metrics."""
    if len(judged.groupby(["dataset", "model"])) != 1:
        raise DataError("a board of verdicts shows one data set and one model: choose one of the table's")
    names = [m for m in metrics.names() if m in set(judged.metric)]
    pruners = in_order(judged["pruner"])
    wide = judged.pivot(index=["pruner", "sparsity"], columns="metric", values="verdict").loc[:, names]
    if whole is not None:
        both = whole.set_index(["pruner", "sparsity"])
        wide = wide.assign(**{"LTH-PASS": both.lth_pass})
        if (both.retraining != "unknown").any():
            wide = wide.assign(**{RETRAINING: both.retraining.map({"within": "pass", "worse": "fail"})})
    return wide.reindex([row for p in pruners for row in wide.index.to_list() if row[0] == p]), names


def _fill(axis: Axes, wide: pd.DataFrame, names: list[str], *, apart: bool = False) -> None:
    order = list(_VERDICTS)
    codes = wide.apply(lambda column: column.map(lambda v: order.index(v) if v in order else math.nan))
    colours = ListedColormap([colour for colour, _ in _VERDICTS.values()])
    axis.imshow(codes, cmap=colours, vmin=0, vmax=len(order) - 1, aspect="auto")
    for (i, j), code in np.ndenumerate(codes.to_numpy(dtype=float)):
        if not math.isnan(code):
            axis.text(j, i, _VERDICTS[order[int(code)]][1], ha="center", va="center", fontsize=9.5)
    _frame(axis, wide, names, apart=apart)


def _legend(axis: Axes, rows: int) -> None:
    handles = [Patch(color=c, label=f"{sign} {name}") for name, (c, sign) in _VERDICTS.items()]
    axis.legend(handles=handles[::-1], ncols=3, loc="upper center", bbox_to_anchor=(0.5, -1 / rows))


def _frame(axis: Axes, wide: pd.DataFrame, names: list[str], *, apart: bool) -> None:
    """Draw the labels of rows and columns, and lines between pruners and dimensions, and the latter's names unless the board is of
    one ``apart``, which has short labels.
    """
    labels = [metrics.describe(n).short if apart else metrics.describe(n).label for n in names] + [
        c for c in wide if c not in names
    ]
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="left", rotation_mode="anchor", fontsize=10)
    axis.xaxis.tick_top()
    rows = list(wide.index)
    axis.set_yticks(range(len(rows)), [percent(s) for _, s in rows], fontsize=10)
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    for pruner in dict.fromkeys(p for p, _ in rows):
        places = [i for i, (p, _) in enumerate(rows) if p == pruner]
        axis.axhline(places[-1] + 0.5, color="white", linewidth=4)
        at = {"xycoords": axis.get_yaxis_transform(), "xytext": (-50, 0), "textcoords": "offset points"}
        middle = (0, sum(places) / len(places))
        axis.annotate(look(pruner).label, middle, ha="right", va="center", **at, **_BOLD)
    kinds = [metrics.describe(n).dimension for n in names] + ["all"] * (len(labels) - len(names))
    for kind in dict.fromkeys(kinds):
        places = [i for i, k in enumerate(kinds) if k == kind]
        axis.axvline(places[-1] + 0.5, color="white", linewidth=4)
        # Where there is room for the word.
        if not apart and kind != "all" and len(kind) <= 4 * len(places):
            middle = sum(places) / len(places)
            axis.text(middle, len(rows) - 0.3, kind.capitalize(), ha="center", va="top", **_BOLD)


def _board_words(wide: pd.DataFrame) -> str:
    words = ["Verdicts by ticket (rows, grouped by pruner, sparsity rising downwards) and metric (columns)."]
    # LTH-PASS is no metric
    squares = wide.drop(columns="LTH-PASS", errors="ignore")
    for pruner, group in squares.groupby(level="pruner", sort=False):
        counts = pd.Series(group.to_numpy().ravel()).value_counts()
        said = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))
        words.append(f"{look(str(pruner)).label}: {said}.")
    if "LTH-PASS" in wide:
        words.append(f"In all at once {(wide['LTH-PASS'] == 'pass').sum()} of {len(wide)} pass.")
    return " ".join(words)


def radar(table: pd.DataFrame, sparsity: float, names: Sequence[str], *, smoke: bool = False) -> Drawn:
    """Draw the paper's radar chart: one small chart per pruner with dense in black, one axis per metric, outward is better.

        r = (v − worst) / (best − worst), over the compared networks, each the mean over its seeds

    So 1 is the best of those shown and 0 the worst, not zero: a chart ranks, it does not measure. A metric that a network
    lacks counts as the worst.

    ``table`` is from ``results.tidy``, of one data set and model; ``names`` stand clockwise from the top. Raises ``DataError``
    for fewer than three metrics, or no ticket at this sparsity.

    Example:
        >>> from lotterylib.results import example
        >>> table = example()
        >>> table = pd.concat([table, table[table.metric == "ece"].assign(metric="nll")])
        >>> _, alt = radar(table, 0.5, ["accuracy", "ece", "nll"])
        >>> print(alt)
        Radar charts at 50% sparsity, min-max over the networks shown, 1 is best. Dense: mean 1.00, best
        in Test accuracy, ECE, NLL (nats). LTH: mean 1.00. RP: mean 0.00.
    """
    places = scaled(table, sparsity, names)
    pruners = in_order(p for p in places.index if p != "dense")
    with styled():
        polar = {"projection": "polar"}
        figure, axes = panels(len(pruners), min(3, len(pruners)), (3.5, 3.0), subplot_kw=polar)
        for axis, pruner in zip(axes, pruners, strict=True):
            labels = [metrics.describe(n).short for n in names]
            draw_radar(axis, places.loc[["dense", pruner], list(names)], labels, fontsize=9.5, pad=-2)
            axis.set_title(look(pruner).label, fontsize=11, pad=24)
        heading = f"{percent(sparsity)} sparsity; dash-dot: dense; outward is better"
        figure.suptitle(heading, fontsize=11)
        # one chart's labels end well before the next one's begin
        figure.tight_layout(w_pad=2.5)
    return marked(figure, _radar_words(places, sparsity, pruners, names), smoke)


def draw_radar(
    axis: Axes,
    places: pd.DataFrame,
    labels: Sequence[str],
    *,
    fontsize: float,
    pad: float,
    width: float = 1.4,
) -> None:
    """Draw rows of ``scaled`` as closed lines on a polar axis, all but dense filled, with labels on their own side."""
    angles = np.linspace(0, 2 * np.pi, len(labels), endpoint=False)
    closed = np.append(angles, angles[0])
    axis.set(theta_offset=np.pi / 2, theta_direction=-1)
    for who, row in places.iterrows():
        radii = np.append(row.to_numpy(dtype=float), row.iloc[0])
        _, colour, marker = look(str(who))
        style = {"marker": marker if width > 1.2 else "", "markersize": 4, "linewidth": width}
        axis.plot(closed, radii, stroke(str(who)), color=colour, **style)
        if who != "dense":
            axis.fill(closed, radii, color=colour, alpha=0.2)
    axis.set_ylim(0, 1.05)
    axis.set_yticks([0.5, 1.0], ["", ""])
    # the chart beside this one has labels, too
    axis.set_xticks(angles, [label.replace(" ", "\n") for label in labels], fontsize=fontsize)
    for label, side in zip(axis.get_xticklabels(), np.sin(angles), strict=True):
        label.set_horizontalalignment("center" if abs(side) < 0.1 else "left" if side > 0 else "right")
    axis.tick_params(axis="x", pad=pad)


def scaled(table: pd.DataFrame, sparsity: float, names: Sequence[str]) -> pd.DataFrame:
    """Return what ``radar`` draws, in [0, 1]: one row per network ("dense" and each pruner), one column per metric."""
    if len(names) < 3:
        raise DataError(f"a radar chart needs three metrics or more, got {len(names)}")
    at: Any = table[(table.pruner == "dense") | ((table.sparsity - sparsity).abs() < 1e-6)]
    means = at[at.metric.isin(names)].groupby(["pruner", "metric"]).value.mean().unstack("metric")
    if len(means) < 2 or "dense" not in means.index:
        raise DataError(f"no dense network and ticket to compare at sparsity {percent(sparsity)}")
    signs = pd.Series({n: 1 if metrics.describe(n).direction == "higher" else -1 for n in names})
    good = means.reindex(columns=list(names)) * signs
    span = (good.max() - good.min()).replace(0, math.nan)
    return ((good - good.min()) / span).fillna(0.0)


def _radar_words(places: pd.DataFrame, sparsity: float, pruners: list[str], names: Sequence[str]) -> str:
    words = [f"Radar charts at {percent(sparsity)} sparsity, min-max over the networks shown, 1 is best."]
    for who in ["dense", *pruners]:
        mean = places.loc[who].mean()
        best = [metrics.describe(n).label for n in names if places.loc[who, n] == 1]
        wins = f", best in {', '.join(best)}" if best else ""
        words.append(f"{look(who).label}: mean {mean:.2f}{wins}.")
    return " ".join(words)
