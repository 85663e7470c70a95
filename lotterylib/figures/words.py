"""What the records say, in a sentence: for a page whose live example is too small to say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .. import metrics
from ..text import percent, signed
from ..verdict import paired_change, paired_gap
from .style import called, in_order

# what twice the training may gain a network that has converged
CONVERGED = 0.005


def gap_in_words(table: pd.DataFrame, pruner: str, other: str, sparsity: float) -> str:
    """Return in a sentence how far apart two pruners' test accuracies are in a study, and whether that can be told.

    Args:
        table: From ``results.tidy``.
        sparsity: The study's level nearest to it is taken.

    Example:
        >>> from lotterylib.results import example
        >>> gap_in_words(example(), "lottery", "random", 0.8)[:58]
        'In the study, at 50% sparsity, lottery tickets get 49.8 po'
    """
    names = called(pruner), called(other)
    rows = table[table["metric"].eq("accuracy")]
    levels = [set(rows["sparsity"][rows["pruner"].eq(name)]) for name in (pruner, other)]
    if not (both := levels[0] & levels[1]):
        return f"This study has no records of {' beside '.join(names)}."
    level = min(both, key=lambda s: abs(s - sparsity))
    gap, low, high, seeds = paired_gap(table, "accuracy", pruner, other, level)
    which = f"{100 * abs(gap):.1f} points {'more' if gap > 0 else 'less'}"
    get = "get" if names[0].endswith("s") else "gets"
    said = f"In the study, at {percent(level)} sparsity, {names[0]} {get} {which} of the test images right than {names[1]}"
    if seeds < 2:
        return f"{said}; with one seed, nobody can say how much of that is luck."
    certain = low > 0 or high < 0
    reading = "more than luck" if certain else "luck alone could explain it"
    ends = " to ".join(signed(100 * end, ".1f") for end in (low, high))
    return f"{said}, with a 95% interval of {ends} ({seeds} seeds): {reading}."


def convergence_in_words(table: pd.DataFrame, longer: pd.DataFrame, epochs: tuple[int, int]) -> str:
    """Return what longer training gains the dense network in test accuracy, and whether it had converged.

    Args:
        table, longer: From ``results.tidy``, of the same seeds; ``epochs``: of the one and of the other.

    Raises:
        DataError: without a common seed.

    Example:
        >>> from lotterylib.results import example
        >>> convergence_in_words(example(), example(), (8, 16))[:73]
        'Trained for 16 epochs instead of 8, the dense network gains +0.00 points '
    """
    gain, low, high, seeds = paired_change(table, longer, "accuracy", "dense", 0.0)
    few, many = epochs
    ends = f"95% interval {signed(100 * low, '.2f')} to {signed(100 * high, '.2f')}, {seeds} seeds"
    said = (
        f"Trained for {many} epochs instead of {few}, the dense network gains {signed(100 * gain, '.2f')} points "
        f"({ends if seeds > 1 else 'one seed, so no interval'}). By the rule that twice the training may gain half a point "
        "at most, it has "
    )
    if gain >= CONVERGED:
        return f"{said}not converged: a ticket that trains longer, as lottery tickets do in rounds, may beat it for that alone."
    return f"{said}converged{', in the mean; the interval reaches beyond that' if high > CONVERGED else ''}."


def study_in_words(records: Iterable[Mapping[str, Any]], left: Iterable[tuple[str, str]]) -> str:
    """Return what a study has and what it still lacks of what it asked for.

    Args:
        records: Those that are there, as from ``study.records``.
        left: A pruner and a metric for each record that is not, as from ``study.outstanding``.

    Example:
        >>> study_in_words([{"pruner": "dense", "metric": "accuracy", "seed": 0}], [("snip", "accuracy")])
        'The dense network alone, accuracy, 1 seed. Still without SNIP.'
    """
    seeds: dict[str, set[int]] = {}
    kinds: dict[str, set[str]] = {}
    for row in records:
        seeds.setdefault(row["pruner"], set()).add(row["seed"])
        kinds.setdefault(row["metric"], set()).add(row["pruner"])
    asked = [(p, m) for p, m in left if p not in ("dense", "control")]
    absent = in_order({p for p, _ in asked} - seeds.keys())
    others = len(seeds.keys() - {"dense"})
    blank = [metrics.describe(m).short for m in dict.fromkeys(m for _, m in asked)
             if others and not kinds.get(m, set()) - {"dense"}]  # fmt: skip
    few, most = (end((len(own) for own in seeds.values()), default=0) for end in (min, max))
    parts = [
        f"The dense network and {others} method{'s' * (others > 1)}" if others else "The dense network alone",
        f"{len(kinds)} metrics" if len(kinds) > 1 else "".join(metrics.describe(m).short for m in kinds),
        f"{f'{few} to ' * (few < most)}{most} seed{'s' * (most > 1)}",
    ]
    said = [
        f"{', '.join(parts)}." if seeds else "No records yet.",
        f"Still without {', '.join(map(called, absent))}." if absent else "",
        f"Not measured yet of any pruned network: {', '.join(blank)}." if blank else "",
    ]
    return " ".join(filter(None, said))
