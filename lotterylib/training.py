"""One training loop for dense networks and tickets alike.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from tqdm import tqdm

from .datasets import Dataset
from .errors import DivergedError, SettingError
from .masks import Mask
from .rng import derive, forked, generator

State = dict[str, Tensor]


class Recipe(BaseModel):
    """How to train. Every field has a default; an unknown field or an impossible value is refused by name.

    Lengths are in epochs and may be fractions of one; ``milestones`` are fractions of the whole training.
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
    flip: bool = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True

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
    """

    losses: list[float] = field(default_factory=list)
    rewind: State | None = None
    images: int = 0
    seconds: float = 0.0
    precision: str = "float32"
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
) -> Training:
    """Trains ``model`` in place with cross-entropy and leaves it in eval mode on the device.

    With a ``mask``, removed weights are 0 before the first step and after every one, whatever momentum, weight decay
    or Adam's state say. ``start`` skips to that step: schedule, image order and augmentation resume there, with a
    fresh optimizer (for rewinding). ``update`` moves the mask on the way; on its steps the images are seen and the
    schedule goes on, but the weights that stay are not changed. ``device=None`` takes CUDA if there is one.

    Raises ``DivergedError`` if the loss becomes NaN or infinite (noticed at the end of the epoch), ``SettingError``
    for a ``start`` beyond the training, a mask that does not fit, or an ``update`` without a mask.
    """
    if update is not None and mask is None:
        raise SettingError("an update needs a mask to start from")
    device = pick_device(device)
    precision = pick_precision(recipe.precision, device)
    count = len(data.train[1])
    total, per_epoch = recipe.total_steps(count), recipe.steps_per_epoch(count)
    if not 0 <= start <= total:
        raise SettingError(f"start must be a step in 0..{total}, got {start}")
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout).train()
    masked = _masked_weights(model, mask)
    _enforce(masked)
    optimizer = _optimizer(model, recipe)
    images, labels = (t.to(device) for t in data.train)
    result = Training(precision=precision)
    losses: list[Tensor] = []
    bar = tqdm(total=total - start, unit="step", desc="training", leave=False, **_shown(progress))
    began = time.perf_counter()
    with forked(device):
        for step in range(start, total + 1):
            if step == recipe.rewind_step(count):
                result.rewind = state_of(model)
            if losses and (step % per_epoch == 0 or step == total):
                result.losses.append(_mean_finite(losses, step))
                losses.clear()
            if step == total:
                break
            torch.manual_seed(derive(seed, "step", step))  # for layers that draw at random, such as dropout
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step, count)
            chosen = batch_indices(step, count, recipe, seed).to(device)
            inputs = augment(images[chosen], recipe, seed, step).contiguous(memory_format=layout)
            moving = update is not None and update.due(step, total)
            batch = inputs, labels[chosen], recipe.label_smoothing, precision
            losses.append(_step(model, None if moving else optimizer, *batch))
            if moving:
                before, mask = mask, update.apply(model, optimizer, mask, step, total)
                masked = _masked_weights(model, mask)
                result.updates.append({"step": step, **_moved(before, mask)})
                result.update_images += len(chosen)
            _enforce(masked)
            result.images += len(chosen)
            bar.update()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    result.seconds = time.perf_counter() - began
    result.mask = mask
    bar.close()
    optimizer.zero_grad()
    model.eval()
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


def batch_indices(step: int, count: int, recipe: Recipe, seed: int) -> Tensor:
    """Which images step ``step`` trains on: int64 [batch], from a fresh permutation each epoch."""
    epoch, place = divmod(step, recipe.steps_per_epoch(count))
    order = _order(seed, epoch, count)
    return order[place * recipe.batch_size : (place + 1) * recipe.batch_size]


def augment(images: Tensor, recipe: Recipe, seed: int, step: int) -> Tensor:
    """Random crops (after zero padding) and horizontal flips of a whole batch [N, C, H, W] in one gather."""
    if not recipe.crop_padding and not recipe.flip:
        return images
    count, _, height, width = images.shape
    pad, device = recipe.crop_padding, images.device
    random = generator(seed, "augment", step)
    top, left = torch.randint(0, 2 * pad + 1, (2, count, 1), generator=random).to(device)
    rows = torch.arange(height, device=device) + top
    columns = torch.arange(width, device=device).expand(count, width)
    if recipe.flip:
        flipped = torch.rand(count, 1, generator=random).to(device) < 0.5
        columns = torch.where(flipped, width - 1 - columns, columns)
    columns = columns + left
    padded = nn.functional.pad(images, (pad, pad, pad, pad))
    each = torch.arange(count, device=device)
    # advanced indices around a slice put the channels last: [N, H, W, C]
    return padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _order(seed: int, epoch: int, count: int) -> Tensor:
    key = (seed, epoch, count)
    if key not in _orders:
        _orders.clear()  # one epoch's order at a time
        _orders[key] = torch.randperm(count, generator=generator(seed, "order", epoch))
    return _orders[key]


_orders: dict[tuple[int, int, int], Tensor] = {}


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


def _mean_finite(losses: list[Tensor], step: int) -> float:
    """Mean of an epoch's losses; read once an epoch, since reading makes a GPU wait."""
    values = torch.stack(losses)
    if not values.isfinite().all():
        first = int((~values.isfinite()).nonzero()[0])
        raise DivergedError(
            f"training diverged: the loss was {values[first].item()} at step {step - len(losses) + first}"
        )
    return values.mean().item()


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Consecutive pieces of at most ``size`` images."""
    yield from images.split(size)


@torch.no_grad()
def predict(
    model: nn.Module, images: Tensor, *, batch_size: int = 500, device: str | torch.device | None = None
) -> Tensor:
    """Logits float32 [N, classes] in eval mode and full precision, on the CPU; the model's mode is left as found."""
    device = pick_device(device)
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.to(device).eval()
        return torch.cat([model(part.to(device)).float().cpu() for part in batches(images, batch_size)])
    finally:
        for module, mode in modes:
            module.training = mode
