import math

import pytest
from scipy import stats

from lotterylib import pruners, study
from lotterylib.errors import DataError
from lotterylib.metrics import names
from lotterylib.results import tidy
from lotterylib.verdict import paper, passes
from lotterylib.verdict.claims import (
    CLAIMS,
    DENSE_THERE,
    EARLY,
    EQUAL,
    LATE,
    Gap,
    findings,
    group_gap,
    near_dense,
    paper_gaps,
    word,
)
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
        "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points, where none of them collapses: +11 (95%"
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


def test_a_claim_waits_for_all_records_that_it_rests_on():
    """SynFlow's accuracy is of the early group, a small dense network's is not; nothing here is of another study."""
    table = tidy(
        records("accuracy", {"lottery": [0.1] * 3, "random": [0.0, 0.1, 0.0], "small-dense": [0.0] * 3})
    )
    words = {f.claim: f for f in findings(table)}
    assert {words["2"].word, words["8"].word} <= {"reproduced", "undecided"}
    waiting = {
        f.claim: f for f in findings(table, outstanding={("synflow", "accuracy"): 3, ("rigl", "nll"): 1})
    }
    assert waiting["2"].word == "under way" and waiting["2"].effect.startswith("3 of the records")
    assert waiting["1"].effect.startswith("4 of the records")
    assert waiting["8"] == words["8"] and waiting["3b"] == words["3b"]
    # without any record of its metric a claim waits too, where the study asks for them
    ece = {("lottery", "ece"): 12}
    assert {f.claim: f.word for f in findings(table, outstanding=ece)}["5b"] == "under way"
    assert words["5b"].word == "not tested here"


def test_rigl_is_sharpest_on_resnet50_or_not():
    traces = {"rigl": [9.0, 9.1, 9.2], "lottery": [1.0] * 3, "random": [2.0] * 3}
    rows = records("hessian_trace", traces) + records("accuracy", {p: [0.0] * 3 for p in traces})
    assert by_claim(tidy(rows))["7c"].word == "not tested here"
    on_resnet50 = [r | {"model": "resnet50"} for r in rows]
    found = by_claim(tidy(on_resnet50))["7c"]
    assert found.word == "reproduced" and "of RigL minus that of the others, nats: +7.6 (95%" in found.effect


def test_corruptions_cost_more_than_sparsity():
    values = {"lottery": [-0.05, -0.06, -0.05], "random": [-0.07, -0.06, -0.06]}
    rows = records("corrupted_accuracy", values) + records("accuracy", {p: [0.0] * 3 for p in values})
    assert by_claim(tidy(rows))["4"].word == "reproduced"


def test_calibration_breaks_first_by_seeds_and_not_by_pruners():
    """ECE leaves at .5 and accuracy never, in every pruner: one seed says nothing of others, however many pruners agree. Three
    seeds that agree are certain but for the grid: levels 0, .5, 1 have steps of .5, so .5 ± 1.96 · .5/√6."""
    for seeds, expected in ((1, "undecided"), (3, "reproduced")):
        for count in (1, 6):
            every = pruners.names()[:count]
            rows = records("accuracy", {p: [0.0] * seeds for p in every})
            rows += records("ece", {p: [0.2] * seeds for p in every})
            found = by_claim(tidy(rows))["5a"]
            assert found.word == expected, (seeds, count)
    half = 196 * 0.5 / math.sqrt(6)
    assert f"+50 (95% interval {50 - half:+.3g} to {50 + half:+.3g}), 3 seeds" in found.effect
    assert found.effect.endswith("ECE is first for 6 of 6 pruners, accuracy for 0.")
    # 50 points: accuracy, which never leaves its tolerance, counts as if at 100%
    assert "(100% where one never does)" in found.effect


def test_a_noisy_metric_does_not_break_because_it_is_undecided():
    """ECE leaves its tolerance in one of three seeds, by noise; accuracy falls at the second sparsity in all."""
    every, rows = pruners.names()[:6], []
    for sparsity, loss in ((0.5, 0.0), (0.9, -0.3)):
        rows += records("accuracy", {p: [loss] * 3 for p in every}, sparsity)
        rows += records("ece", {p: [-0.2, 0.2, 0.0] for p in every}, sparsity)
    assert set(passes(tidy(rows)).query("metric == 'ece'").verdict) == {"undecided"}
    found = by_claim(tidy(rows))["5a"]
    assert found.word == "undecided" and "points: +6.67 (95%" in found.effect


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
    assert "+5 (95%" in found["5c"].effect
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
    assert "points of accuracy: −5 (95%" in by_claim(tidy(rows))["4"].effect
    traces = records("hessian_trace", {"lottery": [0.0] * 3}) + [
        r | {"model": "resnet18"} for r in records("hessian_trace", {"lottery": [90.0] * 3})
    ]
    found = by_claim(tidy(rows + traces))["7a"]
    assert "over its own weights: 1 pass, 0 undecided, 1 fail; over the same" in found.effect


def test_accuracy_is_compared_where_no_network_has_collapsed():
    """At 90% random pruning collapses, which would carry the gap; at 50% the late pruners are behind."""
    held = dict.fromkeys(LATE, [-0.01, -0.011, -0.01]) | dict.fromkeys(EARLY, [0.0, 0.0, 0.001])
    rows = records("accuracy", held) + records("accuracy", held | {"random": [-0.39, -0.4, -0.39]}, 0.9)
    found = by_claim(tidy(rows))["2"]
    assert found.word == "not reproduced" and "where none of them collapses: −1." in found.effect
    assert "With the collapsed: +" in found.effect and found.effect.endswith("one ranking over all layers.")


def test_random_pruning_is_compared_in_its_stronger_form_too():
    """Late pruners beat random pruning, but not where it gives each layer its ERK share."""
    held = dict.fromkeys(LATE, [0.0, 0.001, 0.0]) | dict.fromkeys(EARLY[1:], [0.0, 0.0, 0.001])
    weak = {"random": [-0.1, -0.1, -0.11]}
    alone = records("accuracy", held | weak)
    assert by_claim(tidy(alone))["2"].word == "reproduced"
    strong = records("accuracy", held | weak | {"random-erk": [0.02, 0.021, 0.02]})
    found = by_claim(tidy(strong))["2"]
    assert found.word == "undecided" and "(ERK densities): −0.5 (95%" in found.effect


def test_flatness_is_judged_over_the_weights_that_both_networks_have():
    """Over its own few weights the ticket's trace is as small as dense; over the same ones it is sharper."""
    accuracy = records("accuracy", {"lottery": [0.0] * 3})
    own = records("hessian_trace", {"lottery": [0.0] * 3})
    found = by_claim(tidy(accuracy + own))["7a"]
    assert (
        found.word == "undecided"
        and "over the same weights of both networks there are no records" in found.effect
    )
    for change, expected, counts in (
        (0.9, "not reproduced", "0 undecided, 1 fail"),
        (0.0, "reproduced", "1 pass, 0"),
    ):
        equal = [r | {"metric": EQUAL} for r in records("hessian_trace", {"lottery": [change] * 3})]
        found = by_claim(tidy(accuracy + own + equal))["7a"]
        assert found.word == expected and counts in found.effect.split("same weights of both")[1]
        assert found.only_theirs == (change > 0)
    # the dense network is ten times as sharp over those weights, so that .9 is little
    there = [
        r | {"metric": DENSE_THERE, "value": 5.0} for r in records("hessian_trace", {"lottery": [0.0] * 3})
    ]
    equal = [r | {"metric": EQUAL} for r in records("hessian_trace", {"lottery": [0.9] * 3})]
    assert by_claim(tidy(accuracy + own + equal + there))["7a"].word == "reproduced"


def test_the_paper_s_own_gap_stands_beside_ours():
    table = paper.digitised()
    one = table[(table.dataset == "cifar100") & (table.model == "resnet20s") & (table.metric == "accuracy")]
    at = (
        one[one.sparsity.gt(0)]
        .assign(sparsity=lambda t: t.sparsity.round(2))
        .groupby(["pruner", "sparsity"])
        .value.mean()
    )
    gaps = []
    for sparsity in sorted({s for _, s in at.index}):
        late, early = ([at[p, sparsity] for p in group if (p, sparsity) in at] for group in (LATE, EARLY))
        gaps += [sum(late) / len(late) - sum(early) / len(early)] if late and early else []
    assert paper_gaps("accuracy", LATE, EARLY)["cifar100", "resnet20s"] == pytest.approx(
        sum(gaps) / len(gaps), abs=2e-3
    )
    found = by_claim(tidy(records("accuracy", dict.fromkeys((*LATE, *EARLY), [0.0, 0.001, 0.0]))))
    assert found["2"].theirs.startswith("In the paper's own figures: +") and found["8"].theirs == ""
    assert found["2"].careful.startswith(
        "For ResNet-8 on a sample of Fashion-MNIST, 3 trainings each, the records neither support"
    )


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
            loss = [0.0] * 3 if sparsity <= end else [-0.1] * 3
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
    # each of the two differs at one of three sparsities, by 10 points
    assert found["3a"].effect == (
        "Change of accuracy by pruning, ResNet-20s on CIFAR-10 minus ResNet-20s on CIFAR-100, at equal sparsity, points: "
        "+3.33 (95% interval +3.33 to +3.33), 3 seeds. Accuracy certainly passes up to a higher sparsity for 6 of 6 pruners, up to a "
        "lower one for 0."
    )
    assert found["3b"].effect.startswith(
        "Change of accuracy by pruning, WRN-28-10 on CIFAR-10 minus ResNet-20s on CIFAR-10,"
    )
    assert {f.word for f in findings(alone) if f.claim in ("3a", "3b")} == {"not tested here"}
    turned = settings(
        {("cifar10", "resnet20s"): 0.5, ("cifar100", "resnet20s"): 0.8, ("cifar10", "wrn28_10"): 0.5}
    )
    found = {f.claim: f.word for f in findings(turned)}
    assert (found["3a"], found["3b"]) == ("not reproduced", "undecided")


def test_one_architecture_in_two_widths_is_compared_too_and_not_where_one_has_collapsed():
    family = settings({("cifar10", "resnet8"): 0.9, ("cifar10", "resnet8-x0.5"): 0.8})
    narrow = (family.model == "resnet8-x0.5") & (family.pruner == "random") & (family.sparsity == 0.9)
    # of one pruner nearly all is gone at 90%: 17 gaps of 18 are left, five of 10 points, 50 / 17
    family.loc[narrow, ["value", "difference"]] -= 0.2
    found = {f.claim: f for f in findings(family)}
    assert found["3b"].effect.startswith(
        "Change of accuracy by pruning, ResNet-8 on CIFAR-10 minus ResNet-8 of half the width on CIFAR-10, at equal sparsity, points: +2.94"
    )
    assert found["3b"].word == "reproduced" and found["3a"].word == "not tested here"


# Effect and word of each claim on the records that come with the package.
COMMITTED = {
    "1": (
        "undecided",
        "0 of 40 tickets certainly pass every metric, 11 are undecided.",
    ),
    "2": (
        "reproduced",
        "Accuracy of LTH and OMP minus that of RP, SNIP, GraSP and SynFlow, points, where none of them collapses: +2.13 (95% interval +1.31 to +2.96), 3 seeds. With the collapsed: +2.13 (95% interval +1.31 to +2.96). With random pruning in its stronger form (ERK densities): +1.43 (95% interval +1.24 to +1.62).",
    ),
    "3a": (
        "not tested here",
        "no network was pruned on two data sets of different numbers of classes: `lottery run --profile cifar100` and `make book PROFILE=cifar10` on one store would tell.",
    ),
    "3b": (
        "reproduced",
        "Change of accuracy by pruning, ResNet-8 on a sample of Fashion-MNIST minus ResNet-8 of half the width on a sample of Fashion-MNIST, at equal sparsity, points: +3.98 (95% interval +1.43 to +6.52), 3 seeds. Accuracy certainly passes up to a higher sparsity for 1 of 2 pruners, up to a lower one for 0.",
    ),
    "4": (
        "undecided",
        "Loss on corrupted images beyond the loss on clean ones, points of accuracy: −1.72 (95% interval −4.76 to +1.32), 3 seeds.",
    ),
    "5a": (
        "undecided",
        "Sparsity at which accuracy leaves its tolerance minus that at which ECE does (100% where one never does), points: −15.4 (95% interval −31.8 to +0.907), 3 seeds. In the mean over seeds ECE is first for 0 of 10 pruners, accuracy for 10.",
    ),
    "5b": (
        "not reproduced",
        "ECE of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP, points of probability: +0.379 (95% interval +0.227 to +0.532), 3 seeds.",
    ),
    "5c": (
        "undecided",
        "ECE of the first group minus the second's, points of probability: +0.0631 (95% interval −0.211 to +0.337), 3 seeds.",
    ),
    "6a": (
        "reproduced",
        "Fidelity of RP, SNIP, GraSP and SynFlow minus that of LTH and OMP, squared probability (0 where LIME's linear model is exact, 1 where it is off by the whole probability): −0.0027 (95% interval −0.00442 to −0.000974), 3 seeds.",
    ),
    "6b": (
        "undecided",
        "Fidelity beyond that of such dense networks, RP, SNIP, GraSP and SynFlow minus LTH and OMP, squared probability (0 where LIME's linear model is exact, 1 where it is off by the whole probability): +0.000546 (95% interval −0.000439 to +0.00153), 3 seeds.",
    ),
    "7a": (
        "not reproduced",
        "By the paper's measure it holds, over the same weights it does not. Trace of the weights' Hessian of lottery tickets that do not certainly fail accuracy, each over its own weights: 4 pass, 0 undecided, 0 fail; over the same weights of both: 0 pass, 1 undecided, 3 fail.",
    ),
    "7b": (
        "reproduced",
        "Trace of the weights' Hessian of SNIP, GraSP and SynFlow minus LTH's, nats: +267 (95% interval +149 to +385), 3 seeds.",
    ),
    "7c": (
        "not tested here",
        "RigL's sharpness was seen on ResNet-50 and ImageNet: `make book PROFILE=imagenet` would tell.",
    ),
    "8": (
        "reproduced",
        "Accuracy of LTH minus that of the small dense network, points: +2.08 (95% interval +1.71 to +2.44), 3 seeds.",
    ),
}


def test_findings_of_the_committed_records():
    found = findings(tidy(study.records("laptop", "")), study.family("laptop", ""))
    assert {f.claim: (f.word, f.effect) for f in found} == COMMITTED
    assert [f.claim for f in found] == [claim.number for claim in CLAIMS]


def test_an_effect_names_its_unit():
    gaps = [claim for claim in CLAIMS if isinstance(claim, Gap)]
    units = ("points", "nats", "squared probability")
    assert gaps and all(any(f", {unit}" in claim.effect for unit in units) for claim in gaps)
