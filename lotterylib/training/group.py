"""The processes that train together, and which of them this one is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..masks import Mask


@dataclass(frozen=True)
class Group:
    """``size`` processes, of which this one is number ``rank``; by default it is alone."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> slice:
        """Return this process's part of a batch.

        >>> Group(1, 2).share(16)
        slice(8, 16, None)
        """
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each) if self.size > 1 else slice(None)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model's forward pass, after whose backward pass all processes hold the mean gradient. Buffers, such
        as BatchNorm's statistics, are the first process's."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def check_agreed(self, mask: Mask, step: int) -> None:
        """Raise ``RuntimeError`` in all processes unless all hold the same mask."""
        if self.size == 1:
            return
        content = hashlib.sha256()
        for name, tensor in mask.items():
            content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        device = next(iter(mask.values())).device
        mine = torch.tensor(int.from_bytes(content.digest()[:7], "big"), device=device)
        seen = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(seen, mine)
        if len({int(s) for s in seen}) > 1:
            raise RuntimeError(f"the processes hold different masks after the update at step {step}")
