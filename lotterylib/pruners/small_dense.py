"""Small-dense: the control. A dense network of the same architecture, only narrower, with as many prunable weights as a
ticket of the sparsity asked for would keep: if it does as well, sparsity was of no use.

One multiplier of all widths is found by bisection. Where whole channels are too coarse to come within 1% (the smallest
networks), single stages get up to two channels more or fewer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

from .. import models
from ..errors import SettingError
from ..masks import Mask, Scope, prunable
from .base import Look, Pruned, Pruner, register

# relative errors of the number of weights: wanted, and refused beyond
TOLERANCE, LIMIT = 0.01, 0.05
# channels that a stage may depart from its proportion, and how many stages may, lest the search take too long
REACH, STAGES = 2, 5

Width = float | list[float]


def narrowed(spec: dict[str, Any], kept: int, scope: Scope = "all") -> dict[str, Any]:
    """Return the description of the narrower network: ``spec`` (of ``models.build``) with another ``width``, one number or
    one per stage, whose prunable weights are ``kept`` to within 1% if any widths are, else as near as there is.

    Among widths within 1% the one closest to proportional is taken.

    Raises:
        SettingError: if nothing comes within 5%.
    """

    known: dict[tuple[int, ...], int] = {}

    def weights(width: Width) -> int:
        # neighbouring widths round to the same channels, and counting their weights takes a network
        channels = tuple(models.stages(spec["name"], width))
        if channels not in known:
            known[channels] = count(spec, width, scope)
        return known[channels]

    def error(width: Width) -> float:
        return abs(weights(width) / kept - 1)

    width = spec["width"]
    if weights(width) == kept:
        return spec
    low, high = _bracket(lambda factor: weights(_scaled(width, factor)) <= kept)
    best = min((_scaled(width, factor) for factor in (low, high) if factor), key=error)
    if error(best) > TOLERANCE:
        exact = [max(1.0, high * channels) for channels in models.stages(spec["name"], width)]
        ones = models.stages(spec["name"])

        def widths(channels: tuple[int, ...]) -> list[float]:
            return [c / one for c, one in zip(channels, ones, strict=True)]

        def departure(channels: tuple[int, ...]) -> float:
            return sum(math.log(c / e) ** 2 for c, e in zip(channels, exact, strict=True))

        near = [widths(channels) for channels in sorted(_around(exact), key=departure)]
        best = next((each for each in near if error(each) <= TOLERANCE), None) or min(near, key=error)
    if error(best) > LIMIT:
        raise SettingError(
            f"no narrower {spec['name']} has {kept:,} prunable weights: the nearest has {weights(best):,}"
        )
    return {**spec, "width": best}


def count(spec: dict[str, Any], width: Width, scope: Scope) -> int:
    """Return the number of prunable weights of the network that ``spec`` describes, at another width."""
    # shapes only
    with torch.device("meta"):
        return sum(p.numel() for p in prunable(models.build(**{**spec, "width": width}), scope).values())


def _bracket(fits: Callable[[float], bool]) -> tuple[float, float]:
    """Return two neighbouring factors of the width, from 0 to 1: the first fits, the second does not."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low, high


def _around(exact: list[float]) -> itertools.product[tuple[int, ...]]:
    """Return all channel numbers near the exact ones; beyond the first stages, only the nearest."""
    near = [range(max(1, round(e) - REACH), round(e) + REACH + 1) for e in exact[:STAGES]]
    return itertools.product(*near, *([round(e)] for e in exact[STAGES:]))


def _scaled(width: Width, factor: float) -> Width:
    return [w * factor for w in width] if isinstance(width, list) else width * factor


@register
class SmallDense(Pruner):
    """Trained from the first step on, like a dense network. The ticket's mask keeps all of the small network; its
    sparsity is the share of the full network's prunable weights that it does without."""

    name = "small-dense"
    look = Look("Small dense", "#767676", "*")
    called = "small dense networks"

    def scores(self, model, data, seed):
        """All weights are alike: the width decides."""
        return {name: torch.ones_like(weight) for name, weight in prunable(model, self.scope).items()}

    def prune(self, origin, data, sparsity, seed):
        """Return a narrower network, untrained, with as many prunable weights as a ticket keeps; its mask keeps all of them."""
        spec = getattr(origin.full, "spec", None)
        if spec is None or "shapes" in spec:
            raise SettingError(
                "small-dense builds the network anew with fewer channels: that needs one made by models.build"
            )
        kept = round((1 - sparsity) * sum(p.numel() for p in prunable(origin.full, self.scope).values()))
        small = models.build(**narrowed(spec, kept, self.scope), seed=seed)
        return Pruned(small, Mask.ones(small, self.scope))
