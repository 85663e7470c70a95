import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba

from lotterylib import figures
from lotterylib.errors import SettingError, UnknownNameError
from lotterylib.metrics.calibration import reliability


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def bins_of(confidence, right):
    p = torch.tensor(confidence, dtype=torch.float64)
    return reliability(torch.stack([p, 1 - p], 1), 1 - torch.tensor(right), bins=5)


@pytest.fixture
def diagram() -> pd.DataFrame:
    """40 images at .9, of which 30 are right, and 40 at .7, of which 32 are."""
    return bins_of([0.9] * 40 + [0.7] * 40, [1] * 30 + [0] * 10 + [1] * 32 + [0] * 8)


def hatched(axis, hatch):
    """(bottom, top) of the bars of a hatch."""
    return [
        pytest.approx((p.get_y(), p.get_y() + p.get_height())) for p in axis.patches if p.get_hatch() == hatch
    ]


def test_gaps_reach_from_accuracy_to_confidence(diagram):
    figure, _ = figures.reliability_diagram({"dense": diagram})
    above, below = figure.axes
    assert hatched(above, "///") == [(0.75, 0.9)]  # says .9, right .75
    assert hatched(above, "\\\\\\") == [(0.7, 0.8)]  # says .7, right .8
    assert [p.get_height() for p in below.patches] == [50, 50]
    assert [t.get_text() for t in above.texts] == ["says 80.0%\nis right 77.5%"]
    assert (above.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == (
        "accuracy (%)",
        "images (%)",
        "confidence (%)",
    )


def test_titles_and_words_give_the_facts(diagram):
    figure, alt = figures.reliability_diagram({"lottery": diagram, "after scaling": diagram})
    titles = [a.get_title(loc="left") for a in figure.axes[::2]]
    assert titles == ["LTH: ECE 0.125", "after scaling: ECE 0.125"]
    assert "LTH: ECE 0.125, mean confidence 80.0%, accuracy 77.5%; too sure in 1 of 2 bins" in alt
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert len(legend) == 4 and "fewer than 20 images" in legend[-1]


def test_accuracy_is_that_of_whole_images_however_a_record_rounds_its_bins():
    """8,855 of 10,000 are right, whichever way the two bins' accuracies were rounded."""
    bins = {"low": [0.0, 0.5], "high": [0.5, 1.0], "count": [3000, 7000], "confidence": [0.4, 0.9]}
    exact = [2171 / 3000, 6684 / 7000]
    for off in (-4e-8, 4e-8):
        held = pd.DataFrame(bins | {"accuracy": [a + off for a in exact]})
        figure, alt = figures.reliability_diagram({"dense": held})
        said = f"{8855 / 10_000:.1%}"
        assert f"accuracy {said};" in alt and f"is right {said}" in figure.axes[0].texts[0].get_text()


def test_bins_of_few_images_are_pale():
    figure, _ = figures.reliability_diagram({"dense": bins_of([0.9] * 20 + [0.7] * 19, [1] * 39)})
    filled = {round(p.get_x(), 6): p.get_facecolor() for p in figure.axes[0].patches}
    assert filled[0.8][3] == 1 and filled[0.6][3] == pytest.approx(0.3)


def test_records_draw_the_same_picture(diagram):
    """A record holds the bins as lists, with None for NaN."""
    plain = {n: [None if v != v else v for v in diagram[n].tolist()] for n in diagram}
    _, alt = figures.reliability_diagram({"dense": diagram})
    _, again = figures.reliability_diagram({"dense": pd.DataFrame(plain)})
    assert again == alt


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_one_or_many_networks(diagram, count):
    figure, alt = figures.reliability_diagram({f"network {i}": diagram for i in range(count)})
    figure.canvas.draw()
    assert len(figure.axes) == 2 * count and alt.count("ECE") == count
    assert figure.get_figwidth() < 9.7


CURVES = {
    "random": {"corrupted": [0.02, 0.03, 0.04, 0.06, 0.08, 0.1], "corrupted-scaled": [0.01] * 6},
    "dense": {"corrupted": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06], "corrupted-scaled": [0.005] * 6},
}


def test_curves_under_shift():
    figure, alt = figures.calibration_under_shift(CURVES, "nll")
    before, after = figure.axes
    assert [line.get_label() for line in before.lines] == ["Dense", "RP"]  # the order of every legend
    assert list(before.lines[1].get_ydata()) == CURVES["random"]["corrupted"]
    assert list(after.lines[0].get_ydata()) == CURVES["dense"]["corrupted-scaled"]
    assert before.lines[1].get_color() == figures.look("random").colour
    assert to_rgba(before.lines[0].get_color()) == (0, 0, 0, 1) and before.lines[0].get_linestyle() == "-."
    assert before.get_ylabel() == "NLL (nats) ↓" and "severity" in after.get_xlabel()
    assert [t.get_text() for t in before.get_xticklabels()] == ["clean", "1", "2", "3", "4", "5"]
    assert (
        "RP from 0.02 (clean) to 0.1 (severity 5), with scaling from 0.01 to 0.01" in alt and "lower" in alt
    )


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(SettingError, match="no reliability diagrams"):
        figures.reliability_diagram({})
    with pytest.raises(SettingError, match="no curves"):
        figures.calibration_under_shift({})
    with pytest.raises(UnknownNameError):
        figures.calibration_under_shift(CURVES, "nnl")
