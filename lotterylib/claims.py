"""What the paper and its review claim, each held against the records of a study.

A finding is an effect with its interval over seeds and a word: "reproduced", "not reproduced", "undecided", or "not tested
here" where the study lacks what the claim is about. Pure functions of the tidy table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .errors import DataError
from .verdict import limits, lth_pass, passes

LATE = ("lottery", "magnitude")  # prune what was trained
EARLY = ("random", "snip", "grasp", "synflow")  # random pruning and pruning at initialisation


@dataclass(frozen=True)
class Finding:
    """``claim``: its number; ``said``: the claim in a sentence; ``effect``: what these records show, with an interval;
    ``word``: one of those above."""

    claim: str
    said: str
    effect: str
    word: str


def findings(table: pd.DataFrame) -> list[Finding]:
    """All claims against the tidy table of one study (``results.tidy``), in the paper's order. A claim whose metrics or
    pruners the study lacks is "not tested here"."""
    found = []
    for claim, said, test in _CLAIMS:
        try:
            effect, word = test(table)
        except DataError as error:
            effect, word = f"{error}.", "not tested here"
        found.append(Finding(claim, said, effect, word))
    return found


def group_gap(
    table: pd.DataFrame, metric: str, ours: Sequence[str], others: Sequence[str], confidence: float = 0.95
) -> tuple[float, float, float, int]:
    """Mean of a metric over one group of pruners minus over another, at equal sparsity: the mean over sparsities and
    pruners within each seed, then Student's interval over seeds: (mean, low, high, seeds). NaN bounds with one seed.

    Raises ``DataError`` if a group has no records of the metric.
    """
    from scipy.stats import t as student

    chosen = table[(table.metric == metric) & table.sparsity.gt(0)]
    means = {}
    for name, group in (("first", ours), ("second", others)):
        rows = chosen[chosen.pruner.isin(group)]
        if rows.empty:
            raise DataError(f"no records of {metric} for any of {', '.join(group)}")
        means[name] = rows.groupby(["seed", "sparsity"]).value.mean()
    gap = (means["first"] - means["second"]).dropna().groupby("seed").mean()
    if gap.empty:
        raise DataError(f"no seed has records of {metric} for both {', '.join(ours)} and {', '.join(others)}")
    count = len(gap)
    half = (
        student.ppf((1 + confidence) / 2, count - 1) * gap.std() / math.sqrt(count) if count > 1 else math.nan
    )
    return gap.mean(), gap.mean() - half, gap.mean() + half, count


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


def _wider(table: pd.DataFrame) -> tuple[str, str]:
    settings = table[["dataset", "model"]].drop_duplicates()
    if len(settings) < 2:
        raise DataError("one data set and one network tell nothing about more classes or wider networks")
    ends = limits(passes(table[table.metric == "accuracy"])).accuracy.groupby(["dataset", "model"]).max()
    told = "; ".join(f"{model} on {dataset} up to {end:.1%}" for (dataset, model), end in ends.items())
    return f"Sparsest ticket that passes accuracy: {told}.", "undecided"


def _corruptions_first(table: pd.DataFrame) -> tuple[str, str]:
    wide = table[table.metric.isin(["accuracy", "corrupted_accuracy"])].pivot_table(
        index=["seed", "pruner", "sparsity"], columns="metric", values="difference"
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
    ends = limits(passes(table))
    if not {"accuracy", "ece"} <= set(ends):
        raise DataError("no records of accuracy and ece together")
    both = ends[["accuracy", "ece"]].fillna(0.0)
    earlier, later = int((both.ece < both.accuracy).sum()), int((both.ece > both.accuracy).sum())
    effect = f"ECE stops passing before accuracy for {earlier} of {len(both)} pruners, after it for {later}."
    # a sign test: pruners are few, so nearly all must agree
    from scipy.stats import binomtest

    sure = earlier + later > 0 and binomtest(earlier, earlier + later).pvalue < 0.05
    return effect, ("reproduced" if earlier > later else "not reproduced") if sure else "undecided"


def _as_flat(table: pd.DataFrame) -> tuple[str, str]:
    judged = passes(table[table.metric.isin(["accuracy", "hessian_trace"])])
    wide = judged[judged.pruner == "lottery"].pivot_table(
        index="sparsity", columns="metric", values="verdict", aggfunc="first"
    )
    if set(wide) != {"accuracy", "hessian_trace"}:
        raise DataError("no records of the Hessian's trace for lottery tickets")
    good = wide[wide.accuracy != "fail"].hessian_trace.value_counts()
    told = ", ".join(f"{good.get(v, 0)} {v}" for v in ("pass", "undecided", "fail"))
    effect = f"Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy: {told}."
    if not good.sum():
        return effect, "undecided"
    return effect, "reproduced" if good.get("pass", 0) == good.sum() else "not reproduced" if good.get(
        "fail", 0
    ) else "undecided"


def _rigl_sharpest(table: pd.DataFrame) -> tuple[str, str]:
    if "resnet50" not in set(table.model):
        raise DataError(
            "RigL's sharpness was seen on ResNet-50 and ImageNet: `make book PROFILE=imagenet` would tell"
        )
    others = [p for p in table.pruner.unique() if p not in ("rigl", "dense")]
    return _gap("hessian_trace", ["rigl"], others, +1, "Trace, RigL minus the others")(
        table[table.model == "resnet50"]
    )


_CLAIMS = (
    ("1", "There are tickets that hold up in all dimensions at once (LTH-PASS).", _exists),
    ("2", "LTH and OMP keep accuracy longest; random pruning and pruning at initialisation fall off early.",
     _gap("accuracy", LATE, EARLY, +1, "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points", 100)),
    ("3", "More classes are harder, and wider networks reach higher sparsity.", _wider),
    ("4", "Robustness to corruptions is more sensitive to sparsity than accuracy is.", _corruptions_first),
    ("5a", "Calibration breaks at lower sparsity than generalization.", _calibration_first),
    ("5b", "Random pruning and pruning at initialisation are better calibrated than LTH and OMP.",
     _gap("ece", EARLY, LATE, -1, "ECE of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP, points of probability", 100)),
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
