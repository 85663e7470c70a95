"""One training loop for dense networks and tickets alike: ``train`` sets it up, ``loop`` runs it, hooks go with it.

Randomness is a function of (seed, step), so training from step k on sees the same batches, crops and flips that an
uninterrupted run would have seen from there: what rewinding needs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets import Dataset
from ..errors import DivergedError, SettingError
from ..machine.devices import device_of, pick_device
from ..machine.layout import in_layout
from ..machine.numerics import numerics
from ..masks import Mask
from ..rng import derive, forked, reseed, states
from .batches import training_batches
from .checkpoint import Checkpoints
from .graph import CapturedStep, Step, own_stream
from .launch import Group, Launch, current
from .precision import batch_loss, pick_precision
from .recipe import Recipe
from .state import MaskUpdate, Training, state_of


@dataclass(frozen=True)
class Job:
    """All that decides a training, beside the weights that it begins with; arguments as in ``train``."""

    data: Dataset
    recipe: Recipe
    mask: Mask | None = None
    seed: int = 0
    start: int = 0
    update: MaskUpdate | None = None
    precision: str = "float32"

    @property
    def count(self) -> int:
        """Number of training images."""
        return len(self.data.train[1])

    @property
    def total(self) -> int:
        """Number of steps."""
        return self.recipe.total_steps(self.count)

    @property
    def batch(self) -> int:
        """Number of images of a step."""
        return min(self.recipe.batch_size, self.count)


class Run:
    """A network in training, after ``step`` of the job's steps. ``losses``: mean loss of each step of this epoch so far;
    ``result``: what the training leaves, with the mask in use."""

    forward: Callable[[Tensor], Tensor]

    def __init__(self, model: nn.Module, job: Job, group: Group, layout: torch.memory_format):
        self.model, self.job, self.group, self.layout = model, job, group, layout
        self.optimizer = _optimizer(model, job.recipe)
        # float16's small gradients are zeros unless scaled; with other precisions it does nothing
        device = device_of(model).type
        self.scaler = torch.amp.GradScaler(device, enabled=job.precision == "float16")
        if self.scaler.is_enabled() and job.recipe.optimizer == "sgd" and job.recipe.momentum:
            # a first step that is left out would leave PyTorch's fused SGD with memory that nobody has written to
            for weight in model.parameters():
                self.optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self.step = self.begin = job.start
        self.result = Training(precision=job.precision, processes=group.size)
        self.losses: list[Tensor] = []
        self.began = time.perf_counter()
        self._seeded: list[bytes] | None = None
        self._draws = True
        self._masks: dict[str, Tensor] = {}
        self.set_mask(job.mask)

    def set_mask(self, mask: Mask | None) -> None:
        """Prune by this mask from now on. Raise ``SettingError`` if it does not fit the model."""
        self.result.mask, self._masked = mask, []
        if mask is None:
            return
        weights = {name: weight.data for name, weight in self.model.named_parameters()}
        mask.check_matches({name: weight.shape for name, weight in weights.items()})
        self._masked = [weights[name] for name in mask]
        # in the weights' own strides, so that one call multiplies them all; those that are there are overwritten, for a
        # captured step reads them where they are
        before = self._masks
        self._masks = {n: before[n] if n in before else torch.empty_like(weights[n]) for n in mask}
        for name, kept in mask.items():
            self._masks[name].copy_(kept)

    def enforce_mask(self) -> None:
        """Set removed weights to 0."""
        if self._masked:
            torch._foreach_mul_(self._masked, [*self._masks.values()])  # pyright: ignore[reportPrivateImportUsage]

    def begin_step(self, device: torch.device) -> None:
        """Seed, if layers draw at random, as dropout does, and set the learning rate of this step. An epoch's first step is
        always seeded, and shows whether they do."""
        into_epoch = self.step % self.job.recipe.steps_per_epoch(self.job.count)
        first = self.step == self.begin or not into_epoch
        if not first and self._seeded is not None:
            self._draws, self._seeded = self._seeded != states(device), None
        if first or self._draws:
            rank = [self.group.rank] if self.group.rank else []
            reseed(device, derive(self.job.seed, "step", self.step, *rank))
        if first:
            self._seeded = states(device)
        rate = self.job.recipe.lr_at(self.step, self.job.count)
        for parameters in self.optimizer.param_groups:
            if isinstance(parameters["lr"], Tensor):
                parameters["lr"].fill_(rate)
            else:
                parameters["lr"] = rate

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take a step of the optimizer, unless gradients of float16 overflow; return the batch's loss."""
        loss = self._loss(images, labels, self.job.precision)
        self.model.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.enforce_mask()
        return loss.detach()

    def move_mask(self, images: Tensor, labels: Tensor, update: MaskUpdate, before: Mask) -> Tensor:
        """Let an update move the mask by a batch's gradients, and note how many connections it grew (it drops as many);
        return the batch's loss."""
        # overflowing gradients of float16 would decide what grows
        precision = "float32" if self.scaler.is_enabled() else self.job.precision
        loss = self._loss(images, labels, precision)
        self.model.zero_grad()
        loss.backward()
        after = update.apply(self.model, self.optimizer, before, self.step, self.job.total)
        self.group.check_agreed(after, self.step)
        self.set_mask(after)
        grown = sum(int((after[n] & ~before[n]).sum()) for n in after)
        moved = {"step": self.step, "grown": grown, "changed_share": grown / max(1, after.kept)}
        self.result.updates.append(moved)
        self.result.update_images += self.job.batch
        self.enforce_mask()
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor, precision: str) -> Tensor:
        images = images.contiguous(memory_format=self.layout)
        if self.layout is torch.contiguous_format:
            # of one channel, images may have the strides of channels-last and count as contiguous, and a convolution goes by strides
            images = images.clone(memory_format=self.layout) if images.shape[1] == 1 else images
        return batch_loss(self.forward, images, labels, precision, self.job.recipe.label_smoothing)

    def elapsed(self) -> float:
        """Return seconds of training so far, those before a checkpoint included."""
        return time.perf_counter() - self.began


Hook = Callable[[Run], None]


def loop(run: Run, batches: Iterable[tuple[Tensor, Tensor]], hooks: list[Hook], learn: Step) -> None:
    """Train to the end by ``learn``, ``run.learn`` or what replays it. Each hook is called before every step, and once more
    after the last.

    A step on which the job's update is due moves the mask in place of the weights.
    """
    update, total = run.job.update, run.job.total
    for images, labels in batches:
        for hook in hooks:
            hook(run)
        run.begin_step(images.device)
        mask = run.result.mask
        if update is not None and mask is not None and update.due(run.step, total):
            loss = run.move_mask(images, labels, update, mask)
        else:
            loss = learn(images, labels)
        run.losses.append(loss)
        run.result.images += run.job.batch
        run.step += 1
    for hook in hooks:
        hook(run)


def keep_rewind_state(run: Run) -> None:
    """Copy parameters and buffers, to the processor, at the step that a ticket is rewound to."""
    if run.step == run.job.recipe.rewind_step(run.job.count):
        state = run.model.state_dict()
        run.result.rewind = {name: tensor.to("cpu", copy=True) for name, tensor in state.items()}


def end_epoch(run: Run) -> None:
    """Note an epoch's mean loss; losses are read once an epoch, since reading makes a GPU wait.

    Raises:
        DivergedError: If one of them is not finite.
    """
    job = run.job
    if not run.losses or (run.step % job.recipe.steps_per_epoch(job.count) and run.step < job.total):
        return
    losses = run.group.mean(torch.stack(run.losses)).cpu()
    if not losses.isfinite().all():
        first = int((~losses.isfinite()).nonzero()[0])
        step = run.step - len(losses) + first
        raise DivergedError(f"training diverged: the loss was {losses[first].item()} at step {step}")
    run.result.losses.append(losses.mean().item())
    run.result.epoch_seconds.append(run.elapsed() - sum(run.result.epoch_seconds))
    run.losses.clear()


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
    """Train ``model`` in place with cross-entropy and leave it in eval mode on the device.

    Args:
        mask: Removed weights are 0 before the first step and after every one, whatever the optimizer says.
        start: Step to begin at: schedule, images and augmentation resume there, with a fresh optimizer (for rewinding).
        update: Moves the mask on the way; on its steps the weights that stay are not changed.
        device: None takes CUDA if there is one.
        launch: How many processes train and read, and where checkpoints go; by default that of ``launching``.

    Raises:
        DivergedError: If the loss becomes NaN or infinite (noticed at the end of the epoch).
        SettingError: For a ``start`` beyond the training, a mask that does not fit, or an ``update`` without a mask.

    Example:
        >>> from lotterylib import datasets, models
        >>> data, network = datasets.load("digits", limit=20), models.build("lenet", classes=10, channels=1)
        >>> recipe = Recipe(epochs=2, batch_size=10, warmup=0, rewind=0)
        >>> len(train(network, data, recipe, device="cpu", progress=False).losses)
        2
    """
    if update is not None and mask is None:
        raise SettingError("an update needs a mask to start from")
    device, launch = pick_device(device), launch or current()
    precision = pick_precision(model, data.train, recipe, device, launch)
    job = Job(data, recipe, mask, seed, start, update, precision)
    if launch.processes > 1:
        from .parallel import train_together

        return train_together(model, job, device, progress, launch)
    return train_here(model, job, device, progress, launch)


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
        model.to(device).to(memory_format=layout).train()
        return _train(Run(model, job, group or Group(), layout), device, progress, launch)

    return in_layout(attempt) if job.recipe.channels_last else attempt(torch.contiguous_format)


def _train(run: Run, device: torch.device, progress: bool, launch: Launch) -> Training:
    """Set up what surrounds the loop, and clear it away."""
    job, recipe = run.job, run.job.recipe
    checkpoints = Checkpoints(run, launch)
    checkpoints.resume(run)
    run.enforce_mask()
    forward = run.group.wrap(run.model)
    run.forward = _compiled(forward) if recipe.compile else forward
    run.began = time.perf_counter() - run.result.seconds
    first, share = run.step, run.group.share(job.batch)
    batches = training_batches(
        job.data.train, recipe, job.seed, range(first, job.total), device, share=share, workers=launch.workers,
        views_on_device=launch.views_on_device,
    )  # fmt: skip
    # said only if switched off, so that ``TQDM_DISABLE`` of the environment counts otherwise
    shown: dict[str, Any] = {} if progress else {"disable": True}
    bar = tqdm(total=job.total - first, unit="step", desc="training", leave=False, **shown)
    hooks = [keep_rewind_state, end_epoch, checkpoints, lambda run: bar.update(run.step - first - bar.n)]
    exact, learn, stream = recipe.deterministic, run.learn, contextlib.nullcontext()
    if launch.cuda_graphs and device.type == "cuda":
        learn, stream = CapturedStep(run.learn, run.optimizer, device), own_stream(device)
    with bar, forked(device), numerics(tf32=recipe.tf32, autotune=not exact, deterministic=exact), stream:
        loop(run, batches, hooks, learn)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    run.result.seconds = run.elapsed()
    run.optimizer.zero_grad()
    run.model.eval()
    checkpoints.remove(run)
    return run.result


def _compiled(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    # it gives up on code that it has compiled for eight networks, as many widths of one architecture are
    torch.compiler.reset()
    return torch.compile(forward)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    settings: dict[str, Any] = dict(lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
