"""How many weights each layer keeps, for methods that fix that number before they choose the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ..errors import SettingError
from .mask import Mask

Shapes = Mapping[str, tuple[int, ...]]
Distribution = Literal["uniform", "erk"]


def uniform(shapes: Shapes, density: float) -> dict[str, float]:
    """The same density in every layer."""
    return dict.fromkeys(shapes, density)


def erdos_renyi_kernel(shapes: Shapes, density: float) -> dict[str, float]:
    """Erdős–Rényi-Kernel densities (Evci et al., 2020, arXiv:1911.11134, section 3): density ∝ Σ dims / Π dims.

    A layer that would exceed 1 becomes dense and the rest are solved again, so that the total holds:
    Σ density_l · n_l = density · Σ n_l.

    ``shapes``: weight name → shape; ``density`` in [0, 1]. Raises ``SettingError`` for another density.
    """
    if not 0 <= density <= 1:
        raise SettingError(f"density must lie in [0, 1], got {density}")
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    raw = {n: sum(s) / math.prod(s) for n, s in shapes.items()}
    full: set[str] = set()
    while len(full) < len(shapes):
        budget = density * sum(sizes.values()) - sum(sizes[n] for n in full)
        scale = budget / sum(raw[n] * sizes[n] for n in shapes if n not in full)
        over = {n for n in shapes if n not in full and scale * raw[n] > 1}
        if not over:
            break
        full |= over
    return {n: 1.0 if n in full else scale * raw[n] for n in shapes}


def whole_counts(shapes: Shapes, densities: Mapping[str, float], density: float) -> dict[str, int]:
    """Return whole numbers of kept weights per layer that add up to exactly ``round(density · n)``: fractions are
    rounded down, then the layers with the largest remainders get one more (no layer more than it has)."""
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    exact = {n: densities[n] * sizes[n] for n in shapes}
    counts = {n: min(sizes[n], math.floor(exact[n] + 1e-9)) for n in shapes}
    missing = round(density * sum(sizes.values())) - sum(counts.values())
    for name in sorted(shapes, key=lambda n: counts[n] - exact[n]):
        if missing > 0 and counts[name] < sizes[name]:
            counts[name] += 1
            missing -= 1
    return counts


def top_each(
    scores: Mapping[str, Tensor], distribution: Distribution, density: float, within: Mask | None = None
) -> Mask:
    """Return the highest scores of each layer, as many as the distribution gives it, none outside ``within``; exactly
    ``round(density · n)`` in all."""
    shapes = {name: tuple(s.shape) for name, s in scores.items()}
    densities = {"uniform": uniform, "erk": erdos_renyi_kernel}[distribution](shapes, density)
    counts = whole_counts(shapes, densities, density)
    kept: dict[str, Tensor] = {}
    for name, values in scores.items():
        allowed = None if within is None else Mask({name: within[name]})
        kept |= Mask.top({name: values}, counts[name] / values.numel(), within=allowed)
    return Mask(kept)
