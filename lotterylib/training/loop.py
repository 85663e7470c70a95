"""One training loop for dense networks and tickets alike.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets import Dataset
from ..errors import DivergedError, SettingError
from ..machine.devices import pick_precision
from ..machine.numerics import numerics
from ..masks import Mask
from ..rng import derive, forked
from . import checkpoint
from .batches import training_batches
from .group import group
from .launch import Launch
from .recipe import Recipe
from .state import MaskUpdate, Training, state_of


def run(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    mask: Mask | None,
    seed: int,
    *,
    start: int,
    update: MaskUpdate | None,
    device: torch.device,
    progress: bool,
    launch: Launch,
) -> Training:
    """Train in this process, alone or as a member of its ``group``; arguments as in ``train``."""
    members = group()
    precision = pick_precision(recipe.precision, device)
    count = len(data.train[1])
    total, per_epoch = recipe.total_steps(count), recipe.steps_per_epoch(count)
    if not 0 <= start <= total:
        raise SettingError(f"start must be a step in 0..{total}, got {start}")
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout).train()
    masked = _masked_weights(model, mask)
    optimizer = _optimizer(model, recipe)
    result, begin, kept = Training(precision=precision, processes=members.size), start, None
    if launch.checkpoints:
        kept = _checkpoint_path(launch.checkpoints, model, data, recipe, mask, seed, start, update, precision)
        if found := checkpoint.load(kept):
            found.restore_(model, optimizer)
            begin, mask = found.step, found.mask
            result = Training(**found.training | {"processes": members.size}, rewind=found.rewind)
            masked = _masked_weights(model, mask)
    _enforce(masked)
    compute = members.wrap(model)
    compute = torch.compile(compute) if recipe.compile else compute
    per_step = min(recipe.batch_size, count)
    batches = training_batches(
        data.train,
        recipe,
        seed,
        range(begin, total),
        device,
        share=members.share(per_step),
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
                result.losses.append(_mean_finite(members.mean(torch.stack(losses)), step))
                losses.clear()
                due = kept and step < total and step // per_epoch % launch.every == 0
                if due and members.rank == 0 and time.perf_counter() - saved >= launch.spacing:
                    result.seconds = time.perf_counter() - began
                    checkpoint.save(kept, step, model, optimizer, mask, result)
                    saved = time.perf_counter()
            if step == total:
                break
            # for layers that draw at random, such as dropout
            torch.manual_seed(derive(seed, "step", step, *([members.rank] if members.rank else [])))
            for parameters in optimizer.param_groups:
                parameters["lr"] = recipe.lr_at(step, count)
            inputs, labels = next(batches)
            moving = update is not None and update.due(step, total)
            batch = inputs.contiguous(memory_format=layout), labels, recipe.label_smoothing, precision
            losses.append(_step(compute, None if moving else optimizer, *batch))
            if moving:
                before, mask = mask, update.apply(model, optimizer, mask, step, total)
                members.check_agreed(mask, step)
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
    if kept and members.rank == 0:
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
