"""Less of what costs time and takes no other way through the code: samples, probes, points and resamples. Pages ask for
as many as a reader needs; here only their steps are tried, and their numbers mean nothing anyway."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from unittest.mock import patch

from lotterylib.efficiency import speed
from lotterylib.metrics import geometry, interpretability, resampling
from lotterylib.pruners import base, synflow
from lotterylib.study import estimate

# at most so many
FUNCTIONS = [
    *(
        (interpretability, name, {"samples": 60})
        for name in ("explain", "fidelity", "fidelity_r2", "stability")
    ),
    (geometry, "hessian_trace", {"steps": 3, "max_probes": 4}),
    (geometry, "pac_bayes_sigma", {"draws": 3}),
    (geometry, "loss_surface", {"points": 3}),
    (synflow, "mask", {"iterations": 10}),
    (base, "iterate", {"iterations": 10}),
    (estimate, "images_per_second", {"seconds": 0.05}),
    (speed, "speeds", {"rounds": 6, "seconds": 0.01}),
]
NUMBERS = [(resampling, "RESAMPLES", 20)]


def hurrying() -> list[patch]:
    """What a test enters and leaves, or a process of its own only enters."""
    capped = [
        patch.object(where, name, _capped(getattr(where, name), most)) for where, name, most in FUNCTIONS
    ]
    return [*capped, *(patch.object(*number) for number in NUMBERS)]


def _capped(function: Callable, most: dict[str, float]) -> Callable:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def quick(*arguments, **settings):
        bound = signature.bind(*arguments, **settings)
        bound.apply_defaults()
        for name, cap in most.items():
            if bound.arguments[name] is not None:
                bound.arguments[name] = min(bound.arguments[name], cap)
        return function(*bound.args, **bound.kwargs)

    return quick
