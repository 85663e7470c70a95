import math

import pytest
from scipy import stats

from lotterylib import pruners, study
from lotterylib.errors import DataError
from lotterylib.metrics import names
from lotterylib.results import tidy
from lotterylib.verdict import paper, passes
from lotterylib.verdict.claims import CLAIMS, EARLY, LATE, findings, group_gap, near_dense, word
from tests.test_results import row


def records(metric, values, sparsity=0.5):
    """``values``: pruner → a difference to dense a seed; dense is 0.5."""
    return [
        row(p, sparsity, s, 0.5 + d, metric) | {"difference": {"value": d, "error": 0.001}}
        for p, each in values.items()
        for s, d in enumerate(each)
    ] + [row("dense", 0.0, s, 0.5, metric) for s in range(3)]


def by_claim(table):
    return {f.claim: f for f in findings(table)}


def test_a_gap_between_groups_is_student_s_over_seeds():
    table = tidy(
        records(
            "accuracy", {"lottery": [0.1, 0.2, 0.3], "magnitude": [0.0, 0.0, 0.0], "random": [0.0, 0.1, 0.0]}
        )
    )
    each = [0.05, 0.0, 0.15]  # the groups' means, seed by seed
    mean, low, high, seeds = group_gap(table, "accuracy", LATE, EARLY)
    assert mean == pytest.approx(sum(each) / 3) and seeds == 3
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, mean, stats.sem(each)))


def test_a_gap_compares_equal_sparsities_only():
    rows = records("accuracy", {"lottery": [0.1, 0.1], "random": [0.0, 0.0]})
    rows += records("accuracy", {"random": [-0.4, -0.4]}, sparsity=0.9)  # nothing to compare with there
    assert group_gap(tidy(rows), "accuracy", LATE, EARLY)[0] == pytest.approx(0.1)
    with pytest.raises(DataError, match="no records of ece"):
        group_gap(tidy(rows), "ece", LATE, EARLY)


def test_words():
    assert word(0.1, 0.2, +1) == word(-0.2, -0.1, -1) == "reproduced"
    assert word(0.1, 0.2, -1) == word(-0.2, -0.1, +1) == "not reproduced"
    assert word(-0.1, 0.2, +1) == word(math.nan, math.nan, +1) == "undecided"


def test_findings_of_a_study_that_agrees_and_of_one_that_does_not():
    steady = [0.0, 0.001, -0.001]
    agree = {
        "lottery": steady,
        "magnitude": steady,
        **{p: [-0.1, -0.11, -0.12] for p in EARLY},
        "small-dense": [-0.2, -0.21, -0.2],
    }
    found = by_claim(tidy(records("accuracy", agree)))
    assert found["1"].word == found["2"].word == found["8"].word == "reproduced"
    assert found["2"].effect.startswith(
        "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points: +11 (95 %"
    )
    turned = {p: [-d for d in each] for p, each in agree.items()}
    found = by_claim(tidy(records("accuracy", turned)))
    assert found["2"].word == found["8"].word == "not reproduced"


def test_what_a_study_lacks_is_not_tested_here():
    found = by_claim(tidy(records("accuracy", {"lottery": [0.0, 0.0, 0.0]})))
    assert {c for c, f in found.items() if f.word == "not tested here"} >= {
        "2",
        "3a",
        "3b",
        "4",
        "5b",
        "5c",
        "6a",
        "6b",
        "7b",
        "7c",
        "8",
    }
    assert "PROFILE=imagenet" in found["7c"].effect


def test_rigl_is_sharpest_on_resnet50_or_not():
    traces = {"rigl": [9.0, 9.1, 9.2], "lottery": [1.0] * 3, "random": [2.0] * 3}
    rows = records("hessian_trace", traces) + records("accuracy", {p: [0.0] * 3 for p in traces})
    assert by_claim(tidy(rows))["7c"].word == "not tested here"
    on_resnet50 = [r | {"model": "resnet50"} for r in rows]
    found = by_claim(tidy(on_resnet50))["7c"]
    assert found.word == "reproduced" and "Trace, RigL minus the others: +7.6 (95 %" in found.effect


def test_corruptions_cost_more_than_sparsity():
    values = {"lottery": [-0.05, -0.06, -0.05], "random": [-0.07, -0.06, -0.06]}
    rows = records("corrupted_accuracy", values) + records("accuracy", {p: [0.0] * 3 for p in values})
    assert by_claim(tidy(rows))["4"].word == "reproduced"


def test_calibration_breaks_first_for_nearly_all_or_it_is_undecided():
    """A sign test: six of six agree with p = .03, five of five with p = .06."""
    for count, expected in ((6, "reproduced"), (5, "undecided")):
        every = pruners.names()[:count]
        rows = records("accuracy", {p: [0.0, 0.0, 0.0] for p in every})
        rows += records("ece", {p: [0.2, 0.2, 0.2] for p in every})
        assert by_claim(tidy(rows))["5a"].word == expected


def test_a_noisy_metric_does_not_break_because_it_is_undecided():
    """ECE's mean stays within its tolerance, but its interval does not; accuracy falls at the second sparsity."""
    every, rows = pruners.names()[:6], []
    for sparsity, loss in ((0.5, 0.0), (0.9, -0.3)):
        rows += records("accuracy", {p: [loss] * 3 for p in every}, sparsity)
        rows += records("ece", {p: [-0.2, 0.2, 0.0] for p in every}, sparsity)
    assert set(passes(tidy(rows)).query("metric == 'ece'").verdict) == {"undecided"}
    found = by_claim(tidy(rows))["5a"]
    assert found.word == "not reproduced"
    assert found.effect.endswith("than accuracy for 0 of 6 pruners, the other way round for 6.")


def test_calibration_at_equal_accuracy():
    """Early pruners look well calibrated only where they are no longer accurate."""
    late, early = dict.fromkeys(LATE, [0.0, 0.001, 0.0]), dict.fromkeys(EARLY, [0.0, 0.0, 0.001])
    rows = records("accuracy", late | early, 0.5) + records(
        "accuracy", late | dict.fromkeys(EARLY, [-0.2] * 3), 0.9
    )
    worse, better = [0.04, 0.05, 0.06], [-0.1, -0.1, -0.11]
    rows += records("ece", dict.fromkeys(LATE, [0.0] * 3) | dict.fromkeys(EARLY, worse), 0.5)
    rows += records("ece", dict.fromkeys(LATE, [0.0] * 3) | dict.fromkeys(EARLY, better), 0.9)
    found = by_claim(tidy(rows))
    assert (found["5b"].word, found["5c"].word) == ("reproduced", "not reproduced")
    assert "+5 (95 %" in found["5c"].effect
    assert near_dense(tidy(records("accuracy", {"random": [-0.2] * 3}))).empty


def test_settings_are_not_mixed():
    """Two networks, one twice as good: each is compared with itself, also where one lacks a pruner at a sparsity."""
    rows = records("accuracy", {"lottery": [0.1] * 3, "random": [0.0] * 3})
    other = records("accuracy", {"lottery": [0.4] * 3}) + records("accuracy", {"random": [0.3] * 3}, 0.9)
    rows += [r | {"model": "resnet18"} for r in other]
    assert group_gap(tidy(rows), "accuracy", LATE, EARLY)[0] == pytest.approx(0.1)
    apart = records("corrupted_accuracy", {"lottery": [0.05] * 3})
    rows += apart + [
        r | {"model": "resnet18"} for r in records("corrupted_accuracy", {"lottery": [0.35] * 3})
    ]
    assert "points of accuracy: -5 (95 %" in by_claim(tidy(rows))["4"].effect
    traces = records("hessian_trace", {"lottery": [0.0] * 3}) + [
        r | {"model": "resnet18"} for r in records("hessian_trace", {"lottery": [90.0] * 3})
    ]
    assert by_claim(tidy(rows + traces))["7a"].effect.endswith("1 pass, 0 undecided, 1 fail.")


def test_the_paper_s_curves_are_in_our_names_and_units():
    table = paper.digitised()
    assert not table.isna().any().any() and len(table) > 4900
    assert set(table.metric) <= set(names()) and set(table.pruner) <= {"dense", *pruners.names()}
    assert table.sparsity.between(0, 1).all()
    for metric in ("accuracy", "fgsm_accuracy", "ood_auroc", "ece"):
        assert table[table.metric == metric].value.between(0, 1).all()
    dense = table[(table.pruner == "dense") & (table.dataset == "cifar10") & (table.metric == "accuracy")]
    assert dense.value.between(0.9, 0.97).all()
    assert (
        table[(table.pruner == "dense") & (table.metric == "corruption_error")].value.between(97, 103).all()
    )


def settings(ends):
    """Accuracy of six pruners at three sparsities: (data set, model) → up to which of them it holds."""
    rows = []
    for (dataset, model), end in ends.items():
        chance = {"cifar10": 0.1, "cifar100": 0.01}[dataset]
        for sparsity in (0.5, 0.8, 0.9):
            loss = [0.0] * 3 if sparsity <= end else [-0.3] * 3
            found = records("accuracy", {p: loss for p in pruners.names()[:6]}, sparsity)
            rows += [r | {"dataset": dataset, "model": model, "chance": chance} for r in found]
    return tidy(rows)


def test_claims_about_classes_and_width_compare_settings():
    family = settings(
        {("cifar10", "resnet20s"): 0.8, ("cifar100", "resnet20s"): 0.5, ("cifar10", "wrn28_10"): 0.9}
    )
    alone = family[(family.dataset == "cifar10") & (family.model == "resnet20s")]
    found = {f.claim: f for f in findings(alone, family)}
    assert found["3a"].word == found["3b"].word == "reproduced"
    assert found["3a"].effect == (
        "Accuracy stops passing at a lower sparsity on cifar100 than on cifar10 for 6 of 6 pruners, "
        "the other way round for 0."
    )
    assert {f.word for f in findings(alone) if f.claim in ("3a", "3b")} == {"not tested here"}
    turned = settings(
        {("cifar10", "resnet20s"): 0.5, ("cifar100", "resnet20s"): 0.8, ("cifar10", "wrn28_10"): 0.5}
    )
    found = {f.claim: f.word for f in findings(turned)}
    assert (found["3a"], found["3b"]) == ("not reproduced", "undecided")


# Effect and word of each claim on the records that come with the package.
COMMITTED = {
    "1": ("undecided", "0 of 54 tickets certainly pass every metric, 18 are undecided."),
    "2": (
        "reproduced",
        "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points: +3.32 (95 % interval +0.155 to +6.48), 3 seed(s).",
    ),
    "3a": (
        "not tested here",
        "no network was pruned on two data sets of different numbers of classes: `lottery run --profile cifar100` and `make book PROFILE=cifar10` on one store would tell.",
    ),
    "3b": (
        "not tested here",
        "there are no records of both resnet20s and wrn28_10 on the same data: `lottery run --profile cifar10-wide` and `make book PROFILE=cifar10` on one store would tell.",
    ),
    "4": (
        "undecided",
        "Loss on corrupted images beyond the loss on clean ones, points of accuracy: -1.38 (95 % interval -9 to +6.24), 3 seed(s).",
    ),
    "5a": (
        "not reproduced",
        "ECE leaves its tolerance at a lower sparsity than accuracy for 1 of 9 pruners, the other way round for 8.",
    ),
    "5b": (
        "undecided",
        "ECE of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP, points of probability: -0.273 (95 % interval -0.61 to +0.0636), 3 seed(s).",
    ),
    "5c": (
        "reproduced",
        "ECE of the first group minus the second's, points of probability: -1.04 (95 % interval -1.42 to -0.666), 3 seed(s).",
    ),
    "6a": (
        "reproduced",
        "Fidelity (LIME residual) of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP: -0.0044 (95 % interval -0.00629 to -0.00252), 3 seed(s).",
    ),
    "6b": (
        "undecided",
        "Fidelity beyond the control, RP, SNIP, GraSP and SynFlow minus LTH and OMP: +1.93e-05 (95 % interval -0.00169 to +0.00172), 3 seed(s).",
    ),
    "7a": (
        "reproduced",
        "Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy: 6 pass, 0 undecided, 0 fail.",
    ),
    "7b": (
        "reproduced",
        "Trace of the weights' Hessian of SNIP, GraSP and SynFlow minus LTH's, nats: +248 (95 % interval +32.5 to +463), 3 seed(s).",
    ),
    "7c": (
        "not tested here",
        "RigL's sharpness was seen on ResNet-50 and ImageNet: `make book PROFILE=imagenet` would tell.",
    ),
    "8": (
        "reproduced",
        "Accuracy of LTH minus that of the small dense network, points: +2 (95 % interval +1.28 to +2.72), 3 seed(s).",
    ),
}


def test_findings_of_the_committed_records():
    found = findings(tidy(study.records("laptop", "")))
    assert {f.claim: (f.word, f.effect) for f in found} == COMMITTED
    assert [f.claim for f in found] == [claim.number for claim in CLAIMS]
