"""Pictures of the loss: spectra of its curvature, surfaces, lines between networks, and directions in the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator
from torch import Tensor

from ..metrics.geometry import Density, Line, Surface, error_barrier
from ..text import short
from .drawing import Drawn, bare, draw_image, legend_below
from .style import look, styled

_STROKES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#000000", ":", "D"))
# What logarithmic scales show of losses, and of densities: one eigenvalue of a million still has a bell above it.
_LEAST, _MOST, _FAINT = 1e-6, 1e6, 1e-9


def spectra(densities: Mapping[str, Density]) -> Drawn:
    """Draw the density of Hessian eigenvalues, one row per network (pruner → ``Density``), on one pair of axes.

    Eigenvalues are linear around 0 and logarithmic beyond, density is logarithmic. A line marks the largest eigenvalue.

    Example:
        >>> import torch
        >>> from lotterylib.metrics.geometry import Density
        >>> grid = torch.linspace(-1, 3, 41)
        >>> _, alt = spectra({"snip": Density(grid, (-((grid - 1) ** 2)).exp())})
        >>> print(alt)
        Density of Hessian eigenvalues, one row per network. The largest: SNIP 1.
    """
    largest = {name: _largest(density) for name, density in densities.items()}
    with styled():
        size = 7.2, 1.6 * len(densities) + 0.7
        figure, axes = plt.subplots(len(densities), figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis, (name, (values, density)) in zip(axes[:, 0], densities.items(), strict=True):
            label, colour, _ = look(name)
            heights = density.clamp_min(_FAINT).numpy()
            axis.fill_between(values.numpy(), heights, _FAINT, color=colour, alpha=0.75, linewidth=0)
            axis.axvline(largest[name], color=colour, linestyle="--", linewidth=1.2)
            axis.set_title(
                f"{label}: largest eigenvalue about {short(largest[name])}", loc="left", fontsize=9
            )
            axis.set_ylabel("density")
        axes[0, 0].set_yscale("log")
        axes[0, 0].set_ylim(bottom=_FAINT)
        axes[0, 0].set_xscale("symlog", linthresh=0.1)
        axes[-1, 0].set_xlabel("eigenvalue of the Hessian (nats), linear between −0.1 and 0.1")
        figure.tight_layout()
    words = "; ".join(f"{look(name).label} {short(value)}" for name, value in largest.items())
    return figure, f"Density of Hessian eigenvalues, one row per network. The largest: {words}."


def _largest(density: Density) -> float:
    """Return the centre of the last bell. It need not be a peak, but far out the density is its alone, and its logarithm a
    parabola with the bell's centre at its top."""
    values, heights = (part.numpy() for part in density)
    seen = heights > 0
    x, y = values[seen][-5:], np.log(heights[seen][-5:])
    # Centred and scaled, or the fit loses its digits.
    middle, scale = x.mean(), np.ptp(x)
    curve, slope, _ = np.polyfit((x - middle) / scale, y, 2)
    return float(middle - scale * slope / (2 * curve))


def surfaces(found: Mapping[str, Surface]) -> Drawn:
    """Draw the loss over two filter-normalised directions, one panel per network (pruner → ``Surface``).

    All are on one logarithmic colour scale; the cross is the network. A title says from what to what the loss goes.

    Example:
        >>> import torch
        >>> from lotterylib.metrics.geometry import Surface
        >>> places = torch.tensor([-1.0, 0.0, 1.0])
        >>> _, alt = surfaces({"snip": Surface(places, places[:, None] ** 2 + places**2 + 0.1)})
        >>> print(alt)
        Training loss over two random directions, on one colour scale: SNIP 0.1 at the centre, 1.77 at the
        edge in the mean.
    """
    losses = {name: s.losses.nan_to_num(_MOST).clamp(_LEAST, _MOST).numpy() for name, s in found.items()}
    low = min(float(heights.min()) for heights in losses.values())
    high = max(1.01 * low, *(float(heights.max()) for heights in losses.values()))
    levels = np.geomspace(0.999 * low, 1.001 * high, 17)
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    with styled():
        size = min(9.6, 2.9 * columns + 1), 2.9 * rows + 0.3
        shared = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
        figure, axes = plt.subplots(rows, columns, figsize=size, **shared)
        drawn = []
        for axis in axes.flat[len(found) :]:
            axis.axis("off")
        for axis, (name, heights) in zip(axes.flat, losses.items(), strict=False):
            at = found[name].positions
            scale = LogNorm(low, high)
            drawn.append(axis.contourf(at, at, heights.T, levels, cmap="viridis", norm=scale))
            axis.contour(at, at, heights.T, levels, colors="white", linewidths=0.4)
            axis.plot(0, 0, "+", color="white", markersize=9)
            reach = f"{short(heights.min())} to {short(heights.max())}"
            axis.set_title(f"{look(name).label}: {reach} nats", loc="left", fontsize=9)
            axis.set_aspect("equal")
            axis.grid(False)
        for axis in axes[-1]:
            axis.set_xlabel("first direction")
        for axis in axes[:, 0]:
            axis.set_ylabel("second direction")
        bar = figure.colorbar(drawn[-1], ax=axes, label="training loss (nats) ↓", shrink=0.9)
        ticks = np.geomspace(low, high, 5).tolist()
        bar.set_ticks(ticks, labels=[f"{t:.2g}" if t < 100 else f"{t:.0f}" for t in ticks])
        bar.minorticks_off()
    words = []
    for name, heights in losses.items():
        middle = len(heights) // 2
        edge = np.concatenate([heights[0], heights[-1], heights[:, 0], heights[:, -1]])
        centre = heights[middle, middle]
        words.append(
            f"{look(name).label} {centre:.3g} at the centre, {edge.mean():.3g} at the edge in the mean"
        )
    return figure, f"Training loss over two random directions, on one colour scale: {'; '.join(words)}."


def connection(found: Mapping[str, Line]) -> Drawn:
    """Draw loss and error along straight lines between two networks (name of the pair → ``Line``).

    Each has the straight chord between its ends and the height of its barrier.

    Example:
        >>> import torch
        >>> from lotterylib.metrics.geometry import Line
        >>> losses, errors = torch.tensor([0.1, 0.5, 0.1]), torch.tensor([0.0, 0.2, 0.0])
        >>> line = Line(torch.tensor([0.0, 0.5, 1.0]), losses, errors)
        >>> _, alt = connection({"two seeds": line})
        >>> print(alt)
        Loss and error along straight lines between pairs of networks. two seeds: barrier 0.4 nats and 20
        points.
    """
    barriers = {name: (error_barrier(s.losses), error_barrier(s.errors)) for name, s in found.items()}
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.3))
        for i, (name, line) in enumerate(found.items()):
            label = f"{name}: barrier {barriers[name][0]:.2g} nats"
            colour, stroke, marker = _STROKES[i % len(_STROKES)]
            for axis, heights in zip(axes, (line.losses, 100 * line.errors), strict=True):
                style = {"color": colour, "marker": marker, "markersize": 3.5, "label": label}
                axis.plot(line.positions, heights, stroke, **style)
                axis.plot([0, 1], heights[[0, -1]], color=colour, linewidth=0.7, alpha=0.6)
        for axis, words in zip(axes, ("loss (nats) ↓", "error (%) ↓"), strict=True):
            axis.set(ylabel=words, xlabel="from the first network (0) to the second (1)")
        figure.tight_layout()
        legend_below(figure, axes[0].get_legend_handles_labels()[0], min(2, len(found)))
    said = (f"{n}: barrier {loss:.3g} nats and {100 * e:.3g} points" for n, (loss, e) in barriers.items())
    words = "; ".join(said)
    return figure, f"Loss and error along straight lines between pairs of networks. {words}."


def shaken(
    before: Tensor, after: Tensor, losses: Mapping[float, Sequence[float]], scale: float, allowed: float
) -> Drawn:
    """Draw noise of one scale on the weights: what it makes of some weights, and the loss of each draw beside those at other scales.

    Figures of the same ``losses`` share their axes, so that a slider can move through them.

    Args:
        before, after: The same weights without and with noise.
        losses: scale → the loss of each draw.
        scale: Which of them to show.
        allowed: The loss that σ allows in the mean over draws.

    Example:
        >>> w = Tensor([1.0, -2.0])
        >>> shaken(w, 1.1 * w, {0.0: [0.2, 0.2], 0.1: [0.2, 0.3]}, 0.1, 0.22)[1]
        'Noise of 0.1 of each weight: loss 0.25 in the mean over 2 draws, more than the 0.22 allowed.'
    """
    mean = float(np.mean(losses[scale]))
    said = "within what is allowed" if mean <= allowed else "more than is allowed"
    with styled():
        figure, (upper, lower) = plt.subplots(2, 1, figsize=(4.4, 6))
        reach = 1.05 * before.abs().max().item()
        upper.plot([-reach, reach], [-reach, reach], color="black", linewidth=0.8)
        upper.plot(before.cpu(), after.cpu(), "o", color="#0072B2", markersize=2.5, alpha=0.6)
        most = (1 + 3 * max(losses)) * reach
        upper.set(
            xlim=(-reach, reach), ylim=(-most, most), xlabel="weight", ylabel="the same weight with noise"
        )
        for level, values in losses.items():
            chosen = level == scale
            style = {"color": "#0072B2", "markersize": 6} if chosen else {"color": "#999999", "markersize": 3}
            lower.plot(
                [level] * len(values), values, "o" if chosen else ".", zorder=3 if chosen else 2, **style
            )
        lower.plot(list(losses), [np.mean(v) for v in losses.values()], color="black", linewidth=1)
        lower.axhline(allowed, color="#D55E00", linestyle="--", label="allowed")
        lower.set(
            yscale="log",
            xlabel="noise, as a share of each weight",
            ylabel="training loss (nats, log scale) ↓",
        )
        lower.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
        lower.set_title(f"mean {mean:.3g}: {said}", loc="left", fontsize=10)
        lower.legend(loc="upper left")
        figure.tight_layout()
    ending = f"{'within' if mean <= allowed else 'more than'} the {allowed:.3g} allowed"
    drawn = f"Noise of {scale:g} of each weight: loss {mean:.3g} in the mean over {len(losses[scale])} draws"
    return figure, f"{drawn}, {ending}."


def pixel_directions(pictures: Tensor, directions: Mapping[str, Tensor]) -> Drawn:
    """Draw images [N, C, H, W] above the direction in their pixels along which each network's loss bends most.

    ``directions``: pruner → [N, C, H, W]. Dark and light are the two signs, which may be swapped together.

    Example:
        >>> import torch
        >>> pictures = torch.ones(1, 1, 4, 4)
        >>> _, alt = pixel_directions(pictures, {"snip": torch.ones(1, 1, 4, 4)})
        >>> print(alt)
        1 images and, below each, the pixels in which the loss of a network bends most. Share of the
        direction (squared) that lies on pixels that are not black: SNIP 100%.
    """
    count = len(pictures)
    with styled():
        # no wider than a page shows it
        rows, wide = 1 + len(directions), min(0.95, 7.6 / count)
        figure, axes = plt.subplots(
            rows, count, figsize=(wide * count + 0.4, (wide + 0.05) * rows), squeeze=False
        )
        for axis in axes.flat:
            bare(axis)
        for axis, picture in zip(axes[0], pictures, strict=True):
            draw_image(axis, picture)
        axes[0, 0].set_ylabel("image", fontsize=9)
        for row, (name, maps) in zip(axes[1:], directions.items(), strict=True):
            row[0].set_ylabel(look(name).label, fontsize=9)
            for axis, direction in zip(row, maps, strict=True):
                sums = direction.sum(0).cpu().numpy()
                reach = np.abs(sums).max() or 1.0
                # unlike one with two dark ends it has signs in grey, too
                axis.imshow(sums, cmap="cividis", vmin=-reach, vmax=reach)
        figure.tight_layout(pad=0.3)
    within = {
        name: float((maps.square() * (pictures > 0.05)).sum() / maps.square().sum().clamp_min(1e-30))
        for name, maps in directions.items()
    }
    words = "; ".join(f"{look(name).label} {share:.0%}" for name, share in within.items())
    return figure, (
        f"{count} images and, below each, the pixels in which the loss of a network bends most. Share of the direction "
        f"(squared) that lies on pixels that are not black: {words}."
    )
