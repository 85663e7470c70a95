"""The versions of metric and pruner that made a record. A study whose records are not all of the present ones says so."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .. import metrics, pruners


class Made(NamedTuple):
    """The versions that made a record; those of before there were any count as 1."""

    metric: int = 1
    pruner: int = 1

    @classmethod
    def now(cls, metric: str, pruner: str) -> Made:
        """Return the versions that would make a record today."""
        return cls(metrics.describe(metric).version, pruner_version(pruner))

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Made:
        """Return the versions that a record says it was made by."""
        return cls(record.get("metric_version", 1), record.get("pruner_version", 1))


def pruner_version(pruner: str) -> int:
    """Return the present version of a pruner; dense networks have that of ``cells.ALGORITHM`` alone."""
    return pruners.PRUNERS[pruner].version if pruner in pruners.PRUNERS else 1


def outdated(made: Iterable[tuple[str, str, Made]]) -> list[str]:
    """Return a line for each metric and pruner with records of another version than its present one.

    Args:
        made: Metric, pruner and versions of each record.

    Example:
        >>> outdated([("nll", "snip", Made()), ("nll", "snip", Made(metric=7))])
        ['metric nll: 1 record(s) of version 1, 1 of version 7; the present one is 1']
    """
    counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for metric, pruner, versions in made:
        counts["metric", metric][versions.metric] += 1
        counts["pruner", pruner][versions.pruner] += 1
    lines = []
    for (kind, name), count in counts.items():
        present = metrics.describe(name).version if kind == "metric" else pruner_version(name)
        if count.keys() - {present}:
            first, *others = (f"{n} of version {version}" for version, n in sorted(count.items()))
            shares = ", ".join([first.replace(" of", " record(s) of", 1), *others])
            lines.append(f"{kind} {name}: {shares}; the present one is {present}")
    return lines
