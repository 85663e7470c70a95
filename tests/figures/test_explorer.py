import io

import ipywidgets
import matplotlib
import pytest
import torch
from PIL import Image

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.metrics.geometry import Surface
from lotterylib.metrics.interpretability import Explanation

matplotlib.use("Agg")


def shown(pruner="lottery"):
    segments = torch.arange(16).view(4, 4) // 8
    explanation = Explanation(segments, 3, 0.9, torch.tensor([0.2, -0.1]).double(), 0.1, 0.01, 0.5, 0.8)
    bins = {"confidence": [None, 0.5, 0.9], "accuracy": [None, 0.6, 0.8], "count": [0, 10, 30]}
    line = torch.linspace(-1, 1, 3).double()
    surface = Surface(line, 0.1 + line[:, None].square() + line.square())
    radii = {"accuracy": 1.0, "ece": 0.5, "nll": 0.0}
    mask = torch.tensor([[True, False, False, False]])
    return figures.Portrait(pruner, 0.9, mask, bins, explanation, surface, radii)


def frame(pruner="lottery"):
    figure, alt = figures.portrait(shown(pruner), 0.2, (0.1, 2.1))
    return figures.small(figure), alt


def test_a_portrait_says_what_it_shows():
    data, alt = frame()
    # calibration error by hand: (10 · .1 + 30 · .1) / 40
    assert alt.startswith("LTH at 90.0% sparsity: 25% of the layer's weights kept; calibration error 0.100;")
    assert "best of those compared in Test accuracy." in alt
    assert Image.open(io.BytesIO(data)).mode == "P" and len(data) < 60_000


def test_slider_and_switch_are_linked_to_the_frames():
    frames = {p: [frame(p)] * 2 for p in ("lottery", "random")}
    box = figures.explorer(frames, ["50 %", "90 %"])
    (switch, slider), outer = box.children[0].children, box.children[1]
    assert switch.options == (("LTH", 0), ("RP", 1)) and slider.max == 1
    assert [len(stack.children) for stack in outer.children] == [2, 2]
    alts = [html.value for stack in outer.children for html in stack.children]
    assert all('alt="' in text and "data:image/png;base64," in text for text in alts)
    assert "LTH at" in alts[0] and "RP at" in alts[2]


def test_without_stack_the_same_by_interact(monkeypatch):
    asked = {}
    monkeypatch.delattr(ipywidgets, "Stack")
    monkeypatch.setattr(ipywidgets, "interact", lambda f, **controls: asked.update(controls))
    figures.explorer({"lottery": [frame()]}, ["90 %"])
    assert asked["pruner"].options == (("LTH", 0),) and asked["step"].max == 0


@pytest.mark.parametrize("frames", [{}, {"lottery": []}])
def test_frames_that_are_missing_are_named(frames):
    with pytest.raises(DataError, match="want 1 frames"):
        figures.explorer(frames, ["90 %"])
