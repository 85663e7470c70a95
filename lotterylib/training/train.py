"""The front door to training: in this process, or by several together."""

from __future__ import annotations

import torch
from torch import nn

from ..datasets import Dataset
from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask
from .launch import Launch, current
from .loop import train_here
from .parallel import train_together
from .precision import pick_precision
from .recipe import Recipe
from .run import Job
from .state import MaskUpdate, Training


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    mask: Mask | None = None,
    seed: int = 0,
    *,
    start: int = 0,
    update: MaskUpdate | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    launch: Launch | None = None,
) -> Training:
    """Train ``model`` in place with cross-entropy and leave it in eval mode on the device.

    Args:
        mask: Removed weights are 0 before the first step and after every one, whatever momentum, weight decay or Adam's
            state say.
        start: Step to begin at: schedule, image order and augmentation resume there, with a fresh optimizer (for
            rewinding).
        update: Moves the mask on the way. On its steps the images are seen and the schedule goes on, but the weights
            that stay are not changed.
        device: None takes CUDA if there is one.
        launch: How many processes train and read, and where checkpoints go; by default that of ``launching``.

    Raises:
        DivergedError: If the loss becomes NaN or infinite (noticed at the end of the epoch).
        SettingError: For a ``start`` beyond the training, a mask that does not fit, or an ``update`` without a mask.
    """
    if update is not None and mask is None:
        raise SettingError("an update needs a mask to start from")
    device, launch = pick_device(device), launch or current()
    precision = pick_precision(model, data.train, recipe, device, launch)
    job = Job(data, recipe, mask, seed, start, update, precision)
    if launch.processes > 1:
        return train_together(model, job, device, progress, launch)
    return train_here(model, job, device, progress, launch)
