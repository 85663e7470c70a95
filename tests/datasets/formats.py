"""Tiny data in the published formats."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from lotterylib.datasets import CORRUPTIONS

CLASSES = {"cifar10": 10, "cifar100": 100}


class Python2(pickle._Pickler):
    """Writes what Python 2 wrote: texts and bytes alike as its 8-bit strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, obj):
        raw = obj if isinstance(obj, bytes) else obj.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)

    dispatch[bytes] = dispatch[str] = save_text


def python2(obj) -> bytes:
    out = io.BytesIO()
    Python2(out, protocol=2).dump(obj)
    return out.getvalue().replace(b"numpy._core.", b"numpy.core.")


def pixels(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 [count, 3, 32, 32] with a bar that tells the class, and labels [count]."""
    labels = np.arange(count) % classes
    images = np.random.default_rng(seed).integers(0, 150, (count, 3, 32, 32), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label % 3, 3 * (label % 10) : 3 * (label % 10) + 3] = 250
    return images, labels


def write_cifar(root: Path, name: str = "cifar10", train: int = 40, test: int = 20, dump=python2) -> dict:
    """``root/cifar-10-batches-py`` with five training batches, or ``root/cifar-100-python``: split → (images, labels)."""
    classes, arrays = CLASSES[name], {}
    folder = root / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        arrays[split] = images, labels = pixels(count, classes, seed=len(split))
        rows, targets = images.reshape(count, -1), labels.tolist()
        if classes == 10:
            parts = 5 if split == "train" else 1
            for i in range(parts):
                part = slice(i * count // parts, (i + 1) * count // parts)
                batch = {
                    "batch_label": f"{split} {i + 1}",
                    "labels": targets[part],
                    "data": rows[part],
                    "filenames": [f"{k}.png" for k in range(count)[part]],
                }
                path = folder / (f"data_batch_{i + 1}" if split == "train" else "test_batch")
                path.write_bytes(dump(batch))
        else:
            batch = {"fine_labels": targets, "coarse_labels": [t // 5 for t in targets], "data": rows}
            (folder / split).write_bytes(dump(batch))
    names = [f"class {c}" for c in range(classes)]
    if classes == 10:
        (folder / "batches.meta").write_bytes(dump({"label_names": names, "num_vis": 3072}))
    else:
        (folder / "meta").write_bytes(dump({"fine_label_names": names, "coarse_label_names": names[:20]}))
    return arrays


def write_svhn(root: Path, train: int = 30, test: int = 20) -> dict:
    """The two ``.mat`` files of ``root/svhn``; the digit 0 is called 10, as published."""
    (root / "svhn").mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        arrays[split] = images, labels = pixels(count, 10, seed=100 + count)
        y = np.where(labels == 0, 10, labels).astype(np.uint8).reshape(-1, 1)
        savemat(root / "svhn" / f"{split}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": y})
    return arrays


def write_cifar_c(root: Path, name: str, test: tuple[np.ndarray, np.ndarray]) -> Path:
    """``root/CIFAR-10-C`` (or 100) of these test images: severities one after the other, each darker than the last."""
    folder = root / f"CIFAR-{CLASSES[name]}-C"
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = test
    levels = [(images * (1 - 0.15 * severity)).astype(np.uint8) for severity in range(1, 6)]
    for i, corruption in enumerate(CORRUPTIONS):
        np.save(folder / f"{corruption}.npy", np.concatenate(levels).transpose(0, 2, 3, 1) // (1 + i % 3))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return folder


def write_imagenet_o(root: Path, classes: int = 3, per_class: int = 2) -> None:
    """``root/imagenet-o``: JPEG files of several sizes and kinds in folders named by WordNet id."""
    dice = np.random.default_rng(0)
    for c in range(classes):
        folder = root / "imagenet-o" / f"n{c:08d}"
        folder.mkdir(parents=True)
        for i in range(per_class):
            shape = (40 + 8 * i, 60, 3) if (c + i) % 2 else (64, 48)
            level = dice.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(level).save(folder / f"n{c:08d}_{i}.JPEG", quality=95)
