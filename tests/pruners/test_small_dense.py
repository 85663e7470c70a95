"""The control: as many prunable weights as the ticket keeps, within 1%."""

import copy

import pytest
import torch

from lotterylib import Ticket, models, pruners
from lotterylib.errors import SettingError
from lotterylib.masks import prunable
from lotterylib.pruners.small_dense import narrowed
from lotterylib.training import Recipe
from tests.conftest import toy_data, toy_network

RECIPE = Recipe(epochs=1, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)
QUIET = dict(progress=False, device="cpu")
ROUNDS = (2, 4, 7, 10, 14, 18)


def count(spec, scope="all"):
    return sum(p.numel() for p in prunable(models.build(**spec), scope).values())


@pytest.mark.parametrize("name, channels, size", [("lenet", 1, 28), ("resnet8", 1, 28), ("resnet20s", 3, 32)])
def test_within_one_percent_of_the_ticket_at_every_round(name, channels, size):
    spec = models.build(name, 10, channels, size=size).spec
    full = count(spec)
    for n in ROUNDS:
        kept = round(0.8**n * full)
        small = narrowed(spec, kept)
        assert abs(count(small) / kept - 1) <= 0.01, n
        # about proportional: no stage departs by more than two channels and rounding from the others' multiplier
        stages = models.stages(name, small["width"])
        shares = [
            (c - 2.5) / one <= 0.8 ** (n / 2) * 1.15
            for c, one in zip(stages, models.stages(name), strict=True)
        ]
        assert all(shares), stages


def test_convolutions_alone_can_be_matched():
    spec = models.build("resnet8", 10, 1, size=28).spec
    kept = round(0.2 * count(spec, "conv"))
    assert abs(count(narrowed(spec, kept, "conv"), "conv") / kept - 1) <= 0.01


def test_nothing_is_changed_where_nothing_is_to_go():
    spec = models.build("lenet", 10, 1, size=28).spec
    assert narrowed(spec, count(spec)) == spec
    wide = models.build("lenet", 10, 1, size=28, width=2).spec
    kept = round(0.3 * count(wide))
    assert abs(count(narrowed(wide, kept)) / kept - 1) <= 0.01


def test_out_of_reach_is_refused_with_the_nearest():
    with pytest.raises(SettingError, match="no narrower lenet has 30 .* the nearest has"):
        narrowed(models.build("lenet", 10, 1, size=28).spec, 30)


def test_ticket_is_a_dense_network_whose_sparsity_counts_against_the_full_one(tmp_path):
    data = toy_data(size=16)
    network = models.build("lenet", 3, 1, size=16, seed=4)
    before = copy.deepcopy(network.state_dict())
    ticket = pruners.build("small-dense").find(network, data, 0.8, RECIPE, 4, **QUIET)
    full = sum(p.numel() for p in prunable(network).values())
    kept = sum(p.numel() for p in prunable(ticket.model).values())
    assert ticket.mask.sparsity == 0 and ticket.mask.kept == kept == ticket.record["kept"]
    assert ticket.record["prunable"] == full and abs(kept / (0.2 * full) - 1) <= 0.01
    assert ticket.sparsity == ticket.record["sparsity"] == 1 - kept / full
    assert ticket.record["cost"] == ticket.record["multiply_adds"] / ticket.record["multiply_adds_dense"] < 1
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    ticket.save(tmp_path / "t.safetensors")
    loaded = Ticket.load(tmp_path / "t.safetensors")
    assert loaded.sparsity == ticket.sparsity and loaded.model.spec == ticket.model.spec
    assert all(torch.equal(t, loaded.model.state_dict()[n]) for n, t in ticket.model.state_dict().items())


def test_starts_from_the_narrow_networks_own_initial_weights_of_the_seed(monkeypatch):
    starts = []
    monkeypatch.setattr(
        "lotterylib.pruners.base.train",
        lambda model, *args, **kwargs: starts.append(copy.deepcopy(model.state_dict())) or 1 / 0,
    )
    network = models.build("lenet", 3, 1, size=16, seed=4)
    with pytest.raises(ZeroDivisionError):
        pruners.build("small-dense").find(network, toy_data(size=16), 0.8, RECIPE, 4, **QUIET)
    full = sum(p.numel() for p in prunable(network).values())
    twin = models.build(**narrowed(network.spec, round(0.2 * full)), seed=4)
    assert all(torch.equal(t, starts[0][n]) for n, t in twin.state_dict().items())


def test_a_network_of_ones_own_is_refused_in_one_line(data):
    with pytest.raises(SettingError, match="models.build"):
        pruners.build("small-dense").find(toy_network(), data, 0.5, RECIPE, 0, **QUIET)
