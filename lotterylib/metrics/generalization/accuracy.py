"""Does the network get unseen images right?"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets import Dataset
from ...errors import DataError
from ...training import predict
from ..base import About, Metric, Tolerance, register
from ..checks import check_labels
from ..resampling import of_images
from ..subject import Measurement, Subject


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is the label's: in [0, 1], higher is better.

        accuracy = 1/N · Σᵢ [argmaxₖ zᵢₖ = yᵢ]

    ``logits``: [N, classes]; ``labels``: int [N]. A tie for the largest counts as a miss unless the label's logit is
    the first of the tie. Raises ``DataError`` for no images, shapes that do not fit, or a NaN, which no argmax can rank.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 5.0], [1.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1, 0, 1]))
        0.75
    """
    return right(logits, labels).mean().item()


def accuracy_on_test(model: torch.nn.Module, data: Dataset) -> float:
    """Return the ``accuracy`` of a model on the test images of ``data``: in [0, 1], higher is better.

    Example:
        >>> from lotterylib import datasets, models
        >>> data = datasets.load("digits", limit=20)
        >>> 0 <= accuracy_on_test(models.build("lenet", data.classes, data.channels), data) <= 1
        True
    """
    images, labels = data.test
    return accuracy(predict(model, images), labels)


def by_guessing(classes: int, images: int) -> float:
    """Return the accuracy that guessing may reach on so few images: 1/classes and two standard errors, a share in [0, 1].

    Example:
        >>> round(by_guessing(10, 900), 4)
        0.12
    """
    chance = 1 / classes
    return chance + 2 * math.sqrt(chance * (1 - chance) / images)


def recall(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Return the accuracy within each class, in the order of the logits: in [0, 1], higher is better; None for a class that no
    label has, since there is nothing to recall.

        recall_c = Σᵢ [yᵢ = c][argmaxₖ zᵢₖ = c] / Σᵢ [yᵢ = c]

    Arguments and errors as ``accuracy``.

    Example:
        >>> recall(torch.tensor([[2.0, 1.0, 0.0], [0.0, 5.0, 0.0]]), torch.tensor([0, 0]))
        [0.5, None, None]
    """
    hits, classes = right(logits, labels), range(logits.shape[1])
    return [hits[labels == c].mean().item() if (labels == c).any() else None for c in classes]


@register
class Accuracy(Metric):
    """Top-1 test accuracy; the error is binomial, √(p(1−p)/N). ``extra`` has the recall of each class and, for
    ``mistakes``, what was predicted for each image."""

    about = About(
        "accuracy", "Test accuracy", "generalization", "higher", "fraction of images", Tolerance(0.01),
        "top-1 on the test set (Chen et al., 2022, section 4.1)", short="accuracy", floor="chance",
        quality=("more accurate", "less accurate", "accurate"),
    )  # fmt: skip
    bulky = ("mistakes",)

    def measure(self, subject: Subject) -> Measurement:
        logits, labels = subject.test_logits, subject.test_labels
        named = dict(zip(subject.data.class_names, recall(logits, labels), strict=True))
        extra = {
            "recall": {name: value if value is None else round(value, 6) for name, value in named.items()},
            "mistakes": encoded(logits.argmax(dim=1) - labels, logits.shape[1]),
        }
        return share(right(logits, labels), extra=extra)


def mistakes(extra: Mapping[str, Any]) -> Tensor:
    """Return what an accuracy record says of each test image: int64 [N], 0 where the network is right, else how many classes
    its answer is off, (predicted − true) mod classes.

    So ``mistakes(extra) == 0`` are the images it gets right, two networks give the same answer where their mistakes are
    equal, and ``(labels + mistakes(extra)) % classes`` are the predictions. Raises ``DataError`` for a record without
    them.

    Example:
        >>> mistakes({"mistakes": encoded(torch.tensor([0, -1]), classes=3)}).tolist()
        [0, 2]
    """
    if "mistakes" not in extra:
        raise DataError("the record has no per-image predictions: measure accuracy again with this version")
    return decoded(extra["mistakes"])


def encoded(off: Tensor, classes: int) -> str:
    """Return the numbers as text. Most images are right, so most numbers are 0, and ten thousand of them pack into 2 KB."""
    steps = off.remainder(classes).numpy().astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def decoded(text: str) -> Tensor:
    """Return the numbers, modulo the classes: int64 [N]."""
    return torch.from_numpy(np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64))


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where the largest logit is the label's: float64 [N]. Raises as ``accuracy`` does."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        shapes = f"{list(logits.shape)} and {list(labels.shape)}"
        raise DataError(f"want logits [N, classes] and labels [N], got {shapes}")
    if len(labels) == 0:
        raise DataError("no images to score")
    if logits.isnan().any():
        raise DataError("logits contain NaN: the network is broken, not inaccurate")
    check_labels(labels, logits.shape[1])
    return (logits.argmax(dim=1) == labels).double()


def share(hits: Tensor, **more: Any) -> Measurement:
    """Return the share of images that a network gets right, from 1 or 0 per image; its error is binomial."""
    value, count = hits.mean().item(), len(hits)
    return Measurement(value, math.sqrt(value * (1 - value) / count), count, draws=of_images(hits), **more)
