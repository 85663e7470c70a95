import math

import pytest
from scipy import stats

from lotterylib import paper, pruners
from lotterylib.claims import EARLY, LATE, findings, group_gap, word
from lotterylib.errors import DataError
from lotterylib.metrics import names
from lotterylib.results import tidy
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
        "3",
        "4",
        "5b",
        "6a",
        "6b",
        "7b",
        "7c",
        "8",
    }
    assert "PROFILE=imagenet" in found["7c"].effect


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
