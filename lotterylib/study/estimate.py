"""The training speed of networks on this device, and that of corrupting images on a processor."""

from __future__ import annotations

import math
import statistics
import time

import torch

from ..datasets import CORRUPTIONS, Dataset, Shape, corrupt
from ..datasets.corruptions import SEVERITIES
from ..machine.devices import device_name
from ..rng import generator
from ..training import Recipe, train
from .plan import shape
from .profile import DataSource, ModelSpec
from .work import fixed_threads


def images_per_second(
    model: ModelSpec,
    data: Dataset,
    recipe: Recipe,
    *,
    threads: int = 1,
    device: str | None = None,
    seconds: float = 2.0,
) -> float:
    """Return the training images per second of one worker, measured for about ``seconds``: the median over short bursts of
    real training steps, after one that warms up; with several processes (``training.launching``), of all together."""
    # says clearly if it is not there
    device_name(device)
    # a rate that cannot diverge, whatever the recipe's: speed does not depend on it
    short = recipe.model_copy(update=dict(epochs=1, rewind=0.0, warmup=0.0, lr=1e-6))
    network = model.build(data, seed=0)

    def train_for(batches: int) -> float:
        burst = data.limited(min(len(data.train[1]), batches * recipe.batch_size))
        done = train(network, burst, short, seed=0, device=device, progress=False)
        return done.images / done.seconds

    with fixed_threads(threads):
        warm = train_for(1)
        # large networks take long for one
        batches = 8 if 8 * recipe.batch_size < seconds * warm else 1
        rates, began = [train_for(batches)], time.perf_counter()
        while time.perf_counter() - began < seconds:
            rates.append(train_for(batches))
    return statistics.median(rates)


def seconds_to_corrupt(data: Shape) -> float:
    """Return the seconds that a processor takes for one image under all corruptions and severities, measured on noise under the
    third severity."""
    size = data.channels, data.size, data.size
    images = torch.rand(max(2, min(100, 2**18 // math.prod(size))), *size, generator=generator(0, "speed"))
    began = time.perf_counter()
    for name in CORRUPTIONS[:15]:
        corrupt(images, name, 3)
    return (time.perf_counter() - began) / len(images) * len(SEVERITIES)


def noise(source: DataSource, recipe: Recipe) -> tuple[Dataset, Recipe]:
    """Return eight batches of noise in memory and the recipe for such, in place of data that are not here, where only
    speed matters."""
    like = shape(source)
    count = 8 * recipe.batch_size
    images = torch.rand(count, like.channels, like.size, like.size, generator=generator(0, "speed"))
    split = images, torch.arange(count) % like.classes
    data = Dataset(
        name="noise", train=split, val=split, test=split, class_names=tuple(map(str, range(like.classes)))
    )
    return data, recipe.model_copy(update=dict(crop="padded"))
