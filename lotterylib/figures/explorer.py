"""One network in five small pictures, and a slider over many of them that a page without a kernel can move.

Whatever a picture shows has been measured before; here it is only drawn.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from .. import metrics
from ..errors import SettingError
from ..metrics.geometry import Surface
from ..metrics.interpretability import Explanation
from ..text import percent
from .answers import SIGNS
from .calibration import binned_error
from .drawing import Drawn, bare, draw_image, marked, spanned
from .notebook import smallest_letters
from .style import in_order, look, styled
from .verdict import draw_radar

# What the scale of losses shows.
_LEAST, _MOST = 1e-4, 1e4
_WORDS = {"pass": "kept", "undecided": "undecided", "fail": "lost"}
# A frame's levels of red, green and blue, of 255, lie so far apart: half the bytes, and grey stays grey.
_STEP = 15
# Pixels of letters that can be read.
_READABLE = 9


@dataclass(frozen=True)
class View:
    """All that is shown of one network: at the ``sparsity`` asked for, with one layer's ``kept_share``, the ``bins`` of
    ``metrics.calibration.reliability``, the ``image`` [C, H, W] that ``explanation`` is about, the loss around the weights,
    and ``places`` from ``figures.verdict.scaled``: a row for "dense" and one for the pruner."""

    pruner: str
    sparsity: float
    accuracy: float
    kept: Tensor
    bins: pd.DataFrame | None
    image: Tensor
    explanation: Explanation
    surface: Surface
    places: pd.DataFrame

    @property
    def title(self) -> str:
        name = look(self.pruner).label
        return name if self.pruner == "dense" else f"{name}, {percent(self.sparsity)} removed"

    @property
    def error(self) -> float | None:
        """Return its calibration error, where there are bins."""
        return None if self.bins is None else binned_error(self.bins)


def recorded_bins(record: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the reliability diagram that a record of ECE holds; None where it holds none."""
    found = record.get("extra", {}).get("reliability", {}).get("before")
    return None if found is None else pd.DataFrame(found).astype(float)


def kept_share(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the share of weights that a mask [O, I, …] keeps in each kernel, float64 [outputs, inputs].

    ``shape``: of the dense layer; NaN where a narrower network has no such channel.

    >>> kept_share(torch.tensor([[True, False]]), (1, 3)).tolist()
    [[1.0, 0.0, nan]]
    """
    share = mask.double().flatten(2).mean(2) if mask.ndim > 2 else mask.double()
    frame = torch.full((shape[0], shape[1]), float("nan"), dtype=torch.float64)
    frame[: share.shape[0], : share.shape[1]] = share.cpu()
    return frame


@dataclass(frozen=True)
class Scales:
    """Limits of the loss and of LIME's coefficients that all frames share, so that two of them can be compared."""

    loss: tuple[float, float]
    effect: float

    @classmethod
    def of(cls, views: Sequence[View]) -> Scales:
        """Return the scales that hold all ``views``; raise ``SettingError`` for none."""
        if not views:
            raise SettingError("no networks to look at")
        losses = torch.stack([_losses(v.surface) for v in views])
        effects = [v.explanation.coefficients.abs().max().item() for v in views]
        low = losses.min().item()
        return cls((low, max(1.01 * low, losses.max().item())), max(effects) or 1.0)


def frame(seen: View, scales: Scales) -> Drawn:
    """Draw one network in five panels, and the image that is explained. Return the figure and its alt text."""
    with styled():
        # Placed by hand: finding a layout takes longer than drawing.
        figure = plt.figure(figsize=(3.9, 6.6))
        grid = figure.add_gridspec(
            3, 2, left=0.09, right=0.8, bottom=0.07, top=0.88, wspace=0.72, hspace=0.72
        )
        first = figure.add_subplot(grid[0, 0])
        draw_image(first, seen.image)
        bare(first)
        first.set_title("the image", fontsize=9, loc="left")
        order = ("superpixels", "mask", "reliability", "surface", "radar")
        for place, panel in zip(((0, 1), (1, 0), (1, 1), (2, 0), (2, 1)), order, strict=True):
            _draw(figure, grid[place], panel, seen, scales, title=True)
        figure.suptitle(f"{seen.title}\naccuracy {seen.accuracy:.1%}", fontsize=11)
    return figure, f"{seen.title}: accuracy {seen.accuracy:.1%}. {_words(seen)}"


def sheet(views: Sequence[View], scales: Scales | None = None, *, smoke: bool = False) -> Drawn:
    """Draw the same without a slider: one row per panel, one column per network. Return the figure and its alt text."""
    scales = scales or Scales.of(views)
    with styled():
        figure = plt.figure(figsize=(1.6 * len(views), 1.5 * len(_DRAWN)))
        grid = figure.add_gridspec(len(_DRAWN), len(views), wspace=0.4, hspace=0.25)
        for i, panel in enumerate(_DRAWN):
            for j, seen in enumerate(views):
                axis = _draw(figure, grid[i, j], panel, seen, scales)
                if i == 0:
                    name, _, removed = seen.title.partition(", ")
                    axis.set_title(f"{name}\n{removed or 'nothing removed'}", fontsize=8)
                if j == 0:
                    style = {"rotation": 90, "va": "center", "fontsize": 9}
                    axis.text(-0.52, 0.5, panel, transform=axis.transAxes, **style)
        # names of ten spokes do not fit around a chart as small as these
        named = [f"{i}\u00a0{metrics.describe(str(n)).short}" for i, n in enumerate(views[0].places, 1)]
        key = textwrap.fill(f"radar, outward is better: {', '.join(named)}", 19 * len(views))
        figure.text(0.5, 0.07, key, ha="center", va="top", fontsize=9)
    words = " ".join(f"{v.title}: {_words(v)}" for v in views)
    return marked(figure, words if len(views) <= _TOLD else _spans(views), smoke)


def slider(dense: View, tickets: Mapping[str, Sequence[View]], judged: pd.DataFrame | None = None) -> Any:
    """Return two pictures side by side, each with a choice of pruner, above them one slider over sparsity: dense first, then a
    pruner's ``tickets``. Below each picture stand its verdicts, where ``judged`` (from ``verdict.passes``) has some.

    Raises ``SettingError`` unless every pruner has the same number of tickets, one or more. The frames are drawn beforehand
    and linked in the browser (ipywidgets' ``jslink`` and ``Stack``), so they move on a page without a kernel too. Where
    ipywidgets has no ``Stack`` (version 7, as on Colab), the kernel moves them.
    """
    import ipywidgets

    counts = {len(row) for row in tickets.values()}
    if len(counts) != 1 or counts == {0}:
        raise SettingError("want the same number of tickets, one or more, for every pruner")
    scales = Scales.of([dense, *(v for row in tickets.values() for v in row)])
    known = judged is not None and not judged.empty
    legend = [ipywidgets.HTML(f"<p>Below each picture: {_legend()}.</p>")] if known else []

    def drawn(seen: View) -> str:
        return picture(*frame(seen, scales)) + verdicts_of(judged, seen)

    first = drawn(dense)
    tickets = {p: tickets[p] for p in in_order(tickets)}
    pictures = {p: [first, *(drawn(v) for v in row)] for p, row in tickets.items()}
    levels = ["dense", *(percent(v.sparsity) for v in next(iter(tickets.values())))]
    names = [look(p).label for p in tickets]
    # the paper's ticket, where there is one, beside chance
    others = names[1:] or names
    chance = look("random").label
    start = {"left": names[0], "right": chance if chance in others else others[0]}
    if not hasattr(ipywidgets, "Stack"):
        places = {label: i for i, label in enumerate(levels)}
        of = dict(zip(names, pictures.values(), strict=True))

        def show(left: str, right: str, removed: str) -> None:
            from IPython.display import HTML, display

            display(HTML("".join(of[name][places[removed]] for name in (left, right))))

        level = ipywidgets.SelectionSlider(options=levels, value=levels[1])
        sides = {side: ipywidgets.Dropdown(options=names, value=name) for side, name in start.items()}
        moved = ipywidgets.interactive(show, **sides, removed=level)
        moved.children = (*legend, *moved.children)
        return moved
    shared = ipywidgets.HTML(first)
    removed = ipywidgets.SelectionSlider(options=levels, value=levels[1], description="removed")
    rows = []
    for row in pictures.values():
        stack = ipywidgets.Stack([shared, *(ipywidgets.HTML(p) for p in row[1:])], selected_index=1)
        ipywidgets.jslink((removed, "index"), (stack, "selected_index"))
        rows.append(stack)
    columns = []
    for side, name in start.items():
        choice = ipywidgets.Dropdown(options=names, value=name, description=side)
        outer = ipywidgets.Stack(rows, selected_index=names.index(name))
        ipywidgets.jslink((choice, "index"), (outer, "selected_index"))
        # beside one another where a page is wide enough for two, and apart
        layout = {"flex": "1 1 320px", "min_width": "0", "padding": "0 16px 0 0"}
        columns.append(ipywidgets.VBox([choice, outer], layout=layout))
    return ipywidgets.VBox([*legend, removed, ipywidgets.HBox(columns, layout={"flex_flow": "row wrap"})])


def verdicts_of(judged: pd.DataFrame | None, seen: View) -> str:
    """Return the verdicts on a ticket as HTML: one line per dimension that names each metric behind its sign, ● kept,
    ? undecided, × lost (bold)."""
    if judged is None or seen.pruner == "dense":
        return ""
    at = judged[(judged.pruner == seen.pruner) & ((judged.sparsity - seen.sparsity).abs() < 1e-6)]
    order = {name: i for i, name in enumerate(metrics.names())}
    lines = []
    for kind, rows in at.groupby("dimension", sort=False):
        rows = rows.sort_values(by="metric", key=lambda names: names.map(order))
        said = ", ".join(_signed(str(m), str(v)) for m, v in zip(rows.metric, rows.verdict, strict=True))
        lines.append(f"{str(kind).capitalize()}: {said}")
    return f'<p style="max-width: 390px; line-height: 1.4; white-space: normal">{"<br>".join(lines)}</p>'


def _legend() -> str:
    """Say what the signs of verdicts mean.

    >>> _legend()
    '● kept, ? undecided, × lost (bold)'
    """
    said = ", ".join(f"{SIGNS[verdict]} {word}" for verdict, word in _WORDS.items())
    return f"{said} (bold)"


def _signed(metric: str, verdict: str) -> str:
    """Return a metric's name behind its sign, which a screen reader reads as a word; lost ones are bold."""
    about, word = metrics.describe(metric), _WORDS[verdict]
    part = "b" if verdict == "fail" else "span"
    sign = f'<span role="img" aria-label="{word}">{SIGNS[verdict]}</span>'
    return f'<{part} title="{escape(about.label)}: {word}">{sign}\u00a0{escape(about.short)}</{part}>'


def picture(figure: Figure, alt: str, step: int = _STEP) -> str:
    """Return a figure as an HTML image that carries its own bytes, few of them, and its alt text; close the figure.

    It keeps letters that can be read: in a narrower window the slider's box scrolls. Levels of colour lie ``step`` apart."""
    from PIL import Image

    letters, inches = smallest_letters(figure) or _READABLE, figure.get_size_inches()[0]
    # drawn once: ``savefig`` draws twice
    figure.set_dpi(100)
    canvas, small = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    plt.close(figure)
    levels = np.round(np.asarray(canvas.buffer_rgba())[..., :3] / step) * step
    drawn = Image.fromarray(levels.astype(np.uint8))
    # a tenth smaller than the same pixels as PNG
    drawn.save(small, format="webp", lossless=True)
    data = base64.b64encode(small.getvalue()).decode()
    width, height = drawn.size
    least = min(width, math.ceil(_READABLE * 72 / letters * inches))
    return (
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" '
        f'style="min-width: {least}px; max-width: 100%; height: auto" '
        f'src="data:image/webp;base64,{data}">'
    )


# --- panels


def _draw(figure: Figure, place: Any, panel: str, seen: View, scales: Scales, title: bool = False) -> Axes:
    axis = figure.add_subplot(place, projection="polar" if panel == "radar" else None)
    words = _DRAWN[panel](axis, seen, scales, title)
    if title:
        axis.set_title(words, fontsize=9, loc="left", pad=20 if panel == "radar" else None)
    return axis


def _mask(axis: Axes, seen: View, scales: Scales, title: bool) -> str:
    axis.set_facecolor("#f2d9c4")
    axis.imshow(seen.kept.numpy(), cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    bare(axis)
    if title:
        absent = "\ntinted: not there" if seen.kept.isnan().any() else ""
        axis.set_xlabel(f"inputs of one layer{absent}", fontsize=8)
        axis.set_ylabel("outputs", fontsize=8)
    return "mask, marked: kept"


def _reliability(axis: Axes, seen: View, scales: Scales, title: bool) -> str:
    axis.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    if seen.bins is not None:
        held = seen.bins[seen.bins["count"] > 0]
        width = seen.bins.high.iloc[0] - seen.bins.low.iloc[0]
        heavy = np.where(held["count"] >= 20, "#9FCBEA", "#e4eef5")
        axis.bar(held.low + width / 2, held.accuracy, width, color=heavy, edgecolor="#444444", linewidth=0.5)
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axis.tick_params(labelsize=8)
    axis.set_xlabel("confidence", fontsize=8)
    axis.set_ylabel("share right", fontsize=8)
    if not title:
        # in a small panel a name stands between the two numbers of its axis
        axis.set(xticks=[0, 1], yticks=[0, 1])
        axis.tick_params(length=0, pad=2)
        axis.xaxis.labelpad = axis.yaxis.labelpad = -5
    return "reliability" if seen.error is None else f"reliability, ECE {seen.error:.3f}"


def _superpixels(axis: Axes, seen: View, scales: Scales, title: bool) -> str:
    axis.set_facecolor("#dddddd")
    heat = seen.explanation.heat.numpy()
    axis.imshow(heat, cmap="PuOr_r", norm=Normalize(-scales.effect, scales.effect))
    bare(axis)
    # Signs say it without colour.
    for number, effect in enumerate(seen.explanation.coefficients.tolist()):
        if abs(effect) >= 0.2 * scales.effect:
            y, x = (seen.explanation.segments == number).double().nonzero().double().mean(0).tolist()
            axis.text(x, y, "+" if effect > 0 else "−", ha="center", va="center", fontsize=8)
    if title:
        given = f"given with {seen.explanation.prediction:.0%}"
        axis.set_xlabel(f"+: speaks for the answer,\n{given}", fontsize=8)
    return "superpixels"


def _surface(axis: Axes, seen: View, scales: Scales, title: bool) -> str:
    levels = np.geomspace(0.999 * scales.loss[0], 1.001 * scales.loss[1], 13)
    at, losses = seen.surface.positions.numpy(), _losses(seen.surface).numpy()
    axis.contourf(at, at, losses.T, levels, cmap="viridis", norm=LogNorm(*scales.loss))
    lines = axis.contour(at, at, losses.T, levels, colors="white", linewidths=0.4)
    if title:
        style: dict[str, Any] = {"fontsize": 8, "fmt": "%.2g", "colors": "white"}
        axis.clabel(lines, levels=levels[::3], manual=_label_places(lines.allsegs[::3], at[-1]), **style)
        axis.set_xlabel(f"weights ± {at[-1]:g} of their length", fontsize=8)
    axis.plot(0, 0, "+", color="white", markersize=7)
    bare(axis)
    return "loss in nats"


def _label_places(lines: Sequence[Sequence[np.ndarray]], span: float) -> list[tuple[float, float]]:
    """Return one place on the lines of each level that has one where a number is neither cut by the edge nor on the cross."""
    places = []
    for level in lines:
        points = np.concatenate([np.empty((0, 2)), *level]) / span
        x, y = np.abs(points).T
        points = points[(x < 0.6) & (y < 0.85) & (np.hypot(x, y) > 0.3)]
        if len(points):
            # the highest, where a closed line is level
            places.append(tuple((span * points[points[:, 1].argmax()]).tolist()))
    return places


def _radar(axis: Axes, seen: View, scales: Scales, title: bool) -> str:
    labels = [metrics.describe(str(n)).short if title else str(i) for i, n in enumerate(seen.places, 1)]
    draw_radar(axis, seen.places, labels, fontsize=8, pad=-3 if title else -5, width=1.1)
    return "outward is better"


# The order of a sheet's rows.
# Of more networks than these an alt text says only between which values they lie.
_TOLD = 3
_DRAWN = {
    "mask": _mask, "reliability": _reliability, "superpixels": _superpixels, "surface": _surface, "radar": _radar,
}  # fmt: skip


def _losses(surface: Surface) -> Tensor:
    return surface.losses.nan_to_num(_MOST).clamp(_LEAST, _MOST)


def _edge(losses: Tensor) -> float:
    """Return the mean loss at the rim of a surface."""
    return torch.cat([losses[0], losses[-1], losses[:, 0], losses[:, -1]]).mean().item()


def _spans(views: Sequence[View]) -> str:
    """Say between which values networks lie, where there are too many for the words of each."""
    seen = {v.title: v for v in views}
    spans = {
        "the layer's weights kept": ({t: v.kept.nan_to_num(0).mean().item() for t, v in seen.items()}, ".1%"),
        "calibration error": ({t: v.error for t, v in seen.items() if v.error is not None}, ".3f"),
        "the image's answer given with": ({t: v.explanation.prediction for t, v in seen.items()}, ".0%"),
        "loss around the weights": ({t: _edge(_losses(v.surface)) for t, v in seen.items()}, ""),
        "mean place on the radar, of 1": ({t: v.places.iloc[-1].mean() for t, v in seen.items()}, ".2f"),
    }
    said = [f"{what}: {spanned(values, form)}" for what, (values, form) in spans.items() if values]
    return f"{len(views)} networks, each with its mask, and how well it does. {'; '.join(said)}."


def _words(seen: View) -> str:
    losses, error = _losses(seen.surface), seen.error
    middle, edge = len(losses) // 2, _edge(losses)
    own = seen.places.iloc[-1]
    said = [
        f"{seen.kept.nan_to_num(0).mean():.1%} of the layer's weights kept",
        "" if error is None else f"calibration error {error:.3f}",
        f"the image's answer given with {seen.explanation.prediction:.0%}",
        f"loss {losses[middle, middle]:.3g} at the weights and {edge:.3g} around them",
        f"mean place on the radar {own.mean():.2f} of 1",
    ]
    return "; ".join(s for s in said if s) + "."
