"""Measure the speed of LIME: ResNet-8 on Fashion-MNIST at 32×32, the same superpixels, 1,000 samples per image, as ratios.

    python -m benchmarks.lime [--threads 1] [--images 6] [--repeats 3]

- `ours`: `metrics.interpretability.explain`, all images at once;
- `package`: the lime package as it comes, ten pictures to a batch;
- `package, batches of 500`: the same, with the batch size that suits the network.

The contestants take turns. The network itself costs all of them the same a picture; the last line says what share of
our time that is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from torch import Tensor, nn

from lotterylib import datasets, models
from lotterylib.machine.devices import pick_device
from lotterylib.metrics.interpretability import explain, superpixels
from lotterylib.training import predict

SAMPLES = 1000


def package(model: nn.Module, images: Tensor, segments: Tensor, batch_size: int) -> None:
    """The lime package, image by image, with the settings of ``explain``."""

    def classify(pictures: np.ndarray) -> np.ndarray:  # lime has made grey pictures RGB
        grey = torch.from_numpy(pictures[..., :1]).movedim(-1, 1).float()
        return predict(model, grey).softmax(dim=1).numpy()

    explainer = LimeImageExplainer(random_state=0)
    for image, cut in zip(images.double().numpy(), segments.numpy(), strict=True):
        explainer.explain_instance(
            image[0], classify, top_labels=1, hide_color=0, num_samples=SAMPLES, batch_size=batch_size,
            segmentation_fn=lambda _, cut=cut: cut,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads (default: 1)")
    parser.add_argument("--images", type=int, default=6, help="images to explain (default: 6)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = datasets.load("fashion-mini", limit=1000).limited(options.images)
    model = models.build("resnet8", data.classes, data.channels, stem_stride=2, mean=data.mean, std=data.std)
    model = model.to(pick_device()).eval()
    images = data.test[0][:]
    segments = superpixels(images)
    pictures = images.repeat(SAMPLES, 1, 1, 1)
    contestants: dict[str, Callable[[], object]] = {
        "ours": lambda: explain(model, images, segments, samples=SAMPLES),
        "package": lambda: package(model, images, segments, 10),
        "package, batches of 500": lambda: package(model, images, segments, 500),
        "the network alone": lambda: predict(model, pictures),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):  # lime's progress bars
        for _ in range(options.repeats + 1):  # the first is the warm-up
            for name, run in contestants.items():
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
    print(
        f"LIME, {SAMPLES:,} samples an image, ResNet-8 at 32×32 on {pick_device()}, {options.threads} thread(s)"
    )
    print(f"{'':26}{'s/image':>9}   this ÷ ours, median (min to max)")
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values[1:], seconds["ours"][1:], strict=True)]
        span = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:26}{statistics.median(values[1:]) / len(images):>9.3f}   {span}")


if __name__ == "__main__":
    main()
