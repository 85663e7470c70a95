"""Pictures of confidence: reliability diagrams, and what corruption does to calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from .. import metrics
from ..errors import SettingError
from .drawing import Drawn, legend_below, stroke
from .style import in_order, look, styled

# A bin with fewer images says little about its accuracy.
_FEW = 20
_EDGE, _PALE_EDGE = "#444444", "#BBBBBB"
# Face, hatch, legend; the hatches differ so that the gaps differ without colour.
_HELD = ("#9FCBEA", "", "held: confidence that came true")
_TOO_SURE = ("#F6C9A8", "///", "too sure: from accuracy up to confidence")
_TOO_UNSURE = ("#B9E0CF", "\\\\\\", "too unsure: from confidence up to accuracy")
# Of more networks than these an alt text says less of each.
_TOLD = 4
_PARTS = (_HELD, _TOO_SURE, _TOO_UNSURE)


def reliability_diagram(diagrams: Mapping[str, pd.DataFrame]) -> Drawn:
    """Draw accuracy against confidence, one panel per network, and under it how its confidences spread.

    The hatched piece of a bar is the gap between the accuracy of its bin and the mean confidence there.

    ``diagrams``: title → result of ``metrics.calibration.reliability``; a pruner's name is replaced by its label.

    Example:
        >>> import torch
        >>> from lotterylib.metrics.calibration import reliability
        >>> bins = reliability(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]), bins=5)
        >>> _, alt = reliability_diagram({"dense": bins})
        >>> print(alt)
        Accuracy of images by their confidence, a diagonal being perfect. Dense: ECE 0.350, mean confidence
        75.0%, accuracy 50.0%; too sure in 1 of 2 bins with images, 50% of the images in the most confident
        bin.
    """
    if not diagrams:
        raise SettingError("no reliability diagrams to draw: want title → metrics.calibration.reliability(…)")
    columns = 2 if len(diagrams) == 4 else min(3, len(diagrams))
    blocks = -(-len(diagrams) // columns)
    with styled():
        figure = plt.figure(figsize=(max(4.2, 3.2 * columns), 4.4 * blocks + 0.6), layout="constrained")
        grid = figure.add_gridspec(blocks, columns)
        words = []
        for i, (name, bins) in enumerate(diagrams.items()):
            parts = grid[divmod(i, columns)].subgridspec(2, 1, height_ratios=[3, 1])
            pair: Any = parts.subplots(sharex=True)
            above, below = pair
            title = look(name).label
            error = _panel(above, below, bins)
            above.set_title(f"{title}: ECE {error:.3f}", loc="left", fontsize=10)
            if i % columns == 0:
                above.set_ylabel("accuracy (%)")
                below.set_ylabel("images (%)")
            words.append(_words(title, bins, error, brief=len(diagrams) > _TOLD))
        parts = [Patch(facecolor=f, hatch=h, edgecolor=_EDGE, label=t) for f, h, t in _PARTS]
        parts.append(Patch(facecolor="white", edgecolor=_PALE_EDGE, label=f"faint: fewer than {_FEW} images"))
        figure.legend(handles=parts, ncols=1 if columns == 1 else 2, loc="outside lower center")
    return figure, "Accuracy of images by their confidence, a diagonal being perfect. " + " ".join(words)


def calibration_under_shift(
    curves: Mapping[str, Mapping[str, Sequence[float]]], metric: str = "ece"
) -> Drawn:
    """Draw a calibration score against the severity of corruption, before (left) and after temperature scaling (right).

    ``curves``: pruner → ``extra["by_severity"]`` of its record: the score at severities 0 (clean) to 5, averaged over
    corruptions, under ``corrupted`` and ``corrupted-scaled``.

    Example:
        >>> score = [0.02, 0.03, 0.05, 0.08, 0.12, 0.2]
        >>> _, alt = calibration_under_shift({"snip": {"corrupted": score, "corrupted-scaled": score}})
        >>> print(alt)
        ECE (lower is better) against severity of corruption: SNIP from 0.02 (clean) to 0.2 (severity 5),
        with scaling from 0.02 to 0.2.
    """
    if not curves:
        raise SettingError('no curves to draw: want pruner → extra["by_severity"] of its record')
    about = metrics.describe(metric)
    panels = {"corrupted": "as trained", "corrupted-scaled": "after temperature scaling"}
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
        for axis, (variant, title) in zip(axes, panels.items(), strict=True):
            for pruner in in_order(curves):
                label, colour, marker = look(pruner)
                axis.plot(curves[pruner][variant], stroke(pruner), marker=marker, color=colour, label=label)
            axis.set_title(title, loc="left", fontsize=10)
            axis.set_xticks(range(6), ["clean", *"12345"])
            axis.set_xlabel("severity of corruption")
        axes[0].set_ylabel(about.axis)
        handles, _ = axes[0].get_legend_handles_labels()
        figure.tight_layout()
        legend_below(figure, handles, min(5, len(handles)))
    ends = "; ".join(
        f"{look(p).label} from {curves[p]['corrupted'][0]:.3g} (clean) to {curves[p]['corrupted'][-1]:.3g} (severity 5), "
        f"with scaling from {curves[p]['corrupted-scaled'][0]:.3g} to {curves[p]['corrupted-scaled'][-1]:.3g}"
        for p in in_order(curves)
    )
    return figure, f"{about.label} ({about.direction} is better) against severity of corruption: {ends}."


def _panel(above: Axes, below: Axes, bins: pd.DataFrame) -> float:
    """Draw one network; return its ECE."""
    held = bins.loc[bins["count"] > 0]
    share = held["count"] / held["count"].sum()
    width = bins["high"].iloc[0] - bins["low"].iloc[0]
    columns = (held[c] for c in ("low", "accuracy", "confidence", "count"))
    for low, accuracy, confidence, count in zip(*columns, strict=True):
        gap, least, pale = confidence - accuracy, min(accuracy, confidence), count < _FEW
        style = {"width": width, "linewidth": 0.6, "edgecolor": _PALE_EDGE if pale else _EDGE}
        pieces = ((least, 0, _HELD), (abs(gap), least, _TOO_SURE if gap > 0 else _TOO_UNSURE))
        for height, bottom, (face, hatch, _) in pieces:
            face = to_rgba(face, 0.3 if pale else 1)
            above.bar(low + width / 2, height, bottom=bottom, color=face, hatch=hatch, **style)
    above.plot([0, 1], [0, 1], "--", color="black", linewidth=1.2)
    below.bar(held.low + width / 2, 100 * share, width, color="#BBBBBB", edgecolor=_EDGE, linewidth=0.6)
    said, true = _means(held)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    text = f"says {said:.1%}\nis right {true:.1%}"
    above.text(0.04, 0.96, text, transform=above.transAxes, va="top", fontsize=9, bbox=box)
    above.set(xlim=(0, 1), ylim=(0, 1))
    below.set(ylim=(0, 100), xlabel="confidence (%)")
    for axis in (above.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=""))
    return binned_error(bins)


def _means(held: pd.DataFrame) -> tuple[float, float]:
    """Return mean confidence and accuracy over the bins that hold images."""
    # records round a bin's accuracy; its images that are right are a whole number
    right, total = (held["count"] * held["accuracy"]).round().sum(), held["count"].sum()
    return float((held["count"] * held["confidence"]).sum() / total), float(right / total)


def binned_error(bins: pd.DataFrame) -> float:
    """Return the ECE of a reliability diagram."""
    gaps: Any = (bins["accuracy"] - bins["confidence"]).abs()
    return float((bins["count"] / bins["count"].sum() * gaps).sum())


def _words(title: str, bins: pd.DataFrame, error: float, *, brief: bool) -> str:
    held = bins[bins["count"] > 0]
    said, true = _means(held)
    over = int((held.confidence > held.accuracy).sum())
    if brief:
        return f"{title}: ECE {error:.3f}, too sure in {over} of {len(held)} bins with images."
    return (
        f"{title}: ECE {error:.3f}, mean confidence {said:.1%}, accuracy "
        f"{true:.1%}; too sure in {over} of {len(held)} bins with images, "
        f"{bins['count'].iloc[-1] / bins['count'].sum():.0%} of the images in the most confident bin."
    )
