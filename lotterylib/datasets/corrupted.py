"""Corrupted copies of data sets: generated once and kept, or read from the published archives.

CIFAR-10-C, CIFAR-100-C (doi.org/10.5281/zenodo.2535967, 3555552) and ImageNet-C (2235448) are read in the layouts
that their archives unpack to.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, MissingDataError, one_line
from ..files import check_is_file, write_whole
from .base import Dataset, Split, check_split, data_root, first_of_each_class
from .corruptions import CORRUPTIONS, SEVERITIES, VERSION, check_choice, corrupt
from .lazy import LazyImages
from .sources import Source, fetch

# values of the clean images of a part, and the images that a network answers at a time
PART, BATCH = 1 << 26, 100
_DIGEST = hashlib.sha256().digest_size


def parts(images: Tensor) -> list[slice]:
    """Return the parts in which many images are corrupted: what is in memory at a time, and in one file.

    >>> parts(torch.zeros(1000, 3, 1, 1)), len(parts(torch.zeros(1, 3, 224, 224).expand(1000, -1, -1, -1)))
    ([slice(0, 1000, None)], 3)
    """
    size = max(1, PART // images[0].numel() // BATCH) * BATCH
    return [slice(i, min(i + size, len(images))) for i in range(0, len(images), size)]


def generate(images: Tensor, corruptions: Sequence[str], folder: Path, seed: int = 0) -> None:
    """Make the files of these corruptions that are not there yet, together with other processes that need the same: each
    takes parts that no other is at, and waits at last for those that others are at.

    Raises:
        OSError: where the folder cannot be written.
    """
    todo = {}
    for corruption in corruptions:
        for part in parts(images):
            path = _path(folder, images[part], corruption, seed, part.start)
            if not path.exists():
                todo[path] = corruption, part
    for patient in (False, True):
        for path, (corruption, part) in list(todo.items()):
            with _held(path, patient) as mine:
                if mine:
                    del todo[path]
                    if not path.exists():
                        _make(path, images[part], corruption, seed, part.start)


def corrupted(
    images: Tensor, corruption: str, *, folder: Path | None = None, seed: int = 0, first: int = 0
) -> Tensor:
    """Return images [N, C, H, W] under all severities of a corruption: float32 [5, N, C, H, W], as by ``corrupt``.

    With a ``folder`` they are generated once: kept there as 8-bit pixels behind their SHA-256, under a name that
    depends on the images, the corruption, the seed and the algorithm's version. A damaged file is generated anew.
    Processes may share the folder. ``first``: number of the first image, where these are a part of more.

    Raises:
        OSError: where the folder cannot be written; and what ``corrupt`` raises.
    """
    if folder is None:
        return _severities(images, corruption, seed, first)
    path = _path(folder, images, corruption, seed, first)
    pixels = _read(path, len(SEVERITIES) * images.numel())
    if pixels is None:
        pixels = _make(path, images, corruption, seed, first)
    return torch.from_numpy(pixels).view(len(SEVERITIES), *images.shape).float().div(255).to(images.device)


def _severities(images: Tensor, corruption: str, seed: int, first: int) -> Tensor:
    return torch.stack([corrupt(images, corruption, s, seed, None, first) for s in SEVERITIES])


def _path(folder: Path, images: Tensor, corruption: str, seed: int, first: int) -> Path:
    begin = f" {first}" if first else ""
    key = hashlib.sha256(f"{corruption} {seed} {VERSION} {list(images.shape)} {images.dtype}{begin}".encode())
    key.update(images.contiguous().cpu().numpy().data)
    return folder / f"{corruption}-{key.hexdigest()[:16]}.pixels"


def _make(path: Path, images: Tensor, corruption: str, seed: int, first: int) -> np.ndarray:
    pixels = (_severities(images, corruption, seed, first) * 255).round().byte().cpu().numpy()
    write_whole(path, hashlib.sha256(pixels.data).digest() + pixels.tobytes())
    return pixels


@contextlib.contextmanager
def _held(path: Path, patient: bool) -> Iterator[bool]:
    """Hold the lock of a file that is to be made, which ends with the process; give False while another holds it, unless
    ``patient``."""
    try:
        import fcntl
    # no such locks on Windows
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".lock")
    with open(beside, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            # whoever waited for it finds the file made
            beside.unlink(missing_ok=True)


def _read(path: Path, size: int) -> np.ndarray | None:
    """Return the pixels of a kept file, or None if there is none or it is damaged."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        return None
    digest, pixels = content[:_DIGEST], content[_DIGEST:]
    whole = len(pixels) == size and hashlib.sha256(pixels.data).digest() == digest.tobytes()
    return pixels if whole else None


def read_cifar_c(folder: Path, corruption: str, severity: int, limit: int | None = None) -> Split:
    """Return one severity of CIFAR-10-C or CIFAR-100-C: images float32 [10,000, 3, 32, 32], labels int64 [10,000].

    ``folder`` holds ``<corruption>.npy``, uint8 [50,000, 32, 32, 3] with the severities 1 to 5 one after the other, and
    ``labels.npy``.

    Raises:
        DataError: for a missing or malformed file, in one line that says where it should be.
    """
    check_choice(corruption, severity)
    pixels = _load_npy(folder / f"{corruption}.npy")
    labels = _load_npy(folder / "labels.npy")
    count = len(pixels) // len(SEVERITIES)
    if pixels.dtype != np.uint8 or pixels.shape != (5 * count, 32, 32, 3) or count == 0:
        wanted = "uint8 [50000, 32, 32, 3] (five severities one after the other)"
        raise DataError(
            f"{folder / f'{corruption}.npy'}: want {wanted}, got {pixels.dtype} {list(pixels.shape)}"
        )
    if labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{folder / 'labels.npy'}: want {len(pixels)} labels, as many as images, got {list(labels.shape)}"
        )
    block = slice((severity - 1) * count, severity * count)
    targets = torch.from_numpy(labels[block].astype(np.int64))
    chosen = _chosen(targets, limit)
    images = torch.from_numpy(pixels[block][chosen.numpy()]).permute(0, 3, 1, 2).float().div(255)
    split = images.contiguous(), targets[chosen]
    check_split(*split, classes=100, where=str(folder))
    return split


def read_imagenet_c(
    folder: Path, corruption: str, severity: int, limit: int | None = None, classes: int = 1000
) -> tuple[LazyImages, Tensor]:
    """Return one severity of ImageNet-C: images on disk (224 × 224 pixels, read when asked for) and labels int64 [N].

    ``folder`` holds ``<corruption>/<severity>/<wnid>/*.JPEG``, or the same inside the archives' four groups
    (``weather/fog/…``). Labels number the WordNet ids in sorted order, so all of the ``classes`` must be there.

    Raises:
        DataError: for missing folders, in one line that says what should be where.
    """
    check_choice(corruption, severity)
    inside = Path(corruption) / str(severity)
    found = [p for p in (folder / inside, *sorted(folder.glob(f"*/{inside}"))) if p.is_dir()]
    if not found:
        raise MissingDataError(
            f"ImageNet-C: no folder {folder / inside}; unpack the archive that holds {corruption} "
            f"(zenodo.org/records/2235448) into {folder}"
        )
    wnids = sorted(p.name for p in found[0].iterdir() if p.is_dir())
    if len(wnids) != classes:
        raise DataError(
            f"ImageNet-C: {found[0]} has {len(wnids)} class folders, it should have {classes}: unpack it again"
        )
    members = [
        (f"{w}/{path.name}", label)
        for label, w in enumerate(wnids)
        for path in sorted((found[0] / w).glob("*.JPEG"))
    ]
    if not members:
        raise DataError(f"ImageNet-C: no .JPEG files in the class folders of {found[0]}: unpack it again")
    names, labels = zip(*members, strict=True)
    targets = torch.tensor(labels)
    chosen = _chosen(targets, limit)
    return LazyImages(found[0], names).only(chosen), targets[chosen]


def _chosen(labels: Tensor, limit: int | None) -> Tensor:
    return torch.arange(len(labels)) if limit is None else first_of_each_class(labels, limit)


def _load_npy(path: Path) -> np.ndarray:
    try:
        check_is_file(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise MissingDataError(
            f"{path} is missing: unpack CIFAR-10-C.tar (zenodo.org/records/2535967) or CIFAR-100-C.tar "
            f"(zenodo.org/records/3555552; 2.9 GB each) so that it is there"
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is damaged ({one_line(error)}): unpack it again") from None


@dataclass(frozen=True)
class Published:
    """A published archive of corrupted test images: its ``name`` is that of its folder, ``read`` reads a severity."""

    name: str
    read: Callable[[Path, str, int, int | None], Split]
    source: Source


def published_for(data: Dataset) -> Published | None:
    """Return the published archive of these data, if there is one and its folder is where ``data.root`` says."""
    archive = data.archive
    return archive if archive and archive.source.path(data_root(data.root)).is_dir() else None


def _cifar_c(name: str, record: str, md5: str) -> Published:
    url = f"https://zenodo.org/records/{record}/files/{name}.tar"
    source = Source(
        title=name,
        place=name,
        size="2.9 GB",
        fetch=f"fetch and unpack {url}",
        check=lambda root: _check_all(partial(read_cifar_c, root / name)),
        download=lambda root: fetch(url, md5, root),
    )
    return Published(name, read_cifar_c, source)


def _imagenet_c() -> Published:
    url, place = "https://zenodo.org/records/2235448/files", "ImageNet-C"
    archives = {
        "noise": "e80562d7f6c3f8834afb1ecf27252745",
        "blur": "2d8e81fdd8e07fef67b9334fa635e45c",
        "weather": "33ffea4db4d93fe4a428c40a6ce0c25d",
        "digital": "89157860d7b10d5797849337ca2e5c03",
        "extra": "d492dfba5fc162d8ec2c3cd8ee672984",
    }
    source = Source(
        title=place,
        place=place,
        size="50 GB, and 16 GB for the held-out corruptions in extra.tar",
        fetch=f"fetch and unpack {', '.join(f'{a}.tar' for a in archives)} of {url.removesuffix('/files')}",
        check=lambda root: _check_all(partial(read_imagenet_c, root / place), CORRUPTIONS[:15]),
        download=lambda root: [fetch(f"{url}/{a}.tar", md5, root, place) for a, md5 in archives.items()],
    )
    return Published(place, read_imagenet_c, source)


def _check_all(read: Callable[[str, int, int], object], corruptions: Sequence[str] = CORRUPTIONS) -> None:
    """Read an image of every corruption and severity."""
    for corruption in corruptions:
        for severity in SEVERITIES:
            read(corruption, severity, 1)


CIFAR10_C = _cifar_c("CIFAR-10-C", "2535967", "56bf5dcef84df0e2308c6dcbcbbd8499")
CIFAR100_C = _cifar_c("CIFAR-100-C", "3555552", "11f0ed0f1191edbf9fa23466ae6021d3")
IMAGENET_C = _imagenet_c()
