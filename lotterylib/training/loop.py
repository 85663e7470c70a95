"""One training loop for dense networks and tickets alike.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets import Dataset
from ..errors import DivergedError, SettingError
from ..machine.layout import in_layout
from ..machine.numerics import numerics
from ..masks import Mask
from ..rng import forked
from .batches import training_batches
from .checkpoint import Checkpoints
from .group import Group
from .launch import Launch
from .recipe import Recipe
from .run import Run, make_optimizer
from .state import MaskUpdate, Training, state_of

Hook = Callable[[Run], None]


def loop(run: Run, batches: Iterable[tuple[Tensor, Tensor]], hooks: list[Hook]) -> None:
    """Train to the end. Each hook is called before every step, and once more after the last."""
    for images, labels in batches:
        for hook in hooks:
            hook(run)
        run.backward(images, labels)
        run.move_mask() if run.updates_mask() else run.optimizer.step()
        run.enforce_mask()
        run.step += 1
    for hook in hooks:
        hook(run)


def keep_rewind_state(run: Run) -> None:
    """Copy parameters and buffers at the step that a ticket is rewound to."""
    if run.step == run.recipe.rewind_step(run.count):
        run.result.rewind = state_of(run.model)


def end_epoch(run: Run) -> None:
    """Note an epoch's mean loss. Raise ``DivergedError`` if one of its losses is not finite.

    Losses are read once an epoch, since reading makes a GPU wait.
    """
    if not run.losses or run.step % run.per_epoch and run.step < run.total:
        return
    losses = run.group.mean(torch.stack(run.losses))
    if not losses.isfinite().all():
        first = int((~losses.isfinite()).nonzero()[0])
        step = run.step - len(losses) + first
        raise DivergedError(f"training diverged: the loss was {losses[first].item()} at step {step}")
    run.result.losses.append(losses.mean().item())
    run.losses.clear()


def train_here(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    mask: Mask | None,
    seed: int,
    *,
    start: int,
    update: MaskUpdate | None,
    precision: str,
    device: torch.device,
    progress: bool,
    launch: Launch,
    group: Group = Group(),  # noqa: B008 (frozen)
) -> Training:
    """Train in this process, alone or as one of a group; arguments as in ``train``."""
    count = len(data.train[1])
    total = recipe.total_steps(count)
    if not 0 <= start <= total:
        raise SettingError(f"start must be a step in 0..{total}, got {start}")
    given = state_of(model)

    def attempt(layout: torch.memory_format) -> Training:
        model.load_state_dict(given)
        model.to(device=device, memory_format=layout).train()
        result = Training(precision=precision, processes=group.size, mask=mask)
        optimizer = make_optimizer(model, recipe)
        run = Run(model, optimizer, recipe, count, seed, start, update, group, layout, result)
        return _train(run, data, device, progress, launch)

    return in_layout(attempt) if recipe.channels_last else attempt(torch.contiguous_format)


def _train(run: Run, data: Dataset, device: torch.device, progress: bool, launch: Launch) -> Training:
    """Set up what surrounds the loop, and clear it away."""
    recipe, group = run.recipe, run.group
    checkpoints = Checkpoints(run, data, launch)
    checkpoints.resume(run)
    run.enforce_mask()
    forward = group.wrap(run.model)
    run.forward = torch.compile(forward) if recipe.compile else forward
    batches = training_batches(
        data.train, recipe, run.seed, range(run.step, run.total), device,
        share=group.share(run.batch), workers=launch.workers,
    )  # fmt: skip
    # said only if switched off, so that ``TQDM_DISABLE`` of the environment counts else
    shown = {} if progress else {"disable": True}
    bar = tqdm(total=run.total - run.step, unit="step", desc="training", leave=False, **shown)
    first = run.step
    hooks = [keep_rewind_state, end_epoch, checkpoints, lambda run: bar.update(run.step - first - bar.n)]
    exact = recipe.deterministic
    run.began = time.perf_counter() - run.result.seconds
    with bar, forked(device), numerics(tf32=recipe.tf32, autotune=not exact, deterministic=exact):
        loop(run, batches, hooks)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    run.result.seconds = run.elapsed()
    run.optimizer.zero_grad()
    run.model.eval()
    checkpoints.remove(run)
    return run.result
