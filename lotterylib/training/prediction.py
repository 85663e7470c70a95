"""A trained network's answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..machine.devices import pick_device
from ..machine.numerics import full_precision
from . import launch
from .batches import evaluation_batches


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    batch_size: int = 500,
    device: str | torch.device | None = None,
) -> Tensor:
    """Logits float32 [N, classes] in eval mode and full precision, on the CPU; the model's mode is left as found. Images
    that stay in their files are read batch by batch, by worker processes."""
    device = pick_device(device)
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.to(device).eval()
        with full_precision():
            parts = evaluation_batches(images, batch_size, launch.current().workers)
            return torch.cat([model(part.to(device)).float().cpu() for part in parts])
    finally:
        for module, mode in modes:
            module.training = mode
