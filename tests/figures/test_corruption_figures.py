import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lotterylib import figures
from lotterylib.datasets import CORRUPTIONS, corrupt
from lotterylib.errors import DataError, UnknownNameError


@pytest.fixture(autouse=True)
def close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before, "the caller's settings were touched"


def picture(channels=1):
    return torch.rand(channels, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tile_for_each_corruption(channels):
    image = picture(channels)
    figure, alt = figures.corruption_grid(image, severities=[2])
    drawn = [axis for axis in figure.axes if axis.images]
    titles = [axis.get_title() for axis in drawn]
    assert titles[0] == "as it is" and titles[1] == "Gaussian noise" and titles[-1] == "JPEG compression"
    assert len(drawn) == 16
    shown = drawn[10].images[0].get_array().data
    expected = corrupt(image, CORRUPTIONS[9], 2).movedim(0, -1).squeeze(-1).numpy()
    assert np.array_equal(shown, expected)
    assert "under 15 corruptions at severity 2" in alt and "fog 0." in alt and figure.get_figwidth() <= 9.6


def test_a_row_for_each_corruption_over_severities():
    image = picture()
    figure, alt = figures.corruption_grid(image, range(1, 6), ["fog", "contrast"], scale="imagenet-c")
    assert len(figure.axes) == 12
    assert [a.get_title() for a in figure.axes[:6]] == ["as it is", *(f"severity {s}" for s in range(1, 6))]
    assert figure.axes[6].get_ylabel() == "contrast"
    shown = figure.axes[8].images[0].get_array().data
    assert np.array_equal(shown, corrupt(image, "contrast", 2, scale="imagenet-c")[0].numpy())
    assert "severity 1, 2, 3, 4, 5" in alt


def test_fewer_tiles_than_places_and_unknown_names():
    figure, _ = figures.corruption_grid(picture(), corruptions=["fog", "snow"])
    assert sum(bool(axis.images) for axis in figure.axes) == 3
    with pytest.raises(UnknownNameError):
        figures.corruption_grid(picture(), corruptions=["fogg"])


CELLS = {
    "dense": {"fog": [0.9, 0.7, 0.104], "jpeg_compression": [0.95, 0.9, 0.8]},
    "lottery": {"fog": [0.8, 0.5, 0.1], "jpeg_compression": [0.9, 0.9, 0.7]},
}


def test_the_heatmap_writes_its_numbers():
    figure, alt = figures.corruption_heatmap(CELLS, floor=0.1)
    left, right = figure.axes
    assert [t.get_text() for t in left.texts] == ["90", "70", "10", "95", "90", "80"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["fog", "JPEG compression"]
    assert [t.get_text() for t in left.get_xticklabels()] == ["1", "2", "3"]
    assert left.get_title(loc="left") == "Dense: mean 72.6%" and right.get_title(loc="left").startswith("LTH")
    assert len(left.lines) == 0 and len(right.lines) == 1  # one cell at the floor
    assert "Dense: 72.6% on average, 92.5% at severity 1 and 45.2% at the last" in alt
    assert "JPEG compression leaves 70.0% and fog 10.0%" in alt
    assert "1 of 6 squares are at or below 10.0%" in alt
    assert figure.get_figwidth() <= 9.6


def test_one_network_and_no_floor():
    figure, alt = figures.corruption_heatmap({"dense": CELLS["dense"]})
    assert len(figure.axes) == 1 and "cells" not in alt


@pytest.mark.parametrize("other", [{"fog": [0.9, 0.7, 0.1]}, {"fog": [0.9, 0.7], "jpeg_compression": [0.9, 0.9, 0.7]}])  # fmt: skip
def test_tables_that_do_not_fit_are_refused(other):
    with pytest.raises(DataError, match="mine: want the corruptions fog, jpeg_compression"):
        figures.corruption_heatmap({"dense": CELLS["dense"], "mine": other})
