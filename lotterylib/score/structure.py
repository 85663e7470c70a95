"""How a network's zeros lie: scattered, in whole channels, or two of every four; and what that would save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..masks import Mask

# bits that tell which two of four weights are kept, per weight that is kept
_INDEX_BITS = 2


class Saving(NamedTuple):
    """What a layout of the zeros would save: parameters, bytes in float32, multiply-adds of an image."""

    parameters: int = 0
    bytes: int = 0
    multiply_adds: int = 0

    def plus(self, other: Saving) -> Saving:
        """Return the sum of two savings."""
        return Saving(*(a + b for a, b in zip(self, other, strict=True)))


def zeros(mask: Mask, counts: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return how the removed weights lie, and what that would save.

    Args:
        counts: Multiply-adds of an image, weight name → count, as of ``efficiency.macs.multiply_adds``.

    Returns:
        ``channels``: output channels of which no weight survives, of ``all_channels``; ``kernels``: whole k × k kernels that
        are gone, as a share of all of convolutions larger than 1 × 1; ``two_of_four``: the share of weights that lie in
        layers with at most two survivors in every four along the inputs; ``removed``: the share of weights that are gone.
        ``savings``: what cutting out channels would save at least (output channels without a weight, input channels that no
        weight of a layer reads; what following layers no longer need is not in it), and what packing such groups of four would
        (half of the weights, with 2 bits each to place the others): "channels" and "two_of_four" → fields of ``Saving``.

    Example:
        >>> zeros(Mask({"weight": Tensor([[1, 1, 0, 0, 0, 1, 0, 1]]).bool()}))["two_of_four"]
        1.0
    """
    channels = gone = kernels = lost = halves = total = 0
    cut, packed = Saving(), Saving()
    for name, kept in mask.items():
        rows = kept.flatten(1)
        channels, gone = channels + len(rows), gone + int((~rows.any(dim=1)).sum())
        total += kept.numel()
        if kept.ndim == 4 and kept[0, 0].numel() > 1:
            survives = kept.flatten(2).any(dim=2)
            kernels, lost = kernels + survives.numel(), lost + int((~survives).sum())
        share = (counts or {}).get(name, 0) / max(kept.numel(), 1)
        less = kept.numel() - _live(kept)
        cut = cut.plus(Saving(less, 4 * less, round(share * less)))
        if _two_of_four(kept):
            halves, half = halves + kept.numel(), kept.numel() // 2
            packed = packed.plus(Saving(half, 4 * half - half * _INDEX_BITS // 8, round(share * half)))
    return {
        "channels": gone,
        "all_channels": channels,
        "kernels": lost / kernels if kernels else 0.0,
        "two_of_four": halves / total if total else 0.0,
        "removed": 1 - mask.kept / total if total else 0.0,
        "savings": {"channels": cut._asdict(), "two_of_four": packed._asdict()},
    }


def in_words(found: dict[str, Any], multiply_adds: tuple[int, int] | None) -> str:
    """Return what the zeros save, in a sentence or two; empty where there are next to none.

    Args:
        multiply_adds: Of the dense network and the ticket.
    """
    if not found or found["removed"] < 0.05:
        return ""
    if multiply_adds and multiply_adds[1] < 0.95 * multiply_adds[0]:
        return ""
    if found["two_of_four"] > 0.5:
        return (
            f"{found['two_of_four']:.0%} of its weights lie in layers with at most two of every four kept: GPUs with sparse "
            "tensor cores (2:4) can skip half of their multiplications; dense kernels multiply by them all the same."
        )
    if found["channels"] >= 0.05 * found["all_channels"]:
        return (
            f"{found['channels']:,} of its {found['all_channels']:,} output channels have no weight left: cut out of the "
            "network (say, with Torch-Pruning) they save time; as zeros, dense kernels multiply by them all the same."
        )
    return (
        "Its zeros are scattered: dense kernels multiply by them all the same. They save space on disk; time is saved by "
        "fewer channels or by kernels made for sparse weights."
    )


def _live(kept: Tensor) -> int:
    """Return the weights of the block of output channels with a weight and input channels that are read."""
    rows, columns = kept.flatten(1).any(dim=1), kept.transpose(0, 1).flatten(1).any(dim=1)
    return int(rows.sum()) * int(columns.sum()) * kept[0, 0].numel()


def _two_of_four(kept: Tensor) -> bool:
    """Convolutions are grouped along their input channels at each place, as sparse kernels take them, or along the flat weight."""
    flat = kept.flatten(1)
    if flat.all():
        return False
    views = [flat] + ([kept.movedim(1, -1).reshape(len(kept), -1)] if kept.ndim == 4 else [])
    return any(view.shape[1] % 4 == 0 and bool((view.reshape(-1, 4).sum(dim=1) <= 2).all()) for view in views)
