import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from lotterylib.errors import DataError
from lotterylib.verdict import interval
from lotterylib.verdict.moderation import Prior, trigamma_inverse


@pytest.mark.parametrize("x", [1e-6, 0.01, 0.7, 1.0, 3.3, 40.0, 1e5])
def test_trigamma_inverse(x):
    assert trigamma_inverse(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)


def test_a_prior_by_another_way():
    """The moments' equations solved by SciPy's root finder, with the expectation and variance of log F."""
    s2, d = np.array([0.02, 1.5, 0.9, 26.0, 2.2, 0.4]), 2.0
    log_variance = np.log(s2).var(ddof=1)

    def excess(log_half: float) -> float:
        half = math.exp(log_half)
        return float(special.polygamma(1, d / 2) + special.polygamma(1, half)) - log_variance

    half = math.exp(optimize.brentq(excess, -10, 20))
    expected_log = special.digamma(d / 2) - math.log(d / 2) - special.digamma(half) + math.log(half)
    found = Prior.fit(s2, [d] * 6)
    assert found.freedom == pytest.approx(2 * half, rel=1e-6) and found.pooled == 12
    assert found.variance == pytest.approx(math.exp(np.log(s2).mean() - expected_log), rel=1e-6)


def test_known_priors_are_found():
    """Variances drawn from the model, d₀ = 6 and s₀² = 4, with unequal degrees of freedom."""
    random = np.random.default_rng(0)
    d = random.integers(2, 6, 40_000)
    sigma2 = 6 * 4.0 / random.chisquare(6, d.size)
    found = Prior.fit(sigma2 * random.chisquare(d) / d, d)
    assert found.freedom == pytest.approx(6, rel=0.1) and found.variance == pytest.approx(4, rel=0.03)


def test_moderation_by_hand_and_at_its_ends():
    assert Prior(1.0, 6.0, 40.0).moderate(4.0, 2) == (1.75, 8.0)
    assert Prior(1.0, 6.0, 7.0).moderate(4.0, 2) == (1.75, 7.0)
    assert Prior(1.0, math.inf, 36.0).moderate(4.0, 2) == (1.0, 36.0)
    assert Prior(1.0, 6.0, 40.0).moderate(0.0, 0) == (1.0, 6.0)
    assert math.isnan(Prior(1.0, math.inf, 36.0).moderate(math.nan, 2)[0])


def test_zeros_and_too_few():
    assert Prior.fit([0.0, 0.0, 0.0], [2, 2, 2]) == Prior(0.0, math.inf, 6.0)
    assert 0 < Prior.fit([0.0, 1.0, 1.2], [2, 2, 2]).variance < 1.2
    with pytest.raises(DataError, match="two tickets or more"):
        Prior.fit([1.0, 0.0], [2, 0])


def test_a_moderated_interval_has_the_prior_s_freedom_too():
    prior = Prior(0.02, 5.0, 100.0)
    values = [0.1, 0.2, 0.3]
    half = stats.t.ppf(0.975, 5 + 2) * math.sqrt((5 * 0.02 + 2 * 0.01) / 7 / 3)
    assert interval(values, prior=prior)[:3] == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    alone = interval([0.1], prior=prior)
    assert alone.high - 0.1 == pytest.approx(stats.t.ppf(0.975, 5) * math.sqrt(0.02))


@pytest.mark.parametrize("freedom", [4.0, 40.0])
@pytest.mark.parametrize("images", [0.0, 0.5])
def test_moderated_intervals_cover_with_few_seeds(freedom, images):
    """Eighteen tickets of three seeds, with variances that are alike (d₀ = 40) or not (d₀ = 4)."""
    random, hits, widths = np.random.default_rng(3), [], []
    for _ in range(250):
        sd = np.sqrt(freedom / random.chisquare(freedom, 18))
        values = random.normal(0, sd[:, None], (18, 3)) + images * random.normal(size=(18, 1))
        prior = Prior.fit(values.var(axis=1, ddof=1), [2] * 18)
        found = [interval(row, [images] if images else [], prior=prior) for row in values]
        hits += [i.low <= 0 <= i.high for i in found]
        widths.append(
            np.mean([i.high - i.low for i in found]) / (interval(values[0]).high - interval(values[0]).low)
        )
    assert 0.93 <= np.mean(hits) <= 0.97
    if not images:
        assert np.median(widths) < 0.75, "narrower than Student's"
