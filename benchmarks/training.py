"""How fast is the training loop? ResNet-8 at 32×32, measured side by side in one run, as ratios.

    python -m benchmarks.training [--threads 2] [--repeats 5] [--compile]

- `loop`: the library's loop, with data pipeline, augmentation and mask;
- `bare`: forward, backward and step on one fixed batch, nothing else: what the hardware gives;
- `plain`: what a tutorial writes: float32, NCHW, torchvision transforms image by image in a DataLoader;
- the loop again in the precision that the default did not choose, with deterministic algorithms, and (`--compile`) compiled.

The contestants take turns, so a machine that slows down slows all of them down.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lotterylib import Mask, Recipe, datasets, models, pruners, train
from lotterylib.datasets import Dataset as Data
from lotterylib.machine.devices import pick_device, pick_precision

IMAGES = 2560  # a burst: 20 steps of 128
RECIPE = Recipe(epochs=1, batch_size=128, rewind=0, warmup=0, crop_padding=2, nesterov=True)


def network(data: Data) -> nn.Module:
    return models.build("resnet8", data.classes, data.channels, mean=data.mean, std=data.std)


def library_loop(data: Data, precision: str, **settings: bool) -> Callable[[], float]:
    """Images a second of the library's loop under a 90 % mask; ``settings`` are the recipe's."""
    model = network(data)
    mask = Mask.top(pruners.random.scores(model, seed=0), 0.1)
    recipe = RECIPE.model_copy(update=dict(precision=precision, **settings))

    def burst() -> float:
        done = train(model, data, recipe, mask, progress=False)
        return done.images / done.seconds

    return burst


def bare_steps(data: Data, precision: str) -> Callable[[], float]:
    """Images a second of forward, backward and step on one batch, channels-last."""
    device = pick_device()
    model = network(data).to(device, memory_format=torch.channels_last).train()
    images, labels = (t[: RECIPE.batch_size].to(device) for t in data.train)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)

    def burst() -> float:
        began = time.perf_counter()
        for _ in range(IMAGES // RECIPE.batch_size):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # waits for a GPU
        return IMAGES / (time.perf_counter() - began)

    return burst


class OneByOne(Dataset):
    """Images cropped and flipped one at a time."""

    def __init__(self, data: Data):
        self.images, self.labels = data.train
        self.transform = v2.Compose([v2.RandomCrop(data.size, padding=2), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), self.labels[index]


def plain_loop(data: Data) -> Callable[[], float]:
    """Images a second of the tutorial's loop: float32, NCHW, a transform an image, the mask by a loop over layers."""
    device = pick_device()
    model = network(data).to(device).train()
    mask = Mask.top(pruners.random.scores(model, seed=0), 0.1)
    loader = DataLoader(OneByOne(data), batch_size=RECIPE.batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def burst() -> float:
        began, count = time.perf_counter(), 0
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mask.apply_(model)
            count += len(labels)
        loss.item()
        return count / (time.perf_counter() - began)

    return burst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="bursts of 2,560 images each (default: 5)")
    parser.add_argument(
        "--compile", action="store_true", help="also a compiled network (takes a minute more)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = datasets.load("fashion-mini", limit=IMAGES)
    chosen = pick_precision("auto", pick_device())
    other = "bfloat16" if chosen == "float32" else "float32"
    contestants = {
        f"loop ({chosen}, the default)": library_loop(data, chosen),
        f"bare steps ({chosen})": bare_steps(data, chosen),
        "plain loop (float32, NCHW, per image)": plain_loop(data),
        f"loop ({other})": library_loop(data, other),
        f"bare steps ({other})": bare_steps(data, other),
        f"loop ({chosen}, deterministic)": library_loop(data, chosen, deterministic=True),
    }
    if options.compile:
        contestants[f"loop ({chosen}, compiled)"] = library_loop(data, chosen, compile=True)
    for burst in contestants.values():
        burst()  # warm-up
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.repeats):
        for name, burst in contestants.items():
            rates[name].append(burst())
    reference = next(iter(rates.values()))
    print(
        f"training ResNet-8 at 32×32 on {pick_device()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    print(f"{'':40}{'images/s':>10}   default loop ÷ this, median (min to max)")
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(reference, values, strict=True)]
        span = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:40}{statistics.median(values):>10,.0f}   {span}")


if __name__ == "__main__":
    main()
