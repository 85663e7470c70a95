"""Structured pruning: the small network computes what the full one with silenced filters computes."""

import copy
import sys

import pytest
import torch
from torch import nn

from lotterylib import Ticket, models, pruners
from lotterylib.errors import SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.pruners import structured
from lotterylib.pruners.channels import DisjointSets, cut, find_units, keep_without
from lotterylib.training import Recipe, state_of, train
from tests.conftest import toy_data, toy_network

RECIPE = Recipe(epochs=2, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)
QUIET = dict(progress=False, device="cpu")


def find(network, data, sparsity, **given):
    settings = given.pop("settings", {})
    return pruners.build("structured", **settings).find(network, data, sparsity, RECIPE, 0, **QUIET, **given)


def size(network, scope="all"):
    return sum(p.numel() for p in prunable(network, scope).values())


def lively(network):
    """Weights, biases and running statistics that a mistake would show in."""
    for module in network.modules():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if "." not in name and tensor.dtype.is_floating_point and not name.startswith(("mean", "std")):
                (
                    nn.init.uniform_(tensor, 0.5, 1.5)
                    if name == "running_var"
                    else nn.init.normal_(tensor, std=0.3)
                )
    return network.eval()


def zeroed(network, keep):
    """The full network with the filters that go set to zero: their weights, biases, BatchNorm scale and shift."""
    twin = copy.deepcopy(network)
    state = twin.state_dict()
    for (name, dim), kept in keep.items():
        if dim == 0 and not name.endswith(("running_mean", "running_var")):
            state[name][~kept] = 0
    return twin


def plain():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
        nn.Conv2d(8, 12, 1), nn.ReLU(), nn.Conv2d(12, 6, 3, groups=3), nn.PReLU(6), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6 * 16, 10), nn.ReLU(), nn.Linear(10, 3),
    )  # fmt: skip


NETWORKS = {
    "lenet": (lambda: models.build("lenet", 3, 1, size=16), 16),
    "resnet8": (lambda: models.build("resnet8", 3, 1, size=16), 16),
    "resnet20s": (lambda: models.build("resnet20s", 3, 1, size=16), 16),
    "grouped": (plain, 12),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 20), nn.ReLU(), nn.Linear(20, 3)), 12),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_small_network_equals_its_zeroed_twin(name):
    build, side = NETWORKS[name]
    network = lively(build())
    target = round(0.35 * size(network))
    keep, whole = structured.choose(network, (1, side, side), target)
    small, twin, images = cut(network, keep), zeroed(network, keep), torch.rand(9, 1, side, side)
    assert torch.allclose(small(images), twin(images), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(small(images), network(images), rtol=1e-2)
    assert 0.8 * target < size(small) <= target
    assert len(whole) == 1  # the output layer
    for module in small.modules():  # layers know their new sizes
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.weight) == len(module.running_var)


def test_filters_of_a_grouped_convolution_go_together():
    """Conv2d(12 → 6, groups=3): 4 units of 3 input channels, 2 units of 3 output channels, one of each group."""
    units, _ = find_units(lively(plain()), (1, 12, 12))
    inputs = [u.places for u in units if ("5.weight", 0) in u.places]
    assert [u["5.weight", 0] for u in inputs] == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert [u["7.weight", 1] for u in inputs] == [[0], [1], [2], [3]]
    outputs = [u.places for u in units if ("7.weight", 0) in u.places]
    assert [u["7.weight", 0] for u in outputs] == [[0, 2, 4], [1, 3, 5]]
    flat = [list(range(16 * c, 16 * c + 16)) for c in (0, 2, 4)]
    assert outputs[0]["11.weight", 1] == sum(flat, [])


def test_disjoint_sets_go_by_their_smallest_number():
    sets = DisjointSets()
    for pair in ((5, 7), (3, 5), (9, 8), (7, 9), (4, 4)):
        sets.join(*pair)
    assert [sets.first(n) for n in range(10)] == [0, 1, 2, 3, 4, 3, 6, 3, 3, 3]


def test_the_weakest_filters_by_group_norm_go():
    """Two hidden neurons of norm 5 (3 in, 4 out) and 1.4; the last of a group stays."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[3.0, 0, 0, 0], [1, 0, 0, 0], [0, 9, 0, 0]]))
        network[3].weight.copy_(torch.tensor([[4.0, 1, 0], [0, 0, 0]]))
    units, whole = find_units(network, (1, 2, 2))
    weights = {n: p.detach() for n, p in prunable(network).items()}
    norms = torch.tensor([5.0, 2**0.5, 9.0])
    assert structured.scores_of(units, weights) == pytest.approx((norms / norms.mean()).tolist())
    assert whole == ["3"]
    keep, _ = structured.choose(network, (1, 2, 2), 12)
    assert keep["1.weight", 0].tolist() == [True, False, True] == keep["3.weight", 1].tolist()
    assert structured.choose(network, (1, 2, 2), 11)[0]["1.weight", 0].tolist() == [False, False, True]
    with pytest.raises(SettingError, match="5 prunable weights wanted, but 6 remain.*cannot be cut: 3"):
        structured.choose(network, (1, 2, 2), 5)


def test_what_cannot_be_cut_stays_whole_and_no_wrong_network_comes_out():
    """A shortcut from the input, a GroupNorm over channels, a depthwise convolution of the pixels."""

    class Tangled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pixels = nn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.added = nn.Conv2d(4, 4, 3, padding=1)
            self.normed, self.norm = nn.Conv2d(4, 8, 1), nn.GroupNorm(2, 8)
            self.free, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 3)

        def forward(self, x):
            x = x + self.added(self.pixels(x))
            return self.head(self.free(self.norm(self.normed(x))).mean((2, 3)))

    network = lively(Tangled())
    units, whole = find_units(network, (4, 6, 6))
    assert sorted(set(whole)) == ["added", "head", "normed", "pixels"]
    assert {name for u in units for name, _ in u.places} == {"free.weight", "free.bias", "head.weight"}
    small = cut(network, keep_without(network, units[:3]))
    assert small.free.out_channels == small.head.in_features == 3


def test_a_network_that_cannot_be_traced_is_one_clear_error():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            raise TypeError("no such thing")

    with pytest.raises(SettingError, match="cannot be traced .*no such thing"):
        find_units(Detached(), (4,))


def test_missing_library_is_named_with_its_remedy(monkeypatch, network, data):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match="pip install 'torch-pruning"):
        find(network, data, 0.5)


# --- the pruner


@pytest.fixture
def dense(network, data):
    return pruners.train_dense(network, data, RECIPE, 0, **QUIET)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8])
def test_ticket_keeps_at_most_the_target_and_counts_against_the_dense_network(sparsity, network, data, dense):
    before = state_of(dense.model)
    ticket = find(network, data, sparsity, dense=dense)
    target = round((1 - sparsity) * 342)
    assert (
        target - 57 < ticket.mask.kept == size(ticket.model) <= target
    )  # a filter and its reader: 9 + 48 weights
    assert ticket.record["kept"] == ticket.mask.kept and ticket.record["prunable"] == 342
    assert ticket.sparsity == ticket.record["sparsity"] == 1 - ticket.mask.kept / 342
    assert ticket.record["requested_sparsity"] == sparsity
    assert ticket.record["parameters"] == sum(p.numel() for p in ticket.model.parameters())
    assert ticket.record["left_whole"] == ["5"]
    share = ticket.record["multiply_adds"] / ticket.record["multiply_adds_dense"]
    assert ticket.record["cost"] == pytest.approx(1 + 0.75 * share)
    assert all(torch.equal(before[n], t) for n, t in dense.model.state_dict().items())


def test_survivors_start_from_the_rewound_weights(network, data, dense):
    ticket = find(network, data, 0.5, dense=dense)
    keep, _ = structured.choose(dense.model, (1, 12, 12), 171)
    start = copy.deepcopy(dense.model)
    start.load_state_dict(dense.rewind)
    by_hand = cut(start, keep)
    train(by_hand, data, RECIPE, Mask.ones(by_hand), 0, start=2, **QUIET)
    trained = ticket.model.state_dict()
    assert all(torch.equal(t, trained[n]) for n, t in by_hand.state_dict().items())
    other = find(network, data, 0.5, dense=dense, settings=dict(retrain_from="trained"))
    assert not torch.equal(other.model[5].weight, ticket.model[5].weight)


def test_rounds_cut_what_the_round_before_left(network, data, dense):
    settings = dict(rate=0.3)
    assert pruners.build("structured").previous(0.6) is None
    assert pruners.build("structured", rate=0.3).previous(0.51) == pytest.approx(0.3)
    first = find(network, data, 0.3, dense=dense, settings=settings)
    second = find(network, data, 0.51, dense=dense, previous=first, settings=settings)
    alone = find(network, data, 0.51, settings=settings)
    assert size(second.model) < size(first.model) < 342 and size(second.model) <= round(0.49 * 342)
    assert second.record["cost"] > first.record["cost"] > 1
    assert all(torch.equal(t, alone.model.state_dict()[n]) for n, t in second.model.state_dict().items())
    # a round starts again from the dense network's rewind point
    surviving = first.rewind["0.weight"]
    assert all(any(torch.equal(f, g) for g in dense.rewind["0.weight"]) for f in surviving)


@pytest.mark.parametrize("scope, target", [("all", 0.6), ("conv", 0.6)])
def test_convolutions_alone(scope, target, data, network, dense):
    ticket = find(network, data, target, dense=dense, settings=dict(scope=scope))
    full = size(network, scope)
    assert ticket.record["prunable"] == full and ticket.mask.kept <= round(0.4 * full)


@pytest.mark.parametrize(
    "settings, sparsity", [({}, 0.6), (dict(rate=0.3), 0.51), (dict(pattern="2:4"), 0.5)]
)
def test_tickets_save_and_load(tmp_path, settings, sparsity):
    data = toy_data(size=16)
    library = models.build("resnet8", 3, 1, size=16)
    for network, given in [(library, {}), (toy_network(), dict(model=toy_network(seed=3)))]:
        ticket = find(network, data, sparsity, settings=settings)
        ticket.save(tmp_path / "t.safetensors")
        loaded = Ticket.load(tmp_path / "t.safetensors", **given)
        state = loaded.model.state_dict()
        assert all(torch.equal(t, state[n]) for n, t in ticket.model.state_dict().items())
        assert loaded.mask.equals(ticket.mask) and loaded.sparsity == ticket.sparsity
        with torch.no_grad():
            same = torch.allclose(loaded.model(data.test[0]), ticket.model(data.test[0]), atol=1e-5)
        assert same
    twin = models.build(**Ticket.load(_saved(find(library, data, 0.6), tmp_path)).model.spec)
    assert size(twin) <= round(0.4 * size(library))


def _saved(ticket, folder):
    ticket.save(folder / "other.safetensors")
    return folder / "other.safetensors"


# --- 2:4


def test_two_of_four_by_hand():
    network = nn.Sequential(nn.Conv2d(4, 1, 1), nn.Linear(8, 1), nn.Linear(6, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -4.0, 3.0, 2.0]).view(1, 4, 1, 1))
        network[1].weight.copy_(torch.tensor([[5.0, 5.0, 5.0, 5.0, 0.0, -1.0, 2.0, 0.5]]))
    mask, whole = structured.two_of_four(network)
    assert mask["0.weight"].flatten().tolist() == [False, True, True, False]
    assert mask["1.weight"].tolist() == [[True, True, False, False, False, True, True, False]]
    assert mask["2.weight"].all() and whole == ["2.weight"]  # 6 inputs do not divide into fours


def test_two_of_four_looks_along_input_channels_at_each_place_of_the_kernel():
    """By the rule of sparse tensor cores: each place of the kernel is a product over input channels."""
    network = nn.Sequential(nn.Conv2d(8, 5, 3), nn.Conv2d(8, 4, (1, 4), groups=2), nn.Conv2d(6, 4, 2))
    mask, whole = structured.two_of_four(network)
    for name in ("0.weight", "1.weight"):
        weight, kept = dict(network.named_parameters())[name].detach().abs(), mask[name]
        for fours, sizes in zip(kept.split(4, dim=1), weight.split(4, dim=1), strict=True):
            assert (fours.sum(dim=1) == 2).all()
            least, most = sizes.masked_fill(~fours, 9).amin(1), sizes.masked_fill(fours, -9).amax(1)
            assert (least >= most).all()
    along_the_kernel = mask["0.weight"].flatten(1).unflatten(1, (-1, 4)).sum(2)
    assert (along_the_kernel != 2).any()
    assert mask["2.weight"].all() and whole == ["2.weight"]  # 24 inputs a filter, but 6 channels


def test_two_of_four_ticket(network, data, dense):
    """The stem has 9 inputs a filter and stays whole: 54 + 288 / 2 of 342 weights are kept."""
    ticket = find(network, data, 0.5, dense=dense, settings=dict(pattern="2:4"))
    assert ticket.mask.kept == 54 + 144 == ticket.record["kept"]
    assert ticket.record["left_whole"] == ["0.weight"]
    assert (ticket.mask["5.weight"].view(3, 24, 4).sum(2) == 2).all()
    assert Mask.of(ticket.model).equals(ticket.mask)
    for sparsity in (0.4, 0.8):
        with pytest.raises(SettingError, match=f"must be 0.5, got {sparsity}"):
            find(network, data, sparsity, dense=dense, settings=dict(pattern="2:4"))
