"""Numbers, verdicts and sparsities in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ... import metrics
from ...text import percent, short, signed
from ..style import called

WORDS = {"pass": "kept", "undecided": "undecided", "fail": "lost"}
# what a widened tolerance is
RETRAINED = "a retraining of the dense network may cost"


def reach(levels: Sequence[float], verdicts: Sequence[str], words: Mapping[str, str] = WORDS) -> str:
    """Say in words what was kept, lost and undecided at which of the rising sparsities.

    >>> reach([0.36, 0.59, 0.79, 0.89], ["pass", "undecided", "fail", "fail"])
    'kept up to 36%, undecided at 59%, lost from 79%'
    >>> reach([0.36, 0.59], ["undecided", "undecided"])
    'undecided at every sparsity'
    >>> reach([0.36, 0.59], ["pass", "fail"])
    'kept up to 36%, lost at 59%'
    """
    runs = [(v, [i for i, _ in run]) for v, run in groupby(enumerate(verdicts), key=lambda pair: pair[1])]
    if len(runs) == 1:
        return f"{words[verdicts[0]]} at {'every sparsity' if len(levels) > 1 else percent(levels[0])}"
    said = []
    for verdict, word in words.items():
        places = [run for v, run in runs if v == verdict]
        if not places:
            continue
        last = len(levels) - 1
        if len(places) == 1 and places[0][0] == 0:
            said.append(f"{word} up to {percent(levels[places[0][-1]])}")
        elif len(places) == 1 and places[0][-1] == last:
            first = places[0][0]
            said.append(f"{word} {'at' if first == last else 'from'} {percent(levels[first])}")
        else:
            said.append(f"{word} at {listing([_span(levels, run) for run in places])}%")
    return ", ".join(said)


def _span(levels: Sequence[float], run: Sequence[int]) -> str:
    first, last = (f"{100 * levels[i]:.3g}" for i in (run[0], run[-1]))
    return first if first == last else f"{first} to {last}"


def listing(words: Iterable[str], last: str = "and") -> str:
    """Join words as in a sentence: "a, b and c"."""
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def sign_of(low: float, high: float, direction: str) -> int:
    """Return 1 where an interval of a difference is all on the better side, −1 where on the worse, else 0.

    >>> sign_of(0.1, 0.2, "lower"), sign_of(-0.1, 0.2, "lower")
    (-1, 0)
    """
    side = 1 if low > 0 else -1 if high < 0 else 0
    return side if direction == "higher" else -side


def write_number(value: float, about: metrics.About, *, change: bool = False) -> str:
    """Write a value, or a ``change``, which of two percentages is in points."""
    written, unit = short((100 if about.percent else 1) * value), unit_behind(about)
    if change:
        unit = unit.replace("%", " point" if written == "1" else " points")
    return f"{written}{unit}"


def unit_behind(about: metrics.About) -> str:
    """Return what stands behind a number, where a reader would miss it."""
    return (
        "%"
        if about.sign.startswith("%")
        else f" {about.sign}"
        if about.sign.startswith(("nats", "points"))
        else ""
    )


def write_difference(row: Any, about: metrics.About) -> str:
    """Write a judged row's difference to dense with its interval, and what that is over."""
    # of two percentages, too, the difference is in points
    scale, unit = 100 if about.percent else 1, unit_behind(about).replace("%", " points")
    limit = scale * getattr(row, "tolerance", math.nan)
    change, low, high = write_rounded(scale * row.difference, scale * row.low, scale * row.high, limit)
    over = f", {row.seeds} seeds" if row.seeds > 1 else " over the images of one training"
    interval = "no interval" if math.isnan(row.low) else f"95% interval {low} to {high}{over}"
    return f"difference {change}{unit}, {interval}"


def write_rounded(value: float, low: float, high: float, limit: float = math.nan) -> list[str]:
    """Write a number and its interval with their signs, to the two digits of half the interval that count; with more where an
    end would else seem to lie on the other side of a limit, or on it.

    >>> write_rounded(0.000023, -0.0101, 0.0104), write_rounded(9.0, 3.6, 14.4)
    (['0.000', '−0.010', '+0.010'], ['+9.0', '+3.6', '+14.4'])
    >>> write_rounded(0.000023, -0.0101, 0.0104, 0.01)
    ['0.0000', '−0.0101', '+0.0104']
    """
    if math.isnan(low) or high == low:
        return [_signed(v) for v in (value, low, high)]
    digits = max(0, 1 - math.floor(math.log10((high - low) / 2)))
    if not math.isnan(limit):
        ends, told = (abs(low), abs(high)), float(f"{limit:.3g}")
        clear = (
            more
            for more in range(digits, digits + 4)
            if all(np.sign(round(end, more) - told) == np.sign(end - limit) for end in ends)
        )
        digits = next(clear, digits)
    written = [signed(v, f".{digits}f") for v in (value, low, high)]
    # zero has no sign
    return [w if w.strip("+−0.") else w[1:] for w in written]


def _signed(value: float) -> str:
    """Write a number with its sign and two digits that count, without an exponent.

    >>> _signed(-0.000023), _signed(12.34), _signed(123.4), _signed(0.0)
    ('−0.000023', '+12', '+123', '+0')
    """
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return np.format_float_positional(float(digits), trim="-", sign=True).replace("-", "−")


def is_or_are(pruner: str) -> str:
    """Return how a sentence on a pruner begins: "lottery tickets are", "SNIP is"."""
    name = called(pruner)
    return f"{name} {'are' if name.endswith('s') else 'is'}"


def short_label(about: metrics.About) -> str:
    """Return a metric's label without its unit."""
    return about.label.partition(" (")[0]


def against_dense(row: Any, about: metrics.About) -> str:
    """Say in words how a judged row stands to the dense network."""
    if math.isnan(row.difference):
        return "broken: one answer to everything has no score"
    side = sign_of(row.low, row.high, about.direction)
    better, worse, good = about.quality
    if row.verdict == "pass" and side < 0:
        return f"{worse} than the dense network, by less than {limit_in_words(row.widened)}"
    if row.verdict == "pass":
        return (
            f"{better} than the dense network"
            if side > 0
            else f"as {good} as the dense network, within tolerance"
        )
    if row.verdict == "fail":
        return f"certainly {worse} than the dense network, by more than the tolerance"
    if side < 0:
        return f"{worse} than the dense network, perhaps within the tolerance"
    return f"perhaps as {good} as the dense network, perhaps {worse} by more than the tolerance"


def limit_in_words(widened: bool) -> str:
    """Return in words what a loss has to exceed."""
    return RETRAINED if widened else "the tolerance"


def write_gap(row: Any, about: metrics.About) -> str:
    """Write the dense network's value and a judged row's difference to it."""
    # a ticket of fewer seeds is compared with the dense networks of these alone
    own = row.dense if math.isnan(row.dense_beside) else row.dense_beside
    dense = write_number(own, about)
    if not math.isclose(own, row.dense, rel_tol=1e-9, abs_tol=1e-12):
        dense += f" with the same seed{'s' if row.seeds > 1 else ''}"
    return (
        f"dense {dense}" if math.isnan(row.difference) else f"dense {dense}, {write_difference(row, about)}"
    )


def of_sparsity(said: str) -> str:
    """Name the first per cent a sparsity, where bare ones could be accuracies."""
    return said.replace("%", "% sparsity", 1)


def allowed_points(row: Any) -> str:
    """Return by how many points of accuracy a judged row may lie below dense."""
    return write_number(row.tolerance, metrics.describe("accuracy"), change=True)
