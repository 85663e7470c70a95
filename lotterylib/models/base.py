"""The base of all models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from ..errors import SettingError
from ..registry import Registry


class Architecture(BaseModel, ABC):
    """A kind of network. Fields are its settings, checked when a profile is read.

    Subclasses give a name, ``stages`` and ``network``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    # what readers call it; empty: by its name
    title: ClassVar[str] = ""
    # channels of the hidden stages at width 1
    stages: ClassVar[tuple[int, ...]]
    # the smallest side of an image, in pixels
    least: ClassVar[int] = 1

    @abstractmethod
    def network(self, channels: int, classes: int, stages: Sequence[int], size: int) -> nn.Module:
        """Return the network without normalisation, for images [N, channels, size, size] → logits [N, classes].

        Args:
            stages: The channels of the hidden stages, at the width wanted.
        """

    def check_size(self, size: int) -> None:
        """Raise ``SettingError`` for images that are too small."""
        if size < self.least:
            raise SettingError(
                f"{self.name} needs images of at least {self.least} pixels per side, got {size}"
            )


ARCHITECTURES: Registry[type[Architecture]] = Registry(
    "model", "lotterylib.models", name_of=lambda cls: cls.name
)
register = ARCHITECTURES.register
