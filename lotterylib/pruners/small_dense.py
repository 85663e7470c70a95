"""Small-dense: the control. A dense network of the same architecture, only narrower, with as many prunable weights as a
ticket of the sparsity asked for would keep: if it does as well, sparsity was of no use.

One multiplier of all widths is found by bisection. Where whole channels are too coarse to come within 1 % (the smallest
networks), single stages get up to two channels more or fewer.
"""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any, ClassVar

import torch

from .. import models
from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask, Scope, prunable
from ..training import train
from .base import Pruner, check_sparsity, make_ticket

TOLERANCE, LIMIT = 0.01, 0.05  # wanted, and refused beyond
_REACH = 2  # channels that a stage may depart from its proportion


def narrowed(spec: dict[str, Any], kept: int, scope: Scope = "all") -> dict[str, Any]:
    """The description of the narrower network: ``spec`` (of ``models.build``) with another ``width``, one number or one
    a stage, whose prunable weights are ``kept`` to within 1 % if any widths are, else as near as there is.

    Among widths within 1 % the one closest to proportional is taken. Raises ``SettingError`` if nothing comes within 5 %.
    """

    def count(width: float | list[float]) -> int:
        with torch.device("meta"):  # shapes only
            small = models.build(**{**spec, "width": width})
        return sum(p.numel() for p in prunable(small, scope).values())

    full, ones = models.stages(spec["name"], spec["width"]), models.stages(spec["name"])
    if count(spec["width"]) == kept:
        return spec
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if count(_scale(spec["width"], middle)) <= kept else (low, middle)
    best = min((_scale(spec["width"], m) for m in (low, high) if m), key=lambda w: abs(count(w) - kept))
    if abs(count(best) - kept) > TOLERANCE * kept:
        exact = [max(1.0, high * c) for c in full]
        ranges = [range(max(1, round(e) - _REACH), round(e) + _REACH + 1) for e in exact]
        ranges = ranges[:5] + [[round(e)] for e in exact[5:]]  # else the search would be too long

        def badness(channels: tuple[int, ...]) -> tuple[float, float]:
            error = abs(count(widths(channels)) / kept - 1)
            departure = sum(math.log(c / e) ** 2 for c, e in zip(channels, exact, strict=True))
            return max(error, TOLERANCE), departure

        def widths(channels: tuple[int, ...]) -> list[float]:
            return [c / one for c, one in zip(channels, ones, strict=True)]

        best = widths(min(itertools.product(*ranges), key=badness))
    if abs(count(best) - kept) > LIMIT * kept:
        raise SettingError(
            f"no narrower {spec['name']} has {kept:,} prunable weights: the nearest has {count(best):,}"
        )
    return {**spec, "width": best}


def _scale(width: float | list[float], factor: float) -> float | list[float]:
    return [w * factor for w in width] if isinstance(width, list) else width * factor


class SmallDense(Pruner):
    """Trained from the first step on, like a dense network. The ticket's mask keeps all of the small network; its
    sparsity is the share of the full network's prunable weights that it does without."""

    name: ClassVar[str] = "small-dense"

    def find(
        self, model, data, sparsity, recipe, seed, *, dense=None, previous=None, device=None, progress=True
    ):
        check_sparsity(sparsity)
        device = pick_device(device)
        spec = getattr(model, "spec", None)
        if spec is None or "shapes" in spec:
            raise SettingError(
                "small-dense builds the network anew with fewer channels: that needs one made by models.build"
            )
        full = copy.deepcopy(model).to(device)
        kept = round((1 - sparsity) * sum(p.numel() for p in prunable(full, self.scope).values()))
        small = models.build(**narrowed(spec, kept, self.scope), seed=seed)
        training = train(small, data, recipe, None, seed, device=device, progress=progress)
        return make_ticket(
            self,
            small,
            Mask.ones(small, self.scope),
            data,
            sparsity,
            recipe,
            seed,
            training,
            device,
            full=full,
        )
