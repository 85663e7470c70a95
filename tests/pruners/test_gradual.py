"""Gradual pruning: the cubic schedule in closed form, masks by hand, and what is gone stays gone."""

import pytest
import torch
from torch import nn

from lotterylib import pruners
from lotterylib.masks import Mask
from lotterylib.pruners import gradual
from lotterylib.training import Recipe, train
from tests.conftest import toy_data, toy_network

RECIPE = Recipe(epochs=3, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)  # 12 steps
QUIET = dict(progress=False, device="cpu")


def steps(plan, total):
    return [t for t in range(total) if plan.due(t, total)]


def test_schedule_is_the_cubic_of_the_paper():
    """t₀ = 200, n = 5, Δ = 100: s = s_f (1 − (1 − k/5)³) after the k-th update."""
    plan = pruners.build("gradual", begin=0.2, end=0.7, interval=100).schedule(1000, 0.9)
    assert steps(plan, 1000) == [300, 400, 500, 600, 700]
    want = [0.9 * (1 - (1 - k / 5) ** 3) for k in range(1, 6)]
    assert [plan.level(t) for t in steps(plan, 1000)] == pytest.approx(want, rel=1e-12)
    assert plan.level(300) == pytest.approx(0.9 * (1 - 0.512)) and plan.level(700) == 0.9


def test_updates_scale_with_the_training():
    def at(total, **settings):
        return steps(pruners.build("gradual", **settings).schedule(total, 0.5), total)

    assert at(60_000)[0] == 100 and at(60_000)[-1] == 45_000 and len(at(60_000)) == 450
    assert at(300) == [*range(15, 226, 10)]
    assert at(1000, interval=0.25, end=1.0) == [499, 749, 999]
    assert at(1000, begin=0.7, interval=200) == [750]  # too little time: once
    assert at(2) == [1] and at(1) == [0]


def test_masks_by_hand():
    """Of 8 weights over two layers, 4, 6 and 7 are out after the updates; one ranking decides."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    plan, mask = gradual.Update(stop=30, interval=10, count=3, sparsity=0.9), Mask.ones(network)
    assert [round(8 * (1 - plan.level(t))) for t in (10, 20, 30)] == [3, 1, 1]
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.9, -0.1], [0.2, 0.3]]))
        network[1].weight.copy_(torch.tensor([[-0.8, 0.05], [0.7, -0.6]]))
    mask = plan.apply(network, None, mask, 10, 40)
    assert mask["0.weight"].tolist() == [[True, False], [False, False]]
    assert mask["1.weight"].tolist() == [[True, False], [True, False]]
    with torch.no_grad():  # what is masked does not come back, however large
        network[0].weight[1, 1] = 5.0
        network[1].weight[0, 0] = -1.0
    mask = plan.apply(network, None, mask, 20, 40)
    assert mask["0.weight"].tolist() == [[False, False], [False, False]]
    assert mask["1.weight"].tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masks_shrink_along_the_schedule_and_nothing_revives(optimizer, monkeypatch):
    masks, apply = [], gradual.Update.apply

    def spy(self, model, optimizer, mask, step, total):
        assert Mask.of(model).kept <= mask.kept  # removed weights are zero when the next update looks
        masks.append((step, apply(self, model, optimizer, mask, step, total)))
        return masks[-1][1]

    monkeypatch.setattr(gradual.Update, "apply", spy)
    recipe = RECIPE.model_copy(update=dict(optimizer=optimizer, weight_decay=0.1))
    pruner = pruners.build("gradual", interval=3)
    ticket = pruner.find(toy_network(), toy_data(), 0.9, recipe, 0, **QUIET)
    plan = pruner.schedule(12, 0.9)
    assert [step for step, _ in masks] == [3, 6, 9] == [u["step"] for u in ticket.record["updates"]]
    for (_, before), (step, after) in zip([(0, Mask.ones(toy_network())), *masks], masks, strict=False):
        assert after.kept == round((1 - plan.level(step)) * 342)
        assert all((after[n] <= before[n]).all() for n in after)
    assert ticket.mask.equals(masks[-1][1]) and Mask.of(ticket.model).equals(ticket.mask)
    assert ticket.mask.kept == 34


@pytest.mark.parametrize("epochs, batch_size", [(1, 64), (1, 32), (3, 16)])
def test_the_final_count_is_exact_in_trainings_of_any_length(epochs, batch_size, network, data):
    recipe = RECIPE.model_copy(update=dict(epochs=epochs, batch_size=batch_size, warmup=0.0))
    assert pruners.build("gradual").find(network, data, 0.77, recipe, 0, **QUIET).mask.kept == 79


def test_it_trains_the_dense_network_until_the_first_update(data):
    """With the only update in the last step, what is kept has learned as a dense network does."""
    ticket = pruners.build("gradual", begin=0.9, end=1.0).find(toy_network(), data, 0.5, RECIPE, 0, **QUIET)
    dense = toy_network()
    train(dense, data, RECIPE, update=gradual.Update(11, 2, 1, 0.0), mask=Mask.ones(dense), **QUIET)
    ticket.mask.apply_(dense)
    pairs = zip(dense.parameters(), ticket.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("settings", [{}, dict(begin=0.3, end=0.9, interval=7), dict(begin=0.99)])
def test_cost_counts_the_weights_held_on_the_way(settings, network, data):
    pruner, total = pruners.build("gradual", **settings), 500
    plan, held, now = pruner.schedule(total, 1.0), 0.0, 1.0
    for step in range(total):
        now = 1 - plan.level(step) if plan.due(step, total) else now
        held += now
    assert pruner.dense_share(total) == pytest.approx(held / total)
    record = pruner.find(network, data, 0.9, RECIPE, 0, **QUIET).record
    sparse = record["multiply_adds"] / record["multiply_adds_dense"]
    assert sparse < record["cost"] < 1
    share, updates = pruner.dense_share(12), 16 * len(record["updates"]) / (3 * record["images_seen"])
    f = sparse + share * (1 - sparse)
    assert record["cost"] == pytest.approx(f + (1 - f) * updates)
