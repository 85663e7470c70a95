"""The scorecard as data: one row per metric, and what belongs to all of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..efficiency.speed import Size, Speed
from ..errors import UnknownNameError
from .differences import Share

# verdicts, from the worst to the best; "floor" says nothing, "measured" stands alone
VERDICTS = ("worse", "undecided", "floor", "holds", "better")
# trainings of the dense network from which their spread may call a network as good; fewer only excuse it
TRAININGS = 5


@dataclass(frozen=True)
class Row:
    """One metric of the ticket and of the dense network, and their difference (ticket − dense).

    ``low`` to ``high`` is the difference's 95% interval; both equal ``difference`` where the metric has no sampling
    error. Without a dense network it is the value's own, and ``dense`` and ``difference`` are NaN. ``over`` says what was
    sampled:

    - "images": for shares of images Newcombe's interval of paired shares, which knows when there are few (recall loss: for
      all classes at once); else Student's, from the standard error of the paired bootstrap, which draws the images anew
      and shows both networks the same ones. Means over images (NLL …) have it in closed form; so have corruption error
      (delta method) and ROC-AUC (DeLong), for large samples; all others take the spread of 200 resamples.
    - "images, by fifths": a metric that belongs to a whole set of images (curvature in the weights, the noise that they
      bear) is measured again on five disjoint fifths of it, ± 2.78 standard errors.
    - "… and random probes", "… and random draws of noise": what these add is in the interval. Without images in front:
      these alone, where a fifth gave no number.
    - "nothing": there is no interval, and so no verdict.
    - "one network": the two are the same to the bit, and differ by nothing whatever the images. Two that merely answer all
      images alike have an interval: of N images, others may be answered otherwise (Wilson's limit of their share).

    ``tolerance`` is what counts as comparable, in the metric's own unit. ``verdict``: "better" or "worse" if the interval
    lies beyond the tolerance, "holds" if it does not reach beyond it on the bad side, else "undecided"; "floor" where a
    network that knows nothing would hold too, "measured" without one. ``images``: as many as it rests on (fewer than 30 never
    hold); ``needed``: about as many more would decide. ``band``: where another training of the dense network would lie, by
    several ``trainings``, and ``retraining`` whether the ticket does: "within", "better" or "worse"; empty for one.
    """

    metric: str
    label: str
    dimension: str
    direction: str
    unit: str
    ticket: float
    ticket_error: float | None
    dense: float
    dense_error: float | None
    difference: float
    low: float
    high: float
    tolerance: float
    verdict: str
    samples: int
    over: str = "images"
    images: int = 0
    needed: int | None = None
    band: tuple[float, float] | None = None
    retraining: str = ""
    trainings: int = 1
    variants: dict[str, dict[str, float | None]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    dense_extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def word(self) -> str:
        """Return the verdict with what a retraining changes in it: what lies within that is not worse, and by five trainings or
        more as good."""
        if self.retraining != "within" or self.verdict not in ("worse", "undecided"):
            return self.verdict
        return "holds" if self.trainings >= TRAININGS else "undecided"

    @property
    def passes(self) -> bool:
        """Return whether it is as good as dense, or as good as a retraining of it would be."""
        return self.word in ("holds", "better")


@dataclass(frozen=True)
class Scorecard:
    """All that was measured.

    ``skipped``: metric → why it was not measured. ``costs`` and ``speed``: "dense" and "ticket" → what they take, empty
    where that could not be measured. ``doubts``: why no number can be trusted; ``notes``: what a reader should know.
    ``classes`` and ``corruptions``: the shares of each. ``changed``: images that the two networks answer differently.
    ``about``: data, network, settings, device, versions. ``diagrams``: what the figures need beside the rows.
    """

    rows: list[Row]
    skipped: dict[str, str]
    sparsity: float
    costs: dict[str, Size]
    speed: dict[str, Speed]
    notes: list[str]
    about: dict[str, Any]
    doubts: list[str] = field(default_factory=list)
    classes: list[Share] = field(default_factory=list)
    corruptions: list[Share] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list, repr=False)
    structure: dict[str, Any] = field(default_factory=dict)
    diagrams: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, metric: str) -> Row:
        for row in self.rows:
            if row.metric == metric:
                return row
        raise UnknownNameError("metric of this scorecard", metric, [row.metric for row in self.rows])

    def of(self, verdict: str) -> list[Row]:
        """Return the rows with a verdict: "better", "holds", "floor", "undecided" or "worse"."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def compared(self) -> bool:
        """Return whether there is a dense network to compare with."""
        return bool(self.about.get("dense"))

    @property
    def missing(self) -> dict[str, str]:
        """Return the metrics that were named, or whose measuring failed, and are not there: metric → why. Others were never
        to be measured, on such data or in the time."""
        sought = {*(self.about.get("only") or ()), *self.about.get("settings", ())}
        return {name: why for name, why in self.skipped.items() if name in sought}

    @property
    def passes(self) -> bool:
        """Return whether it is as good as dense (or better) in every metric that says something, none undecided, and
        whether that can be trusted."""
        telling = [row for row in self.rows if row.verdict != "floor"]
        return bool(telling) and not self.doubts and not self.missing and all(row.passes for row in telling)

    def fails(self, on: str) -> bool:
        """Return whether a gate is closed: "worse" for a metric that is worse, "undecided" for one that is not as good as dense.
        What cannot be trusted, or is ``missing``, passes neither."""
        if self.doubts or self.missing or not self.rows or not self.compared:
            return True
        return not self.passes if on == "undecided" else any(row.word == "worse" for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "about": self.about,
            "sparsity": self.sparsity,
            "passes": self.passes,
            "doubts": self.doubts,
            "metrics": [asdict(row) for row in self.rows],
            "skipped": self.skipped,
            "classes": [share._asdict() for share in self.classes],
            "corruptions": [share._asdict() for share in self.corruptions],
            "changed": self.changed,
            "structure": self.structure,
            "costs": {name: asdict(size) for name, size in self.costs.items()},
            "speed": {name: asdict(speed) for name, speed in self.speed.items()},
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """Return it as JSON; NaN and infinity, which JSON does not know, become null."""
        return json.dumps(finite(self.to_dict()), indent=1) + "\n"


def finite(value: Any) -> Any:
    """Return JSON values with null for NaN and infinity."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
