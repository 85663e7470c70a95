"""Pictures of data, masks and trainings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import Bbox
from scipy.stats import spearmanr
from torch import Tensor, nn

from ..errors import DataError, SettingError
from ..masks import Mask
from ..masks.mask import inner_layer
from .drawing import Drawn, draw_image, panels, spanned, stroke
from .style import ink_on, legible, look, styled

_HATCHES = ("", "//", "..", "xx", "\\\\")
# As many strokes: two pruners may share a marker, and in grey colours are alike.
_STROKES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


def images(pictures: Tensor, titles: Sequence[str], columns: int = 10) -> Drawn:
    """Draw a grid of [N, C, H, W] images in [0, 1], grey or colour, with a title each.

    Example:
        >>> _, alt = images(torch.zeros(2, 1, 4, 4), ["a cat", "a dog"])
        >>> print(alt)
        2 example images: a cat, a dog.
    """
    with styled():
        # no wider than a page shows it; room for titles of several lines
        wide, lines = min(1.05, 8 / columns), 1 + max((t.count("\n") for t in titles), default=0)
        figure, axes = panels(len(pictures), columns, (wide, wide + 0.1 + 0.16 * lines))
        for axis, picture, title in zip(axes, pictures, titles, strict=True):
            axis.axis("off")
            draw_image(axis, picture)
            axis.set_title(title, fontsize=9)
        figure.tight_layout(pad=0.3)
    return figure, f"{len(pictures)} example images: {', '.join(titles)}."


def _check_any(masks: Mapping[str, Mask]) -> None:
    if not masks:
        raise SettingError("no masks to draw: give one or more, pruner → mask")


def mask_picture(masks: Mapping[str, Mask], weight: str | None = None) -> Drawn:
    """Draw one layer's mask under each pruner, a mark for each kept weight: one row per output channel, one column per incoming weight.

    ``weight``: the layer's name in each mask (pruner → mask); if it is not given, ``masks.inner_layer`` chooses. Raises
    ``SettingError`` without a mask, or where one has no such layer.

    Example:
        >>> mask = Mask({"0.weight": torch.tensor([[True, False], [True, True]])})
        >>> _, alt = mask_picture({"snip": mask}, "0.weight")
        >>> print(alt)
        Which weights of layer 0 stay: SNIP keeps 75.0%.
    """
    _check_any(masks)
    weight = weight or inner_layer(next(iter(masks.values())))
    with styled():
        figure, axes = plt.subplots(len(masks), 1, figsize=(7.2, 1.9 * len(masks)), squeeze=False)
        kept = []
        for axis, (pruner, mask) in zip(axes[:, 0], masks.items(), strict=True):
            if weight not in mask:
                raise SettingError(f"no layer {weight!r} in {pruner}'s mask; there are: {', '.join(mask)}")
            layer = mask[weight].flatten(1).cpu()
            axis.imshow(layer, cmap="gray_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
            label, share = look(pruner).label, f"{layer.double().mean():.1%}"
            axis.set_title(f"{label}: {share} of {layer_name(weight)} kept", loc="left", fontsize=9)
            axis.set_ylabel("output channel")
            axis.grid(False)
            kept.append(f"{label} keeps {share}")
        axes[-1, 0].set_xlabel("incoming weight (input channel × kernel position)")
        figure.tight_layout()
    return figure, f"Which weights of {layer_name(weight)} stay: {'; '.join(kept)}."


def mask_change(before: Mask, after: Mask, weight: str | None = None) -> Drawn:
    """Draw how one layer's mask moved; rows, columns and ``weight`` as in ``mask_picture``.

    Example:
        >>> old = Mask({"0.weight": torch.tensor([[True, False, True]])})
        >>> new = Mask({"0.weight": torch.tensor([[True, True, False]])})
        >>> _, alt = mask_change(old, new, "0.weight")
        >>> print(alt)
        Connections of layer 0 from the first mask to the last: 1 stayed, 1 dropped, 1 grew.
    """
    weight = weight or inner_layer(before)
    old, new = before[weight].flatten(1).cpu(), after[weight].flatten(1).cpu()
    parts = {"stayed": old & new, "dropped": old & ~new, "grew": ~old & new}
    colours = {"stayed": "#444444", "dropped": "#E69F00", "grew": "#0072B2"}
    with styled():
        figure, axes = plt.subplots(3, 1, figsize=(7.2, 5), sharex=True)
        for axis, (label, part) in zip(axes, parts.items(), strict=True):
            shades = ListedColormap(["white", colours[label]])
            axis.imshow(part, cmap=shades, aspect="auto", interpolation="nearest", vmin=0, vmax=1)
            axis.set_title(
                f"{label}: {int(part.sum()):,} connections of {layer_name(weight)}", loc="left", fontsize=9
            )
            axis.set_ylabel("output channel")
            axis.grid(False)
        axes[-1].set_xlabel("incoming weight (input channel × kernel position)")
        figure.tight_layout()
    counts = ", ".join(f"{int(part.sum()):,} {label}" for label, part in parts.items())
    return figure, f"Connections of {layer_name(weight)} from the first mask to the last: {counts}."


def density_bars(masks: Mapping[str, Mask], of: Mask | None = None) -> Drawn:
    """Draw the share of weights that each pruner keeps in each layer, in per cent on a log scale, with a mark for each; a cross
    marks nothing left.

    ``masks``: pruner → mask. ``of``: the dense network's mask, where tickets are physically smaller; its layers that no ticket
    prunes are left out. Raises ``SettingError`` without a mask.

    Example:
        >>> mask = Mask({"0.weight": torch.tensor([[True, False]]), "2.weight": torch.tensor([[True, True]])})
        >>> _, alt = density_bars({"snip": mask})
        >>> print(alt)
        Share of weights kept in each layer. Marks of weights kept (%), one column per layer. SNIP: 50
        (layer 0) to 100 (layer 2).
    """
    _check_any(masks)
    pruned = next(iter(masks.values()))
    whole = {name: (of or pruned)[name].numel() for name in pruned}
    shares = {p: {n: 100 * int(mask[n].sum()) / whole[n] for n in whole} for p, mask in masks.items()}
    figure, alt = layer_bars(shares, "weights kept (%)", log=True)
    return figure, f"Share of weights kept in each layer. {alt}"


def layer_bars(values: Mapping[str, Mapping[str, float]], label: str, log: bool = False) -> Drawn:
    """Draw one number per layer for each pruner (pruner → layer → value), as bars side by side; on a log scale, where a bar
    would begin anywhere, as marks; of many pruners, as a table of colours.

    ``label``: the y axis, with its unit. On the log scale a zero is marked with a cross.

    Example:
        >>> _, alt = layer_bars({"snip": {"0.weight": 0.5, "3.weight": 2.0}}, "norm")
        >>> print(alt)
        Bars of norm, one group per layer. SNIP: 0.5 (layer 0) to 2 (layer 3).
    """
    many = len(values) > len(_HATCHES)
    draw, what = (
        (_layer_table, "A table") if many else (_layer_marks, "Marks") if log else (_layer_bars, "Bars")
    )
    spans = [
        f"{look(pruner).label}: {spanned({layer_name(n): v for n, v in layers.items()})}"
        for pruner, layers in values.items()
    ]
    return draw(values, label, log), (
        f"{what} of {label}, one {'column' if many or log else 'group'} per layer. {'; '.join(spans)}."
    )


def _layer_table(values: Mapping[str, Mapping[str, float]], label: str, log: bool) -> Figure:
    names = list(next(iter(values.values())))
    numbers = np.array([[layers[n] for n in names] for layers in values.values()], dtype=float)
    least = numbers[numbers > 0].min() if (numbers > 0).any() else 1.0
    shades = np.log(numbers.clip(min=least)) if log else numbers
    with styled():
        figure, axis = plt.subplots(figsize=(8, 0.32 * len(values) + 1.8))
        drawn = axis.imshow(shades, cmap="Blues", aspect="auto")
        for (i, j), number in np.ndenumerate(numbers):
            text = "×" if number == 0 else f"{number:.0f}" if number >= 10 else f"{number:.2g}"
            ink = ink_on(drawn.cmap(drawn.norm(shades[i, j])))
            axis.text(j, i, text, ha="center", va="center", fontsize=9, color=ink)
        _name_layers(axis, names)
        axis.set_yticks(range(len(values)), [look(p).label for p in values])
        axis.set_title(f"{label}, colours on a log scale" if log else label, loc="left", fontsize=10)
        axis.grid(False)
        figure.tight_layout()
    return figure


def _name_layers(axis: Axes, names: Sequence[str]) -> None:
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 9}
    axis.set_xticks(range(len(names)), [layer_name(n) for n in names], **slanted)
    axis.set_xlabel("layer, input to output")


def _legend_above(axis: Axes, count: int, most: int = 5) -> None:
    # At the left, which a phone shows first.
    axis.legend(ncols=min(most, count), loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)


def _layer_bars(values: Mapping[str, Mapping[str, float]], label: str, log: bool) -> Figure:
    names = list(next(iter(values.values())))
    with styled():
        figure, axis = plt.subplots(figsize=(7.6, 3.6))
        width = 0.8 / len(values)
        for i, (pruner, layers) in enumerate(values.items()):
            x = np.arange(len(names)) + (i - (len(values) - 1) / 2) * width
            name, colour, _ = look(pruner)
            hatch = _HATCHES[i % len(_HATCHES)]
            heights = [layers[n] for n in names]
            axis.bar(x, heights, width, label=name, color=colour, edgecolor="white", hatch=hatch)
        _name_layers(axis, names)
        axis.set_ylabel(label)
        _legend_above(axis, len(values))
        figure.tight_layout()
    return figure


def _layer_marks(values: Mapping[str, Mapping[str, float]], label: str, log: bool) -> Figure:
    names = list(next(iter(values.values())))
    numbers = np.array([[layers[n] for n in names] for layers in values.values()], dtype=float)
    least = numbers[numbers > 0].min() if (numbers > 0).any() else 1.0
    with styled():
        figure, axis = plt.subplots(figsize=(7.6, 3.6))
        for i, (pruner, row) in enumerate(zip(values, numbers, strict=True)):
            # Beside one another, so that equal shares do not hide each other.
            x = np.arange(len(names)) + (i - (len(values) - 1) / 2) * 0.13
            name, colour, marker = look(pruner)
            row = np.where(row > 0, row, np.nan)
            style = {"marker": marker, "color": colour, "linewidth": 0.9, "linestyle": _STROKES[i]}
            axis.plot(x, row, markersize=7, label=name, **style)
            nothing = x[np.isnan(row)]
            axis.plot(nothing, np.full(len(nothing), least / 1.5), "x", color=colour, markersize=8)
        axis.set_yscale("log")
        axis.set_ylim(least / 1.8, 1.3 * max(numbers.max(), least))
        axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
        _name_layers(axis, names)
        axis.set_ylabel(f"{label}, log scale")
        _legend_above(axis, len(values))
        figure.tight_layout()
    return figure


def lines(
    x: Sequence[float],
    values: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    log: str = "",
    limits: Mapping[str, float] | None = None,
) -> Drawn:
    """Draw one line per pruner (pruner → a value for each ``x``), in the order of ``x``, and dashed horizontal ones (``limits``: name
    → height).

    ``log``: the axes with a log scale, of "x" and "y"; where the y axis has to show a zero, it is linear below the least positive value.

    Example:
        >>> _, alt = lines([0, 1], {"snip": [0.9, 0.5]}, "noise", "accuracy")
        >>> print(alt)
        accuracy against noise, 0 to 1: SNIP from 0.9 to 0.5.
    """
    figure = _drawn_lines({pruner: (x, row) for pruner, row in values.items()}, xlabel, ylabel)
    axis = figure.axes[0]
    for name, height in (limits or {}).items():
        axis.axhline(height, color="#D55E00", linestyle="--", linewidth=1.3, label=name)
        axis.legend()
    if "x" in log:
        axis.set_xscale("log")
        axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
    if "y" in log:
        numbers = [float(v) for row in values.values() for v in row]
        least, most = min((v for v in numbers if v > 0), default=1.0), max(numbers)
        if min(numbers) > 0:
            axis.set_yscale("log")
            axis.set_ylim(least / 1.6, 1.6 * most)
        else:
            axis.set_yscale("symlog", linthresh=least)
            axis.set_ylim(-0.15 * least, 1.6 * max(most, least))
        axis.yaxis.set_major_formatter("{x:g}")
    if x[0] > x[-1]:
        axis.invert_xaxis()
    ends = "; ".join(f"{look(p).label} from {row[0]:.3g} to {row[-1]:.3g}" for p, row in values.items())
    ends += "".join(f"; {name} {height:.3g}" for name, height in (limits or {}).items())
    first, last = (f"{end:.3g}" if abs(end) < 1000 else f"{end:,.0f}" for end in (x[0], x[-1]))
    return figure, f"{ylabel} against {xlabel}, {first} to {last}: {ends}."


def bars(values: Mapping[str, float], label: str) -> Drawn:
    """Draw one bar per pruner, with its number.

    Example:
        >>> _, alt = bars({"lottery": 2.0, "random": 0.5}, "hours")
        >>> print(alt)
        hours: LTH 2; RP 0.5.
    """
    with styled():
        figure, axis = plt.subplots(figsize=(6.4, 0.36 * len(values) + 1))
        for i, (pruner, value) in enumerate(values.items()):
            axis.barh(i, value, color=look(pruner).colour)
            axis.text(value, i, f" {value:.2g}", va="center", fontsize=9)
        axis.set_yticks(range(len(values)), [look(p).label for p in values])
        axis.invert_yaxis()
        axis.set_xlabel(label)
        axis.margins(x=0.12)
        figure.tight_layout()
    return figure, f"{label}: " + "; ".join(f"{look(p).label} {v:.3g}" for p, v in values.items()) + "."


def overlap(shares: Mapping[str, Mapping[str, float]], chance: float) -> Drawn:
    """Draw which share of the weights that one pruner keeps (rows) another keeps too (columns), as a table of colours.

    ``chance``: the share that two random masks have in common.

    Example:
        >>> overlap({"lottery": {"lottery": 1.0, "snip": 0.3}, "snip": {"lottery": 0.3, "snip": 1.0}}, 0.1)[1]
        'Share of kept weights in common, 10% by chance. Most: LTH with SNIP 30%. Least: LTH with SNIP 30%.'
    """
    names = list(shares)
    values = np.array([[shares[a][b] for b in names] for a in names])
    with styled():
        size = 0.5 * len(names) + 1.4
        figure, axis = plt.subplots(figsize=(size + 0.6, size))
        drawn = axis.imshow(values, cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(values):
            ink = ink_on(drawn.cmap(share))
            axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=10, color=ink)
        labels = [look(n).label for n in names]
        axis.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(names)), labels)
        axis.set_title(f"weights in common (%), {100 * chance:.0f} by chance", loc="left", fontsize=10)
        axis.grid(False)
        figure.tight_layout()
    pairs = sorted(((shares[a][b], a, b) for i, a in enumerate(names) for b in names[i + 1 :]), reverse=True)
    ends = [f"{look(a).label} with {look(b).label} {share:.0%}" for share, a, b in pairs]
    said = f" Most: {ends[0]}. Least: {ends[-1]}." if ends else ""
    return figure, f"Share of kept weights in common, {chance:.0%} by chance.{said}"


def cost_and_accuracy(costs: Mapping[str, float], accuracies: Mapping[str, float], dense: float) -> Drawn:
    """Draw test accuracy against the cost of finding a ticket, one named mark per pruner; the line is the dense network's accuracy.

    ``costs``: in trainings of the dense network. Pruners without an accuracy are left out.

    Example:
        >>> cost_and_accuracy({"lottery": 5.0, "snip": 0.25}, {"lottery": 0.9, "snip": 0.88}, 0.91)[1]
        'Test accuracy against cost; dense 91.0% at 1. SNIP 88.0% at 0.25; LTH 90.0% at 5.'
    """
    shown = sorted((cost, pruner) for pruner, cost in costs.items() if pruner in accuracies)
    places = {"dense": (1.0, 100 * dense)} | {p: (cost, 100 * accuracies[p]) for cost, p in shown}
    with styled():
        figure, axis = plt.subplots(figsize=(7.0, 3.8))
        axis.axhline(100 * dense, color="black", linestyle="-.", linewidth=1.1)
        for pruner, place in places.items():
            _, colour, marker = look(pruner)
            axis.plot(*place, marker or "o", color=colour, markersize=8)
        axis.set_xscale("log")
        axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
        axis.margins(x=0.12, y=0.1)
        axis.set(xlabel="cost of finding the ticket (dense training = 1) ←", ylabel="test accuracy (%) ↑")
        figure.tight_layout()
        _name_marks(axis, places, 100 * dense)
    said = "; ".join(f"{look(p).label} {accuracies[p]:.1%} at {cost:.3g}" for cost, p in shown)
    return figure, f"Test accuracy against cost; dense {dense:.1%} at 1. {said}."


# Where a name may stand beside its mark: offset in points and alignment, the nearest first.
_SIDES = [
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    *(
        (x, y, "left" if x > 0 else "right", "bottom" if y > 0 else "top")
        for x in (7, -7)
        for y in (7, -7, 18, -18)
    ),
]


def _name_marks(axis: Axes, places: Mapping[str, tuple[float, float]], line: float) -> None:
    """Write each pruner's name beside its mark, where it covers no other mark or name and not the horizontal line."""
    inside = axis.get_window_extent()
    dots = axis.transData.transform(list(places.values()))
    height = axis.transData.transform((1, line))[1]
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in dots]
    taken.append(Bbox.from_extents(inside.x0, height - 5, inside.x1, height + 5))
    for pruner, place in places.items():
        label, colour, _ = look(pruner)
        text = axis.annotate(label, place, xytext=(0, 0), textcoords="offset points", color=legible(colour))
        covered = []
        for x, y, ha, va in _SIDES:
            text.set(position=(x, y), ha=ha, va=va)
            box = text.get_window_extent()
            outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
            # a name that almost touches another reads as one with it
            covered.append(sum(box.padded(3).overlaps(other) for other in taken) + 2 * outside)
        x, y, ha, va = _SIDES[int(np.argmin(covered))]
        text.set(position=(x, y), ha=ha, va=va)
        taken.append(text.get_window_extent())


def weight_histogram(model: nn.Module, mask: Mask) -> Drawn:
    """Draw prunable weights by magnitude, on a log axis: those that the mask keeps above those that it removes.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, 0.1]]))
        >>> _, alt = weight_histogram(layer, Mask({"weight": torch.tensor([[True, False]])}))
        >>> print(alt)
        Histogram of weight magnitudes on a log axis. 1 of 2 weights are kept, all of magnitude 0.5 or more
        in this mask.
    """
    weights = dict(model.named_parameters())
    sizes = torch.cat([weights[n].detach().abs().flatten().cpu() for n in mask])
    kept = torch.cat([mask[n].flatten().cpu() for n in mask])
    edge = sizes[kept].min().item() if kept.any() else float("nan")
    low, high, width = max(sizes.max().item() * 1e-4, 1e-12), sizes.max().item(), 1.17
    # one begins at the cut: none is both kept and removed
    bins = max(low, edge) * width ** np.arange(-60.0, 61.0)
    bins = bins[(bins > low / width) & (bins < max(low, high) * width)].tolist()
    with styled():
        figure, axis = plt.subplots(figsize=(6.4, 3.2))
        parts = [sizes[kept].numpy(), sizes[~kept].numpy()]
        axis.hist(parts, bins, stacked=True, color=["#0072B2", "#bbbbbb"], label=["kept", "removed"])
        axis.set(xscale="log", xlabel="magnitude of the trained weight |θ|", ylabel="weights")
        axis.legend(loc="upper left")
        figure.tight_layout()
    return figure, (
        f"Histogram of weight magnitudes on a log axis. {int(kept.sum()):,} of {len(kept):,} weights are kept, "
        f"all of magnitude {edge:.3g} or more in this mask."
    )


def scatter(x: Sequence[float], y: Sequence[float], labels: tuple[str, str], pruner: str = "dense") -> Drawn:
    """Draw pairs of positive numbers on logarithmic axes, with the line of equality; ``labels`` name x and y, and marks have
    the colour of ``pruner``.

    A pair with a zero has no place on such axes: it is left out, and counted below. Raises ``DataError`` where none is left.

    Example:
        >>> _, alt = scatter([0.1, 0.2, 0.4], [0.1, 0.3, 0.4], ("score", "change"))
        >>> print(alt)
        change against score, 3 pairs, between them and equality a factor of 1 in the middle; rank
        correlation 1.00.
    """
    pairs = np.asarray([x, y], dtype=float).T
    shown = pairs[(pairs > 0).all(axis=1) & np.isfinite(pairs).all(axis=1)]
    if not len(shown):
        raise DataError("no pair of positive numbers to draw")
    with styled():
        figure, axis = plt.subplots(figsize=(5.0, 3.9))
        ends = [shown.min() / 1.5, shown.max() * 1.5]
        axis.plot(ends, ends, "--", color="#666666", linewidth=1, label="both are equal")
        axis.loglog(*shown.T, "o", color=look(pruner).colour, markersize=5, alpha=0.8)
        axis.set(xlabel=labels[0], ylabel=labels[1], xlim=ends, ylim=ends)
        axis.legend()
    rank = spearmanr(*shown.T).statistic if len(shown) > 2 else float("nan")
    factor = np.exp(np.median(np.abs(np.log(shown[:, 1] / shown[:, 0]))))
    left = f" ({len(pairs) - len(shown)} with a zero are left out)" if len(shown) < len(pairs) else ""
    return figure, (
        f"{labels[1]} against {labels[0]}, {len(shown)} pairs{left}, between them and equality a factor of {factor:.2g} in the "
        f"middle; rank correlation {rank:.2f}."
    )


def curves(losses: Mapping[str, Sequence[float]]) -> Drawn:
    """Draw training loss against epoch, one line per network (pruner → mean loss of each epoch).

    Example:
        >>> _, alt = curves({"lottery": [2.0, 1.0, 0.5]})
        >>> print(alt)
        Mean training loss of each epoch: LTH ends at 0.50.
    """
    found = {pruner: (range(1, len(values) + 1), values) for pruner, values in losses.items()}
    figure = _drawn_lines(found, "epoch of this training", "training loss (nats) ↓")
    figure.axes[0].xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    ends = "; ".join(f"{look(p).label} ends at {v[-1]:.2f}" for p, v in losses.items())
    return figure, f"Mean training loss of each epoch: {ends}."


def _drawn_lines(
    found: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    with styled():
        figure, axis = plt.subplots(figsize=(6, 3.4))
        shown: Counter[str] = Counter()
        for pruner, (x, y) in found.items():
            label, colour, marker = look(pruner)
            # in grey, lines of one marker are told apart by their dashes
            dashes = _STROKES[shown[marker] % len(_STROKES)] if shown[marker] else stroke(pruner)
            axis.plot(x, y, linestyle=dashes, marker=marker, color=colour, label=label)
            shown[marker] += 1
        axis.set(xlabel=xlabel, ylabel=ylabel)
        _legend_above(axis, len(found), 3)
        figure.tight_layout()
    return figure


def layer_name(name: str) -> str:
    """Return what a reader calls a layer, from the name of one of its tensors; what is not known stays as it is.

    Example:
        >>> [layer_name(f"net.{n}.weight") for n in ("stem.0", "stages.1.conv2", "layer4.2.shortcut.0", "7", "head")]
        ['first layer', 'block 2, conv 2', 'stage 4, block 3, shortcut', 'layer 7', 'last layer']
    """
    name = re.sub(r"^net\.|\.(weight|bias|running_mean|running_var)$", "", name)
    for pattern, words in _WORDS.items():
        name = re.sub(pattern, words, name)
    return name.replace(".", ", ")


_WORDS = {
    r"^stages\.(\d+)": lambda found: f"block {int(found[1]) + 1}",
    r"^layer(\d+)\.(\d+)": lambda found: f"stage {found[1]}, block {int(found[2]) + 1}",
    r"\b(stem|shortcut|downsample)\.\d+$": r"\1",
    r"\b(bn|norm)(\d)": r"BatchNorm \2",
    r"\bconv(\d)": r"conv \1",
    r"^(stem|conv 1)$": "first layer",
    r"^(head|fc)$": "last layer",
    r"^(\d+)$": r"layer \1",
}
