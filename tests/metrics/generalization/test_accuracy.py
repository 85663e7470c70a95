import math

import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import accuracy_score

from lotterylib import metrics
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import accuracy, by_guessing
from tests.conftest import toy_data, toy_network, untouched_rng


def test_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 5.0, 1.0], [0.0, 0.0, -1.0], [9.0, 0.0, 1.0]])
    assert (
        accuracy(logits, torch.tensor([0, 1, 0, 2])) == 0.75
    )  # the third is a tie that the first class wins
    assert accuracy(logits, torch.tensor([0, 1, 1, 2])) == 0.5
    assert accuracy(torch.tensor([[-math.inf, 0.0]]), torch.tensor([1])) == 1.0


@pytest.mark.parametrize("classes, images", [(2, 400), (10, 100), (10, 1000), (100, 2000)])
def test_few_guesses_reach_beyond_what_guessing_may_reach(classes, images):
    beyond = binom.sf(by_guessing(classes, images) * images, images, 1 / classes)
    assert 0.01 < beyond < 0.05


def test_as_scikit_learn_counts():
    dice = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(997, 7, generator=dice), torch.randint(7, (997,), generator=dice)
    assert accuracy(logits, labels) == pytest.approx(accuracy_score(labels, logits.argmax(1)), abs=1e-15)


@pytest.mark.parametrize(
    "logits, labels, words",
    [
        (torch.zeros(0, 3), torch.zeros(0).long(), "no images"),
        (torch.tensor([[0.0, torch.nan]]), torch.tensor([0]), "NaN"),
        (torch.zeros(3), torch.zeros(3).long(), "want logits"),
        (torch.zeros(3, 2), torch.zeros(2).long(), "want logits"),
        (torch.zeros(3, 2), torch.zeros(3, 1).long(), "want logits"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"0\.\.1"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), r"0\.\.1"),
    ],
)
def test_bad_input_is_refused(logits, labels, words):
    with pytest.raises(DataError, match=words):
        accuracy(logits, labels)


def test_measuring_leaves_the_network_and_the_random_state_alone():
    network, data = toy_network().train(), toy_data()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    subject = Subject(network, data, device="cpu")
    with untouched_rng():
        measured = metrics.evaluate(subject, "accuracy")
    assert network.training and all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    with torch.no_grad():
        share = (network.eval()(data.test[0]).argmax(1) == data.test[1]).double().mean().item()
    assert measured.value == share and measured.samples == 64
    assert measured.error == pytest.approx(math.sqrt(share * (1 - share) / 64))


def test_one_forward_pass_serves_all_that_need_it():
    network = toy_network()
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    subject = Subject(network, toy_data(), device="cpu")
    for _ in range(3):
        metrics.evaluate(subject, "accuracy")
    assert len(calls) == 1


def test_the_registry_says_what_each_metric_is():
    assert "accuracy" in metrics.names()
    about = metrics.describe("accuracy")
    assert (about.dimension, about.direction, about.arrow) == ("generalization", "higher", "↑")
    assert about.unit.startswith("fraction")
    for name in metrics.names():
        about = metrics.describe(name)
        assert about.label and about.source and about.unit
        assert about.direction in ("higher", "lower")
        assert about.dimension in ("generalization", "calibration", "interpretability", "geometry")


def test_a_difference_of_shares_is_told_in_points():
    assert metrics.describe("recall_loss").axis == "Largest loss of recall of a class (points) ↓"
    assert {name for name in metrics.names() if metrics.describe(name).points} == {"recall_loss"}
    assert all(metrics.describe(name).sign != "points" for name in metrics.names() if name != "recall_loss")


def test_unknown_metrics_and_settings_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        metrics.describe("acuracy")
    with pytest.raises(SettingError, match="metric accuracy: no setting 'k': it has none"):
        metrics.evaluate(Subject(toy_network(), toy_data()), "accuracy", {"k": 5})
