"""SET: RigL with chance in the gradient's place, and nothing else."""

import math

import pytest
import torch

from lotterylib import pruners
from lotterylib.masks import Mask
from lotterylib.training import Recipe
from tests.conftest import toy_network

RECIPE = Recipe(epochs=3, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)  # 12 steps
QUIET = dict(progress=False, device="cpu")


def half(network) -> Mask:
    return pruners.build("random", distribution="uniform").mask(network, None, 0.5, 0)


def updated(seed=0, step=10, gradient=0.0):
    network = toy_network()
    mask = half(network)
    mask.apply_(network)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    plan = pruners.build("set", alpha=1.0).schedule(100, 0.5, seed)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return mask, before, plan.apply(network, optimizer, mask, step, 100), network, plan


def test_the_smallest_go_and_as_many_grow_in_every_layer():
    mask, before, new, network, plan = updated()
    for name, old in mask.items():
        moved = math.floor(plan.fraction(10) * int(old.sum()))
        assert new[name].sum() == old.sum()
        order = before[name].abs()[old].sort().values
        gone = before[name].abs()[old & ~new[name]]
        assert (gone <= order[moved - 1]).all()  # some of the dropped may come straight back
        grown = new[name] & ~old
        assert 0 < int(grown.sum()) <= moved and (dict(network.named_parameters())[name][grown] == 0).all()


def test_growth_depends_on_seed_and_step_and_not_on_the_gradient():
    same = updated(gradient=3.0)[2]
    assert updated()[2].equals(same)
    assert not updated(seed=1)[2].equals(same) and not updated(step=11)[2].equals(same)


def test_every_place_outside_is_as_likely():
    """Over 400 draws each free place of a layer grows about as often: within five standard errors."""
    plan = pruners.build("set", alpha=1.0)
    mask = torch.arange(60) < 20
    counts = torch.zeros(60)
    for seed in range(400):
        scores = plan.schedule(100, 0.5, seed).grow_scores({"w": torch.zeros(60)}, 1)["w"]
        counts += pruners.rigl.regrow(mask, torch.arange(60.0), scores, 0.5) & ~mask
    rate = 10 / 50
    assert (counts[20:] / 400 - rate).abs().max() < 5 * math.sqrt(rate * (1 - rate) / 400)


def test_it_starts_and_moves_when_rigl_does(network, data):
    one, other = (
        pruners.build(name, interval=3).find(network, data, 0.5, RECIPE, 0, **QUIET)
        for name in ("set", "rigl")
    )
    assert (
        [u["step"] for u in one.record["updates"]] == [u["step"] for u in other.record["updates"]] == [3, 6]
    )
    assert one.record["cost"] == pytest.approx(other.record["cost"]) and not one.mask.equals(other.mask)
    assert all(one.mask[n].sum() == other.mask[n].sum() for n in one.mask)
    first = (pruners.build(name).mask(network, data, 0.5, 0) for name in ("set", "rigl"))
    assert next(first).equals(next(first))
