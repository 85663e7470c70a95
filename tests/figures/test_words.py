import pytest

from lotterylib import study
from lotterylib.figures import convergence_in_words, gap_in_words, study_in_words
from lotterylib.results import tidy
from tests.test_results import row


def table(lottery, random):
    """Test accuracies of two methods at one sparsity, one number per seed."""
    both = {"lottery": lottery, "random": random}
    rows = [row("dense", 0.0, seed, 0.9) for seed in range(len(lottery))]
    return tidy(
        rows + [row(p, 0.488, seed, v) for p, values in both.items() for seed, v in enumerate(values)]
    )


@pytest.mark.parametrize(
    "lottery, random, said",
    [
        (
            [0.9, 0.89, 0.91],
            [0.8, 0.79, 0.81],
            "lottery tickets get 10.0 points more of the test images right than random pruning",
        ),
        ([0.7, 0.69, 0.71], [0.8, 0.79, 0.805], "lottery tickets get 9.8 points less"),
    ],
)
def test_what_is_certain_is_said_to_be_more_than_luck(lottery, random, said):
    sentence = gap_in_words(table(lottery, random), "lottery", "random", 0.6)
    assert (
        said in sentence
        and "at 48.8% sparsity" in sentence
        and sentence.endswith("3 seeds): more than luck.")
    )


def test_what_seeds_can_explain_is_left_open():
    """Differences +10, −8 and +1: their mean is 1, and 0 lies inside its interval."""
    sentence = gap_in_words(table([0.9, 0.72, 0.81], [0.8, 0.8, 0.8]), "lottery", "random", 0.5)
    assert "lottery tickets get 1.0 points more" in sentence
    assert sentence.endswith("luck alone could explain it.")


def test_one_seed_decides_nothing():
    sentence = gap_in_words(table([0.9], [0.8]), "lottery", "random", 0.5)
    assert sentence.endswith("with one seed, nobody can say how much of that is luck.")


def test_what_was_not_measured_is_said():
    assert (
        gap_in_words(table([0.9], [0.8]), "snip", "random", 0.5)
        == "This study has no records of SNIP beside random pruning."
    )


def dense(values):
    return tidy([row("dense", 0.0, seed, value) for seed, value in enumerate(values)])


@pytest.mark.parametrize(
    "before, after, gain, end",
    [
        ([0.85], [0.88], "gains +3.00 points (one seed, so no interval)", "may beat it for that alone."),
        ([0.9, 0.91, 0.9], [0.901, 0.911, 0.901], "gains +0.10 points (95% interval", "it has converged."),
        ([0.9, 0.91, 0.9], [0.91, 0.9, 0.901], "gains +0.03 points", "reaches beyond that."),
    ],
)
def test_a_network_that_gains_much_from_longer_training_has_not_converged(before, after, gain, end):
    sentence = convergence_in_words(dense(before), dense(after), (8, 16))
    assert sentence.startswith("Trained for 16 epochs instead of 8") and gain in sentence
    assert sentence.endswith(end) and ("not converged" in sentence) == (end == "may beat it for that alone.")


def test_a_study_of_dense_networks_lacks_no_pruned_ones():
    """It never asked for any."""
    name = "laptop-twice"
    said = study_in_words(study.records(name), study.outstanding(name))
    assert said == "The dense network alone, accuracy, 3 seeds."


def test_what_a_study_asked_for_and_has_not_is_named():
    there = [
        ("dense", "accuracy", 0),
        ("dense", "fgsm_accuracy", 0),
        ("dense", "accuracy", 1),
        ("snip", "accuracy", 0),
    ]
    left = [("snip", "fgsm_accuracy"), ("rigl", "accuracy"), ("control", "ece"), ("dense", "brier")]
    records = [{"pruner": p, "metric": m, "seed": s} for p, m, s in there]
    assert study_in_words(records, left) == (
        "The dense network and 1 method, 2 metrics, 1 to 2 seeds. Still without RigL. "
        "Not measured yet of any pruned network: FGSM."
    )
    assert study_in_words([], left) == "No records yet. Still without SNIP, RigL."
