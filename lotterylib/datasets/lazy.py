"""Pictures from files: one reader for all of them, and images that stay in their files until asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin
from torch import Tensor

from ..errors import DataError, SettingError, one_line
from ..files import check_is_file


@dataclass(frozen=True)
class Reader:
    """Any picture as 8-bit grey or colour, in the size that evaluation sees.

    Args:
        size: The side of the central square that is cut out; None leaves pictures as they are.
        resize: The pixels to which the shorter side is brought before; None: ``size``.
        channels: 1 for grey, 3 for colour.
        upright: Whether to turn a picture as its camera noted (EXIF).
    """

    size: int | None = None
    resize: int | None = None
    channels: int = 3
    upright: bool = True

    def __post_init__(self):
        if self.channels not in (1, 3):
            raise SettingError(f"channels must be 1 (grey) or 3 (colour), got {self.channels}")
        if self.size is not None and not 1 <= self.size <= (self.resize or self.size):
            raise SettingError(
                f"want a size of 1 or more and resize at least as large, got {self.size} and {self.resize}"
            )

    def open(self, path: Path) -> Image.Image:
        """Return the whole picture of a file.

        Raises:
            DataError: in one line, whatever is wrong with the file.
        """
        try:
            check_is_file(path)
            with Image.open(path) as picture:
                return self.plain(picture)
        # decoders of damaged files, and guards against bombs, raise anything
        except Exception as error:
            raise DataError(f"{path} is no readable image ({one_line(error)})") from None

    def plain(self, picture: Image.Image) -> Image.Image:
        """Return the picture as 8-bit grey or colour; 16-bit levels are scaled.

        Raises:
            DataError: for floats, signed and 32-bit integers, whose scale nobody knows.
        """
        tags = getattr(picture, "tag_v2", {})
        signed = 2 in tuple(tags.get(TiffImagePlugin.SAMPLEFORMAT, ()))
        sixteen = picture.mode.startswith("I;16") or picture.mode == "I" and picture.format in ("PNG", "PPM")
        picture = ImageOps.exif_transpose(picture) if self.upright else picture
        if sixteen:
            levels = np.asarray(picture).astype(np.int64)
            # a TIFF whose 0 is white: of fewer bits the decoder knows
            levels = 65535 - levels if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else levels
            picture = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
        if signed or picture.mode in ("I", "F"):
            what = "floats" if picture.mode == "F" else "signed or 32-bit integers"
            raise DataError(
                f"pixels that are {what} have no known scale: save them with 8 or 16 bits, unsigned"
            )
        wanted = "L" if self.channels == 1 else "RGB"
        picture.load()
        return picture if picture.mode == wanted else picture.convert(wanted)

    def view(self, picture: Image.Image) -> Image.Image:
        """Return the part of a picture that evaluation sees, with torchvision's arithmetic."""
        if self.size is None:
            return picture
        shorter, short = min(picture.size), self.resize or self.size
        if shorter != short:
            sides = [int(short * side / shorter) for side in picture.size]
            picture = picture.resize(sides, Image.Resampling.BILINEAR)
        left, top = (round((side - self.size) / 2) for side in picture.size)
        return picture.crop((left, top, left + self.size, top + self.size))

    def read(self, picture: Path | Image.Image) -> Tensor:
        """Return a picture, or that of a file, as float32 [channels, H, W] in [0, 1]."""
        whole = self.plain(picture) if isinstance(picture, Image.Image) else self.open(picture)
        return in_unit(pixels(self.view(whole)))


class LazyImages(Sequence[Tensor]):
    """A folder's images, looked at like float32 [N, channels, size, size] in [0, 1], each read when asked for.

    ``images[3]`` is one image, ``images[a:b]`` and ``images[numbers]`` (int64 or boolean) are batches in memory, as
    evaluation sees them; an unreadable file raises ``DataError`` then. ``only`` chooses images without reading them.

    Args:
        names: Paths below ``folder``; a million of them take as many bytes as they have letters.
        size, resize, channels, upright: As in ``Reader``. Without a size all images must be alike.
    """

    dtype, ndim = torch.float32, 4

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] | np.ndarray,
        size: int | None = None,
        resize: int | None = None,
        channels: int = 3,
        upright: bool = False,
    ):
        # here, where training needs it, and before workers are forked
        import torchvision.transforms.v2  # noqa: F401

        self.folder, self.reader = folder, Reader(size, resize, channels, upright)
        self.names = names if isinstance(names, np.ndarray) else np.array([os.fsencode(n) for n in names])

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> torch.Size:
        """Return [N, channels, H, W]; the first image is read if no size is set."""
        size, channels = self.reader.size, self.reader.channels
        return torch.Size((len(self), *(self[0].shape if size is None else (channels, size, size))))

    @property
    def size(self) -> int:
        """Return the side of the square images, in pixels."""
        return self.shape[-1]

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self.folder / os.fsdecode(self.names[index].item())

    def open(self, index: int) -> Image.Image:
        """Return the whole image."""
        return self.reader.open(self.path(index))

    def view(self, index: int) -> Image.Image:
        """Return the part of an image that evaluation sees."""
        return self.reader.view(self.open(index))

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        if isinstance(index, int):
            return in_unit(pixels(self.view(index)))
        chosen = np.arange(len(self))[index.cpu().numpy() if isinstance(index, Tensor) else index]
        result = torch.empty((len(chosen), *self.shape[1:]))
        for place, i in enumerate(chosen):
            result[place] = self[int(i)]
        return result

    def only(self, chosen: Tensor) -> LazyImages:
        """Return the images of these numbers (int64, or boolean [N]), still in their files."""
        r, names = self.reader, self.names[chosen.cpu().numpy()]
        return LazyImages(self.folder, names, r.size, r.resize, r.channels, r.upright)

    def to(self, device: str | torch.device) -> LazyImages:
        """Return itself: batches go to a device one by one."""
        return self


# in memory, or in their files; ``images[:]`` and ``images[numbers]`` are tensors in any case
Images = Tensor | LazyImages


def pixels(image: Image.Image) -> Tensor:
    """Return uint8 [C, H, W]; a quarter of what float32 takes on the way between processes and to a device."""
    levels = torch.from_numpy(np.array(image))
    return levels.unsqueeze(0) if levels.ndim == 2 else levels.movedim(-1, 0)


def in_unit(images: Tensor) -> Tensor:
    """Return uint8 as float32 in [0, 1], the same on every device."""
    return images.float().div(255)


def pick(images: Images, chosen: Tensor) -> Images:
    """Return some of the images; those in files stay there."""
    return images.only(chosen) if isinstance(images, LazyImages) else images[chosen]
