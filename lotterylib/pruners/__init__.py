"""Ways to prune. A new method is one class in one file, under ``@register``."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..errors import SettingError, first_problem
from .base import PRUNERS, Pruner, Start, register, train_dense

# the order in which they register is that of lists and legends
from . import random, magnitude, lottery, snip, grasp, synflow, rigl, structured, small_dense, gradual, set  # noqa: F401  # isort: skip

__all__ = ["PRUNERS", "Pruner", "Start", "build", "names", "register", "train_dense"]

names = PRUNERS.names


def build(name: str, **settings: Any) -> Pruner:
    """Return a pruner with its settings; ``build(name).find(model, data, sparsity, recipe, seed)`` returns a ticket.

    Raises:
        UnknownNameError: for a name not in ``names()``.
        SettingError: for an unknown or impossible setting.

    Example:
        >>> build("lottery", rate=0.5).previous(0.75)
        0.5
    """
    try:
        return PRUNERS[name](**settings)
    except ValidationError as error:
        raise SettingError(f"pruner {name}: {first_problem(error)}") from None
