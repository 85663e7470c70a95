"""Drawings of what is measured: what a metric looks at, and how a verdict comes about."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.patheffects import withStroke

from ...errors import SettingError
from ...text import opening
from ..drawing import Drawn
from ..style import look
from .parts import BLUE, GREEN, INK, OCHRE, ORANGE, QUIET, RED, arrow, plot, say, sheet


def right_and_wrong() -> Drawn:
    """Draw what accuracy counts, and that another draw of images counts otherwise.

    Example:
        >>> right_and_wrong()[1][:18]
        'Three rows of twen'
    """
    figure, axis = sheet(1.75)
    draw = np.random.default_rng(6)
    shares = []
    for row in range(3):
        right = draw.random(20) < 0.8
        shares.append(f"{right.mean():.0%}")
        y = 1.42 - 0.36 * row
        for i, good in enumerate(right):
            x = 0.75 + 0.175 * i
            axis.add_patch(
                Circle((x, y), 0.07, facecolor=BLUE if good else "white", edgecolor=INK, linewidth=0.8)
            )
            if not good:
                axis.plot(x, y, "x", color=RED, markersize=5, markeredgewidth=1.6)
        say(axis, 0.33, y, f"set {row + 1}")
        say(axis, 4.6, y, shares[-1], weight="bold")
    say(axis, 2.5, 0.3, "● right   × wrong\none network, three sets of twenty images", QUIET)
    return figure, (
        "Three rows of twenty images, each a full circle if one and the same network is right and a cross if it is wrong. "
        f"The shares of right answers differ by luck: {', '.join(shares)}."
    )


def hidden_loss() -> Drawn:
    """Draw how a mean hides who pays: one class loses much, the others gain a little, the mean stays.

    Example:
        >>> hidden_loss()[1][:14]
        'Six classes as'
    """
    figure, axis = sheet(2.6)
    before = np.array([0.8, 0.9, 0.7, 0.85, 0.75, 0.8])
    after = before + np.array([0.05, 0.04, -0.3, 0.07, 0.08, 0.06])
    low, scale = 0.55, 1.5
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        left, worse = 0.3 + 0.72 * place, new < old
        axis.add_patch(Rectangle((left, low), 0.24, scale * old, color="#BFBFBF"))
        axis.add_patch(Rectangle((left + 0.26, low), 0.24, scale * new, color=RED if worse else BLUE))
        say(axis, left + 0.25, low - 0.15, f"class {place + 1}", RED if worse else INK)
    for mean, style in ((before.mean(), "-"), (after.mean(), "--")):
        axis.plot([0.2, 4.75], [low + scale * mean] * 2, style, color=INK, linewidth=1.2)
    say(axis, 2.5, 2.42, "the mean over all classes: dense and ticket alike")
    say(axis, 2.5, 0.13, "share of each class that is right: left dense, right the ticket", QUIET)
    return figure, (
        "Six classes as pairs of bars, the share of each that the dense network and the ticket get right. Five classes gain a "
        "little, the third loses a lot, and the lines of the two means lie on each other."
    )


def roc() -> Drawn:
    """Draw how a ROC curve comes about: one threshold on two heaps of confidences is one point of the curve.

    Example:
        >>> roc()[1][:17]
        'Left, two heaps o'
    """
    figure, axis = sheet(2.85)
    x = np.linspace(0, 1, 200)
    heaps = {"outliers": (0.42, 0.16, OCHRE), "own images": (0.68, 0.14, BLUE)}
    left = plot(figure, 0.12, 0.55, 2.2, 1.75)
    tails = {}
    for name, (centre, spread, colour) in heaps.items():
        height = np.exp(-(((x - centre) / spread) ** 2) / 2)
        left.plot(x, height, color=colour, linewidth=2)
        left.fill_between(x, height, where=x > 0.6, color=colour, alpha=0.35, linewidth=0)
        tails[name] = height[::-1].cumsum()[::-1] / height.sum()
    left.axvline(0.6, color=RED, linestyle="--", linewidth=1.5)
    left.set(xlim=(0, 1), ylim=(0, 1.25))
    say(axis, 0.62, 2.1, "outliers", OCHRE)
    say(axis, 1.9, 2.1, "own images", BLUE)
    say(axis, 1.22, 0.37, "confidence →", QUIET)
    say(axis, 1.44, 2.42, "threshold", RED)
    right = plot(figure, 2.95, 0.55, 1.9, 1.9)
    right.fill_between(tails["outliers"], tails["own images"], color="#D6E6F1", linewidth=0)
    right.plot(tails["outliers"], tails["own images"], color=INK, linewidth=2)
    right.plot([0, 1], [0, 1], "--", color="#9A9A9A", linewidth=1)
    at = int(0.6 * 200)
    right.plot(tails["outliers"][at], tails["own images"][at], "o", color=RED, markersize=8)
    right.set(xlim=(0, 1), ylim=(0, 1))
    right.text(0.55, 0.25, "ROC-AUC:\nthis area", ha="center", fontsize=10)
    say(axis, 3.9, 0.37, "outliers let in →", OCHRE)
    say(axis, 2.77, 1.5, "own images let in →", BLUE, rotation=90)
    say(axis, 3.9, 2.65, "one point per threshold", RED)
    return figure, (
        "Left, two heaps of confidences: that of outliers lies lower than that of the network's own images, and they "
        "overlap. A threshold cuts both. Right, the ROC curve: for each threshold the share of own images that is let in "
        "against the share of outliers. The threshold of the left is one point. The area under the curve is the ROC-AUC; the diagonal, guessing, has one half."
    )


def epsilon_box() -> Drawn:
    """Draw the box around an image in which an attack may move, with the ways of FGSM and PGD, for two pixels.

    Example:
        >>> epsilon_box()[1][:13]
        'A plane of tw'
    """
    figure, axis = sheet(3.2)
    centre, half = np.array([2.1, 1.45]), 0.85
    bend = np.linspace(0.35, 4.4, 80)
    border = 2.75 - 0.16 * (bend - 0.5) ** 2
    axis.fill_between([*bend, 4.95], [*border, border[-1]], 3.1, color="#F6DCC6", linewidth=0)
    axis.plot(bend, border, color=RED, linewidth=1.8)
    axis.add_patch(
        Rectangle(tuple(centre - half), 2 * half, 2 * half, facecolor="none", edgecolor=BLUE, linewidth=2)
    )
    corner = centre + half
    arrow(axis, tuple(centre), tuple(corner), INK, width=2)
    path = centre + np.array([[0, 0], [0.28, 0.28], [0.56, 0.45], [0.85, 0.55], [0.85, 0.85]])
    axis.plot(*centre, "o", color=INK, markersize=8, zorder=5)
    say(axis, 1.98, 1.28, "image $x$")
    say(axis, 2.1, 0.42, r"the box: no pixel moves by more than $\varepsilon$", BLUE)
    axis.annotate(
        "", (centre[0] - half, 1.0), (centre[0], 1.0), arrowprops={"arrowstyle": "<->", "color": BLUE}
    )
    say(axis, 1.68, 0.87, r"$\varepsilon$", BLUE)
    say(axis, 3.07, 2.42, "FGSM: one step,\nto a corner", ha="left")
    say(axis, 4.42, 1.35, "here another\nclass wins", RED)
    axis.plot(*path[:4].T, color=GREEN, linewidth=1.5, marker="o", markersize=4)
    say(axis, 3.07, 1.85, "PGD:\nsmall steps", GREEN, ha="left")
    arrow(axis, (0.3, 0.15), (1.2, 0.15), QUIET)
    say(axis, 1.3, 0.15, "one pixel", QUIET, ha="left")
    arrow(axis, (0.3, 0.15), (0.3, 1.05), QUIET)
    say(axis, 0.15, 1.35, "another", QUIET, rotation=90)
    return figure, (
        "A plane of two pixels. An image is a point in the middle of a square, the box: no pixel may move by more than "
        "epsilon. A curved border runs through the box; beyond it another class wins. FGSM takes one step to the corner "
        "that the gradient's signs point to, PGD several small ones; both end beyond the border."
    )


def one_bin() -> Drawn:
    """Draw one bin of a reliability diagram: ten answers of about 75% confidence, six of them right.

    Example:
        >>> one_bin()[1][:12]
        'Left, ten an'
    """
    figure, axis = sheet(3.0)
    said = np.array([0.72, 0.73, 0.73, 0.74, 0.75, 0.75, 0.76, 0.77, 0.77, 0.78])
    right = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 1], dtype=bool)
    for i, (confidence, good) in enumerate(zip(said, right, strict=True)):
        y = 2.42 - 0.2 * i
        say(axis, 0.62, y, f"{100 * confidence:.0f}%")
        say(axis, 1.15, y, "right" if good else "wrong", BLUE if good else RED)
    say(axis, 0.62, 2.73, "says", weight="bold")
    say(axis, 1.15, 2.73, "is", weight="bold")
    say(axis, 0.95, 0.3, f"mean {100 * said.mean():.0f}%, {right.sum()} of 10 right")
    inner = plot(figure, 2.15, 0.55, 2.0, 2.0)
    inner.plot([0, 1], [0, 1], "--", color=INK, linewidth=1.2)
    inner.bar(0.75, 0.6, 0.1, color="#9FCBEA", edgecolor=INK)
    inner.bar(0.75, 0.15, 0.1, bottom=0.6, color="#F6C9A8", edgecolor=INK, hatch="///")
    inner.set(xlim=(0, 1), ylim=(0, 1))
    for number in range(1, 10):
        inner.axvline(number / 10, color="#D8D8D8", linewidth=0.6, zorder=0)
    say(axis, 3.25, 0.38, "confidence →", QUIET)
    say(axis, 2.0, 1.55, "accuracy →", QUIET, rotation=90)
    say(axis, 4.22, 1.1, "6 of 10\nright", BLUE, ha="left")
    say(axis, 4.22, 1.9, "gap:\n15 points\ntoo sure", RED, ha="left")
    say(axis, 3.25, 2.75, "the bin from 70 to 80%", weight="bold")
    say(axis, 2.5, 0.08, "10 of 100 images: adds 0.1 × 0.15 to the ECE")
    return figure, (
        "Left, ten answers of one bin with what they said, between 72 and 78 per cent, and whether they are right: six are. "
        "Right, the bin as a bar of a reliability diagram. It reaches up to 60 per cent, the diagonal stands at 75; the "
        "hatched gap between them, 15 points, times the bin's share of all images is what it adds to the ECE."
    )


def lime_fit() -> Drawn:
    """Draw LIME from hidden superpixels to the fitted line, for a picture of four parts.

    Example:
        >>> lime_fit()[1][:19]
        'Above, five version'
    """
    shown = np.array([[(k >> part) & 1 for part in range(4)] for k in range(16)], dtype=float)
    # An answer that is no sum of parts: the sleeves only tell together with the body.
    logit = -2.4 + (1.6, 0.5, 0.5, 0.9) @ shown.T + 0.8 * shown[:, 0] * (shown[:, 1] + shown[:, 2])
    answers = 1 / (1 + np.exp(-logit))
    design = np.column_stack([shown, np.ones(16)])
    effects = np.linalg.lstsq(design, answers, rcond=None)[0]
    fitted = design @ effects
    figure, axis = sheet(4.3)
    for place, sample in enumerate((15, 14, 11, 7, 6)):
        _shirt(axis, 0.12 + 0.98 * place, 3.3, shown[sample])
        say(axis, 0.5 + 0.98 * place, 3.12, f"{100 * answers[sample]:.0f}%", weight="bold")
    say(axis, 2.5, 4.15, "hide parts (hatched), and ask: how sure of “shirt”?")
    inner = plot(figure, 0.6, 0.6, 2.05, 2.05)
    for x, y in zip(fitted, answers, strict=True):
        inner.plot([x, x], [x, y], color=RED, linewidth=1.4)
    inner.plot([-0.2, 1.2], [-0.2, 1.2], color=INK, linewidth=1.5)
    inner.plot(fitted, answers, "o", color=BLUE, markersize=6)
    inner.set(xlim=(-0.15, 1.15), ylim=(-0.15, 1.15))
    say(axis, 1.62, 0.43, "the sum of parts says →", QUIET)
    say(axis, 0.43, 1.62, "the network says →", QUIET, rotation=90)
    say(axis, 1.62, 0.15, "short strokes: what the line misses (fidelity)", RED)
    _shirt(axis, 3.35, 1.45, np.ones(4), effects[:4])
    say(axis, 3.87, 2.75, "what each part adds")
    names = ("body", "each sleeve", "collar")
    values = (effects[0], effects[1], effects[3])
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        say(axis, 3.1, 1.15 - 0.22 * row, name, ha="left")
        say(axis, 4.8, 1.15 - 0.22 * row, f"{100 * value:+.0f} points", ha="right")
    return figure, (
        "Above, five versions of a shirt, whole and with hatched parts hidden; below each how sure the network is that it is a "
        "shirt. Lower left, its answers for all sixteen versions against those of a fitted sum of parts: points near a "
        "line, with short strokes for what the line misses. Lower right, the parts by what each adds: the body most."
    )


def _shirt(axis: Axes, x: float, y: float, shown: np.ndarray, effects: np.ndarray | None = None) -> None:
    """Draw body, two sleeves and collar; hidden ones are hatched, effects are shades of orange."""
    scale = 0.75 if effects is None else 1.05
    parts = (
        [(0.28, 0), (0.72, 0), (0.72, 0.72), (0.28, 0.72)],
        [(0.28, 0.72), (0.02, 0.5), (0.12, 0.34), (0.28, 0.48)],
        [(0.72, 0.72), (0.98, 0.5), (0.88, 0.34), (0.72, 0.48)],
        [(0.36, 0.72), (0.64, 0.72), (0.58, 0.86), (0.42, 0.86)],
    )
    for number, corners in enumerate(parts):
        face: Any = "#8FB8D4" if shown[number] else "none"
        if effects is not None:
            strength = min(1.0, max(0.0, effects[number]) / 0.55)
            face = tuple(1 - strength * (1 - np.array((0.9, 0.62, 0.0))))
        place = [(x + scale * a, y + scale * b) for a, b in corners]
        hatch = "" if shown[number] else "//////"
        axis.add_patch(Polygon(place, facecolor=face, edgecolor=INK, linewidth=0.9, hatch=hatch))


def shared_pixels() -> Drawn:
    """Draw a unit's pixels and a concept's over each other: what both have, over what either has.

    Example:
        >>> shared_pixels()[1][:14]
        'Three grids of'
    """
    figure, axis = sheet(2.6)
    size, cell, low = 7, 0.2, 0.62
    rows, columns = np.indices((size, size))
    # a trouser leg, and a unit that fires a little beside and above it
    concept = np.isin(columns, (3, 4)) & (rows < 5)
    fires = np.isin(columns, (2, 3)) & (rows > 1) & (rows < 6)
    both, either = fires & concept, fires | concept
    white = "#FFFFFF"
    parts = (
        ("the unit fires, $U$", np.where(fires, ORANGE, white)),
        ("the concept, $C$", np.where(concept, "#9FCBEA", white)),
        ("both, of either (grey)", np.where(both, GREEN, np.where(either, "#D9D9D9", white))),
    )
    for place, (title, colours) in enumerate(parts):
        left = 0.15 + 1.65 * place
        for (row, column), colour in np.ndenumerate(colours):
            corner = (left + column * cell, low + row * cell)
            axis.add_patch(
                Rectangle(corner, cell, cell, facecolor=colour, edgecolor="#AAAAAA", linewidth=0.6)
            )
        say(axis, left + size * cell / 2, low + size * cell + 0.2, title)
    share = both.sum() / either.sum()
    say(
        axis,
        2.5,
        0.3,
        f"in both {both.sum()} pixels, in either {either.sum()}: IoU = {share:.2f}",
        weight="bold",
    )
    return figure, (
        f"Three grids of pixels. In the first a unit fires on {fires.sum()} pixels, in the second a concept covers "
        f"{concept.sum()}. In the third {both.sum()} pixels are in both, and {either.sum()} in one or the other: the IoU is "
        f"{share:.2f}."
    )


def bowls(of: str = "weights") -> Drawn:
    """Draw a flat and a sharp bowl of the loss: the same push costs little in one and much in the other.

    ``of``: what is pushed, "weights" or "pixels"; "noise" shows many random pushes. Raises ``SettingError`` for others.

    Example:
        >>> bowls("pixels")[1][:16]
        'Two bowls of the'
    """
    if of not in _PUSHES:
        raise SettingError(f"of must be one of {', '.join(_PUSHES)}, got {of!r}")
    pushed, along = _PUSHES[of]
    figure, axis = sheet(2.6)
    x = np.linspace(-1, 1, 80)
    push = 0.5
    noise = np.random.default_rng(2).normal(0, 0.28, 22).clip(-0.6, 0.6)
    for left, bend, title, colour in ((0.15, 0.7, "flat", GREEN), (2.7, 3.2, "sharp", RED)):
        middle = left + 1.05

        def at(a: Any, middle: float = middle, bend: float = bend) -> Any:
            return middle + 1.0 * np.asarray(a), 0.72 + bend * np.asarray(a) ** 2

        seen = at(x)
        low = seen[1] < 2.15
        axis.plot(seen[0][low], seen[1][low], color=INK, linewidth=2)
        axis.plot(*at(0), "o", color=INK, markersize=8, zorder=4)
        say(axis, middle, 2.42, title, colour, weight="bold")
        say(axis, middle, 0.27, along, QUIET)
        if of == "noise":
            axis.plot(*at(noise), "o", color=colour, markersize=5, alpha=0.7)
            continue
        there: Any = at(push)
        axis.plot(*there, "o", color=colour, markersize=8, zorder=4)
        arrow(axis, at(0), (there[0], 0.72), QUIET, shrinkA=5)
        axis.plot([there[0]] * 2, [0.72, there[1]], color=colour, linewidth=4, solid_capstyle="butt")
        say(axis, there[0] + 0.1, (0.72 + there[1]) / 2, "rise", colour, ha="left")
    say(axis, 2.5, 0.07, pushed, INK)
    rise = "raises the loss a little in the flat bowl and a lot in the sharp one"
    return (
        figure,
        f"Two bowls of the loss, a flat one and a sharp one. {opening(pushed)} {rise}.",
    )


_PUSHES = {
    "weights": ("the same change of the weights", "weights →"),
    "pixels": ("the same change of the pixels", "pixels →"),
    "noise": ("the same noise on the weights", "weights →"),
}


def perspective() -> Drawn:
    """Draw one loss surface in perspective and as a map, with a straight cut through both and the cut itself.

    Example:
        >>> perspective()[1][:15]
        'One loss surfac'
    """
    figure, axis = sheet(4.5)
    span = np.linspace(-1, 1, 41)
    a, b = np.meshgrid(span, span)

    def loss(a, b):
        return 0.15 + 0.9 * a**2 + 2.2 * (b - 0.35 * a) ** 2 + 0.18 * np.sin(4 * a) * b

    heights = loss(a, b)
    levels = np.linspace(heights.min(), heights.max(), 12)
    where = {"vmin": heights.min(), "vmax": heights.max(), "cmap": "viridis"}
    deep: Any = plot(figure, 0.0, 1.85, 2.55, 2.3, projection="3d")
    deep.plot_surface(a, b, heights, linewidth=0, rstride=1, cstride=1, alpha=0.9, **where)
    # on a map of all shades a line needs an edge
    line: Any = {
        "color": RED,
        "linewidth": 2.5,
        "path_effects": [withStroke(linewidth=5, foreground="white")],
    }
    deep.plot(span, 0 * span, loss(span, 0) + 0.03, zorder=10, **line)
    deep.view_init(34, -62)
    deep.set(zticks=[])
    deep.set_box_aspect((1, 1, 0.75), zoom=1.25)
    flat = plot(figure, 2.85, 2.05, 1.95, 1.95)
    flat.contourf(a, b, heights, levels, **where)
    flat.contour(a, b, heights, levels, colors="white", linewidths=0.5)
    flat.plot([-1, 1], [0, 0], **line)
    flat.plot(0, 0, "+", color=INK, markersize=12, markeredgewidth=2.5, path_effects=line["path_effects"])
    cut = plot(figure, 1.1, 0.45, 2.8, 1.15)
    cut.plot(span, loss(span, 0), color=RED, linewidth=2.5)
    cut.plot(0, loss(0, 0), "+", color=INK, markersize=12, markeredgewidth=2.5)
    say(axis, 1.3, 4.33, "in perspective")
    say(axis, 3.82, 4.33, "as a map")
    say(axis, 2.5, 1.73, "along the cut", RED)
    say(axis, 2.5, 0.28, "way through the weights →", QUIET)
    say(axis, 0.92, 1.0, "loss →", QUIET, rotation=90)
    say(axis, 3.82, 1.9, "low in the middle", QUIET)
    return figure, (
        "One loss surface three times: in perspective, as a valley; as a map whose lines join points of equal loss; and "
        "along one straight cut, which is a line in both and here a curve. A cross marks the network, which stands near the lowest point."
    )


def tolerance() -> Drawn:
    """Draw four intervals against a tolerance: two pass, one fails, one is undecided.

    Example:
        >>> tolerance()[1][:14]
        'Four intervals'
    """
    figure, axis = sheet(2.75)
    right, limit, zero = 3.55, 1.55, 2.55
    axis.add_patch(Rectangle((limit, 0.62), right - limit, 1.78, color="#E3F1EC", linewidth=0))
    axis.plot([limit] * 2, [0.62, 2.4], color=RED, linewidth=2)
    axis.plot([zero] * 2, [0.62, 2.4], "-.", color=INK, linewidth=1.3)
    cases = (
        (2.4, 3.2, "pass", GREEN),
        (1.75, 2.35, "pass", GREEN),
        (1.05, 2.2, "undecided", QUIET),
        (0.4, 1.3, "fail", RED),
    )
    for row, (low, high, words, colour) in enumerate(cases):
        y = 2.18 - 0.44 * row
        axis.plot([low, high], [y, y], color=colour, linewidth=2.5)
        for end in (low, high):
            axis.plot([end, end], [y - 0.08, y + 0.08], color=colour, linewidth=2.5)
        axis.plot((low + high) / 2, y, "o", color=colour, markersize=7)
        say(axis, 3.68, y, words, colour, ha="left", weight="bold")
    say(axis, zero + 0.03, 2.57, "dense", ha="center")
    say(axis, limit, 2.57, "limit", RED)
    axis.annotate("", (limit, 0.52), (zero, 0.52), arrowprops={"arrowstyle": "<->", "color": RED})
    say(axis, (limit + zero) / 2, 0.36, "tolerance", RED)
    say(axis, 0.25, 0.36, "← worse", QUIET, ha="left")
    say(axis, 3.5, 0.36, "better →", QUIET, ha="right")
    say(axis, 2.5, 0.1, "each interval: ticket minus dense, with its doubt", QUIET)
    return figure, (
        "Four intervals for the difference between a ticket and the dense network, and a limit that lies one tolerance below dense. "
        "One around dense passes. One below dense and above the limit passes too. One with the limit inside is undecided. "
        "One wholly below the limit fails."
    )


def annotated_sweep() -> Drawn:
    """Draw a sweep of invented numbers, with a word at each thing that the book's sweeps show.

    Example:
        >>> annotated_sweep()[1][:14]
        'A sweep with w'
    """
    figure, axis = sheet(4.35)
    # so that the lines to the words lie above the curves
    axis.set_zorder(5)
    left, low, width, height = 0.75, 1.15, 3.35, 2.45
    inner = plot(figure, left, low, width, height)
    # after 3, 6, … 21 rounds
    levels = (49, 74, 87, 93, 96, 98, 99)
    x = np.arange(1, 8)
    lead = np.array([90.3, 90.1, 90.0, 89.3, 83.5, 38, 10])
    doubt = np.array([1, 0.8, 1, 1.3, 3, 17, 0])
    bottom, top, end = 24, 97, 7.05
    colour = look("lottery").colour
    inner.axhline(90, color=INK, linestyle="-.", linewidth=1.5)
    others = {"random": [88.6, 85.5, 79, 66, 50, 42, 36], "snip": [89.4, 87.8, 84, 77, 68, 57, 48]}
    for name, values in others.items():
        inner.plot([0, *x], [90, *values], color="#B5B5B5", linewidth=1.2)
        inner.text(7.12, values[-1], look(name).label, color="#7A7A7A", fontsize=10, va="center")
    inner.plot([0, *x[:4]], [90, *lead[:4]], color=colour, linewidth=2)
    inner.plot(x[3:5], lead[3:5], "--", color=colour, linewidth=2)
    inner.plot(x[4:], lead[4:], ":", color=colour, linewidth=2.4)
    inner.errorbar(x[:6], lead[:6], doubt[:6], fmt="o", color=colour, markersize=6, capsize=3)
    beyond: Any = {"color": colour, "clip_on": False, "zorder": 6}
    inner.plot(6, bottom, "v", markerfacecolor="white", markersize=6, **beyond)
    inner.plot(7, bottom + 2, marker=r"$\downarrow$", markersize=11, **beyond)
    inner.text(7.12, bottom + 2, "10", color=colour, fontsize=10, va="center")
    inner.plot(
        x[:5], [89.2, 88.9, 87.9, 85.5, 74], ":", marker="o", color="black", markersize=2.5, linewidth=1
    )
    inner.axvline(4, color=colour, linewidth=1.2, linestyle=":")
    inner.set(xlim=(0, end), ylim=(bottom, top))
    inner.text(
        5.35, 59, look("lottery").label, color=colour, fontsize=10, ha="right", va="center", weight="bold"
    )
    inner.set_xticks(x, [str(v) for v in levels])
    inner.set_yticks([30, 50, 70, 90])
    say(axis, 2.42, 0.17, "sparsity (%), even steps: three rounds each")
    say(axis, 0.2, 2.35, "metric (unit) ↑ more is better", rotation=90)
    notes: tuple[tuple[str, tuple[float, float], tuple[float, float]], ...] = (
        ("dash-dotted: the dense network", (1.45, 90.1), (1.8, 3.8)),
        ("solid, up to the line:\nas accurate as dense", (1.5, 90.0), (1.52, 2.62)),
        ("whisker: 95%\ninterval over\nseeds", (5.05, 82.5), (4.53, 3.04)),
        # the middle of a dash
        ("dashed: less\naccurate", (4.6, 85.9), (3.9, 3.95)),
        ("dotted:\ncollapsed", (5.5, 61), (4.6, 2.5)),
        ("grey: the other\nmethods", (3.75, 69.3), (1.4, 1.85)),
        ("small dots: the\npaper's curve", (4.5, 79.8), (2.03, 1.42)),
        ("open head:\ngoes on beyond", (5.95, 23), (2.83, 0.58)),
        ("arrow: far\nbelow, at 10", (7.1, 24), (4.4, 0.58)),
    )
    for words, (a, b), (at_x, at_y) in notes:
        point = left + a / end * width, low + (b - bottom) / (top - bottom) * height
        axis.annotate(
            words, point, (at_x, at_y), color=RED, fontsize=10, ha="center", va="center", zorder=10,
            arrowprops={"arrowstyle": "-", "color": RED, "linewidth": 0.9, "shrinkB": 1},
        )  # fmt: skip
    return figure, (
        "A sweep with words at its parts. The dash-dotted line is the dense network. The coloured curve is solid while its "
        "network is as accurate as dense, up to a thin dotted vertical line, then dashed, then dotted where it has collapsed. "
        "Whiskers at its points are intervals over seeds; an open head says that one goes on beyond the frame. An arrow at "
        "the edge has the value of a point far below. Small dots are the paper's own curve. Grey curves are the other methods."
    )
