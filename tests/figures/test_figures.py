import base64

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from lotterylib import figures, pruners
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.figures.sweep import rounds
from lotterylib.masks import Mask
from lotterylib.results import tidy
from tests.conftest import toy_network
from tests.test_results import row

# Dense 90 %. LTH: I, I, II, III. RP is in Region I once more after a dip: solid up to there. OMP never wins.
LEVELS = [0.2, 0.488, 0.79, 0.982]
CURVES = {
    "lottery": [0.91, 0.895, 0.8, 0.3],
    "random": [0.895, 0.85, 0.892, 0.7],
    "magnitude": [0.88, 0.87, 0.4, 0.2],
}


def table(seeds=2, spread=0.002):
    rows = []
    for seed in range(seeds):
        shift = spread * (seed - (seeds - 1) / 2)
        rows.append(row("dense", 0.0, seed, 0.9 + shift))
        for pruner, values in CURVES.items():
            rows += [row(pruner, s, seed, v + shift) for s, v in zip(LEVELS, values, strict=True)]
    return tidy(rows)


@pytest.fixture(autouse=True)
def close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before, "the caller's settings were touched"


@pytest.fixture
def axis():
    figure, _ = figures.sweep(table())
    return figure.axes[0]


def verticals(axis, pruner):
    colour = figures.look(pruner).colour
    return [
        ln.get_xdata()[0] for ln in axis.lines if ln.get_color() == colour and list(ln.get_ydata()) == [0, 1]
    ]


X = [0.0, *(rounds(s) for s in LEVELS)]


def test_the_dense_line_is_black_and_dash_dotted(axis):
    [line] = [ln for ln in axis.lines if ln.get_linestyle() == "-."]
    assert line.get_color() == "black" and list(line.get_ydata()) == pytest.approx([90, 90])


@pytest.mark.parametrize(
    "pruner, solid, dashed, dotted, end",
    [
        ("lottery", [0, 1], [2], [3], 2),
        ("random", [0, 1, 2], [3], [], 3),
        ("magnitude", [], [0, 1], [2, 3], None),
    ],
)
def test_strokes_follow_the_regions(pruner, solid, dashed, dotted, end):
    """Segment i runs from level i to level i + 1, dense being level 0. Drawn by hand from the table above; the x axis
    counts rounds, so a piece of length 1 is a round."""
    figure, _ = figures.sweep(table())
    colour = figures.look(pruner).colour
    pieces = {}
    for line in figure.axes[0].lines:
        x = list(line.get_xdata())
        if line.get_color() == colour and len(x) == 2 and list(line.get_ydata()) != [0, 1]:
            pieces[X.index(x[0])] = line.get_linestyle()
            assert x[1] == X[X.index(x[0]) + 1]
    expected = {**dict.fromkeys(solid, "-"), **dict.fromkeys(dashed, "--"), **dict.fromkeys(dotted, ":")}
    assert pieces == expected
    assert verticals(figure.axes[0], pruner) == ([] if end is None else [X[end]])


def test_axes_say_what_they_show(axis):
    assert axis.get_ylabel() == "Test accuracy (%) ↑"
    assert "sparsity" in axis.get_xlabel() and "%" in axis.get_xlabel()
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "20", "48.8", "79", "98.2"]
    assert list(axis.get_xticks()) == pytest.approx(X)
    [legend] = axis.figure.legends
    legend = [t.get_text() for t in legend.get_texts()]
    assert legend == ["Dense", "LTH", "OMP", "RP", "Region I", "Region II", "Region III"]


def test_a_pruner_with_fewer_seeds_is_marked():
    rows = table()
    figure, alt = figures.sweep(rows[(rows.pruner != "random") | (rows.seed == rows.seed.min())])
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert "RP (1 seed)" in labels and "LTH" in labels
    assert "1 seed(s) only" in alt


def test_bands_need_two_seeds():
    with_bands, _ = figures.sweep(table())
    assert len(with_bands.axes[0].collections) == 3
    without, _ = figures.sweep(table(seeds=1))
    assert len(without.axes[0].collections) == 0


def test_smoke_is_written_across_and_said():
    figure, alt = figures.sweep(table(), smoke=True)
    assert any("SMOKE" in text.get_text() for text in figure.texts) and alt.startswith("Smoke run")
    figure, alt = figures.sweep(table())
    assert not figure.texts and "moke" not in alt


def test_a_highlight_fades_the_others():
    figure, _ = figures.sweep(table(), highlight="random")
    faded = {ln.get_color() for ln in figure.axes[0].lines if (ln.get_alpha() or 1) < 0.5}
    assert faded == {figures.look("lottery").colour, figures.look("magnitude").colour}


def test_the_alt_text_gives_the_facts():
    _, alt = figures.sweep(table())
    assert "Dense: 90 %" in alt and "mean of 2 seed(s)" in alt
    assert "LTH: 91 % at 20.0% sparsity, 30 % at 98.2%; in Region I up to 48.8% sparsity." in alt
    assert "OMP: 88 % at 20.0% sparsity, 20 % at 98.2%; never in Region I." in alt


def test_one_row_a_model():
    import pandas as pd

    both = pd.concat([table(), table().assign(model="lenet")])
    figure, alt = figures.sweep(both)
    assert [a.get_title(loc="left") for a in figure.axes[::2]] == [
        "lenet on fashion-mini",
        "resnet8 on fashion-mini",
    ]
    assert all("close to dense" in a.get_title(loc="left") for a in figure.axes[1::2])
    assert "lenet on fashion-mini" in alt


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownNameError):
        figures.sweep(table(), "acuracy")
    with pytest.raises(DataError, match="no records of metric"):
        figures.sweep(table().assign(metric="other"), "accuracy")


def test_the_region_table():
    found = figures.region_table(table())
    assert list(found.pruner) == ["LTH", "OMP", "RP"]
    assert found.iloc[:, -2:].to_numpy().tolist() == [
        ["48.8%", "98.2%"],
        ["none", "79.0%"],
        ["79.0%", "none"],
    ]


def masks():
    network = toy_network()
    scores = {n: p.detach().abs() for n, p in network.named_parameters() if p.ndim > 1}
    none_left = Mask({n: torch.zeros_like(p, dtype=torch.bool) for n, p in scores.items()})
    return network, {"lottery": Mask.top(scores, 0.3), "random": none_left, "magnitude": Mask.ones(network)}


def pictures():
    network, several = masks()
    yield "images", figures.images(torch.rand(12, 1, 8, 8), [str(i) for i in range(12)])
    yield "colour images", figures.images(torch.rand(2, 3, 8, 8), ["a", "b"], columns=2)
    yield "mask_picture", figures.mask_picture(several, "5.weight")
    yield "density_bars", figures.density_bars(several)
    yield "weight_histogram", figures.weight_histogram(network, several["lottery"])
    yield "curves", figures.curves({"dense": [2.0, 1.0], "lottery": [1.5]})
    yield "sweep", figures.sweep(table())


def test_every_picture_comes_with_words():
    for name, (figure, alt) in pictures():
        assert isinstance(figure, Figure), name
        assert len(alt) > 20 and "nan" not in alt, (name, alt)


def test_words_of_masks_and_curves_are_numbers():
    network, several = masks()
    _, alt = figures.mask_picture(several, "5.weight")
    assert "OMP keeps 100.0%" in alt and "RP keeps 0.0%" in alt
    _, alt = figures.weight_histogram(network, several["lottery"])
    kept = several["lottery"].kept
    assert f"{kept} of {several['lottery'].total} weights are kept" in alt
    _, alt = figures.curves({"dense": [2.0, 1.0], "lottery": [1.5]})
    assert "Dense ends at 1.00; LTH ends at 1.50" in alt
    with pytest.raises(SettingError, match="no layer 'x'"):
        figures.mask_picture(several, "x")


@pytest.mark.parametrize("draw", [figures.mask_picture, figures.density_bars])
def test_no_masks_are_one_clear_line(draw):
    with pytest.raises(SettingError, match="no masks to draw"):
        draw({})


def test_layers_that_no_ticket_prunes_have_no_bars():
    network, several = masks()
    dense, convolutions = several["magnitude"], {"random": Mask.ones(network, "conv")}
    (axis,) = figures.density_bars(convolutions, of=dense)[0].axes
    assert len(dense) == 2 and len(axis.patches) == 1


def test_a_picture_of_masks_chooses_a_layer():
    _, several = masks()
    assert "of layer 5" in figures.mask_picture(several)[1]


def test_every_pruner_has_a_look_of_its_own():
    for part in ("label", "colour", "marker"):
        values = [getattr(figures.look(name), part) for name in ("dense", *pruners.names())]
        assert len(set(values)) == len(values)


def test_a_readers_own_pruner_is_drawn_under_its_name_and_always_alike():
    mine = figures.look("largest-first")
    assert mine.label == "largest-first" and mine == figures.look("largest-first")
    assert mine.colour not in {figures.look(name).colour for name in ("dense", *pruners.names())}


# --- show


@pytest.fixture
def shown(monkeypatch):
    caught = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: caught.append((a, k)))
    return caught


def test_show_carries_alt_caption_and_name(shown):
    figure, alt = figures.sweep(table())
    figures.show(figure, alt, "A caption.", "accuracy-sweep")
    [((bundle,), options)] = shown
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG") and bundle["text/plain"] == alt
    assert options["metadata"]["lotterylib"] == {
        "alt": alt,
        "caption": "A caption.",
        "name": "accuracy-sweep",
    }
    assert not plt.fignum_exists(figure.number)  # it would be shown a second time


def test_show_wants_words_and_a_plain_name(shown):
    figure = plt.figure()
    with pytest.raises(SettingError, match="alt text"):
        figures.show(figure, "  ")
    for name in ("Über", "a b", "../x", "-a", "a.png"):
        with pytest.raises(SettingError, match="figure name"):
            figures.show(figure, "words", name=name)
    assert not shown


def test_the_same_figure_is_the_same_bytes(shown):
    for _ in range(2):
        figures.show(*figures.sweep(table()))
    first, second = (arguments[0]["image/png"] for arguments, _ in shown)
    assert first == second


def test_record_glues_a_number_without_showing_it(shown):
    figures.record("gap", 0.25)
    [((bundle,), options)] = shown
    assert bundle == {"application/papermill.record/text/plain": "0.25"}
    assert options["metadata"]["scrapbook"]["name"] == "gap"
