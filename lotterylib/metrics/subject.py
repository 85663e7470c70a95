"""The network under judgement, with the passes over data that several metrics share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets import Dataset, Split
from ..datasets.corrupted import CORRUPTIONS, corrupted
from ..datasets.ood import outliers
from ..masks import Mask
from ..training import pick_device, predict


@dataclass
class Subject:
    """A trained network and the data to judge it on.

    ``seed`` drives whatever a metric draws at random. ``dense`` is the dense network that it is compared with (of the
    same seed), None for a dense network itself. ``cache`` is a folder for generated data; without it they are
    generated anew for each subject.
    """

    model: nn.Module
    data: Dataset
    mask: Mask | None = None
    seed: int = 0
    device: str | torch.device | None = None
    dense: Subject | None = None
    cache: Path | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def baseline(self) -> Subject:
        """What relative metrics divide by: the dense twin, or itself if it is dense."""
        return self.dense or self

    def logits(self, images: Tensor) -> Tensor:
        """float32 [N, classes], in full precision, on the CPU."""
        return predict(self.model, images, device=pick_device(self.device))

    @cached_property
    def test_logits(self) -> Tensor:
        """Logits on the clean test set."""
        return self.logits(self.data.test[0])

    @property
    def test_labels(self) -> Tensor:
        """Labels of the clean test set: int64 [N], on the CPU."""
        return self.data.test[1].cpu()

    @cached_property
    def val_logits(self) -> Tensor:
        """Logits on the validation set, where temperatures are fitted."""
        return self.logits(self.data.val[0])

    @property
    def val_labels(self) -> Tensor:
        """Labels of the validation set: int64 [N], on the CPU."""
        return self.data.val[1].cpu()

    def sample(self, images: int, split: str = "test") -> Split:
        """The first ``images`` of a split, class by class: the same ones for every network."""
        if (split, images) not in self._kept:
            pictures, labels = getattr(self.data.limited(images), split)
            self._kept[split, images] = pictures[:], labels  # of images in files, these alone are read
        return self._kept[split, images]

    def corrupted_logits(self, images: int, held_out: bool = False) -> dict[str, Tensor]:
        """Logits under each corruption of ``sample(images)``: name → float32 [5 severities, N, classes].

        One pass serves accuracy and calibration alike. ``held_out`` takes the 4 extra corruptions, else the 15 common.
        """
        key = ("corrupted", images, held_out)
        if key not in self._kept:
            clean = self.sample(images)[0]
            names = CORRUPTIONS[15:] if held_out else CORRUPTIONS[:15]
            self._kept[key] = {
                name: torch.stack([self.logits(s) for s in corrupted(clean, name, folder=self.cache)])
                for name in names
            }
        return self._kept[key]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made once a subject: for what several metrics share."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def outlier_logits(self, name: str) -> Tensor:
        """Logits on images that are none of the data set's: float32 [N, classes]."""
        if ("outliers", name) not in self._kept:
            self._kept["outliers", name] = self.logits(outliers(name, self.data))
        return self._kept["outliers", name]


@dataclass(frozen=True)
class Measurement:
    """A value with its standard error over samples (None where it has none) and the number of samples behind it.

    ``variants`` are the same quantity under another condition (corrupted data, after temperature scaling), each a
    ``Measurement``; the results table names them ``metric:variant``. ``extra`` is what else belongs to it (plain JSON
    values).
    """

    value: float
    error: float | None
    samples: int
    variants: dict[str, Measurement] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
