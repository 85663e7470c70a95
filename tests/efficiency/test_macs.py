"""Multiply-adds counted by hand, and what each method's ticket costs."""

import pytest
import torch
from torch import nn

from lotterylib import pruners
from lotterylib.efficiency import macs
from lotterylib.masks import Mask
from lotterylib.training import Recipe
from tests.conftest import toy_network, untouched_rng

RECIPE = Recipe(epochs=2, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)
QUIET = dict(progress=False, device="cpu")
CONV, LINEAR = 6 * 9 * 144, 96 * 3  # toy network on 12 × 12 pixels: multiply-adds of an image


def find(name, data, sparsity=0.5, recipe=RECIPE, settings=None, **given):
    return pruners.build(name, **(settings or {})).find(
        toy_network(), data, sparsity, recipe, 0, **QUIET, **given
    )


def density(ticket):
    """f / f_dense by hand."""
    shares = ticket.mask.layer_densities()
    return (CONV * shares["0.weight"] + LINEAR * shares["5.weight"]) / (CONV + LINEAR)


def test_multiply_adds_by_hand():
    """Strided, grouped and depthwise convolutions, a linear layer, one called twice, one never called."""
    twice, unused = nn.Linear(5, 5), nn.Linear(9, 9)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(2, 4, 3, stride=2), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 8, 3, groups=8),
                nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(8, 5), twice, twice,
            )  # fmt: skip
            self.unused = unused

        def forward(self, x):
            return self.body(x)

    network = Network()
    network.body[4].eval()
    modes = [m.training for m in network.modules()]
    with untouched_rng():
        counts = macs.multiply_adds(network, (2, 7, 7))
    assert counts == {
        "body.0.weight": 3 * 3 * 4 * 2 * 9,
        "body.1.weight": 3 * 3 * 8 * 2,
        "body.2.weight": 1 * 8 * 9,
        "body.6.weight": 40,
        "body.7.weight": 50,
    }
    assert modes == [m.training for m in network.modules()]
    assert network.body[3].num_batches_tracked == 0 and not network.body[0]._forward_hooks


def test_forward_counts_each_layer_by_its_density():
    mask = Mask({"a": torch.tensor([True, False, False, False])})
    assert macs.forward({"a": 100, "b": 10}) == 110
    assert macs.forward({"a": 100, "b": 10}, mask) == 35


def test_the_formula():
    """3·20·1000 for training, 80 more at 100 images of updates, 50 passes of 100; one dense training is 3·100·1000."""
    assert macs.relative(20, 100, 1000, 1000, 100, 50) == pytest.approx((60_000 + 8_000 + 5_000) / 300_000)


def test_dense_costs_one(data):
    ticket = pruners.train_dense(toy_network(), data, RECIPE, 0, **QUIET)
    assert ticket.record["cost"] == 1.0
    assert ticket.record["multiply_adds"] == ticket.record["multiply_adds_dense"] == CONV + LINEAR


def test_pruning_at_initialisation_costs_its_sparse_training_and_its_scoring(data):
    images = 2 * 4 * 16
    for name, passes in {"random": 0, "snip": 3 * 64, "grasp": 9 * 30, "synflow": 300}.items():
        ticket = find(name, data)
        assert ticket.record["cost"] == pytest.approx(density(ticket) + passes / (3 * images)), name
        assert ticket.record["multiply_adds"] == pytest.approx(density(ticket) * (CONV + LINEAR))
    small = find("snip", data, settings=dict(batch_size=8, batches=2, iterations=3))
    assert small.record["cost"] == pytest.approx(density(small) + 3 * 16 * 3 / (3 * images))


def test_magnitude_and_lottery_carry_what_they_started_from(data):
    """Retraining starts at step 2 of 8: three quarters of a training, sparse. Each lottery round adds one."""
    magnitude = find("magnitude", data)
    assert magnitude.record["cost"] == pytest.approx(1 + 0.75 * density(magnitude))
    dense = pruners.train_dense(toy_network(), data, RECIPE, 0, **QUIET)
    first = find("lottery", data, 0.2, dense=dense)
    second = find("lottery", data, 0.36, dense=dense, previous=first)
    assert second.record["cost"] == pytest.approx(1 + 0.75 * (density(first) + density(second)))
    assert find("lottery", data, 0.36).record["cost"] == pytest.approx(second.record["cost"])
    del first.record["cost"]  # a ticket of before costs were recorded: no number is better than a wrong one
    assert find("lottery", data, 0.36, dense=dense, previous=first).record["cost"] is None


def test_rigl_pays_for_dense_gradients_at_updates_and_for_a_longer_training(data):
    """Updates at steps 2 and 4 of 8: there 2f + 1 instead of 3f."""
    ticket = find("rigl", data, settings=dict(interval=2))
    f = density(ticket)
    assert [u["step"] for u in ticket.record["updates"]] == [2, 4]
    assert ticket.record["cost"] == pytest.approx((3 * f * 8 + (1 - f) * 2) / (3 * 8))
    longer = find("rigl", data, settings=dict(interval=100, budget=2))
    assert longer.record["updates"] == [] and longer.record["cost"] == pytest.approx(2 * density(longer))
