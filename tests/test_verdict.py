import pytest

from lotterylib.errors import SettingError
from lotterylib.verdict import Region, region


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
