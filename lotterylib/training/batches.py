"""The images of a step, and how they look: all of it a function of (seed, step), or of (seed, epoch, image).

Images in memory are moved to the device once and augmented there, a batch at a time. Images in files are read, cut and
flipped one by one in worker processes that run ahead of the training.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..datasets import LazyImages, Split
from ..datasets.lazy import in_unit, pixels
from ..errors import DataError, LotteryError, SettingError, one_line
from ..files import check_is_file
from ..machine.devices import processors
from ..rng import generator, isolated
from .decoders import Decoder, decoder
from .recipe import Recipe

SHARED = "/dev/shm"
# seconds that a batch of images in files may take
PATIENCE = 900
# bytes that a photograph has at most, for the memory that is shared
LARGE = 1 << 20


def batch_indices(step: int, count: int, recipe: Recipe, seed: int) -> Tensor:
    """Return the indices of the images of a step: int64 [batch], from a fresh permutation each epoch.

    >>> batch_indices(0, 6, Recipe(batch_size=3), seed=0)
    tensor([5, 4, 2])
    """
    epoch, place = divmod(step, recipe.steps_per_epoch(count))
    order = _order(seed, epoch, count)
    return order[place * recipe.batch_size : (place + 1) * recipe.batch_size]


def augment(images: Tensor, recipe: Recipe, seed: int, step: int, flipped: Tensor | None = None) -> Tensor:
    """Crop (after zero padding) and mirror a whole batch [N, C, H, W] at random, in one gather.

    ``flipped``: the images to mirror, boolean [N], in place of random ones.
    """
    if not recipe.crop_padding and not recipe.flip:
        return images
    return _moved(
        images, recipe.crop_padding, *_moves(len(images), recipe, seed, step, flipped).to(images.device)
    )


def _moves(count: int, recipe: Recipe, seed: int, step: int, flipped: Tensor | None) -> Tensor:
    """Return how a batch is moved: int64 [3, count], the row and the column that each crop begins at, and 1 for mirrored."""
    random = generator(seed, "augment", step)
    corners = torch.randint(0, 2 * recipe.crop_padding + 1, (2, count), generator=random)
    if not recipe.flip:
        flipped = torch.zeros(count)
    elif flipped is None:
        flipped = torch.rand(count, generator=random) < 0.5
    return torch.cat([corners, flipped[None].long()])


def _moved(images: Tensor, pad: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    count, _, height, width = images.shape
    each, rows, columns = (torch.arange(n, device=images.device) for n in (count, height, width))
    columns = torch.where(mirrored[:, None] > 0, width - 1 - columns, columns) + left[:, None]
    padded = nn.functional.pad(images, (pad, pad, pad, pad))
    # advanced indices around a slice put the channels last: [N, H, W, C]
    return padded[each[:, None, None], :, (rows + top[:, None])[:, :, None], columns[:, None, :]].movedim(
        -1, 1
    )


def alternating(chosen: Tensor, epoch: int, count: int, seed: int) -> Tensor:
    """Return which of the ``chosen`` images (int64 [N], of ``count``) are mirrored in an epoch, if every image is in every
    other one: boolean [N]. Half of them, drawn at random, begin mirrored."""
    return _begins_mirrored(seed, count)[chosen] ^ (epoch % 2 == 1)


def training_batches(
    split: Split,
    recipe: Recipe,
    seed: int,
    steps: range,
    device: torch.device,
    *,
    share: slice = slice(None),
    workers: int | None = None,
    views_on_device: str | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented images and labels of each step, on the device.

    Args:
        share: The part of each batch that is wanted.
        workers: Processes that read images in files; None: one per processor, 0: read them here.
        views_on_device: Parts of images in files are brought to size on the device, and decoded there, where it can, by the
            decoder of this name; the same parts, with levels that differ by rounding.

    Raises:
        SettingError: For a decoder that is not installed, or for ``crop="resized"`` of images that are in memory.
    """
    images, labels = split
    if isinstance(images, LazyImages):
        views = Views(images, recipe, seed, share)
        if views_on_device and recipe.crop == "resized":
            encoded = decoder(views_on_device).works_on(device)
            views = Cuts(images, recipe, seed, share, views_on_device, encoded)
        return _read_ahead(views, labels.cpu(), steps, device, workers)
    if recipe.crop == "resized":
        raise SettingError(
            "crop 'resized' cuts from images in their files; these are in memory: use crop 'padded'"
        )
    return _in_memory(images.to(device), labels.to(device), recipe, seed, steps, share)


def evaluation_batches(
    images: Tensor | LazyImages, size: int, workers: int | None = None, pin: bool = False
) -> Iterator[Tensor]:
    """Yield consecutive pieces of at most ``size`` images [n, C, H, W]: float32 of a tensor, and of images in files uint8
    (``in_unit`` makes numbers of them), a quarter of that on the way. These are read by ``workers``, as in
    ``training_batches``; ``pin`` puts them where a GPU fetches them faster."""
    if isinstance(images, Tensor):
        yield from images.split(size)
        return
    pieces = [range(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    largest = size * images[0].numel() if pieces else 0
    yield from _from_processes(Levels(images), pieces, _workers(workers, len(pieces)), largest, pin)


@dataclass(frozen=True)
class Levels(Dataset):
    """``levels[range]``: those images as evaluation sees them, uint8 [n, C, H, W]."""

    images: LazyImages

    def __getitem__(self, chosen: range) -> Tensor:
        return torch.stack([pixels(self.images.view(i)) for i in chosen])


@dataclass(frozen=True)
class Views(Dataset):
    """``views[step]``: the augmented images of a step's batch (its ``share``), uint8 [n, 3, size, size]."""

    images: LazyImages
    recipe: Recipe
    seed: int
    share: slice

    def __getitem__(self, step: int) -> Tensor:
        return torch.stack([self._view(*each) for each in self._chosen(step)])

    def _chosen(self, step: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the number of each image of a step, the epoch, and whether an alternating flip mirrors it."""
        count = len(self.images)
        epoch = step // self.recipe.steps_per_epoch(count)
        chosen = batch_indices(step, count, self.recipe, self.seed)[self.share]
        for index, mirrored in zip(
            chosen.tolist(), alternating(chosen, epoch, count, self.seed).tolist(), strict=True
        ):
            yield index, epoch, mirrored

    def _view(self, index: int, epoch: int, mirrored: bool) -> Tensor:
        from torchvision.transforms import v2

        recipe, size = self.recipe, self.images.size
        # transforms draw from the global generator
        with isolated(self.seed, "augment", epoch, index):
            if recipe.crop == "resized":
                image = v2.RandomResizedCrop(size, antialias=True)(self.images.open(index))
            else:
                image = v2.RandomCrop(size, padding=recipe.crop_padding)(self.images.view(index))
            if recipe.flip is True:
                mirrored = bool(torch.rand(()) < 0.5)
        return pixels(v2.functional.horizontal_flip(image) if recipe.flip and mirrored else image)


@dataclass(frozen=True)
class Cuts(Views):
    """``cuts[step]``: what the device makes the images of ``Views`` of (``resized``), with ``crop="resized"``: uint8 [bytes], in
    front a row per image (int64 [7]: bytes, whether a JPEG file, top, left, height and width of the part, whether mirrored).
    ``encoded``: JPEG files go as they are, and the ``decoder`` of this name decodes them on the device."""

    decoder: str = "torchvision"
    encoded: bool = False

    def __getitem__(self, step: int) -> Tensor:
        rows, contents = zip(*[self._cut(*each) for each in self._chosen(step)], strict=True)
        return torch.cat([torch.tensor(rows).view(-1).view(torch.uint8), *contents])

    def _cut(self, index: int, epoch: int, mirrored: bool) -> tuple[tuple[int, ...], Tensor]:
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(self.images.size, antialias=True)
        image, file = self._opened(index)
        # as ``Views`` draws
        with isolated(self.seed, "augment", epoch, index):
            # it was private before torchvision 0.21
            draw = getattr(crop, "make_params", None) or getattr(crop, "_get_params")  # noqa: B009
            place = draw([image])
            if self.recipe.flip is True:
                mirrored = bool(torch.rand(()) < 0.5)
        top, left, height, width = (place[name] for name in ("top", "left", "height", "width"))
        content = file
        if content is None:
            content = pixels(image.crop((left, top, left + width, top + height))).reshape(-1)
        return (
            len(content),
            file is not None,
            top,
            left,
            height,
            width,
            bool(self.recipe.flip and mirrored),
        ), content

    def _opened(self, index: int) -> tuple[Image.Image, Tensor | None]:
        """Return the image, decoded unless the bytes of its file come with it."""
        reader, path = self.images.reader, self.images.path(index)
        if self.encoded and reader.channels == 3 and not reader.upright:
            # what is wrong with a file, reading it as usual says
            with contextlib.suppress(Exception):
                check_is_file(path)
                with Image.open(path) as header:
                    if header.format == "JPEG" and header.mode in ("RGB", "L"):
                        return header, torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        return self.images.open(index), None


def resized(
    packed: Tensor, count: int, channels: int, size: int, device: torch.device, by: Decoder
) -> Tensor:
    """Return the ``count`` images of a ``Cuts``: uint8 [count, channels, size, size], cut out, resized and mirrored on the
    device.

    Raises:
        DataError: For a file that the device cannot decode.
    """
    from torchvision.transforms.v2.functional import resize

    head = count * 7 * 8
    rows = packed[:head].view(torch.int64).view(count, 7).tolist()
    lengths = [row[0] for row in rows]
    files = [file for file, row in zip(packed[head:].split(lengths), rows, strict=True) if row[1]]
    places = [(row[2], row[3], row[4], row[5]) for row in rows if row[1]]
    try:
        decoded = iter(by.parts(files, places, device) if files else [])
    except RuntimeError as error:
        raise DataError(
            f"a JPEG file of this batch cannot be decoded on {device} ({one_line(error)}); which, training without "
            "views on the device may say"
        ) from None
    there = (
        []
        if len(files) == count
        else packed[head:].to(device, non_blocking=device.type == "cuda").split(lengths)
    )
    images = []
    for i, (_, encoded, _, _, height, width, mirrored) in enumerate(rows):
        image = next(decoded) if encoded else there[i].view(channels, height, width)
        image = resize(image, [size, size], antialias=True)
        images.append(image.flip(-1) if mirrored else image)
    return torch.stack(images)


def _in_memory(
    images: Tensor, labels: Tensor, recipe: Recipe, seed: int, steps: range, share: slice
) -> Iterator[tuple[Tensor, Tensor]]:
    count, epoch = len(labels), recipe.steps_per_epoch(len(labels))
    for begin in range(steps.start - steps.start % epoch, steps.stop, epoch):
        mine = range(max(begin, steps.start), min(begin + epoch, steps.stop))
        # of a whole epoch at once, for what goes to a GPU makes it wait
        plan = torch.stack([_plan(step, count, recipe, seed) for step in mine]).to(images.device)
        for chosen, *moves in plan[:, :, share]:
            batch = images[chosen]
            yield _moved(batch, recipe.crop_padding, *moves) if moves else batch, labels[chosen]


def _plan(step: int, count: int, recipe: Recipe, seed: int) -> Tensor:
    """Return a step's images and how they are moved (``_moves``; nothing where they are not): int64 [4 or 1, batch]."""
    chosen, flipped = batch_indices(step, count, recipe, seed), None
    if not recipe.crop_padding and not recipe.flip:
        return chosen[None]
    if recipe.flip == "alternate":
        flipped = alternating(chosen, step // recipe.steps_per_epoch(count), count, seed)
    return torch.cat([chosen[None], _moves(len(chosen), recipe, seed, step, flipped)])


def _read_ahead(
    views: Views, labels: Tensor, steps: range, device: torch.device, workers: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    cuda = device.type == "cuda"
    _, channels, *sides = views.images.shape
    # a photograph, where it is cut on the device
    largest = views.recipe.batch_size * (LARGE if isinstance(views, Cuts) else channels * math.prod(sides))
    read = _from_processes(views, steps, _workers(workers, len(steps)), largest, pin=cuda)
    for step, inputs in zip(steps, read, strict=True):
        chosen = batch_indices(step, len(labels), views.recipe, views.seed)[views.share]
        truth = labels[chosen].to(device, non_blocking=cuda)
        if isinstance(views, Cuts):
            images = resized(inputs, len(chosen), channels, views.images.size, device, decoder(views.decoder))
        else:
            images = inputs.to(device, non_blocking=cuda)
        yield in_unit(images), truth


def _from_processes(source: Any, keys: Sequence, workers: int, largest: int, pin: bool) -> Iterator[Tensor]:
    """Yield ``source[key]`` of each key, of at most ``largest`` bytes, in order, made by processes that keep two ahead each.
    One that is not made in ``PATIENCE`` seconds is an error."""
    piped = workers > 0 and not _fits_shared_memory(2 * workers * largest)
    # a generator of its own, else it would draw from the caller's
    loader = DataLoader(
        _ErrorsAsValues(source, piped), batch_size=None, sampler=keys, num_workers=workers, pin_memory=pin and not piped,
        timeout=PATIENCE if workers else 0, generator=torch.Generator(),
        collate_fn=_as_it_is,
    )  # fmt: skip
    for made in loader:
        if isinstance(made, LotteryError):
            raise made
        yield torch.from_numpy(made) if piped else made


def _as_it_is(made: Any) -> Any:
    return made


def _fits_shared_memory(needed: int) -> bool:
    """Return whether processes may hand over so many bytes in shared memory, of which a container often has 64 MB for all
    that runs in it: they would wait for ever for more. Through pipes it takes a copy."""
    # macOS and Windows have it elsewhere
    if not os.path.isdir(SHARED) or needed <= shutil.disk_usage(SHARED).free // 8:
        return True
    print(
        f"{SHARED} is too small for batches of images: they come through pipes, which is slower",
        file=sys.stderr,
    )
    return False


@dataclass(frozen=True)
class _ErrorsAsValues(Dataset):
    """Returns errors: raised in a worker they would arrive with its traceback as their message."""

    source: Any
    # arrays travel by pipes, tensors in shared memory
    as_arrays: bool

    def __getitem__(self, key: Any) -> Any:
        try:
            made = self.source[key]
            return made.numpy() if self.as_arrays else made
        except LotteryError as error:
            return error


def _workers(wanted: int | None, pieces: int) -> int:
    """Return how many processes read; one that may have no children (as Dask's workers by default) reads for itself."""
    if wanted is None:
        wanted = 0 if multiprocessing.current_process().daemon else processors()
    return min(wanted, pieces)


# one epoch's order at a time
@functools.lru_cache(maxsize=1)
def _order(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch))


@functools.lru_cache(maxsize=1)
def _begins_mirrored(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=generator(seed, "flip")) < 0.5
