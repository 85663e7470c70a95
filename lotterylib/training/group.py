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
    """``rank``: which of ``size`` processes this one is."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> slice:
        """This process's part of a batch."""
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each) if self.size > 1 else slice(None)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model's forward pass, after whose backward pass all processes hold the mean gradient. Buffers, such as
        BatchNorm's statistics, are the first process's."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def check_agreed(self, mask: Mask, step: int) -> None:
        """Raises ``RuntimeError`` in all processes unless all hold the same mask."""
        if self.size == 1:
            return
        content = hashlib.sha256()
        for name, tensor in mask.items():
            content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        mine = torch.tensor(
            int.from_bytes(content.digest()[:7], "big"), device=next(iter(mask.values())).device
        )
        seen = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(seen, mine)
        if len({int(s) for s in seen}) > 1:
            raise RuntimeError(f"the processes hold different masks after the update at step {step}")


_group = Group()


def group() -> Group:
    """The processes that this one trains with; by itself, but for those that ``parallel.train_together`` started."""
    return _group


def join(group: Group) -> None:
    """Says that this process is one of a group, for good."""
    global _group
    _group = group
