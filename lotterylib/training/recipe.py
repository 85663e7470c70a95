"""How to train: one object with a default for every field."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

# fields of Recipe that came later: left out of its description where they are at their defaults, so that recipes of
# before, and the tickets that are named by them, keep their names
_LATER = ("crop", "compile", "tf32", "deterministic")


class Recipe(BaseModel):
    """How to train. Every field has a default; an unknown field or an impossible value is refused by name.

    Lengths are in epochs and may be fractions of one; ``milestones`` are fractions of the whole training.

    ``crop``: "padded" shifts an image by up to ``crop_padding`` pixels; "resized", for images in files, cuts out a part of
    random place, area (8 to 100 %) and aspect ratio and brings it to size, as is the custom for ImageNet. ``flip``:
    mirror at random, or, with "alternate", every image in every other epoch, from a random start. ``compile``: the
    network goes through ``torch.compile``. ``tf32``: float32 arithmetic of GPUs in TF32 while training. ``deterministic``:
    the same bits from every run on GPUs too, for the price of slower algorithms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=1)] = 12
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["cosine", "linear", "step", "constant"] = "linear"
    warmup: Annotated[float, Field(ge=0)] = 1.0
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    rewind: Annotated[float, Field(ge=0)] = 1.0
    crop_padding: Annotated[int, Field(ge=0)] = 2
    flip: bool | Literal["alternate"] = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    crop: Literal["padded", "resized"] = "padded"
    compile: bool = False
    tf32: bool = True
    deterministic: bool = False

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
        """Optimizer steps an epoch; a last incomplete batch is left out (its images differ from epoch to epoch)."""
        return max(1, images // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * self.steps_per_epoch(images)

    def rewind_step(self, images: int) -> int:
        """The step whose weights a ticket is rewound to."""
        return round(self.rewind * self.steps_per_epoch(images))

    def lr_at(self, step: int, images: int) -> float:
        """Learning rate of a step (0-based): linear warm-up, then the schedule over what remains."""
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
