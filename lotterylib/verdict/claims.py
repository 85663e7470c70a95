"""The paper's claims and its review's, each held against the records of a study.

A claim is an object: its number, its sentence, and a test of the tidy table that gives an effect in words, with its interval
over seeds, and a word: "reproduced", "not reproduced", "undecided", or "not tested here" where the study lacks the records.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd

from ..errors import DataError
from ..pruners import PRUNERS, Start
from . import paper
from .intervals import Interval, interval
from .passes import limits, lth_pass, passes

# The paper's methods: those that prune what was trained, and random pruning and pruning at initialisation.
_STARTS = {name: PRUNERS[name].start for name in paper.PRUNERS.values() if name != "dense"}
LATE = tuple(name for name, start in _STARTS.items() if start in (Start.TRAINED, Start.ROUNDS))
EARLY = tuple(name for name, start in _STARTS.items() if start is Start.UNTRAINED)
# Nothing is compared between settings, except where a claim is about that.
SETTING = ["dataset", "model"]


@dataclass(frozen=True)
class Finding:
    """A claim's number, its sentence (``said``), the ``effect`` that these records show, and a ``word`` of those above."""

    claim: str
    said: str
    effect: str
    word: str


@dataclass(frozen=True)
class Claim(ABC):
    """One claim: its ``number``, its ``sentence``, and a test."""

    number: str
    sentence: str

    # whether it is about several data sets or networks
    compares_settings: ClassVar[bool] = False

    def finding(self, table: pd.DataFrame, family: pd.DataFrame) -> Finding:
        """Hold the claim against a study's tidy table; ``family`` has other settings too, for claims that compare them."""
        try:
            effect, verdict = self.test(family if self.compares_settings else table)
        except DataError as error:
            effect, verdict = f"{error}.", "not tested here"
        return Finding(self.number, self.sentence, effect, verdict)

    @abstractmethod
    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        """Return effect and word; raise ``DataError`` where the table lacks the records."""


def findings(table: pd.DataFrame, family: pd.DataFrame | None = None) -> list[Finding]:
    """Hold all claims, in the paper's order, against the tidy table of one study; ``family`` is the table with the records of
    other data sets and networks added, for the claims that compare those."""
    return [claim.finding(table, table if family is None else family) for claim in CLAIMS]


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
    mean, low, high = (scale * value for value in found[:3])
    text = f"{mean:+.3g} (95 % interval {low:+.3g} to {high:+.3g})"
    return f"{effect}: {text}, {found.size} seed(s).", word(low, high, sign)


def _sign_test(gaps: Sequence[float], effect: str) -> tuple[str, str]:
    """Count for how many pruners a gap is above 0. Pruners are few, so nearly all must agree; ties say nothing."""
    from scipy.stats import binomtest

    up, down = sum(g > 0 for g in gaps), sum(g < 0 for g in gaps)
    said = f"{effect} for {up} of {len(gaps)} pruners, the other way round for {down}."
    sure = up + down > 0 and binomtest(up, up + down).pvalue < 0.05
    return said, ("reproduced" if up > down else "not reproduced") if sure else "undecided"


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

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        chosen = table if self.rows is None else self.rows(table)
        found = group_gap(chosen, self.metric, self.ours, self.others)
        return _over_seeds(found, self.sign, self.effect, self.scale)


class SomePassAll(Claim):
    """There is a ticket that passes every metric."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        whole = lth_pass(table)
        won = whole[whole.lth_pass == "pass"]
        open_ones = int((whole.lth_pass == "undecided").sum())
        effect = f"{len(won)} of {len(whole)} tickets certainly pass every metric, {open_ones} are undecided"
        if len(won):
            sparsest = f"the sparsest has {won.sparsity.max():.1%} of its weights removed"
            return f"{effect}; {sparsest}.", "reproduced"
        return f"{effect}.", "undecided" if open_ones else "not reproduced"


class BetweenSettings(Claim):
    """A claim about the sparsity up to which accuracy passes, in one setting and in another."""

    compares_settings = True

    @staticmethod
    def ends(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
        """Return the sparsity up to which each (dataset, model, pruner) certainly passes accuracy, 0 if at none."""
        found: Any = limits(_judged(table, "accuracy"))["accuracy"]
        return found.fillna(0.0).to_dict()


class MoreClasses(BetweenSettings):
    """The same network passes longer on the data set with the fewest classes than on that with the most."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        ends = self.ends(table)
        classes = (1 / table.groupby("dataset").chance.first()).round().sort_values()
        few, many = classes.index[0], classes.index[-1]
        differ = classes.iloc[0] < classes.iloc[-1]
        gaps = [
            end - ends[(many, model, pruner)]
            for (dataset, model, pruner), end in sorted(ends.items())
            if differ and dataset == few and (many, model, pruner) in ends
        ]
        if not gaps:
            raise DataError(
                "no network was pruned on two data sets of different numbers of classes: `lottery run --profile cifar100` "
                "and `make book PROFILE=cifar10` on one store would tell"
            )
        return _sign_test(gaps, f"Accuracy stops passing at a lower sparsity on {many} than on {few}")


@dataclass(frozen=True)
class Wider(BetweenSettings):
    """A wide network passes longer than a narrow one on the same data."""

    narrow: str
    wide: str

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        ends = self.ends(table)
        gaps = [
            ends[(dataset, self.wide, pruner)] - end
            for (dataset, model, pruner), end in ends.items()
            if model == self.narrow and (dataset, self.wide, pruner) in ends
        ]
        if not gaps:
            raise DataError(
                f"there are no records of both {self.narrow} and {self.wide} on the same data: `lottery run --profile "
                "cifar10-wide` and `make book PROFILE=cifar10` on one store would tell"
            )
        return _sign_test(gaps, f"{self.wide} passes accuracy up to a higher sparsity than {self.narrow}")


class CorruptionsFirst(Claim):
    """Corrupted images lose more accuracy than clean ones."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        wide = table[table.metric.isin(["accuracy", "corrupted_accuracy"])].pivot_table(
            index=["seed", *SETTING, "pruner", "sparsity"], columns="metric", values="difference"
        )
        if set(wide) != {"accuracy", "corrupted_accuracy"}:
            raise DataError("no records of accuracy and corrupted_accuracy together")
        beyond: Any = (wide["corrupted_accuracy"] - wide["accuracy"]).groupby("seed").mean()
        effect = "Loss on corrupted images beyond the loss on clean ones, points of accuracy"
        return _over_seeds(interval(beyond), -1, effect, 100)


class CalibrationFirst(Claim):
    """ECE leaves its tolerance before accuracy does, by mean differences: judged by intervals, the noisier metric would
    seem to break later."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        judged = _judged(table, "accuracy", "ece")
        if set(judged.metric) != {"accuracy", "ece"}:
            raise DataError("no records of accuracy and ece together")
        worse = judged.difference.where(judged.metric == "ece", -judged.difference)
        judged["first"] = judged.sparsity.where(worse > judged.tolerance, 1.0)
        index = [*SETTING, "pruner"]
        first = judged.pivot_table(index=index, columns="metric", values="first", aggfunc="min")
        gaps = (first["accuracy"] - first["ece"]).dropna()
        return _sign_test(list(gaps), "ECE leaves its tolerance at a lower sparsity than accuracy")


class AsFlat(Claim):
    """Lottery tickets that may pass accuracy pass the Hessian's trace too."""

    def test(self, table: pd.DataFrame) -> tuple[str, str]:
        judged = _judged(table, "accuracy", "hessian_trace")
        wide = judged[judged.pruner == "lottery"].pivot_table(
            index=[*SETTING, "sparsity"], columns="metric", values="verdict", aggfunc="first"
        )
        if set(wide) != {"accuracy", "hessian_trace"}:
            raise DataError("no records of the Hessian's trace for lottery tickets")
        good = wide.loc[wide["accuracy"] != "fail", "hessian_trace"].value_counts()
        counts = ", ".join(f"{good.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))
        subject = "Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy"
        effect = f"{subject}: {counts}."
        if good.get("fail", 0):
            return effect, "not reproduced"
        return effect, "reproduced" if good.sum() and good.get("pass", 0) == good.sum() else "undecided"


class SharpestOnResNet50(Gap):
    """A gap to all other pruners on ResNet-50, where the paper saw it."""

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

CLAIMS: tuple[Claim, ...] = (
    SomePassAll("1", "There are tickets that hold up in all dimensions at once (LTH-PASS)."),
    Gap(
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
        "The same among tickets whose accuracy is within a point of the dense network's.",
        "ece", EARLY, LATE, -1, "ECE of the first group minus the second's, points of probability", 100, near_dense,
    ),
    Gap(
        "6a",
        "Random pruning and pruning at initialisation look more interpretable than LTH and OMP.",
        "fidelity", EARLY, LATE, -1, f"Fidelity (LIME residual) of {_EARLY} minus that of {_LATE}",
    ),
    Gap(
        "6b",
        "The same against the control: each ticket and the dense network made as unsure as it is.",
        "fidelity:gap", EARLY, LATE, -1, f"Fidelity beyond the control, {_EARLY} minus {_LATE}",
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
        "hessian_trace", ["rigl"], [], +1, "Trace, RigL minus the others",
    ),
    Gap(
        "8",
        "A ticket beats a small dense network of equal parameters.",
        "accuracy", ["lottery"], ["small-dense"], +1, "Accuracy of LTH minus that of the small dense network, points", 100,
    ),
)  # fmt: skip
