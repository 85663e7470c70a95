"""Pictures of data, masks and trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..errors import SettingError
from ..masks import Mask
from .style import look, styled


def images(pictures: Tensor, titles: Sequence[str], columns: int = 10) -> tuple[Figure, str]:
    """A grid of [N, C, H, W] images in [0, 1], grey or colour, with a title each."""
    rows = -(-len(pictures) // columns)
    with styled():
        figure, axes = plt.subplots(rows, columns, figsize=(1.05 * columns, 1.3 * rows), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
            grid = picture.movedim(0, -1).squeeze(-1).cpu().numpy()
            axis.imshow(grid, cmap="gray_r", vmin=0, vmax=1)
            axis.set_title(title, fontsize=8)
        figure.tight_layout(pad=0.3)
    return figure, f"{len(pictures)} example images: {', '.join(titles)}."


def mask_picture(masks: Mapping[str, Mask], weight: str) -> tuple[Figure, str]:
    """One layer's mask under each pruner (name → mask): a row an output channel, a column an incoming weight; kept
    weights are dark. ``weight`` is the layer's name in the mask."""
    with styled():
        figure, axes = plt.subplots(len(masks), 1, figsize=(7.2, 1.9 * len(masks)), squeeze=False)
        kept = []
        for axis, (pruner, mask) in zip(axes[:, 0], masks.items(), strict=True):
            if weight not in mask:
                raise SettingError(
                    f"no layer {weight!r} in the mask of {pruner}; there are: {', '.join(mask)}"
                )
            layer = mask[weight].flatten(1).cpu()
            axis.imshow(layer, cmap="gray_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
            axis.set_title(
                f"{look(pruner).label}: {layer.double().mean():.1%} of {weight} kept", loc="left", fontsize=9
            )
            axis.set_ylabel("output channel")
            axis.grid(False)
            kept.append(f"{look(pruner).label} keeps {layer.double().mean():.1%}")
        axes[-1, 0].set_xlabel("incoming weight (input channel × kernel position)")
        figure.tight_layout()
    return figure, f"Which weights of {weight} stay, dark = kept: {'; '.join(kept)}."


def density_bars(masks: Mapping[str, Mask]) -> tuple[Figure, str]:
    """Share of weights that each pruner keeps in each layer, side by side, in per cent on a log scale; a layer with
    nothing left is marked with a cross."""
    names = list(next(iter(masks.values())))
    with styled():
        figure, axis = plt.subplots(figsize=(7.6, 3.6))
        width = 0.8 / len(masks)
        for i, (pruner, mask) in enumerate(masks.items()):
            shares = np.array([100 * mask[n].double().mean().item() for n in names])
            x = np.arange(len(names)) + (i - (len(masks) - 1) / 2) * width
            label, colour, _ = look(pruner)
            axis.bar(
                x,
                shares,
                width,
                color=colour,
                edgecolor="white",
                hatch=("", "//", "..", "xx")[i % 4],
                label=label,
            )
            axis.plot(x[shares == 0], np.full((shares == 0).sum(), 0.1), "x", color=colour)
        axis.set_yscale("log")
        axis.set_ylim(0.08, 130)
        axis.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        axis.set_xticks(range(len(names)), [_short(n) for n in names], rotation=45, ha="right", fontsize=8)
        axis.set_ylabel("weights kept (%)")
        axis.set_xlabel("layer, input to output")
        axis.legend(ncols=len(masks), loc="lower center", bbox_to_anchor=(0.5, 1.0))
        figure.tight_layout()
    spans = []
    for pruner, mask in masks.items():
        shares = mask.layer_densities()
        least, most = min(shares, key=shares.get), max(shares, key=shares.get)
        spans.append(
            f"{look(pruner).label} keeps between {shares[least]:.1%} ({_short(least)}) and {shares[most]:.1%} ({_short(most)})"
        )
    return figure, f"Share of weights kept in each layer. {'; '.join(spans)}."


def weight_histogram(model: nn.Module, mask: Mask) -> tuple[Figure, str]:
    """Prunable weights by magnitude, on log axes: those that the mask keeps beside those that it removes."""
    weights = dict(model.named_parameters())
    sizes = torch.cat([weights[n].detach().abs().flatten().cpu() for n in mask])
    kept = torch.cat([mask[n].flatten().cpu() for n in mask])
    bins = np.geomspace(max(sizes.max().item() * 1e-4, 1e-12), sizes.max().item(), 60)
    with styled():
        figure, axis = plt.subplots(figsize=(6.4, 3.2))
        parts = [sizes[kept].numpy(), sizes[~kept].numpy()]
        axis.hist(parts, bins, stacked=True, color=["#0072B2", "#bbbbbb"], label=["kept", "removed"])
        axis.set_xscale("log")
        axis.set_xlabel("magnitude of the trained weight |θ|")
        axis.set_ylabel("weights")
        axis.legend(loc="upper left")
        figure.tight_layout()
    edge = sizes[kept].min().item() if kept.any() else float("nan")
    return figure, (
        f"Histogram of weight magnitudes on a log axis. {int(kept.sum()):,} of {len(kept):,} weights are kept, "
        f"all of magnitude {edge:.3g} or more in this mask."
    )


def curves(losses: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """Training loss against epoch, one line a network (pruner → mean loss of each epoch)."""
    with styled():
        figure, axis = plt.subplots(figsize=(6, 3.4))
        for pruner, values in losses.items():
            label, colour, marker = look(pruner)
            stroke = "-." if pruner == "dense" else "-"
            axis.plot(range(1, len(values) + 1), values, stroke, marker=marker, color=colour, label=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("epoch of this training")
        axis.set_ylabel("training loss (nats) ↓")
        axis.legend()
        figure.tight_layout()
    ends = "; ".join(f"{look(p).label} ends at {v[-1]:.2f}" for p, v in losses.items())
    return figure, f"Mean training loss of each epoch: {ends}."


def _short(name: str) -> str:
    """A layer's name without what all layers share."""
    return name.removeprefix("net.").removesuffix(".weight")
