"""Data that a training starts from, moves, and leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..masks import Mask

State = dict[str, Tensor]


def state_of(model: nn.Module) -> State:
    """Return a copy of all parameters and buffers.

    >>> list(state_of(nn.Linear(2, 3)))
    ['weight', 'bias']
    """
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@dataclass
class Training:
    """All that a training leaves beside the trained model.

    Attributes:
        losses: Mean training loss of each epoch, in nats.
        rewind: Parameters and buffers at the rewind step; None if training started after it.
        images: Images seen, ``update_images`` of them at mask updates.
        seconds: Wall time of the loop.
        epoch_seconds: Of it, each epoch's, up to the moment that its losses were read.
        precision: Arithmetic of the forward pass, "float32", "bfloat16" or "float16".
        processes: Number of processes that trained together.
        mask: The mask at the end.
        updates: What each mask update moved.
    """

    losses: list[float] = field(default_factory=list)
    rewind: State | None = None
    images: int = 0
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    precision: str = "float32"
    processes: int = 1
    mask: Mask | None = None
    update_images: int = 0
    updates: list[dict[str, Any]] = field(default_factory=list)


class MaskUpdate(Protocol):
    """Moves the mask while the network trains (dynamic sparse training)."""

    def due(self, step: int, total: int) -> bool:
        """Return whether to update at ``step`` (0-based) of ``total``. Such a step computes gradients of every weight,
        also of removed ones, and takes no optimizer step."""
        ...

    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, mask: Mask, step: int, total: int
    ) -> Mask:
        """Return the new mask, from the weights and their ``.grad``, and see to the optimizer's state of what moves; weights
        and state are changed in place."""
        ...
