"""The network under judgement, with the passes over data that several metrics share."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..datasets import Dataset, LazyImages
from ..datasets.base import data_root, first_of_each_class
from ..datasets.corrupted import CORRUPTIONS, SEVERITIES, Published, corrupted, generate, parts, published_for
from ..datasets.ood import COUNT, outliers
from ..datasets.own import Corrupted
from ..errors import DataError
from ..machine.devices import pick_device
from ..masks import Mask
from ..training import predict
from .resampling import of_images, standard_error

T = TypeVar("T")

# pixels a side that images need to be corrupted
CORRUPTIBLE = 32


@dataclass
class Subject:
    """A trained network and the data to judge it on.

    Args:
        seed: Of the training. What metrics draw does not depend on it (``resampling.DRAWS``).
        dense: The dense network of the same seed, to compare with; None for a dense network itself.
        cache: A folder for generated data; without it they are generated anew for each subject.
    """

    model: nn.Module
    data: Dataset
    mask: Mask | None = None
    seed: int = 0
    device: str | torch.device | None = None
    dense: Subject | None = None
    cache: Path | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of ``make``, computed once for a subject: for what several metrics share."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @property
    def baseline(self) -> Subject:
        """Return the network that relative metrics divide by: the dense one, or itself if it is dense."""
        return self.dense or self

    @property
    def placed(self) -> nn.Module:
        """Return the network, moved to its device."""
        return self.model.to(pick_device(self.device))

    def logits(self, images: Tensor | LazyImages) -> Tensor:
        """Return float32 [N, classes], in full precision, on the CPU."""
        return predict(self.model, images, device=pick_device(self.device))

    @property
    def test_logits(self) -> Tensor:
        """Return the logits of the clean test set."""
        return self.once("test", lambda: self.logits(self.data.test[0]))

    @property
    def test_labels(self) -> Tensor:
        """Return the labels of the clean test set: int64 [N], on the CPU."""
        return self.data.test[1].cpu()

    @property
    def val_logits(self) -> Tensor:
        """Return the logits of the validation set, where temperatures are fitted."""
        return self.once("val", lambda: self.logits(self.data.val[0]))

    @property
    def val_labels(self) -> Tensor:
        """Return the labels of the validation set: int64 [N], on the CPU."""
        return self.data.val[1].cpu()

    def sample(self, images: int, split: str = "test") -> tuple[Tensor, Tensor]:
        """Return the first ``images`` of a split, class by class: the same ones for every network."""

        def read() -> tuple[Tensor, Tensor]:
            pictures, labels = getattr(self.data.limited(images), split)
            # of images in files, these alone are read
            return pictures[:], labels

        return self.once(("sample", split, images), read)

    def sample_logits(self, images: int) -> Tensor:
        """Return the logits of ``sample(images)``."""
        return self.once(("sample logits", images), lambda: self.logits(self.sample(images)[0]))

    def corrupted_logits(self, images: int, held_out: bool = False) -> dict[str, Tensor]:
        """Return the logits under each corruption of ``sample(images)``: name → float32 [5 severities, N, classes].

        One pass serves accuracy and calibration alike. ``held_out`` takes the 4 extra corruptions, else the 15 common.
        The images are the caller's own where the data bring them along, the published archive's where the data have one and
        it is on disk (see ``corruptions_from``), else generated.
        """
        names = CORRUPTIONS[15:] if held_out else CORRUPTIONS[:15]

        def answer() -> dict[str, Tensor]:
            if own := self._own_corrupted(images):
                return {
                    name: torch.stack([self.logits(s) for s in sets]) for name, sets in own.images.items()
                }
            archive, (clean, labels) = published_for(self.data), self.sample(images)
            if archive:
                return {name: self._published_logits(archive, name, labels.cpu()) for name in names}

            folder = self._made(clean, names)

            def answers(name: str, part: slice) -> Tensor:
                made = corrupted(clean[part], name, folder=folder, first=part.start)
                return torch.stack([self.logits(images) for images in made])

            return {name: torch.cat([answers(name, part) for part in parts(clean)], dim=1) for name in names}

        return self.once(("corrupted", images, held_out), answer)

    def _made(self, clean: Tensor, names: Sequence[str]) -> Path | None:
        """Return the folder with these images under these corruptions, made together with others; None where there is no room."""
        try:
            if self.cache:
                generate(clean, names, self.cache)
        except OSError:
            return None
        return self.cache

    def corrupted_labels(self, images: int) -> Tensor:
        """Return the labels of the images of ``corrupted_logits``: int64 [N], on the CPU."""
        own = self._own_corrupted(images)
        return (own.labels if own else self.sample(images)[1]).cpu()

    def _own_corrupted(self, images: int) -> Corrupted | None:
        own = self.data.corrupted
        return own.only(first_of_each_class(own.labels, images)) if own else None

    def _published_logits(self, archive: Published, corruption: str, labels: Tensor) -> Tensor:
        """Return the logits of the archive's images at the places of ``sample``, which must have these labels."""
        folder, severities = data_root(self.data.root) / archive.name, []
        for severity in SEVERITIES:
            images, theirs = archive.read(folder, corruption, severity, len(labels))
            if not torch.equal(theirs, labels):
                raise DataError(f"{folder}: its labels are not those of {self.data.name}'s test images")
            # they may lie on disk
            parts = (images[i : i + 500] for i in range(0, len(images), 500))
            severities.append(torch.cat([self.logits(part) for part in parts]))
        return torch.stack(severities)

    @property
    def corruptions_from(self) -> dict[str, str]:
        """Return, where the data have a published archive, its name, or that corruptions were generated."""
        if self.data.corrupted:
            return {"corruptions": ", ".join(self.data.corrupted.images)}
        if self.data.archive is None:
            return {}
        archive = published_for(self.data)
        return {"corruptions": archive.name if archive else "generated"}

    def outlier_logits(self, name: str, images: int = COUNT) -> Tensor:
        """Return the logits of images that are none of the data set's: float32 [images, classes]."""
        return self.once(("outliers", name, images), lambda: self.logits(outliers(name, self.data, images)))


@dataclass(frozen=True)
class Measurement:
    """A value with its standard error over samples (None where it has none) and the number of samples behind it.

    ``variants`` are the same quantity under another condition (corrupted data, after temperature scaling), each a
    ``Measurement``; the results table names them ``metric:variant``. ``extra`` is what else belongs to it (plain JSON
    values). ``bias`` is what noise adds to the value on average: the value is that of the published formula, and ``paired`` takes
    the biases off. ``draws`` is what the error over images comes from: numbers whose standard deviation it is, the k-th of them
    due to the same images for every network (an image's own score over √N, or one resample), so that ``paired`` can
    compare two networks image by image. It is not stored. ``pairs`` is False for draws by which it cannot, since they are no smooth
    function of the images: two networks then count as independent, unless all draws are the same.
    """

    value: float
    error: float | None
    samples: int
    variants: dict[str, Measurement] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    draws: Tensor | None = field(default=None, repr=False, compare=False)
    bias: float = field(default=0.0, repr=False)
    pairs: bool = field(default=True, repr=False)

    @classmethod
    def mean_of(cls, scores: Tensor, *, plug_in: bool = False, **more: Any) -> Measurement:
        """Return the mean of one score per image [N], with ``standard_error``'s error and ``draws`` to pair it by.

        Example:
            >>> Measurement.mean_of(torch.tensor([0.0, 1.0, 1.0, 0.0]), plug_in=True)
            Measurement(value=0.5, error=0.25, samples=4, variants={}, extra={})
        """
        scores = scores.double()
        error = standard_error(scores, plug_in)
        return cls(scores.mean().item(), error, len(scores), draws=of_images(scores), **more)


def paired(measured: Measurement, dense: Measurement) -> Measurement:
    """Return the difference of two networks, ``measured`` − ``dense``, with its standard error over samples, variants likewise.

        error² = Var(drawsₐ − draws_b) + rₐ² + r_b²,   r² = error² − Var(draws)

    Both see the same images, and most images are equally hard for both, so the first term is smaller than that of two
    independent samples; r is what no common image explains (random probes, say). Measurements without common draws
    count as independent; without an error on either side the difference has none. Biases are taken off.

    Example:
        >>> one, two = (Measurement.mean_of(torch.tensor(hits)) for hits in ([1.0, 1, 0, 0], [1.0, 0, 0, 0]))
        >>> found = paired(one, two)
        >>> found.value, round(found.error, 6)
        (0.25, 0.25)
    """
    variants = {n: paired(m, dense.variants[n]) for n, m in measured.variants.items() if n in dense.variants}
    value, samples = measured.value - dense.value, min(measured.samples, dense.samples)
    value -= measured.bias - dense.bias
    if measured.error is None or dense.error is None:
        return Measurement(value, None, samples, variants)
    # a single image has no spread
    ours, theirs = (None if d is None or len(d) < 2 else d for d in (measured.draws, dense.draws))
    if ours is None or theirs is None or ours.shape != theirs.shape or not (ours - theirs).isfinite().all():
        return Measurement(value, math.hypot(measured.error, dense.error), samples, variants)
    if not measured.pairs:
        error = 0.0 if torch.equal(ours, theirs) else math.hypot(measured.error, dense.error)
        return Measurement(value, error, samples, variants)
    rest = (max(0.0, m**2 - d.var().item()) for m, d in ((measured.error, ours), (dense.error, theirs)))
    return Measurement(value, math.sqrt((ours - theirs).var().item() + sum(rest)), samples, variants)
