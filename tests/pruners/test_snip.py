"""SNIP against its closed form."""

import pytest
import torch
from torch import nn

from lotterylib import pruners
from lotterylib.masks import Mask
from lotterylib.pruners import snip
from lotterylib.pruners.scoring import draw, gradients, weights_of
from tests.conftest import toy_network


def batch(count=20, inputs=5, classes=3):
    dice = torch.Generator().manual_seed(1)
    x = torch.randn(count, inputs, generator=dice, dtype=torch.float64)
    return x, torch.randint(0, classes, (count,), generator=dice)


def test_softmax_regression_in_closed_form():
    """∂L/∂W = (softmax(xWᵀ) − y)ᵀ x / N."""
    x, y = batch()
    network = nn.Linear(5, 3, bias=False).double()
    w = network.weight.detach()
    error = torch.softmax(x @ w.T, 1) - nn.functional.one_hot(y, 3)
    assert torch.allclose(snip.scores(network, x, y)["weight"], (w * (error.T @ x / 20)).abs(), rtol=1e-12)
    in_pieces = snip.scores(network, x, y, batches=3)["weight"]  # of 7, 7 and 6
    assert torch.allclose(in_pieces, snip.scores(network, x, y)["weight"], rtol=1e-12)


def test_score_is_the_loss_change_to_first_order():
    """Scaling one weight by 1 − ε changes the loss by −ε·θ·∂L/∂θ: signs and the mean over the batch included."""
    x, y = batch()
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    scores, loss = snip.scores(network, x, y)["0.weight"], nn.CrossEntropyLoss()
    for i, j in [(0, 0), (2, 3), (3, 4)]:
        with torch.no_grad():
            values = []
            for factor in (1 - 1e-4, 1 + 1e-4):
                before = network[0].weight[i, j].item()
                network[0].weight[i, j] = before * factor
                values.append(loss(network(x), y).item())
                network[0].weight[i, j] = before
        assert abs(values[1] - values[0]) / 2e-4 == pytest.approx(scores[i, j].item(), rel=1e-5, abs=1e-10)


def test_signed_sums_are_equal_in_all_layers_of_a_bias_free_relu_network():
    """Each layer's Σ θ·∂L/∂θ is Σ output·∂L/∂output: scaling any one layer scales the output alike."""
    x, y = batch()
    layers = [nn.Linear(5, 16, bias=False), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(16, 3, bias=False)).double()
    weights = weights_of(network, "all")
    found = gradients(nn.functional.cross_entropy(network(x), y), weights)
    sums = [(weights[n] * g).sum().item() for n, g in found.items()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-10) and abs(sums[0]) > 1e-3
    absolute = snip.scores(network, x, y)
    assert all(torch.equal(absolute[n], (weights[n] * g).detach().abs()) for n, g in found.items())


def test_batchnorm_scores_as_in_the_first_step_of_training(data):
    """In eval mode an untrained network's running statistics would normalise nothing."""
    network = toy_network()
    one = snip.scores(network.train(), *data.train)["0.weight"]
    assert torch.equal(one, snip.scores(network.eval(), *data.train)["0.weight"])
    weights = weights_of(network, "all")
    by_hand = {}
    for train in (True, False):
        loss = nn.functional.cross_entropy(network.train(train)(data.train[0]), data.train[1])
        by_hand[train] = (weights["0.weight"] * gradients(loss, weights)["0.weight"]).detach().abs()
    assert torch.allclose(one, by_hand[True]) and not torch.allclose(one, by_hand[False], rtol=1e-2)


def test_mask_is_the_top_of_the_scores_of_one_drawn_batch(network, data):
    pruner = pruners.build("snip", batch_size=16)
    images, labels = draw(data, 16, 3, "snip")
    assert len(labels) == 16
    mask = pruner.mask(network, data, 0.8, seed=3)
    assert mask.equals(Mask.top(snip.scores(network, images, labels), 0.2))
    assert not mask.equals(pruner.mask(network, data, 0.8, seed=4))


def test_iterated_snip_keeps_the_exact_count(network, data):
    once, often = (pruners.build("snip", iterations=n).mask(network, data, 0.9, seed=0) for n in (1, 8))
    assert once.kept == often.kept == 34 and not once.equals(often)
