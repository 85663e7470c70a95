"""What the paper and its review claim, each held against the records of a study.

A finding is an effect with its interval over seeds and a word: "reproduced", "not reproduced", "undecided", or "not tested
here" where the study lacks what the claim is about. Pure functions of the tidy table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..errors import DataError
from ..pruners import PRUNERS, Start
from . import paper
from .passes import limits, lth_pass, passes

# the paper's methods: those that prune what was trained, and random pruning and pruning at initialisation
_STARTS = {name: PRUNERS[name].start for name in paper.PRUNERS.values() if name != "dense"}
LATE = tuple(name for name, start in _STARTS.items() if start in (Start.TRAINED, Start.ROUNDS))
EARLY = tuple(name for name, start in _STARTS.items() if start is Start.UNTRAINED)
SETTING = ["dataset", "model"]  # nothing is compared between settings, but where a claim is about that


@dataclass(frozen=True)
class Finding:
    """``claim``: its number; ``said``: the claim in a sentence; ``effect``: what these records show, with an interval;
    ``word``: one of those above."""

    claim: str
    said: str
    effect: str
    word: str


def findings(table: pd.DataFrame, family: pd.DataFrame | None = None) -> list[Finding]:
    """All claims against the tidy table of one study (``results.tidy``), in the paper's order. A claim whose metrics or
    pruners the study lacks is "not tested here". ``family``: the table with the records of other data sets and networks
    added, for the claims that compare those."""
    found = []
    for claim, said, test in _CLAIMS:
        try:
            effect, word = test(table if family is None or test not in (_more_classes, _wider) else family)
        except DataError as error:
            effect, word = f"{error}.", "not tested here"
        found.append(Finding(claim, said, effect, word))
    return found


def group_gap(
    table: pd.DataFrame, metric: str, ours: Sequence[str], others: Sequence[str], confidence: float = 0.95
) -> tuple[float, float, float, int]:
    """Mean of a metric over one group of pruners minus over another, at equal sparsity of the same network on the same
    data: the mean over these and over pruners within each seed, then Student's interval over seeds: (mean, low, high,
    seeds). NaN bounds with one seed.

    Raises ``DataError`` if a group has no records of the metric.
    """
    from scipy.stats import t as student

    chosen = table[(table.metric == metric) & table.sparsity.gt(0)]
    means = {}
    for name, group in (("first", ours), ("second", others)):
        rows = chosen[chosen.pruner.isin(group)]
        if rows.empty:
            raise DataError(f"no records of {metric} for any of {', '.join(group)}")
        means[name] = rows.groupby(["seed", *SETTING, "sparsity"]).value.mean()
    gap = (means["first"] - means["second"]).dropna().groupby("seed").mean()
    if gap.empty:
        raise DataError(f"no seed has records of {metric} for both {', '.join(ours)} and {', '.join(others)}")
    count = len(gap)
    half = (
        student.ppf((1 + confidence) / 2, count - 1) * gap.std() / math.sqrt(count) if count > 1 else math.nan
    )
    return gap.mean(), gap.mean() - half, gap.mean() + half, count


def near_dense(table: pd.DataFrame, margin: float = 0.01) -> pd.DataFrame:
    """The rows of tickets whose accuracy, in the mean over seeds, is at most ``margin`` (a fraction) below the dense
    network's; none if there are none."""
    keys = [*SETTING, "pruner", "sparsity"]
    loss = -table[table.metric == "accuracy"].groupby(keys).difference.mean()
    good = set(loss[loss <= margin].index)
    return table[[key in good for key in table[keys].itertuples(index=False, name=None)]]


def word(low: float, high: float, sign: int) -> str:
    """What an interval says of a claim that the effect has this ``sign`` (+1 or −1)."""
    if math.isnan(low):
        return "undecided"
    low, high = sorted((sign * low, sign * high))
    return "reproduced" if low > 0 else "not reproduced" if high < 0 else "undecided"


def _gap(metric: str, ours: Sequence[str], others: Sequence[str], sign: int, what: str, scale: float = 1.0):
    """A test of a claim on the sign of a gap between two groups; ``what`` names effect and unit."""

    def test(table: pd.DataFrame) -> tuple[str, str]:
        mean, low, high, seeds = group_gap(table, metric, ours, others)
        return f"{what}: {_interval(scale * mean, scale * low, scale * high)}, {seeds} seed(s).", word(
            low, high, sign
        )

    return test


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:+.3g} (95 % interval {low:+.3g} to {high:+.3g})"


def _exists(table: pd.DataFrame) -> tuple[str, str]:
    whole = lth_pass(table)
    won = whole[whole.lth_pass == "pass"]
    counts = whole.lth_pass.value_counts()
    effect = f"{len(won)} of {len(whole)} tickets certainly pass every metric, {counts.get('undecided', 0)} are undecided"
    if len(won):
        return f"{effect}; the sparsest has {won.sparsity.max():.1%} of its weights removed.", "reproduced"
    return f"{effect}.", "undecided" if counts.get("undecided", 0) else "not reproduced"


def _more_classes(table: pd.DataFrame) -> tuple[str, str]:
    """The same network on the data set with the most and with the fewest classes."""
    ends = _ends_of_accuracy(table)
    classes = (1 / table.groupby("dataset").chance.first()).round().sort_values()
    few, many = classes.index[0], classes.index[-1]
    shared = (
        set(ends.loc[few].index) & set(ends.loc[many].index) if classes.iloc[0] < classes.iloc[-1] else ()
    )
    if not len(shared):
        raise DataError(
            "no network was pruned on two data sets of different numbers of classes: `lottery run --profile cifar100` and "
            "`make book PROFILE=cifar10` on one store would tell"
        )
    pairs = [(ends[(few, *key)], ends[(many, *key)]) for key in sorted(shared)]
    what = f"Accuracy stops passing at a lower sparsity on {many} than on {few}"
    return _sign_test([a - b for a, b in pairs], what)


def _wider(table: pd.DataFrame) -> tuple[str, str]:
    """The paper's widest and its narrowest network on the same data."""
    ends = _ends_of_accuracy(table)
    narrow, wide = "resnet20s", "wrn28_10"
    gaps = [
        ends[(dataset, wide, pruner)] - end
        for (dataset, model, pruner), end in ends.items()
        if model == narrow and (dataset, wide, pruner) in ends
    ]
    if not gaps:
        raise DataError(
            f"there are no records of both {narrow} and {wide} on the same data: `lottery run --profile cifar10-wide` and "
            "`make book PROFILE=cifar10` on one store would tell"
        )
    return _sign_test(gaps, f"{wide} passes accuracy up to a higher sparsity than {narrow}")


def _ends_of_accuracy(table: pd.DataFrame) -> pd.Series:
    """The sparsity up to which each (dataset, model, pruner) certainly passes accuracy, 0 if at none."""
    return limits(passes(table[table.metric == "accuracy"])).accuracy.fillna(0.0)


def _sign_test(gaps: Sequence[float], what: str) -> tuple[str, str]:
    """Pruners are few, so nearly all must agree. Ties say nothing."""
    from scipy.stats import binomtest

    up, down = sum(g > 0 for g in gaps), sum(g < 0 for g in gaps)
    effect = f"{what} for {up} of {len(gaps)} pruners, the other way round for {down}."
    sure = up + down > 0 and binomtest(up, up + down).pvalue < 0.05
    return effect, ("reproduced" if up > down else "not reproduced") if sure else "undecided"


def _corruptions_first(table: pd.DataFrame) -> tuple[str, str]:
    wide = table[table.metric.isin(["accuracy", "corrupted_accuracy"])].pivot_table(
        index=["seed", *SETTING, "pruner", "sparsity"], columns="metric", values="difference"
    )
    if set(wide) != {"accuracy", "corrupted_accuracy"}:
        raise DataError("no records of accuracy and corrupted_accuracy together")
    apart = (wide.corrupted_accuracy - wide.accuracy).rename("value").reset_index()
    return _of_seeds(
        apart, -1, "Loss on corrupted images beyond the loss on clean ones, points of accuracy", 100
    )


def _of_seeds(rows: pd.DataFrame, sign: int, what: str, scale: float = 1.0) -> tuple[str, str]:
    from scipy.stats import t as student

    each = rows.groupby("seed").value.mean()
    half = (
        student.ppf(0.975, len(each) - 1) * each.std() / math.sqrt(len(each)) if len(each) > 1 else math.nan
    )
    mean, low, high = each.mean(), each.mean() - half, each.mean() + half
    text = _interval(scale * mean, scale * low, scale * high)
    return f"{what}: {text}, {len(each)} seed(s).", word(low, high, sign)


def _calibration_first(table: pd.DataFrame) -> tuple[str, str]:
    """By mean differences: judged by intervals, the noisier metric would seem to break later."""
    judged = passes(table[table.metric.isin(["accuracy", "ece"])])
    if set(judged.metric) != {"accuracy", "ece"}:
        raise DataError("no records of accuracy and ece together")
    judged["broken"] = judged.difference.where(judged.metric == "ece", -judged.difference) > judged.tolerance
    judged["first"] = judged.sparsity.where(judged.broken, 1.0)
    first = judged.pivot_table(index=[*SETTING, "pruner"], columns="metric", values="first", aggfunc="min")
    gaps = (first.accuracy - first.ece).dropna()
    return _sign_test(list(gaps), "ECE leaves its tolerance at a lower sparsity than accuracy")


def _near_dense_calibration(table: pd.DataFrame) -> tuple[str, str]:
    return _gap(
        "ece", EARLY, LATE, -1, "ECE of the first group minus the second's, points of probability", 100
    )(near_dense(table))


def _as_flat(table: pd.DataFrame) -> tuple[str, str]:
    judged = passes(table[table.metric.isin(["accuracy", "hessian_trace"])])
    wide = judged[judged.pruner == "lottery"].pivot_table(
        index=[*SETTING, "sparsity"], columns="metric", values="verdict", aggfunc="first"
    )
    if set(wide) != {"accuracy", "hessian_trace"}:
        raise DataError("no records of the Hessian's trace for lottery tickets")
    good = wide[wide.accuracy != "fail"].hessian_trace.value_counts()
    told = ", ".join(f"{good.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))
    effect = f"Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy: {told}."
    if good.get("fail", 0):
        return effect, "not reproduced"
    return effect, "reproduced" if good.sum() and good.get("pass", 0) == good.sum() else "undecided"


def _rigl_sharpest(table: pd.DataFrame) -> tuple[str, str]:
    if "resnet50" not in set(table.model):
        raise DataError(
            "RigL's sharpness was seen on ResNet-50 and ImageNet: `make book PROFILE=imagenet` would tell"
        )
    others = [p for p in table.pruner.unique() if p not in ("rigl", "dense")]
    return _gap("hessian_trace", ["rigl"], others, +1, "Trace, RigL minus the others")(
        table[table.model == "resnet50"]
    )


_CALIBRATED = _gap(
    "ece", EARLY, LATE, -1,
    "ECE of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP, points of probability", 100,
)  # fmt: skip

_CLAIMS = (
    ("1", "There are tickets that hold up in all dimensions at once (LTH-PASS).", _exists),
    ("2", "LTH and OMP keep accuracy longest; random pruning and pruning at initialisation fall off early.",
     _gap("accuracy", LATE, EARLY, +1, "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points", 100)),
    ("3a", "More classes are harder.", _more_classes),
    ("3b", "Wider networks reach higher sparsity.", _wider),
    ("4", "Robustness to corruptions is more sensitive to sparsity than accuracy is.", _corruptions_first),
    ("5a", "Calibration breaks at lower sparsity than generalization.", _calibration_first),
    ("5b", "Random pruning and pruning at initialisation are better calibrated than LTH and OMP.",
     _CALIBRATED),
    ("5c", "The same among tickets whose accuracy is within a point of the dense network's.", _near_dense_calibration),
    ("6a", "Random pruning and pruning at initialisation look more interpretable than LTH and OMP.",
     _gap("fidelity", EARLY, LATE, -1, "Fidelity (LIME residual) of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP")),
    ("6b", "The same against the control: each ticket beside the dense network made as unsure as it is.",
     _gap("fidelity:gap", EARLY, LATE, -1, "Fidelity beyond the control, RP, SNIP, GraSP and SynFlow minus LTH and OMP")),
    ("7a", "LTH's landscape stays as flat as the dense network's.", _as_flat),
    ("7b", "Pruning at initialisation ends in sharper valleys than LTH.",
     _gap("hessian_trace", EARLY[1:], ("lottery",), +1, "Trace of the weights' Hessian of SNIP, GraSP and SynFlow minus LTH's, nats")),
    ("7c", "RigL's valleys are the sharpest (ResNet-50).", _rigl_sharpest),
    ("8", "A ticket beats a small dense network of equal parameters.",
     _gap("accuracy", ("lottery",), ("small-dense",), +1, "Accuracy of LTH minus that of the small dense network, points", 100)),
)  # fmt: skip
