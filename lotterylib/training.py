"""One training loop for dense networks and tickets alike.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoint, distributed
from .datasets import Dataset
from .distributed import Launch
from .errors import DivergedError, SettingError
from .loading import augment, batch_indices, evaluation_batches, training_batches
from .masks import Mask
from .numerics import full_precision, numerics
from .rng import derive, forked

__all__ = [
    "MaskUpdate",
    "Recipe",
    "State",
    "Training",
    "augment",
    "batch_indices",
    "pick_device",
    "pick_precision",
    "predict",
    "state_of",
    "train",
]

State = dict[str, Tensor]

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


@dataclass
class Training:
    """What a training leaves beside the trained model.

    ``losses``: mean training loss of each epoch (nats). ``rewind``: parameters and buffers at the rewind step, or
    None if training started after it. ``images``: images seen, ``update_images`` of them at mask updates.
    ``seconds``: wall time of the loop. ``mask``: the mask at the end, ``updates``: what each mask update moved.
    ``processes``: how many trained together.
    """

    losses: list[float] = field(default_factory=list)
    rewind: State | None = None
    images: int = 0
    seconds: float = 0.0
    precision: str = "float32"
    processes: int = 1
    mask: Mask | None = None
    update_images: int = 0
    updates: list[dict[str, Any]] = field(default_factory=list)


class MaskUpdate(Protocol):
    """Moves the mask while the network trains (dynamic sparse training)."""

    def due(self, step: int, total: int) -> bool:
        """Whether to update at ``step`` (0-based) of ``total``. Such a step computes gradients of every weight, also
        of removed ones, and takes no optimizer step."""

    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, mask: Mask, step: int, total: int
    ) -> Mask:
        """The new mask, from the weights and their ``.grad``; sees to the optimizer's state of what it moves."""


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, else the processor."""
    if device is None or str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def pick_precision(precision: str, device: torch.device) -> str:
    """Resolves ``auto``: bfloat16 on CUDA devices and processors that multiply matrices of it natively (AMX), float32
    elsewhere: on processors with AVX512-BF16 alone, ``make bench`` shows bfloat16 to be the slower one."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return "bfloat16" if native else "float32"


def state_of(model: nn.Module) -> State:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    mask: Mask | None = None,
    seed: int = 0,
    *,
    start: int = 0,
    update: MaskUpdate | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    launch: Launch | None = None,
) -> Training:
    """Trains ``model`` in place with cross-entropy and leaves it in eval mode on the device.

    With a ``mask``, removed weights are 0 before the first step and after every one, whatever momentum, weight decay
    or Adam's state say. ``start`` skips to that step: schedule, image order and augmentation resume there, with a
    fresh optimizer (for rewinding). ``update`` moves the mask on the way; on its steps the images are seen and the
    schedule goes on, but the weights that stay are not changed. ``device=None`` takes CUDA if there is one. ``launch``
    (default: that of ``distributed.launching``) says how many processes train and read, and where checkpoints go.

    Raises ``DivergedError`` if the loss becomes NaN or infinite (noticed at the end of the epoch), ``SettingError``
    for a ``start`` beyond the training, a mask that does not fit, or an ``update`` without a mask.
    """
    if update is not None and mask is None:
        raise SettingError("an update needs a mask to start from")
    device, group = pick_device(device), distributed.group()
    launch = launch or distributed.current()
    if launch.processes > group.size:
        what = dict(data=data, recipe=recipe, mask=mask, seed=seed, start=start, update=update)
        return distributed.train_together(model, launch, device, progress, what)
    precision = pick_precision(recipe.precision, device)
    count = len(data.train[1])
    total, per_epoch = recipe.total_steps(count), recipe.steps_per_epoch(count)
    if not 0 <= start <= total:
        raise SettingError(f"start must be a step in 0..{total}, got {start}")
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout).train()
    masked = _masked_weights(model, mask)
    optimizer = _optimizer(model, recipe)
    result, begin, kept = Training(precision=precision, processes=group.size), start, None
    if launch.checkpoints:
        kept = _checkpoint_path(launch.checkpoints, model, data, recipe, mask, seed, start, update, precision)
        if found := checkpoint.load(kept):
            found.restore_(model, optimizer)
            begin, mask = found.step, found.mask
            result = Training(**found.training | {"processes": group.size}, rewind=found.rewind)
            masked = _masked_weights(model, mask)
    _enforce(masked)
    compute = group.wrap(model)
    compute = torch.compile(compute) if recipe.compile else compute
    per_step = min(recipe.batch_size, count)
    batches = training_batches(
        data.train,
        recipe,
        seed,
        range(begin, total),
        device,
        share=group.share(per_step),
        workers=launch.workers,
    )
    losses: list[Tensor] = []
    bar = tqdm(total=total - begin, unit="step", desc="training", leave=False, **_shown(progress))
    saved = time.perf_counter()
    began = saved - result.seconds
    exactness = numerics(
        tf32=recipe.tf32, autotune=not recipe.deterministic, deterministic=recipe.deterministic
    )
    with forked(device), exactness:
        for step in range(begin, total + 1):
            if step == recipe.rewind_step(count):
                result.rewind = state_of(model)
            if losses and (step % per_epoch == 0 or step == total):
                result.losses.append(_mean_finite(group.mean(torch.stack(losses)), step))
                losses.clear()
                due = kept and step < total and step // per_epoch % launch.every == 0
                if due and group.rank == 0 and time.perf_counter() - saved >= launch.spacing:
                    result.seconds = time.perf_counter() - began
                    checkpoint.save(kept, step, model, optimizer, mask, result)
                    saved = time.perf_counter()
            if step == total:
                break
            # for layers that draw at random, such as dropout
            torch.manual_seed(derive(seed, "step", step, *([group.rank] if group.rank else [])))
            for parameters in optimizer.param_groups:
                parameters["lr"] = recipe.lr_at(step, count)
            inputs, labels = next(batches)
            moving = update is not None and update.due(step, total)
            batch = inputs.contiguous(memory_format=layout), labels, recipe.label_smoothing, precision
            losses.append(_step(compute, None if moving else optimizer, *batch))
            if moving:
                before, mask = mask, update.apply(model, optimizer, mask, step, total)
                group.check_agreed(mask, step)
                masked = _masked_weights(model, mask)
                result.updates.append({"step": step, **_moved(before, mask)})
                result.update_images += per_step
            _enforce(masked)
            result.images += per_step
            bar.update()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    result.seconds = time.perf_counter() - began
    result.mask = mask
    bar.close()
    optimizer.zero_grad()
    model.eval()
    if kept and group.rank == 0:
        kept.unlink(missing_ok=True)
    return result


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    inputs: Tensor,
    labels: Tensor,
    smoothing: float,
    precision: str,
) -> Tensor:
    """One forward, backward and (if there is an optimizer) optimizer step; returns the batch's mean loss."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = model(inputs)
    loss = nn.functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)
    model.zero_grad()
    loss.backward()
    if optimizer:
        optimizer.step()
    return loss.detach()


def _shown(progress: bool) -> dict[str, bool]:
    """tqdm's settings: said only if switched off, so that ``TQDM_DISABLE`` of the environment counts else."""
    return {} if progress else {"disable": True}


def _masked_weights(model: nn.Module, mask: Mask | None) -> list[tuple[Tensor, Tensor]]:
    if mask is None:
        return []
    weights = dict(model.named_parameters())
    mask.check_matches({n: w.shape for n, w in weights.items()})
    return [(weights[n].data, mask[n].to(weights[n])) for n in mask]


def _enforce(masked: list[tuple[Tensor, Tensor]]) -> None:
    for weight, keep in masked:
        weight.mul_(keep)


def _moved(before: Mask, after: Mask) -> dict[str, Any]:
    """How many connections an update grew (it drops as many), and their share of all that are kept."""
    grown = sum(int((after[n].cpu() & ~before[n].cpu()).sum()) for n in after)
    return {"grown": grown, "changed_share": grown / max(1, after.kept)}


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    settings = dict(lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)


def _mean_finite(values: Tensor, step: int) -> float:
    """Mean of an epoch's losses; read once an epoch, since reading makes a GPU wait."""
    if not values.isfinite().all():
        first = int((~values.isfinite()).nonzero()[0])
        raise DivergedError(
            f"training diverged: the loss was {values[first].item()} at step {step - len(values) + first}"
        )
    return values.mean().item()


def _checkpoint_path(
    folder: Path,
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    mask: Mask | None,
    seed: int,
    start: int,
    update: MaskUpdate | None,
    precision: str,
) -> Path:
    """Named by all that decides the training, so that it goes on from its own checkpoint alone."""
    labels = hashlib.sha256(data.train[1].cpu().numpy().tobytes()).hexdigest()
    about = dict(
        recipe=recipe.model_dump(mode="json"), data=[data.name, list(data.train[0].shape), labels], seed=seed,
        start=start, update=repr(update), precision=precision,
    )  # fmt: skip
    return folder / checkpoint.name_of(model, mask, about)


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    batch_size: int = 500,
    device: str | torch.device | None = None,
) -> Tensor:
    """Logits float32 [N, classes] in eval mode and full precision, on the CPU; the model's mode is left as found. Images
    that stay in their files are read batch by batch, by worker processes."""
    device = pick_device(device)
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.to(device).eval()
        with full_precision():
            parts = evaluation_batches(images, batch_size, distributed.current().workers)
            return torch.cat([model(part.to(device)).float().cpu() for part in parts])
    finally:
        for module, mode in modes:
            module.training = mode
