"""Noise on the weights, against a loss whose answer is known in closed form."""

import math
import statistics

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lotterylib import metrics
from lotterylib.errors import DataError, SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.metrics import Subject
from lotterylib.metrics.geometry import pac_bayes_sigma
from lotterylib.metrics.resampling import DRAWS
from tests.conftest import toy_data, toy_network, untouched_rng


def squared(logits, labels):
    return logits[:, 0] ** 2


def linear_case():
    """L = mean over images of (wᵀx)², so E L(w + s|w|ε) = L + s² · mean of Σ w²x²: σ is a square root."""
    dice = torch.Generator().manual_seed(0)
    network = nn.Linear(5, 1, bias=False).double()
    images = torch.randn(20, 5, generator=dice).double()
    with torch.no_grad():
        network.weight.copy_(torch.randn(1, 5, generator=dice))
        still = squared(network(images), None).mean().item()
        growth = ((network.weight * images) ** 2).sum(1).mean().item()
    return network, (images, torch.zeros(20, dtype=torch.int64)), still, growth


def masked(network, density=0.4):
    dice = torch.Generator().manual_seed(2)
    return Mask.top({n: torch.rand(p.shape, generator=dice) for n, p in prunable(network).items()}, density)


def trained(steps=60):
    """A toy network that has learned its toy data."""
    network, (images, labels) = toy_network(), toy_data().train
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()
    network.zero_grad()
    return network.eval()


@pytest.mark.parametrize("rise, relative", [(0.1, True), (0.5, True), (0.1, False), (30.0, False)])
def test_a_quadratic_loss_has_the_square_root(rise, relative):
    network, data, still, growth = linear_case()
    exact = math.sqrt((rise * still if relative else rise) / growth)
    found = pac_bayes_sigma(network, *data, rise=rise, relative=relative, draws=300, upper=16.0, loss=squared)
    assert abs(found - exact) < 3 * found.error and found.error < 0.3 * exact
    assert found.converged and found.samples == 300


def test_the_standard_error_is_honest():
    network, data, still, growth = linear_case()
    runs = [
        pac_bayes_sigma(network, *data, rise=3.0, draws=25, upper=16.0, seed=s, loss=squared)
        for s in range(30)
    ]
    spread = statistics.stdev(runs)
    assert abs(statistics.mean(runs) - math.sqrt(3 * still / growth)) < 3 * spread / math.sqrt(30)
    assert statistics.mean(r.error for r in runs) == pytest.approx(spread, rel=0.5)


def test_more_is_allowed_the_higher_the_threshold():
    network, data = trained(), toy_data(count=18).train
    for relative in (True, False):
        found = [
            pac_bayes_sigma(network, *data, rise=rise, relative=relative, draws=3)
            for rise in (0.001, 0.01, 0.05, 0.1, 0.11, 0.3, 1.0)
        ]
        assert found == sorted(found) and len(set(found)) == len(found)


def test_removed_weights_stay_zero_and_all_others_move():
    network = trained()
    mask = masked(network)
    seen = {"0.weight": [], "5.weight": []}
    network[0].register_forward_pre_hook(lambda m, _: seen["0.weight"].append(m.weight.detach().clone()))
    network[5].register_forward_pre_hook(lambda m, _: seen["5.weight"].append(m.weight.detach().clone()))
    before = {n: p.detach() * mask[n] for n, p in prunable(network).items()}
    pac_bayes_sigma(network, *toy_data().train, mask, draws=3)
    for name, weights in seen.items():
        kept = mask[name]
        assert all((w[~kept] == 0).all() for w in weights)
        shaken = [w for w in weights if not torch.equal(w, before[name])]
        assert len(shaken) > 6 and all((w[kept] != before[name][kept]).all() for w in shaken)


@pytest.mark.parametrize("train", [False, True])
def test_the_model_is_identical_to_the_bit_also_when_it_raises(train):
    network, data = trained().train(train), toy_data().train
    cross_entropy(network.eval()(data[0]), data[1]).backward()
    network.train(train)
    state = {n: t.clone() for n, t in network.state_dict().items()}
    gradients = {n: p.grad.clone() for n, p in network.named_parameters()}
    places = {n: p.data_ptr() for n, p in network.named_parameters()}

    def check():
        assert network.training == train and all(p.requires_grad for p in network.parameters())
        assert all(torch.equal(t, state[n]) for n, t in network.state_dict().items())
        for n, p in network.named_parameters():
            assert torch.equal(p.grad, gradients[n]) and p.data_ptr() == places[n]

    with untouched_rng():
        pac_bayes_sigma(network, *data, masked(network), draws=2)
    check()
    calls = []

    def broken(logits, labels):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("out of memory, say")
        return cross_entropy(logits, labels, reduction="none")

    with pytest.raises(RuntimeError, match="out of memory"):
        pac_bayes_sigma(network, *data, draws=5, loss=broken)
    check()


def test_linear_layers_alone_will_do():
    dice = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    data = torch.randn(30, 1, 3, 4, generator=dice), torch.arange(30) % 3
    found = pac_bayes_sigma(network, *data, draws=4)
    assert 0 < found < 2 and found.converged


def test_a_loss_that_noise_does_not_raise_is_said_to_be_at_the_bound():
    network, data, *_ = linear_case()
    found = pac_bayes_sigma(
        network, *data, upper=1.5, draws=2, loss=lambda z, y: torch.ones(len(z)) + 0 * z[:, 0]
    )
    assert found == 1.5 and not found.converged and found.error is None


def test_without_any_loss_the_relative_threshold_allows_nothing():
    network, (images, labels), *_ = linear_case()
    with torch.no_grad():
        images = images - (images @ network.weight.T) @ network.weight / network.weight.square().sum()

    def no_loss(logits, labels):
        return (logits[:, 0].abs() - 1e-12).clamp_min(0)

    assert pac_bayes_sigma(network, images, labels, draws=3, loss=no_loss) < 1e-6
    assert pac_bayes_sigma(network, images, labels, relative=False, draws=3, loss=no_loss) > 1e-2


def test_a_network_that_bursts_under_noise_is_measured_where_it_still_holds():
    network, data, *_ = linear_case()

    def brittle(logits, labels):
        return torch.where(squared(logits, labels) > 60, torch.inf, 1.0)

    assert squared(network(data[0]), None).max() < 60
    found = pac_bayes_sigma(network, *data, draws=6, upper=16.0, loss=brittle)
    assert 0 < found < 16 and found.error is None


def test_the_seed_decides_and_batches_do_not():
    network, data = trained(), toy_data(count=18).train
    first, again, other = (pac_bayes_sigma(network, *data, draws=3, seed=s) for s in (0, 0, 1))
    assert first == again and first.error == again.error and first != other
    assert pac_bayes_sigma(network, *data, draws=3, batch_size=7) == pytest.approx(first, rel=1e-4)


def test_bad_input_is_refused():
    network, (images, labels) = trained(), toy_data().train
    for settings in (dict(rise=0), dict(rise=-0.1), dict(upper=0), dict(rise=math.nan)):
        with pytest.raises(SettingError, match="above 0"):
            pac_bayes_sigma(network, images, labels, draws=2, **settings)
    with pytest.raises(SettingError, match="2 or more"):
        pac_bayes_sigma(network, images, labels, draws=1)
    with pytest.raises(DataError, match="want images"):
        pac_bayes_sigma(network, images[:0], labels[:0])
    with pytest.raises(DataError, match="not finite"):
        pac_bayes_sigma(network, images * torch.inf, labels)


def test_what_is_measured_is_what_the_function_says():
    network = trained()
    mask = masked(network, 0.9)
    ticket = Subject(mask.apply_(network), toy_data(), mask, 3, "cpu")
    found = metrics.evaluate(ticket, "pac_bayes_sigma", dict(images=30, draws=4))
    batch = ticket.sample(30, "train")
    relative = pac_bayes_sigma(network, *batch, mask, draws=4, seed=DRAWS)
    absolute = pac_bayes_sigma(network, *batch, mask, draws=4, seed=DRAWS, relative=False)
    assert (found.value, found.error, found.samples) == (relative, relative.error, 4)
    assert (found.variants["absolute"].value, found.variants["absolute"].error) == (absolute, absolute.error)
    with torch.no_grad():
        loss = cross_entropy(network.eval()(batch[0]), batch[1]).item()
    assert found.extra["loss"] == pytest.approx(loss, rel=1e-5) and found.extra["at upper"] == []
    low = metrics.evaluate(ticket, "pac_bayes_sigma", dict(images=30, draws=4, upper=1e-4))
    assert low.extra["at upper"] == ["relative", "absolute"] and low.value == 1e-4
