"""Drawings of single ways to prune: what a method looks at, and what it does with that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from ...errors import SettingError
from ...pruners import rigl
from ..drawing import Drawn
from .parts import BLUE, GREEN, INK, ORANGE, PALE, QUIET, RED, arrow, box, plot, say, sheet


def one_cut() -> Drawn:
    """Draw one cut through the weights of three layers: those that reach over the line stay.

    Example:
        >>> one_cut()[1][:17]
        'Bars of different'
    """
    draw = np.random.default_rng(3)
    layers = [np.abs(draw.normal(0, spread, 12)) for spread in (0.6, 0.4, 0.95)]
    cut = np.sort(np.concatenate(layers))[-12]
    figure, axis = sheet(2.7)
    scale, low, step = 1.0, 0.55, 0.122
    shares = []
    for number, sizes in enumerate(layers):
        left = 0.15 + 1.65 * number
        for i, size in enumerate(sizes):
            colour = BLUE if size >= cut else "#BFBFBF"
            axis.add_patch(
                Rectangle((left + i * step, low), 0.8 * step, scale * min(size, 1.8), color=colour)
            )
        kept = int((sizes >= cut).sum())
        shares.append(f"{kept} of 12")
        say(axis, left + 6 * step, 0.33, f"layer {number + 1}: {kept} of 12", BLUE)
    axis.plot([0.1, 4.95], [low + scale * cut] * 2, "--", color=RED, linewidth=1.5)
    say(axis, 2.53, low + scale * cut + 0.75, "one cut", RED)
    arrow(axis, (2.53, low + scale * cut + 0.63), (2.53, low + scale * cut + 0.05), RED)
    say(axis, 2.5, 2.55, r"size $|\theta|$ of each trained weight; a third stays")
    say(axis, 2.5, 0.1, "over the line: kept", BLUE)
    return figure, (
        "Bars of different height stand for the sizes of twelve weights in each of three layers. One horizontal line cuts "
        f"through all. Bars that reach over it are kept: {', '.join(shares)}. Layers of small weights lose most."
    )


def rescaling() -> Drawn:
    """Draw why size is relative: a filter times ten gives the same output behind BatchNorm, and is ranked otherwise.

    Example:
        >>> rescaling()[1][:9]
        'Two rows.'
    """
    figure, axis = sheet(2.9)
    weights = np.array([0.05, -0.03, 0.06, 0.04])
    wave = np.linspace(0, 1.0, 60)
    cases = ((1.6, 1, "small: cut", RED), (0.25, 10, "times 10: kept", BLUE))
    for low, factor, name, colour in cases:
        for i, weight in enumerate(weights * factor):
            axis.add_patch(Rectangle((0.15 + 0.22 * i, low + 0.45), 0.17, weight, color=BLUE))
        axis.plot([0.1, 1.05], [low + 0.45] * 2, color=INK, linewidth=0.8)
        say(axis, 0.62, low - 0.1, name, colour)
        arrow(axis, (1.2, low + 0.45), (1.75, low + 0.45))
        box(axis, 1.75, low + 0.15, 1.3, 0.6, "BatchNorm\n" + ("÷ 1" if factor == 1 else "÷ 10"))
        arrow(axis, (3.05, low + 0.45), (3.6, low + 0.45))
        axis.plot(3.7 + wave, low + 0.45 + 0.3 * np.sin(9 * wave) * (0.4 + wave), color=GREEN, linewidth=2)
        say(axis, 4.2, low - 0.1, "output")
    say(axis, 4.2, 1.25, "the same", GREEN, weight="bold")
    return figure, (
        "Two rows. Above, a filter of four small weights goes through BatchNorm, which divides by its spread. Below, the "
        "same filter times ten: BatchNorm divides by ten times as much, and the output is the same curve. A ranking by "
        "size would cut the first filter and keep the second."
    )


def switches() -> Drawn:
    """Draw SNIP: a switch on every weight of the untrained network, and how far the loss reacts to each.

    Example:
        >>> switches()[1][:12]
        'Five weights'
    """
    figure, axis = sheet(3.2)
    reacts = (0.6, 0.1, 0.95, 0.25, 0.75)
    limit = 0.5
    box(axis, 0.1, 1.0, 0.95, 0.9, "one batch\nof images")
    for number, change in enumerate(reacts):
        y = 2.3 - 0.42 * number
        kept = change > limit
        colour = BLUE if kept else "#9A9A9A"
        axis.plot([1.1, 1.45], [1.45, y], color="#C8C8C8", linewidth=1)
        axis.plot([1.45, 1.75], [y, y], color=colour, linewidth=2)
        axis.plot([1.75, 1.98], [y, y + 0.13], color=colour, linewidth=2)
        axis.plot([2.02, 2.3], [y, y], color=colour, linewidth=2)
        axis.plot([1.75, 2.02], [y, y], "o", color=colour, markersize=4)
        axis.add_patch(Rectangle((2.6, y - 0.09), 1.5 * change, 0.18, color=colour))
        say(axis, 4.2, y, "keep" if kept else "cut", colour if kept else QUIET, ha="left")
    axis.plot([2.6 + 1.5 * limit] * 2, [0.4, 2.5], "--", color=RED, linewidth=1.3)
    say(axis, 1.85, 2.85, "1  switch off\none weight", QUIET)
    say(axis, 3.35, 2.85, "2  how far the\nloss would change", QUIET)
    say(axis, 4.55, 2.85, "3  keep\nthe longest", QUIET)
    say(axis, 3.35, 0.22, "limit: as many stay as asked for", RED)
    return figure, (
        "Five weights of an untrained network, each with a switch, get one batch of images. A bar beside each switch says "
        "how far the loss would change if it were turned off. The three with the longest bars are kept, the other two cut; "
        "the limit between them is set by how many weights shall stay."
    )


def gradient_kept() -> Drawn:
    """Draw GraSP: which weights carry the step that training takes next, and which stand in its way.

    Example:
        >>> gradient_kept()[1][:16]
        'A ball on a slop'
    """
    figure, axis = sheet(2.55)
    x = np.linspace(0, 1, 50)
    cases = (
        (0.05, 1.0, "all weights", INK, "learns this fast"),
        (1.75, 1.35, "remove the most\nnegative scores", GREEN, "at least as fast"),
        (3.45, 0.35, "remove the most\npositive scores", RED, "more slowly"),
    )
    for left, slope, title, colour, words in cases:
        curve = 1.1 + 0.75 * slope * (1 - x) ** 1.6
        axis.plot(left + 1.4 * x, curve - 0.3, color="#9A9A9A", linewidth=2)
        axis.plot(left + 0.3, curve[10] - 0.2, "o", color=colour, markersize=9)
        run = 0.7
        drop = 0.75 * slope * 1.6 * 0.79**0.6 / 1.4 * run
        arrow(
            axis,
            (left + 0.38, curve[10] - 0.1),
            (left + 0.38 + run, curve[10] - 0.1 - drop),
            colour,
            width=2.4,
        )
        say(axis, left + 0.75, 2.28, title, colour)
        say(axis, left + 0.75, 0.42, words, colour)
    say(axis, 2.5, 0.12, "the slope of the loss before the first training step", QUIET)
    return figure, (
        "A ball on a slope, three times: the slope is how fast the loss falls at the first training step. With all weights it "
        "is middling. Without the weights of most negative score it is as steep or steeper. Without those of most "
        "positive score it is less steep, and the network learns more slowly."
    )


def flow() -> Drawn:
    """Draw SynFlow as water in pipes: as much flows through each layer, so pipes of a narrow layer are thick.

    Example:
        >>> flow()[1][:20]
        'A network of three l'
    """
    draw = np.random.default_rng(1)
    sizes = (4, 3, 2, 3)
    layers = [draw.uniform(0.15, 1.0, shape) for shape in zip(sizes, sizes[1:], strict=False)]
    ahead = [np.ones(sizes[0])]
    for weights in layers:
        ahead.append(ahead[-1] @ weights)
    behind = [np.ones(sizes[-1])]
    for weights in reversed(layers):
        behind.insert(0, weights @ behind[0])
    shares = [a[:, None] * w * b for a, w, b in zip(ahead, layers, behind[1:], strict=False)]
    whole = shares[0].sum()
    figure, axis = sheet(3.05)
    columns = (0.55, 1.85, 3.15, 4.45)
    heights = [1.72 + 0.58 * (np.arange(n)[::-1] - (n - 1) / 2) for n in sizes]
    for number, share in enumerate(shares):
        for i, j in np.ndindex(*share.shape):
            ends = [columns[number], columns[number + 1]], [heights[number][i], heights[number + 1][j]]
            axis.plot(*ends, color="#7FB4D6", linewidth=28 * share[i, j] / whole + 0.4, solid_capstyle="butt")
        middle = (columns[number] + columns[number + 1]) / 2
        say(axis, middle, 0.5, f"{share.size} pipes\nsum $R$", QUIET)
    for x, ys in zip(columns, heights, strict=True):
        axis.plot(np.full(len(ys), x), ys, "o", color="white", markeredgecolor=INK, markersize=13, zorder=5)
    say(axis, 0.55, 2.87, "ones in")
    say(axis, 4.45, 2.87, "$R$ out")
    say(axis, 2.5, 0.1, "a pipe's width: the score of its weight", QUIET)
    return figure, (
        "A network of three layers as pipes between circles: four, three, two and three circles. Ones flow in at the left, "
        "the sum R comes out at the right. The widths of the pipes of each layer add up to the same R, so the six pipes "
        "of the narrow layers are wider than the twelve of the first."
    )


def drop_and_grow(by: str = "gradient") -> Drawn:
    """Draw an update of RigL (``by`` "gradient") or SET (``by`` "chance"): connections drop, as many grow.

    Raises ``SettingError`` for another ``by``.

    Example:
        >>> drop_and_grow("chance")[1][:14]
        'Twelve places '
    """
    if by not in _GROWTH:
        raise SettingError(f"by must be one of {', '.join(_GROWTH)}, got {by!r}")
    scores, words = _GROWTH[by]
    mask = torch.tensor([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1], dtype=torch.bool)
    sizes = torch.tensor([0.9, 0, 0.15, 0, 0.6, 0, 0.8, 0, 0.2, 0, 0, 0.7])
    new = rigl.regrow(mask, sizes, torch.tensor(scores), 0.34)
    gone, grown = mask & ~new, new & ~mask
    figure, axis = sheet(2.65)
    frames = (
        (0.12, "drop the smallest", {"kept": mask & new, "dropped": gone}),
        (1.8, words, {"kept": mask & new, "grown": grown}),
        (3.48, "train on", {"kept": mask & new, "new": grown}),
    )
    for left, title, parts in frames:
        _connections(axis, left, parts, sizes)
        say(axis, left + 0.7, 2.45, title)
    for x in (1.72, 3.4):
        arrow(axis, (x - 0.12, 1.35), (x + 0.06, 1.35))
    held = int(mask.sum())
    say(axis, 2.5, 0.15, f"{held} of {len(mask)} connections before, {int(new.sum())} after", QUIET)
    return figure, (
        f"Twelve places for connections between four inputs and three outputs, {held} of them taken. First the two thinnest "
        f"connections are marked and drop. Then two others grow, {words.removeprefix('grow ').replace(chr(10), ' ')}. After that "
        "there are as many as before, in other places."
    )


_GROWTH = {
    "gradient": ([0, 0.2, 0, 0.9, 0, 0.1, 0, 0.3, 0, 0.8, 0.05, 0], "grow by gradient"),
    "chance": ([0, 0.9, 0, 0.1, 0, 0.2, 0, 0.3, 0, 0.05, 0.8, 0], "grow by chance"),
}
_CONNECTION = {"kept": (BLUE, "-"), "dropped": (RED, ":"), "grown": (GREEN, "--"), "new": (GREEN, "-")}


def _connections(axis: Axes, left: float, parts: dict[str, torch.Tensor], sizes: torch.Tensor) -> None:
    inputs, outputs = 2.1 - 0.5 * np.arange(4), 1.85 - 0.5 * np.arange(3)
    for part, places in parts.items():
        colour, style = _CONNECTION[part]
        for place in places.nonzero().flatten().tolist():
            i, j = divmod(place, 3)
            width = 1.2 + 3.2 * float(sizes[place]) if part == "kept" else 2.4
            axis.plot([left + 0.1, left + 1.3], [inputs[i], outputs[j]], style, color=colour, linewidth=width)
    for x, ys in ((left + 0.1, inputs), (left + 1.3, outputs)):
        axis.plot(np.full(len(ys), x), ys, "o", color="white", markeredgecolor=INK, markersize=9, zorder=5)


def coupled_channels() -> Drawn:
    """Draw which channels go together: a shortcut adds two outputs, so a channel goes from both and from all their readers.

    Example:
        >>> coupled_channels()[1][:17]
        'A residual block:'
    """
    figure, axis = sheet(3.25)
    gone = 2

    def cells(x: float, y: float, width: float, marked: bool) -> None:
        for i in range(5):
            face, hatch = (ORANGE, "////") if marked and i == gone else (PALE, "")
            style = {"facecolor": face, "edgecolor": INK, "linewidth": 0.8, "hatch": hatch}
            axis.add_patch(Rectangle((x, y + 0.18 * (4 - i)), width, 0.18, **style))

    def layer(x: float, y: float, words: str, *, reads: bool | None, writes: bool) -> None:
        """Two columns of channels: the narrow one is read, the wide one written."""
        if reads is not None:
            cells(x - 0.2, y, 0.15, reads)
        cells(x, y, 0.45, writes)
        say(axis, x + 0.15, y - 0.15, words)

    layer(0.2, 1.2, "first layer", reads=None, writes=True)
    layer(1.4, 0.75, "conv 1", reads=True, writes=False)
    layer(2.5, 0.75, "conv 2", reads=False, writes=True)
    layer(4.5, 1.2, "next", reads=True, writes=False)
    axis.add_patch(Circle((3.55, 1.65), 0.17, facecolor="white", edgecolor=INK))
    say(axis, 3.55, 1.65, "+", fontsize=13)
    arrow(axis, (0.7, 1.5), (1.16, 1.25))
    arrow(axis, (1.89, 1.2), (2.26, 1.2))
    arrow(axis, (2.99, 1.3), (3.4, 1.57))
    arrow(axis, (3.73, 1.65), (4.25, 1.65))
    axis.plot([0.4, 0.4, 3.55], [2.15, 2.5, 2.5], color=INK, linewidth=1.4)
    arrow(axis, (3.55, 2.51), (3.55, 1.83))
    say(axis, 2.0, 2.67, "shortcut: the same channels, added")
    say(axis, 2.5, 3.05, "the third channel goes from all of these, or from none", RED)
    say(axis, 2.5, 0.36, "narrow: what a layer reads; wide: what it writes", QUIET)
    say(axis, 2.5, 0.12, "conv 1 writes channels of its own: they are free", QUIET)
    return figure, (
        "A residual block: the first layer's output goes through two convolutions, and by a shortcut to a plus sign, where "
        "both are added; the next layer reads the sum. The third channel is hatched where the first layer and the second "
        "convolution write it, and where the first convolution and the next layer read it: it can only go from all four. "
        "The channels that the first convolution writes are its own."
    )


def wide_or_narrow() -> Drawn:
    """Draw twelve connections in a wide sparse network and in a narrow dense one.

    Example:
        >>> wide_or_narrow()[1][:13]
        'Two networks '
    """
    figure, axis = sheet(2.6)
    draw = np.random.default_rng(4)
    all_wide = [(i, j) for i in range(6) for j in range(6)]
    wide = [all_wide[k] for k in draw.choice(36, 12, replace=False)]
    narrow = [(i, j) for i in range(4) for j in range(3)]
    cases: Sequence[tuple[float, str, int, int, list[tuple[int, int]]]] = (
        (0.3, "sparse and wide", 6, 6, wide),
        (3.0, "dense and narrow", 4, 3, narrow),
    )
    for left, title, inputs, outputs, pairs in cases:
        ys = [1.3 + 0.32 * (np.arange(n) - (n - 1) / 2) for n in (inputs, outputs)]
        for i, j in pairs:
            axis.plot([left + 0.1, left + 1.6], [ys[0][i], ys[1][j]], color=BLUE, linewidth=1.4)
        for x, at in zip((left + 0.1, left + 1.6), ys, strict=True):
            axis.plot(
                np.full(len(at), x), at, "o", color="white", markeredgecolor=INK, markersize=9, zorder=5
            )
        say(axis, left + 0.85, 2.4, title, weight="bold")
        say(axis, left + 0.85, 0.18, f"{len(pairs)} weights", QUIET)
    say(axis, 2.47, 1.3, "or", fontsize=12)
    return figure, (
        "Two networks with twelve connections each. The sparse one spreads them over six inputs and six outputs and leaves "
        "most places empty. The dense one has four inputs and three outputs, all of them connected."
    )


def gradually() -> Drawn:
    """Draw gradual pruning: the share of weights falls while the network trains, fast at first and slowly at last.

    Example:
        >>> gradually()[1][:10]
        'A staircas'
    """
    figure, axis = sheet(2.5)
    inner = plot(figure, 0.75, 0.5, 4.1, 1.75)
    updates = np.linspace(0.05, 0.75, 9)
    removed = 0.9 * (1 - (1 - (updates - 0.05) / 0.7) ** 3)
    x = np.concatenate([[0], updates, [1]])
    y = 1 - np.concatenate([[0], removed, [0.9]])
    inner.step(x, y, where="post", color=BLUE, linewidth=2)
    inner.fill_between(x, y, step="post", color="#BBD6E8", linewidth=0)
    # each stands on the step that it ends
    inner.plot(updates[1:], y[1:-2] + 0.035, "v", color=RED, markersize=7)
    inner.set(xlim=(0, 1), ylim=(0, 1.12))
    say(axis, 0.42, 1.95, "all")
    say(axis, 0.42, 0.75, "few")
    say(axis, 2.8, 0.25, "one training →", QUIET)
    inner.text(0.33, 0.78, "many go early", color=RED, fontsize=10)
    inner.text(0.6, 0.33, "few go late", color=RED, fontsize=10)
    inner.text(0.08, 0.12, "weights that learn", color=INK, fontsize=10)
    return figure, (
        "A staircase that falls from all weights to a tenth of them during one training. Its first steps are high: many "
        "weights go early. Its last ones are so low that they can hardly be seen, and end at three quarters of the training."
    )
