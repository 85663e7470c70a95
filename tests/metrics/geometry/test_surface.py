"""Surfaces and lines through weight space."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lotterylib.errors import DataError, SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.metrics.geometry import error_barrier, interpolate, loss_surface
from tests.conftest import toy_data, toy_network, untouched_rng

DATA = toy_data(count=18).train


def masked(network, density=0.4):
    dice = torch.Generator().manual_seed(2)
    return Mask.top({n: torch.rand(p.shape, generator=dice) for n, p in prunable(network).items()}, density)


def loss_of(network):
    with torch.no_grad():
        return cross_entropy(network.eval()(DATA[0]), DATA[1]).item()


def trained():
    """A toy network that has learned its toy data."""
    network = toy_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(network(DATA[0]), DATA[1]).backward()
        optimizer.step()
    return network


def snapshot(*networks):
    return [{n: t.clone() for n, t in network.state_dict().items()} for network in networks]


def seen_weights(network, layer):
    seen = []
    network[layer].register_forward_pre_hook(lambda m, _: seen.append(m.weight.detach().clone()))
    return seen


# --- surface


@pytest.mark.parametrize("mask", [None, masked(toy_network())])
def test_the_centre_is_the_network(mask):
    network = toy_network()
    surface = loss_surface(network, *DATA, mask, points=5, span=0.5)
    assert surface.positions.tolist() == [-0.5, -0.25, 0, 0.25, 0.5] and surface.losses.shape == (5, 5)
    ticket = mask.apply_(toy_network()) if mask else network
    assert surface.losses[2, 2] == pytest.approx(loss_of(ticket), rel=1e-6)
    assert surface.losses.flatten().unique().numel() == 25


def test_steps_have_the_length_of_each_filter_and_spare_what_is_removed():
    network = toy_network()
    mask = masked(network)
    ticket = mask.apply_(toy_network())
    for layer, name in ((0, "0.weight"), (5, "5.weight")):
        spied = toy_network()
        seen = seen_weights(spied, layer)
        loss_surface(spied, *DATA, mask, points=3)
        kept, centre = mask[name], ticket.get_parameter(name).detach()
        assert all((w[~kept] == 0).all() for w in seen)
        steps = [w - centre for w in seen[-9:]]
        assert torch.equal(steps[4], torch.zeros_like(centre))
        for along in (steps[3], steps[5], steps[1], steps[7]):  # one step left, right, down, up
            assert torch.allclose(along.flatten(1).norm(dim=1), centre.flatten(1).norm(dim=1), rtol=1e-4)
        assert torch.allclose(steps[8], steps[5] + steps[7], atol=1e-6)  # the corner is the sum of two sides


def test_normalised_surfaces_do_not_see_a_scale_that_batchnorm_undoes():
    """A convolution before BatchNorm may be ten times as large without any change of the function."""
    small, large = toy_network(), toy_network()
    with torch.no_grad():
        large[0].weight.mul_(10)
        large[0].bias.mul_(10)
        large[1].running_var.mul_(100)
        small[1].eps = large[1].eps = 0.0
    plain, scaled = (loss_surface(n, *DATA, points=3).losses for n in (small, large))
    assert torch.allclose(plain, scaled, rtol=1e-4)
    plain, scaled = (loss_surface(n, *DATA, points=3, normalise=False).losses for n in (small, large))
    assert not torch.allclose(plain, scaled, rtol=1e-2)


def test_a_filter_without_weights_stays_where_it_is():
    network = toy_network()
    with torch.no_grad():
        network[0].weight[2] = 0
    seen = seen_weights(network, 0)
    surface = loss_surface(network, *DATA, points=3)
    assert surface.losses.isfinite().all() and all((w[2] == 0).all() for w in seen)


def test_the_seed_decides_the_directions():
    first, again, other = (loss_surface(toy_network(), *DATA, points=3, seed=s).losses for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.allclose(first, loss_surface(toy_network(), *DATA, points=3, batch_size=5).losses, rtol=1e-5)


# --- line


def test_the_ends_are_the_networks_and_the_middle_is_their_mean():
    first, second = toy_network(seed=0), toy_network(seed=1)
    with torch.no_grad():
        second[1].running_mean.add_(0.3)
    line = interpolate(first, second, *DATA, points=3)
    assert line.positions.tolist() == [0, 0.5, 1]
    middle = toy_network()
    a, b = snapshot(first, second)
    middle.load_state_dict({n: (a[n] + b[n]) / 2 if a[n].is_floating_point() else a[n] for n in a})
    for network, loss, error in zip((first, middle, second), line.losses, line.errors, strict=True):
        assert loss == pytest.approx(loss_of(network), rel=1e-5)
        assert error == pytest.approx((network(DATA[0]).argmax(1) != DATA[1]).double().mean().item())


def test_a_network_and_itself_have_no_barrier():
    network = toy_network()
    line = interpolate(network, network, *DATA, points=7)
    assert error_barrier(line.losses) == pytest.approx(0, abs=1e-7) and line.losses.std() < 1e-7


def test_swapped_neurons_are_the_same_function_with_a_barrier_between():
    first, second = trained(), trained()
    order = [3, 4, 5, 0, 1, 2]
    with torch.no_grad():
        for old, new in zip(first[:2].state_dict().values(), second[:2].state_dict().values(), strict=True):
            if old.ndim:  # all but the count of batches is one row per channel
                new.copy_(old[order])
        second[5].weight.copy_(first[5].weight.view(3, 6, 16)[:, order].flatten(1))
    line = interpolate(first, second, *DATA, points=11)
    assert line.losses[0] == pytest.approx(line.losses[-1].item(), rel=1e-5)
    assert error_barrier(line.losses) > 0.1 * line.losses[0]


def test_statistics_are_estimated_anew_where_asked():
    first, second = toy_network(seed=0), toy_network(seed=1)
    line = interpolate(first, second, *DATA, points=2, statistics_from=DATA[0])
    for network, loss in zip((first, second), line.losses, strict=True):
        inputs = network[0](DATA[0]).detach()
        with torch.no_grad():
            network[1].running_mean.copy_(inputs.mean(dim=(0, 2, 3)))
            network[1].running_var.copy_(inputs.var(dim=(0, 2, 3)))
        assert loss == pytest.approx(loss_of(network), rel=1e-5)


def test_networks_are_left_as_found_also_when_it_raises():
    first, second = toy_network(seed=0).train(), toy_network(seed=1).train()
    state = snapshot(first, second)

    def broken(logits, labels):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("out of memory, say")
        return cross_entropy(logits, labels, reduction="none")

    def check():
        for network, kept in zip((first, second), state, strict=True):
            assert network.training and network[1].momentum == 0.1
            assert all(torch.equal(t, kept[n]) for n, t in network.state_dict().items())
            assert all(p.grad is None and p.requires_grad for p in network.parameters())

    with untouched_rng():
        interpolate(first, second, *DATA, points=3, statistics_from=DATA[0])
        loss_surface(first, *DATA, points=3)
    check()
    calls = []
    with pytest.raises(RuntimeError, match="out of memory"):
        interpolate(first, second, *DATA, points=5, statistics_from=DATA[0], loss=broken)
    check()
    calls = []
    with pytest.raises(RuntimeError, match="out of memory"):
        loss_surface(first, *DATA, points=3, loss=broken)
    check()


@pytest.mark.parametrize(
    "values, barrier",
    [
        ([0.0, 1.0, 0.0], 1.0),
        ([1.0, 0.5, 0.0], 0.0),  # straight down
        ([1.0, 3.0, 2.0], 1.5),  # the chord stands at 1.5 there
        ([1.0, 0.2, 1.0], 0.0),  # a valley is no barrier
        ([0.0, 0.9, 0.9, 0.0], 0.9),
        ([0.3, 0.1], 0.0),
    ],
)
def test_barriers_by_hand(values, barrier):
    assert error_barrier(values) == pytest.approx(barrier, abs=1e-15)
    assert error_barrier(torch.tensor(values).flip(0)) == pytest.approx(barrier, abs=1e-7)


def test_bad_input_is_refused():
    network = toy_network()
    for settings in (dict(points=4), dict(points=0), dict(span=0.0)):
        with pytest.raises(SettingError, match="odd number"):
            loss_surface(network, *DATA, **settings)
    with pytest.raises(SettingError, match="2 points"):
        interpolate(network, network, *DATA, points=1)
    with pytest.raises(SettingError, match="other names or shapes"):
        interpolate(network, toy_network(classes=4), *DATA)
    with pytest.raises(SettingError, match="other names or shapes"):
        interpolate(network, nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), *DATA)
    with pytest.raises(DataError, match="want images"):
        loss_surface(network, DATA[0][:0], DATA[1][:0])
    with pytest.raises(DataError, match="want images"):
        interpolate(network, network, DATA[0], DATA[1][:3])
    for values in ([1.0], [], [0.0, float("nan")], [[1.0, 2.0]]):
        with pytest.raises(DataError, match="two finite values"):
            error_barrier(values)
