"""Simulate how often 95% intervals hold the truth, the verdict's and the metrics' own, and write the table that the verdict's
page shows.

    python -m benchmarks.intervals [--part metrics] [--draws 4000] [--out lotterylib/verdict/coverage.csv]

Each case draws studies whose truth is known, computes an interval as the library does, and counts how often the truth lies in
it. The aim is .93 to .97. An interval over proportions may lie above, since counts are whole numbers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import bias, measured
from lotterylib.results import tidy
from lotterylib.verdict import differences, interval, paired_proportions, proportion
from lotterylib.verdict.coverage import FILE
from lotterylib.verdict.retraining import Band

# of a study; they are right or wrong together, so 4,000 intervals are 250 studies
TICKETS = 16

Random = np.random.Generator
# draws some hits and misses of one simulated study
Case = Callable[[Random], list[bool]]


def trainings(seeds: int, images: float) -> Case:
    """A mean over seeds that share their images' error; between trainings the sd is 1."""

    def draw(random: Random) -> list[bool]:
        values = images * random.normal() + random.normal(size=seeds)
        found = interval(values, [images] * seeds if images else [])
        return [found.low <= 0 <= found.high]

    return draw


def tickets(seeds: int, count: int, unlike: float, images: float, moderated: bool) -> Case:
    """Tickets of a study against its dense networks, which they share: through ``differences``, from a tidy table.

    ``unlike``: the degrees of freedom of a χ² by which their variances differ; infinite: not at all.
    """

    def draw(random: Random) -> list[bool]:
        sd = np.ones(count) if math.isinf(unlike) else np.sqrt(unlike / random.chisquare(unlike, count))
        dense = random.normal(size=seeds)
        found = (
            images * random.normal(size=(count, 1)) + sd[:, None] * random.normal(size=(count, seeds)) - dense
        )
        common = dict(dataset="drawn", model="drawn", metric="nll", samples=1000)
        rows = [common | dict(pruner="dense", sparsity=0.0, seed=s, value=d) for s, d in enumerate(dense)]
        rows += [
            common
            | dict(pruner="ticket", sparsity=(t + 1) / (count + 1), seed=s, value=dense[s] + d)
            | {"difference": {"value": d, "error": images or None}}
            for t, row in enumerate(found)
            for s, d in enumerate(row)
        ]
        table = differences(tidy(rows), moderated=moderated)
        return list((table.low <= 0) & (table.high >= 0))

    return draw


def shares(chance: float, images: int) -> Case:
    def draw(random: Random) -> list[bool]:
        found = proportion(int(random.binomial(images, chance)), images)
        return [found.low <= chance <= found.high]

    return draw


def paired_shares(chances: tuple[float, float, float, float], images: int) -> Case:
    """Shares of the same images: both, first, second and neither right."""

    def draw(random: Random) -> list[bool]:
        found = paired_proportions(*(int(n) for n in random.multinomial(images, chances)))
        return [found.low <= chances[1] - chances[2] <= found.high]

    return draw


def retrainings(dense: int, seeds: int) -> Case:
    """The mean of further dense trainings, predicted from those that there are."""

    def draw(random: Random) -> list[bool]:
        low, high = Band.of(random.normal(size=dense)).predict(seeds)
        return [low <= random.normal(size=seeds).mean() <= high]

    return draw


def cases() -> Iterator[tuple[str, str, Case]]:
    """Yield interval, setting and case."""
    for seeds in (3, 10):
        for images in (0.0, 0.5, 1.0):
            yield (
                "mean over seeds (Welch)",
                f"{seeds} seeds, images' error {images:g} of the sd",
                trainings(seeds, images),
            )
    for moderated, name in ((False, "ticket − dense, alone"), (True, "ticket − dense, variances pooled")):
        for seeds in (3, 10):
            for unlike in (math.inf, 8.0) if moderated else (math.inf,):
                for images in (0.0, 0.5):
                    alike = (
                        "equal variances" if math.isinf(unlike) else f"variances unlike (χ² with {unlike:g})"
                    )
                    setting = f"{seeds} seeds, {TICKETS} tickets, {alike}, images' error {images:g} of the sd"
                    yield name, setting, tickets(seeds, TICKETS, unlike, images, moderated)
    for chance, images in ((0.9, 200), (0.5, 40), (0.98, 1000)):
        yield "share of images (Wilson)", f"{chance:g} of {images} images", shares(chance, images)
    for chances, images in (
        ((0.85, 0.06, 0.03, 0.06), 100),
        ((0.5, 0.2, 0.1, 0.2), 40),
        ((0.9, 0.05, 0.03, 0.02), 1000),
    ):
        setting = f"{images} images, only one right on {chances[1]:g} and {chances[2]:g}"
        yield "difference of two shares (Newcombe)", setting, paired_shares(chances, images)
    for dense, seeds in ((10, 3), (20, 10)):
        setting = f"{dense} dense networks, mean of {seeds} more"
        yield "what a retraining changes (prediction)", setting, retrainings(dense, seeds)


# part of the table → its cases, and how many intervals are drawn of each: a metric takes longer than a verdict
PARTS: dict[str, tuple[Callable[[], Iterator[tuple[str, str, Case]]], int]] = {
    "verdict": (cases, 4000),
    "bias": (bias.cases, 400),
    "metrics": (measured.cases, 400),
}


def simulate(part: str, draws: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Return one row per case: ``part``, ``interval``, ``setting``, ``coverage``, ``draws`` (the intervals that it is counted
    over), and the seed and versions that it was made with."""
    found, usual = PARTS[part]
    rows = []
    for name, setting, case in tqdm(list(found()), desc=part):
        random, hits = np.random.default_rng(seed), []
        while len(hits) < (draws or usual):
            hits += case(random)
        rows.append((part, name, setting, round(float(np.mean(hits)), 4), len(hits)))
    table = pd.DataFrame(rows, columns=pd.Index(["part", "interval", "setting", "coverage", "draws"]))
    return table.assign(seed=seed, **{name: version(name) for name in ("lotterylib", "numpy", "scipy")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="make this part of the table anew (default: all)"
    )
    parser.add_argument("--draws", type=int, help="intervals per case (default: 4000, of metrics 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    anew = options.part or list(PARTS)
    tables = (
        {part: rows for part, rows in pd.read_csv(options.out).groupby("part")}
        if options.out.exists()
        else {}
    )
    tables |= {part: simulate(part, options.draws, options.seed) for part in anew}
    pd.concat([tables[part] for part in PARTS if part in tables]).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
