"""Measure training and evaluation side by side in one run, as ratios.

    python -m benchmarks.training [--threads 2] [--repeats 5] [--compile]

Training ResNet-8 at 32×32:

- `loop`: the library's loop, with data pipeline, augmentation and mask;
- `bare`: forward, backward and step on one fixed batch, nothing else: what the hardware gives;
- `plain`: a tutorial's loop: float32, NCHW, torchvision transforms image by image in a DataLoader;
- `Lightning`: the same under PyTorch Lightning's trainer, masks by `torch.nn.utils.prune`, where it is installed;
- the loop again with deterministic algorithms, in the precision that the default did not choose (where the hardware
  multiplies 16 bits), and (`--compile`) compiled.

Evaluating ResNet-8 and, on colour, ResNet-20s: `predict`, which takes pieces of 100 images in channels-last, against
passes of one such piece again and again, and pieces of 500 in the layout in which images come.

The contestants take turns, so a machine that slows down slows all of them down.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.table import Row, span
from lotterylib import Mask, Recipe, datasets, models, pruners, train
from lotterylib.datasets import Dataset as Data
from lotterylib.machine.devices import half_precision, pick_device
from lotterylib.training import Launch, predict
from lotterylib.training.precision import pick_precision

# a burst: 10 steps of 128; short ones, often, meet the same machine
IMAGES = 1280
RECIPE = Recipe(epochs=1, batch_size=128, rewind=0, warmup=0, crop_padding=2, nesterov=True)


def network(data: Data) -> nn.Module:
    return models.build("resnet8", data.classes, data.channels, mean=data.mean, std=data.std)


def library_loop(data: Data, precision: str, **settings: bool) -> Callable[[], float]:
    """Return the images per second of the library's loop under a 90% mask; ``settings`` are the recipe's."""
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


def lightning_loop(data: Data) -> Callable[[], float]:
    """Return the images per second of ``plain_loop``'s work as PyTorch Lightning does it, from the first step to the last.

    Raises:
        ImportError: If that is not installed.
    """
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network(data)
            mask = Mask.top(pruners.random.scores(self.model, seed=0), 0.1)
            for name, kept in mask.items():
                layer, _, weight = name.rpartition(".")
                prune.custom_from_mask(self.model.get_submodule(layer), weight, kept)

        def training_step(self, batch):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, nesterov=True)

        def on_train_start(self):
            self.began = time.perf_counter()

        def on_train_end(self):
            self.seconds = time.perf_counter() - self.began

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    loader = DataLoader(OneByOne(data), batch_size=RECIPE.batch_size, shuffle=True, drop_last=True)

    def burst() -> float:
        module = Module()
        with warnings.catch_warnings():
            # advice on the number of processes that read images
            warnings.simplefilter("ignore")
            lightning.Trainer(max_epochs=1, devices=1, accelerator=pick_device().type, **quiet).fit(
                module, loader
            )
        return IMAGES / module.seconds

    return burst


def evaluation(model: nn.Module, images: torch.Tensor, how: str) -> Callable[[], float]:
    """Return the images per second of ``predict``, of one piece again and again, or of pieces in their own layout."""
    device = pick_device()
    model = model.to(device).eval()
    piece = images[:100].to(device).contiguous(memory_format=torch.channels_last)

    def own() -> torch.Tensor:
        return torch.cat([model(some.to(device)).float().cpu() for some in images.split(500)])

    works = {
        "predict": lambda: predict(model, images, device=device),
        "bare": lambda: [model(piece) for _ in range(len(images) // len(piece))][-1].cpu(),
        "own": own,
    }

    @torch.no_grad()
    def burst() -> float:
        began = time.perf_counter()
        works[how]()
        return len(images) / (time.perf_counter() - began)

    return burst


def compare(title: str, contestants: dict[str, Callable[[], float]], repeats: int) -> list[Row]:
    """Let contestants take turns, print their speed and the first one's as a ratio to each, and return the ratios."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    # the first turn warms up
    for turn in range(repeats + 1):
        for name, burst in contestants.items():
            rate = burst()
            rates[name] += [rate] if turn else []
    (first, reference), *_ = rates.items()
    print(f"\n{title} on {pick_device()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'':40}{'images/s':>10}   first ÷ this, median (min to max)")
    rows = []
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(reference, values, strict=True)]
        here, beside = (f"{statistics.median(of):,.0f}" for of in (reference, values))
        print(f"{name:40}{beside:>10}   {span(ratios)}")
        rows.append(Row(title, f"{first}: {here} images/s", f"{name}: {beside} images/s", ratios))
    return rows[1:]


def measure(threads: int = 2, repeats: int = 5, compile: bool = False) -> list[Row]:
    """Compare training, then evaluating two networks."""
    torch.set_num_threads(threads)
    data = datasets.load("fashion-mini", limit=IMAGES)
    long = RECIPE.model_copy(update={"epochs": 1000})
    chosen = pick_precision(network(data), data.train, long, pick_device(), Launch())
    other = "bfloat16" if chosen == "float32" else "float32"
    contestants = {
        f"loop ({chosen}, the default)": library_loop(data, chosen),
        f"bare steps ({chosen})": bare_steps(data, chosen),
        "plain loop (float32, NCHW, per image)": plain_loop(data),
        f"loop ({chosen}, deterministic)": library_loop(data, chosen, deterministic=True),
    }
    # elsewhere 16 bits take minutes
    if half_precision(pick_device()):
        contestants[f"loop ({other})"] = library_loop(data, other)
        contestants[f"bare steps ({other})"] = bare_steps(data, other)
    try:
        contestants["Lightning (float32, NCHW, per image)"] = lightning_loop(data)
    except ImportError:
        print("PyTorch Lightning is not installed: skipped")
    if compile:
        contestants[f"loop ({chosen}, compiled)"] = library_loop(data, chosen, compile=True)
    rows = compare("training ResNet-8 at 32×32", contestants, repeats)
    grey = data.test[0][:500]
    for name, images in (("resnet8", grey), ("resnet20s", grey.expand(-1, 3, -1, -1).contiguous())):
        model = models.build(name, data.classes, images.shape[1])
        turns = {
            "predict (pieces of 100, channels-last)": evaluation(model, images, "predict"),
            "bare passes of one piece": evaluation(model, images, "bare"),
            "pieces of 500 as they come": evaluation(model, images, "own"),
        }
        rows += compare(f"evaluating {name} at {tuple(images.shape[1:])}", turns, repeats)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="bursts of each (default: 5)")
    parser.add_argument(
        "--compile", action="store_true", help="also a compiled network (takes a minute more)"
    )
    options = parser.parse_args()
    measure(options.threads, options.repeats, options.compile)


if __name__ == "__main__":
    main()
