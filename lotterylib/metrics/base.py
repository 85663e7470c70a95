"""The metric as an object: its name and unit, its settings, what it asks of a network, and the number that it measures."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ..datasets import Dataset, Shape
from ..datasets.base import DatasetBuilder
from ..errors import SettingError, UnknownNameError, first_problem
from ..machine.numerics import full_precision
from ..registry import Registry
from .subject import Measurement, Subject


@dataclass(frozen=True)
class Tolerance:
    """The difference that still counts as comparable: ``amount`` in the metric's own unit, or as a share of the dense network's value
    (``relative``) where a metric has no scale of its own.

    One point of accuracy is the paper's. All others are this book's own, chosen before the study was measured: about
    what a user would shrug off. ``lth_pass(…, scale=…)`` shows what the verdict owes to them.

    Example:
        >>> Tolerance(0.1, relative=True).of(3.0), str(Tolerance(0.1, relative=True)), str(Tolerance(0.02))
        (0.30000000000000004, '10% of dense', '0.02')
    """

    amount: float
    relative: bool = False

    def of(self, dense: float) -> float:
        """Return the tolerance in the metric's own unit, for this value of the dense network."""
        return self.amount * abs(dense) if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.amount:.0%} of dense" if self.relative else f"{self.amount:g}"


@dataclass(frozen=True)
class About:
    """Facts about a metric for tables, figures and verdicts.

    Args:
        label: The name in figures; ``short`` is the one where there is little room.
        over: Samples behind the error of a difference. "images": a mean over images, or a resampling of them. "fifths": the
            metric belongs to a whole set of images; a scorecard measures it again on five disjoint fifths of the set.
            "classes": it is the largest of the classes' losses of recall.
        noise: The randomness that measuring adds, e.g. "random probes"; the error holds it too.
        words: What a better and what a worse network is, for a sentence: ("harder to fool", "easier to fool"). Metrics
            that say the same have the same words: a sentence is about the one of them that is worst off.
        quality: What a better, a worse and an equally good network is, in a word or two each.
        floor: What a network gets that knows nothing, where that is one number; "chance": 1/classes, as one does that gives
            every image the same answer, also under attack.
        points: Whether it is itself a difference of two shares, so that figures show it in percentage points.
        version: Rises when the same network would get another number.
    """

    name: str
    label: str
    dimension: Literal["generalization", "calibration", "interpretability", "geometry"]
    direction: Literal["higher", "lower"]
    unit: str
    tolerance: Tolerance
    source: str
    short: str = ""
    over: Literal["images", "fifths", "classes"] = "images"
    noise: str = ""
    version: int = 1
    words: tuple[str, str] = ("", "")
    quality: tuple[str, str, str] = ("better", "worse", "good")
    points: bool = False
    floor: float | Literal["chance"] | None = None

    def __post_init__(self):
        if not self.short:
            object.__setattr__(self, "short", self.label)

    @property
    def arrow(self) -> str:
        """Return ↑ where higher is better, ↓ where lower is."""
        return "↑" if self.direction == "higher" else "↓"

    def floor_at(self, chance: float) -> float | None:
        """Return the floor where guessing is right on a share ``chance`` of the images, None where there is none."""
        return chance if self.floor == "chance" else self.floor

    def at_floor(self, dense: float, tolerance: float, chance: float) -> bool:
        """Return whether a network that knows nothing would be within ``tolerance`` of a dense network's value.

        Example:
            >>> from lotterylib import metrics
            >>> [metrics.describe("ood_auroc").at_floor(0.6, t, chance=0.1) for t in (0.05, 0.1)]
            [False, True]
        """
        floor = self.floor_at(chance)
        if floor is None:
            return False
        return (dense - floor if self.direction == "higher" else floor - dense) <= tolerance

    @property
    def percent(self) -> bool:
        """Return whether figures show it times a hundred: it is a share, or a difference of two."""
        return self.unit.startswith("fraction")

    @property
    def sign(self) -> str:
        """Return the unit that figures show: per cent of shares, points of a difference of two."""
        return "points" if self.points else "%" if self.percent else self.unit

    @property
    def axis(self) -> str:
        """Return what is written at an axis: label, unit, and which way is better.

        Example:
            >>> from lotterylib import metrics
            >>> metrics.describe("accuracy").axis, metrics.describe("ece").axis, metrics.describe("nll").axis
            ('Test accuracy (%) ↑', 'ECE (probability) ↓', 'NLL (nats) ↓')
        """
        # a variant's name stands behind the unit
        if f"({self.sign})" in self.label or f", {self.sign})" in self.label:
            return f"{self.label} {self.arrow}"
        named = (
            f"{self.label[:-1]}; {self.sign})" if self.label.endswith(")") else f"{self.label} ({self.sign})"
        )
        return f"{named} {self.arrow}"


@dataclass(frozen=True)
class Question:
    """Something that a network is asked, or that is made for it. Equal questions of several metrics are asked once.

    ``kind``: e.g. "test" (logits of the test set) or "corrupted"; ``of``: what tells it from others of its kind.
    """

    kind: str
    of: tuple = ()


class Reads(NamedTuple):
    """Sources other than the data set that a metric reads: corrupted images, sets of outliers, a folder of Broden."""

    corruptions: bool = False
    outliers: tuple[str, ...] = ()
    broden: str | None = None


class Metric(BaseModel, ABC):
    """A metric with its settings, which are its fields. An unknown or impossible setting is refused.

    Subclasses give ``about`` and ``measure``; ``asks`` if they need more than the logits of the test set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    about: ClassVar[About]
    # splits of the data that it looks at
    splits: ClassVar[tuple[str, ...]] = ("test",)
    # whether it differentiates twice, which fused attention cannot
    second_order: ClassVar[bool] = False
    # whether it says nothing without a dense network to compare with
    relative: ClassVar[bool] = False
    # keys of ``Measurement.extra`` with an entry for each image or unit: too much for a summary
    bulky: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, subject: Subject) -> Measurement:
        """Measure a network; ``evaluate`` does so in full precision."""

    def asks(self, data: Shape) -> dict[Question, float]:
        """Return what a network is asked: question → forward passes of one image that the answer takes."""
        return {Question("test"): data.test}

    def other_work(self, data: Shape) -> dict[Question, float]:
        """Return long work that is no pass of the network, as passes that would take about as long."""
        return {}

    def vectors(self, data: Shape, weights: int) -> float:
        """Return the bytes that it keeps of a network with so many ``weights``, beside images and activations."""
        return 0.0

    def reads(self, builder: DatasetBuilder) -> Reads:
        """Return what it reads apart from the data set itself."""
        return Reads()

    def obstacle(self, data: Dataset) -> str:
        """Return why such data do not allow the metric; empty if they do."""
        return ""

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, Any]:
        """Return the settings for a quick look at such data, at about ``images`` of its test images."""
        return {"images": images} if "images" in cls.model_fields else {}

    @classmethod
    def variant_title(cls, variant: str) -> str:
        """Return what readers call a variant."""
        return variant

    @classmethod
    def variant_unit(cls, variant: str) -> str:
        """Return the unit of a variant: the metric's own, where it says nothing else."""
        return cls.about.unit

    @classmethod
    def breaks(cls, extra: Mapping[str, Any], dense_extra: Mapping[str, Any]) -> str:
        """Return a line on where a network breaks, from the ``extra`` of two measurements; may be empty."""
        return ""


METRICS: Registry[type[Metric]] = Registry("metric", "lotterylib.metrics", name_of=lambda cls: cls.about.name)
register = METRICS.register


def names() -> list[str]:
    """Return the names of all metrics, dimension by dimension.

    Example:
        >>> names()[:2]
        ['accuracy', 'recall_loss']
    """
    return METRICS.names()


def describe(name: str) -> About:
    """Return what there is to say of a metric: label, dimension, direction, unit, tolerance, source.

    A variant goes by ``metric:variant`` (``ece:corrupted``) and differs in its labels and perhaps its unit.

    Raises:
        UnknownNameError: for a name not in ``names()``.

    Example:
        >>> describe("ece").direction, describe("ece:corrupted").label
        ('lower', 'ECE, corrupted')
    """
    base, _, variant = name.partition(":")
    about = METRICS[base].about
    if not variant:
        return about
    kind, unit = METRICS[base].variant_title(variant), METRICS[base].variant_unit(variant)
    return replace(
        about, name=name, label=f"{about.label}, {kind}", short=f"{about.short}, {kind}", unit=unit
    )


def build(name: str, **settings: Any) -> Metric:
    """Return a metric with its settings.

    Raises:
        UnknownNameError: for a name not in ``names()``.
        SettingError: in one line for an unknown or impossible setting.

    Example:
        >>> build("ece", bins=10).bins
        10
    """
    kind = METRICS[name]
    try:
        return kind(**settings)
    except ValidationError as error:
        raise SettingError(f"metric {name}: {_problem(kind, error)}") from None


def evaluate(subject: Subject, name: str, settings: Mapping[str, Any] | None = None) -> Measurement:
    """Measure one metric on a network. Work that metrics share is done once for a ``subject``.

    Raises:
        UnknownNameError, SettingError: as ``build`` does.

    Example:
        >>> from lotterylib import datasets, models
        >>> data = datasets.load("digits", limit=20)
        >>> evaluate(Subject(models.build("lenet", data.classes, data.channels), data), "accuracy").samples
        20
    """
    # a caller in inference mode, where no gradient is known, gets the same numbers
    with full_precision(), torch.inference_mode(False):
        return build(name, **(settings or {})).measure(subject)


def _problem(kind: type[Metric], error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        fields, key = list(kind.model_fields), first["loc"][0]
        return str(UnknownNameError("setting", key, fields)) if fields else f"no setting {key!r}: it has none"
    return first_problem(error) + _yaml_hint(first["input"])


def _yaml_hint(held: Any) -> str:
    """YAML 1.1 reads a number with an exponent as text unless it has a point and a sign."""
    parts = (
        re.fullmatch(r"([+-]?\d+)(\.\d*)?e([+-])?(\d+)", held, re.IGNORECASE)
        if isinstance(held, str)
        else None
    )
    if parts is None:
        return ""
    whole, fraction, sign, exponent = parts.groups()
    return f", which YAML reads as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}"
