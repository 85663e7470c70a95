import math

import pytest
import torch
from scipy.stats import binom

from benchmarks import bias as simulated
from lotterylib.metrics.calibration import calibration_interval, calibration_truth


def test_one_bin_has_the_bias_of_a_coin():
    """All forecasts are .7 and right: the error is |hits/N − .7|, whose mean is known exactly."""
    count, dice = 100, torch.Generator().manual_seed(0)
    p = torch.tensor([[0.7, 0.3]]).double().expand(count, 2)
    found = []
    for _ in range(60):
        labels = (torch.rand(count, generator=dice) > 0.7).long()
        error, bias, _ = calibration_interval(p, labels, bins=5)
        found.append((error, bias))
    hits = range(count + 1)
    exact = sum(binom.pmf(k, count, 0.7) * abs(k / count - 0.7) for k in hits)
    errors, biases = torch.tensor(found).T
    assert errors.mean().item() == pytest.approx(exact, rel=0.2)
    # where the coin seems unfair there is less of it, on average most is found
    assert 0.6 * exact < biases.mean().item() < 1.05 * exact and biases.max() < 1.3 * exact


@pytest.mark.parametrize("kind", simulated.BINNED)
def test_of_a_calibrated_network_nothing_is_left(kind):
    dice, found = torch.Generator().manual_seed(1), []
    for _ in range(25):
        p, _, labels = simulated.world(500, dice, sharper=1.0)
        found.append(calibration_interval(p, labels, kind=kind)[:2])
    errors, biases = torch.tensor(found).T
    assert (errors - biases).mean().abs() < 0.2 * errors.mean()


@pytest.mark.parametrize("kind", simulated.BINNED)
def test_the_interval_of_a_difference_covers_where_one_network_is_calibrated(kind):
    """40 pairs: at 95% the chance of 34 or fewer is 1 in 70. With its bias the difference is mostly missed."""
    second = simulated.SECOND["temperature 1/1.3"]
    row = simulated.means(simulated.calibration(kind, 500, second, reference=40_000), 40)
    assert row["covers"] > 34 / 40 and row["plain covers"] < row["covers"]
    assert abs(row["unbiased"] - row["truth"]) < 0.5 * abs(row["plain"] - row["truth"])


def test_the_truth_is_what_very_many_images_show():
    dice = torch.Generator().manual_seed(2)
    true, other, labels = simulated.world(20_000, dice, *simulated.SECOND["temperature 1/1.3"])
    for kind in simulated.BINNED:
        error, bias, _ = calibration_interval(other, labels, kind=kind)
        assert error - bias == pytest.approx(calibration_truth(other, true, kind=kind), rel=0.1)
        assert calibration_truth(true, true, kind=kind) == 0


def test_odd_networks_give_numbers():
    sure, labels = torch.eye(3).double()[torch.tensor([0, 1, 2, 0])], torch.tensor([0, 1, 2, 0])
    even = torch.full((4, 3), 1 / 3).double()
    for p in (sure, even, sure[:2], even[:2], sure.roll(1, dims=1)):
        for kind in simulated.BINNED:
            assert all(map(math.isfinite, calibration_interval(p, labels[: len(p)], kind=kind)))
