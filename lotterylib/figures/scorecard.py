"""Pictures of one network's scorecard, and of what pruned networks save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from ..errors import SettingError
from ..text import signed
from .drawing import Drawn
from .style import called, legible, look, styled

# colour and marker: neither alone carries the verdict
_VERDICTS = {
    "better": ("better", "#0072B2", "^"),
    "holds": ("holds up", "#009E73", "o"),
    "floor": ("at the floor", "#777777", "s"),
    "undecided": ("undecided", "#B07A00", "D"),
    "worse": ("worse", "#D62728", "v"),
}
# tolerances shown to either side
_SPAN = 5


def differences(rows: Sequence[Any]) -> Drawn:
    """Draw every metric's difference to dense with its 95% interval, in tolerances and so turned that right is better.

    The grey band is what counts as comparable. An interval that runs out has a head there, and beside it where it ends; before
    that the difference, where it lies out as well.

    Args:
        rows: Those of a ``Scorecard``. Raises ``SettingError`` for none.

    Example:
        >>> from types import SimpleNamespace
        >>> interval = dict(difference=0.002, low=-0.001, high=0.005, tolerance=0.01)
        >>> differences([SimpleNamespace(label="Accuracy", direction="higher", verdict="holds", **interval)])[1]
        'Differences of 1 metrics to the dense network, with 95% intervals: holds up in Accuracy.'
    """
    if not rows:
        raise SettingError("no rows to draw: want those of a scorecard")
    with styled():
        figure, axis = plt.subplots(figsize=(7.6, 0.34 * len(rows) + 1.5))
        axis.axvspan(-1, 1, color="#e4e4e4", zorder=0)
        axis.axvline(0, color="black", linestyle="-.", linewidth=1)
        beyond = {}
        for y, row in enumerate(rows):
            sign, unit = (1 if row.direction == "higher" else -1), row.tolerance or 1.0
            low, high = sorted(sign * value / unit for value in (row.low, row.high))
            middle = sign * row.difference / unit
            _, colour, marker = _VERDICTS[row.verdict]
            axis.plot([_within(low), _within(high)], [y, y], color=colour, linewidth=2)
            axis.plot([_within(middle)], [y], marker, color=colour, markersize=6)
            for side, end in ((-1, low), (1, high)):
                if side * end > _SPAN:
                    values = (middle, end) if side * middle > _SPAN else (end,)
                    beyond[y, side] = ", to ".join(
                        signed(v, ".1f" if abs(v) < 10 else ",.0f") for v in values
                    )
                    axis.plot(
                        [side * (_SPAN + 0.25)], [y], "<" if side < 0 else ">", color=colour, markersize=5
                    )
                    at = {"ha": "right" if side < 0 else "left", "va": "center", "fontsize": 8.5}
                    axis.text(side * (_SPAN + 0.45), y, beyond[y, side], color=legible(colour), **at)
        labels = [f"{row.label} {'↑' if row.direction == 'higher' else '↓'}" for row in rows]
        axis.set_yticks(range(len(rows)), labels)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        # as wide as the words beside the heads
        most = {
            side: max([len(told) for (_, s), told in beyond.items() if s == side], default=0)
            for side in (-1, 1)
        }
        axis.set_xlim(
            *(side * (_SPAN + (0.7 + 0.24 * long if long else 0.15)) for side, long in most.items())
        )
        axis.set_xticks(range(1 - _SPAN, _SPAN, 2))
        axis.set_xlabel("difference to dense, in tolerances; right is better")
        for name in dict.fromkeys(row.verdict for row in rows):
            words, colour, marker = _VERDICTS[name]
            axis.plot([], [], marker=marker, color=colour, label=words)
        axis.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.3, 1.0))
        figure.tight_layout()
    found = {v: [row.label for row in rows if row.verdict == v] for v in _VERDICTS}
    words = "; ".join(f"{_VERDICTS[v][0]} in {', '.join(labels)}" for v, labels in found.items() if labels)
    out = "; ".join(f"{rows[y].label} {told}" for (y, _), told in beyond.items())
    far = f" Beyond {_SPAN} tolerances, right is better: {out}." if out else ""
    return (
        figure,
        f"Differences of {len(rows)} metrics to the dense network, with 95% intervals: {words}.{far}",
    )


def _within(value: float) -> float:
    return max(-_SPAN, min(_SPAN, value))


def trade_offs(networks: Sequence[Mapping[str, Any]]) -> Drawn:
    """Draw accuracy against size and time, one mark per network; its colour and shape are the grade of its worst dimension.

    The line joins the networks that no other beats in both. Grey: the dense network.

    Args:
        networks: Mappings with ``network``, ``accuracy``, ``dense`` (its accuracy), ``stored`` and ``stored_dense`` (bytes),
            ``milliseconds`` and ``grade``; NaN for what is not known.

    Example:
        >>> one = dict(network="a.pt", accuracy=0.9, dense=0.91, stored=2e6, stored_dense=8e6, milliseconds=3.0, grade="holds")
        >>> trade_offs([one])[1]
        'Accuracy against size and time. a.pt: 90.0% at 2.00 MB, holds up.'
    """
    if not networks:
        raise SettingError("no networks to draw")
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), sharey=True)
        for axis, key, scale, title in (
            (axes[0], "stored", 1e6, "file, survivors only (MB) ←"),
            (axes[1], "milliseconds", 1, "time of a batch (ms) ←"),
        ):
            points = [(each[key] / scale, 100 * each["accuracy"]) for each in networks]
            front = [(x, y) for x, y in sorted(points) if not any(a <= x and b > y for a, b in points)]
            axis.step(*zip(*front, strict=True), where="post", color="#bbbbbb", zorder=0) if front else None
            for each, (x, y) in zip(networks, points, strict=True):
                words, colour, marker = _VERDICTS.get(each["grade"], ("measured", "#444444", "o"))
                axis.plot([x], [y], marker, color=colour, markersize=7)
                axis.annotate(each["network"], (x, y), xytext=(5, 4), textcoords="offset points", fontsize=9)
            axis.axhline(100 * networks[0]["dense"], color="black", linestyle="-.", linewidth=1)
            axis.set_xlabel(title)
        axes[0].set_ylabel("test accuracy (%) ↑")
        for grade in dict.fromkeys(each["grade"] for each in networks):
            words, colour, marker = _VERDICTS.get(grade, ("measured", "#444444", "o"))
            axes[0].plot([], [], marker, color=colour, label=f"worst dimension: {words}")
        axes[0].legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        figure.tight_layout()
    said = "; ".join(
        f"{each['network']}: {each['accuracy']:.1%} at {each['stored'] / 1e6:.2f} MB, "
        f"{_VERDICTS.get(each['grade'], ('measured',))[0]}"
        for each in networks
    )
    return figure, f"Accuracy against size and time. {said}."


def worth(table: pd.DataFrame) -> Drawn:
    """Draw what networks keep of the dense one's size, and how fast they are: one row of bars per network.

    Args:
        table: As ``efficiency.speed.table`` gives it.

    Example:
        >>> shares = dict(kept_share=0.2, stored_share=0.3, multiply_adds_share=0.9, memory_share=1.0)
        >>> speed = dict(speedup=1.1, low=1.0, high=1.2)
        >>> worth(pd.DataFrame([dict(network="magnitude", **shares, **speed)]))[1]
        'What networks take, against dense. one-shot magnitude pruning: 20% of the parameters, 90% of the multiply-adds, 1.10 times as fast.'
    """
    panels = {
        "kept_share": "parameters kept",
        "stored_share": "file",
        "multiply_adds_share": "multiply-adds",
        "memory_share": "memory of a batch",
    }
    rows = table.to_dict("records")
    looks = [look(row["network"]) for row in rows]
    with styled():
        figure, axes = plt.subplots(1, 5, figsize=(8.6, 0.42 * len(rows) + 1.4), sharey=True)
        for axis, (column, title) in zip(axes, panels.items(), strict=False):
            shares = [100 * row[column] for row in rows]
            axis.barh(range(len(rows)), shares, color=[each.colour for each in looks])
            axis.axvline(100, color="black", linestyle="-.", linewidth=1)
            axis.set_title(f"{title}\n(% of dense) ↓", fontsize=10, loc="left")
            for y, share in enumerate(shares):
                ink = "white" if share > 75 else "black"
                axis.text(min(share, 60) + 3, y, f"{share:.0f}", va="center", fontsize=10, color=ink)
        for y, (row, each) in enumerate(zip(rows, looks, strict=True)):
            spread = [[row["speedup"] - row["low"]], [row["high"] - row["speedup"]]]
            axes[-1].errorbar(row["speedup"], y, xerr=spread, fmt="o", color=each.colour, markersize=5)
        axes[-1].axvline(1, color="black", linestyle="-.", linewidth=1)
        axes[-1].set_title("speed, median\n(dense = 1) ↑", fontsize=10, loc="left")
        axes[0].set_yticks(range(len(rows)), [each.label for each in looks])
        axes[0].invert_yaxis()
        figure.tight_layout()
    words = "; ".join(
        f"{called(row['network'])}: {row['kept_share']:.0%} of the parameters, {row['multiply_adds_share']:.0%} of the "
        f"multiply-adds, {row['speedup']:.2f} times as fast"
        for row in rows
    )
    return figure, f"What networks take, against dense. {words}."


def sparse_speed(speedups: Mapping[float, Any]) -> Drawn:
    """Draw how fast a sparse kernel is, compared with the dense one, against sparsity.

    Args:
        speedups: As ``efficiency.speed.sparse_linear_speedups`` gives them.

    Example:
        >>> from types import SimpleNamespace
        >>> sparse_speed({0.9: SimpleNamespace(speedup=2.0, low=1.8, high=2.2)})[1]
        'A sparse kernel against the dense one for one linear layer: 2.00 times as fast at 90% zeros.'
    """
    with styled():
        figure, axis = plt.subplots(figsize=(5.6, 3.2))
        levels = list(speedups)
        values = [s.speedup for s in speedups.values()]
        found = speedups.values()
        spread = [[abs(s.speedup - s.low) for s in found], [abs(s.high - s.speedup) for s in found]]
        axis.errorbar(range(len(levels)), values, yerr=spread, fmt="o-", color="#0072B2", markersize=5)
        axis.axhline(1, color="black", linestyle="-.", linewidth=1)
        axis.set_yscale("log")
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if min(values) / 2 <= t <= max(values) * 2]
        axis.set_yticks(ticks, [f"{t:g}×" for t in ticks], minor=False)
        axis.minorticks_off()
        axis.set_xticks(range(len(levels)), [f"{s:.0%}" for s in levels])
        axis.set(xlabel="zeros in the weight", ylabel="speed, median (dense = 1) ↑")
        figure.tight_layout()
    listed = ", ".join(f"{v:.2f} times as fast at {s:.0%} zeros" for s, v in zip(levels, values, strict=True))
    return figure, f"A sparse kernel against the dense one for one linear layer: {listed}."
