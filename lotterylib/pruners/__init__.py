"""Ways to prune. A new method is one file with a ``Pruner`` and one line in ``_PRUNERS``."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..errors import SettingError, UnknownNameError, first_problem
from . import grasp, lottery, magnitude, random, rigl, small_dense, snip, structured, synflow
from .base import Pruner, train_dense

__all__ = ["Pruner", "build", "names", "train_dense"]

_PRUNERS: dict[str, type[Pruner]] = {
    "random": random.Random,
    "magnitude": magnitude.Magnitude,
    "lottery": lottery.Lottery,
    "snip": snip.Snip,
    "grasp": grasp.Grasp,
    "synflow": synflow.SynFlow,
    "rigl": rigl.Rigl,
    "structured": structured.Structured,
    "small-dense": small_dense.SmallDense,
}


def names() -> list[str]:
    """Names that ``build`` knows, in the order in which figures list them."""
    return list(_PRUNERS)


def build(name: str, **settings: Any) -> Pruner:
    """A pruner with its settings; ``build(name).find(model, data, sparsity, recipe, seed)`` returns a ticket.

    Raises ``UnknownNameError`` for a name not in ``names()``, ``SettingError`` for an unknown or impossible setting.
    """
    if name not in _PRUNERS:
        raise UnknownNameError("pruner", name, _PRUNERS)
    try:
        return _PRUNERS[name](**settings)
    except ValidationError as error:
        raise SettingError(f"pruner {name}: {first_problem(error)}") from None
