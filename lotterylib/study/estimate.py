"""How long a study will take, from training speed measured on this device."""

from __future__ import annotations

import os
import statistics
import time

import torch

from ..datasets import Dataset
from ..errors import SettingError
from ..training import Recipe, pick_device, train
from .cells import Cell, with_ancestors
from .profile import ModelSpec
from .store import Record, Store


def images_per_second(
    model: ModelSpec,
    data: Dataset,
    recipe: Recipe,
    *,
    threads: int = 1,
    device: str | None = None,
    seconds: float = 2.0,
) -> float:
    """Training images a second of one worker, measured for about ``seconds``: the median over short bursts of real
    training steps, after one that warms up."""
    device_name(device)  # says clearly if it is not there
    burst = data.limited(min(len(data.train[1]), 8 * recipe.batch_size))
    # a rate that cannot diverge, whatever the recipe's: speed does not depend on it
    short = recipe.model_copy(update=dict(epochs=1, rewind=0.0, warmup=0.0, lr=1e-6))
    network = model.build(data, seed=0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        train(network, burst, short, seed=0, device=device, progress=False)
        rates, began = [], time.perf_counter()
        while not rates or time.perf_counter() - began < seconds:
            done = train(network, burst, short, seed=0, device=device, progress=False)
            rates.append(done.images / done.seconds)
    finally:
        torch.set_num_threads(before)
    return statistics.median(rates)


def remaining(todo: list[tuple[Cell, dict[str, Record]]], store: Store) -> list[Cell]:
    """The trainings behind what is missing, shared rounds counted once, those that would diverge again left out."""
    every = with_ancestors([cell for cell, _ in todo], store.has_ticket)
    return [cell for cell in every if not store.has_ticket(cell) and not store.is_final(cell)]


def places(workers: int | None, threads: int, device: str | None, per_gpu: int = 1) -> list[str | None]:
    """The device of each worker of this machine. GPUs take turns unless one is named, each with ``per_gpu`` workers; on
    processors there is a worker for every ``threads`` cores. ``workers`` says how many there are instead."""
    chosen = pick_device(device)
    if chosen.type != "cuda":
        return [device] * (workers or max(1, (os.cpu_count() or 1) // threads))
    count = torch.cuda.device_count() if chosen.index is None else 1
    gpus = [f"cuda:{i}" for i in range(count)] if chosen.index is None else [device]
    return [gpus[i % count] for i in range(workers or count * per_gpu)]


def device_name(device: str | None) -> str:
    """The device that a run would take: "cpu", "cuda", … Raises ``SettingError`` if it is not there."""
    try:
        return torch.empty(0, device=pick_device(device)).device.type
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"device {device!r} cannot be used: {reason}") from None
