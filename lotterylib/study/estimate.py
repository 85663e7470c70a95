"""How long a study will take, from training speed measured on this device."""

from __future__ import annotations

import os
import statistics
import time

import torch

from ..datasets import Dataset
from ..distributed import check_gpus
from ..errors import SettingError
from ..rng import generator
from ..training import Recipe, pick_device, train
from .cells import Cell, with_ancestors
from .plan import shape
from .profile import DataSource, ModelSpec
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
    training steps, after one that warms up; with several processes (``distributed.launching``), of all together."""
    device_name(device)  # says clearly if it is not there
    # a rate that cannot diverge, whatever the recipe's: speed does not depend on it
    short = recipe.model_copy(update=dict(epochs=1, rewind=0.0, warmup=0.0, lr=1e-6))
    network = model.build(data, seed=0)

    def train_for(batches: int) -> float:
        burst = data.limited(min(len(data.train[1]), batches * recipe.batch_size))
        done = train(network, burst, short, seed=0, device=device, progress=False)
        return done.images / done.seconds

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        warm = train_for(1)
        batches = 8 if 8 * recipe.batch_size < seconds * warm else 1  # large networks take long for one
        rates, began = [train_for(batches)], time.perf_counter()
        while time.perf_counter() - began < seconds:
            rates.append(train_for(batches))
    finally:
        torch.set_num_threads(before)
    return statistics.median(rates)


def noise(source: DataSource, recipe: Recipe) -> tuple[Dataset, Recipe]:
    """In place of data that are not here, where only speed matters: eight batches of noise of that shape, in memory, and
    the recipe for such."""
    like = shape(source)
    count = 8 * recipe.batch_size
    images = torch.rand(count, like.channels, like.size, like.size, generator=generator(0, "speed"))
    split = images, torch.arange(count) % like.classes
    data = Dataset(
        name="noise", train=split, val=split, test=split, class_names=tuple(map(str, range(like.classes)))
    )
    return data, recipe.model_copy(update=dict(crop="padded"))


def remaining(todo: list[tuple[Cell, dict[str, Record]]], store: Store) -> list[Cell]:
    """The trainings behind what is missing, shared rounds counted once, those that would diverge again left out."""
    every = with_ancestors([cell for cell, _ in todo], store.has_ticket)
    return [cell for cell in every if not store.has_ticket(cell) and not store.is_final(cell)]


def places(
    workers: int | None, threads: int, device: str | None, per_gpu: int = 1, processes: int = 1
) -> list[str | None]:
    """The device of each worker of this machine, or the first of its ``processes`` devices. GPUs take turns unless one is
    named, each with ``per_gpu`` workers; on processors there is a worker for every ``threads`` cores. ``workers`` says how
    many there are instead.

    Raises ``SettingError`` for fewer GPUs than ``processes``, or if these shall share GPUs too.
    """
    if min(per_gpu, processes) > 1:
        raise SettingError(f"either {per_gpu} cells share a GPU or each trains on {processes}, not both")
    chosen = pick_device(device)
    if chosen.type != "cuda":
        return [device] * (workers or max(1, (os.cpu_count() or 1) // max(threads, processes)))
    check_gpus(processes, chosen.index)
    if chosen.index is not None:
        return [device] * (workers or per_gpu)
    firsts = range(0, torch.cuda.device_count() - processes + 1, processes)
    return [f"cuda:{firsts[i % len(firsts)]}" for i in range(workers or len(firsts) * per_gpu)]


def device_name(device: str | None) -> str:
    """The device that a run would take: "cpu", "cuda", … Raises ``SettingError`` if it is not there."""
    try:
        return torch.empty(0, device=pick_device(device)).device.type
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"device {device!r} cannot be used: {reason}") from None
