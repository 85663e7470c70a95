"""RigL: drop and grow by hand, and what an update may and may not touch."""

import math

import pytest
import torch

from lotterylib import pruners
from lotterylib.errors import SettingError
from lotterylib.masks import Mask, densities
from lotterylib.pruners import rigl
from lotterylib.training import Recipe, train
from tests.conftest import toy_data, toy_network

RECIPE = Recipe(epochs=3, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)  # 12 steps
QUIET = dict(progress=False, device="cpu")


def boolean(*bits):
    return torch.tensor(bits, dtype=torch.bool)


# --- one layer


def test_regrow_by_hand():
    """Of 4 kept, half go: those of score 1 and 2. Outside what stayed, gradients 9 and 8 are the largest; 8 belongs to
    one just dropped, which comes straight back."""
    mask = boolean(1, 1, 1, 1, 0, 0)
    drop = torch.tensor([5.0, 1.0, 2.0, 4.0, 0.0, 7.0])
    grow = torch.tensor([50.0, 8.0, 1.0, 60.0, 9.0, 2.0])
    new = rigl.regrow(mask, drop, grow, 0.5)
    assert torch.equal(new, boolean(1, 1, 0, 1, 1, 0))
    assert torch.equal(mask, boolean(1, 1, 1, 1, 0, 0))  # not changed in place
    two = rigl.regrow(mask.view(2, 3), drop.view(2, 3), grow.view(2, 3), 0.5)
    assert torch.equal(two.flatten(), new)


@pytest.mark.parametrize("fraction, moved", [(0.0, 0), (0.24, 0), (0.25, 1), (0.74, 2), (1.0, 4)])
def test_regrow_rounds_down(fraction, moved):
    mask = boolean(1, 1, 1, 1, 0, 0, 0, 0)
    new = rigl.regrow(mask, torch.arange(8.0), torch.arange(8.0), fraction)
    assert int((mask & ~new).sum()) == moved and new.sum() == 4


def test_regrow_is_not_fooled_by_binary_fractions():
    assert 0.29 * 100 < 29
    mask = torch.arange(200) < 100
    assert int((mask & ~rigl.regrow(mask, torch.ones(200), 1.0 * ~mask, 0.29)).sum()) == 29


def test_regrow_keeps_the_exact_count_on_ties():
    mask, same = boolean(1, 0, 1, 0, 1, 0, 1, 0), torch.zeros(8)
    new = rigl.regrow(mask, same, same, 0.5)
    assert torch.equal(
        new, boolean(1, 1, 1, 1, 0, 0, 0, 0)
    )  # 0 and 2 stay; 1 and 3 are the first free places
    assert rigl.regrow(torch.ones(5, dtype=torch.bool), torch.rand(5), torch.rand(5), 0.6).all()
    assert not rigl.regrow(torch.zeros(5, dtype=torch.bool), torch.rand(5), torch.rand(5), 0.6).any()


def test_regrow_refuses_nonsense():
    four = torch.ones(4)
    with pytest.raises(SettingError, match="fraction"):
        rigl.regrow(four.bool(), four, four, 1.5)
    with pytest.raises(SettingError, match="boolean"):
        rigl.regrow(four, four, four, 0.5)
    with pytest.raises(SettingError, match="shape"):
        rigl.regrow(four.bool(), four, torch.ones(3), 0.5)


# --- densities and schedule


def test_erk_is_the_shared_one_and_starts_the_mask(network, data):
    assert rigl.erdos_renyi_kernel is densities.erdos_renyi_kernel
    shapes = {"0.weight": (6, 1, 3, 3), "5.weight": (3, 96)}
    for distribution in ("erk", "uniform"):
        wanted = {"erk": rigl.erdos_renyi_kernel, "uniform": densities.uniform}[distribution](shapes, 0.3)
        ticket = pruners.build("rigl", distribution=distribution).find(network, data, 0.7, RECIPE, 0, **QUIET)
        assert ticket.mask.kept == round(0.3 * 342)
        for name, share in ticket.mask.layer_densities().items():
            assert abs(share - wanted[name]) * ticket.mask[name].numel() <= 1


def test_schedule_scales_with_the_training():
    def steps(total, **settings):
        update = pruners.build("rigl", **settings).schedule(total)
        return [t for t in range(total) if update.due(t, total)]

    assert steps(60_000)[:3] == [100, 200, 300] and steps(60_000)[-1] == 44_900  # before 75%
    assert steps(300) == list(range(10, 225, 10))
    assert steps(1000, interval=200) == [200, 400, 600]
    assert steps(1000, interval=0.25, end=1.0) == [250, 500, 750]
    assert steps(8) == [2, 4] and steps(1) == []


def test_fraction_follows_the_cosine():
    update = pruners.build("rigl", alpha=0.4).schedule(400)
    assert update.fraction(0) == pytest.approx(0.4) and update.fraction(150) == pytest.approx(0.2)
    assert update.fraction(300) == pytest.approx(0) and update.fraction(100) == pytest.approx(0.3)


# --- in training


class Spy:
    """RigL's update, with a look at everything before and after."""

    def __init__(self, interval=3, alpha=0.5):
        self.inner = rigl.Update(interval, stop=10, alpha=alpha)
        self.seen = []

    def due(self, step, total):
        return self.inner.due(step, total)

    def apply(self, model, optimizer, mask, step, total):
        def state():
            return {
                n: [s.clone() for s in optimizer.state[p].values() if s.shape == p.shape]
                for n, p in model.named_parameters()
            }

        weights = {n: p.detach().clone() for n, p in model.named_parameters()}
        gradients, before = {n: p.grad.clone() for n, p in model.named_parameters()}, state()
        new = self.inner.apply(model, optimizer, mask, step, total)
        self.seen.append(dict(
            step=step, old=mask, new=new, weights=weights, gradients=gradients, state=(before, state()),
            after={n: p.detach().clone() for n, p in model.named_parameters()},
        ))  # fmt: skip
        return new


def run(recipe=RECIPE, sparsity=0.6, spy=None, hook=None):
    network, data, spy = toy_network(), toy_data(), spy or Spy()
    mask = densities.top_each(pruners.random.scores(network, 0), "erk", 1 - sparsity)
    if hook:
        network.register_forward_pre_hook(lambda module, inputs: hook(module, inputs[0], spy))
    training = train(network, data, recipe, mask, 0, update=spy, **QUIET)
    return network, training, spy


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_zero_set_is_the_current_mask_after_every_step(optimizer):
    recipe, checked = RECIPE.model_copy(update=dict(optimizer=optimizer, weight_decay=0.1)), []

    def look(network, images, spy):
        if spy.seen:
            new, state = spy.seen[-1]["new"], dict(network.named_parameters())
            checked.append(all((state[n][~new[n]] == 0).all() for n in new))

    network, training, spy = run(recipe, hook=look)
    assert [s["step"] for s in spy.seen] == [3, 6, 9] and len(checked) == 8 and all(checked)
    assert training.mask.equals(spy.seen[-1]["new"]) and Mask.of(network).equals(training.mask)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_update_moves_what_the_formula_says_and_takes_no_gradient_step(optimizer):
    _, training, spy = run(RECIPE.model_copy(update=dict(optimizer=optimizer)))
    for seen, noted in zip(spy.seen, training.updates, strict=True):
        grown_in_all = 0
        for name, old in seen["old"].items():
            new, weight = seen["new"][name], seen["weights"][name]
            want = rigl.regrow(
                old, weight.abs(), seen["gradients"][name].abs(), spy.inner.fraction(seen["step"])
            )
            assert torch.equal(new, want) and new.sum() == old.sum()
            stayed, grown, dropped = old & new, new & ~old, old & ~new
            after, (before_state, after_state) = seen["after"][name], seen["state"]
            assert torch.equal(after[stayed], weight[stayed])
            assert (after[grown] == 0).all() and (after[dropped] == 0).all()
            assert before_state[name] and len(before_state[name]) == (2 if optimizer == "adam" else 1)
            for was, now in zip(before_state[name], after_state[name], strict=True):
                assert (now[grown] == 0).all() and (now[dropped] == 0).all()
                assert torch.equal(now[stayed], was[stayed])
                assert not grown.any() or (was[grown] != 0).any()  # there was something to clear
            # the gradient is dense: removed weights have one
            assert (seen["gradients"][name][~old] != 0).any()
            grown_in_all += int(grown.sum())
        assert noted == {
            "step": seen["step"], "grown": grown_in_all, "changed_share": grown_in_all / seen["new"].kept
        }  # fmt: skip
        for name in ("1.weight", "0.bias"):  # what no mask covers
            assert torch.equal(seen["after"][name], seen["weights"][name])
    assert sum(u["grown"] for u in training.updates) > 0


def test_no_optimizer_step_at_updates():
    """Every step an update: the weights that were never touched stay at their initial value until updates end."""
    network, first = toy_network(), toy_network()
    mask = Mask.ones(network)
    train(network, toy_data(), RECIPE, mask, 0, update=rigl.Update(1, stop=12, alpha=0.3), **QUIET)
    once, data = toy_network(), toy_data()
    train(once, data, RECIPE.model_copy(update=dict(epochs=1, batch_size=64, warmup=0.0)), mask, 0, **QUIET)
    # 12 steps, 11 of them updates: only step 0 learns, at its warm-up rate
    assert not torch.equal(network[0].weight, first[0].weight)
    learned, full = (network[0].weight - first[0].weight).norm(), (once[0].weight - first[0].weight).norm()
    assert learned < full


def test_images_and_schedule_go_on_as_without_updates():
    inputs = {True: [], False: []}
    run(hook=lambda network, images, spy: inputs[True].append(images.clone()))
    run(spy=Spy(interval=100), hook=lambda network, images, spy: inputs[False].append(images.clone()))
    assert len(inputs[True]) == 12
    assert all(torch.equal(a, b) for a, b in zip(inputs[True], inputs[False], strict=True))


def test_without_a_due_update_nothing_differs_from_fixed_sparse_training():
    network, training, spy = run(spy=Spy(interval=100))
    fixed = toy_network()
    mask = densities.top_each(pruners.random.scores(fixed, 0), "erk", 0.4)
    train(fixed, toy_data(), RECIPE, mask, 0, **QUIET)
    assert not training.updates and not spy.seen
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), fixed.parameters(), strict=True))


def test_an_update_needs_a_mask():
    with pytest.raises(SettingError, match="mask"):
        train(toy_network(), toy_data(), RECIPE, update=Spy(), **QUIET)


def test_budget_stretches_the_training(network, data):
    ticket = pruners.build("rigl", budget=1.5).find(network, data, 0.5, RECIPE, 0, **QUIET)
    assert ticket.record["images_seen"] == round(1.5 * 3) * 64
    assert len(ticket.record["losses"]) == round(1.5 * 3)


def test_record_says_what_moved(network, data):
    record = pruners.build("rigl", interval=3).find(network, data, 0.5, RECIPE, 0, **QUIET).record
    assert [u["step"] for u in record["updates"]] == [3, 6]
    assert all(
        0 <= u["changed_share"] <= 0.3 and u["grown"] == round(u["changed_share"] * 171)
        for u in record["updates"]
    )
    assert math.isfinite(record["cost"])
