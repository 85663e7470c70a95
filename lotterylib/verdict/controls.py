"""Controls: dense networks trained anew, judged as if they were tickets.

A test that equal networks do not pass decides nothing, nor does one that worse networks pass. Both can be tried with dense
networks of several seeds alone, and their spread is what a retraining changes: the *retraining band* of each metric. Pure
functions of the tidy table.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import metrics
from ..errors import DataError
from ..text import percent
from .intervals import proportion
from .passes import lth_pass, passes
from .retraining import CONTROL, DENSE, Band, bands, within_retraining

__all__ = [
    "CONTROL", "Band", "Controls", "bands", "negative", "positive", "retrained", "shares", "tried", "within_retraining",
]  # fmt: skip

# a test of which networks as good as dense pass this share can be trusted when it says that another does not
_TRUSTED = 0.8


def retrained(
    table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, worse: dict[str, float] | None = None
) -> pd.DataFrame:
    """Return a tidy table in which groups of dense networks stand as tickets against other dense networks.

    Each draw takes 2 · ``size`` dense networks or controls at random, without replacement, and pairs the first half with the
    second. The paired error over images of a difference is the median that the controls have in this metric, else that of the
    tickets, or, without either, that of two networks measured on different images (which is larger). Metrics that are
    measured relative to dense itself are drawn from what the controls have, and left out where there are none. Raises
    ``DataError`` for too few dense networks.

    Args:
        size: Networks per group, as many as a ticket has seeds.
        draws: Groups; the pruner of draw 7 is "control 7".
        worse: Metric → how much worse the stand-ins are made, in the metric's unit: a negative control.
    """
    generator, parts = np.random.default_rng(seed), []
    settings: Any = table[~table.metric.str.contains(":")].groupby(["dataset", "model"])
    for (dataset, model), here in settings:
        pool: Any = here[here.pruner.isin(DENSE)].assign(network=_networks)
        names = pool.network.unique()
        if len(names) < 2 * size:
            raise DataError(f"{model} on {dataset}: want {2 * size} dense networks or more, got {len(names)}")
        groups = np.array([generator.choice(names, 2 * size, replace=False) for _ in range(draws)])
        controls: Any = pool[pool.pruner == CONTROL]
        again = controls.network.unique()
        relative = np.array([generator.permutation(again)[:size] for _ in range(draws)])
        labels = np.repeat([f"{CONTROL} {draw}" for draw in range(draws)], size)
        for metric, rows in pool.groupby("metric"):
            sign = -1 if metrics.describe(metric).direction == "higher" else 1
            shift = sign * (worse or {}).get(metric, 0.0)
            by_network, own = rows.set_index("network"), rows[rows.pruner == "dense"]
            if own.value.nunique() > 1 or not len(again):
                if rows.value.nunique() < 2:
                    continue
                one, two = (by_network.loc[half.ravel()] for half in (groups[:, :size], groups[:, size:]))
                measured = here[here.metric == metric]
                known = (measured[measured.pruner == CONTROL], measured)
                error = next((e for r in known if not np.isnan(e := r.difference_error.median())), None)
                difference = one.value.to_numpy() - two.value.to_numpy()
                errors = np.hypot(one.error.to_numpy(), two.error.to_numpy()) if error is None else error
            elif len(again) >= size:
                one = by_network.loc[relative.ravel()]
                difference, errors = one.difference.to_numpy(), one.difference_error.to_numpy()
            else:
                continue
            stand_in = one.assign(
                pruner=labels,
                value=one.value + shift,
                difference=difference + shift,
                difference_error=errors,
            )
            parts += [own, stand_in.assign(seed=np.tile(range(size), draws))]
    return pd.concat(parts, ignore_index=True).loc[:, list(table.columns)]


def _networks(rows: pd.DataFrame) -> list[str]:
    """Name each dense network: controls of one seed by their order in the table, which is the same in each metric."""
    turn = rows.groupby(["metric", "pruner", "seed"]).cumcount()
    return [f"{p} {s} {t}" for p, s, t in zip(rows.pruner, rows.seed, turn, strict=True)]


def positive(table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, **how: Any) -> pd.DataFrame:
    """Return ``lth_pass`` for groups of dense networks against others, one row per draw: what a network as good as dense gets.
    ``.lth_pass.value_counts(normalize=True)`` is the share that passes."""
    return lth_pass(retrained(table, size, draws, seed), **how)


def negative(
    table: pd.DataFrame, size: int = 3, draws: int = 100, seed: int = 0, amount: float = 1.0, **how: Any
) -> pd.DataFrame:
    """Return the ``shares`` of verdicts on dense networks that are truly worse by ``amount`` tolerances, in every metric: at
    1.0, the edge, at most 2.5% may pass."""
    limits = passes(retrained(table, size, draws, seed), **how).groupby("metric").tolerance.median()
    worse = {metric: amount * limit for metric, limit in limits.items()}
    return shares(passes(retrained(table, size, draws, seed, worse), **how))


@dataclass(frozen=True)
class Controls:
    """What the test says of networks whose answer is known; ``said``, the sentences for a reader.

    ``positive``: the row of ``lth_pass`` for all controls as one ticket, and ``positive_metrics``, theirs of ``passes``;
    ``drawn``: ``positive`` over groups as large as the study; ``negative``: the row of the ticket known to be worse. None
    or empty where the study has none.
    """

    positive: pd.Series | None
    positive_metrics: pd.DataFrame
    drawn: pd.DataFrame
    negative: pd.Series | None
    said: dict[str, str]


def tried(table: pd.DataFrame, draws: int = 100, **how: Any) -> Controls:
    """Try the verdict on networks whose answer is known, of one data set and model.

    A network as good as dense ought to pass: the study's controls, judged together as a ticket, and groups of dense networks
    drawn from them and the study's own. A ticket known to be worse ought to fail: random pruning at the highest sparsity, or
    whichever ticket is the least accurate.

    Args:
        table: ``results.tidy`` of ``study.records`` and ``study.controls`` together.
        how: As in ``passes``.
    """
    judged, whole = passes(table, **how), lth_pass(table, **how)
    again = whole[whole.pruner == CONTROL]
    own = judged[judged.pruner == CONTROL]
    seeds = table[table.pruner == "dense"].seed.nunique()
    drawn = pd.DataFrame()
    said = {}
    if again.empty:
        said["positive"] = (
            "This study has no controls (dense networks trained anew), so it cannot say whether a network as good as dense "
            "would pass."
        )
    else:
        with contextlib.suppress(DataError):
            drawn = positive(table, seeds, draws, **how)
        said["positive"] = _positive(own, again.iloc[0], drawn, seeds)
    worst = _worst(table)
    bad = whole[(whole.pruner == worst[0]) & (whole.sparsity == worst[1])] if worst else whole[:0]
    if len(bad):
        said["negative"] = _negative(bad.iloc[0])
    return Controls(
        again.iloc[0] if len(again) else None, own, drawn, bad.iloc[0] if len(bad) else None, said
    )


def _positive(own: pd.DataFrame, again: pd.Series, drawn: pd.DataFrame, seeds: int) -> str:
    counts = own.verdict.value_counts()
    text = (
        f"{own.seeds.max()} dense networks trained anew, judged together as a ticket: they pass {counts.get('pass', 0)} of "
        f"{len(own)} metrics, {counts.get('undecided', 0)} are undecided and {counts.get('fail', 0)} failed, so LTH-PASS "
        f"says {again.lth_pass}."
    )
    if drawn.empty:
        return text
    share = proportion(int((drawn.lth_pass == "pass").sum()), len(drawn))
    failed = (drawn.lth_pass == "fail").mean()
    text += (
        f" Of {len(drawn)} groups of {seeds} drawn from them and the study's own dense networks, {share.mean:.0%} pass "
        f"({share.low:.0%} to {share.high:.0%}) and {failed:.0%} fail."
    )
    if share.mean < _TRUSTED:
        text += (
            f" Few pass because every metric has to be decided in their favour: a ticket as good as dense would miss that "
            f"{1 - share.mean:.0%} of the time too, so an undecided one is not shown to be worse; one that fails is."
        )
    return text


def _negative(bad: pd.Series) -> str:
    return (
        f"A ticket known to be worse ({bad.pruner} pruning at {percent(bad.sparsity)}): it fails {bad.failed} of "
        f"{bad.passed + bad.failed + bad.undecided} metrics, so LTH-PASS says {bad.lth_pass}."
    )


def _worst(table: pd.DataFrame) -> tuple[str, float] | None:
    """Return pruner and sparsity of random pruning at its highest sparsity, else of the least accurate ticket."""
    tickets = table[~table.pruner.isin(DENSE) & (table.metric == "accuracy")]
    if tickets.empty:
        return None
    if len(random := tickets[tickets.pruner == "random"]):
        return "random", float(random.sparsity.max())
    return tickets.groupby(["pruner", "sparsity"]).value.mean().idxmin()


def shares(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of the three verdicts, one row per metric of ``judged`` (from ``passes``)."""
    counts = judged.groupby("metric").verdict.value_counts(normalize=True).unstack(fill_value=0.0)
    return counts.reindex(columns=["pass", "undecided", "fail"], fill_value=0.0)
