import math

import numpy as np
import pytest
from scipy import stats

from lotterylib.errors import DataError
from lotterylib.results import COLUMNS, differences, over_seeds, paired_gap, regions, tidy
from lotterylib.verdict import Region


def row(pruner, sparsity, seed, value, metric="accuracy", model="resnet8"):
    return dict(
        id="x", dataset="fashion-mini", model=model, pruner=pruner, sparsity=sparsity, seed=seed, metric=metric,
        value=value, error=0.003, samples=10_000, chance=0.1, revision="abc", settings={},
    )  # fmt: skip


DENSE = [0.90, 0.91, 0.92]
LOTTERY = [0.90, 0.90, 0.93]
RANDOM = [0.85, 0.88, 0.84]


def study():
    rows = []
    for seed in range(3):
        rows += [
            row("lottery", 0.488, seed, LOTTERY[seed]),
            row("random", 0.488, seed, RANDOM[seed]),
            row("dense", 0.0, seed, DENSE[seed]),
            row("random", 0.982, seed, 0.2),
        ]
    return rows


def test_tidy_is_one_sorted_row_a_record():
    table = tidy(iter(study()))
    assert list(table.columns) == COLUMNS and len(table) == 12
    assert list(table.pruner[:3]) == ["dense"] * 3 and list(table.seed[:3]) == [0, 1, 2]
    assert table.equals(tidy(reversed(study())))
    random = table[table.pruner == "random"]
    assert list(random.sparsity) == [0.488] * 3 + [0.982] * 3


def test_a_variant_is_a_row_of_its_own():
    record = row("dense", 0.0, 0, 0.02, metric="ece") | {
        "variants": {"corrupted": {"value": 0.2, "error": 0.01, "samples": 1_000}}
    }
    clean, corrupted = tidy([record]).to_dict("records")
    assert (clean["metric"], clean["value"], clean["samples"]) == ("ece", 0.02, 10_000)
    assert (corrupted["metric"], corrupted["value"], corrupted["error"]) == ("ece:corrupted", 0.2, 0.01)
    assert corrupted["samples"] == 1_000 and corrupted["chance"] == 0.1


def test_no_records_are_an_error_not_an_empty_figure():
    with pytest.raises(DataError, match="lottery run"):
        tidy([])


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


def test_regions_are_by_the_mean_over_seeds():
    """Random pruning is 5.3 points below dense in the mean; the ticket equals it though one seed is worse."""
    found = regions(tidy(study())).set_index(["pruner", "sparsity"]).region
    assert found.to_dict() == {
        ("dense", 0.0): Region.I,
        ("lottery", 0.488): Region.I,
        ("random", 0.488): Region.II,
        ("random", 0.982): Region.III,
    }


def test_another_metric_carries_the_regions_of_accuracy():
    rows = study() + [row("random", 0.982, s, 0.99, metric="ece") for s in range(3)]
    table = over_seeds(tidy(rows), "ece")
    assert list(table.region) == [Region.III] and table.value[0] == pytest.approx(0.99)


def test_models_are_kept_apart():
    rows = study() + [
        row(p, s, 0, v, model="lenet") for p, s, v in [("dense", 0.0, 0.5), ("random", 0.488, 0.5)]
    ]
    found = regions(tidy(rows)).set_index(["model", "pruner", "sparsity"]).region
    assert found["lenet", "random", 0.488] == Region.I and found["resnet8", "random", 0.488] == Region.II


def test_regions_need_the_dense_network():
    with pytest.raises(DataError, match="no accuracy of the dense resnet8 on fashion-mini"):
        regions(tidy([r for r in study() if r["pruner"] != "dense"]))


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


def test_a_gap_counts_common_seeds_and_of_one_nothing_bounds_it():
    rows = [r for r in study() if (r["pruner"], r["seed"]) != ("lottery", 1)]
    assert paired_gap(tidy(rows), "accuracy", "lottery", "random", 0.488)[0::3] == pytest.approx((0.07, 2))
    rows = [r for r in rows if (r["pruner"], r["seed"]) != ("random", 2)]
    mean, *interval = paired_gap(tidy(rows), "accuracy", "lottery", "random", 0.488)
    assert mean == pytest.approx(0.05) and interval == [-math.inf, math.inf, 1]
    for pruner, sparsity in (("snip", 0.488), ("lottery", 0.9)):
        with pytest.raises(DataError, match="no seed in common"):
            paired_gap(tidy(study()), "accuracy", pruner, "random", sparsity)


def apart(seed, difference, error, metric="accuracy"):
    return row("lottery", 0.488, seed, 0.9 + difference, metric) | {
        "difference": {"value": difference, "error": error}
    }


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


def test_identical_networks_differ_by_nothing():
    rows = [row("dense", 0.0, 0, 0.9)] + [apart(s, 0.0, 0.0) for s in range(3)]
    found = differences(tidy(rows)).iloc[0]
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_variants_have_differences_of_their_own():
    part = {"value": 0.2, "error": 0.01, "samples": 1_000, "difference": {"value": 0.05, "error": 0.002}}
    record = apart(0, 0.01, 0.004, metric="ece") | {"variants": {"corrupted": part}}
    clean, corrupted = tidy([record]).to_dict("records")
    assert (clean["difference"], clean["difference_error"]) == (0.01, 0.004)
    assert (corrupted["metric"], corrupted["difference"], corrupted["difference_error"]) == (
        "ece:corrupted",
        0.05,
        0.002,
    )
