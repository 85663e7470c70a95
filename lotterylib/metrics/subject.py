"""The network under judgement, with the passes over data that several metrics share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets import Dataset, Split
from ..datasets.base import data_root
from ..datasets.corrupted import CORRUPTIONS, SEVERITIES, Published, corrupted, published_for
from ..datasets.ood import COUNT, outliers
from ..errors import DataError
from ..machine.devices import pick_device
from ..masks import Mask
from ..training import predict


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
        The images are the published archive's where the data have one and it is on disk (see ``corruptions_from``), else
        generated.
        """
        key = ("corrupted", images, held_out)
        if key not in self._kept:
            archive, (clean, labels) = published_for(self.data), self.sample(images)
            names = CORRUPTIONS[15:] if held_out else CORRUPTIONS[:15]
            if archive:
                found = {name: self._published_logits(archive, name, labels.cpu()) for name in names}
            else:
                found = {
                    name: torch.stack([self.logits(s) for s in corrupted(clean, name, folder=self.cache)])
                    for name in names
                }
            self._kept[key] = found
        return self._kept[key]

    def _published_logits(self, archive: Published, corruption: str, labels: Tensor) -> Tensor:
        """Of the images with these labels, the first class by class: the same places in archive and test set."""
        folder, severities = data_root(self.data.root) / archive.name, []
        for severity in SEVERITIES:
            images, theirs = archive.read(folder, corruption, severity, len(labels))
            if not torch.equal(theirs, labels):
                raise DataError(f"{folder}: its labels are not those of {self.data.name}'s test images")
            parts = (images[i : i + 500] for i in range(0, len(images), 500))  # they may lie on disk
            severities.append(torch.cat([self.logits(part) for part in parts]))
        return torch.stack(severities)

    @property
    def corruptions_from(self) -> dict[str, str]:
        """For the record, where the data have a published archive: its name, or that corruptions were generated."""
        if self.data.archive is None:
            return {}
        archive = published_for(self.data)
        return {"corruptions": archive.name if archive else "generated"}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made once a subject: for what several metrics share."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def outlier_logits(self, name: str, images: int = COUNT) -> Tensor:
        """Logits on images that are none of the data set's: float32 [images, classes]."""
        key = ("outliers", name, images)
        if key not in self._kept:
            self._kept[key] = self.logits(outliers(name, self.data, images))
        return self._kept[key]


@dataclass(frozen=True)
class Measurement:
    """A value with its standard error over samples (None where it has none) and the number of samples behind it.

    ``variants`` are the same quantity under another condition (corrupted data, after temperature scaling), each a
    ``Measurement``; the results table names them ``metric:variant``. ``extra`` is what else belongs to it (plain JSON
    values). ``draws`` is what the error over images comes from: numbers whose standard deviation it is, the k-th of them
    due to the same images for every network (an image's own score over √N, or one resample), so that ``paired`` can
    compare two networks image by image. It is not stored.
    """

    value: float
    error: float | None
    samples: int
    variants: dict[str, Measurement] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    draws: Tensor | None = field(default=None, repr=False, compare=False)


def paired(measured: Measurement, twin: Measurement) -> Measurement:
    """How far two networks lie apart: ``measured`` − ``twin`` with its standard error over samples, variants likewise.

        error² = Var(drawsₐ − draws_b) + rₐ² + r_b²,   r² = error² − Var(draws)

    Both see the same images, and most images are equally hard for both, so the first term is smaller than that of two
    independent samples; r is what no common image explains (random probes, say). Measurements without common draws
    count as independent; without an error on either side the difference has none.
    """
    variants = {n: paired(m, twin.variants[n]) for n, m in measured.variants.items() if n in twin.variants}
    value, samples = measured.value - twin.value, min(measured.samples, twin.samples)
    if measured.error is None or twin.error is None:
        return Measurement(value, None, samples, variants)
    pair = measured.draws, twin.draws
    if (
        any(d is None for d in pair)
        or pair[0].shape != pair[1].shape
        or not all(d.isfinite().all() for d in pair)
    ):
        return Measurement(value, math.hypot(measured.error, twin.error), samples, variants)
    common = (pair[0] - pair[1]).var().item()
    rest = sum(max(0.0, m.error**2 - m.draws.var().item()) for m in (measured, twin))
    return Measurement(value, math.sqrt(common + rest), samples, variants)


def of_images(scores: Tensor) -> Tensor:
    """``draws`` of a mean over images, from the images' own scores [N]: float64 [N]."""
    return scores.double() / math.sqrt(len(scores))
