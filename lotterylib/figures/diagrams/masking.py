"""Drawings of masks: what one is, how lottery tickets get theirs, who decides when."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.patches import Rectangle

from ... import pruners
from ...pruners.base import Start
from ..drawing import Drawn
from ..style import in_order, look
from .parts import GREEN, PALE, QUIET, RED, arrow, say, sheet, weight_grid

# Sixteen made-up weights, in tenths so that they fit into the cells.
_WEIGHTS = np.array(
    [[0.9, -0.1, 0.4, 0.2], [-0.3, 0.7, 0.1, -0.8], [0.2, -0.6, 1.0, 0.1], [0.5, 0.3, -0.2, 0.6]]
)


def _tenths(value: float) -> str:
    return f"{value:.1f}".replace("0.", ".").replace("-", "−")


def mask_grid() -> Drawn:
    """Draw weights times mask: sixteen weights, sixteen ones and zeros, and the eight weights that are left.

    Example:
        >>> mask_grid()[1][:19]
        'Three grids of four'
    """
    figure, axis = sheet(2.35)
    cell, low = 0.36, 0.5
    keep = np.abs(_WEIGHTS) >= np.sort(np.abs(_WEIGHTS), axis=None)[-8]
    lefts = (0.05, 1.78, 3.51)
    numbers = [[_tenths(v) for v in row] for row in _WEIGHTS]
    bits = [["1" if k else "0" for k in row] for row in keep]
    rest = [[n if k else "0" for n, k in zip(a, b, strict=True)] for a, b in zip(numbers, keep, strict=True)]
    parts = (
        (_WEIGHTS, None, numbers, r"weights $\theta$"),
        (np.full((4, 4), 0.35), keep, bits, "mask $m$"),
        (_WEIGHTS, keep, rest, r"what computes, $m \odot \theta$"),
    )
    for left, (values, kept, words, title) in zip(lefts, parts, strict=True):
        weight_grid(axis, left, low, values, cell, kept, words)
        say(axis, left + 2 * cell, low + 4 * cell + 0.2, title)
    for left, sign in zip(lefts[1:], (r"$\odot$", "="), strict=True):
        say(axis, left - 0.145, low + 2 * cell, sign, fontsize=13)
    say(axis, 2.5, 0.22, "8 of 16 stay: density 8/16 = 50%, sparsity 50%", QUIET)
    return figure, (
        "Three grids of four by four cells. The first holds sixteen weights, stronger in colour where they are larger. The second is "
        "the mask, a one for each of the eight largest and a zero for the others. The third is their product: eight "
        "weights as they were, and eight zeros. Density and sparsity are a half each."
    )


# --- lottery tickets


def _story(number: int, size: int = 6) -> dict[str, np.ndarray]:
    """Return what one made-up network goes through up to a round: early and trained weights, who is left before and
    after it, and who goes. Training is a drawn path: early weights move towards targets of their own."""
    draw = np.random.default_rng(5)
    early, target = draw.normal(size=(2, size, size)) * np.array([0.3, 0.55])[:, None, None]
    kept = np.ones((size, size), dtype=bool)
    for turn in range(1, number + 1):
        before = kept
        trained = (early + (1 + 0.05 * turn) * target) * before
        count = round(0.8**turn * kept.size)
        cut = np.sort(np.abs(trained), axis=None)[-count]
        kept = before & (np.abs(trained) >= cut)
    return {"early": early, "trained": trained, "before": before, "after": kept, "goes": before & ~kept}


def lottery_round(number: int = 1) -> Drawn:
    """Draw one round of lottery tickets in four frames: train, prune, rewind, train again.

    Example:
        >>> lottery_round(2)[1][:8]
        'Round 2:'
    """
    seen = _story(number)
    again = _story(number + 1)["trained"]
    # Six rows of cells, their title and their words.
    figure, axis = sheet(5.35)
    cell = 0.27
    side = 6 * cell
    count = {name: int(seen[name].sum()) for name in ("before", "after", "goes")}
    frames = (
        (0.25, 3.1, "1  train", f"{count['before']} weights learn", seen["trained"], seen["before"], None),
        (
            3.1,
            3.1,
            "2  prune",
            f"the {count['goes']} smallest go",
            seen["trained"],
            seen["before"],
            seen["goes"],
        ),
        (3.1, 0.32, "3  rewind", "back to their early values", seen["early"], seen["after"], None),
        (0.25, 0.32, "4  train again", f"{count['after']} weights learn", again, seen["after"], None),
    )
    for x, y, title, words, values, kept, marked in frames:
        weight_grid(axis, x, y, values, cell, kept, marked=marked)
        say(axis, x + side / 2, y + side + 0.17, title, weight="bold")
        say(axis, x + side / 2, y - 0.15, words, QUIET)
    upper, lower = 3.1 + side / 2, 0.32 + side / 2
    arrow(axis, (0.35 + side, upper), (3.0, upper))
    arrow(axis, (3.1 + side / 2, 2.8), (3.1 + side / 2, 2.25))
    arrow(axis, (3.0, lower), (0.35 + side, lower))
    # the next round begins with pruning: what is trained again is what it ranks
    arrow(axis, (0.35 + side, 0.42 + side), (3.0, 3.0), GREEN)
    say(axis, 2.0, 2.6, "next round", GREEN)
    say(
        axis,
        2.5,
        5.15,
        f"Round {number}: {count['before']} → {count['after']} of {kept.size} weights",
        fontsize=11,
    )
    return figure, (
        f"Round {number}: a grid of 36 weights in four frames. First {count['before']} of them are trained. Then the "
        f"{count['goes']} smallest are marked, and go. The {count['after']} that are left return to their paler early "
        "values. Then they are trained again, and the next round prunes them."
    )


def staircase(rounds: int = 14) -> Drawn:
    """Draw what rounds that each remove a fifth of what is left leave, and the sparsity after each of them.

    ``rounds``: at most 14, which is what fits.

    Example:
        >>> staircase(2)[1][-22:]
        '2 rounds 36% are gone.'
    """
    figure, axis = sheet(2.65)
    left, low, step, full = 0.72, 0.68, 0.28, 1.7
    for turn in range(rounds + 1):
        x, share = left + turn * step, 0.8**turn
        axis.add_patch(Rectangle((x, low), step, full * share, facecolor="#9CC4DE", edgecolor="white"))
        axis.add_patch(Rectangle((x, low + full * share), step, full * (1 - share), color=PALE))
        say(axis, x + step / 2, low - 0.17, str(turn))
        say(axis, x + step / 2, low - 0.42, f"{100 * (1 - share):.0f}", RED)
    say(axis, left - 0.08, low - 0.17, "round", ha="right")
    say(axis, left - 0.08, low - 0.42, "gone, %", RED, ha="right")
    say(axis, left - 0.08, low + full, "all", QUIET, ha="right")
    say(axis, left - 0.08, low, "none", QUIET, ha="right")
    say(axis, left + 9.2 * step, low + 0.62 * full, "gone", RED)
    say(axis, left + 1.5 * step, low + 0.3 * full, "weights\nleft")
    say(axis, 2.5, 2.52, "each step down takes a fifth of what is left", QUIET)
    told = [n for n in (1, 2, 7, 14) if n <= rounds]
    said = "; ".join(f"after {n} round{'s' * (n > 1)} {1 - 0.8**n:.0%} are gone" for n in told)
    return figure, (
        f"A staircase of {rounds + 1} bars, one before all rounds and one after each. Every bar is four fifths as high as the "
        f"one before it, so the steps get smaller: {said}."
    )


# --- who decides when


def timeline(names: tuple[str, ...] | None = None) -> Drawn:
    """Draw when each pruner decides: a strip per method whose height is the number of weights that are trained.

    ``names``: of pruners; by default all that the library brings.

    Example:
        >>> timeline(("random", "magnitude"))[1][-28:]
        'OMP: after a dense training.'
    """
    order = [n for n in in_order(names or pruners.names()) if n != "dense"]
    when = {name: pruners.PRUNERS[name].start for name in order}
    order.sort(key=lambda name: _MOMENTS.index(when[name]))
    figure, axis = sheet(0.46 * len(order) + 0.85)
    left, unit = 1.15, 0.94
    top = 0.46 * len(order) + 0.2
    for number, name in enumerate(order):
        middle = top - 0.46 * number
        say(axis, 1.05, middle, look(name).label, ha="right")
        _STRIPS[when[name]](axis, left, middle, unit, name)
    for turn, words in ((0, "1st training"), (1, "2nd"), (2, "3rd"), (3, "4th …")):
        x = left + turn * unit
        axis.plot([x, x], [0.42, top + 0.2], color="#C8C8C8", linewidth=0.8, zorder=0)
        say(axis, x + 0.04, top + 0.38, words, QUIET, ha="left")
    axis.plot(1.1, 0.2, "v", color=RED, markersize=8)
    say(axis, 1.23, 0.2, "the mask is decided", ha="left")
    axis.add_patch(Rectangle((3.0, 0.1), 0.35, 0.2, color="#9CC4DE"))
    say(axis, 3.43, 0.2, "weights that learn", ha="left")
    said = "; ".join(f"{look(name).label}: {_moment(name)}" for name in order)
    return figure, f"A time line, one strip per pruner, which is as high as the network has weights. {said}."


def _moment(name: str) -> str:
    start = pruners.PRUNERS[name].start
    at_first = start is Start.DURING and not _begins_dense(name)
    return "before training, and again and again during it" if at_first else _WHEN[start]


_DENSE, _THIN = 0.3, 0.08


def _strip(axis, start: float, end: float, middle: float, height: float) -> None:
    """A stretch of training with so many weights."""
    axis.add_patch(Rectangle((start, middle - height / 2), end - start, height, color="#9CC4DE", linewidth=0))


def _decision(axis, x: float, middle: float) -> None:
    axis.plot(x, middle + 0.02, "v", color=RED, markersize=8, zorder=4)


def _before(axis, left: float, middle: float, unit: float, name: str) -> None:
    _strip(axis, left, left + unit, middle, _THIN)
    _decision(axis, left, middle)


def _during(axis, left: float, middle: float, unit: float, name: str) -> None:
    begins_dense, updates = _begins_dense(name), (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
    for i, (update, end) in enumerate(pairwise((*updates, 1.0))):
        # what goes little by little goes by a cube: many weights early, few late
        height = _THIN + begins_dense * (_DENSE - _THIN) * (1 - update / updates[-1]) ** 3
        _strip(axis, left + update * unit, left + end * unit, middle, height)
        # who begins sparse has a mask to begin with
        if i or not begins_dense:
            _decision(axis, left + update * unit, middle)


def _begins_dense(name: str) -> bool:
    return pruners.build(name).dense_share(1000) > 0


def _after(axis, left: float, middle: float, unit: float, name: str) -> None:
    _strip(axis, left, left + 0.94 * unit, middle, _DENSE)
    _decision(axis, left + 0.94 * unit, middle)
    _strip(axis, left + unit, left + 2 * unit, middle, _THIN)


def _rounds(axis, left: float, middle: float, unit: float, name: str) -> None:
    for turn in range(4):
        height = max(_THIN, _DENSE * 0.75**turn)
        _strip(axis, left + turn * unit, left + (turn + 0.94) * unit, middle, height)
        if turn < 3:
            _decision(axis, left + (turn + 0.94) * unit, middle)


_STRIPS = {Start.UNTRAINED: _before, Start.DURING: _during, Start.TRAINED: _after, Start.ROUNDS: _rounds}
_MOMENTS = list(_STRIPS)
_WHEN = {
    Start.UNTRAINED: "before training",
    Start.DURING: "again and again during training",
    Start.TRAINED: "after a dense training",
    Start.ROUNDS: "after each of many trainings",
}
