"""Images of one's own that take the place of those that are usual for data: corrupted copies of the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import DataError
from .lazy import Images, pick


@dataclass(frozen=True)
class Corrupted:
    """Corrupted images: ``images`` name → one set per severity, float32 [N, C, H, W] in [0, 1] or lazy, all with the same
    ``labels`` int64 [N]; the k-th of each set has been the same image where the sets are copies of one another."""

    images: Mapping[str, Sequence[Images]]
    labels: Tensor

    def __post_init__(self):
        for name, severities in self.images.items():
            for each in severities:
                if len(each) != len(self.labels):
                    raise DataError(f"corruption {name}: {len(each)} images and {len(self.labels)} labels")
        counts = {name: len(severities) for name, severities in self.images.items()}
        if not self.sets or not len(self.labels):
            raise DataError("there are no corrupted images")
        if len(set(counts.values())) > 1:
            raise DataError(
                f"want as many severities for every corruption, got {', '.join(f'{n}: {k}' for n, k in counts.items())}"
            )

    @property
    def sets(self) -> int:
        """Return how many sets of images there are, of all corruptions and severities."""
        return sum(map(len, self.images.values()))

    def only(self, chosen: Tensor) -> Corrupted:
        """Return the images at some places of every set."""
        images = {name: [pick(each, chosen) for each in sets] for name, sets in self.images.items()}
        return Corrupted(images, self.labels[chosen])
