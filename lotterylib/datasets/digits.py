"""scikit-learn's 1,797 handwritten digits, 8×8 pixels in 17 grey levels, brought to 32×32."""

from __future__ import annotations

from pathlib import Path

import torch

from ..rng import generator
from .base import Dataset, DatasetBuilder, Shape, Split, register
from .concepts import SILHOUETTE


@register
class Digits(DatasetBuilder):
    """Split with a fixed seed; needs scikit-learn, no download."""

    name = "digits"
    title = "scikit-learn's digits"
    family = "handwritten digits"
    known_shape = Shape(1, 32, 10, 1197, 200, 400)
    usual_outliers = ("fashion-mini",)
    serves_as_outliers = True
    concept_kinds = DatasetBuilder.concept_kinds | SILHOUETTE

    def load(self, root: Path | None = None) -> Dataset:
        from sklearn.datasets import load_digits

        source = load_digits()
        images = torch.from_numpy(source.images).float().div(16).unsqueeze(1)
        images = torch.nn.functional.interpolate(images, size=32, mode="bilinear").clamp(0, 1)
        labels = torch.from_numpy(source.target).long()
        order = torch.randperm(len(labels), generator=generator(0, "digits"))
        train, val, test = ((images[chosen], labels[chosen]) for chosen in order.split([1197, 200, 400]))
        return Dataset(self.name, train, val, test, tuple("0123456789"))

    def outliers(self, root: Path | None) -> Split:
        """Return the images that are outliers for other data: all of them."""
        return self.load().everything()
