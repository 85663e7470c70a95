"""Trainings that go on where they were killed, with the same numbers.

A checkpoint is one safetensors file, written whole: weights and buffers, what the optimizer remembers, the mask, the
state at the rewind step, and (as JSON in its header) the step, the losses so far and the scale of float16. Randomness needs no storing: it is
a function of (seed, step).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..files import write_whole
from ..masks import Mask
from .launch import Launch
from .state import State, Training

if TYPE_CHECKING:
    from .loop import Job, Run

FORMAT = "lotterylib-checkpoint-1"
_PLAIN = (
    "losses", "images", "seconds", "epoch_seconds", "precision", "processes", "update_images", "updates",
)  # fmt: skip


class Checkpoints:
    """A hook that saves a training every so many epochs, in a file of its own, from which ``resume`` goes on."""

    def __init__(self, run: Run, launch: Launch):
        self._every, self._spacing, self._saved = launch.every, launch.spacing, time.perf_counter()
        self.path: Path | None = None
        if launch.checkpoints:
            self.path = launch.checkpoints / name_of(run.model, run.job.mask, _about(run.job))

    def resume(self, run: Run) -> None:
        """Bring a training to where the file left it; without a file it begins at its start."""
        found = load(self.path) if self.path else None
        if found:
            found.restore_(run.model, run.optimizer)
            run.scaler.load_state_dict(found.scaler)
            run.step = run.begin = found.step
            run.result = Training(**found.training, rewind=found.rewind)
            run.result.processes = run.group.size
            run.set_mask(found.mask)

    def __call__(self, run: Run) -> None:
        epoch, inside = divmod(run.step, run.job.recipe.steps_per_epoch(run.job.count))
        due = not inside and run.begin < run.step < run.job.total and epoch % self._every == 0
        if self.path and due and run.group.rank == 0 and time.perf_counter() - self._saved >= self._spacing:
            run.result.seconds = run.elapsed()
            scaler = run.scaler.state_dict()
            save(self.path, run.step, run.model, run.optimizer, run.result.mask, run.result, scaler)
            self._saved = time.perf_counter()

    def remove(self, run: Run) -> None:
        """Remove the file of a training that has ended."""
        if self.path and run.group.rank == 0:
            self.path.unlink(missing_ok=True)


def _about(job: Job) -> dict[str, Any]:
    """Return all that decides a training beside its weights and mask."""
    images, labels = job.data.train
    content = hashlib.sha256(labels.cpu().numpy().tobytes()).hexdigest()
    return dict(
        recipe=job.recipe.model_dump(mode="json"), data=[job.data.name, list(images.shape), content], seed=job.seed,
        start=job.start, update=repr(job.update), precision=job.precision,
    )  # fmt: skip


def name_of(model: nn.Module, mask: Mask | None, about: dict[str, Any]) -> str:
    """Return a file name for a training: a hash of the weights it begins with, its mask, and ``about`` (plain values).

    So one folder serves all trainings, and none goes on from another's checkpoint.
    """
    content = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for kind, tensors in (("state", model.state_dict()), ("mask", mask or {})):
        for name, tensor in tensors.items():
            content.update(f"{kind} {name} {tensor.dtype} {list(tensor.shape)}".encode())
            content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return f"{content.hexdigest()[:16]}.safetensors"


def save(
    path: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    mask: Mask | None,
    done: Training,
    scaler: dict[str, Any] | None = None,
) -> None:
    """Write what is needed to go on at ``step``; without an optimizer it is the end of a training. ``scaler``: the state of
    a ``GradScaler``.

    Raises:
        OSError: As the disk does.
    """
    remembered = {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items()
        if isinstance(value, Tensor)
    }
    groups = {
        "state": model.state_dict(),
        "mask": mask or {},
        "rewind": done.rewind or {},
        "optimizer": remembered,
    }
    # copies, for two names may share one tensor
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    plain = {"step": step, **{name: getattr(done, name) for name in _PLAIN}}
    if scaler:
        plain["scaler"] = scaler
    write_whole(path, to_bytes(tensors, metadata={"format": FORMAT, "training": json.dumps(plain)}))


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file; ``training`` are the plain values of a ``Training``."""

    step: int
    training: dict[str, Any]
    state: State
    rewind: State | None
    mask: Mask | None
    optimizer: dict[str, Tensor]
    scaler: dict[str, Any]

    def restore_(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Set weights, buffers and the optimizer's memory, in the memory layout that they have here."""
        model.load_state_dict(self.state)
        for name, parameter in model.named_parameters():
            for key in (k for k in self.optimizer if k.rpartition("/")[0] == name):
                value = self.optimizer[key].to(parameter.device)
                if value.shape == parameter.shape:
                    value = torch.empty_like(parameter, requires_grad=False).copy_(value)
                optimizer.state[parameter][key.rpartition("/")[2]] = value


def load(path: Path) -> Checkpoint | None:
    """Return the file's content; None if there is none, or it is damaged: then the training begins anew."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError):
        return None
    if about.get("format") != FORMAT:
        return None
    groups: dict[str, State] = {"state": {}, "mask": {}, "rewind": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = tensor
    plain = json.loads(about["training"])
    # the model's own layer order, not the file's
    mask = {name: groups["mask"][name] for name in groups["state"] if name in groups["mask"]}
    step, scaler = plain.pop("step"), plain.pop("scaler", {})
    return Checkpoint(
        step, plain, groups["state"], groups["rewind"] or None, Mask(mask) if mask else None,
        groups["optimizer"], scaler,
    )  # fmt: skip
