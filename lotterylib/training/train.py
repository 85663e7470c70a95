"""The front door to training: in this process, or by several together."""

from __future__ import annotations

import torch
from torch import nn

from ..datasets import Dataset
from ..errors import SettingError
from ..machine.devices import pick_device
from ..masks import Mask
from .launch import Launch, current
from .loop import run
from .parallel import train_together
from .recipe import Recipe
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
    """Trains ``model`` in place with cross-entropy and leaves it in eval mode on the device.

    With a ``mask``, removed weights are 0 before the first step and after every one, whatever momentum, weight decay
    or Adam's state say. ``start`` skips to that step: schedule, image order and augmentation resume there, with a
    fresh optimizer (for rewinding). ``update`` moves the mask on the way; on its steps the images are seen and the
    schedule goes on, but the weights that stay are not changed. ``device=None`` takes CUDA if there is one. ``launch``
    (default: that of ``launching``) says how many processes train and read, and where checkpoints go.

    Raises ``DivergedError`` if the loss becomes NaN or infinite (noticed at the end of the epoch), ``SettingError``
    for a ``start`` beyond the training, a mask that does not fit, or an ``update`` without a mask.
    """
    if update is not None and mask is None:
        raise SettingError("an update needs a mask to start from")
    device, launch = pick_device(device), launch or current()
    if launch.processes > 1:
        what = dict(data=data, recipe=recipe, mask=mask, seed=seed, start=start, update=update)
        return train_together(model, launch, device, progress, what)
    return run(
        model,
        data,
        recipe,
        mask,
        seed,
        start=start,
        update=update,
        device=device,
        progress=progress,
        launch=launch,
    )
