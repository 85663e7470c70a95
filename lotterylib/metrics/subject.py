"""The network under judgement, with the passes over data that several metrics share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets import Dataset
from ..masks import Mask
from ..training import pick_device, predict


@dataclass
class Subject:
    """A trained network and the data to judge it on; ``seed`` drives whatever a metric draws at random."""

    model: nn.Module
    data: Dataset
    mask: Mask | None = None
    seed: int = 0
    device: str | torch.device | None = None

    @cached_property
    def test_logits(self) -> Tensor:
        """Logits on the clean test set: float32 [N, classes], in full precision, on the CPU."""
        return predict(self.model, self.data.test[0], device=pick_device(self.device))

    @property
    def test_labels(self) -> Tensor:
        """Labels of the clean test set: int64 [N], on the CPU."""
        return self.data.test[1].cpu()


@dataclass(frozen=True)
class Measurement:
    """A value with its standard error over samples (None where it has none), the number of samples behind it, and
    what else belongs to it (plain JSON values)."""

    value: float
    error: float | None
    samples: int
    extra: dict[str, Any] = field(default_factory=dict)
