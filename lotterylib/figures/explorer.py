"""One network in one small picture, and a slider over many of them that needs no kernel."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import DataError
from ..metrics.geometry import Surface
from ..metrics.interpretability import Explanation
from .interpretability import _heat
from .notebook import png
from .style import look, styled
from .verdict import _short

_COLOURS = 48  # of a frame's palette: few enough for a small file, enough for its shades


@dataclass(frozen=True)
class Portrait:
    """What a frame shows of a network. ``mask``: bool, a layer's, any shape; ``reliability``: "confidence", "accuracy" and
    "count" of each bin; ``radii``: metric → place among the networks compared, 1 is best (``figures.verdict.scaled``)."""

    pruner: str
    sparsity: float
    mask: Tensor
    reliability: Mapping[str, Sequence[float | None]]
    explanation: Explanation
    surface: Surface
    radii: Mapping[str, float]


def portrait(shown: Portrait, heat: float, losses: tuple[float, float]) -> tuple[Figure, str]:
    """Mask, reliability diagram, superpixels, loss surface and radar of one network, side by side. ``heat``: the largest
    coefficient and ``losses``: the least and the largest loss of all portraits, so that their colours compare. Returns the
    figure and its alt text."""
    label = look(shown.pruner).label
    with styled():
        figure = plt.figure(figsize=(10, 2.5), layout="constrained")
        axes = [figure.add_subplot(1, 5, i + 1, projection="polar" if i == 4 else None) for i in range(5)]
        kept = shown.mask.double().mean().item()
        axes[0].imshow(
            shown.mask.flatten(1), cmap="gray_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1
        )
        axes[0].set_title(f"mask of one layer, {kept:.0%} kept", fontsize=8)
        _bins(axes[1], shown)
        _heat(axes[2], shown.explanation, Normalize(-heat, heat))
        axes[2].set_title(f"superpixels, R² {shown.explanation.r2:.2f}", fontsize=8)
        low, high = losses
        heights = shown.surface.losses.nan_to_num(high).clamp(low, high).numpy().T
        levels = np.geomspace(0.999 * low, 1.001 * high, 13)
        axes[3].contourf(heights, levels, cmap="viridis_r", norm=LogNorm(low, high))
        axes[3].plot(*[(len(heights) - 1) / 2] * 2, "+", color="black")
        axes[3].set_title("training loss around it", fontsize=8)
        _spokes(axes[4], shown)
        for axis in (axes[0], axes[2], axes[3]):
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        figure.suptitle(f"{label}, {100 * shown.sparsity:.3g} % of the weights removed", fontsize=10)
    return figure, _words(shown, label, kept)


def _bins(axis, shown: Portrait) -> None:
    said, true = (np.array(shown.reliability[n], dtype=float) for n in ("confidence", "accuracy"))
    axis.plot([0, 1], [0, 1], "-.", color="black", linewidth=0.8)
    axis.plot(
        said, true, marker=look(shown.pruner).marker or ".", color=look(shown.pruner).colour, markersize=4
    )
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 1], yticks=[0, 1])
    axis.set_title("accuracy against confidence", fontsize=8)


def _spokes(axis, shown: Portrait) -> None:
    angles = np.linspace(0, 2 * np.pi, len(shown.radii), endpoint=False)
    radii = np.array(list(shown.radii.values()), dtype=float)
    axis.set_theta_offset(np.pi / 2)
    axis.set_theta_direction(-1)
    axis.fill(angles, radii, color=look(shown.pruner).colour, alpha=0.4)
    axis.set(ylim=(0, 1.05))
    axis.set_yticks([0.5, 1.0], ["", ""])
    axis.set_xticks(angles, [_short(n).replace("\n", " ") for n in shown.radii], fontsize=5)
    axis.tick_params(axis="x", pad=-4)


def _words(shown: Portrait, label: str, kept: float) -> str:
    gaps = [
        (abs(c - a), n)
        for c, a, n in zip(*(shown.reliability[k] for k in ("confidence", "accuracy", "count")), strict=True)
        if n
    ]
    error = sum(gap * n for gap, n in gaps) / sum(n for _, n in gaps)
    best = ", ".join(_short(n).replace("\n", " ") for n, r in shown.radii.items() if r == 1) or "nothing"
    return (
        f"{label} at {shown.sparsity:.1%} sparsity: {kept:.0%} of the layer's weights kept; calibration error {error:.3f}; "
        f"R² of the superpixels {shown.explanation.r2:.2f}; best of those compared in {best}."
    )


def small(figure: Figure) -> bytes:
    """A figure as PNG with a palette, a third of the usual size; it is closed."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png(figure))).convert("RGB")
    picture.quantize(_COLOURS).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def explorer(frames: Mapping[str, Sequence[tuple[bytes, str]]], steps: Sequence[str]) -> Any:
    """A slider over ``steps`` and a switch over the pruners of ``frames`` (pruner → a PNG and its alt text a step). Drawn
    beforehand and linked in the browser, it lives on a page without a kernel; where ipywidgets is older than version 8
    (Colab), the same by ``interact``. Returns the widget.

    Raises ``DataError`` for a pruner with another number of frames than steps.
    """
    import ipywidgets as w

    wrong = {p: len(each) for p, each in frames.items() if len(each) != len(steps)}
    if wrong or not frames:
        raise DataError(f"want {len(steps)} frames, one a step, for every pruner, got {wrong or 'none'}")
    shown = {p: [w.HTML(_image(*frame)) for frame in each] for p, each in frames.items()}
    names = [(look(p).label, i) for i, p in enumerate(shown)]
    if not hasattr(w, "Stack"):
        from IPython.display import display

        return w.interact(
            lambda pruner, step: display(list(shown.values())[pruner][step]),
            pruner=w.Dropdown(options=names, description="pruner"),
            step=w.IntSlider(max=len(steps) - 1, description="step"),
        )
    slider = w.IntSlider(max=len(steps) - 1, description="step", readout=False)
    switch = w.Dropdown(options=names, description="pruner")
    inner = [w.Stack(each, selected_index=0) for each in shown.values()]
    outer = w.Stack(inner, selected_index=0)
    for stack in inner:
        w.jslink((slider, "value"), (stack, "selected_index"))
    w.jslink((switch, "index"), (outer, "selected_index"))
    return w.VBox([w.HBox([switch, slider]), outer])


def _image(data: bytes, alt: str) -> str:
    from html import escape

    code = base64.b64encode(data).decode()
    return f'<img style="max-width:100%" alt="{escape(alt, quote=True)}" src="data:image/png;base64,{code}">'
