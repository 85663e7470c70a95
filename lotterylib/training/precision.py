"""Precision "auto": bfloat16 where a burst shows it to train this network faster on this device, else float32."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..datasets import Split
from ..files import sha256, write_first
from ..machine.devices import describe_device, half_precision
from ..machine.layout import in_layout
from ..machine.numerics import numerics
from ..rng import forked, generator
from .graph import WARM_UP, CapturedStep, Step, own_stream
from .launch import PRECISIONS, Launch
from .prediction import in_mode
from .recipe import Recipe

# 16 bits have to be that many times as fast: less is within the noise, and float32 has more digits
WORTH = 1.15
# seconds of training in float32 that are too few to measure for
SHORT = 20.0
# seconds of measuring
BURST = 1.0

choices: dict[tuple, str] = {}


def pick_precision(
    model: nn.Module, train: Split, recipe: Recipe, device: torch.device, launch: Launch
) -> str:
    """Return "float32", "bfloat16" or "float16": what the recipe says, or for "auto" what the launch says, or what is faster.

    Measured once per process, or per folder of the launch's ``choices``, for a network's shape, batch, length of training and
    kind of device. Model, images and random state are left as found.
    """
    if recipe.precision != "auto":
        return recipe.precision
    if launch.precision:
        return launch.precision
    half = half_precision(device)
    if half is None:
        return "float32"
    images, labels = train
    batch = min(recipe.batch_size, len(labels)) // launch.processes
    shape = (max(1, batch), *images.shape[1:])
    weights = tuple(tuple(parameter.shape) for parameter in model.parameters())
    steps = recipe.total_steps(len(labels))
    # a captured step saves the launches, of which 16 bits take more: alone they would say that float32 is faster
    captured = launch.cuda_graphs and device.type == "cuda"
    kind = describe_device(device)
    key = (
        weights, shape, steps, kind, recipe.tf32, recipe.channels_last, torch.get_num_threads(), captured, launch.choices,
    )  # fmt: skip

    def measured() -> str:
        with in_mode(model, training=True), forked(device), numerics(tf32=recipe.tf32):
            return in_layout(lambda layout: _faster(model, half, shape, steps, device, layout, captured))

    if key not in choices:
        name = f"{sha256(repr(key[:-1]).encode())[:16]}.txt"
        choices[key] = _kept(launch.choices / name, measured) if launch.choices else measured()
    return choices[key]


def _kept(path: Path, measured: Callable[[], str]) -> str:
    """Return what the file says, after writing what is measured now if it says nothing; the first of several writers counts."""
    with contextlib.suppress(FileNotFoundError):
        if (found := path.read_text(errors="replace")) in PRECISIONS:
            return found
        path.unlink()
    return write_first(path, measured().encode()).decode()


def batch_loss(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    precision: str,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the batch's mean cross-entropy: the forward pass in this precision, the loss in float32."""
    half = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(images.device.type, half, enabled=precision != "float32"):
        outputs = forward(images)
    return nn.functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)


def _faster(
    model: nn.Module,
    half: str,
    shape: tuple[int, ...],
    steps: int,
    device: torch.device,
    layout: torch.memory_format,
    captured: bool,
) -> str:
    """Return the precision in which a step of SGD takes less time, ``captured`` in a CUDA graph or not, on copies of the
    weights."""
    images = torch.rand(shape, generator=generator(0, "precision")).to(device)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)
    state = {name: _copy(tensor, device, layout) for name, tensor in model.named_buffers()}
    for name, weight in model.named_parameters():
        state[name] = _copy(weight, device, layout).requires_grad_(weight.requires_grad)

    def forward(batch: Tensor) -> Tensor:
        return functional_call(model, state, (batch,))

    learned = [tensor for tensor in state.values() if tensor.requires_grad]

    def step_in(precision: str) -> Step:
        # the weights stay: speed does not depend on the rate
        optimizer = torch.optim.SGD(learned, lr=0.0, fused=True)

        def step(batch: Tensor, labels: Tensor) -> Tensor:
            loss = batch_loss(forward, batch.clone(memory_format=layout), labels, precision)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return CapturedStep(step, optimizer, device) if captured else step

    ways = {precision: step_in(precision) for precision in ("float32", half)}

    def seconds(precision: str) -> float:
        began = time.perf_counter()
        ways[precision](images, labels)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    ahead = WARM_UP + 1 if captured else 1
    with own_stream(device) if captured else contextlib.nullcontext():
        for _ in range(ahead):
            seconds("float32")
        if seconds("float32") * steps < SHORT:
            return "float32"
        for _ in range(ahead):
            seconds(half)
        ratios, began = [], time.perf_counter()
        while not ratios or time.perf_counter() - began < BURST:
            ratios.append(seconds("float32") / seconds(half))
    return half if statistics.median(ratios) >= WORTH else "float32"


def _copy(tensor: Tensor, device: torch.device, layout: torch.memory_format) -> Tensor:
    copy = tensor.detach().to(device, copy=True)
    return copy.contiguous(memory_format=layout) if copy.dim() == 4 else copy
