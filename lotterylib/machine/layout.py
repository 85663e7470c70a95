"""The order in which images lie in memory: channels-last is the faster one, and most networks can take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# what PyTorch says of ``x.view(len(x), -1)`` where the channels lie last, run and compiled; of what is no image
_REFUSALS = ("view size is not compatible", "Cannot view a tensor", "required rank 4 tensor")


def in_layout(compute: Callable[[torch.memory_format], T]) -> T:
    """Return ``compute(torch.channels_last)``, or, if the network cannot take that, ``compute(torch.contiguous_format)``.

    A network cannot that calls ``x.view(len(x), -1)`` after a convolution. ``compute`` must be fit to be called twice.

    >>> in_layout(lambda layout: torch.zeros(2, 3, 4, 4).to(memory_format=layout).view(2, -1).shape)
    torch.Size([2, 48])
    """
    try:
        return compute(torch.channels_last)
    except RuntimeError as error:
        if not any(words in str(error) for words in _REFUSALS):
            raise
    return compute(torch.contiguous_format)
