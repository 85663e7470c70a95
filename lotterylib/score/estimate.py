"""The time that a scorecard takes, before and while it is made."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets import CORRUPTIONS, Dataset, corrupt
from ..errors import DataError, LotteryError, one_line
from ..metrics import Question
from ..training import predict

# pixels a side above which fewer images are looked at, in smaller pieces
LARGE = 64

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


class Estimate:
    """Seconds of work that is given as question → forward passes, both networks together; a question that was counted
    once costs nothing again."""

    def __init__(self, work: Mapping[str, Mapping[Question, float]], forward: float, corrupt: float):
        self.forward, self.corrupt = forward, corrupt
        self.of: dict[str, float] = {}
        counted: set[Question] = set()
        for name, questions in work.items():
            new = {key: count for key, count in questions.items() if key not in counted}
            counted |= set(new)
            self.of[name] = sum(
                count * (forward + (corrupt if key.kind in ("corrupted", "held out") else 0.0))
                for key, count in new.items()
            )

    @property
    def total(self) -> float:
        return sum(self.of.values())

    def without_measuring(self, work: Mapping[str, Mapping[Question, float]]) -> Estimate:
        """Return one of other work by the same networks."""
        return Estimate(work, self.forward, self.corrupt)

    @classmethod
    def measured(
        cls,
        work: Mapping[str, Mapping[Question, float]],
        networks: Sequence[tuple[str, nn.Module]],
        data: Dataset,
        device: torch.device,
    ) -> Estimate:
        """Return an estimate from a second or two of measuring; raise ``DataError`` for a network, by its name, that fails."""
        # As many images as a batch of most metrics.
        few, forward = data.test[0][: 250 if data.size <= LARGE else 8], 0.0
        for name, network in networks:
            try:
                forward += _seconds(network, few, device)
            except LotteryError:
                raise
            # a network of the user's own raises anything
            except Exception as error:
                reason = one_line(error, named=True)
                raise DataError(
                    f"{name} cannot be judged: on {len(few)} images it fails ({reason})"
                ) from error
        corrupts = any(
            key.kind in ("corrupted", "held out") for questions in work.values() for key in questions
        )
        return cls(work, forward, _seconds_to_corrupt(few[:2]) if corrupts else 0.0)


def _seconds(network: nn.Module, images: Tensor, device: torch.device) -> float:
    """Return those of a forward pass of one image: the median of as many repetitions as a slow network can afford."""
    # the first pass of all takes longer, however few its images
    predict(network, images[: len(images) // 10 + 1], device=device)
    times: list[float] = []
    while not times or sum(times) < 0.3 and len(times) < 20:
        began = time.perf_counter()
        predict(network, images, device=device)
        times.append(time.perf_counter() - began)
    return statistics.median(times) / len(images)


def _seconds_to_corrupt(images: Tensor) -> float:
    began = time.perf_counter()
    for name in CORRUPTIONS[:15]:
        corrupt(images, name, 3)
    return (time.perf_counter() - began) / len(images) / 15


@contextlib.contextmanager
def ticking(bar: tqdm) -> Iterator[None]:
    """Let a bar show the time go by within a long metric, too; close it in the end."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(1.0):
            bar.refresh()

    clock = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        clock.start()
    try:
        yield
    finally:
        over.set()
        if clock.is_alive():
            clock.join()
        bar.close()
