import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lotterylib import figures
from lotterylib.metrics.generalization import ood_auroc


@pytest.fixture(autouse=True)
def close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before, "the caller's settings were touched"


def words(figure):
    """All text of a figure: titles, labels, ticks, legends."""
    figure.canvas.draw()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def scores(shift=0.0):
    return {
        "own test images": torch.linspace(0.5, 1, 50) - shift,
        "near": torch.linspace(0.3, 0.9, 40),
        "noise": torch.linspace(0.2, 0.6, 30),
    }


@pytest.mark.parametrize("networks", [["dense"], ["dense", "lottery", "random"]])
def test_score_histograms(networks):
    found = {name: scores(0.05 * i) for i, name in enumerate(networks)}
    figure, alt = figures.score_histograms(found)
    assert len(figure.axes) == len(networks) and figure.get_size_inches()[0] <= 9.6
    for axis, name in zip(figure.axes, networks, strict=True):
        area = ood_auroc(found[name]["own test images"], found[name]["near"])
        assert figures.look(name).label in axis.get_title(loc="left")
        assert f"near {area:.3f}" in axis.get_title(loc="left") and f"near {area:.3f}" in alt
        heights = sum(p.get_height() for p in axis.patches if isinstance(p, matplotlib.patches.Rectangle))
        assert heights == pytest.approx(100)  # the share of images, whatever their number
    assert "images (%)" in words(figure) and "own test images" in words(figure) and "↑" in words(figure)


def test_more_outside_sets_than_strokes():
    many = {f"set {i}": torch.rand(10) for i in range(7)}
    figure, alt = figures.score_histograms({"dense": many})
    assert "set 6" in alt and "set 6" in words(figure)


def test_attack_curves():
    curves = {
        "dense": {"FGSM": [0.9, 0.5, 0.2], "PGD": [0.9, 0.3, 0.0]},
        "lottery": {"FGSM": [0.88, 0.4, 0.1], "PGD": [0.88, 0.2, 0.01]},
    }
    figure, alt = figures.attack_curves(curves, [0, 4, 16])
    [axis] = figure.axes
    drawn = {(ln.get_color(), ln.get_linestyle()): list(ln.get_ydata()) for ln in axis.lines}
    assert drawn[figures.look("dense").colour, "-"] == pytest.approx([90, 50, 20])
    assert drawn[figures.look("lottery").colour, "--"] == pytest.approx([88, 20, 1])
    markers = {ln.get_color(): ln.get_marker() for ln in axis.lines}
    assert markers == {figures.look(n).colour: figures.look(n).marker for n in curves}
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "4", "16"]
    assert {"Dense", "LTH", "FGSM", "PGD"} <= {t.get_text() for t in axis.get_legend().get_texts()}
    assert "LTH under PGD from 88.0% to 1.0%" in alt and "0/255 to 16/255" in alt
    assert "ε" in words(figure) and "accuracy (%) ↑" in words(figure)


@pytest.mark.parametrize("channels, count", [(1, 1), (3, 6)])
def test_adversarial_examples(channels, count):
    images = torch.full((count, channels, 8, 8), 0.5)
    moved = images.clone()
    moved[..., 0, 0] += 8 / 255
    moved[..., 1, 1] -= 4 / 255
    figure, alt = figures.adversarial_examples(images, moved, ["Shirt"] * count, ["Coat"] * count)
    assert len(figure.axes) == 3 * count and figure.get_size_inches()[0] <= 9.6
    change = np.asarray(figure.axes[count].images[0].get_array())
    assert change.reshape(8, 8, -1)[0, 0] == pytest.approx([1.0] * channels)
    assert change.reshape(8, 8, -1)[1, 1] == pytest.approx([0.25] * channels)
    assert change.reshape(8, 8, -1)[2, 2] == pytest.approx([0.5] * channels)
    # the key holds in a dark page too, which turns all but photographs to negatives
    assert "white + 8/255\nblack − 8/255" in words(figure)
    assert channels == 3 or {i.get_cmap().name for axis in figure.axes for i in axis.images} == {"gray"}
    assert "Shirt becomes Coat" in alt and "8/255" in alt


def test_adversarial_examples_without_a_change():
    images = torch.rand(2, 1, 8, 8)
    figure, _ = figures.adversarial_examples(images, images, ["a", "b"], ["a", "b"])
    assert (np.asarray(figure.axes[2].images[0].get_array()) == 0.5).all()


@pytest.mark.parametrize("pruners", [["lottery"], ["lottery", "random", "small-dense", "a reader's own"]])
def test_recall_changes(pruners):
    changes = {p: {"Shirt": -0.2, "Bag": 0.05, "Coat": None} for p in pruners}
    errors = {p: {"Shirt": 0.01, "Bag": 0.02} for p in pruners}
    figure, alt = figures.recall_changes(changes, errors)
    [axis] = figure.axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["Shirt", "Bag", "Coat"]
    marks = [ln for ln in axis.lines if ln.get_marker() not in ("", "None", None)]
    assert len(marks) == len(pruners)
    for line in marks:
        assert list(line.get_xdata()) == pytest.approx([-20, 5])  # a class without a change has no mark
        assert [round(y) for y in line.get_ydata()] == [0, 1]
    ends = axis.collections[0].get_segments()[0][:, 0]
    assert list(ends) == pytest.approx([-20 - 1.959964, -20 + 1.959964])
    assert "between -20.0 (Shirt) and +5.0 (Bag)" in alt
    assert axis.get_xlabel().endswith("(percentage points) →")
    given = {p: {"Shirt": (-0.3, -0.05), "Bag": (0.0, 0.15)} for p in pruners}
    [axis] = figures.recall_changes(changes, given)[0].axes
    assert [list(s[:, 0]) for s in axis.collections[0].get_segments()] == [[-30, -5], [0, 15]]


def test_an_interval_of_recall_that_leaves_the_frame_has_an_open_head():
    changes = {"random": {"Shirt": -0.04, "Bag": -0.01}}
    wide = {"random": {"Shirt": (-0.3, 0.02), "Bag": (-0.02, 0.0)}}
    [axis] = figures.recall_changes(changes, wide)[0].axes
    heads = [ln for ln in axis.lines if ln.get_marker() == "<"]
    assert [(ln.get_markerfacecolor(), ln.get_xdata()[0]) for ln in heads] == [("white", axis.get_xlim()[0])]
