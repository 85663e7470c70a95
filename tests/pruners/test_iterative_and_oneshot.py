"""random, magnitude and lottery against hand-computed masks and the classic mistakes."""

import copy
import math

import pytest
import torch
from torch import nn

from lotterylib import pruners
from lotterylib.errors import LotteryError, SettingError, UnknownNameError
from lotterylib.masks import Mask, prunable
from lotterylib.masks.densities import erdos_renyi_kernel, whole_counts
from lotterylib.pruners import lottery, magnitude, random
from lotterylib.training import Recipe, train
from tests.conftest import toy_network, untouched_rng

RECIPE = Recipe(epochs=2, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)
QUIET = dict(progress=False, device="cpu")
# what masks weights of the network as it is; the others make it smaller, by whole channels (tests of their own)
MASKING = [name for name in pruners.names() if name not in ("structured", "small-dense")]


def find(name, network, data, sparsity, seed=0, settings=None, **given):
    return pruners.build(name, **(settings or {})).find(
        network, data, sparsity, RECIPE, seed, **QUIET, **given
    )


@pytest.fixture
def dense(network, data):
    return pruners.train_dense(network, data, RECIPE, 0, **QUIET)


@pytest.mark.parametrize("name", MASKING)
@pytest.mark.parametrize("sparsity", [0.0, 0.36, 0.9])
def test_every_pruner_keeps_the_exact_count_and_leaves_the_callers_things_alone(
    name, sparsity, network, data
):
    before = copy.deepcopy(network.state_dict())
    mode = network.training
    with untouched_rng():
        ticket = find(name, network, data, sparsity)
    total = sum(p.numel() for p in prunable(network).values())
    assert ticket.mask.kept == round((1 - sparsity) * total) == ticket.record["kept"]
    alive = Mask.of(ticket.model)
    assert all((alive[n] <= ticket.mask[n]).all() for n in ticket.mask)
    # one that grew where no gradient comes stays at zero
    moves = "updates" in ticket.record
    assert alive.equals(ticket.mask) or moves and alive.kept > 0.9 * ticket.mask.kept
    assert not ticket.model.training
    assert network.training == mode and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())


@pytest.mark.parametrize("name", pruners.names())
@pytest.mark.parametrize("sparsity", [1.0, -0.1, 50, float("nan")])
def test_every_pruner_refuses_a_sparsity_outside_0_to_1(name, sparsity, network, data):
    with pytest.raises(SettingError, match="sparsity"):
        find(name, network, data, sparsity)


@pytest.mark.parametrize("name", MASKING)
def test_every_pruner_prunes_convolutions_alone_if_asked(name, network, data):
    ticket = find(name, network, data, 0.5, settings={"scope": "conv"})
    assert list(ticket.mask) == ["0.weight"] and ticket.mask.kept == 27
    assert (ticket.model[5].weight != 0).all()


@pytest.mark.parametrize("name", [*MASKING, "structured"])
def test_every_pruner_is_deterministic(name, network, data):
    one, other = (find(name, network, data, 0.5, seed=3) for _ in range(2))
    assert one.mask.equals(other.mask)
    assert all(
        torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", MASKING)
def test_works_without_convolution_and_batchnorm(name, data):
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3))
    assert find(name, network, data, 0.5).mask.kept == 588


def test_registry_suggests_and_names_bad_settings():
    with pytest.raises(UnknownNameError, match="did you mean 'lottery'"):
        pruners.build("lotery")
    with pytest.raises(SettingError, match="unknown key 'rat'"):
        pruners.build("lottery", rat=0.2)
    with pytest.raises(SettingError, match="rate.*less than 1.*1.5"):
        pruners.build("lottery", rate=1.5)


# --- random


def test_random_scores_depend_on_the_seed_alone(network):
    with untouched_rng():
        first, again, other = (random.scores(network, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    retrained = random.scores(toy_network(seed=7), 0)
    assert all(torch.equal(first[n], retrained[n]) for n in first)


def test_random_is_uniform_over_weights():
    """Kept shares of two equal layers differ by chance alone: within five standard errors of a hypergeometric draw."""
    network = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    mask = random.Random().mask(network, None, 0.8, seed=0)
    kept = int(mask["0.weight"].sum())
    assert abs(kept - 2000) < 5 * math.sqrt(4000 * 0.25 * (16000 / 19999))


@pytest.mark.parametrize("distribution", ["uniform", "erk"])
def test_random_per_layer_densities_are_exact(distribution, network):
    mask = random.Random(distribution=distribution).mask(network, None, 0.7, seed=0)
    shapes = {n: tuple(p.shape) for n, p in prunable(network).items()}
    assert mask.kept == round(0.3 * 342)
    want = {"uniform": dict.fromkeys(shapes, 0.3), "erk": erdos_renyi_kernel(shapes, 0.3)}[distribution]
    for name, share in mask.layer_densities().items():
        assert abs(share - want[name]) * mask[name].numel() <= 1


def test_erk_by_hand():
    """a: 4·5 weights, raw (4+5)/20 = 0.45; b: 10·10, raw 20/100 = 0.2; c: 2·1·3·3, raw 9/18 = 0.5.

    ε·Σ raw·n = ε·(9+20+9) = 0.25·138 = 34.5 → ε = 0.907895 → a .408553, b .181579, c .453947."""
    densities = erdos_renyi_kernel({"a": (4, 5), "b": (10, 10), "c": (2, 1, 3, 3)}, 0.25)
    assert densities == pytest.approx({"a": 0.408553, "b": 0.181579, "c": 0.453947}, abs=1e-6)


def test_erk_layers_that_would_exceed_one_become_dense_and_the_rest_is_solved_again():
    """At 0.7: 96.6 weights. ε = 96.6/38 = 2.54 puts a at 1.14 and c at 1.27; both full leave 58.6 for b."""
    densities = erdos_renyi_kernel({"a": (4, 5), "b": (10, 10), "c": (2, 1, 3, 3)}, 0.7)
    assert densities == pytest.approx({"a": 1.0, "b": 0.586, "c": 1.0})
    assert erdos_renyi_kernel({"a": (4, 5)}, 1.0) == {"a": 1.0}


def test_whole_counts_add_up():
    shapes = {"a": (3,), "b": (3,), "c": (4,)}
    counts = whole_counts(shapes, dict.fromkeys(shapes, 0.45), 0.45)
    assert sum(counts.values()) == round(4.5) and counts == {"a": 1, "b": 1, "c": 2}


# --- magnitude


def test_magnitude_mask_by_hand(network):
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0, 0] = torch.tensor([3.0, -9.0, 1.0])
        network[5].weight.zero_()
        network[5].weight[1, :2] = torch.tensor([-5.0, 2.0])
    mask = Mask.top(magnitude.scores(network), 3 / 342)
    assert mask["0.weight"].nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert mask["5.weight"].nonzero().tolist() == [[1, 0]]


def test_magnitude_ranks_the_trained_weights_and_retrains_from_the_rewound(network, data, dense):
    ticket = find("magnitude", network, data, 0.8, dense=dense)
    assert ticket.mask.equals(Mask.top(magnitude.scores(dense.model), 0.2))
    by_hand = toy_network(seed=5)
    by_hand.load_state_dict(dense.rewind)
    train(by_hand, data, RECIPE, ticket.mask, 0, start=2, **QUIET)
    assert all(
        torch.equal(a, b) for a, b in zip(by_hand.parameters(), ticket.model.parameters(), strict=True)
    )
    trained = find("magnitude", network, data, 0.8, settings={"retrain_from": "trained"}, dense=dense)
    assert trained.mask.equals(ticket.mask)
    assert not torch.equal(trained.model[5].weight, ticket.model[5].weight)


def test_a_dense_ticket_without_rewind_state_is_refused(network, data, dense):
    dense.rewind = None
    with pytest.raises(LotteryError, match="rewind step"):
        find("magnitude", network, data, 0.5, dense=dense)


# --- lottery


def test_lottery_rounds_follow_the_geometric_law():
    build = pruners.build("lottery")
    assert build.previous(0.2) is None and build.previous(0.0) is None
    assert build.previous(1 - 0.8**2) == pytest.approx(0.2)
    assert build.previous(1 - 0.8**18) == pytest.approx(1 - 0.8**17)
    assert build.previous(0.5) == pytest.approx(1 - 0.8**3)  # between rounds 3 and 4
    assert pruners.build("lottery", rate=0.5).previous(0.75) == pytest.approx(0.5)


def test_lottery_prunes_twenty_percent_of_what_remains_and_never_revives(network, data, dense):
    previous, before = None, Mask.ones(network)
    for n in range(1, 6):
        ticket = find("lottery", network, data, 1 - 0.8**n, dense=dense, previous=previous)
        assert ticket.mask.kept == round(0.8**n * 342)
        assert all((ticket.mask[name] <= before[name]).all() for name in before)
        previous, before = ticket, ticket.mask


def test_lottery_with_stored_rounds_equals_lottery_from_scratch(network, data, dense):
    first = find("lottery", network, data, 0.2, dense=dense)
    shared = find("lottery", network, data, 0.36, dense=dense, previous=first)
    alone = find("lottery", network, data, 0.36)
    assert shared.mask.equals(alone.mask)
    state = alone.model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in shared.model.state_dict().items())


def test_lottery_rewinds_every_parameter_and_buffer(network, data, dense, monkeypatch):
    """What a training starts from is the dense network's state at the rewind step, BatchNorm included."""
    starts = []

    def spy(model, *args, start=0, **kwargs):
        starts.append((start, copy.deepcopy(model.state_dict())))
        return train(model, *args, start=start, **kwargs)

    monkeypatch.setattr("lotterylib.pruners.base.train", spy)
    first = find("lottery", network, data, 0.2, dense=dense)
    find("lottery", network, data, 0.36, dense=dense, previous=first)
    for start, state in starts:
        assert start == RECIPE.rewind_step(64) == 2
        assert all(torch.equal(state[n], t) for n, t in dense.rewind.items())


def test_lottery_ranks_trained_not_rewound_weights(network, data, dense):
    first = find("lottery", network, data, 0.2, dense=dense)
    second = find("lottery", network, data, 0.36, dense=dense, previous=first)
    assert second.mask.equals(Mask.top(magnitude.scores(first.model), 0.64, within=first.mask))


def test_lottery_other_retrainings_keep_the_trained_weights(network, data, dense, monkeypatch):
    starts = []

    def spy(model, data_, recipe, *args, **kwargs):
        starts.append((recipe, copy.deepcopy(model.state_dict())))
        return train(model, data_, recipe, *args, **kwargs)

    monkeypatch.setattr("lotterylib.pruners.base.train", spy)
    for retraining in ("lr-rewind", "fine-tune"):
        find("lottery", network, data, 0.2, settings={"retraining": retraining}, dense=dense)
    (same, state), (tuned, other) = starts
    assert same == RECIPE
    assert tuned.schedule == "constant" and tuned.lr == lottery.Lottery().fine_tune_lr
    for start in (state, other):
        assert all(torch.equal(start[n], t) for n, t in dense.model.state_dict().items())
