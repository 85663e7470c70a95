"""What several test modules share: small data and small networks."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lotterylib.datasets import Dataset
from lotterylib.rng import generator

FIRST = ("test_book.py", "test_processes.py")


def pytest_collection_modifyitems(config, items):
    """What takes minutes begins first, so that none of it is left over at the end: `make test` hands out whole files, in
    this order. What is marked long is left to `make long`."""
    items.sort(key=lambda item: (item.path.name not in FIRST, item.path.parent.name != "families"))
    if "LONG" not in os.environ:
        left = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


def toy_data(count: int = 64, classes: int = 3, channels: int = 1, size: int = 12) -> Dataset:
    """Images whose class is a bright square's place plus noise: learnable in a few steps."""
    splits = {}
    for split in ("train", "val", "test"):
        random = generator(0, "toy", split)
        labels = torch.arange(count) % classes
        images = 0.3 * torch.rand(count, channels, size, size, generator=random)
        for image, label in zip(images, labels, strict=True):
            image[:, 3 * label : 3 * label + 3, 4:8] = 0.9
        splits[split] = (images, labels)
    return Dataset(name="toy", class_names=tuple("abcdefghij"[:classes]), **splits)


def toy_network(classes: int = 3, seed: int = 0) -> nn.Module:
    """Convolution, BatchNorm, linear layer: all that masks and rewinding have to cover."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(96, classes),
        )


@pytest.fixture
def data() -> Dataset:
    return toy_data()


@pytest.fixture
def network() -> nn.Module:
    return toy_network()


@pytest.fixture
def own_metrics(monkeypatch):
    """Metrics that a test registers are forgotten after it."""
    from lotterylib.metrics.base import METRICS

    METRICS.names()
    monkeypatch.setattr(METRICS, "_known", dict(METRICS._known))


@contextmanager
def untouched_rng():
    """The block must not move the caller's global random state."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state was moved"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
