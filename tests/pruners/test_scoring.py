"""What holds for every method that scores an untrained network: nothing is left behind, nothing of before gets in."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lotterylib.masks import Mask, prunable
from lotterylib.pruners import grasp, snip, synflow
from lotterylib.pruners.scoring import draw_balanced, iterate
from tests.conftest import untouched_rng

SCORERS = {
    "snip": lambda model, data: snip.scores(model, *data.train),
    "grasp": lambda model, data: grasp.scores(model, *data.train),
    "synflow": lambda model, data: synflow.scores(model, (1, 12, 12)),
    "synflow mask": lambda model, data: synflow.mask(model, (1, 12, 12), 0.3, iterations=3),
}
each = pytest.mark.parametrize("score", SCORERS.values(), ids=SCORERS)


class Fuse(nn.Module):
    """Raises once the model is under way: the layers before it have run, BatchNorm included."""

    def forward(self, x):
        raise RuntimeError("blown")


@pytest.fixture
def marked(network):
    """Modes that differ, gradients that are there, a frozen weight: all that has to come back."""
    network.append(nn.Dropout(0.5))
    network[1].eval()
    network[0].bias.requires_grad_(False)
    network[5].weight.grad = torch.full_like(network[5].weight, 7.0)
    return network


def everything(model):
    return (
        copy.deepcopy(model.state_dict()),
        [(m, m.training) for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [(p.dtype, p.data_ptr()) for p in model.parameters()],
    )


def assert_same(before, after):
    assert all(torch.equal(t, after[0][n]) for n, t in before[0].items())
    assert before[1:3] == after[1:3] and before[4] == after[4]
    assert all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(before[3], after[3], strict=True)
    )


@each
def test_scoring_leaves_everything_as_found(score, marked, data):
    before = everything(marked)
    with untouched_rng(), torch.no_grad():
        score(marked, data)
    assert_same(before, everything(marked))


@each
def test_scoring_leaves_everything_as_found_when_it_raises(score, marked, data):
    marked.append(Fuse())
    before = everything(marked)
    with untouched_rng(), pytest.raises(RuntimeError, match="blown"):
        score(marked, data)
    assert_same(before, everything(marked))


@each
def test_scores_do_not_depend_on_gradients_mode_or_randomness_of_before(score, network, data):
    network.append(nn.Dropout(0.5))
    fresh = score(network, data)
    cross_entropy(
        network(data.train[0]), data.train[1]
    ).backward()  # moves running statistics too: set them back
    network[1].reset_running_stats()
    network.eval()
    torch.rand(3)
    again = score(network, data)
    assert all(torch.equal(fresh[n], again[n]) for n in fresh)
    assert any(p.grad is not None for p in network.parameters())


@each
def test_a_grouped_depthwise_and_tied_network_has_scores(score, data):
    tied = nn.Linear(8, 8)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), tied, nn.ReLU(), tied, nn.Linear(8, 3),
    )  # fmt: skip
    found = score(network, data)
    assert {n: t.shape for n, t in found.items()} == {n: p.shape for n, p in prunable(network).items()}


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_iterating_never_revives_a_weight_and_follows_the_schedule(name, network, data):
    """Each step's network is looked at as the scorer gets it; scores outside the mask are made to tempt."""
    masks = []

    def score(model):
        masks.append(Mask.of(model))
        scores = SCORERS[name](model, data)
        return {n: torch.where(masks[-1][n], s, torch.inf) for n, s in scores.items()}

    final = iterate(score, network, 0.1, iterations=5)
    chain = [*masks, final]
    for k, (before, after) in enumerate(zip(chain, chain[1:], strict=False), 1):
        assert after.kept == round(0.1 ** (k / 5) * 342)
        assert all((after[n] <= before[n]).all() for n in after)


def test_balanced_draws(data):
    images, labels = draw_balanced(data, 4, seed=0, purpose="test")
    assert labels.bincount().tolist() == [4, 4, 4] and len(images) == 12
    assert len(images.flatten(1).unique(dim=0)) == 12
    assert len(draw_balanced(data, 1000, seed=0, purpose="test")[1]) == 64  # a class that has fewer gives all
