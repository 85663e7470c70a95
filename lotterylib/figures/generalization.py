"""Pictures of what unseen, foreign and attacked images do to a network, and of who pays for pruning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from torch import Tensor

from ..metrics.generalization import ood_auroc
from ..text import signed
from ..verdict import student
from .drawing import Drawn, bare, draw_image, legend_below
from .style import look, styled

_OUTSIDE = (("#D62728", "-"), ("#0072B2", "--"), ("#7F4A1E", ":"), ("#009E73", "-."))
_ATTACKS: tuple[Any, ...] = ("-", "--", ":")


def score_histograms(scores: Mapping[str, Mapping[str, Tensor]]) -> Drawn:
    """Draw how sure each network is of its own images (grey area) and of others (lines), with their ROC-AUC above.

    ``scores``: network → set → scores [N] in [0, 1]; the first set is the distribution's own.

    Example:
        >>> import torch
        >>> scores = {"own": torch.tensor([0.9, 0.8]), "noise": torch.tensor([0.3, 0.2])}
        >>> _, alt = score_histograms({"dense": scores})
        >>> print(alt)
        Histograms of the largest softmax probability. Dense: median 0.80 on own; ROC-AUC against noise
        1.000.
    """
    bins = np.linspace(0, 1, 26)
    words = []
    with styled():
        size = min(9.6, 4.6 * len(scores)), 3.5
        figure, axes = plt.subplots(1, len(scores), figsize=size, sharey=True, squeeze=False)
        for axis, (network, sets) in zip(axes[0], scores.items(), strict=True):
            (own, inside), *others = sets.items()
            areas = {name: ood_auroc(inside, outside) for name, outside in others}
            axis.hist(inside, bins, weights=_percent(inside), color="#bbbbbb", label=own)
            for (name, outside), (colour, stroke) in zip(others, cycle(_OUTSIDE), strict=False):
                style = {"histtype": "step", "color": colour, "linestyle": stroke, "linewidth": 1.7}
                axis.hist(outside, bins, weights=_percent(outside), label=name, **style)
            axis.set_yscale("log")
            axis.set_ylim(0.2, 130)
            axis.set_yticks([1, 10, 100], ["1", "10", "100"])
            listed = "\n".join(f"{name} {area:.3f}" for name, area in areas.items())
            axis.set_title(f"{look(network).label}, ROC-AUC ↑\n{listed}", loc="left", fontsize=9)
            axis.set_xlabel("largest softmax probability")
            spans = listed.replace("\n", ", ")
            words.append(
                f"{look(network).label}: median {inside.median():.2f} on {own}; ROC-AUC against {spans}"
            )
        axes[0, 0].set_ylabel("images (%)")
        handles, _ = axes[0, 0].get_legend_handles_labels()
        figure.tight_layout()
        legend_below(figure, handles, len(handles))
    return figure, f"Histograms of the largest softmax probability. {'; '.join(words)}."


def attack_curves(
    accuracies: Mapping[str, Mapping[str, Sequence[float]]], epsilons: Sequence[float]
) -> Drawn:
    """Draw accuracy against the strength of an attack; colour and marker tell the network, the stroke the attack.

    ``accuracies``: network → attack → a share for each of ``epsilons``, the largest change of a pixel in 1/255.

    Example:
        >>> _, alt = attack_curves({"lottery": {"FGSM": [0.9, 0.4], "PGD": [0.9, 0.1]}}, [0, 8])
        >>> print(alt)
        Accuracy against attack strength, 0/255 to 8/255: LTH under FGSM from 90.0% to 40.0%; LTH under PGD
        from 90.0% to 10.0%.
    """
    attacks = list(dict.fromkeys(attack for curves in accuracies.values() for attack in curves))
    strokes = dict(zip(attacks, cycle(_ATTACKS), strict=False))
    x, words = range(len(epsilons)), []
    with styled():
        figure, axis = plt.subplots(figsize=(6.4, 3.8))
        for network, curves in accuracies.items():
            label, colour, marker = look(network)
            for attack, shares in curves.items():
                style = {"marker": marker, "color": colour, "markersize": 5}
                axis.plot(x, [100 * s for s in shares], strokes[attack], **style)
                words.append(f"{label} under {attack} from {shares[0]:.1%} to {shares[-1]:.1%}")
        axis.set_xticks(x, [f"{e:g}" for e in epsilons])
        under = f" under {attacks[0]}" if len(attacks) == 1 else ""
        axis.set(xlabel="largest change of a pixel, ε · 255", ylabel=f"accuracy{under} (%) ↑")
        axis.set_ylim(-3, 103)
        looks = [look(network) for network in accuracies]
        entries = [Line2D([], [], color=c, marker=m, markersize=5, label=label) for label, c, m in looks]
        # One attack needs no entry: the axis names it.
        for attack, stroke in strokes.items() if len(strokes) > 1 else ():
            entries.append(Line2D([], [], color="#555555", label=attack, linestyle=stroke))
        # Above, at the left, which a phone shows first.
        above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        axis.legend(handles=entries, fontsize=9, ncols=min(3, len(entries)), **above)
        figure.tight_layout()
    span = f"{epsilons[0]:g}/255 to {epsilons[-1]:g}/255"
    return figure, f"Accuracy against attack strength, {span}: {'; '.join(words)}."


def adversarial_examples(
    images: Tensor, adversarial: Tensor, before: Sequence[str], after: Sequence[str]
) -> Drawn:
    """Draw one column per image: as it was, what was added (white: the most that was added, black: the most that was taken
    away, grey: nothing), and the sum. All are drawn as their pixels are, and no page turns them to negatives.

    ``images`` and ``adversarial``: [N, C, H, W]; ``before`` and ``after``: the network's answers to them.

    Example:
        >>> import torch
        >>> images = torch.full((1, 1, 4, 4), 0.5)
        >>> _, alt = adversarial_examples(images, images + 2 / 255, ["cat"], ["dog"])
        >>> print(alt)
        1 images, the change of at most 2/255 that was added to each, and the sum, which looks the same. The
        network's answers: cat becomes dog.
    """
    change = adversarial - images
    most = change.abs().max().clamp(min=1e-12)
    rows = {"image": images, "change": 0.5 + change / (2 * most), "sum": adversarial}
    with styled():
        size = min(9.6, 1.25 * len(images) + 0.5), 4.3
        figure, axes = plt.subplots(3, len(images), figsize=size, squeeze=False)
        for row, (name, pictures) in zip(axes, rows.items(), strict=True):
            for axis, picture in zip(row, pictures, strict=True):
                draw_image(axis, picture, "gray")
                bare(axis)
            size = f"{255 * most:.3g}/255"
            key = f"white + {size}\nblack − {size}\ngrey: unchanged"
            row[0].set_ylabel(key if name == "change" else name, fontsize=9)
        for column, (old, new) in enumerate(zip(before, after, strict=True)):
            axes[0, column].set_title(old, fontsize=9)
            axes[2, column].set_xlabel(new, fontsize=9)
        figure.tight_layout(pad=0.4)
    answers = "; ".join(f"{old} becomes {new}" for old, new in zip(before, after, strict=True))
    return figure, (
        f"{len(images)} images, the change of at most {255 * most:.3g}/255 that was added to each, and the sum, which "
        f"looks the same. The network's answers: {answers}."
    )


def recall_changes(
    changes: Mapping[str, Mapping[str, float | None]],
    errors: Mapping[str, Mapping[str, float | tuple[float, float]]],
) -> Drawn:
    """Draw who pays: change of recall of each class against dense, in percentage points, with 95% intervals. What lies far
    outside is cut off: an arrow gives its value; an interval that goes on beyond the frame has an open head there.

    ``changes``: pruner → class → share, None for a class without one; ``errors``: their standard errors, or the
    ends of their intervals where these are another's than a single change's.

    Example:
        >>> errors = {"cat": 0.02, "dog": 0.02}
        >>> _, alt = recall_changes({"snip": {"cat": -0.1, "dog": 0.02}}, {"snip": errors})
        >>> print(alt)
        Change of each class's recall against dense, in percentage points: SNIP between -10.0 (cat) and +2.0
        (dog).
    """
    classes = list(next(iter(changes.values())))
    words = []
    every = [abs(100 * c) for row in changes.values() for c in row.values() if c is not None]
    reach = max(5.0, 2.5 * float(np.quantile(every, 0.9)) if every else 0.0)
    ends = [0.0]
    with styled():
        figure, axis = plt.subplots(figsize=(6.8, 0.42 * len(classes) + 1.4))
        for i, (pruner, row) in enumerate(changes.items()):
            label, colour, marker = look(pruner)
            known = {c: 100 * change for c, change in row.items() if change is not None}
            y = [classes.index(c) + 0.6 * ((i + 0.5) / len(changes) - 0.5) for c in known]
            between = [_between(change, errors[pruner][c]) for c, change in known.items()]
            values = np.array([*known.values()])[:, None]
            half = np.abs(np.reshape(between, (-1, 2)) - values).T
            style = {"fmt": marker or "o", "color": colour, "markersize": 6.5, "linewidth": 1.3}
            axis.errorbar(list(known.values()), y, xerr=half, label=label, **style)
            ends += (values + 1.1 * half.T * [-1, 1]).ravel().tolist()
            for place, change, (low, high) in zip(y, known.values(), between, strict=True):
                for edge, head in ((-reach, "<"), (reach, ">")):
                    if low < edge < high and abs(change) <= reach:
                        open_head = {"color": colour, "markerfacecolor": "white", "markersize": 5}
                        axis.plot(edge, place, head, clip_on=False, zorder=4, **open_head)
                if abs(change) > reach:
                    edge = math.copysign(reach, change)
                    axis.plot(edge, place, "<" if change < 0 else ">", color=colour, clip_on=False)
                    at = {"xytext": (8 if change < 0 else -8, 0), "textcoords": "offset points", "zorder": 5}
                    side = "left" if change < 0 else "right"
                    number = signed(change, ".0f")
                    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
                    axis.annotate(number, (edge, place), ha=side, va="center", fontsize=8.5, bbox=box, **at)
            worst, best = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
            words.append(f"{label} between {known[worst]:+.1f} ({worst}) and {known[best]:+.1f} ({best})")
        axis.axvline(0, color="black", linestyle="-.", linewidth=1.3)
        axis.set_xlim(max(-reach, min(ends)), min(reach, max(5.0, *ends)))
        axis.set_yticks(range(len(classes)), classes)
        axis.invert_yaxis()
        axis.set_xlabel("change of recall against dense (percentage points) →")
        axis.legend(ncols=min(4, len(changes)), loc="lower center", bbox_to_anchor=(0.4, 1.0))
        figure.tight_layout()
    return figure, f"Change of each class's recall against dense, in percentage points: {'; '.join(words)}."


def _between(change: float, error: float | tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the 95% interval of a change in points, from its standard error or its ends as shares."""
    if isinstance(error, tuple):
        return 100 * error[0], 100 * error[1]
    return change - 100 * student(error), change + 100 * student(error)


def _percent(scores: Tensor) -> np.ndarray:
    return np.full(len(scores), 100 / len(scores))
