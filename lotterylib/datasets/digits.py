"""scikit-learn's 1,797 handwritten digits, 8×8 pixels in 17 grey levels, brought to 32×32."""

from __future__ import annotations

from pathlib import Path

import torch

from ..rng import generator
from .base import Dataset


def load(root: Path | None = None) -> Dataset:
    """1,197 training, 200 validation and 400 test images, split with a fixed seed; needs scikit-learn, no download."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = torch.from_numpy(source.images).float().div(16).unsqueeze(1)
    images = torch.nn.functional.interpolate(images, size=32, mode="bilinear").clamp(0, 1)
    labels = torch.from_numpy(source.target).long()
    order = torch.randperm(len(labels), generator=generator(0, "digits"))
    parts = {"train": order[:1197], "val": order[1197:1397], "test": order[1397:]}
    return Dataset(
        name="digits",
        class_names=tuple(str(d) for d in range(10)),
        **{split: (images[chosen], labels[chosen]) for split, chosen in parts.items()},
    )
