"""Is this pruned network really as good as the dense one, in every way that matters?

    from lotterylib import Recipe, datasets, models, pruners

    data = datasets.load("fashion-mini")
    model = models.build("resnet8", data.classes, data.channels, mean=data.mean, std=data.std)
    ticket = pruners.build("lottery").find(model, data, sparsity=0.8, recipe=Recipe(epochs=12), seed=0)

The parts are imported when first used, so ``import lotterylib`` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = (
    "datasets",
    "figures",
    "masks",
    "metrics",
    "models",
    "pruners",
    "results",
    "study",
    "verdict",
)
_NAMES = {
    "Recipe": "training",
    "train": "training",
    "Ticket": "ticket",
    "Mask": "masks",
    "check_environment": "machine.environment",
    "scorecard": "score",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
