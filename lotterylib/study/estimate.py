"""The training speed of networks on this device, and that of corrupting images on a processor."""

from __future__ import annotations

import math
import statistics
import time

import torch

from ..datasets import CORRUPTIONS, Dataset, Shape, corrupt
from ..datasets.corruptions import SEVERITIES
from ..machine.devices import device_name, pick_device
from ..rng import generator
from ..training import Recipe, train
from ..training.graph import WARM_UP
from ..training.launch import current
from ..training.precision import pick_precision
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
    """Return the training images per second of one worker, measured for about ``seconds``: the median over short epochs, after
    what comes once (algorithms are chosen, a step is compiled or captured); with several processes
    (``training.launching``), of all together."""
    # says clearly if it is not there
    device_name(device)
    network, size = model.build(data, seed=0), recipe.batch_size
    with fixed_threads(threads):
        precision = pick_precision(network, data.train, recipe, pick_device(device), current())

        def rates(batches: int, epochs: int) -> list[float]:
            """Train for some epochs of so many batches; the images per second of each."""
            burst = data.limited(min(len(data.train[1]), batches * size))
            # a rate that cannot diverge, whatever the recipe's: speed does not depend on it
            changes = dict(epochs=epochs, rewind=0.0, warmup=0.0, lr=1e-6, precision=precision)
            short = recipe.model_copy(update=changes)
            done = train(network, burst, short, seed=0, device=device, progress=False)
            return [done.images / epochs / each for each in done.epoch_seconds]

        first = WARM_UP + 1 if current().cuda_graphs else 1
        rate = rates(1, first + 1)[-1]
        # a fifth of the time each: large networks take long for one batch
        batches = max(1, int(seconds * rate / 5 / size))
        return statistics.median(rates(batches, first + 5)[-5:])


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
    """Return noise in memory, eight batches or more, and the recipe for such, in place of data that are not here, where
    only speed matters."""
    like = shape(source)
    count = max(8 * recipe.batch_size, 2**24 // (like.channels * like.size**2))
    images = torch.rand(count, like.channels, like.size, like.size, generator=generator(0, "speed"))
    split = images, torch.arange(count) % like.classes
    data = Dataset(
        name="noise", train=split, val=split, test=split, class_names=tuple(map(str, range(like.classes)))
    )
    return data, recipe.model_copy(update=dict(crop="padded"))
