"""Errors over images against closed forms."""

import math

import numpy as np
import pytest
import torch

from lotterylib.metrics.resampling import (
    RESAMPLES,
    bootstrap,
    image_counts,
    multinomial_counts,
    of_samples,
    standard_error,
)
from tests.conftest import untouched_rng


def test_standard_errors_by_hand():
    values = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()
    assert standard_error(values) == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3 / 4))
    assert standard_error(values, plug_in=True) == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 4 / 4))
    assert standard_error(values[:1]) == standard_error(values[:1], plug_in=True) == 0.0


def test_draws_of_several_samples_have_the_variance_of_the_sum():
    random = torch.Generator().manual_seed(0)
    samples = [torch.randn(n, generator=random).double() for n in (30, 50)]
    expected = sum(s.var() / len(s) for s in samples)
    assert of_samples(samples).var().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("count", [1, 40])
def test_every_resample_holds_as_many_images(count):
    with untouched_rng():
        counts = image_counts(count, 3)
    assert (
        counts.shape == (1 + RESAMPLES, count)
        and (counts.sum(dim=1) == count).all()
        and (counts[0] == 1).all()
    )
    drawn = multinomial_counts(count, np.random.default_rng(0))
    assert drawn.shape == (RESAMPLES, count) and (drawn.sum(axis=1) == count).all()


def test_the_bootstrap_of_a_mean_has_its_standard_error():
    values = torch.randn(200, generator=torch.Generator().manual_seed(1)).double()
    with untouched_rng():
        found = bootstrap(lambda one, other: [one.mean(), other.mean()], [values, 2 * values], seed=0)
    assert found.shape == (RESAMPLES, 2)
    assert found.std(dim=0).tolist() == pytest.approx(
        [standard_error(values), 2 * standard_error(values)], rel=0.15
    )
    assert not torch.equal(2 * found[:, 0], found[:, 1])
