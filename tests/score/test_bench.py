"""What is measured, and what it may cost."""

import pytest
import torch

import lotterylib
from lotterylib import metrics, models
from lotterylib.metrics import Subject
from lotterylib.score.bench import PATIENCE, Plan, Wishes
from lotterylib.score.prepare import Reading, prepare
from lotterylib.text import duration
from tests.conftest import toy_data, toy_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case():
    data = toy_data(40, channels=3, size=32)
    networks = [models.build("lenet", 3, 3, size=32, seed=seed) for seed in (0, 1)]
    return prepare(networks[:1], networks[1:], data, Reading())


def test_calibration_alone_corrupts_nothing(case, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lotterylib.metrics.subject.corrupted", lambda *a, **how: asked.append(a) or iter([a[0]] * 5)
    )
    network, data = case.tickets[0].model, case.data
    how = {"only": ["ece", "nll"], "speed": False, "progress": False, "images": 20}
    card = lotterylib.scorecard(network, network, data, **how)
    assert not asked and set(card["nll"].variants) == {"scaled"}
    more = lotterylib.scorecard(network, network, data, variants=True, **how)
    assert asked and {"corrupted", "scaled"} <= set(more["nll"].variants)
    assert more["nll"].ticket == card["nll"].ticket
    plan = Plan.of(Wishes(only=["ece"], images=20), case, CPU).estimate.total
    assert plan < Plan.of(Wishes(only=["ece"], images=20, variants=True), case, CPU).estimate.total / 2


def test_images_bound_every_metric(case):
    plan = Plan.of(Wishes(images=12), case, CPU)
    for name, own in plan.settings.items():
        asked = metrics.build(name, **own)
        assert getattr(asked, "images", 12) <= 12, name
    assert plan.settings["hessian_trace"]["images"] == 12


def test_large_and_slow_networks_are_shown_fewer_images(case, monkeypatch):
    """However slow the network, nothing takes longer than its patience, and the card says that it took fewer."""
    data = toy_data(200, channels=3, size=72)
    slow = prepare([case.tickets[0].model], [], toy_data(20, channels=3, size=32), Reading())
    slow.data = data
    monkeypatch.setattr("lotterylib.score.estimate._seconds", lambda *_: 0.8)
    monkeypatch.setattr("lotterylib.score.estimate._seconds_to_corrupt", lambda *_: 0.01)
    plan = Plan.of(Wishes(only=["fgsm_accuracy", "pgd_accuracy"]), slow, CPU)
    whole = Plan.of(Wishes(only=["fgsm_accuracy", "pgd_accuracy"], images=100), slow, CPU)
    assert plan.estimate.total < whole.estimate.total and plan.settings["fgsm_accuracy"]["images"] < 100
    assert plan.estimate.total <= PATIENCE or plan.settings["fgsm_accuracy"]["images"] == 30
    assert "--images takes more" in plan.notes[0] and not whole.notes
    slow.data = toy_data(800, channels=3, size=72)
    monkeypatch.setattr("lotterylib.score.estimate._seconds", lambda *_: 2.0)
    plan = Plan.of(Wishes(only=["accuracy", "fgsm_accuracy"]), slow, CPU)
    assert len(slow.data.test[1]) < 800 and "of 800 are tested on" in plan.notes[0]


def test_a_network_that_compares_with_none_is_skipped():
    subject = Subject(toy_network(), toy_data())
    card = lotterylib.scorecard(subject.model, data=toy_data(), only=["accuracy", "recall_loss"], speed=False, progress=False)  # fmt: skip
    assert list(card.skipped) == ["recall_loss"]


@pytest.mark.parametrize("seconds", [0.1, 1.0, 6.0])
def test_a_default_card_of_large_images_takes_fifteen_minutes_at_most(case, monkeypatch, seconds):
    """As slow as ResNet-18, as ViT-B/16, and as the largest network of torchvision: fewer images, then fewer metrics, and the card
    says both. As many metrics as there is time for stay: those that share their work with others cost nothing more."""
    slow = prepare(
        [case.tickets[0].model], [case.denses[0].model], toy_data(20, channels=3, size=32), Reading()
    )
    slow.data = toy_data(1200, channels=3, size=72)
    monkeypatch.setattr("lotterylib.score.estimate._seconds", lambda *_: seconds / 2)
    monkeypatch.setattr("lotterylib.score.estimate._seconds_to_corrupt", lambda *_: 0.1)
    plan = Plan.of(Wishes(), slow, CPU)
    assert plan.estimate.total <= PATIENCE == 780 and {"accuracy", "recall_loss"} <= set(plan.settings)
    assert "--images takes more" in plan.notes[0]
    assert sum(plan.estimate.of.values()) == plan.estimate.total and set(plan.estimate.of) == set(
        plan.settings
    )
    if seconds >= 1:
        assert "left out: " in plan.notes[0] and "it would take" in plan.skipped["corruption_error"]
    if seconds <= 1:
        assert {"ece", "sce", "ace", "nll", "brier"} <= set(plan.settings)
    if seconds < 1:
        assert "fgsm_accuracy" in plan.settings
    whole = Plan.of(Wishes(images=100), slow, CPU)
    assert whole.estimate.total > PATIENCE and "corruption_error" in whole.settings


def test_what_each_metric_costs_is_said_before_it_starts(case, monkeypatch):
    monkeypatch.setattr("lotterylib.score.estimate._seconds", lambda *_: 0.05)
    news, plan = [], Plan.of(Wishes(only=["accuracy", "fgsm_accuracy"], images=10), case, CPU)
    network = case.tickets[0].model
    how = {"only": ["accuracy", "fgsm_accuracy"], "images": 10, "speed": False, "progress": False}
    lotterylib.scorecard(network, case.denses[0].model, case.data, on_message=news.append, **how)
    [line] = [line for line in news if line.startswith("about ")]
    costs = [f"{metrics.describe(name).short} {duration(cost)}" for name, cost in plan.estimate.of.items()]
    assert len(costs) == 2 and all(cost in line for cost in costs)


def test_a_batch_bounds_gradients_too(case):
    data, network = toy_data(20, channels=3, size=32), case.denses[0].model
    bounded = prepare([network], [], data, Reading(batch=4))
    assert (
        Plan.of(Wishes(only=["fgsm_accuracy"], images=10), bounded, CPU).at_once
        == 4
        == bounded.tickets[0].model.batch
    )
    assert Plan.of(Wishes(only=["fgsm_accuracy"], images=10), case, CPU).at_once is None
