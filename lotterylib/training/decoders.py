"""Decoders of JPEG files on the device that trains, by their names."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingError, UnknownNameError

# top, left, height and width in pixels
Place = tuple[int, int, int, int]


class Decoder(ABC):
    """A way to turn files into the wanted parts of their pictures."""

    @abstractmethod
    def works_on(self, device: torch.device) -> bool:
        """Return whether it decodes there. Raises ``SettingError`` where it is not installed."""

    @abstractmethod
    def parts(self, files: list[Tensor], places: list[Place], device: torch.device) -> list[Tensor]:
        """Return the part at each file's place: uint8 [3, height, width] on the device. Raises ``RuntimeError`` for a file that
        it cannot decode."""


class TorchVision(Decoder):
    """torchvision's, on GPUs NVIDIA's nvJPEG: whole pictures, of which the part is kept."""

    def works_on(self, device: torch.device) -> bool:
        return _torchvision_decodes(device)

    def parts(self, files: list[Tensor], places: list[Place], device: torch.device) -> list[Tensor]:
        from torchvision.io import ImageReadMode, decode_jpeg

        whole = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
        return [
            picture[:, top : top + height, left : left + width]
            for picture, (top, left, height, width) in zip(whole, places, strict=True)
        ]


class Dali(Decoder):
    """NVIDIA's DALI (2.0 or later): where it can, no more than the part is decoded."""

    def works_on(self, device: torch.device) -> bool:
        _dali()
        return True

    def parts(self, files: list[Tensor], places: list[Place], device: torch.device) -> list[Tensor]:
        dali, found = _dali(), torch.tensor(places, dtype=torch.int32)
        start, shape = (dali.batch(list(rows)) for rows in (found[:, :2], found[:, 2:]))
        cut = dali.decoders.image_slice(
            dali.batch(files),
            start=start,
            shape=shape,
            axes=(0, 1),
            adjust_orientation=False,
            device=str(device),
        )
        # else a later batch might be written over this one
        return [part.torch(copy=True).movedim(-1, 0) for part in cut.tensors]


DECODERS: dict[str, Decoder] = {"torchvision": TorchVision(), "dali": Dali()}


def decoder(name: str) -> Decoder:
    """Return a decoder by its name.

    Raises:
        UnknownNameError: For a name that there is none of.

    Example:
        >>> type(decoder("dali")).__name__
        'Dali'
    """
    if name not in DECODERS:
        raise UnknownNameError("decoder", name, DECODERS)
    return DECODERS[name]


@functools.cache
def _torchvision_decodes(device: torch.device) -> bool:
    from torchvision.io import decode_jpeg, encode_jpeg

    try:
        decode_jpeg([encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8))], device=device)
    except (RuntimeError, AttributeError):
        return False
    return True


def _dali() -> Any:
    try:
        import nvidia.dali.experimental.dynamic as dali  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingError(
            "the decoder dali is not installed: pip install nvidia-dali-cuda130 (or -cuda120), 2.0 or later"
        ) from None
    return dali
