import base64
import io
import math
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from lotterylib import masks, models
from lotterylib.errors import SettingError
from lotterylib.figures import explorer, notebook
from lotterylib.metrics import geometry, interpretability
from lotterylib.metrics.calibration import reliability

matplotlib.use("Agg")
LAYER = "net.stages.0.conv1.weight"
PLACES = pd.DataFrame(
    {"accuracy": [1.0, 0.5, 0.0], "ece": [0.2, 1.0, 0.0], "nll": [1.0, 0.0, 0.3]},
    index=["dense", "random", "lottery"],
)


@pytest.fixture(scope="module")
def views():
    """A dense network and two tickets of each of two pruners, all of them untrained."""
    model = models.build("resnet8", 10, 1, 0.25, 28, seed=0, stem_stride=2).eval()
    whole = masks.Mask.ones(model)
    dice = torch.Generator().manual_seed(0)
    image, batch = (
        torch.rand(1, 28, 28, generator=dice),
        (torch.rand(4, 1, 28, 28, generator=dice), torch.arange(4)),
    )
    probabilities = torch.rand(50, 10, generator=dice).softmax(1)
    bins = reliability(probabilities, torch.zeros(50, dtype=torch.int64))
    ece = {
        "extra": {"reliability": {"before": bins.astype(object).where(bins.notna(), None).to_dict("list")}}
    }

    def look(pruner, sparsity):
        mask = masks.Mask.top(
            {n: torch.rand(t.shape, generator=dice) for n, t in whole.items()}, 1 - sparsity
        )
        return explorer.View(
            pruner,
            sparsity,
            0.5,
            explorer.kept_share(mask[LAYER], whole[LAYER].shape),
            explorer.recorded_bins(ece),
            image,
            interpretability.explain(model, image, samples=80),
            geometry.loss_surface(model, *batch, mask, points=3, span=0.5),
            PLACES.loc[list(dict.fromkeys(["dense", pruner]))],
        )

    return look("dense", 0.0), {p: [look(p, s) for s in (0.5, 0.9)] for p in ("random", "lottery")}


def test_a_view_holds_what_it_says(views):
    dense, tickets = views
    seen = tickets["lottery"][1]
    assert (seen.pruner, seen.sparsity, seen.accuracy) == ("lottery", 0.9, 0.5)
    assert seen.title == "LTH, 90% removed" and dense.title == "Dense"
    assert list(seen.places.index) == ["dense", "lottery"] and list(dense.places.index) == ["dense"]
    assert seen.surface.losses.shape == (3, 3) and seen.bins["count"].sum() == 50


def test_shares_of_kernels_by_hand():
    mask = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    mask[0, 0, 0] = True  # two of four
    found = explorer.kept_share(mask, (3, 2, 2, 2))
    expected = [[0.5, math.nan], [0.0, math.nan], [math.nan, math.nan]]
    np.testing.assert_array_equal(found.numpy(), expected)
    linear = explorer.kept_share(torch.tensor([[True, False]]), (1, 2))
    assert linear.tolist() == [[1.0, 0.0]]


def test_frames_share_their_scales(views):
    dense, tickets = views
    every = [dense, *tickets["random"], *tickets["lottery"]]
    scales = explorer.Scales.of(every)
    assert scales.loss[0] == min(v.surface.losses.min() for v in every)
    assert scales.effect == max(v.explanation.coefficients.abs().max() for v in every)
    with pytest.raises(SettingError, match="no networks"):
        explorer.Scales.of([])


def test_a_frame_says_in_words_what_it_shows(views):
    dense, tickets = views
    seen = tickets["random"][0]
    figure, alt = explorer.frame(seen, explorer.Scales.of([dense, seen]))
    assert len(figure.axes) == 6
    assert alt.startswith("RP, 50% removed: accuracy 50.0%.")
    assert f"{seen.kept.mean():.1%} of the layer's weights kept" in alt
    assert "mean place on the radar 0.50 of 1" in alt


def test_a_sheet_of_many_networks_is_told_in_spans(views):
    dense, tickets = views
    _, alt = explorer.sheet([dense, *6 * tickets["lottery"]])
    assert len(alt) <= 800 and "(Dense)" in alt and "13 networks" in alt


def test_a_sheet_is_a_row_a_panel_and_a_column_a_network(views):
    dense, tickets = views
    figure, alt = explorer.sheet([dense, *tickets["lottery"]], smoke=True)
    assert len(figure.axes) == 5 * 3
    assert alt.startswith("Smoke run") and alt.count("removed:") == 2 and "Dense:" in alt
    assert "SMOKE RUN" in figure._suptitle.get_text()


def test_a_sheet_can_be_read_by_itself(views):
    dense, tickets = views
    figure, _ = explorer.sheet([dense, *tickets["lottery"]])
    *_, radar = [axis for axis in figure.axes if axis.name == "polar"]
    assert [label.get_text() for label in radar.get_xticklabels()] == ["1", "2", "3"]
    key = " ".join(figure.texts[-1].get_text().replace("\N{NO-BREAK SPACE}", " ").split())
    assert key == "radar, outward is better: 1 accuracy, 2 ECE, 3 NLL"
    reliable = figure.axes[3:6]
    for axis in reliable:
        assert [t.get_text() for t in (*axis.get_xticklabels(), *axis.get_yticklabels())] == [*"0101"]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("confidence", "share right")
    assert notebook.smallest_letters(figure) >= 8


def test_without_a_record_of_calibration_the_panel_stays_empty(views):
    bare = explorer.View(**{**vars(views[0]), "bins": explorer.recorded_bins({})})
    _, alt = explorer.frame(bare, explorer.Scales.of([bare]))
    assert "calibration error" not in alt


def test_pictures_are_small_and_carry_their_words(views):
    seen = views[0]
    text = explorer.picture(*explorer.frame(seen, explorer.Scales.of([seen])))
    assert re.match(r'<img alt="Dense: accuracy 50.0%', text)
    drawn = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])))
    assert drawn.format == "WEBP" and f'width="{drawn.width}"' in text
    assert len(text) < 60_000
    least = int(re.search(r"min-width: (\d+)px", text)[1])
    # beside one another on a page, and on a phone without scrolling
    assert 9 * 72 * 3.9 / 8 <= least < 320


def test_every_word_of_a_frame_stands_within_it(views):
    dense, tickets = views
    seen = tickets["random"][0]
    narrow = seen.kept.clone()
    narrow[2:] = math.nan
    names = "accuracy ood_auroc corruption_error fgsm_accuracy ece nll fidelity stability hessian_trace input_trace"
    places = pd.DataFrame(0.5, index=["dense", "random"], columns=names.split())
    seen = explorer.View(**{**vars(seen), "kept": narrow, "places": places})
    figure, _ = explorer.frame(seen, explorer.Scales.of([dense, seen]))
    figure.canvas.draw()
    off = {id(t) for axis in figure.axes if not axis.axison for t in axis.findobj(Text)}
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and id(t) not in off]
    boxes = {t.get_text(): t.get_window_extent() for t in shown}
    cut = [text for text, box in boxes.items() if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1]
    assert cut == [] and "inputs of one layer\ntinted: not there" in boxes
    assert min(t.get_fontsize() for t in shown) >= 8


@pytest.fixture
def quick(monkeypatch):
    """Frames that are words alone."""
    monkeypatch.setattr(explorer, "frame", lambda seen, scales: (None, seen.title))
    monkeypatch.setattr(explorer, "picture", lambda figure, alt: f'<img alt="{alt}">')


def test_the_slider_needs_no_kernel(views, quick):
    """Each pruner's stack follows the slider, and the outer one the choice, by links that live in the browser."""
    ipywidgets = pytest.importorskip("ipywidgets", minversion="8")
    dense, tickets = views
    box = explorer.slider(dense, tickets)
    removed, sides = box.children
    (left, outer), (right, other) = (side.children for side in sides.children)
    assert list(left.options) == list(right.options) == ["LTH", "RP"]
    assert (left.value, right.value) == ("LTH", "RP") and (outer.selected_index, other.selected_index) == (
        0,
        1,
    )
    assert outer.children == other.children, "both sides show the same pictures, which are there once"
    assert list(removed.options) == ["dense", "50%", "90%"]
    # the words below the left picture do not touch the right one
    assert all(side.layout.padding == "0 16px 0 0" for side in sides.children)
    assert [len(stack.children) for stack in outer.children] == [3, 3]
    first = {stack.children[0].model_id for stack in outer.children}
    assert len(first) == 1, "the dense frame is there once"
    assert "RP, 90% removed" in outer.children[1].children[2].value
    links = [
        w for w in ipywidgets.Widget.widgets.values() if isinstance(w, ipywidgets.widgets.widget_link.Link)
    ]
    pairs = {(s[0].model_id, s[1], t[0].model_id, t[1]) for s, t in ((w.source, w.target) for w in links)}
    assert (left.model_id, "index", outer.model_id, "selected_index") in pairs
    assert (right.model_id, "index", other.model_id, "selected_index") in pairs
    for stack in outer.children:
        assert (removed.model_id, "index", stack.model_id, "selected_index") in pairs


def test_where_there_is_no_stack_the_kernel_moves_the_slider(views, quick, monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    monkeypatch.delattr(ipywidgets, "Stack", raising=False)
    moved = explorer.slider(*views)
    assert isinstance(moved, ipywidgets.interactive)
    assert [child.description for child in moved.children[:3]] == ["left", "right", "removed"]


def test_what_does_not_fit_is_refused(views):
    dense, tickets = views
    with pytest.raises(SettingError, match="same number of tickets"):
        explorer.slider(dense, {"random": tickets["random"], "lottery": tickets["lottery"][:1]})
    with pytest.raises(SettingError, match="same number of tickets"):
        explorer.slider(dense, {})


def test_verdicts_stand_below_their_ticket(views):
    rows = [
        ("lottery", 0.9, "accuracy", "pass"),
        ("lottery", 0.9, "ece", "fail"),
        ("lottery", 0.5, "ece", "pass"),
    ]
    judged = pd.DataFrame(rows, columns=["pruner", "sparsity", "metric", "verdict"])
    judged["dimension"] = ["generalization", "calibration", "calibration"]
    said = explorer.verdicts_of(judged, views[1]["lottery"][1])
    assert (
        'Generalization: <span title="Test accuracy: kept"><span role="img" aria-label="kept">●</span>'
        in said
    )
    assert '<b title="ECE: lost"><span role="img" aria-label="lost">×</span>\N{NO-BREAK SPACE}ECE</b>' in said
    assert re.sub("<[^>]+>", " ", said).split() == [
        "Generalization:",
        "●",
        "accuracy",
        "Calibration:",
        "×",
        "ECE",
    ]
    assert explorer.verdicts_of(judged, views[0]) == explorer.verdicts_of(None, views[1]["lottery"][1]) == ""


def test_signs_and_losses_are_named_where_they_are_seen_first(views, quick, monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets", minversion="8")
    judged = pd.DataFrame([("lottery", 0.9, "ece", "fail", "calibration")])
    judged.columns = ["pruner", "sparsity", "metric", "verdict", "dimension"]
    first, *_ = explorer.slider(*views, judged).children
    assert "● kept, ? undecided, × lost (bold)" in first.value
    monkeypatch.delattr(ipywidgets, "Stack")
    first, *_ = explorer.slider(*views, judged).children
    assert "× lost" in first.value


def test_a_surface_says_its_unit(views):
    figure, _ = explorer.frame(views[0], explorer.Scales.of([views[0]]))
    assert "loss in nats" in [axis.get_title(loc="left") for axis in figure.axes]


def test_greys_of_a_frame_stay_grey_and_no_colour_moves_far():
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(2.56, 1), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    ramp = np.linspace(0, 1, 256)
    colours = np.stack([ramp, ramp[::-1], np.full(256, 0.5)], axis=-1)
    axis.imshow(np.stack([np.repeat(ramp[:, None], 3, 1), colours]), aspect="auto", interpolation="nearest")
    data = re.search(r"base64,([^\"]+)", explorer.picture(figure, "ramps"))[1]
    drawn = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    grey, colour = drawn[20], drawn[80]
    assert (grey == grey[:, :1]).all() and grey.min() == 0 and grey.max() == 255
    assert np.abs(colour - np.round(255 * colours)).max() <= 8
