import pytest

from lotterylib.errors import DataError, SettingError
from lotterylib.results import tidy
from lotterylib.verdict import Region, region
from lotterylib.verdict.regions import regions
from tests.test_results import row, study


@pytest.mark.parametrize(
    "accuracy, dense, chance, expected",
    [
        (0.95, 0.90, 0.1, Region.I),  # better than dense
        (0.90, 0.90, 0.1, Region.I),
        (0.89, 0.90, 0.1, Region.I),  # exactly one point below still wins
        (0.8899, 0.90, 0.1, Region.II),
        (0.80, 0.90, 0.1, Region.II),  # ten points are not one point
        (0.50, 0.90, 0.1, Region.II),  # exactly half of what dense gains over chance
        (0.4999, 0.90, 0.1, Region.III),
        (0.10, 0.90, 0.1, Region.III),
        (0.05, 0.90, 0.1, Region.III),  # below chance
        (0.46, 0.90, 0.01, Region.II),  # a hundred classes: half of the gain is lower
        (0.105, 0.11, 0.1, Region.I),  # dense itself is at chance: within one point all the same
        (1.0, 1.0, 0.5, Region.I),
        (0.0, 0.0, 0.1, Region.I),
    ],
)
def test_regions_by_hand(accuracy, dense, chance, expected):
    assert region(accuracy, dense, chance) is expected


@pytest.mark.parametrize("percent", range(2, 101))
def test_one_point_below_wins_whatever_the_last_bit_says(percent):
    assert region((percent - 1) / 100, percent / 100, 0.01) is Region.I


@pytest.mark.parametrize("wrong", [(89.0, 0.9, 0.1), (0.89, 90, 0.1), (0.89, 0.9, 10), (-0.1, 0.9, 0.1), (float("nan"), 0.9, 0.1)])  # fmt: skip
def test_percentages_and_nan_are_refused(wrong):
    with pytest.raises(SettingError, match=r"fraction in \[0, 1\]"):
        region(*wrong)


def test_regions_read_as_the_paper_writes_them():
    assert [str(r) for r in Region] == ["Region I", "Region II", "Region III"]


def test_regions_are_by_the_mean_over_seeds():
    """Random pruning is 5.3 points below dense in the mean; the ticket equals it though one seed is worse."""
    found = regions(tidy(study())).set_index(["pruner", "sparsity"]).region
    assert found.to_dict() == {
        ("dense", 0.0): Region.I,
        ("lottery", 0.488): Region.I,
        ("random", 0.488): Region.II,
        ("random", 0.982): Region.III,
    }


def test_models_are_kept_apart():
    rows = study() + [
        row(p, s, 0, v, model="lenet") for p, s, v in [("dense", 0.0, 0.5), ("random", 0.488, 0.5)]
    ]
    found = regions(tidy(rows)).set_index(["model", "pruner", "sparsity"]).region
    assert found["lenet", "random", 0.488] == Region.I and found["resnet8", "random", 0.488] == Region.II


def test_regions_need_the_dense_network():
    with pytest.raises(DataError, match="no accuracy of the dense resnet8 on fashion-mini"):
        regions(tidy([r for r in study() if r["pruner"] != "dense"]))
