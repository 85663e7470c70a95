"""How a network's zeros lie: scattered, in whole channels, or two of every four; and what that would save."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..masks import Mask


def zeros(mask: Mask) -> dict[str, Any]:
    """Return how the removed weights lie.

    Returns:
        ``channels``: output channels of which no weight survives, of ``all_channels``; ``kernels``: whole k × k kernels that
        are gone, as a share of all of convolutions larger than 1 × 1; ``two_of_four``: the share of weights that lie in
        layers with at most two survivors in every four along the inputs; ``removed``: the share of weights that are gone.

    Example:
        >>> zeros(Mask({"weight": Tensor([[1, 1, 0, 0, 0, 1, 0, 1]]).bool()}))["two_of_four"]
        1.0
    """
    channels = gone = kernels = lost = halves = total = 0
    for kept in mask.values():
        rows = kept.flatten(1)
        channels, gone = channels + len(rows), gone + int((~rows.any(dim=1)).sum())
        total += kept.numel()
        if kept.ndim == 4 and kept[0, 0].numel() > 1:
            survives = kept.flatten(2).any(dim=2)
            kernels, lost = kernels + survives.numel(), lost + int((~survives).sum())
        halves += kept.numel() if _two_of_four(kept) else 0
    return {
        "channels": gone,
        "all_channels": channels,
        "kernels": lost / kernels if kernels else 0.0,
        "two_of_four": halves / total if total else 0.0,
        "removed": 1 - mask.kept / total if total else 0.0,
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


def _two_of_four(kept: Tensor) -> bool:
    """Convolutions are grouped along their input channels at each place, as sparse kernels take them, or along the flat weight."""
    flat = kept.flatten(1)
    if flat.all():
        return False
    views = [flat] + ([kept.movedim(1, -1).reshape(len(kept), -1)] if kept.ndim == 4 else [])
    return any(view.shape[1] % 4 == 0 and bool((view.reshape(-1, 4).sum(dim=1) <= 2).all()) for view in views)
