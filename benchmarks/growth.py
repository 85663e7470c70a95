"""Measure how work grows: training and measuring a ticket with images and parameters, `status`, `plan` and the table of a
study with its tickets and seeds, each as a ratio to the smallest.

    python -m benchmarks.growth [--quick]

One thread. Tickets are found and measured as a worker does it. Large studies are stores that only look finished: nothing
was trained. A fixed part, such as reading a profile, makes a ratio smaller than the growth; a larger one is worth a look.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch
import yaml

from benchmarks.table import Row, span
from lotterylib.cli import main as lottery
from lotterylib.results import tidy
from lotterylib.study import Profile, Store, expand, load_profile, records
from lotterylib.study.cells import digest, wanted, with_ancestors
from lotterylib.study.lookup import missing
from lotterylib.study.work import Worker

# the seconds of one turn, by what was done
Point = Callable[[], dict[str, float]]


def ticket(folder: Path, images: int, width: float, turns: int) -> tuple[int, Point]:
    """Return the parameters of a network, and what finds and measures another ticket of it on every call."""
    smoke = load_profile("smoke")
    metrics = {
        name: settings | ({"images": settings["images"] * images // 250} if "images" in settings else {})
        for name, settings in smoke.metrics.items()
    }
    model = {"name": "resnet8", "width": width, "settings": {"stem_stride": 2}}
    changes = dict(
        dataset={"name": "fashion-mini", "limit": images}, models=[model], seeds=[0], metrics=metrics
    )
    recipe = smoke.recipe.model_copy(update={"epochs": 6})
    pruned = dict(pruners={"random": {}}, rounds=list(range(1, turns + 1)), recipe=recipe)
    profile = Profile(**smoke.model_dump() | changes | pruned)
    store = Store(folder / f"{images}-{width}").open_for_writing()
    worker, ((dense, _), *rest) = Worker(store), missing(profile, store)
    worker.find(dense)
    left = iter(rest)

    def turn() -> dict[str, float]:
        cell, asked = next(left)
        for outcome in (worker.find(cell), worker.measure(cell, asked)):
            assert outcome.what == "found", outcome.reasons
        rows = [store.record(cell, metric, settings) or {} for metric, settings in asked.items()]
        trained = (store.about(cell) or {})["seconds"]
        return {"training a ticket": trained, "measuring a ticket": sum(row["seconds"] for row in rows)}

    return sum(weights.numel() for weights in store.load_ticket(dense).model.parameters()), turn


def pretend(profile: Profile, store: Store, **extra: object) -> None:
    """Fill an empty store as if all of a study had been computed; records get ``extra``."""
    for part in ("records", "tickets", "cells"):
        (store.root / part).mkdir()
    empty = safetensors.torch.save({"x": torch.zeros(1)})
    for cell in with_ancestors(expand(profile)):
        store.ticket_path(cell).write_bytes(empty)
        store.about_path(cell).write_text('{"training": {}}')
    for cell, metric, settings, id in wanted(profile):
        row = dict(
            id=id, dataset=cell.dataset.name, model=cell.model.name, pruner=cell.pruner, seed=cell.seed
        )
        row |= dict(sparsity=cell.sparsity, metric=metric, value=0.5, error=0.1, samples=60, chance=0.1)
        row["extra"] = extra
        store.record_path(cell, metric, settings).write_text(json.dumps(row | {"checksum": digest(row)}))


def finished(folder: Path, levels: int, seeds: int) -> tuple[Path, Store]:
    """Return a profile's file and a store that looks as if all of it had been computed."""
    smoke = load_profile("smoke").model_dump(mode="json", exclude_defaults=True)
    changes = dict(name=f"of-{levels}-{seeds}", pruners=["random", "lottery"], metrics=["accuracy"])
    grid = dict(rounds=list(range(1, levels + 1)), seeds=list(range(seeds)), metric_seeds=[])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{changes['name']}.yaml"
    path.write_text(yaml.safe_dump(smoke | changes | grid))
    profile, store = load_profile(path), Store(folder / path.stem).open_for_writing()
    pretend(profile, store)
    return path, store


def study(folder: Path, levels: int, seeds: int) -> Point:
    """Return what shows a large study, on every call."""
    path, store = finished(folder, levels, seeds)
    ask = ["--profile", str(path), "--store"]
    works: dict[str, Callable[[], object]] = {
        "`lottery status`": lambda: lottery(["status", *ask, str(store.root)]),
        "`lottery plan`": lambda: lottery(
            ["plan", *ask, str(store.root / "none"), "--images-per-second", "100"]
        ),
        "the table of a study": lambda: tidy(records(load_profile(path), store)).empty,
    }

    def turn() -> dict[str, float]:
        seconds = {}
        for name, work in works.items():
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                assert not work(), name
            seconds[name] = time.perf_counter() - began
        return seconds

    return turn


def grow(axis: str, points: dict[float, Point], repeats: int) -> list[Row]:
    """Let the points, by their sizes, take turns after one to warm up; print their seconds as ratios to the smallest, and
    return those of the largest."""
    turns = [[point() for point in points.values()] for _ in range(repeats + 1)][1:]
    sizes, rows = [size / min(points) for size in points], []
    print(
        f"\n{f'with {axis}: {min(points):,} to {max(points):,}':40}{'seconds':>9}   this ÷ the smallest, median (min to max)"
    )
    for what in turns[0][0]:
        columns = list(zip(*[[seconds[what] for seconds in turn] for turn in turns], strict=True))
        for size, column in zip(sizes, columns, strict=True):
            ratios = [a / b for a, b in zip(column, columns[0], strict=True)]
            middle = [f"{statistics.median(values):.3f} s" for values in (column, columns[0])]
            print(f"{f'{what} ×{size:.1f}':40}{middle[0]:>9}   {span(ratios)}", flush=True)
            row = Row(f"{what}, {size:.1f} times the {axis}", *middle, ratios, "times as long")
        rows.append(row)
    return rows


def measure(quick: bool = False) -> Iterator[Row]:
    """Measure every growth, one after the other."""
    repeats, images, seeds, levels = (1, 250, 10, 5) if quick else (2, 250, 25, 10)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # without the dense network of each seed
        of_tickets = {2 * n * levels * seeds: study(folder / "t", n * levels, seeds) for n in (1, 2, 4)}
        yield from grow("tickets", of_tickets, repeats + 1)
        of_seeds = {n * seeds: study(folder / "s", levels, n * seeds) for n in (1, 2, 4)}
        yield from grow("seeds", of_seeds, repeats + 1)
        of_weights = dict(ticket(folder / "p", images, width, repeats + 1) for width in (0.5, 0.75, 1))
        yield from grow("parameters", of_weights, repeats)
        of_images = {n * images: ticket(folder / "i", n * images, 0.5, repeats + 1)[1] for n in (1, 2, 4)}
        yield from grow("images", of_images, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small studies, one turn each")
    list(measure(parser.parse_args().quick))


if __name__ == "__main__":
    main()
