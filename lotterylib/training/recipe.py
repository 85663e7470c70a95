"""The recipe of a training: one object with a default for every field."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    model_serializer,
    model_validator,
)

# fields of Recipe that came later: left out of its description where they are at their defaults, so that recipes of
# before, and the tickets that are named by them, keep their names
_LATER = ("crop", "compile", "tf32", "deterministic")


def as_number(value: Any) -> Any:
    """Refuse what pydantic would turn into a number: text, such as YAML makes of ``1e-3``, and true or false.

    Raises:
        ValueError: With the form that YAML reads as that number.
    """
    if isinstance(value, bool):
        raise ValueError("want a number, not true or false")
    if isinstance(value, str):
        raise ValueError(f"want a number, not text{_hint(value)}")
    return value


def _hint(text: str) -> str:
    """Return how to write a number that YAML took for text."""
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        return ""
    mantissa, e, exponent = text.strip().lower().partition("e")
    if not e:
        return f": write {mantissa} without quotes"
    mantissa += "" if "." in mantissa else ".0"
    exponent = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f": for YAML, write {mantissa}e{exponent}"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("want a finite number")
    return value


Whole = Annotated[int, BeforeValidator(as_number)]
Number = Annotated[float, AfterValidator(_finite), BeforeValidator(as_number)]


class Recipe(BaseModel):
    """A recipe of training. Every field has a default; an unknown field or an impossible value is refused by name.

    Lengths are in epochs and may be fractions of one; ``milestones`` are fractions of the whole training.

    Attributes:
        precision: "auto" takes bfloat16, or float16 on GPUs that lack it, where that is measured to be faster.
        crop: "padded" shifts an image by up to ``crop_padding`` pixels; "resized", for images in files, cuts out a part of
            random place, area (8 to 100%) and aspect ratio and brings it to size, as is the custom for ImageNet.
        flip: Mirror at random, or, with "alternate", every image in every other epoch, from a random start.
        compile: Put the network through ``torch.compile``.
        tf32: Let GPUs calculate float32 in TF32 while training.
        deterministic: Give the same bits in every run on GPUs too, for the price of slower algorithms.

    >>> Recipe(epochs=2, batch_size=10).total_steps(images=100)
    20
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[Whole, Field(ge=1)] = 12
    batch_size: Annotated[Whole, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[Number, Field(gt=0)] = 0.1
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    nesterov: StrictBool = False
    weight_decay: Annotated[Number, Field(ge=0)] = 5e-4
    schedule: Literal["cosine", "linear", "step", "constant"] = "linear"
    warmup: Annotated[Number, Field(ge=0)] = 1.0
    milestones: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    gamma: Annotated[Number, Field(gt=0, le=1)] = 0.1
    rewind: Annotated[Number, Field(ge=0)] = 1.0
    crop_padding: Annotated[Whole, Field(ge=0)] = 2
    flip: Literal[True, False, "alternate"] = True
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    channels_last: StrictBool = True
    crop: Literal["padded", "resized"] = "padded"
    compile: StrictBool = False
    tf32: StrictBool = True
    deterministic: StrictBool = False

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, dump: Any) -> dict[str, Any]:
        fields = type(self).model_fields
        return {k: v for k, v in dump(self).items() if k not in _LATER or v != fields[k].default}

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.rewind > self.epochs:
            raise ValueError(f"rewind is at epoch {self.rewind:g}, after the last epoch {self.epochs}")
        if self.warmup > self.epochs:
            raise ValueError(
                f"warmup of {self.warmup:g} epochs is longer than the {self.epochs} epochs of training"
            )
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer sgd and a momentum above 0")
        return self

    def steps_per_epoch(self, images: int) -> int:
        """Return the optimizer steps of an epoch; a last incomplete batch is left out, with other images each time."""
        return max(1, images // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Return the optimizer steps of the whole training."""
        return self.epochs * self.steps_per_epoch(images)

    def rewind_step(self, images: int) -> int:
        """Return the step whose weights a ticket is rewound to."""
        return round(self.rewind * self.steps_per_epoch(images))

    def lr_at(self, step: int, images: int) -> float:
        """Return the learning rate of a step (0-based): linear warm-up, then the schedule over what remains."""
        total, warmup = self.total_steps(images), round(self.warmup * self.steps_per_epoch(images))
        if step < warmup:
            return self.lr * (step + 1) / warmup
        done = (step - warmup) / max(1, total - warmup)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "linear":
            return self.lr * (1 - done)
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(step >= m * total for m in self.milestones)
        return self.lr
