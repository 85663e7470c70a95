"""Pictures of LIME: how images are cut, and what each superpixel does to a network's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import DataError
from ..metrics.interpretability import Explanation
from .drawing import Drawn, bare, draw_image
from .style import look, styled

# Diverging, and safe for colour-blind readers.
_MAP = "PuOr_r"


def superpixel_cuts(images: Tensor, cuts: Mapping[str, Tensor]) -> Drawn:
    """Draw images [N, C, H, W] with the borders of their superpixels and their number, one row per method.

    ``cuts``: the method's name → int64 [N, H, W].

    Example:
        >>> import torch
        >>> cuts = torch.tensor([[[0, 0, 1, 1]] * 4])
        >>> _, alt = superpixel_cuts(torch.rand(1, 1, 4, 4), {"halves": cuts})
        >>> print(alt)
        1 images with the borders of their superpixels. halves: 2 to 2 superpixels per image.
    """
    with styled():
        figure, axes = _grid(len(cuts), len(images))
        words = []
        for row, (name, segments) in zip(axes, cuts.items(), strict=True):
            counts = [int(cut.max()) + 1 for cut in segments]
            for axis, image, cut, count in zip(row, images, segments, counts, strict=True):
                draw_image(axis, image, "gray")
                _borders(axis, cut, "#D62728")
                axis.set_title(count, fontsize=9, pad=2)
            row[0].set_ylabel(name, fontsize=9)
            words.append(f"{' '.join(name.split())}: {min(counts)} to {max(counts)} superpixels per image")
        figure.tight_layout(pad=0.4)
    return figure, f"{len(images)} images with the borders of their superpixels. {'; '.join(words)}."


def superpixel_maps(
    images: Tensor, explanations: Mapping[str, Sequence[Explanation]], class_names: Sequence[str]
) -> Drawn:
    """Draw LIME's coefficients of the same images under several networks on one scale, one row per image.

    Orange and + speak for the answer, purple and − against it; signs stand where the coefficient is at least a tenth of
    the largest. Each panel names the network's answer, its probability and the explanation's R².

    ``images``: [N, C, H, W]; ``explanations``: pruner or "dense" → one per image (else ``DataError``); ``class_names``: of all
    classes.

    Example:
        >>> from torch import nn, zeros
        >>> from ..metrics.interpretability import explain
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
        >>> picture = zeros(1, 16, 16)
        >>> superpixel_maps(picture[None], {"dense": [explain(network, picture, samples=9)]}, ["a", "b"])[1][:28]
        'Superpixels coloured by LIME'
    """
    found = {network: list(row) for network, row in explanations.items()}
    if not found or any(len(row) != len(images) for row in found.values()):
        raise DataError(f"want an explanation of each of the {len(images)} images for every network")
    top = max(e.coefficients.abs().max().item() for row in found.values() for e in row) or 1.0
    with styled():
        figure, axes = _grid(len(images), 1 + len(found), size=1.5, layout="constrained")
        for line, image, *row in zip(axes, images, *found.values(), strict=True):
            draw_image(line[0], image, "gray")
            _borders(line[0], row[0].segments, "#666666")
            for axis, explanation in zip(line[1:], row, strict=True):
                _heat(axis, explanation, top)
                r2 = "constant" if explanation.constant else f"R² {explanation.r2:.2f}"
                answer = f"{class_names[explanation.target]} {explanation.prediction:.0%}"
                axis.set_xlabel(f"{answer}\n{r2}", fontsize=9, labelpad=3)
        for axis, name in zip(axes[0], ["Image", *(look(n).label for n in found)], strict=True):
            axis.set_title(name, fontsize=10)
        scale = ScalarMappable(Normalize(-top, top), _MAP)
        how: dict[str, Any] = {"location": "bottom", "shrink": 0.7, "aspect": 40, "pad": 0.02}
        # as the answers stand: in per cent
        bar = figure.colorbar(
            scale, ax=axes, format=lambda share, _: f"{100 * share:.3g}".replace("-", "−"), **how
        )
        bar.set_label("coefficient: what showing the superpixel adds to the answer (percentage points)")
        bar.outline.set(visible=False)
    return figure, _alt(found, class_names, top)


def one_explanation(
    image: Tensor, samples: Tensor, answers: Tensor, fitted: Tensor, explanation: Explanation
) -> Drawn:
    """Draw how LIME explains one image [C, H, W]: some ``samples`` [K, C, H, W] with parts hidden and what the network answers, all
    answers against those of the fitted sum of parts, and what each part adds.

    ``answers`` and ``fitted``: [N], probabilities of the answer, of which the first K belong to ``samples``.

    Example:
        >>> from torch import nn, rand, zeros
        >>> from ..metrics.interpretability import explain
        >>> picture, y = rand(1, 16, 16), zeros(9)
        >>> found = explain(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), picture, samples=9)
        >>> one_explanation(picture, picture[None], y, y, found)[1][:64]
        'One image, 1 sample of it with parts hidden, answered with 0%, a'
    """
    count = len(samples)
    said = ", ".join(f"{share:.0%}" for share in answers[:count].tolist())
    r2 = "constant" if explanation.constant else f"R² {explanation.r2:.2f}"
    with styled():
        figure = plt.figure(figsize=(8.2, 4.6), layout="constrained")
        rows = figure.add_gridspec(2, 1, height_ratios=(1, 1.5))
        top, below = rows[0].subgridspec(1, 1 + count), rows[1].subgridspec(1, 2)
        for i, picture in enumerate((image, *samples)):
            axis = figure.add_subplot(top[i])
            bare(axis)
            draw_image(axis, picture, "gray")
            axis.set_title(f"answer {answers[i - 1]:.0%}" if i else "the image", fontsize=10)
        fit = figure.add_subplot(below[0])
        fit.plot(fitted, answers, ".", color="#0072B2", markersize=3, alpha=0.5)
        first = fitted[:count], answers[:count]
        fit.plot(*first, "D", color="#D55E00", markeredgecolor="black", label="those above")
        fit.axline((0, 0), slope=1, color="black", linewidth=0.8)
        fit.set(xlabel="the sum of parts", ylabel="the network's answer")
        fit.set_title(f"the fit: {r2}", loc="left", fontsize=10)
        fit.locator_params(nbins=5)
        fit.legend(loc="upper left", fontsize=9)
        heat = figure.add_subplot(below[1])
        bare(heat)
        _heat(heat, explanation, explanation.coefficients.abs().max().item() or 1.0)
        heat.set_title("what each part adds: + for, − against", loc="left", fontsize=10)
    return figure, (
        f"One image, {count} sample{'s' * (count != 1)} of it with parts hidden, answered with {said}, and {len(answers):,} "
        f"answers of the network against the fitted sum of parts: {r2}. Of {len(explanation.coefficients)} parts, "
        f"{int((explanation.coefficients > 0).sum())} speak for the answer."
    )


def _alt(found: Mapping[str, list[Explanation]], class_names: Sequence[str], top: float) -> str:
    words = [f"Superpixels coloured by LIME's coefficients, one scale from {-top:.2f} to {top:.2f}."]
    for network, row in found.items():
        parts = []
        for i, e in enumerate(row):
            largest = int(e.coefficients.abs().argmax())
            y, x = (float(v.double().mean()) for v in (e.segments == largest).nonzero(as_tuple=True))
            height, width = e.segments.shape
            place = f"{_third(y / height, 'top', 'bottom')} {_third(x / width, 'left', 'right')}"
            parts.append(
                f"image {i + 1} {class_names[e.target]} at {e.prediction:.0%}, "
                f"largest coefficient {e.coefficients[largest]:+.2f} ({place})"
            )
        words.append(f"{look(network).label}: {'; '.join(parts)}.")
    return " ".join(words)


def _third(share: float, low: str, high: str) -> str:
    return low if share < 1 / 3 else high if share > 2 / 3 else "middle"


def _grid(rows: int, columns: int, size: float = 1.05, **settings) -> tuple[Figure, np.ndarray]:
    size = min(size, 7.8 / columns)
    room = size * columns + 0.2, (size + 0.25) * rows + 0.3
    figure, axes = plt.subplots(rows, columns, figsize=room, squeeze=False, **settings)
    for axis in axes.flat:
        bare(axis)
    return figure, axes


def _heat(axis: Axes, explanation: Explanation, top: float) -> None:
    heat = np.ma.masked_invalid(explanation.heat.numpy())
    axis.imshow(heat, cmap=_MAP, norm=Normalize(-top, top), interpolation="nearest")
    _borders(axis, explanation.segments, "#666666")
    for i, slope in enumerate(explanation.coefficients.tolist()):
        if abs(slope) >= 0.1 * top:
            rows, columns = np.nonzero(explanation.segments.numpy() == i)
            # The pixel nearest to the middle, which itself may lie outside.
            near = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
            colour = "white" if abs(slope) > 0.6 * top else "black"
            axis.plot(columns[near], rows[near], "+" if slope > 0 else "_", color=colour, markersize=5)


def _borders(axis: Axes, segments: Tensor, colour: str) -> None:
    """Draw lines along the pixel edges where one superpixel meets another."""
    cut = segments.cpu().numpy()
    ys, xs = np.nonzero(cut[:, 1:] != cut[:, :-1])
    upright = [[(x + 0.5, y - 0.5), (x + 0.5, y + 0.5)] for y, x in zip(ys, xs, strict=True)]
    ys, xs = np.nonzero(cut[1:] != cut[:-1])
    level = [[(x - 0.5, y + 0.5), (x + 0.5, y + 0.5)] for y, x in zip(ys, xs, strict=True)]
    axis.add_collection(LineCollection(upright + level, colors=colour, linewidths=0.7))
