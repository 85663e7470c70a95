"""Is this pruned network really as good as the dense one, in every way that matters?

    from lotterylib import Recipe, datasets, models, pruners

    data = datasets.load("fashion-mini")
    model = models.build("resnet8", data.classes, data.channels, mean=data.mean, std=data.std)
    ticket = pruners.build("lottery").find(model, data, sparsity=0.8, recipe=Recipe(epochs=12), seed=0)

The parts are imported when first used, so ``import lotterylib`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, figures, masks, metrics, models, pruners, results, study, verdict
    from .machine.environment import check_environment
    from .masks import Mask
    from .score import scorecard
    from .ticket import Ticket
    from .training import Recipe, train

__all__ = [
    "Mask",
    "Recipe",
    "Ticket",
    "check_environment",
    "datasets",
    "figures",
    "masks",
    "metrics",
    "models",
    "pruners",
    "results",
    "scorecard",
    "study",
    "train",
    "verdict",
]
_HOME = {
    "Mask": "masks",
    "Recipe": "training",
    "Ticket": "ticket",
    "check_environment": "machine.environment",
    "scorecard": "score",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
