"""Sentences from records: each table is made so that the verdict is known beforehand."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.figures import answers
from lotterylib.figures.answers.wording import write_rounded
from lotterylib.results import example, tidy
from lotterylib.verdict import passes
from tests.test_results import row

LEVELS = (0.36, 0.59, 0.79)
# Differences to a dense accuracy of .9, whose tolerance is .01: kept, kept, lost; and undecided all along.
ACCURACY = {"lottery": (0.0, -0.002, -0.3), "random": (-0.01, -0.01, -0.01)}
# Attacked accuracy, tolerance .02, and the trace of the Hessian at 10, tolerance 2.5: worse by far, flatter by far.
OTHERS = {"fgsm_accuracy": (0.5, -0.2), "hessian_trace": (10.0, -5.0)}


def study(pruners=("lottery", "random"), others=OTHERS, **about):
    rows = []

    def add(pruner, sparsity, seed, metric, dense, change):
        found = row(pruner, sparsity, seed, dense + change, metric) | about
        if pruner != "dense":
            found["difference"] = {"value": change, "error": 0.001}
        rows.append(found)

    for seed in (0, 1, 2):
        jitter = 0.0001 * (seed - 1)
        for metric, dense in [("accuracy", 0.9), *((m, d) for m, (d, _) in others.items())]:
            add("dense", 0.0, seed, metric, dense, 0.0)
        for pruner in pruners:
            for level, change in zip(LEVELS, ACCURACY[pruner], strict=True):
                add(pruner, level, seed, "accuracy", 0.9, change + jitter)
                for metric, (dense, by) in others.items():
                    add(pruner, level, seed, metric, dense, by + jitter)
    return tidy(rows)


@pytest.mark.parametrize(
    "verdicts, said",
    [
        ("PPP", "kept at every sparsity"),
        ("PFF", "kept up to 36%, lost from 59%"),
        ("P?F", "kept up to 36%, undecided at 59%, lost at 79%"),
        ("?F?", "undecided at 36 and 79%, lost at 59%"),
        ("?PP", "kept from 59%, undecided up to 36%"),
    ],
)
def test_every_sparsity_is_accounted_for(verdicts, said):
    names = {"P": "pass", "F": "fail", "?": "undecided"}
    assert answers.reach(LEVELS, [names[v] for v in verdicts]) == said


def test_runs_of_sparsities_are_spans():
    verdicts = ["fail", "pass", "pass", "pass", "fail"]
    assert answers.reach([0.1, 0.2, 0.3, 0.4, 0.5], verdicts) == "kept at 20 to 40%, lost at 10 and 50%"


def test_an_answer_names_verdict_interval_and_reach():
    first, second = figures.answer(study(), "accuracy", "fgsm_accuracy", "ece").sentences
    assert first.startswith(
        "With 59% of the weights removed, lottery tickets are less accurate than the dense network, by less than the tolerance "
        "(Test accuracy ↑: dense 90%, difference −0.20 points, 95% interval "
    )
    assert (
        "3 seeds" in first
        and "lottery tickets kept up to 59%, lost at 79%" in first
        and first.count("; tolerance 1 point).") == 1
    )
    assert "random pruning undecided at every sparsity. Kept longest by lottery tickets, up to 59%." in first
    assert second == "Accuracy under FGSM: lottery tickets and random pruning lost at every sparsity."


def test_a_certain_loss_and_a_gain_are_told_apart():
    worse = str(figures.answer(study(), "fgsm_accuracy"))
    assert (
        "where test accuracy is certainly kept" in worse and "certainly worse than the dense network" in worse
    )
    assert "No method certainly keeps it" in worse
    assert "are flatter than the dense network" in str(figures.answer(study(), "hessian_trace"))
    steep = study(others={"input_trace": (10.0, 20.0)})
    assert "are certainly sharper than the dense network" in str(figures.answer(steep, "input_trace"))
    assert "are better than the dense network" in str(
        figures.answer(study(others={"nll": (0.3, -0.1)}), "nll")
    )


def test_one_seed_and_broken_networks_are_said_to_be_so():
    table = study()
    broken = table.assign(
        value=table.value.where((table.metric != "hessian_trace") | (table.pruner == "dense")),
        difference=table.difference.where(table.metric != "hessian_trace"),
    )
    assert "broken" in str(figures.answer(broken, "hessian_trace"))
    single = table[table.seed == 0].assign(difference_error=float("nan"))
    assert "no interval" in str(figures.answer(single, "accuracy"))


def test_what_was_not_measured_is_said_not_invented():
    assert str(figures.answer(study(), "ece")) == "This profile holds no record that answers the question."
    assert str(figures.pruner_answer(study(), "snip")) == "This profile holds no record of SNIP."
    assert figures.tiles(study())["calibration"]["lead"] == "Not measured under this profile."


def test_a_study_without_lottery_tickets_answers_for_its_own_pruner():
    assert "random pruning" in figures.tale(study(("random",))).sentences[0]


def test_a_pruner_is_answered_for_beside_random_pruning():
    short, reach, best, beside = figures.pruner_answer(study(), "lottery").sentences
    assert short == (
        "In short: lottery tickets are certainly at most 1 point less accurate than dense up to 59% sparsity; certainly more "
        "accurate than random pruning up to 59% sparsity."
    )
    assert reach == (
        "Test accuracy of lottery tickets: kept up to 59% sparsity, lost at 79%; at 59%: dense 90%, difference −0.20 points, "
        "95% interval −0.40 to 0.00, 3 seeds. Kept means at most 1 point below dense, the tolerance."
    )
    assert best.startswith(
        "At 59% sparsity, the highest up to which they certainly keep test accuracy, they keep 2 of 3 metrics"
    )
    assert best.endswith("none is undecided, 1 certainly lost: FGSM.")
    # .8 points above at 59%, 29 below at 79%
    assert beside.startswith(
        "Test accuracy beside random pruning: certainly higher up to 59% sparsity, certainly lower at 79%; "
        "at 79% by −29 points (95% interval "
    )
    assert "beside random" not in str(figures.pruner_answer(study(), "random"))
    mirrored = figures.pruner_answer(study(), "random", "lottery", "snip").sentences
    assert len(mirrored) == 4 and "beside lottery tickets: certainly higher at 79% sparsity" in mirrored[3]
    assert mirrored[0] == (
        "In short: random pruning is neither certainly at most 1 point less accurate than dense nor certainly more than 1 point "
        "less; certainly more accurate than lottery tickets at 79% sparsity."
    )
    assert mirrored[2].startswith("It certainly keeps test accuracy at no sparsity; at 79%, it keeps ")
    # where a pruner is nowhere better, it is said where it is worse
    worse = study()
    random = (worse.pruner == "random") & (worse.metric == "accuracy")
    worse = worse.assign(**{c: worse[c].where(~random, worse[c] - 0.4) for c in ("value", "difference")})
    short = figures.pruner_answer(worse, "random", "lottery").sentences[0]
    assert short.endswith("; certainly less accurate than lottery tickets at every sparsity.")
    assert figures.pruner_answer(study(), "lottery", "snip").sentences[3] == beside


def test_an_answer_names_the_limit_it_judges_by():
    """A ticket that is certainly worse than dense, but by less than what a retraining changes, is not called as accurate."""
    widened = study().assign(cost=np.nan)
    widened["cost"] = widened.cost.where(widened.metric != "accuracy", 0.0155)
    said = figures.pruner_answer(widened, "random").sentences
    assert said[0] == (
        "In short: random pruning is certainly at most 1.55 points less accurate than dense at every sparsity."
    )
    assert said[1].endswith(
        "Kept means at most 1.55 points below dense, what a retraining of the dense network may cost."
    )
    lost = study().query("sparsity in (0.0, 0.79)")
    assert (
        figures.pruner_answer(lost, "lottery")
        .sentences[0]
        .startswith(
            "In short: lottery tickets are certainly more than 1 point less accurate than dense at 79% sparsity"
        )
    )


def test_where_nothing_is_certain_the_narrowest_interval_speaks():
    table = study()
    # three trainings that disagree, the more the sparser
    far = table.seed.map({0: -0.1, 1: 0.0, 2: 0.12}) * table.sparsity
    table["value"] += far.where((table.pruner == "random") & (table.metric == "accuracy"), 0.0)
    beside = figures.pruner_answer(table[table.sparsity < 0.7], "lottery").sentences[3]
    assert "undecided at every sparsity; at 36% by" in beside


GAP = "(difference −0.20 points, 95% interval −0.40 to 0.00, 3 seeds)"


def test_the_tale_says_better_worse_and_how_many():
    story, count = figures.tale(study()).sentences
    assert story == (
        f"With 59% of the weights removed, lottery tickets are as accurate as the dense network {GAP} and in a valley "
        "that is flatter by the paper's measure, but easier to fool."
    )
    assert count == (
        "Of 6 pruned networks, none certainly keep all 3 metrics, 6 certainly lose one or more, and of 0 the study "
        "cannot tell."
    )


@pytest.mark.parametrize(
    "scatter, said",
    [
        (0.0005, "They are easier to fool, by less than the tolerance."),
        # too much for a tolerance of 2 points, far too little for chance
        (0.004, "They are easier to fool, perhaps within the tolerance."),
        (0.02, "Undecided is whether they are easier to fool."),
    ],
)
def test_the_tale_keeps_worse_and_undecided_apart(scatter, said):
    """In the mean tickets are 1.5 points worse."""
    table = study(("lottery",), {"fgsm_accuracy": (0.5, -0.015)})
    spread = table.seed.map({0: -scatter, 1: 0.0, 2: scatter})
    moved = table.difference.add(spread.where(table.metric == "fgsm_accuracy", 0.0))
    story = figures.tale(table.assign(difference=moved, value=table.value + spread)).sentences[0]
    assert story == (
        f"With 59% of the weights removed, lottery tickets are as accurate as the dense network {GAP}. {said}"
    )


@pytest.mark.parametrize(
    "fgsm, pgd, said",
    [
        ((0.5, 0.1), (0.4, -0.1), ", but easier to fool."),
        ((0.5, -0.1), (0.4, 0.1), ", but easier to fool."),
        ((0.5, 0.1), (0.4, 0.0), " and harder to fool."),
        # a network that guesses has a tenth, so FGSM tells nothing here
        (
            (0.05, 0.0),
            (0.4, -0.1),
            ", but easier to fool. Not judged: FGSM, since a network that guesses would pass.",
        ),
    ],
)
def test_of_metrics_that_say_the_same_the_worst_off_is_told_once(fgsm, pgd, said):
    table = study(("lottery",), {"fgsm_accuracy": fgsm, "pgd_accuracy": pgd})
    story = figures.tale(table).sentences[0]
    assert story == (
        f"With 59% of the weights removed, lottery tickets are as accurate as the dense network {GAP}{said}"
    )


def test_the_tale_of_tickets_that_lose_accuracy_says_so():
    collapsed = study(("lottery",)).query("sparsity in (0.0, 0.79)")
    story = figures.tale(collapsed).sentences[0]
    assert story == (
        "With 79% of the weights removed, lottery tickets are in a valley that is flatter by the paper's measure, but "
        "less accurate than the dense network (difference −30.00 points, 95% interval −30.20 to −29.80, 3 seeds) and "
        "easier to fool."
    )


def test_the_tale_of_one_seed_says_what_its_interval_is_over_and_who_is_better():
    table = study(("lottery",)).query("seed == 0")
    better = table.assign(difference=table.difference.where(table.metric != "accuracy", 0.02))
    story, _, once = figures.tale(better).sentences
    assert once.startswith("4 of these were trained once")
    assert "more accurate than the dense network (difference +2.00 points, 95% interval " in story
    assert "over the images of one training)" in story


def test_which_networks_are_better_than_the_dense_one():
    """Those that win a metric and lose none; better in all is a word for those that win every one."""
    flatter = study(others={"hessian_trace": (10.0, -5.0), "nll": (0.3, 0.0)})
    assert str(figures.better_than_dense(flatter)) == (
        "Certainly better than the dense network in all 3 metrics: none of 6 pruned networks. Certainly better in some, and "
        "certainly lost in none: 5, namely lottery tickets at 36%, lottery tickets at 59%, random pruning at 36%, random "
        "pruning at 59% and random pruning at 79% (each better in 1). Of 18 comparisons, chance alone makes up to 0.45 look certainly "
        "better."
    )
    attacked = figures.better_than_dense(study(others={"fgsm_accuracy": (0.5, -0.2)}))
    assert "certainly lost in none: none." in str(attacked)
    all_ = study(("lottery",)).query("metric == 'hessian_trace'")
    assert (
        "in all 1 metric: lottery tickets at 36%, lottery tickets at 59% and lottery tickets at 79% of 3"
        in str(figures.better_than_dense(all_))
    )


def test_two_studies_are_compared_where_both_are_certain():
    """Of lottery tickets' nine verdicts the attacked accuracy is lost in one study and kept in the other, at three sparsities;
    random pruning is undecided in both."""
    one = study(dataset="cifar10", model="resnet20s")
    other = study(others=OTHERS | {"fgsm_accuracy": (0.5, 0.0)}, dataset="digits", model="lenet")
    assert str(figures.alike(pd.concat([one, other.query("pruner != 'random'")]))) == (
        "ResNet-20s on CIFAR-10 and LeNet on scikit-learn's digits share 9 verdicts: same method, sparsity and metric, same "
        "kind of limit. In 9 both are certain: 6 agree and 3 do not: FGSM (3, kept only by LeNet on scikit-learn's digits)."
    )
    # a retraining costs accuracy 5 points, as one of the studies knows: its tickets at all sparsities are forgiven what the other's aren't
    known = other.assign(cost=np.where(other.metric == "accuracy", 0.05, np.nan))
    said = str(figures.alike(pd.concat([one.assign(cost=np.nan), known]).query("pruner != 'random'")))
    assert (
        "share 6 verdicts" in said and "Not compared are 3 more, of accuracy: only one of the studies" in said
    )
    accuracy = pd.concat([one, other]).query("metric == 'accuracy'")
    assert (
        "share 6 verdicts: same method, sparsity and metric, same kind of limit. In 3 both are certain: 3 agree."
        in str(figures.alike(accuracy))
    )
    assert figures.alike(one).sentences == ()


def test_tiles_speak_of_whole_dimensions():
    tile = figures.tiles(study())["generalization"]
    assert (
        tile["lead"] == "Lottery tickets: lost at every sparsity, first in FGSM; at 59%, 1 of 2 metrics kept."
    )
    ece = figures.tiles(study(others={"ece": (0.01, 0.01), "nll": (1.0, 0.0)}))["calibration"]
    assert (
        ece["lead"]
        == "Lottery tickets: undecided at every sparsity; at 59%, 1 of 2 metrics kept, ECE undecided."
    )


def test_the_least_sensitive_pruner_keeps_a_metric_longest():
    found = figures.sensitivity(study())
    assert found.loc["Test accuracy ↑"].to_dict() == {
        "dimension": "generalization",
        "least sensitive": "LTH, up to 59%",
        "LTH": "●●×",
        "RP": "???",
    }
    assert found.loc["Accuracy under FGSM ↑", "least sensitive"] == "nobody"
    # lottery tickets keep accuracy longest, both keep the trace
    assert figures.leads(study()).to_dict() == {
        "generalization": {"lottery": 1, "random": 0},
        "geometry": {"lottery": 1, "random": 1},
    }
    assert figures.sensitivity(study()).loc[
        "Weight curvature (Hessian trace, nats) ↓", "least sensitive"
    ] == ("every method, up to 79%")
    assert figures.least_sensitive(study()).sentences == (
        "ResNet-8 on a sample of Fashion-MNIST: kept longest (ties count for each) is generalization by lottery tickets "
        "(1 of 2 metrics); geometry by lottery tickets and random pruning (1 of 1); kept by no method, even at the lowest "
        "sparsity: FGSM.",
    )


def test_two_settings_are_named():
    import pandas as pd

    both = pd.concat([study(), study().assign(model="lenet")], ignore_index=True)
    assert [s.partition(":")[0] for s in figures.tale(both).sentences][::2] == [
        "LeNet on a sample of Fashion-MNIST",
        "ResNet-8 on a sample of Fashion-MNIST",
    ]


def test_an_answer_is_a_box_on_a_page_and_plain_text_elsewhere():
    answer = figures.Answer(("a < b.", "c."))
    assert str(answer) == repr(answer) == "a < b. c."
    assert answer._repr_html_() == (
        '<div class="answer" role="note"><p><strong>Answer from the records.</strong> a &lt; b.</p><p>c.</p></div>'
    )


def shown(answer):
    """What a reader sees of an answer that nobody has opened."""
    return re.findall("<p>(.*?)</p>", re.sub("<details>.*?</details>", "", answer._repr_html_()))


def test_a_long_answer_shows_the_first_sentence_of_each_study_and_folds_the_rest():
    answer = figures.Answer(("One: 1.5 is. Two. Three.", "Four.", "Other: five. Six."), starts=(0, 2))
    assert answer._repr_html_() == (
        '<div class="answer" role="note"><p><strong>Answer from the records.</strong> One: 1.5 is.</p><details>'
        "<summary>The rest of this answer</summary><p>Two. Three.</p><p>Four.</p></details><p>Other: five. Six.</p></div>"
    )
    assert str(answer) == "One: 1.5 is. Two. Three. Four. Other: five. Six."
    assert shown(answer.add("Seven.", shown=True))[1:] == ["Other: five. Six.", "Seven."]
    assert shown(answer.add("Seven."))[1:] == ["Other: five."]
    asked = figures.Answer(("Is it? It is. By much. In truth.",))
    assert shown(asked) == ["<strong>Answer from the records.</strong> Is it? It is."]


@pytest.mark.parametrize(
    "asked",
    [
        lambda table: figures.answer(table, "accuracy", "fgsm_accuracy", "hessian_trace"),
        lambda table: figures.pruner_answer(table, "lottery"),
        figures.tale,
    ],
)
def test_an_answer_from_two_studies_shows_two_sentences_of_each_at_most(asked):
    both = pd.concat([study(), study(dataset="cifar10", model="resnet20s")])
    said = " ".join(shown(asked(both)))
    of_studies = said.partition("ResNet-8 on a sample")[::2]
    assert all(1 <= len(re.findall(r"[.](?= [A-Z]|$)", part.strip())) <= 2 for part in of_studies)


def test_bars_count_every_verdict_once():
    judged = passes(study())
    figure, alt = figures.kept_counts(judged, ["lottery", "random"], smoke=True)
    first = figure.axes[0]
    assert first.get_title(loc="left") == "Generalization: 2 metrics"
    bars: Any = first.patches
    heights = [sum(p.get_height() for p in bars if abs(p.get_x() + 0.43 - x) < 0.1) for x in range(3)]
    assert heights == [2, 2, 2]
    assert "Generalization, LTH: 1 kept and 1 lost at 36%; 0 kept and 2 lost at 79%." in alt
    with pytest.raises(DataError, match="no verdicts on snip"):
        figures.kept_counts(judged, ["snip"])


def test_what_is_lost_first_is_named_with_its_sparsity():
    lottery, random = figures.first_lost(study(), "lottery", "random").sentences
    # attacked accuracy is worse by .2 everywhere, accuracy at 79% alone
    assert lottery == "First lost by lottery tickets, at 36%: FGSM."
    assert random.startswith("First lost by random pruning, at 36%: ")
    [kept] = figures.first_lost(study(others={}), "random").sentences
    assert kept == "Random pruning: nothing is certainly lost at any sparsity."


def test_what_accuracy_costs_names_the_best_and_the_cheapest():
    costs = {"lottery": 2.54, "random": 0.6}
    first, second = figures.price_answer(study(), costs, 0.36).sentences
    assert first.endswith(
        "1 of 2 methods certainly keeps test accuracy: lottery tickets, found for 2.5 dense trainings."
    )
    assert second == (
        "Most accurate in the mean: lottery tickets, found for 2.5 dense trainings (difference 0.00 points, 95% "
        "interval −0.20 to +0.20, 3 seeds). Cheapest: random pruning, found for 0.6 dense trainings (difference −1.00 "
        "points, 95% interval −1.20 to −0.80, 3 seeds). Differences are to the dense network."
    )
    none, _ = figures.price_answer(study(), costs, 0.79).sentences
    assert none == "At 79% sparsity none of 2 methods certainly keeps test accuracy."
    [nothing] = figures.price_answer(study(), costs, 0.5).sentences
    assert nothing == "This profile holds no test accuracy at 50% sparsity."


def test_studies_are_told_apart_and_a_metric_that_lottery_tickets_lack_is_another_s():
    """As while a study is under way: some networks are measured, some metrics not yet on all of them."""
    other = study(dataset="cifar10", model="resnet20s")
    lacking = (other.pruner == "lottery") & (other.metric == "fgsm_accuracy")
    both = pd.concat([study(), other[~lacking]])
    first, second = figures.answer(both, "accuracy").sentences
    assert first.startswith("ResNet-20s on CIFAR-10: With")
    assert second.startswith("ResNet-8 on a sample of Fashion-MNIST: With")
    found = figures.answer(both[both.dataset == "cifar10"], "fgsm_accuracy").sentences[0]
    assert "random pruning is certainly worse than the dense network" in found and "lottery" not in found


def test_one_sparsity_is_not_every_sparsity():
    assert answers.reach([0.488], ["pass"]) == "kept at 48.8%"


def test_a_metric_that_one_study_lacks_is_answered_by_the_other_alone():
    lacking = study(others={}, dataset="cifar10", model="resnet20s")
    found = figures.answer(pd.concat([study(), lacking]), "fgsm_accuracy").sentences
    assert len(found) == 1 and found[0].startswith("ResNet-8 on a sample of Fashion-MNIST: With")


def test_a_difference_has_the_digits_of_its_interval():
    changes = pd.Series({0: -0.01, 1: 0.0, 2: 0.01001})
    table = study(("lottery",), {"ece": (0.01, 0.0)})
    others = (table.metric != "ece") | (table.pruner == "dense")
    moved = table.difference.where(others, table.seed.map(changes))
    assert "difference 0.000, 95% interval −0.0" in str(figures.answer(table.assign(difference=moved), "ece"))


@pytest.mark.parametrize(
    "low, high, limit, said",
    [
        (-0.0101, 0.0102, 0.01, ["−0.0101", "+0.0102"]),
        (-0.0098, 0.002, 0.01, ["−0.0098", "+0.0020"]),
        (-0.0104, 0.0301, 0.01, ["−0.0104", "+0.0301"]),
        (-32.44, -2.0, 32.4, ["−32.44", "−2.00"]),
        (-0.02, 0.03, 0.01, ["−0.020", "+0.030"]),
        # none could tell these apart
        (-0.01, 0.01, 0.01, ["−0.010", "+0.010"]),
        (-0.0100000001, 0.01, 0.01, ["−0.010", "+0.010"]),
    ],
)
def test_no_end_of_an_interval_is_rounded_onto_the_limit_or_past_it(low, high, limit, said):
    assert write_rounded((low + high) / 2, low, high, limit)[1:] == said


def test_the_name_carries_a_unit_that_does_not_stand_behind_the_numbers():
    found = str(figures.answer(study(others={"fidelity": (0.02, 0.001)}), "fidelity"))
    assert "(Fidelity ↓ [squared probability]: dense 0.02, difference +0.001" in found
    found = str(figures.answer(study(others={"nll": (0.3, 0.01)}), "nll"))
    assert "(NLL ↓: dense 0.3 nats, difference +0.01" in found


def test_a_ticket_of_fewer_seeds_stands_beside_the_dense_networks_of_these():
    table = study()
    shift = 0.01 * table.seed
    table = table.assign(value=table.value + shift)
    assert "dense 91%, difference −0.20 points" in str(figures.answer(table, "accuracy"))
    alone = table[(table.pruner == "dense") | (table.seed == 2)]
    assert "dense 92% with the same seed, difference −0.19 points" in str(figures.answer(alone, "accuracy"))


def test_a_difference_of_percentages_is_in_points():
    found = str(figures.answer(study(others={"corruption_error": (100.0, -8.0)}), "corruption_error"))
    assert "dense 100%, difference −8.0000 points, 95%" in found
    found = str(figures.answer(study(others={"recall_loss": (0.0, 0.02)}), "recall_loss"))
    assert "dense 0 points, difference +2.00 points, 95%" in found


def test_metrics_of_one_fate_share_a_sentence_and_what_all_keep_is_said_of_all():
    others = {"ece": (0.1, 0.0), "nll": (0.3, 0.0), "brier": (0.2, 0.0)}
    first, second = figures.answer(study(others=others), "ece", "nll", "brier").sentences
    assert first.endswith(
        "lottery tickets and random pruning kept at every sparsity. Every method keeps it, up to 79%."
    )
    assert second == "NLL and Brier score: lottery tickets and random pruning kept at every sparsity."


def test_a_leader_does_not_hide_who_was_measured_less_far_or_on_fewer_seeds():
    table = study(others={"ece": (0.1, 0.0)})
    few = (table.pruner == "random") & (table.seed > 0)
    part = (table.pruner == "lottery") & (table.sparsity > 0.4)
    found = str(figures.answer(table[~few & ~part], "ece"))
    assert found.endswith(
        "Kept longest by random pruning (1 seed), up to 79% (measured so far: lottery tickets only up to 36%)."
    )
    fewer_first = few & (table.sparsity < 0.4)
    assert "Kept longest by random pruning (1 to 3 seeds), up to 79%" in str(
        figures.answer(table[~fewer_first & ~part], "ece")
    )


def test_an_answer_says_what_is_not_judged_since_guessing_would_pass():
    table = study(others={"ood_auroc": (0.6, -0.05), "ood_fpr95": (0.5, 0.1)})
    cost = np.where(table.metric == "ood_auroc", 0.2, np.nan)
    said = figures.answer(table.assign(cost=cost), "ood_auroc", "ood_fpr95").sentences
    assert said[0].startswith("With 59%") and "Outliers let in at 95% TPR ↓: dense 50%" in said[0]
    assert said[-1].startswith(
        "Not judged: outlier ROC-AUC, since a network that guesses would lie within what a retraining of the dense network may "
        "cost (outlier ROC-AUC ↑: dense 0.6, guessing 0.5, tolerance 0.2). With 59% of the weights removed, lottery tickets: difference −0.05"
    )
    assert "Not judged: outlier ROC-AUC, since a network that guesses would pass." in str(
        figures.tale(table.assign(cost=cost))
    )
    assert "Not judged" not in str(figures.answer(table, "ood_auroc")) + str(figures.tale(table))


def test_a_method_measured_less_far_is_kept_at_every_sparsity_measured():
    table = study()
    short = table[(table.pruner != "lottery") | (table.sparsity < 0.7)]
    assert "lottery tickets kept at every sparsity measured, up to 59%; random" in str(
        figures.answer(short, "accuracy")
    )


def test_what_is_undecided_and_worse_all_the_same_is_told():
    said = figures.answer(study(others={"ece": (0.01, 0.01), "nll": (1.0, 0.0)}), "nll", "ece").sentences[1]
    assert (
        "At 59%, lottery tickets are worse than the dense network, perhaps within the tolerance (dense 0.01, "
        in said
    )


def test_a_flat_valley_is_told_with_the_curvature_over_the_same_weights():
    table = study()
    own = table[(table.metric == "hessian_trace") & (table.pruner != "dense")]
    control = own.assign(metric="hessian_trace:control", value=2.0, difference=np.nan)
    said = figures.tale(pd.concat([table, control])).sentences[0]
    assert "; over the same weights their loss is 2.5 times as curved as the dense network's." in said
    assert "same weights" not in figures.tale(table).sentences[0]


def test_a_sentence_says_the_sparsity_of_its_own_record():
    """Of a study under way a metric may lack the sparsity up to which accuracy is kept."""
    table = example()
    few = table[(table.metric != "ece") | ~table.sparsity.between(0.1, 0.6)]
    said = str(answers.answer(few, "ece"))
    assert said.startswith("With 80% of the weights removed, lottery tickets are")
    assert "50%" not in said and "certainly kept" not in said
    assert str(answers.answer(table, "ece")).startswith(
        "With 50% of the weights removed, where test accuracy"
    )


def test_what_nobody_keeps_is_said_of_the_sparsities_that_were_measured():
    table = example()
    far = table[(table.metric != "accuracy") | ~table.sparsity.between(0.1, 0.6)]
    assert "lowest sparsity measured" in str(answers.answer(far, "accuracy"))
    assert "measured" not in str(answers.answer(table[table.pruner != "lottery"], "accuracy"))
