import math

import numpy as np
import pytest
from scipy import stats

from lotterylib.errors import DataError, SettingError
from lotterylib.results import tidy
from lotterylib.verdict import (
    Region,
    differences,
    interval,
    over_seeds,
    paired_gap,
    paired_proportions,
    passes,
    proportion,
)
from tests.test_results import DENSE, LOTTERY, RANDOM, apart, row, study


def test_means_and_t_intervals():
    """By SciPy's own interval, and once by hand: t for two degrees of freedom is 4.3027."""
    table = over_seeds(tidy(study()), "accuracy").set_index(["pruner", "sparsity"])
    for key, values in {
        ("dense", 0.0): DENSE,
        ("lottery", 0.488): LOTTERY,
        ("random", 0.488): RANDOM,
    }.items():
        got = table.loc[key]
        low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert (got.value, got.low, got.high) == pytest.approx((np.mean(values), low, high))
        assert got.seeds == 3
    by_hand = 4.302653 * 0.01 / math.sqrt(3)
    assert table.loc["dense", 0.0].high == pytest.approx(0.91 + by_hand)
    narrow = over_seeds(tidy(study()), "accuracy", confidence=0.5).set_index(["pruner", "sparsity"])
    assert narrow.loc["dense", 0.0].high < table.loc["dense", 0.0].high


def test_one_seed_has_a_mean_and_no_interval():
    table = over_seeds(tidy([r for r in study() if r["seed"] == 1]), "accuracy")
    assert table.value.notna().all() and table.low.isna().all() and table.high.isna().all()
    assert (table.seeds == 1).all()


def test_another_metric_carries_the_regions_of_accuracy():
    rows = study() + [row("random", 0.982, s, 0.99, metric="ece") for s in range(3)]
    table = over_seeds(tidy(rows), "ece")
    assert list(table.region) == [Region.III] and table.value[0] == pytest.approx(0.99)


def test_a_metric_without_records_is_named_with_those_that_have_some():
    with pytest.raises(DataError, match="'ece'; there are: accuracy"):
        over_seeds(tidy(study()), "ece")


def test_paired_gap_by_hand():
    """Differences 0.05, 0.02, 0.09, given in another order: pairs go by seed. Mean 0.05333, s = 0.035119, and half the
    interval is 4.302653 · s / √3 = 0.087240."""
    mean, low, high, seeds = paired_gap(tidy(study()[::-1]), "accuracy", "lottery", "random", 0.488)
    assert (mean, low, high) == pytest.approx(
        (0.0533333, 0.0533333 - 0.0872404, 0.0533333 + 0.0872404), abs=1e-6
    )
    assert seeds == 3
    swapped = paired_gap(tidy(study()), "accuracy", "random", "lottery", 0.488)
    assert swapped[:3] == pytest.approx((-mean, -high, -low))


def test_a_gap_of_shares_ends_where_shares_do():
    """Differences 0.8 and −0.1: Student's interval at one degree of freedom is 0.35 ± 5.72."""
    rows = [row("dense", 0.0, seed, 0.9) for seed in range(2)]
    for seed, (one, two) in enumerate([(0.9, 0.1), (0.1, 0.2)]):
        rows += [row("lottery", 0.488, seed, one), row("random", 0.488, seed, two)]
    assert paired_gap(tidy(rows), "accuracy", "lottery", "random", 0.488)[:3] == pytest.approx((0.35, -1, 1))


def test_a_gap_counts_common_seeds_and_one_has_no_interval():
    rows = [r for r in study() if (r["pruner"], r["seed"]) != ("lottery", 1)]
    assert paired_gap(tidy(rows), "accuracy", "lottery", "random", 0.488)[0::3] == pytest.approx((0.07, 2))
    rows = [r for r in rows if (r["pruner"], r["seed"]) != ("random", 2)]
    mean, low, high, seeds = paired_gap(tidy(rows), "accuracy", "lottery", "random", 0.488)
    assert mean == pytest.approx(0.05) and math.isnan(low) and math.isnan(high) and seeds == 1
    for pruner, sparsity in (("snip", 0.488), ("lottery", 0.9)):
        with pytest.raises(DataError, match="no seed in common"):
            paired_gap(tidy(study()), "accuracy", pruner, "random", sparsity)


def test_differences_add_the_noise_of_seeds_and_of_images():
    """Welch–Satterthwaite by hand: v1 = .0001/3, v2 = .0004, ν = (v1 + v2)² · 2 / v1² = 338."""
    rows = [row("dense", 0.0, s, 0.9) for s in range(3)]
    rows += [apart(s, d, 0.02) for s, d in enumerate([-0.01, 0.0, 0.01])]
    found = differences(tidy(rows)).iloc[0]
    half = stats.t.ppf(0.975, 338) * math.sqrt(0.0001 / 3 + 0.0004)
    assert found.difference == pytest.approx(0, abs=1e-12) and found.dense == pytest.approx(0.9)
    assert (found.low, found.high) == (pytest.approx(-half), pytest.approx(half)) and found.seeds == 3


def test_differences_without_noise_of_images_are_student_s():
    rows = [row("dense", 0.0, s, 0.9) for s in range(3)] + [
        apart(s, d, None) for s, d in enumerate([0.1, 0.2, 0.3])
    ]
    found = differences(tidy(rows)).iloc[0]
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 2, 0.2, 0.1 / math.sqrt(3)))


def test_differences_of_one_seed_are_those_of_its_images():
    rows = [row("dense", 0.0, 0, 0.9), apart(0, -0.01, 0.002), apart(0, 3.0, None, metric="hessian_top")]
    accuracy, top = differences(tidy(rows)).itertuples()
    assert (accuracy.low, accuracy.high) == pytest.approx(
        (-0.01 - 1.959964 * 0.002, -0.01 + 1.959964 * 0.002)
    )
    assert top.difference == 3.0 and math.isnan(top.low) and math.isnan(top.high)


def test_a_broken_network_of_three_is_no_mean_of_two():
    rows = [apart(s, d, 0.1) for s, d in enumerate([0.1, math.nan, 0.3])]
    found = differences(tidy([row("dense", 0.0, 0, 0.9), *rows])).iloc[0]
    assert math.isnan(found.difference) and math.isnan(found.low) and found.seeds == 3


def test_identical_answers_on_few_images_prove_nothing():
    """Three seeds, each right on the same 20 of 20 images as its dense network: .16 either way, as Newcombe has it."""
    few = {"value": 1.0, "samples": 20}
    rows = [row("dense", 0.0, 0, 1.0)] + [apart(s, 0.0, 0.0) | few for s in range(3)]
    found = differences(tidy(rows)).iloc[0]
    reach = paired_proportions(20, 0, 0, 0).high
    assert (found.difference, found.low, found.high) == pytest.approx((0, -reach, reach))
    many = [r | {"samples": 10_000} if r["pruner"] != "dense" else r for r in rows]
    assert 0 < differences(tidy(many)).high.iloc[0] < 0.001


def test_a_mean_that_no_image_tells_apart_is_not_known_for_certain():
    """Of one network's error and Wilson's limit for none of N images; a single image says nothing at all."""
    rows = [row("dense", 0.0, 0, 0.9, "nll"), apart(0, 0.0, 0.0, "nll")]

    def of(samples):
        return differences(tidy([r | {"samples": samples} for r in rows])).iloc[0]

    unseen = 1.959964**2 / (100 + 1.959964**2)
    assert of(100).high == -of(100).low == pytest.approx(1.959964 * 0.003 * math.sqrt(2 * unseen))
    assert 0 < of(10_000).high < of(100).high / 5
    assert math.isnan(of(1).low) and math.isnan(of(1).high)


@pytest.mark.parametrize(
    "values, errors, bounded",
    [([0.1], [], False), ([0.1], [math.nan], False), ([0.1], [0.02], True), ([0.1, 0.1], [], True),
     ([0.1, math.nan], [0.1, 0.1], False)],
)  # fmt: skip
def test_an_interval_that_the_data_do_not_give_has_no_bounds(values, errors, bounded):
    found = interval(values, errors)
    assert found.size == len(values) and math.isnan(found.low) == math.isnan(found.high) != bounded


@pytest.mark.parametrize("images", [0.0, 1.0])
def test_intervals_over_trainings_cover(images):
    """Three trainings on shared images: the images' error is the same for all of them."""
    random, rounds = np.random.default_rng(0), 2000
    hits = 0
    for _ in range(rounds):
        values = random.normal(images * random.normal(), 1.0, 3)
        found = interval(values, [images] * 3 if images else [])
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / rounds <= 0.97


def test_wilson_by_hand_and_at_the_ends():
    """Ten of 50: (.2 + .0384146 ± 1.959964 √(.0032 + .000384146)) / 1.0768292, as Wilson's formula has it."""
    found = proportion(10, 50)
    half = 1.959964 * math.sqrt(0.16 / 50 + 3.8414588 / 10_000)
    assert found[:3] == pytest.approx((0.2, (0.2384146 - half) / 1.0768292, (0.2384146 + half) / 1.0768292))
    assert found[1:3] == pytest.approx(stats.binomtest(10, 50).proportion_ci(method="wilson"))
    assert proportion(0, 1)[:2] == (0.0, 0.0) and 0.7 < proportion(0, 1).high < 1
    with pytest.raises(SettingError, match="3 of 2"):
        proportion(3, 2)


def test_newcombe_by_hand():
    """Altman et al. (2000), table 6.2: of 41, both 14, only the first 5, neither 22. Wilson's limits of 19/41 and 14/41; φ has
    the numerator 14 · 22 − 0 − 20.5 = 287.5 and the root of 19 · 22 · 14 · 27 below it."""
    phi = 287.5 / math.sqrt(19 * 22 * 14 * 27)
    (low1, high1), (low2, high2) = (
        stats.binomtest(count, 41).proportion_ci(method="wilson") for count in (19, 14)
    )
    a, b = 19 / 41 - low1, high2 - 14 / 41
    c, d = high1 - 19 / 41, 14 / 41 - low2
    low = 5 / 41 - math.sqrt(a * a - 2 * phi * a * b + b * b)
    high = 5 / 41 + math.sqrt(c * c - 2 * phi * c * d + d * d)
    found = paired_proportions(14, 5, 0, 22)
    assert found == pytest.approx((5 / 41, low, high, 41))
    assert 0.0 < low < 0.03 and 0.2 < high < 0.25
    swapped = paired_proportions(14, 0, 5, 22)
    assert swapped[:3] == pytest.approx((-5 / 41, -high, -low))


def test_few_images_never_make_two_networks_equal():
    low, high = proportion(20, 20).low - 1, 1 - proportion(20, 20).low
    assert paired_proportions(20, 0, 0, 0)[:3] == pytest.approx((0.0, low, high))
    for counts in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 30, 0, 0), (10, 0, 0, 10)):
        found = paired_proportions(*counts)
        assert -1 <= found.low <= found.mean <= found.high <= 1 and found.high - found.low > 0.1
    with pytest.raises(SettingError, match="0 or more"):
        paired_proportions(1, -1, 0, 0)


def test_more_agreement_makes_the_interval_narrower():
    agree, apart_ = paired_proportions(45, 5, 5, 45), paired_proportions(25, 25, 25, 25)
    assert agree.high - agree.low < 0.6 * (apart_.high - apart_.low)


@pytest.mark.parametrize(
    "chances, count",
    [((0.85, 0.06, 0.03, 0.06), 100), ((0.5, 0.2, 0.1, 0.2), 40), ((0.9, 0.05, 0.03, 0.02), 1000)],
)
def test_newcombe_covers(chances, count):
    draws = np.random.default_rng(1).multinomial(count, chances, 1500)
    found = [paired_proportions(*(int(n) for n in draw)) for draw in draws]
    hits = np.mean([i.low <= chances[1] - chances[2] <= i.high for i in found])
    assert 0.93 <= hits <= 0.98


def test_moderated_differences_pool_over_tickets():
    """Eight tickets with spreads of .01 or .02 and two degrees of freedom each differ no more than chance explains: all get
    the pooled variance (.0001 + .0004)/2, with 16 / (1 + 7/4) degrees of freedom, since they share their dense networks. A
    ninth whose accuracy is lost has another spread, and is left alone."""
    rows = [row("dense", 0.0, s, 0.9) for s in range(3)]
    for i in range(8):
        sd = 0.01 * (1 + i % 2)
        rows += [apart(s, d, None) | {"sparsity": 0.1 + i / 20} for s, d in enumerate((-sd, 0.0, sd))]
    half = stats.t.ppf(0.975, 16 / (1 + 7 / 4)) * math.sqrt(0.00025 / 3)
    found = differences(tidy(rows), moderated=True)
    assert list(found.high) == pytest.approx([half] * 8)
    assert list(found.prior_sd) == pytest.approx([math.sqrt(0.00025)] * 8)
    assert list(passes(rows).high) == pytest.approx([half] * 8)
    rows += [apart(s, d, None) | {"sparsity": 0.9} for s, d in enumerate((-0.7, -0.6, -0.5))]
    alone = -0.6 + stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert list(passes(rows).high) == pytest.approx([half] * 8 + [alone])


def test_a_table_says_the_same_of_its_tickets_with_its_controls_and_without():
    rows = [row("dense", 0.0, s, 0.9) for s in range(3)]
    for i in range(8):
        rows += [apart(s, (s - 1) * 0.01, None) | {"sparsity": 0.1 + i / 20} for s in range(3)]
    again = [apart(s, (s - 1) * 0.04, None) | {"pruner": "control", "sparsity": 0.0} for s in range(3)]
    both = differences(tidy(rows + again), moderated=True)
    tickets = both[both.pruner != "control"].reset_index(drop=True)
    assert len(both) == 9 and tickets.equals(differences(tidy(rows), moderated=True))


def test_one_seed_has_nothing_to_pool():
    rows = [row("dense", 0.0, 0, 0.9), apart(0, -0.01, 0.002)]
    assert differences(tidy(rows), moderated=True).equals(differences(tidy(rows)))
