"""Training: recipe, batches, loop, checkpoints, and the trained network's answers."""

from .launch import Launch, launching
from .loop import train
from .prediction import predict
from .recipe import Recipe
from .state import MaskUpdate, State, Training, state_of

__all__ = [
    "Launch", "MaskUpdate", "Recipe", "State", "Training", "launching", "predict", "state_of", "train",
]  # fmt: skip
