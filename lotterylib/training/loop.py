"""One training loop for dense networks and tickets alike.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import DivergedError, SettingError
from ..machine.layout import in_layout
from ..machine.numerics import numerics
from ..rng import forked
from .batches import training_batches
from .checkpoint import Checkpoints
from .group import Group
from .launch import Launch
from .run import Job, Run
from .state import Training, state_of

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
    if run.step == run.job.recipe.rewind_step(run.job.count):
        run.result.rewind = state_of(run.model)


def end_epoch(run: Run) -> None:
    """Note an epoch's mean loss; losses are read once an epoch, since reading makes a GPU wait.

    Raises:
        DivergedError: If one of them is not finite.
    """
    job = run.job
    if not run.losses or (run.step % job.recipe.steps_per_epoch(job.count) and run.step < job.total):
        return
    losses = run.group.mean(torch.stack(run.losses))
    if not losses.isfinite().all():
        first = int((~losses.isfinite()).nonzero()[0])
        step = run.step - len(losses) + first
        raise DivergedError(f"training diverged: the loss was {losses[first].item()} at step {step}")
    run.result.losses.append(losses.mean().item())
    run.losses.clear()


def _shown(progress: bool) -> dict[str, Any]:
    """Return tqdm's setting, said only if switched off, so that ``TQDM_DISABLE`` of the environment counts else."""
    return {} if progress else {"disable": True}


def train_here(
    model: nn.Module,
    job: Job,
    device: torch.device,
    progress: bool,
    launch: Launch,
    group: Group | None = None,
) -> Training:
    """Train in this process, alone or as one of a group."""
    if not 0 <= job.start <= job.total:
        raise SettingError(f"start must be a step in 0..{job.total}, got {job.start}")
    given = state_of(model)

    def attempt(layout: torch.memory_format) -> Training:
        model.load_state_dict(given)
        model.to(device, memory_format=layout).train()
        return _train(Run(model, job, group or Group(), layout), device, progress, launch)

    return in_layout(attempt) if job.recipe.channels_last else attempt(torch.contiguous_format)


def _train(run: Run, device: torch.device, progress: bool, launch: Launch) -> Training:
    """Set up what surrounds the loop, and clear it away."""
    job, recipe = run.job, run.job.recipe
    checkpoints = Checkpoints(run, launch)
    checkpoints.resume(run)
    run.enforce_mask()
    run.compile()
    first, share = run.step, run.group.share(job.batch)
    batches = training_batches(
        job.data.train, recipe, job.seed, range(first, job.total), device, share=share, workers=launch.workers
    )
    bar = tqdm(total=job.total - first, unit="step", desc="training", leave=False, **_shown(progress))
    hooks = [keep_rewind_state, end_epoch, checkpoints, lambda run: bar.update(run.step - first - bar.n)]
    exact = recipe.deterministic
    with bar, forked(device), numerics(tf32=recipe.tf32, autotune=not exact, deterministic=exact):
        loop(run, batches, hooks)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    run.result.seconds = run.elapsed()
    run.optimizer.zero_grad()
    run.model.eval()
    checkpoints.remove(run)
    return run.result
