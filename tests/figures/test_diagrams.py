"""The drawings that explain: each has words that can be read on a phone, none upon another, and an alt text."""

import base64
import inspect
import io
import re
from itertools import combinations

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget_link import Link
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from PIL import Image

from lotterylib import models, pruners
from lotterylib.errors import SettingError
from lotterylib.figures import diagrams, frames, look
from lotterylib.figures.diagrams.parts import INK, weight_grid
from lotterylib.figures.style import _in_the_dark, contrast, ink_on
from lotterylib.pruners import channels

matplotlib.use("Agg")
OTHERS = {"bowls pixels": lambda: diagrams.bowls("pixels"), "bowls noise": lambda: diagrams.bowls("noise"),
          "chance": lambda: diagrams.drop_and_grow("chance"), "round 5": lambda: diagrams.lottery_round(5)}  # fmt: skip
DRAWN = {name: getattr(diagrams, name) for name in diagrams.__all__} | OTHERS


@pytest.fixture(scope="module")
def drawn():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"figure.max_open_warning": 0}):
        found = {name: draw() for name, draw in DRAWN.items()}
    assert dict(matplotlib.rcParams) == before, "the caller's settings were touched"
    for figure, _ in found.values():
        figure.draw_without_rendering()
    plt.close("all")
    return found


def words(figure):
    """The texts of a figure that are seen, with their places in pixels."""
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    # without the arrow of an annotation
    return [(t, Text.get_window_extent(t)) for t in texts]


@pytest.mark.parametrize("name", DRAWN)
def test_words_can_be_read_on_a_phone(drawn, name):
    """A column of 345 pixels, as on a phone, shows five inches; ten points are 9.6 of its pixels then."""
    figure, _ = drawn[name]
    across, _ = figure.get_size_inches()
    assert across <= 5
    assert words(figure) and min(t.get_fontsize() for t, _ in words(figure)) >= 10


@pytest.mark.parametrize("name", DRAWN)
def test_no_word_lies_on_another_or_outside(drawn, name):
    figure, _ = drawn[name]
    for text, place in words(figure):
        inside = place.x0 >= -1 and place.y0 >= -1 and place.x1 <= figure.bbox.x1 + 1
        assert inside and place.y1 <= figure.bbox.y1 + 1, text.get_text()
    for (one, a), (two, b) in combinations(words(figure), 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 1 or up < 2, f"{one.get_text()!r} lies on {two.get_text()!r}"


@pytest.mark.parametrize("name", DRAWN)
def test_the_alt_text_tells_the_picture(drawn, name):
    _, alt = drawn[name]
    assert 15 <= len(alt.split()) <= 110 and alt.endswith(".")


def test_every_drawing_has_one_of_its_own(drawn):
    assert len({alt for _, alt in drawn.values()}) == len(drawn)
    assert set(diagrams.__all__) == {
        n for n, _ in inspect.getmembers(diagrams, inspect.isfunction) if not n.startswith("_")
    }


def test_a_mask_keeps_the_larger_half():
    figure, alt = diagrams.mask_grid()
    told = [t.get_text() for t, _ in words(figure)]
    # sixteen bits, and eight zeros of the product
    assert told.count("0") == 8 + 8 and told.count("1") == 8
    plt.close(figure)


def test_numbers_on_blue_can_be_read_in_light_and_dark():
    figure, _ = diagrams.mask_grid()
    cells = [c for c in figure.axes[0].patches if c.get_width() == pytest.approx(0.36)]
    assert len(cells) == 3 * 16
    for cell, number in zip(cells, figure.axes[0].texts, strict=False):
        face, ink = (np.array(to_rgb(c)) for c in (cell.get_facecolor(), number.get_color()))
        assert contrast(face, ink) >= 4.5 and contrast(_in_the_dark(face), _in_the_dark(ink)) >= 4.5
    plt.close(figure)


def test_ink_is_what_can_be_read_on_both_pages():
    """On mid blue white is faint in the light, on full blue black is in the dark."""
    assert [ink_on(face) for face in ("white", "#66AAD1", "#0072B2", "black")] == [
        "black",
        "black",
        "white",
        "white",
    ]


@pytest.mark.parametrize("number, before, after", [(1, 36, 29), (2, 29, 23), (5, 15, 12)])
def test_a_round_takes_a_fifth_of_what_is_left(number, before, after):
    assert (before, after) == (round(0.8 ** (number - 1) * 36), round(0.8**number * 36))
    figure, alt = diagrams.lottery_round(number)
    assert f"{before} → {after} of 36 weights" in [t.get_text().partition(": ")[2] for t, _ in words(figure)]
    assert (
        f"The {before - after if before - after > 1 else 'one'}" in alt
        or f"the {before - after} smallest" in alt.lower()
    )
    plt.close(figure)


def test_the_next_round_prunes_what_was_trained_again():
    figure, alt = diagrams.lottery_round()
    titles = {t.get_text()[3:]: t.get_position() for t, _ in words(figure) if t.get_text()[:1].isdigit()}
    lines = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    # from a title to the nearest end: which frame each arrow leaves, and which it reaches
    ways = [
        [min(titles, key=lambda t: np.hypot(*(np.array(titles[t]) - [0, 1] - end))) for end in p._posA_posB]
        for p in lines
    ]
    assert (
        ["train again", "prune"] in ways
        and ["train again", "train"] not in ways
        and "the next round prunes them" in alt
    )
    plt.close(figure)


def test_the_staircase_counts_what_is_gone():
    figure, alt = diagrams.staircase()
    told = [t.get_text() for t, _ in words(figure)]
    # the rounds and sparsities that the page on sparsity names
    assert {"0", "20", "36", "79", "96"} <= set(told) and "14" in told
    assert "after 2 rounds 36% are gone; after 7 rounds 79% are gone; after 14 rounds 96% are gone" in alt
    plt.close(figure)


def test_the_time_line_asks_the_pruners():
    figure, alt = diagrams.timeline()
    told = {t.get_text() for t, _ in words(figure)}
    assert {look(name).label for name in pruners.names()} <= told
    assert "SNIP: before training;" in alt and "RigL: before training, and again and again during it" in alt
    assert "Gradual: again and again during training" in alt
    # the lefts of the triangles, by the height of their strip
    decided = {}
    for line in figure.axes[0].lines:
        if line.get_marker() == "v":
            decided.setdefault(round(line.get_ydata()[0] - 0.02, 2), []).append(line.get_xdata()[0])
    rows = {t.get_text(): round(t.get_position()[1], 2) for t, _ in words(figure) if t.get_ha() == "right"}
    # gradual pruning takes half of what goes at its first update, as its own page draws it, and less at each later one
    strips = [p.get_bbox() for p in figure.axes[0].patches]
    mine = [b for b in strips if abs((b.y0 + b.y1) / 2 - rows["Gradual"]) < 0.02]
    heights = [b.height for b in sorted(mine, key=lambda b: b.x0)]
    steps = -np.diff(heights)
    assert (np.diff(steps[steps > 1e-9]) < 0).all() and steps[0] > (heights[0] - heights[-1]) * 0.45
    begin = min(decided[rows["SNIP"]])
    assert min(decided[rows["RigL"]]) == min(decided[rows["SET"]]) == begin < min(decided[rows["Gradual"]])
    assert "OMP: after a dense training" in alt and "LTH: after each of many trainings" in alt
    plt.close(figure)


def test_a_channel_goes_from_all_that_write_or_read_it():
    """As the library groups it: the first layer and conv 2 write it, conv 1 and the next block read it."""
    network = models.build("resnet8", classes=10, channels=1, size=32)
    units, _ = channels.find_units(network, (1, 32, 32))
    names = [{name for name, _ in unit.places} for unit in units]
    together = next(found for found in names if "net.stem.0.weight" in found)
    convolutions = {"net.stem.0", "net.stages.0.conv2", "net.stages.0.conv1", "net.stages.1.conv1"}
    assert {f"{name}.weight" for name in convolutions} <= together
    figure, alt = diagrams.coupled_channels()
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hatched) == len(convolutions) and "all four" in alt
    plt.close(figure)


def test_every_triangle_of_gradual_pruning_stands_on_its_step():
    figure, _ = diagrams.gradually()
    axis = figure.axes[1]
    marks = next(line for line in axis.lines if line.get_marker() == "v")
    left = next(line for line in axis.lines if line.get_marker() == "None")
    heights = dict(zip(left.get_xdata()[1:], left.get_ydata(), strict=False))
    above = [y - heights[x] for x, y in zip(*marks.get_data(), strict=True)]
    assert above == pytest.approx([0.035] * len(above))
    plt.close(figure)


def test_the_annotated_sweep_draws_what_the_page_describes():
    """An arrow with a number, an open head, the paper's dots; and "dashed" points to a dash."""
    figure, _ = diagrams.annotated_sweep()
    words, curves = figure.axes
    told = {t.get_text().partition(":")[0]: t for t in words.texts}
    assert {"arrow", "open head", "small dots", "dashed", "dotted", "grey"} <= set(told)
    assert "10" in {t.get_text() for t in curves.texts}
    assert {r"$\downarrow$", "v"} <= {line.get_marker() for line in curves.lines}
    (dashed,) = (line for line in curves.lines if line.get_linestyle() == "--")
    ends = dashed.get_transform().transform(dashed.get_xydata())
    at = words.transData.transform(told["dashed"].xy)
    way = (at - ends[0]) @ (ends[1] - ends[0]) / np.sum((ends[1] - ends[0]) ** 2)
    assert 0 < way < 1 and np.hypot(*(ends[0] + way * (ends[1] - ends[0]) - at)) < 2
    plt.close(figure)


def test_a_sleeve_is_one_sleeve_and_hidden_parts_are_hatched():
    figure, _ = diagrams.lime_fit()
    told = [t.get_text() for t, _ in words(figure)]
    assert "each sleeve" in told and any("(hatched)" in t for t in told)
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    # of five versions: none, the body, a sleeve, the collar, and the body with the collar
    assert len(hatched) == 0 + 1 + 1 + 1 + 2
    plt.close(figure)


def test_as_much_flows_through_each_layer():
    """The widths of the pipes of each of the three layers add up to the same."""
    figure, _ = diagrams.flow()
    widths = {}
    for line in figure.axes[0].lines:
        if len(line.get_xdata()) == 2 and line.get_linestyle() == "-":
            widths.setdefault(line.get_xdata()[0], []).append(line.get_linewidth() - 0.4)
    assert [len(w) for w in widths.values()] == [12, 6, 6]
    assert [sum(w) for w in widths.values()] == pytest.approx([28.0] * 3)
    plt.close(figure)


@pytest.mark.parametrize("by", ["gradient", "chance"])
def test_as_many_grow_as_drop(by):
    figure, _ = diagrams.drop_and_grow(by)
    drawn = [ln for ln in figure.axes[0].lines if len(ln.get_xdata()) == 2]
    frames = [[ln for ln in drawn if left <= ln.get_xdata()[0] < left + 1.5] for left in (0, 1.75, 3.4)]
    assert [len(f) for f in frames] == [6, 6, 6]
    plt.close(figure)


def test_what_they_cannot_draw_is_refused():
    with pytest.raises(SettingError, match="by must be one of gradient, chance"):
        diagrams.drop_and_grow("magic")
    with pytest.raises(SettingError, match="of must be one of weights, pixels, noise"):
        diagrams.bowls("logits")


def test_removed_weights_are_white_in_a_grid():
    figure, axis = plt.subplots()
    kept = np.array([[True, False]])
    weight_grid(axis, 0, 0, np.array([[1.0, 1.0]]), 1.0, kept)
    blue, white = (torch.tensor(p.get_facecolor()) for p in axis.patches)
    assert white.tolist() == [1, 1, 1, 1] and blue[0] < 0.1
    plt.close(figure)


# --- sliders


def test_a_slider_shows_the_picture_of_its_step():
    box = frames({f"round {n}": diagrams.lottery_round(n) for n in (1, 2, 3)}, "round")
    slider, stack = box.children
    assert list(slider.options) == ["round 1", "round 2", "round 3"]
    assert ["Round 1:" in p.value for p in stack.children] == [True, False, False]
    assert all(part.layout.margin == "2px auto" for part in (slider, *stack.children)), "not in the middle"
    picture = re.search(r"base64,([^\"]+)", stack.children[1].value)[1]
    drawn = np.array(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")).reshape(-1, 3)
    # letters have the colour of ink, a grey: a palette of few colours makes it brown
    near = np.abs(drawn - 255 * to_rgba_array(INK)[0, :3]).max(1) <= 8
    assert near.sum() > 500 and (np.ptp(drawn[near], axis=1) == 0).all()
    links = [w for w in ipywidgets.Widget.widgets.values() if isinstance(w, Link)]
    assert ((slider, "index"), (stack, "selected_index")) in [(w.source, w.target) for w in links]


def test_a_slider_without_stack_is_moved_by_the_kernel(monkeypatch):
    monkeypatch.delattr(ipywidgets, "Stack")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda html, **_: shown.append(html.data))
    moved = frames({"a": diagrams.mask_grid(), "b": diagrams.flow()}, "picture")
    moved.children[0].value = "b"
    moved.update()
    assert "A network of three layers" in shown[-1]


def test_one_picture_is_no_slider():
    with pytest.raises(SettingError, match="two pictures or more, got 1"):
        frames({"a": diagrams.mask_grid()}, "picture")
    plt.close("all")
