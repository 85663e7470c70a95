"""Images that stay in their files: for data that do not fit in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import DataError


class LazyImages(Sequence[Tensor]):
    """A folder's images, looked at like float32 [N, 3, size, size] in [0, 1], each read when asked for.

    ``images[3]`` is one image, ``images[a:b]`` and ``images[numbers]`` (int64 or boolean) are batches in memory, as
    evaluation sees them: the shorter side brought to ``resize`` pixels, the central ``size`` × ``size`` cut out.
    ``only`` chooses images without reading them. ``names`` are paths below ``folder``; a million of them take as many
    bytes as they have letters. An unreadable file raises ``DataError`` when it is asked for.
    """

    dtype, ndim = torch.float32, 4

    def __init__(self, folder: Path, names: Sequence[str] | np.ndarray, size: int, resize: int):
        import torchvision.transforms.v2  # noqa: F401  here, where it is needed, and before workers are forked

        self.folder, self.size, self.resize = folder, size, resize
        self.names = names if isinstance(names, np.ndarray) else np.array([os.fsencode(n) for n in names])

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> torch.Size:
        """[N, 3, size, size]"""
        return torch.Size((len(self), 3, self.size, self.size))

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / os.fsdecode(self.names[index].item())

    def open(self, index: int) -> Image.Image:
        """The whole image, as RGB."""
        try:
            with Image.open(self.path(index)) as image:
                return image.convert("RGB")
        except OSError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path(index)} is no readable image ({reason}): fetch it again") from None

    def view(self, index: int) -> Image.Image:
        """What evaluation sees of it: [size × size] pixels."""
        from torchvision.transforms.v2 import functional

        image = functional.resize(self.open(index), self.resize, antialias=True)
        return functional.center_crop(image, self.size)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        if isinstance(index, int):
            return in_unit(pixels(self.view(index)))
        chosen = np.arange(len(self))[index.cpu().numpy() if isinstance(index, Tensor) else index]
        result = torch.empty((len(chosen), *self.shape[1:]))
        for place, i in enumerate(chosen):
            result[place] = self[int(i)]
        return result

    def only(self, chosen: Tensor) -> LazyImages:
        """The images of these numbers (int64, or boolean [N]), still in their files."""
        return LazyImages(self.folder, self.names[chosen.cpu().numpy()], self.size, self.resize)

    def to(self, device: str | torch.device) -> LazyImages:
        """Itself: batches go to a device one by one."""
        return self


def pixels(image: Image.Image) -> Tensor:
    """uint8 [C, H, W]; a quarter of what float32 takes on the way between processes and to a device."""
    from torchvision.transforms.v2 import functional

    return functional.pil_to_tensor(image)


def in_unit(images: Tensor) -> Tensor:
    """uint8 → float32 in [0, 1], the same on every device."""
    return images.float().div(255)


def pick(images: Tensor | LazyImages, chosen: Tensor) -> Tensor | LazyImages:
    """Some of the images; those in files stay there."""
    return images.only(chosen) if isinstance(images, LazyImages) else images[chosen]
