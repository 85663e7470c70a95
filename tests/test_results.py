import pytest

from lotterylib.errors import DataError
from lotterylib.results import COLUMNS, tidy


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


def apart(seed, difference, error, metric="accuracy"):
    return row("lottery", 0.488, seed, 0.9 + difference, metric) | {
        "difference": {"value": difference, "error": error}
    }


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
