import math

import pandas as pd
import pytest
from scipy import stats

from lotterylib import metrics, verdict
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.results import tidy
from lotterylib.verdict import (
    Tolerance,
    judge,
    limits,
    lth_pass,
    passes,
    rank_agreement,
)
from tests.test_results import row


@pytest.mark.parametrize(
    "low, high, direction, tolerance, expected",
    [
        (-0.009, 0.004, "higher", 0.01, "pass"),
        (-0.012, 0.004, "higher", 0.01, "undecided"),
        (-0.030, -0.012, "higher", 0.01, "fail"),
        (-0.004, 0.009, "lower", 0.01, "pass"),
        (-0.004, 0.012, "lower", 0.01, "undecided"),
        (0.012, 0.030, "lower", 0.01, "fail"),
        (-0.01, 0.0, "higher", 0.01, "pass"),  # the edge itself is within
        (0.001, 0.004, "higher", 0.0, "pass"),  # strict: better than dense
        (0.001, 0.004, "lower", 0.0, "fail"),
        (-0.001, 0.004, "higher", 0.0, "undecided"),
        (0.0, 0.0, "lower", 0.0, "pass"),  # identical networks
        (-5.0, -4.0, "lower", 0.0, "pass"),
    ],
)
def test_verdicts_by_hand(low, high, direction, tolerance, expected):
    assert judge(low, high, direction, tolerance) == expected


@pytest.mark.parametrize("low, high, tolerance", [(0.1, -0.1, 0), (math.nan, 1, 0), (0, math.nan, 0), (0, 1, -0.1), (0, 1, math.nan)])  # fmt: skip
def test_an_interval_that_is_none_is_refused(low, high, tolerance):
    with pytest.raises(SettingError, match="low ≤ high"):
        judge(low, high, "higher", tolerance)


def test_a_direction_is_higher_or_lower():
    with pytest.raises(SettingError, match="'higher' or 'lower', got 'up'"):
        judge(0.0, 0.1, "up", 0.0)


def test_every_metric_has_a_tolerance():
    assert all(metrics.describe(name).tolerance.amount > 0 for name in metrics.names())
    assert Tolerance(0.25, relative=True).of(-4.0) == 1.0 and Tolerance(0.02).of(-4.0) == 0.02
    assert [str(Tolerance(0.25, relative=True)), str(Tolerance(0.02))] == ["25% of dense", "0.02"]


def ticket(pruner, sparsity, metric, differences, error=0.0, dense=0.5):
    return [
        row(pruner, sparsity, seed, dense + d, metric) | {"difference": {"value": d, "error": error}}
        for seed, d in enumerate(differences)
    ]


def study():
    """Two metrics of two dimensions; "lottery" holds at one level, and loses calibration at the next."""
    rows = [row("dense", 0.0, seed, 0.5, metric) for seed in range(3) for metric in ("accuracy", "ece")]
    rows += ticket("lottery", 0.5, "accuracy", [0.001, 0.002, 0.003]) + ticket(
        "lottery", 0.5, "ece", [0.0, 0.001, 0.002]
    )
    rows += ticket("lottery", 0.9, "accuracy", [-0.003, -0.002, -0.001]) + ticket(
        "lottery", 0.9, "ece", [0.1, 0.11, 0.12]
    )
    rows += ticket("random", 0.5, "accuracy", [-0.2, 0.0, 0.2]) + ticket(
        "random", 0.5, "ece", [0.0, 0.001, 0.002]
    )
    rows += ticket("random", 0.9, "accuracy", [-0.2, -0.21, -0.22]) + ticket(
        "random", 0.9, "ece", [0.0, 0.001, 0.002]
    )
    return rows  # fmt: skip


def test_passes_and_lth_pass():
    judged = passes(study()).set_index(["pruner", "sparsity", "metric"]).verdict.to_dict()
    assert judged == {
        ("lottery", 0.5, "accuracy"): "pass", ("lottery", 0.5, "ece"): "pass",
        ("lottery", 0.9, "accuracy"): "pass", ("lottery", 0.9, "ece"): "fail",
        ("random", 0.5, "accuracy"): "undecided", ("random", 0.5, "ece"): "pass",
        ("random", 0.9, "accuracy"): "fail", ("random", 0.9, "ece"): "pass",
    }  # fmt: skip
    found = lth_pass(study()).set_index(["pruner", "sparsity"])
    assert found.lth_pass.to_dict() == {
        ("lottery", 0.5): "pass", ("lottery", 0.9): "fail", ("random", 0.5): "undecided", ("random", 0.9): "fail",
    }  # fmt: skip
    assert list(found.loc[("lottery", 0.9), ["generalization", "calibration", "passed", "failed", "fails"]]) == ["pass", "fail", 1, 1, "ece"]  # fmt: skip
    ends = limits(passes(study())).droplevel(["dataset", "model"])
    assert ends.accuracy.lottery == 0.9 and ends.ece.lottery == 0.5 and ends.ece.random == 0.9
    assert math.isnan(ends.accuracy.random)


def test_strict_asks_for_better_and_scale_moves_the_limit():
    strict = passes(study(), strict=True).set_index(["pruner", "sparsity", "metric"])
    assert strict.verdict[("lottery", 0.5, "ece")] == "undecided" and (strict.tolerance == 0).all()
    wide = lth_pass(study(), scale=20.0).set_index(["pruner", "sparsity"]).lth_pass
    assert (
        wide[("lottery", 0.9)] == "pass" and wide[("random", 0.9)] == "undecided"
    )  # −.22 to −.20, limit −.2


def test_what_cannot_be_measured_fails_and_what_has_no_interval_is_undecided():
    rows = [row("dense", 0.0, 0, 0.5, m) for m in ("accuracy", "fidelity", "hessian_top")]
    rows += ticket("snip", 0.5, "accuracy", [0.0], 0.001) + ticket("snip", 0.5, "hessian_top", [0.0], None)
    rows += ticket("snip", 0.5, "fidelity", [math.nan])
    judged = passes(rows).set_index("metric").verdict.to_dict()
    assert judged == {"accuracy": "pass", "hessian_top": "undecided", "fidelity": "fail"}


def test_bad_input_is_one_line():
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        passes(study(), tolerances={"acuracy": Tolerance(0.01)})
    with pytest.raises(DataError, match="how far a ticket lies from its dense network"):
        passes([row("dense", 0.0, 0, 0.9), row("random", 0.5, 0, 0.9)])
    with pytest.raises(DataError, match="three or more"):
        rank_agreement(passes(study()[:18]))


def test_rank_agreement_is_spearmans_on_the_better_way_round():
    """Accuracy is better when higher, ECE and NLL when lower."""
    accuracy, ece, nll = [0.3, 0.1, -0.2, -0.4], [0.2, 0.4, 0.1, 0.5], [0.1, 0.2, 0.3, 0.4]
    rows = []
    for level, values in enumerate(zip(accuracy, ece, nll, strict=True)):
        for metric, value in zip(("accuracy", "ece", "nll"), values, strict=True):
            rows += ticket("random", level / 10, metric, [value, value])
    judged = passes([row("dense", 0.0, 0, 0.5, m) for m in ("accuracy", "ece", "nll")] + rows)
    agreement = rank_agreement(judged, by="metric")
    assert agreement.ece.accuracy == pytest.approx(stats.spearmanr([-a for a in accuracy], ece)[0])
    assert agreement.nll.accuracy == pytest.approx(1.0)
    calibration = (pd.Series(ece).rank() + pd.Series(nll).rank()) / 2
    expected = stats.spearmanr([-a for a in accuracy], calibration)[0]
    assert rank_agreement(judged).calibration.generalization == pytest.approx(expected)
    assert list(rank_agreement(judged)) == ["generalization", "calibration"], "the book's order"


def test_a_wide_interval_cannot_tell_a_good_network_from_a_worse_one():
    """One seed with an error over images of .02: half an interval is 1.96 · .02, wider than a point of accuracy."""
    rows = [row("dense", 0.0, 0, 0.5, m) for m in ("accuracy", "recall_loss")]
    rows += ticket("snip", 0.5, "accuracy", [0.0], 0.02) + ticket("snip", 0.5, "recall_loss", [0.0], 0.02)
    found = verdict.resolution(passes(rows))
    assert found.half.tolist() == pytest.approx([0.0391993] * 2)
    assert found.ratio.to_dict() == pytest.approx({"accuracy": 3.91993, "recall_loss": 0.783986})
    assert found.able.to_dict() == {"accuracy": False, "recall_loss": True}


def test_one_fail_is_a_fail():
    assert verdict.together(["pass", "undecided", "fail"]) == "fail"
    assert verdict.together(["pass", "undecided"]) == "undecided" and verdict.together(["pass"]) == "pass"


def test_what_nobody_could_fail_is_not_judged():
    """Dense has an AUROC of .6: whoever forgives .12 forgives a guess, whose .5 the ticket has."""
    rows = [
        row("dense", 0.0, seed, dense, m)
        for seed in range(3)
        for m, dense in (("accuracy", 0.5), ("ood_auroc", 0.6))
    ]
    rows += ticket("lottery", 0.5, "ood_auroc", [-0.1, -0.1, -0.1], error=0.001, dense=0.6)
    table = tidy(rows + ticket("lottery", 0.5, "accuracy", [0.0, 0.0, 0.0], error=0.001))
    assert passes(table).set_index("metric").verdict.to_dict() == {"accuracy": "pass", "ood_auroc": "fail"}
    assert lth_pass(table).fails.tolist() == ["ood_auroc"] and verdict.unjudged(table).empty
    forgiving = table.assign(cost=table.metric.map({"ood_auroc": 0.12}))
    for how in ({}, {"strict": True}):
        assert passes(forgiving, **how).metric.tolist() == ["accuracy"]
    assert lth_pass(forgiving)[["lth_pass", "passed"]].to_numpy().tolist() == [["pass", 1]]
    found = verdict.unjudged(forgiving)[["metric", "dense", "tolerance", "floor"]]
    assert found.to_numpy().tolist() == [["ood_auroc", pytest.approx(0.6), 0.12, 0.5]]
    assert passes(table, tolerances={"ood_auroc": Tolerance(0.12)}).empty


@pytest.mark.parametrize("dense, judged", [(0.06, False), (0.3, True)])
def test_below_chance_a_network_is_not_harder_to_fool(dense, judged):
    """One answer to everything is right on a tenth of the images, however they are attacked: .09 is no gain over .06."""
    rows = [
        row("dense", 0.0, seed, value, m)
        for seed in range(3)
        for m, value in (("accuracy", 0.9), ("fgsm_accuracy", dense))
    ]
    rows += ticket("lottery", 0.5, "fgsm_accuracy", [0.03, 0.03, 0.03], error=0.001, dense=dense)
    table = tidy(rows + ticket("lottery", 0.5, "accuracy", [0.0, 0.0, 0.0], error=0.001, dense=0.9))
    assert ("fgsm_accuracy" in set(passes(table).metric)) == judged
    assert verdict.unjudged(table).floor.tolist() == ([] if judged else [0.1])
