"""What networks cost: counts against hand-made ones; time and memory against what must be so."""

import pytest
import torch
from torch import nn

from lotterylib.efficiency import speed
from lotterylib.errors import SettingError
from lotterylib.masks import Mask
from tests.conftest import toy_network


def test_counts_by_hand():
    network = toy_network()
    mask = Mask.of(network)
    mask = Mask({"0.weight": mask["0.weight"] & False, "5.weight": mask["5.weight"]})
    size = speed.size_of(network, mask, (1, 12, 12))
    convolution, linear = 6 * 9 * 144, 96 * 3
    assert (size.parameters, size.kept) == (6 * 9 + 6 + 12 + 288 + 3, 6 + 12 + 288 + 3)
    assert (size.multiply_adds, size.needed) == (convolution + linear, linear)


def test_files_hold_survivors_and_a_bit_a_weight():
    network = nn.Linear(1000, 80, bias=False)
    dense = speed.stored_bytes(network)
    half = Mask.top({"weight": network.weight.detach().abs()}, 0.5)
    assert dense - speed.stored_bytes(speed.masked(network, half), half) == pytest.approx(4 * 40_000, abs=64)
    assert dense == pytest.approx(4 * 80_000 + 80_000 / 8, abs=600)


def test_a_median_with_its_interval():
    dense, own = [float(r) for r in range(1, 13)], [1.0] * 12
    # 12 rounds: P(X ≤ 2) = 1.9% and P(X ≤ 3) = 7.3% for X ~ Binomial(12, ½), so from the 3rd to the 10th
    assert speed._ratio(dense, own) == (6.5, 3, 10)
    assert speed._ratio(dense[:6], own[:6]) == (3.5, 1, 6)
    assert speed._ratio(dense, dense) == (1, 1, 1)
    assert speed._ratio([*dense[:11], 1e9], own) == (6.5, 3, 10)  # one round that was held up


class Known(nn.Module):
    """Holds at most the doubled and the quadrupled copy of its input, then their sum with one of them gone."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def forward(self, x):
        double = x * 2
        view = double.view(-1)  # no memory of its own
        four = view * 2
        del double, view
        return four + 1


def test_memory_by_hand():
    size = 4 * 10 * 12 * 12
    found = speed.speeds({"dense": Known()}, (1, 12, 12), batch_size=10, rounds=6, seconds=1e-4)["dense"]
    assert found.memory == 2 * size and found.weights == 8


def test_more_work_takes_longer_and_networks_are_left_as_found():
    class Often(nn.Module):
        def __init__(self, times):
            super().__init__()
            self.layer, self.times = nn.Conv2d(1, 8, 3), times

        def forward(self, x):
            return sum(self.layer(x) for _ in range(self.times))

    networks = {"dense": Often(16), "small": Often(1)}
    networks["small"].train()
    before = torch.random.get_rng_state()
    found = speed.speeds(networks, (1, 32, 32), batch_size=20, rounds=6, seconds=0.002)
    assert found["small"].speedup > 2 and found["small"].low <= found["small"].speedup <= found["small"].high
    assert (found["dense"].speedup, found["dense"].low) == (1, 1)
    assert networks["small"].training and torch.equal(before, torch.random.get_rng_state())
    sizes = {n: speed.size_of(m, None, (1, 32, 32)) for n, m in networks.items()}
    rows = speed.table(sizes, found).set_index("network")
    assert rows.kept_share["small"] == 1 and rows.multiply_adds_share["small"] == pytest.approx(1 / 16)


def test_sparse_matrices_are_smaller():
    found = speed.sparse_linear_speedups([0.0, 0.9], features=64, batch_size=4, rounds=6, seconds=1e-4)
    assert found[0.0].weights == 64 * 64 * 12 + 65 * 8  # a value and a column index each, a row index a row
    assert found[0.9].weights == pytest.approx(found[0.0].weights / 10, rel=0.1) and found[0.9].seconds > 0


@pytest.mark.parametrize("wrong", [{"rounds": 5}, {"batch_size": 0}, {"seconds": 0}])
def test_bad_settings(wrong):
    with pytest.raises(SettingError, match="want 6 rounds"):
        speed.speeds({"dense": toy_network()}, (1, 12, 12), **wrong)
    with pytest.raises(SettingError, match="'dense'"):
        speed.speeds({"ticket": toy_network()}, (1, 12, 12))
    with pytest.raises(SettingError, match="sparsities"):
        speed.sparse_linear_speedups([1.0])
