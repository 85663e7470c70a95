"""Common corruptions of images (Hendrycks & Dietterich, 2019, arXiv:1903.12261): 15, and 4 held out for development.

The severities are the published ones (facts, from ``make_cifar_c.py`` and ``make_imagenet_c.py`` in the authors'
repository github.com/hendrycks/robustness): CIFAR-C's for images up to 64 pixels, ImageNet-C's for larger ones. The
operations are written anew for batches, grey and colour, any size. Where they depart from the published pictures:

- frost is a procedural texture, as bright, contrasty and blue as the photographs that it stands for;
- glass blur swaps pixels truly, where the original copies them on colour images (an aliasing of views);
- spatter finds the drops' outlines by erosion instead of Canny's detector;
- motion blur moves by whole pixels, as ImageMagick does, but stops at four standard deviations;
- elastic transforms sample without OpenCV's rounding of coordinates to 1/32 pixel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import DataError, SettingError, UnknownNameError
from ..rng import derive

# raised when the same arguments give other images; kept files of before are then not used
VERSION = 1

# parameters of severities 1 to 5, in the order that each function below unpacks them.
CIFAR_C: dict[str, Sequence[Any]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, "water"), (0.65, 0.1, 0.8, 0.7, 0.5, "water"), (0.65, 0.3, 1, 0.69, 0.5, "water"),
        (0.65, 0.1, 0.7, 0.69, 0.6, "mud"), (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}  # fmt: skip
IMAGENET_C: dict[str, Sequence[Any]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    # published in units of 244 pixels for images of 224
    "elastic_transform": tuple(
        tuple(244 / 224 * share for share in row)
        for row in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, "water"), (0.65, 0.3, 3, 0.68, 0.6, "water"), (0.65, 0.3, 2, 0.68, 0.5, "water"),
        (0.65, 0.3, 1, 0.65, 1.5, "mud"), (0.67, 0.4, 1, 0.65, 1.5, "mud"),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}  # fmt: skip

# the 15 common ones, then the 4 held out
CORRUPTIONS = tuple(CIFAR_C)
SEVERITIES = (1, 2, 3, 4, 5)

_SCALES = {"cifar-c": CIFAR_C, "imagenet-c": IMAGENET_C}
# pixels: the longer side of what gets CIFAR-C's severities, the shorter side of all, and those in work at a time
_SMALL, _LEAST, _CHUNK = 64, 8, 1 << 22
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)[:, None, None]


def corrupt(
    images: Tensor,
    corruption: str,
    severity: int,
    seed: int = 0,
    scale: Literal["cifar-c", "imagenet-c"] | None = None,
    first: int = 0,
) -> Tensor:
    """Return images under one corruption, as 8-bit pixels hold them: float32 in {0, 1/255, …, 1}, of the shape given.

    Args:
        images: Float32 [N, C, H, W] or [C, H, W] in [0, 1], grey (C = 1) or colour (C = 3).
        severity: 1 to 5.
        seed: With the corruption, the severity and i it decides all that is drawn for image i.
        scale: Whose severities; None takes CIFAR-C's up to 64 pixels and ImageNet-C's above.
        first: Number of the first image, where these are a part of more.

    Raises:
        UnknownNameError: for the corruption or the scale.
        SettingError: for the severity.
        DataError: for images of another form.

    Example:
        >>> corrupt(torch.full((1, 8, 8), 0.25), "brightness", severity=5).unique()
        tensor([0.5490])
    """
    check_choice(corruption, severity)
    if scale is not None and scale not in _SCALES:
        raise UnknownNameError("scale of severities", scale, _SCALES)
    _check(images)
    clean = images.reshape(-1, *images.shape[-3:]).contiguous().cpu().numpy()
    small = max(clean.shape[-2:]) <= _SMALL
    parameters = _SCALES[scale or ("cifar-c" if small else "imagenet-c")][corruption][severity - 1]
    result = np.empty_like(clean)
    step = max(1, _CHUNK // clean[0].size)
    for start in range(0, len(clean), step):
        part = clean[start : start + step]
        numbers = range(first + start, first + start + len(part))
        random = _Generators(seed, corruption, severity, numbers)
        changed = _FUNCTIONS[corruption](part, parameters, random)
        result[start : start + step] = np.rint(np.clip(changed, 0, 1) * 255) / np.float32(255)
    return torch.from_numpy(result).view(images.shape).to(images.device)


def spelled(corruption: str) -> str:
    """Return what readers call a corruption.

    Example:
        >>> spelled("zoom_blur"), spelled("gaussian_noise"), spelled("jpeg_compression")
        ('zoom blur', 'Gaussian noise', 'JPEG compression')
    """
    return corruption.replace("_", " ").replace("gaussian", "Gaussian").replace("jpeg", "JPEG")


def check_choice(corruption: str, severity: int) -> None:
    """Raise ``UnknownNameError`` or ``SettingError`` unless there are such a corruption and severity."""
    if corruption not in CORRUPTIONS:
        raise UnknownNameError("corruption", corruption, CORRUPTIONS)
    if isinstance(severity, bool | float) or severity not in SEVERITIES:
        raise SettingError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")


def _check(images: Tensor) -> None:
    shape = list(images.shape)
    if images.dtype != torch.float32 or images.ndim not in (3, 4) or images.shape[-3] not in (1, 3):
        raise DataError(
            f"images must be float32 [N, C, H, W] or [C, H, W] with 1 or 3 channels, got {images.dtype} {shape}"
        )
    if images.numel() == 0:
        raise DataError("no images to corrupt")
    if min(shape[-2:]) < _LEAST:
        raise DataError(f"images must be at least {_LEAST} pixels high and wide, got {shape}")
    if not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"pixels must lie in [0, 1], got {images.min():.3g} to {images.max():.3g}")


class _Generators:
    """One random generator for each image of a batch; draws are stacked to [n, …]."""

    def __init__(self, seed: int, corruption: str, severity: int, numbers: range):
        self._of = seed, corruption, severity
        self._numbers = numbers

    @cached_property
    def _generators(self) -> list[np.random.Generator]:
        # several corruptions draw nothing
        seed, corruption, severity = self._of
        seeds = (derive(seed, "corruption", corruption, severity, i) for i in self._numbers)
        return [np.random.default_rng(s) for s in seeds]

    def normal(self, *shape: int) -> np.ndarray:
        return np.stack([g.standard_normal(shape, dtype=np.float32) for g in self._generators])

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        return np.stack([g.uniform(low, high, shape).astype(np.float32) for g in self._generators])

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        return np.stack([g.integers(low, high, shape) for g in self._generators])

    def poisson(self, means: np.ndarray) -> np.ndarray:
        return np.stack([g.poisson(m) for g, m in zip(self._generators, means, strict=True)])


# --- noise


def _gaussian_noise(x: np.ndarray, std: float, random: _Generators) -> np.ndarray:
    return x + std * random.normal(*x.shape[1:])


def _shot_noise(x: np.ndarray, photons: float, random: _Generators) -> np.ndarray:
    return random.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, share: float, random: _Generators) -> np.ndarray:
    lot = random.uniform(0, 1, *x.shape[1:])
    # half of the struck values turn white, half black
    return np.where(lot < share, lot < share / 2, x)


def _speckle_noise(x: np.ndarray, std: float, random: _Generators) -> np.ndarray:
    return x + x * std * random.normal(*x.shape[1:])


# --- blur


def _gaussian_blur(x: np.ndarray, sigma: float, random: _Generators | None = None) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest")


def _defocus_blur(x: np.ndarray, c: tuple[float, float], random: _Generators) -> np.ndarray:
    kernel = torch.from_numpy(_disk(*c))
    reach = len(kernel) // 2
    n, channels, height, width = x.shape
    padded = F.pad(torch.from_numpy(x).view(n * channels, 1, height, width), (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None]).view(x.shape).numpy()


def _disk(radius: float, alias_blur: float) -> np.ndarray:
    """Return a disk of sum 1 whose edge is softened by a Gaussian cut off after one pixel (two for large disks)."""
    cut = 1 if radius <= 8 else 2
    reach = math.ceil(radius) + cut
    steps = np.arange(-reach, reach + 1)
    disk = (steps**2 + steps[:, None] ** 2 <= radius**2).astype(float)
    soft = np.exp(-(np.arange(-cut, cut + 1) ** 2) / (2 * alias_blur**2))
    for axis in (0, 1):
        disk = scipy.ndimage.correlate1d(disk, soft / soft.sum(), axis, mode="constant")
    return (disk / disk.sum()).astype(np.float32)


def _glass_blur(x: np.ndarray, c: tuple[float, int, int], random: _Generators) -> np.ndarray:
    sigma, reach, rounds = c
    n, channels, height, width = x.shape
    # pixel (h, w) of all images, last to first: each swaps places with a neighbour of its own
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    here = np.add.outer(np.array(rows) * width, columns).ravel()
    moves = random.integers(-reach, reach, rounds, len(here), 2)
    # [rounds, places, n], as flat offsets
    partners = np.moveaxis(moves[..., 0] * width + moves[..., 1], 0, -1)
    source = np.tile(np.arange(height * width)[:, None], n)
    image = np.arange(n)
    waves = _waves(len(rows), len(columns), reach)
    for offsets in partners:
        for wave in waves:
            one, other = here[wave], here[wave, None] + offsets[wave]
            moved = source[other, image]
            source[other, image] = source[one]
            source[one] = moved
    soft = _gaussian_blur(x, sigma).reshape(n, channels, -1)
    shuffled = np.take_along_axis(soft, source.T[:, None], axis=2).reshape(x.shape)
    return _gaussian_blur(shuffled, sigma)


def _waves(rows: int, columns: int, reach: int) -> list[np.ndarray]:
    """Return the places of a grid, numbered row by row, in groups: those of a group are too far apart to meet when each swaps
    with one at most ``reach`` away, and group after group gives what place after place gives."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    wave = column + row * (2 * reach + 1)
    order = np.argsort(wave, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(wave[order])) + 1)


def _motion_blur(x: np.ndarray, c: tuple[int, float], random: _Generators) -> np.ndarray:
    return _smear(x, *c, degrees=random.uniform(-45, 45))


def _smear(x: np.ndarray, radius: float, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """Return a one-sided Gaussian average of each image along its own direction, in whole pixels, borders repeated."""
    taps = np.arange(min(2 * radius, math.ceil(4 * sigma)) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2)).astype(np.float32)
    angle = np.deg2rad(degrees)[:, None]
    down, right = (np.ceil(taps * f(angle) - 0.5).astype(int) + taps[-1] for f in (np.sin, np.cos))
    padded = np.pad(x, ((0, 0), (0, 0), (taps[-1],) * 2, (taps[-1],) * 2), mode="edge")
    height, width = x.shape[-2:]
    result = np.zeros_like(x)
    for image, source, ys, xs in zip(result, padded, down, right, strict=True):
        for weight, y, across in zip(weights / weights.sum(), ys, xs, strict=True):
            image += weight * source[:, y : y + height, across : across + width]
    return result


def _zoom_blur(x: np.ndarray, c: tuple[float, float], random: _Generators) -> np.ndarray:
    factors = np.arange(1, *c)
    return (x + sum(_zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def _zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """Return the middle of each image, enlarged linearly to the whole."""
    down, across = (_zoom_matrix(side, factor) for side in x.shape[-2:])
    return down @ x @ across.T


def _zoom_matrix(side: int, factor: float) -> np.ndarray:
    """Return zooming along one axis as a matrix: it is linear, so the identity shows all of it."""
    middle = math.ceil(side / factor)
    first = (side - middle) // 2
    enlarged = scipy.ndimage.zoom(
        np.eye(side, dtype=np.float32)[first : first + middle], (factor, 1), order=1
    )
    surplus = (len(enlarged) - side) // 2
    return enlarged[surplus : surplus + side]


# --- weather


def _snow(x: np.ndarray, c: tuple[float, ...], random: _Generators) -> np.ndarray:
    mean, std, zoom, threshold, radius, sigma, clean = c
    flakes = _zoomed(mean + std * random.normal(1, *x.shape[2:]), zoom)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = _smear(flakes, radius, sigma, random.uniform(-135, -45))
    whitened = np.maximum(x, 1.5 * _grey(x) + 0.5)
    return clean * x + (1 - clean) * whitened + flakes + flakes[..., ::-1, ::-1]


def _frost(x: np.ndarray, c: tuple[float, float], random: _Generators) -> np.ndarray:
    # over the photographs used for CIFAR-C and ImageNet-C the mean grey level goes from .48 to .80, the standard
    # deviation is about .14, and this is the mean colour.
    tint = np.array([0.90, 1.03, 1.10] if x.shape[1] == 3 else [1.0], dtype=np.float32)[:, None, None]
    ice = (random.uniform(0.48, 0.80, 1, 1, 1) + 0.14 * _crystals(random, *x.shape[2:])) * tint
    return c[0] * x + c[1] * ice.clip(0, 1)


def _crystals(random: _Generators, height: int, width: int) -> np.ndarray:
    """Return patches of ice with needles in three directions: [n, 1, height, width] of mean 0 and standard deviation 1."""
    side = max(height, width)
    patches = _plasma(random, side, decay=1.5)[:, None, :height, :width]
    seeds = (random.normal(3, height, width) - 1.5).clip(0)
    length = max(2, side // 16)
    needles = [_smear(seeds[:, [i]], length, length, random.uniform(0, 360)) for i in range(3)]
    return _standardized(_standardized(patches) + _standardized(np.max(needles, axis=0)))


def _standardized(x: np.ndarray) -> np.ndarray:
    mean, std = (f(x, axis=(2, 3), keepdims=True) for f in (np.mean, np.std))
    return (x - mean) / np.maximum(std, 1e-6)


def _fog(x: np.ndarray, c: tuple[float, float], random: _Generators) -> np.ndarray:
    thickness, decay = c
    height, width = x.shape[2:]
    veil = _plasma(random, max(height, width), decay)[:, None, :height, :width]
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    return (x + thickness * veil) * brightest / (brightest + thickness)


def _plasma(random: _Generators, side: int, decay: float) -> np.ndarray:
    """Return fractal height maps in [0, 1] by the diamond-square algorithm on a torus: [n, m, m], m the next power of two.

    Places halfway between known ones get their mean and a random height; its range shrinks by ``decay``² from one
    scale to the next, so a larger ``decay`` is smoother.
    """
    size = 1 << (side - 1).bit_length()
    noise = random.uniform(-1, 1, size, size)
    heights = np.zeros_like(noise)
    step, reach = size, 1.0
    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        centres = (pairs + np.roll(pairs, -1, axis=2)) / 4 + reach * noise[:, half::step, half::step]
        heights[:, half::step, half::step] = centres
        beside = corners + np.roll(corners, -1, axis=2) + centres + np.roll(centres, 1, axis=1)
        heights[:, ::step, half::step] = beside / 4 + reach * noise[:, ::step, half::step]
        below = corners + np.roll(corners, -1, axis=1) + centres + np.roll(centres, 1, axis=2)
        heights[:, half::step, ::step] = below / 4 + reach * noise[:, half::step, ::step]
        step, reach = half, reach / decay**2
    low, high = (f(heights, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    return (heights - low) / (high - low)


def _brightness(x: np.ndarray, more: float, random: _Generators) -> np.ndarray:
    if x.shape[1] == 1:
        return x + more
    return _in_hsv(x, channel=2, change=lambda value: value + more)


def _grey(x: np.ndarray) -> np.ndarray:
    return x if x.shape[1] == 1 else (_LUMINANCE * x).sum(axis=1, keepdims=True)


def _in_hsv(x: np.ndarray, channel: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return colour images with one of hue, saturation and value changed."""
    # most users of the library never need it
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(x, channel_axis=1)
    hsv[:, channel] = change(hsv[:, channel]).clip(0, 1)
    return hsv2rgb(hsv, channel_axis=1)


# --- digital


def _contrast(x: np.ndarray, factor: float, random: _Generators) -> np.ndarray:
    mean = x.mean(axis=(2, 3), keepdims=True)
    return mean + factor * (x - mean)


def _elastic_transform(x: np.ndarray, c: tuple[float, float, float], random: _Generators) -> np.ndarray:
    """Apply a random affine map that moves three points, then a smooth random displacement of every pixel."""
    height, width = x.shape[2:]
    side = min(height, width)
    strength, smoothness, jitter = (share * side for share in c)
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    arm = side // 3
    points = np.array([width // 2, height // 2]) + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + random.uniform(-jitter, jitter, 3, 2)
    # [n, 3, 2], then [n, height, width, (x, y)]
    back = np.linalg.solve(np.concatenate([moved, np.ones((len(x), 3, 1))], axis=2), points[None])
    here = np.stack([across, down, np.ones_like(across)], axis=-1) @ back[:, None]
    result = _sampled(x, here[..., 0], here[..., 1])
    if strength == 0:
        return result
    noise = random.uniform(-1, 1, 2, height, width)
    shifts = strength * scipy.ndimage.gaussian_filter(
        noise, (0, 0, smoothness, smoothness), mode="reflect", truncate=3
    )
    return _sampled(result, across + shifts[:, 0], down + shifts[:, 1])


def _sampled(x: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return images read at other places (in pixels, [n, height, width]), linearly, mirrored at their borders."""
    height, width = x.shape[2:]
    grid = np.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], axis=-1).astype(np.float32)
    source, places = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(grid)
    return F.grid_sample(source, places, padding_mode="reflection", align_corners=False).numpy()


def _pixelate(x: np.ndarray, share: float, random: _Generators) -> np.ndarray:
    down, across = (_coarsened(side, int(side * share)) for side in x.shape[-2:])
    return down @ x @ across.T


def _coarsened(side: int, fewer: int) -> np.ndarray:
    """Return box-averaging ``side`` pixels to ``fewer`` and back along one axis as a matrix: linear, so the identity shows all of it."""
    shrunk = Image.fromarray(np.eye(side, dtype=np.float32)).resize((side, fewer), Image.Resampling.BOX)
    return np.asarray(shrunk.resize((side, side), Image.Resampling.BOX))


def _jpeg_compression(x: np.ndarray, quality: int, random: _Generators) -> np.ndarray:
    pixels = np.ascontiguousarray(np.rint(x * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
        image[:] = np.asarray(Image.open(file, formats=["JPEG"])).reshape(image.shape)
    return pixels.transpose(0, 3, 1, 2) / np.float32(255)


# --- held out


def _spatter(x: np.ndarray, c: tuple, random: _Generators) -> np.ndarray:
    mean, std, sigma, threshold, strength, liquid = c
    drops = _gaussian_blur(mean + std * random.normal(1, *x.shape[2:]), sigma)
    drops = np.where(drops < threshold, 0, drops)
    if liquid == "water":
        colour, cover = np.array([175, 238, 238]) / 255, strength * _glints(drops)
    else:
        colour, cover = np.array([63, 42, 20]) / 255, _gaussian_blur((drops > 0).astype(np.float32), strength)
        cover[cover < 0.8] = 0
        x = x * (1 - cover)
    colour = colour[None, :, None, None].astype(np.float32)
    return x + cover * (colour if x.shape[1] == 3 else _grey(colour))


def _glints(drops: np.ndarray) -> np.ndarray:
    """Return the shine of drops of water [n, 1, H, W]: embossed by the distance to their outlines; the brightest place is 1."""
    cross = scipy.ndimage.generate_binary_structure(2, 1)[None, None]
    inside = drops > 0
    outline = inside & ~scipy.ndimage.binary_erosion(inside, cross, border_value=1)
    # pixels; further than that counts the same
    far = 20
    distance = np.full(drops.shape, far, dtype=np.float32)
    # one transform serves the batch, since the other images are too far to be seen
    if outline.any():
        distance = np.minimum(scipy.ndimage.distance_transform_edt(~outline, sampling=(far, far, 1, 1)), far)
    smooth = scipy.ndimage.uniform_filter(distance, (0, 0, 3, 3), mode="mirror")
    relief = _equalized(np.floor(smooth).astype(int), far + 1)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)[None, None]
    relief = scipy.ndimage.correlate(relief, emboss, mode="mirror").clip(0, 255)
    shine = drops * scipy.ndimage.uniform_filter(relief, (0, 0, 3, 3), mode="mirror")
    return shine / np.maximum(shine.max(axis=(1, 2, 3), keepdims=True), 1e-6)


def _equalized(levels: np.ndarray, count: int) -> np.ndarray:
    """Equalise the histogram of integers in 0..count − 1 to 0..255, image by image."""
    # [n, count]
    below = np.stack([(levels <= k).mean(axis=(1, 2, 3)) for k in range(count)], axis=1)
    lowest = below[np.arange(len(levels)), levels.min(axis=(1, 2, 3))][:, None]
    lookup = 255 * (below - lowest).clip(0) / np.maximum(1 - lowest, 1e-6)
    flat = np.take_along_axis(lookup, levels.reshape(len(levels), -1), axis=1)
    return flat.reshape(levels.shape).astype(np.float32)


def _saturate(x: np.ndarray, c: tuple[float, float], random: _Generators) -> np.ndarray:
    """Leave grey images alone. A grey pixel of a colour image has hue 0, so added saturation reddens it, as published."""
    if x.shape[1] == 1:
        return x
    return _in_hsv(x, channel=1, change=lambda saturation: saturation * c[0] + c[1])


_FUNCTIONS: dict[str, Callable[[np.ndarray, Any, _Generators], np.ndarray]] = {
    f.__name__.removeprefix("_"): f
    for f in (
        _gaussian_noise, _shot_noise, _impulse_noise, _defocus_blur, _glass_blur, _motion_blur, _zoom_blur,
        _snow, _frost, _fog, _brightness, _contrast, _elastic_transform, _pixelate, _jpeg_compression,
        _speckle_noise, _gaussian_blur, _spatter, _saturate,
    )
}  # fmt: skip
