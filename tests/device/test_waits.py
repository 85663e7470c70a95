"""How often a GPU would have to wait for the processor: not in every step."""

import copy

import pytest
import torch

from lotterylib import datasets, models
from lotterylib.masks import Mask
from lotterylib.metrics.generalization import pgd
from lotterylib.metrics.geometry import hessian, pac_bayes_sigma
from lotterylib.metrics.subject import Subject
from lotterylib.training import Recipe, predict, train
from tests.device.emulated import emulated


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", limit=100)


@pytest.fixture(scope="module")
def network(data):
    return models.build("lenet", data.classes, data.channels, width=0.25)


def counts(work):
    with emulated() as device, device.counting() as found:
        work()
    return found


@pytest.mark.parametrize(
    "changes", [{}, {"flip": "alternate"}, {"optimizer": "adam"}, {"precision": "float16"}]
)
def test_training_waits_once_an_epoch(data, network, changes):
    def training(batch_size):
        recipe = Recipe(epochs=3, batch_size=batch_size, warmup=0, precision="float32").model_copy(
            update=changes
        )
        model = copy.deepcopy(network)
        return counts(lambda: train(model, data, recipe, Mask.ones(model), progress=False))

    short, long = training(50), training(10)
    assert short == long and long["waits"] <= 3 + len(network.state_dict()) + 2


def test_an_attack_waits_once(data, network):
    images, labels = data.test

    def attack(steps):
        return counts(lambda: pgd(copy.deepcopy(network).to("cuda"), images, labels, 8 / 255, steps))

    assert attack(2) == attack(8)


def test_noise_in_the_weights_waits_once_for_a_scale(data, network):
    def noise(draws):
        def work():
            pac_bayes_sigma(copy.deepcopy(network).to("cuda"), *data.train, draws=draws, batch_size=25)

        return counts(work)["waits"]

    few, many = noise(2), noise(8)
    assert many <= few + 4, "another number of scales, perhaps, but not of networks"


def test_predictions_wait_once(data, network):
    images = data.test[0]
    few, many = (counts(lambda n=n: predict(network, images, batch_size=n)) for n in (50, 5))
    assert few["waits"] == many["waits"] == 1


def test_one_graph_at_a_time(data, network, monkeypatch):
    """Of a network's trace: that of Lanczos is gone when that of the probes is there."""
    import weakref

    alive, most, original = weakref.WeakSet(), [0], hessian._Graphs.__init__

    def count(self, *arguments):
        original(self, *arguments)
        alive.add(self)
        most[0] = max(most[0], len(alive))

    monkeypatch.setattr(hessian._Graphs, "__init__", count)
    subject = Subject(network, data, device="cpu")
    hessian.HessianTrace(images=20, steps=2, max_probes=4).measure(subject)
    assert most == [1]
    with torch.no_grad():
        assert hessian.at_once(256, torch.zeros(1, 3, 224, 224)) < 64
