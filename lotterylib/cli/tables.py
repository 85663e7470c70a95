"""The tables of ``lottery plan``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..study import Cell, Profile
from ..study.lookup import Todo
from ..study.plan import Plan
from ..text import amount, table

if TYPE_CHECKING:
    import pandas as pd


def pruners(cells: list[Cell], todo: list[Todo], trainings: list[Cell], found: Plan) -> str:
    """Return one row per pruner: cells, what of them is missing and what that costs; then their sum and a key."""
    every, waiting, train = (
        Counter(cell.pruner for cell in some) for some in (cells, [cell for cell, _ in todo], trainings)
    )
    counts: list[tuple[float, ...]] = [
        (
            every[name],
            every[name] - waiting[name],
            train[name],
            waiting[name],
            found.training[name],
            sum(found.measuring[name].values()),
            found.storage[name],
        )
        for name in found.training
    ]
    counts.append(tuple(map(sum, zip(*counts, strict=True))))
    rows: list[tuple[str, ...]] = [
        ("pruner", "cells", "finished", "to train", "to measure", "training", "measuring", "storage")
    ]
    for name, numbers in zip((*found.training, "all"), counts, strict=True):
        rows.append((name, *map(str, numbers[:4]), *map(amount, numbers[4:])))
    return (
        f"{table(rows)}\n\n"
        "training and measuring in multiply-adds of unpruned networks, storage in bytes, of what is missing\n"
        f"{found.together} trainings in all, rounds and dense networks shared: "
        f"{found.alone - found.together} saved"
    )


def metrics(todo: list[Todo], found: Plan) -> str:
    """Return one row per metric: how many networks it is to be measured on, and what that costs."""
    cost = Counter()
    for by_metric in found.measuring.values():
        cost.update(by_metric)
    wanted = Counter(metric for _, settings in todo for metric in settings)
    rows = [("metric", "to measure", "multiply-adds")]
    rows += [(m, str(n), amount(cost[m]) if cost[m] else "with another") for m, n in wanted.items()]
    return table(rows)


def power(profile: Profile, pilot: int, paired: bool, needed: pd.DataFrame) -> str:
    """Return one row per metric: what its verdicts need to decide at the tolerance, from ``pilot`` dense networks."""
    rows: list[tuple[str, ...]] = [
        ("metric", "tolerance", "retraining", "error", "passes", "seeds needed", "images needed")
    ]
    for name, row in needed.iterrows():
        counts = ("none" if n != n else f"{n:,.0f}" for n in (row.seeds, row.images))
        numbers = (f"{n:.2g}" for n in (row.tolerance, row.sd, row.error))
        rows.append((str(name), *numbers, f"{row.chance:.0%}" if row.chance >= 0 else "unknown", *counts))
    how = "paired" if paired else "as if measured on different images"
    return (
        f"{table(rows)}\n\n"
        f"from {pilot} dense networks: retraining, sd of the difference of two of them; error, that of the images ({how}); passes, how "
        f"often a network as good as dense passes with {len(profile.seeds)} seed{'s' * (len(profile.seeds) > 1)}; needed for 80%, the other as it is"
    )
