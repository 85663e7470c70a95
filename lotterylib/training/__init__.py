"""Training: recipe, batches, loop, checkpoints, and the trained network's answers."""

# in the order in which the reference lists them: what is called comes before what it is made of
# isort: off
from .recipe import Recipe
from .loop import train
from .prediction import predict
from .state import MaskUpdate, State, Training, state_of
from .launch import Launch, launching
# isort: on

__all__ = [
    "Launch", "MaskUpdate", "Recipe", "State", "Training", "launching", "predict", "state_of", "train",
]  # fmt: skip
