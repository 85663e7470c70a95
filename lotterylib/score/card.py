"""The scorecard as data: one row per metric, and what belongs to all of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..efficiency.speed import Size, Speed
from ..errors import UnknownNameError


@dataclass(frozen=True)
class Row:
    """One metric of the ticket and of the dense network, and their difference (ticket − dense).

    ``low`` to ``high`` is the difference's 95 % interval; both equal ``difference`` where the metric has no sampling
    error. ``over`` says what was sampled:

    - "images": ± 1.96 standard errors of the paired bootstrap, which draws the images anew and shows both networks the
      same ones. Means over images (accuracy, NLL …) have it in closed form; so have corruption error (delta method) and
      AUROC (DeLong), for large samples; all others take the spread of 200 resamples. Recall loss has the error of the
      worst class's own recall.
    - "images, by fifths": a metric that belongs to a whole set of images (curvature in the weights, the noise that they
      bear) is measured again on five disjoint fifths of it, ± 2.78 standard errors.
    - "… and random probes", "… and random draws of noise": what these add is in the interval. Without images in front:
      these alone, where a fifth gave no number.
    - "nothing": there is no interval.

    ``tolerance`` is what counts as comparable, in the metric's own unit. ``verdict``: "better" or "worse" if the interval
    lies beyond the tolerance, "holds" if it does not reach beyond it on the bad side, else "undecided".
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
    variants: dict[str, dict[str, float | None]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    dense_extra: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Scorecard:
    """All that was measured.

    ``skipped``: metric → why it was not measured. ``costs`` and ``speed``: "dense" and "ticket" → what they take, empty
    where that could not be measured. ``notes``: what a reader should know. ``about``: data, network, settings, device,
    versions. ``diagrams``: what the figures need beside the rows.
    """

    rows: list[Row]
    skipped: dict[str, str]
    sparsity: float
    costs: dict[str, Size]
    speed: dict[str, Speed]
    notes: list[str]
    about: dict[str, Any]
    diagrams: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, metric: str) -> Row:
        for row in self.rows:
            if row.metric == metric:
                return row
        raise UnknownNameError("metric of this scorecard", metric, [row.metric for row in self.rows])

    def of(self, verdict: str) -> list[Row]:
        """Return the rows with a verdict: "better", "holds", "undecided" or "worse"."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def passes(self) -> bool:
        """Return whether it holds up (or is better) in every metric that was measured, none undecided."""
        return bool(self.rows) and all(row.verdict in ("better", "holds") for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "about": self.about,
            "sparsity": self.sparsity,
            "passes": self.passes,
            "metrics": [asdict(row) for row in self.rows],
            "skipped": self.skipped,
            "costs": {name: asdict(size) for name, size in self.costs.items()},
            "speed": {name: asdict(speed) for name, speed in self.speed.items()},
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """Return it as JSON; NaN and infinity, which JSON does not know, become null."""
        return json.dumps(_finite(self.to_dict()), indent=1) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
