"""A trained network's answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..datasets import LazyImages
from ..datasets.lazy import in_unit
from ..machine.devices import pick_device
from ..machine.layout import in_layout
from ..machine.numerics import full_precision
from .batches import evaluation_batches
from .launch import current


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor | LazyImages,
    *,
    batch_size: int = 100,
    device: str | torch.device | None = None,
    workers: int | None = None,
) -> Tensor:
    """Return logits, float32 [N, classes] on the CPU, in eval mode and full precision; the model is left as found.

    Args:
        images: [N, C, H, W]; images that stay in their files are read batch by batch.
        batch_size: Images at a time: about as many as fit the processor's cache.
        workers: Processes that read images in files; by default those of ``launching``.

    >>> predict(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.zeros(5, 3, 2, 2), device="cpu").shape
    torch.Size([5, 3])
    """
    workers = current().workers if workers is None else workers
    device = pick_device(device)
    forward = _on(device, model)

    def logits(layout: torch.memory_format) -> Tensor:
        pieces = evaluation_batches(images, batch_size, workers, pin=device.type == "cuda")
        return torch.cat([forward(moved(piece, layout)).float() for piece in pieces]).cpu()

    def moved(piece: Tensor, layout: torch.memory_format) -> Tensor:
        # a copy, for a network may normalise in place
        piece = piece.to(device, copy=True, memory_format=layout, non_blocking=device.type == "cuda")
        return in_unit(piece) if piece.dtype == torch.uint8 else piece

    with in_mode(model, training=False), full_precision():
        return in_layout(logits)


@contextlib.contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Run the block in train or eval mode; each module's own mode comes back, also when the block raises."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _on(device: torch.device, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the model's forward pass on a device, with a copy of its weights if they are elsewhere."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    if all(moved[name] is tensors[name] for name in tensors):
        return model
    return lambda images: functional_call(model, moved, (images,))
