import math

import numpy as np
import pytest
from scipy import stats

from lotterylib.errors import SettingError
from lotterylib.results import tidy
from lotterylib.verdict import interval, judge
from lotterylib.verdict.moderation import SHARED, Prior
from lotterylib.verdict.power import images_needed, needed, power, seeds_needed
from tests.verdict.test_controls import controls, dense


def simulated(between, images, tolerance, seeds, rounds=3000):
    """Share of networks equal to dense that pass, drawn and judged as a study does it."""
    random = np.random.default_rng(0)
    passed = 0
    for _ in range(rounds):
        values = math.sqrt(images) * random.normal() + random.normal(0, math.sqrt(between), seeds)
        found = interval(values, [math.sqrt(images)])
        passed += judge(found.low, found.high, "higher", tolerance) == "pass"
    return passed / rounds


@pytest.mark.parametrize(
    "between, images, seeds", [(1.0, 0.0, 3), (1.0, 0.0, 6), (1.0, 0.25, 3), (0.3, 0.25, 10), (0.0, 0.25, 2)]
)
def test_power_is_what_a_simulation_finds(between, images, seeds):
    tolerance = 1.3
    assert power(between, images, tolerance, seeds) == pytest.approx(
        simulated(between, images, tolerance, seeds), abs=0.025
    )


def test_power_with_known_spread_is_the_normal_s():
    assert power(0.0, 1.0, 3.0, 5) == pytest.approx(stats.norm.cdf(3.0 - stats.norm.ppf(0.975)))
    assert power(0.0, 0.0, 0.1, 2) == 1.0
    with pytest.raises(SettingError, match="two seeds"):
        power(1.0, 1.0, 1.0, 1)


@pytest.mark.parametrize("between, images", [(1.0, 0.0), (1.0, 0.04), (9.0, 0.01)])
def test_seeds_needed_are_the_fewest(between, images):
    seeds = seeds_needed(between, images, 1.0)
    assert power(between, images, 1.0, seeds) >= 0.8 > power(between, images, 1.0, seeds - 1)
    assert simulated(between, images, 1.0, seeds) == pytest.approx(0.8, abs=0.06)


def test_images_needed_are_the_fewest():
    count = images_needed(1.0, 0.5, 1.0, seeds=20, samples=1000)
    assert power(1.0, 500 / count, 1.0, 20) >= 0.8 > power(1.0, 500 / (count - 1), 1.0, 20)


def test_what_cannot_decide_says_so():
    """The normal interval needs √v ≤ tolerance / (1.96 + .84)."""
    assert seeds_needed(1.0, (1.02 / 2.8016) ** 2, 1.0) is None
    assert seeds_needed(1.0, (0.98 / 2.8016) ** 2, 1.0) is not None
    assert images_needed(1.0, 0.5, 1.0, seeds=3, samples=1000) is None


def test_pooled_variances_need_fewer_seeds():
    """What tickets lend each other counts as moderation counts it; a few lend nothing."""
    how = (0.0036**2, 0.0, 0.01)
    assert power(*how, seeds=3, tickets=7) == power(*how, seeds=3) < power(*how, seeds=3, tickets=54)
    assert seeds_needed(*how, tickets=54) < seeds_needed(*how)
    random, hits = np.random.default_rng(0), []
    for _ in range(150):
        found = random.normal(0, 0.0036 / 2**0.5, (54, 3)) - random.normal(0, 0.0036 / 2**0.5, 3)
        prior = Prior.fit(found.var(axis=1, ddof=1), [2] * 54, SHARED)
        hits += [interval(row, prior=prior).low >= -0.01 for row in found]
    assert np.mean(hits) == pytest.approx(power(*how, seeds=3, tickets=54), abs=0.07)


def test_what_a_pilot_says_is_needed():
    """Of ten networks with sd .003 in accuracy, a difference has .003 √2; the tolerance is .01."""
    table = tidy(dense(4) + controls(6, error=0.002))
    found = needed(table, seeds=3)
    values = table[table.metric == "accuracy"].value
    assert found.loc["accuracy", "sd"] == pytest.approx(2**0.5 * values.std())
    assert found.loc["recall_loss", "sd"] == pytest.approx(
        table[(table.metric == "recall_loss") & (table.pruner == "control")].value.std()
    )
    assert (found.error == 0.002).all() and (found.tolerance[["accuracy", "ece"]] == 0.01).all()
    row = found.loc["accuracy"]
    assert row.seeds == seeds_needed(row.sd**2, 0.002**2, 0.01, most=1000)
    assert row.images == images_needed(row.sd**2, 0.002**2, 0.01, 3, 10_000) or math.isnan(row.images)
    assert needed(tidy(dense(6)), seeds=3).error["accuracy"] == pytest.approx(2**0.5 * 0.003)
    assert list(needed(tidy(dense(1)), seeds=3).index) == []
    assert needed(table, seeds=1).chance.isna().all()
