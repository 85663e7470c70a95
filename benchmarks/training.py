"""Measure training and evaluation side by side in one run, as ratios.

    python -m benchmarks.training [--threads 2] [--repeats 5] [--compile]

Training ResNet-8 at 32×32:

- `loop`: the library's loop, with data pipeline, augmentation and mask;
- `bare`: forward, backward and step on one fixed batch, nothing else: what the hardware gives;
- `plain`: a tutorial's loop: float32, NCHW, torchvision transforms image by image in a DataLoader;
- the loop again in the precision that the default did not choose, with deterministic algorithms, and (`--compile`) compiled.

Evaluating ResNet-8 and, on colour, ResNet-20s: `predict`, which takes pieces of 100 images in channels-last, against
pieces of 500 in the layout in which images come.

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
from lotterylib.machine.devices import pick_device
from lotterylib.training import Launch, predict
from lotterylib.training.precision import pick_precision

# a burst: 20 steps of 128
IMAGES = 2560
RECIPE = Recipe(epochs=1, batch_size=128, rewind=0, warmup=0, crop_padding=2, nesterov=True)


def network(data: Data) -> nn.Module:
    return models.build("resnet8", data.classes, data.channels, mean=data.mean, std=data.std)


def library_loop(data: Data, precision: str, **settings: bool) -> Callable[[], float]:
    """Return the images per second of the library's loop under a 90 % mask; ``settings`` are the recipe's."""
    model = network(data)
    mask = Mask.top(pruners.random.scores(model, seed=0), 0.1)
    recipe = RECIPE.model_copy(update=dict(precision=precision, **settings))

    def burst() -> float:
        done = train(model, data, recipe, mask, progress=False)
        return done.images / done.seconds

    return burst


def bare_steps(data: Data, precision: str) -> Callable[[], float]:
    """Return the images per second of forward, backward and step on one batch, channels-last."""
    device = pick_device()
    model = network(data).to(device).to(memory_format=torch.channels_last).train()
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
        # waits for a GPU
        loss.item()
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
    """Return the images per second of a tutorial's loop: float32, NCHW, one transform per image, the mask layer by layer."""
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


def evaluation(model: nn.Module, images: torch.Tensor, fitted: bool) -> Callable[[], float]:
    """Return the images per second of ``predict``, or of pieces of 500 images in their own layout."""
    device = pick_device()
    model = model.to(device).eval()

    @torch.no_grad()
    def burst() -> float:
        began = time.perf_counter()
        if fitted:
            predict(model, images, device=device)
        else:
            torch.cat([model(piece.to(device)).float().cpu() for piece in images.split(500)])
        return len(images) / (time.perf_counter() - began)

    return burst


def compare(title: str, contestants: dict[str, Callable[[], float]], repeats: int) -> None:
    """Let contestants take turns and print their speed, and the first one's as a ratio to each."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    # the first turn warms up
    for turn in range(repeats + 1):
        for name, burst in contestants.items():
            rate = burst()
            rates[name] += [rate] if turn else []
    reference = next(iter(rates.values()))
    print(f"{title} on {pick_device()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'':40}{'images/s':>10}   first ÷ this, median (min to max)")
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(reference, values, strict=True)]
        span = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:40}{statistics.median(values):>10,.0f}   {span}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="bursts of each (default: 5)")
    parser.add_argument(
        "--compile", action="store_true", help="also a compiled network (takes a minute more)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = datasets.load("fashion-mini", limit=IMAGES)
    long = RECIPE.model_copy(update={"epochs": 1000})
    chosen = pick_precision(network(data), data.train, long, pick_device(), Launch())
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
    compare("training ResNet-8 at 32×32", contestants, options.repeats)
    grey = data.test[0][:1000]
    for name, images in (("resnet8", grey), ("resnet20s", grey.expand(-1, 3, -1, -1).contiguous())):
        model = models.build(name, data.classes, images.shape[1])
        turns = {
            "predict (pieces of 100, channels-last)": evaluation(model, images, fitted=True),
            "pieces of 500 as they come": evaluation(model, images, fitted=False),
        }
        compare(f"evaluating {name} at {tuple(images.shape[1:])}", turns, options.repeats)


if __name__ == "__main__":
    main()
