"""The paper's claims and its review's, each held against the records of a study.

A claim is an object: its number, its sentence, and a test of the tidy table that gives an effect in words, with its interval
over seeds, and a word: "reproduced", "not reproduced", "undecided", "not tested here" where the study does not ask for the
records, or "under way" where it has not made all of them: half of a comparison compares something else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar

import pandas as pd

from .. import metrics
from ..errors import DataError
from ..models import named_width
from ..pruners import PRUNERS, Start
from ..results import setting_name
from ..text import percent, signed
from . import paper
from .intervals import Interval, differences, interval
from .passes import judge, limits, lth_pass, passes, tolerances
from .regions import Region, regions

# The paper's methods: those that prune what was trained, and random pruning and pruning at initialisation.
_STARTS = {name: PRUNERS[name].start for name in paper.PRUNERS.values() if name != "dense"}
LATE = tuple(name for name, start in _STARTS.items() if start in (Start.TRAINED, Start.ROUNDS))
EARLY = tuple(name for name, start in _STARTS.items() if start is Start.UNTRAINED)
# Random pruning with densities by layer, where a study has it.
ERK = "random-erk"
# Variants of the Hessian's trace over the weights that both have: ticket − dense there, and the dense network's own there.
EQUAL, DENSE_THERE = "hessian_trace:gap", "hessian_trace:control"
# Nothing is compared between settings, except where a claim is about that.
SETTING = ["dataset", "model"]
# Two settings.
_Pair = tuple[tuple[str, str], tuple[str, str]]
# How an effect begins that the paper's measure alone shows.
_ONLY_THEIRS = "By the paper's measure it holds, over the same weights it does not."
# A blind guess on the paper's data sets.
_CHANCE = {"cifar10": 0.1, "cifar100": 0.01, "imagenet": 0.001}


@dataclass(frozen=True)
class Finding:
    """A claim's number, its sentence (``said``), the ``effect`` that these records show, and a ``word`` of those above;
    ``theirs``, the same effect in the paper's own figures (empty where they have none), and ``careful``, the sentence that these
    records bear out."""

    claim: str
    said: str
    effect: str
    word: str
    theirs: str = ""
    careful: str = ""

    @property
    def only_theirs(self) -> bool:
        """Return whether it holds by the paper's measure and not by one that compares like with like.

        >>> Finding("7a", "It stays flat.", _ONLY_THEIRS, "not reproduced").only_theirs
        True
        """
        return self.effect.startswith(_ONLY_THEIRS)


@dataclass(frozen=True)
class Claim(ABC):
    """One claim: its ``number``, its ``sentence``, and a test."""

    number: str
    sentence: str

    # whether it is about several data sets or networks
    compares_settings: ClassVar[bool] = False
    # whether records that a study lacks are another study's to make
    elsewhere: ClassVar[bool] = False
    # the metrics that it rests on; none: all of them
    rests_on: ClassVar[tuple[str, ...]] = ()

    def finding(
        self, table: pd.DataFrame, family: pd.DataFrame, outstanding: Mapping[tuple[str, str], int]
    ) -> Finding:
        """Hold the claim against a study's tidy table; ``family`` has other settings too, for claims that compare them."""
        rows = family if self.compares_settings else table
        lacks = sum(n for (pruner, metric), n in outstanding.items() if self.asks(pruner, metric))
        try:
            effect, verdict = self.test(rows)
        except DataError as error:
            if self.elsewhere or not lacks:
                return Finding(self.number, self.sentence, f"{error}.", "not tested here")
        if lacks:
            effect = f"{lacks:,} of the records that it rests on are still to be made."
            return Finding(self.number, self.sentence, effect, "under way")
        return Finding(
            self.number, self.sentence, effect, verdict, self.theirs(), _careful(rows, effect, verdict)
        )

    def asks(self, pruner: str, metric: str) -> bool:
        """Return whether the claim rests on a metric of a pruner."""
        return metric in self.rests_on or not self.rests_on

    def theirs(self) -> str:
        """Return the same effect in the paper's own figures, in words; empty where they do not have it."""
        return ""

    @abstractmethod
    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        """Return effect and word; raise ``DataError`` where the table lacks the records."""


def findings(
    table: pd.DataFrame,
    family: pd.DataFrame | None = None,
    outstanding: Mapping[tuple[str, str], int] | None = None,
) -> list[Finding]:
    """Hold all claims, in the paper's order, against the tidy table of one study.

    Args:
        family: The table with the records of other data sets and networks added, for the claims that compare those.
        outstanding: (pruner, metric) → how many records the study has still to make (``study.outstanding``).
    """
    family = table if family is None else family
    return [claim.finding(table, family, outstanding or {}) for claim in CLAIMS]


def _careful(rows: pd.DataFrame, effect: str, verdict: str) -> str:
    """Return what a careful referee would let stand: of which networks it is true, and no more."""
    settings = sorted({setting_name(m, d) for d, m in rows[SETTING].itertuples(index=False, name=None)})
    counts = rows.groupby([*SETTING, "pruner", "sparsity"]).seed.nunique()
    seeds = (counts.min(), counts.max()) if len(rows) else (0, 0)
    trainings = (
        _plural(seeds[0], "training") if seeds[0] == seeds[1] else f"{seeds[0]} to {seeds[1]} trainings"
    )
    of = f"{' and '.join(settings)}, {trainings} each"
    start = {
        "reproduced": f"For {of}, the records support the claim",
        "not reproduced": f"For {of}, the records contradict the claim",
        "undecided": f"For {of}, the records neither support nor contradict the claim",
    }[verdict]
    return f"{start}: {effect[:1].lower() + effect[1:] if effect[1:2].islower() else effect}"


def group_gap(
    table: pd.DataFrame, metric: str, ours: Sequence[str], others: Sequence[str], confidence: float = 0.95
) -> Interval:
    """Return the mean of a metric over one group of pruners minus that over another, with Student's interval over seeds.

    Compared are equal sparsities of the same network on the same data: the mean over these and over pruners within each
    seed. Raises ``DataError`` if a group has no records of the metric.
    """
    chosen: Any = table[(table.metric == metric) & table.sparsity.gt(0)]

    def mean(group: Sequence[str]) -> Any:
        rows = chosen[chosen.pruner.isin(list(group))]
        if rows.empty:
            raise DataError(f"no records of {metric} for any of {', '.join(group)}")
        return rows.groupby(["seed", *SETTING, "sparsity"]).value.mean()

    gap = (mean(ours) - mean(others)).dropna().groupby("seed").mean()
    if gap.empty:
        raise DataError(f"no seed has records of {metric} for both {', '.join(ours)} and {', '.join(others)}")
    return interval(gap, confidence=confidence)


def near_dense(table: pd.DataFrame, margin: float = 0.01) -> pd.DataFrame:
    """Return the rows of tickets whose accuracy, in the mean over seeds, is at most ``margin`` (a fraction of images) below the
    dense network's; there may be none."""
    keys = [*SETTING, "pruner", "sparsity"]
    loss = -table[table.metric == "accuracy"].groupby(keys).difference.mean()
    good = set(loss[loss <= margin].index)
    return table.loc[[key in good for key in table[keys].itertuples(index=False, name=None)]]


def uncollapsed(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows without the sparsities at which one of these pruners collapses, in the mean over seeds: less than half of
    the dense network's accuracy above chance is left (Region III). A broken network says how it broke, not which is better."""
    keys = [*SETTING, "sparsity"]
    found = regions(table)
    broken = found[found.pruner.isin(list(names)) & (found.region == Region.III)]
    gone = set(broken[keys].itertuples(index=False, name=None))
    return table.loc[[key not in gone for key in table[keys].itertuples(index=False, name=None)]]


def paper_gaps(metric: str, ours: Sequence[str], others: Sequence[str]) -> pd.Series:
    """Return ``group_gap`` in the paper's own figures, setting by setting: the mean over the sparsities that both groups have.

    Example:
        >>> bool(paper_gaps("accuracy", LATE, EARLY).gt(0).any())
        True
    """
    theirs = paper.digitised()
    theirs = theirs[(theirs.metric == metric) & theirs.sparsity.gt(0)]
    # curves are read at places of their own, a few thousandths apart
    theirs = theirs.assign(sparsity=theirs.sparsity.round(2))
    one, two = (
        theirs[theirs.pruner.isin(list(group))].groupby([*SETTING, "sparsity"]).value.mean()
        for group in (ours, others)
    )
    return (one - two).dropna().groupby(SETTING).mean()


def word(low: float, high: float, sign: int) -> str:
    """Return what an interval says of a claim that the effect has this ``sign`` (+1 or −1).

    >>> word(0.1, 0.2, +1), word(0.1, 0.2, -1), word(-0.1, 0.2, +1)
    ('reproduced', 'not reproduced', 'undecided')
    """
    if math.isnan(low):
        return "undecided"
    low, high = sorted((sign * low, sign * high))
    return "reproduced" if low > 0 else "not reproduced" if high < 0 else "undecided"


def _over_seeds(found: Interval, sign: int, effect: str, scale: float) -> tuple[str, str]:
    """Say an effect with its interval over seeds, in units of 1/``scale``."""
    low, high = (scale * value for value in found[1:3])
    return f"{effect}: {_said(found, scale)}, {_plural(found.size, 'seed')}.", word(low, high, sign)


def _plural(count: float, word: str) -> str:
    return f"{count:g} {word}{'' if count == 1 else 's'}"


def _said(found: Interval, scale: float) -> str:
    mean, low, high = (scale * value for value in found[:3])
    return f"{signed(mean)} (95% interval {signed(low)} to {signed(high)})"


def _paper_said(effects: pd.Series, of: str, unit: str = "points") -> str:
    """Say the paper's own effects in ``unit``, one ``of`` each; nothing where it has none."""
    if effects.empty:
        return ""
    low, high = effects.min(), effects.max()
    return f"In the paper's own figures: {signed(effects.mean())} {unit}, from {signed(low)} to {signed(high)} over {_plural(len(effects), of)}."


def _judged(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    return passes(table.loc[table.metric.isin(list(names))])


@dataclass(frozen=True)
class Gap(Claim):
    """A claim on the sign of a gap in one metric between two groups of pruners.

    ``effect`` names the gap and its unit, 1/``scale`` of the metric's; ``rows`` chooses what is compared.
    """

    metric: str
    ours: Sequence[str]
    others: Sequence[str]
    sign: int
    effect: str
    scale: float = 1.0
    rows: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    def asks(self, pruner: str, metric: str) -> bool:
        asked = {self.metric.partition(":")[0], *(["accuracy"] if self.rows else [])}
        return metric in asked and pruner in (*self.ours, *self.others, "dense")

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        chosen = table if self.rows is None else self.rows(table)
        found = group_gap(chosen, self.metric, self.ours, self.others)
        return _over_seeds(found, self.sign, self.effect, self.scale)

    def theirs(self) -> str:
        # the paper has nothing of chosen rows
        if self.rows is not None:
            return ""
        unit = "points" if self.scale == 100 else metrics.describe(self.metric).unit
        return _paper_said(self.scale * paper_gaps(self.metric, self.ours, self.others), "setting", unit)


class KeepsAccuracy(Gap):
    """A gap in accuracy where no network has collapsed, also with random pruning in its stronger form."""

    def asks(self, pruner: str, metric: str) -> bool:
        return super().asks("random" if pruner == ERK else pruner, metric)

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        every = group_gap(table, self.metric, self.ours, self.others)
        whole = uncollapsed(table, [*self.ours, *self.others])
        found = group_gap(whole, self.metric, self.ours, self.others)
        effect, verdict = _over_seeds(
            found, self.sign, f"{self.effect}, where none of them collapses", self.scale
        )
        parts = [effect, f"With the collapsed: {_said(every, self.scale)}."]
        if ERK not in set(table.pruner):
            parts.append("Random pruning has only its weakest form here, one ranking over all layers.")
            return " ".join(parts), verdict
        stronger = [ERK if name == "random" else name for name in self.others]
        whole = uncollapsed(table, [*self.ours, *stronger])
        found = group_gap(whole, self.metric, self.ours, stronger)
        parts.append(f"With random pruning in its stronger form (ERK densities): {_said(found, self.scale)}.")
        low, high = found.low, found.high
        # the claim is about pruning without training, not about the weakest way to do it
        return " ".join(parts), verdict if word(low, high, self.sign) == verdict else "undecided"


class SomePassAll(Claim):
    """There is a ticket that passes every metric."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        whole = lth_pass(table)
        won = whole[whole.lth_pass == "pass"]
        open_ones = int((whole.lth_pass == "undecided").sum())
        effect = f"{len(won)} of {len(whole)} tickets certainly pass every metric, {open_ones} are undecided"
        if len(won):
            sparsest = f"the sparsest has {percent(won.sparsity.max())} of its weights removed"
            return f"{effect}; {sparsest}.", "reproduced"
        return f"{effect}.", "undecided" if open_ones else "not reproduced"


class BetweenSettings(Claim):
    """A claim that pruning costs one network or data set less accuracy than another.

    The unit is the seed: for each, the change of accuracy by pruning in one setting minus that in the other, in the mean over the
    pruners and sparsities at which neither has collapsed.
    """

    compares_settings = elsewhere = True
    rests_on = ("accuracy",)
    # what would make the records, where there are none
    wanted: ClassVar[str]

    @abstractmethod
    def pairs(self, chance: pd.Series) -> list[_Pair]:
        """Return the settings to compare, each time the one first that is said to lose less. ``chance``: a blind guess's accuracy
        by (data set, model)."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        rows = table[(table.metric == "accuracy") & table.difference.notna() & table.sparsity.gt(0)]
        pairs = self.pairs(rows.groupby(SETTING).chance.first())
        gaps = self._gaps(rows.assign(sparsity=rows.sparsity.round(3)), pairs)
        if gaps.empty:
            raise DataError(self.wanted)
        one, other = (setting_name(m, d) for d, m in pairs[0])
        more = f" (and {_plural(len(pairs) - 1, 'more such pair')})" if len(pairs) > 1 else ""
        effect = f"Change of accuracy by pruning, {one} minus {other}{more}, at equal sparsity, points"
        said, verdict = _over_seeds(interval(gaps.groupby("seed").mean()), +1, effect, 100)
        ends = limits(_judged(table, "accuracy"))["accuracy"].fillna(0.0).to_dict()
        both = [
            (ends[(*one, p)], ends[(*other, p)])
            for one, other in pairs
            for p in gaps.index.unique("pruner")
            if (*one, p) in ends and (*other, p) in ends
        ]
        up, down = sum(a > b for a, b in both), sum(a < b for a, b in both)
        return (
            f"{said} Accuracy certainly passes up to a higher sparsity for {up} of {len(both)} pruners, up to a lower one for {down}.",
            verdict,
        )

    def theirs(self) -> str:
        rows = paper.digitised().query("metric == 'accuracy'")
        dense = rows[rows.pruner == "dense"].groupby(SETTING).value.first().rename("dense")
        rows = rows[rows.sparsity > 0].join(dense, on=SETTING)
        # curves are read at places of their own, a few thousandths apart
        rows = rows.assign(
            difference=rows.value - rows.dense,
            chance=rows.dataset.map(_CHANCE),
            sparsity=rows.sparsity.round(2),
            seed=0,
        )
        pairs = self.pairs(rows.groupby(SETTING).chance.first())
        gaps = [100 * self._gaps(rows, [pair]).mean() for pair in pairs]
        return _paper_said(pd.Series(gaps), "pair")

    @staticmethod
    def _gaps(rows: pd.DataFrame, pairs: Sequence[_Pair]) -> pd.Series:
        """Return the difference of differences to dense, by pruner, sparsity and seed."""
        keys = ["pruner", "sparsity"]
        dense = rows.value - rows.difference - rows.chance
        left = (
            ((rows.value - rows.chance) / dense)
            .groupby([rows[k] for k in (*SETTING, *keys)])
            .transform("mean")
        )
        rows = rows[left >= 0.5]
        sides = rows.groupby([*SETTING, *keys, "seed"]).difference.mean()
        there = set(zip(rows.dataset, rows.model, strict=True))
        found = [sides.loc[one] - sides.loc[other] for one, other in pairs if {one, other} <= there]
        return pd.concat(found).dropna() if found else pd.Series(dtype=float)


class MoreClasses(BetweenSettings):
    """The same network loses less on the data set with the fewest classes than on that with the most."""

    wanted = (
        "no network was pruned on two data sets of different numbers of classes: `lottery run --profile cifar100` "
        "and `make book PROFILE=cifar10` on one store would tell"
    )

    def pairs(self, chance: pd.Series) -> list[_Pair]:
        found = []
        for model, of in chance.groupby("model"):
            by_set = of.droplevel("model").sort_values()
            if by_set.iloc[0] < by_set.iloc[-1]:
                found.append(((by_set.index[-1], model), (by_set.index[0], model)))
        return found


@dataclass(frozen=True)
class Wider(BetweenSettings):
    """A wide network loses less than a narrow one on the same data: the paper's pair, and one architecture in its widths."""

    narrow: str
    wide: str
    wanted = (
        "no two networks that differ in width were pruned on the same data: `lottery run --profile cifar10-wide` "
        "and `make book PROFILE=cifar10` on one store would tell"
    )

    def pairs(self, chance: pd.Series) -> list[_Pair]:
        found = []
        for dataset, of in chance.groupby("dataset"):
            there = list(of.index.get_level_values("model"))
            if {self.narrow, self.wide} <= set(there):
                found.append(((dataset, self.wide), (dataset, self.narrow)))
            for _, alike in groupby(sorted(there, key=named_width), key=lambda label: named_width(label)[0]):
                rising = list(alike)
                if len(rising) > 1:
                    found.append(((dataset, rising[-1]), (dataset, rising[0])))
        return found


class CorruptionsFirst(Claim):
    """Corrupted images lose more accuracy than clean ones."""

    rests_on = ("accuracy", "corrupted_accuracy")

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        wide = table[table.metric.isin(["accuracy", "corrupted_accuracy"])].pivot_table(
            index=["seed", *SETTING, "pruner", "sparsity"], columns="metric", values="difference"
        )
        if set(wide) != {"accuracy", "corrupted_accuracy"}:
            raise DataError("no records of accuracy and corrupted_accuracy together")
        beyond: Any = (wide["corrupted_accuracy"] - wide["accuracy"]).dropna().groupby("seed").mean()
        if beyond.empty:
            raise DataError("no network has both differences, of accuracy and of corrupted_accuracy")
        effect = "Loss on corrupted images beyond the loss on clean ones, points of accuracy"
        return _over_seeds(interval(beyond), -1, effect, 100)


class CalibrationFirst(Claim):
    """ECE leaves its tolerance before accuracy does.

    The unit is the seed: pruners that share a dense network are not independent, so nine pruners that agree on three dense
    networks are three witnesses. For each seed the sparsities at which a pruner's accuracy and its ECE first leave their
    tolerance are compared, in the mean over pruners; what never leaves it counts as if at 100% removed. The grid of sparsities
    is an error that all seeds share.
    """

    rests_on = ("accuracy", "ece")

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        rows = table[table.metric.isin(["accuracy", "ece"]) & table.difference.notna()]
        if set(rows.metric) != {"accuracy", "ece"}:
            raise DataError("no records of accuracy and ece together")
        limit = tolerances(table, ["accuracy", "ece"])
        keys = rows[[*SETTING, "metric"]].itertuples(index=False, name=None)
        worse = rows.difference.where(rows.metric == "ece", -rows.difference)
        left = worse.to_numpy() > [limit[key] for key in keys]
        first = rows.assign(first=rows.sparsity.where(left, 1.0)).pivot_table(
            index=["seed", *SETTING, "pruner"], columns="metric", values="first", aggfunc="min"
        )
        gaps = (first["accuracy"] - first["ece"]).dropna()
        by_seed, by_pruner = gaps.groupby("seed").mean(), gaps.groupby([*SETTING, "pruner"]).mean()
        levels = [0.0, *sorted(rows.sparsity.unique()), 1.0]
        step = sum(b - a for a, b in zip(levels, levels[1:], strict=False)) / (len(levels) - 1)
        # two readings of a grid, each uniform within its step; one seed says nothing about others
        grid = [step / math.sqrt(6)] if len(by_seed) > 1 else []
        found = interval(by_seed, grid)
        effect = (
            "Sparsity at which accuracy leaves its tolerance minus that at which ECE does "
            "(100% where one never does), points"
        )
        said, verdict = _over_seeds(found, +1, effect, 100)
        up, down = (by_pruner > 0).sum(), (by_pruner < 0).sum()
        return (
            f"{said} In the mean over seeds ECE is first for {up} of {len(by_pruner)} pruners, accuracy for {down}.",
            verdict,
        )


class AsFlat(Claim):
    """Lottery tickets that may pass accuracy pass the Hessian's trace too: over their own weights, and over the weights that the
    dense network shares with them. A sum over fewer weights is smaller, so only the second compares landscapes."""

    rests_on = ("accuracy", "hessian_trace")

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        judged = _judged(table, "accuracy", "hessian_trace")
        wide = judged[judged.pruner == "lottery"].pivot_table(
            index=[*SETTING, "sparsity"], columns="metric", values="verdict", aggfunc="first"
        )
        if set(wide) != {"accuracy", "hessian_trace"}:
            raise DataError("no records of the Hessian's trace for lottery tickets")
        good = wide.index[wide["accuracy"] != "fail"]
        own = wide.loc[good, "hessian_trace"]
        subject = "Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy"
        effect = f"{subject}, each over its own weights: {_counts(own)}"
        equal = self._equal(table, judged).reindex(good).dropna()
        if equal.empty:
            effect += "; over the same weights of both networks there are no records, and only they compare landscapes."
            return effect, "not reproduced" if (own == "fail").any() else "undecided"
        effect += f"; over the same weights of both: {_counts(equal)}."
        if (equal == "fail").any():
            if (own == "pass").all():
                effect = f"{_ONLY_THEIRS} {effect}"
            return effect, "not reproduced"
        return effect, "reproduced" if (equal == "pass").all() else "undecided"

    @staticmethod
    def _equal(table: pd.DataFrame, judged: pd.DataFrame) -> pd.Series:
        """Return the verdicts over equal coordinates by (dataset, model, sparsity); relative to the dense network's trace over
        the same weights, where that is known."""
        rows = table[(table.metric == EQUAL) & (table.pruner == "lottery") & table.difference.notna()]
        if rows.empty:
            return pd.Series(dtype=object)
        found = differences(rows, moderated=True)
        keys = [*SETTING, "sparsity"]
        limit = judged[judged.metric == "hessian_trace"].groupby(keys).tolerance.first().to_dict()
        there: Any = table[(table.metric == DENSE_THERE) & (table.pruner == "lottery")]
        of = metrics.describe("hessian_trace").tolerance.of
        limit |= {key: of(value) for key, value in there.groupby(keys).value.mean().items()}
        verdicts = {
            (row.dataset, row.model, row.sparsity): "undecided"
            if math.isnan(row.low)
            else judge(row.low, row.high, "lower", limit[(row.dataset, row.model, row.sparsity)])
            for row in found.itertuples()
        }
        return pd.Series(verdicts, dtype=object)


def _counts(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts()
    return ", ".join(f"{counts.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))


class SharpestOnResNet50(Gap):
    """A gap to all other pruners on ResNet-50, where the paper saw it."""

    elsewhere = True

    def asks(self, pruner: str, metric: str) -> bool:
        return metric == self.metric

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        chosen = table.loc[table.model == "resnet50"]
        if chosen.empty:
            raise DataError(
                "RigL's sharpness was seen on ResNet-50 and ImageNet: `make book PROFILE=imagenet` would tell"
            )
        others = [p for p in chosen.pruner.unique() if p not in (*self.ours, "dense")]
        return super(SharpestOnResNet50, replace(self, others=others)).test(chosen)


# How effects name EARLY and LATE.
_EARLY, _LATE = "RP, SNIP, GraSP and SynFlow", "LTH and OMP"
_RESIDUAL = (
    "squared probability (0 where LIME's linear model is exact, 1 where it is off by the whole probability)"
)

CLAIMS: tuple[Claim, ...] = (
    SomePassAll("1", "There are tickets that hold up in all dimensions at once (LTH-PASS)."),
    KeepsAccuracy(
        "2",
        "LTH and OMP keep accuracy longest; random pruning and pruning at initialisation fall off early.",
        "accuracy", LATE, EARLY, +1, f"Accuracy of {_LATE} minus that of {_EARLY}, points", 100,
    ),
    MoreClasses("3a", "More classes are harder."),
    Wider("3b", "Wider networks reach higher sparsity.", "resnet20s", "wrn28_10"),
    CorruptionsFirst("4", "Robustness to corruptions is more sensitive to sparsity than accuracy is."),
    CalibrationFirst("5a", "Calibration breaks at lower sparsity than generalization."),
    Gap(
        "5b",
        "Random pruning and pruning at initialisation are better calibrated than LTH and OMP.",
        "ece", EARLY, LATE, -1, f"ECE of {_EARLY} minus that of {_LATE}, points of probability", 100,
    ),
    Gap(
        "5c",
        "Random pruning and pruning at initialisation are better calibrated at accuracy within a point of the dense network's.",
        "ece", EARLY, LATE, -1, "ECE of the first group minus the second's, points of probability", 100, near_dense,
    ),
    Gap(
        "6a",
        "Random pruning and pruning at initialisation look more interpretable than LTH and OMP.",
        "fidelity", EARLY, LATE, -1, f"Fidelity of {_EARLY} minus that of {_LATE}, {_RESIDUAL}",
    ),
    Gap(
        "6b",
        "Random pruning and pruning at initialisation look more interpretable beside dense networks made as unsure as they are.",
        "fidelity:gap", EARLY, LATE, -1, f"Fidelity beyond that of such dense networks, {_EARLY} minus {_LATE}, {_RESIDUAL}",
    ),
    AsFlat("7a", "LTH's landscape stays as flat as the dense network's."),
    Gap(
        "7b",
        "Pruning at initialisation ends in sharper valleys than LTH.",
        "hessian_trace", EARLY[1:], ["lottery"], +1,
        "Trace of the weights' Hessian of SNIP, GraSP and SynFlow minus LTH's, nats",
    ),
    SharpestOnResNet50(
        "7c",
        "RigL's valleys are the sharpest (ResNet-50).",
        "hessian_trace", ["rigl"], [], +1, "Trace of the weights' Hessian of RigL minus that of the others, nats",
    ),
    Gap(
        "8",
        "A ticket beats a small dense network of equal parameters.",
        "accuracy", ["lottery"], ["small-dense"], +1, "Accuracy of LTH minus that of the small dense network, points", 100,
    ),
)  # fmt: skip
