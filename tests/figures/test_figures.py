import base64
from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from PIL import Image

from lotterylib import figures, metrics, pruners
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.figures.notebook import png
from lotterylib.figures.sweep import rounds
from lotterylib.masks import Mask
from lotterylib.metrics.calibration import reliability
from lotterylib.results import tidy
from tests.conftest import toy_network
from tests.test_results import row

# Dense 90%. LTH: I, I, II, III. RP is in Region I once more after a dip: solid up to there. OMP never wins.
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


ORDER = ["lottery", "magnitude", "random"]


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
    axis = figures.sweep(table())[0].axes[ORDER.index(pruner)]
    colour = figures.look(pruner).colour
    pieces = {}
    for line in axis.lines:
        x = list(line.get_xdata())
        if line.get_color() == colour and len(x) == 2 and list(line.get_ydata()) != [0, 1]:
            pieces[X.index(x[0])] = line.get_linestyle()
            assert x[1] == X[X.index(x[0]) + 1]
    expected = {**dict.fromkeys(solid, "-"), **dict.fromkeys(dashed, "--"), **dict.fromkeys(dotted, ":")}
    assert pieces == expected
    assert verticals(axis, pruner) == ([] if end is None else [X[end]])


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def test_axes_say_what_they_show(axis):
    figure = axis.figure
    assert "Test accuracy (%) ↑, ResNet-8 on a sample of Fashion-MNIST" in texts(figure)
    assert "sparsity (% of prunable weights removed)" in texts(figure)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "20", "49", "79", "98"]
    assert list(axis.get_xticks()) == pytest.approx(X)
    assert [a.get_title(loc="left") for a in figure.axes[:3]] == ["LTH", "OMP", "RP"]
    assert all(t.get_fontsize() >= 9 for t in axis.get_xticklabels() + axis.get_yticklabels())
    [legend] = axis.figure.figure.legends
    named = [
        "dense",
        "Region I",
        "Region II",
        "Region III",
        "end of Region I",
        "95% interval",
        "beyond the axis",
    ]
    assert sorted(t.get_text() for t in legend.get_texts()) == sorted(named)


def test_each_panel_has_one_curve_in_colour_and_the_others_in_grey():
    figure, _ = figures.sweep(table())
    for pruner, axis in zip(ORDER, figure.axes, strict=False):
        colours = {line.get_color() for line in axis.lines} - {"black"}
        assert colours == {figures.look(pruner).colour, "#b8b8b8"}
        assert len(verticals(axis, pruner)) <= 1


def legend_texts(figure):
    return {t.get_text() for t in figure.legends[0].get_texts()}


def test_a_legend_explains_what_is_drawn_and_nothing_else():
    rows = table(spread=0.0001)
    winning = rows[rows.pruner.isin(["dense", "lottery"]) & (rows.sparsity < 0.3)]
    assert legend_texts(figures.sweep(winning)[0]) == {"dense", "Region I", "end of Region I", "95% interval"}
    single = winning[winning.seed == winning.seed.min()]
    assert legend_texts(figures.sweep(single)[0]) == {"dense", "Region I", "end of Region I"}


def test_a_label_at_the_edge_says_that_its_curve_ends_beyond():
    figure, _ = figures.sweep(table(), highlight="lottery")
    whole, close = (texts(axis) for axis in figure.axes[:2])
    assert "RP" in whole and "RP ↓" in close and "LTH" in whole


def test_a_pruner_with_fewer_seeds_is_marked():
    rows = table()
    figure, alt = figures.sweep(rows[(rows.pruner != "random") | (rows.seed == rows.seed.min())])
    titles = [a.get_title(loc="left") for a in figure.axes]
    assert "RP (1 seed)" in titles and "LTH" in titles
    assert "RP (1 seed):" in alt
    last = (rows.pruner == "random") & (rows.sparsity == rows.sparsity.max())
    figure, alt = figures.sweep(rows[~last | (rows.seed == rows.seed.min())])
    assert f"RP (1 to {rows.seed.nunique()} seeds):" in alt


def test_whiskers_are_intervals_and_need_two_seeds():
    from lotterylib.verdict import over_seeds

    axis = figures.sweep(table())[0].axes[0]
    [whiskers] = axis.collections
    drawn = [tuple(segment[:, 1]) for segment in whiskers.get_segments()]
    rows = over_seeds(table(), "accuracy").query("pruner == 'lottery'").sort_values("sparsity")
    # what has collapsed lies beyond the axis
    rows = rows[(100 * rows.value).between(*axis.get_ylim())]
    expected = [(100 * low, 100 * high) for low, high in zip(rows.low, rows.high, strict=True)]
    assert len(expected) == 3 and [pytest.approx(e) for e in expected] == drawn
    without, _ = figures.sweep(table(seeds=1))
    assert not any(c.get_segments() for c in without.axes[0].collections)


def test_whiskers_are_one_method_s_and_show_where_they_go_on():
    rows = table()
    wide = (
        (rows.pruner == "random")
        & (rows.metric == "accuracy")
        & (rows.sparsity == rows[rows.pruner == "random"].sparsity.min())
    )
    rows.loc[wide, "value"] += rows.seed.map({0: -0.09, 1: 0.0, 2: 0.09})
    axis = figures.sweep_panels(rows, ["accuracy"], highlight="random")[0].axes[0]
    [whiskers] = axis.collections
    assert whiskers.get_segments()
    open_heads = [ln.get_marker() for ln in axis.lines if ln.get_markerfacecolor() == "white"]
    assert set(open_heads) <= {"v", "^"} and "v" in open_heads


def test_what_has_collapsed_is_cut_off_and_its_value_said():
    """LTH ends at 30%, far below; the panels end where the living ones do, and an arrow says 30."""
    figure, _ = figures.sweep(table())
    low, high = figure.axes[0].get_ylim()
    assert 30 < low < 79.9 and high > 91
    assert "30" in [t.get_text() for t in figure.axes[0].texts]
    assert {t.get_text() for t in figure.axes[1].texts} == {"40", "20"}


def test_numbers_beyond_an_axis_stand_once_for_a_place_where_its_curve_does_not_come_from():
    from lotterylib.figures.sweep import beyond_of, cut_off

    curves = pd.DataFrame(
        [("lottery", 0.5, 90.0), ("lottery", 0.8, 12.5), ("random", 0.8, 1234.0), ("magnitude", 0.8, 30.0)],
        columns=["pruner", "sparsity", "value"],
    )
    figure, axis = plt.subplots()
    axis.set_ylim(80, 95)
    cut_off(axis, curves.iloc[:1], (80, 95))
    assert not axis.texts and beyond_of(figure) == []
    cut_off(axis, curves, (80, 95))
    below, above = sorted(axis.texts, key=lambda t: t.xy[1])
    assert below.get_text() == "12.5, 30" and above.get_text() == "1,234"
    assert all(t.xy[0] == pytest.approx(rounds(0.8)) for t in axis.texts)
    assert below.xyann[0] > 0 and below.xyann[1] > 0 > above.xyann[1]
    [legend] = beyond_of(figure)
    assert legend.get_marker() == r"$\updownarrow$"
    figure, axis = plt.subplots()
    cut_off(axis, curves.iloc[2:3], (80, 95))
    assert (
        [line.get_marker() for line in beyond_of(figure)] == [axis.lines[0].get_marker()] == [r"$\uparrow$"]
    )


def test_the_close_up_holds_all_of_lottery_tickets_that_live():
    figure, _ = figures.sweep(table(), highlight="magnitude")
    low, high = figure.axes[1].get_ylim()
    assert all(low <= 100 * v <= high for v in CURVES["lottery"][:3])
    whole = figure.axes[0].get_ylim()
    assert whole[0] < 20 and whole[1] > 91


def test_dense_networks_alone_have_a_panel():
    rows = table()
    figure, alt = figures.sweep(rows[rows.pruner == "dense"])
    assert [a.get_title(loc="left") for a in figure.axes if a.axison] == ["Dense"] and "Dense: 90%" in alt


def test_the_papers_own_curve_is_dashed_where_it_printed_one():
    from lotterylib.verdict import paper

    same = table().assign(dataset="cifar10", model="resnet20s")
    figure, alt = figures.sweep(same)
    theirs = paper.digitised().query(
        "dataset == 'cifar10' and model == 'resnet20s' and metric == 'accuracy' and pruner == 'lottery'"
    )
    # as far as ours goes, and in sight
    theirs = theirs[theirs.sparsity <= same.sparsity.max() + 0.005]
    low, high = figure.axes[0].get_ylim()
    assert low < 100 * theirs.value.min() and 100 * theirs.value.max() < high
    lines = [
        ln for ln in figure.axes[0].lines if ln.get_color() == "black" and len(ln.get_xdata()) == len(theirs)
    ]
    assert sorted(lines[0].get_ydata()) == pytest.approx(sorted(100 * theirs.value))
    assert "the paper, digitised" in [t.get_text() for t in figure.legends[0].get_texts()]
    assert "The paper's own curves are dotted." in alt and "paper" not in figures.sweep(table())[1]


def test_smoke_is_written_across_and_said():
    figure, alt = figures.sweep(table(), smoke=True)
    assert any("SMOKE" in text.get_text() for text in figure.texts) and alt.startswith("Smoke run")
    figure, alt = figures.sweep(table())
    assert not any("SMOKE" in text for text in texts(figure)) and "moke" not in alt


def test_a_highlight_stands_beside_tickets_and_chance_and_curves_are_named_at_their_ends():
    rows = table()
    also = rows[rows.pruner == "random"].assign(pruner="grasp")
    figure, alt = figures.sweep(pd.concat([rows, also]), highlight="magnitude")
    named = {t.get_text() for t in figure.axes[0].texts}
    assert {"Dense", "OMP", "LTH", "RP"} <= named and "GraSP" not in named
    assert not verticals(figure.axes[0], "lottery") and not verticals(figure.axes[0], "random")
    assert "GraSP" not in alt and "OMP: 88 at 20%" in alt


def test_who_stands_beside_a_highlight_may_be_chosen():
    figure, alt = figures.sweep(table(), highlight="magnitude", beside=["random", "nobody", "magnitude"])
    named = [t.get_text() for t in figure.axes[0].texts]
    assert {"Dense", "OMP", "RP"} == {n.rstrip(" ↓↑") for n in named if not n[0].isdigit()}
    assert "RP: 89.5 at 20%" in alt and "LTH" not in alt and alt.count("OMP:") == 1


def test_the_alt_text_gives_the_facts_and_is_short():
    _, alt = figures.sweep(table())
    assert "Dense: 90%" in alt and "mean of 2 seeds" in alt
    assert "LTH: 91 at 20%, 30 at 98.2%." in alt and "OMP: 88 at 20%, 20 at 98.2%." in alt
    assert len(alt) < 300


def test_each_setting_has_panels_of_its_own():
    both = pd.concat([table(), table().assign(model="lenet")])
    figure, alt = figures.sweep(both)
    assert [a.get_title(loc="left") for a in figure.axes] == 2 * ["LTH", "OMP", "RP"]
    assert {
        "Test accuracy (%) ↑, LeNet on a sample of Fashion-MNIST",
        "Test accuracy (%) ↑, ResNet-8 on a sample of Fashion-MNIST",
    } <= set(texts(figure))
    assert "LeNet on a sample of Fashion-MNIST" in alt


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownNameError):
        figures.sweep(table(), "acuracy")
    with pytest.raises(DataError, match="no records of metric"):
        figures.sweep(table().assign(metric="other"), "accuracy")


def test_the_region_table():
    found = figures.region_table(table())
    assert list(found.index) == ["LTH", "OMP", "RP"]
    assert found.iloc[:, -2:].to_numpy().tolist() == [
        ["48.8%", "98.2%"],
        ["none", "79%"],
        ["79%", "none"],
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


LONGEST = 800


def test_words_for_a_picture_stay_short_where_there_is_much_to_see():
    """Two studies of all pruners, all metrics at once, many concepts and networks: the span stands for the numbers of each."""
    names = pruners.names()
    assert len(names) > 9
    study = [row("dense", 0.0, seed, 0.9, metric) for seed in (0, 1) for metric in ("accuracy", "ece", "nll")]
    study += [
        row(pruner, level, seed, 0.9 - 0.01 * i * level, metric)
        for i, pruner in enumerate(names)
        for level in LEVELS
        for seed in (0, 1)
        for metric in ("accuracy", "ece", "nll")
    ]
    both = [
        r | {"dataset": d, "model": m}
        for r in study
        for d, m in (("cifar10", "resnet20s"), ("digits", "lenet"))
    ]
    one = tidy(study)
    several = pd.concat([one[one.metric == "nll"].assign(metric=m) for m in metrics.names()])
    _, sweep = figures.sweep(tidy(both))
    bins = reliability(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]), bins=5)
    concepts = {f"concept {i}": np.full((2, 8, 8), i % 2 == 0) for i in range(36)}
    ratios = pd.DataFrame(
        {"ratio": np.linspace(0.1, 2, len(metrics.names())), "able": True}, index=metrics.names()
    )
    alts = [
        sweep,
        figures.sweep_panels(several, metrics.names()[:8])[1],
        figures.reliability_diagram({f"LTH, {i}": bins for i in range(8)})[1],
        figures.concept_gallery(torch.rand(2, 1, 8, 8), concepts)[1],
        figures.doubt_bars(dict(zip(metrics.names(), np.linspace(0, 1, 25), strict=False)))[1],
        figures.resolution_bars(ratios)[1],
    ]
    assert max(map(len, alts)) <= LONGEST, sorted(map(len, alts))
    first, last = (figures.look(names[i]).label for i in (0, -1))
    assert f"{len(names)} methods: " in sweep and f"({last}) to " in sweep and f"({first})" in sweep
    assert "LTH: " in sweep and "RP: " in sweep


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


def test_layers_that_no_ticket_prunes_have_no_marks():
    network, several = masks()
    dense, convolutions = several["magnitude"], {"random": Mask.ones(network, "conv")}
    (axis,) = figures.density_bars(convolutions, of=dense)[0].axes
    assert len(dense) == 2 and len(axis.get_xticklabels()) == 1


def test_shares_on_a_log_scale_are_marks_of_each_pruner_and_nothing_left_is_a_cross():
    layers = {"lottery": {"stem.0": 50.0, "head": 0.0}, "snip": {"stem.0": 2.0, "head": 100.0}}
    figure, alt = figures.layer_bars(layers, "weights kept (%)", log=True)
    (axis,) = figure.axes
    drawn = {(line.get_marker(), round(x), y) for line in axis.lines for x, y in line.get_xydata() if y == y}
    own, other = (figures.look(name).marker for name in layers)
    low, high = axis.get_ylim()
    cross = [y for marker, _, y in drawn if marker == "x"]
    assert {(own, 0, 50.0), (other, 0, 2.0), (other, 1, 100.0)} < drawn and not axis.patches
    assert len(cross) == 1 and low < cross[0] < 2 and 100 < high < 200
    assert alt.startswith("Marks of weights kept (%), one column per layer. LTH: 0 (last layer)")


def test_lines_on_log_axes_keep_their_zero_and_their_order():
    (axis,) = figures.lines([10, 5, 1], {"snip": [4.0, 0.2, 0.0]}, "kept", "least", log="xy")[0].axes
    left, right = axis.get_xlim()
    assert axis.get_xscale() == "log" and left > right
    assert axis.get_ylim()[0] < 0 < 4 < axis.get_ylim()[1]
    figure, alt = figures.lines([1, 5], {"snip": [4.0, 0.2]}, "kept", "least", limits={"allowed": 0.5})
    limit = figure.axes[0].lines[-1]
    assert list(limit.get_ydata()) == [0.5, 0.5] and limit.get_marker() == "None" and "allowed 0.5" in alt
    assert "allowed" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    (axis,) = figures.lines([1, 5], {"snip": [4.0, 0.2]}, "kept", "least", log="y")[0].axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log") and axis.get_ylim()[0] < 0.2


def test_pruners_in_layers_differ_without_colour():
    """By marker as far as markers go, and by stroke in any case."""
    ways = ["random-global", "random-uniform", "random-erk"]
    assert len({figures.look(way).marker for way in ways}) > 1
    layers = {"stem.0": 50.0, "head": 2.0}
    (axis,) = figures.layer_bars({way: layers for way in ways}, "weights kept (%)", log=True)[0].axes
    assert len({line.get_linestyle() for line in axis.lines if line.get_marker() != "x"}) == len(ways)


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: figures.curves({"dense": [2.0, 1.0], "lottery": [1.5]}),
        lambda: figures.lines([1, 5], {"snip": [4.0, 0.2], "random": [4.0, 0.2]}, "kept", "least"),
    ],
)
def test_a_legend_of_lines_stands_above_them_at_the_left(drawn):
    """A phone shows the left of a wide figure first."""
    figure = drawn()[0]
    figure.draw_without_rendering()
    (axis,) = figure.axes
    legend, inside = axis.get_legend().get_window_extent(), axis.get_window_extent()
    assert legend.y0 >= inside.y1 and abs(legend.x0 - inside.x0) < 20 and legend.x1 < inside.x1


def test_bars_begin_at_zero():
    (axis,) = figures.bars({"lottery": 4.0, "random": 0.2}, "cost")[0].axes
    assert [(bar.get_x(), bar.get_width()) for bar in axis.patches] == [(0, 4.0), (0, 0.2)]
    assert axis.get_xscale() == "linear"


def test_many_pruners_in_layers_are_a_table():
    layers = {"stem.0": 50.0, "head": 0.0}
    names = ["lottery", "random", "snip", "grasp", "synflow", "rigl"]
    figure, alt = figures.layer_bars({n: layers for n in names}, "weights kept (%)", log=True)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["50", "×"] * 6
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [figures.look(n).label for n in names]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["first layer", "last layer"]
    assert alt.startswith(
        "A table of weights kept (%), one column per layer. LTH: 0 (last layer) to 50 (first layer); "
    )


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
    # circles are lottery tickets, and hexagons and octagons look like circles
    others = ("untrained", "random direction", "stability", *(f"mine {i}" for i in range(20)))
    markers = {figures.look(name).marker for name in others}
    assert not markers & set("ohH8")
    # one that is not filled is lost on a line of its colour
    assert all(MarkerStyle(marker).is_filled() for marker in markers)


# --- show


@pytest.fixture
def shown(monkeypatch):
    caught = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: caught.append((a, k)))
    return caught


def test_show_carries_alt_caption_and_name(shown):
    figure, alt = figures.sweep(table())
    figures.show(figure, f"{alt} From -5 to 1-2.", "A caption.", "accuracy-sweep")
    alt += " From −5 to 1-2."
    [((bundle,), options)] = shown
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG") and bundle["text/plain"] == alt
    about = options["metadata"]["lotterylib"]
    assert 7 < about.pop("letters") <= 10
    assert about == {"alt": alt, "caption": "A caption.", "name": "accuracy-sweep"}
    assert not plt.fignum_exists(figure.number)  # it would be shown a second time


def test_show_says_how_large_the_smallest_letters_are_that_one_sees(shown):
    figure, axes = plt.subplots(1, 2)
    axes[0].set_title("a title", fontsize=13)
    axes[0].tick_params(labelsize=11)
    axes[1].set_xlabel("not shown", fontsize=3)
    axes[1].axis("off")
    axes[1].text(0.5, 0.5, "shown", fontsize=12)
    axes[1].text(0.5, 0.5, "hidden", fontsize=2, visible=False)
    axes[1].text(0.5, 0.5, " ", fontsize=1)
    figures.show(figure, "Words of several sizes.")
    assert shown[0][1]["metadata"]["lotterylib"]["letters"] == 11


@pytest.mark.parametrize(("shades", "kept"), [("gray", True), ("gray_r", False)])
def test_pixels_drawn_as_they_are_stay_so_on_a_dark_page(shown, shades, kept):
    figure, axis = plt.subplots()
    axis.imshow([[0.0, 1.0]], cmap=shades)
    figures.show(figure, "Two pixels.")
    [(_, options)] = shown
    assert options["metadata"]["lotterylib"].get("photograph", False) is kept


def test_figures_have_few_colours_that_none_can_tell_from_all_and_photographs_keep_theirs():
    noise = np.random.default_rng(0).random((20, 20, 3))
    for draw, mode in (
        (lambda axis: axis.plot([1, 2], color="#0072B2"), "P"),
        (lambda axis: axis.scatter(*noise[..., :2].T, c=noise.reshape(-1, 3)), "RGB"),
        (lambda axis: axis.imshow(noise), "RGBA"),
    ):
        figure, axis = plt.subplots()
        draw(axis)
        figure.canvas.draw()
        drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        with matplotlib.rc_context({"savefig.dpi": "figure", "savefig.pad_inches": 0}):
            figure.get_tightbbox = lambda size=figure.bbox_inches: size
            picture = Image.open(BytesIO(png(figure)))
        assert picture.mode == mode
        gap = np.abs(np.asarray(picture.convert("RGB")).astype(int) - drawn)
        assert gap.max() <= (0 if mode == "RGBA" else 4)


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


def test_overlap_tells_every_pair_and_the_ends():
    shares = {"lottery": {"lottery": 1.0, "snip": 0.5, "random": 0.12}}
    shares["snip"] = {"lottery": 0.5, "snip": 1.0, "random": 0.1}
    shares["random"] = {"lottery": 0.12, "snip": 0.1, "random": 1.0}
    figure, alt = figures.overlap(shares, 0.1)
    [axis] = figure.axes
    assert axis.images[0].get_array().tolist() == [list(row.values()) for row in shares.values()]
    assert [text.get_text() for text in axis.texts] == [
        "100",
        "50",
        "12",
        "50",
        "100",
        "10",
        "12",
        "10",
        "100",
    ]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["LTH", "SNIP", "RP"]
    assert alt.endswith("10% by chance. Most: LTH with SNIP 50%. Least: SNIP with RP 10%.")


def test_cost_and_accuracy_are_where_they_belong():
    costs = {"lottery": 5.0, "snip": 0.25, "mine": 1.0}
    figure, alt = figures.cost_and_accuracy(costs, {"lottery": 0.9, "snip": 0.88}, 0.91)
    _, dense, *marks = figure.axes[0].lines
    assert (dense.get_xdata()[0], dense.get_ydata()[0]) == (1, 91)
    places = {mark.get_marker(): (mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks}
    assert places == {figures.look("snip").marker: (0.25, 88), figures.look("lottery").marker: (5.0, 90)}
    assert {text.get_text() for text in figure.axes[0].texts} == {
        "Dense",
        "SNIP",
        "LTH",
    } and "mine" not in alt


def test_names_of_near_marks_do_not_cover_one_another():
    names = ["lottery", "snip", "grasp", "synflow", "rigl", "random"]
    costs = {name: 0.3 + 0.01 * n for n, name in enumerate(names)}
    figure, _ = figures.cost_and_accuracy(costs, {n: 0.88 + 0.0005 * i for i, n in enumerate(names)}, 0.91)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 7
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_method_with_other_settings_has_a_name_and_a_colour_of_its_own():
    own, base = figures.look("random-erk"), figures.look("random")
    assert own.label == "RP (ERK)" and own.colour != base.colour and own.marker != base.marker
    assert figures.look("small-dense").label == "Small dense"
    assert figures.in_order(["snip", "random-erk", "random"]) == ["random", "random-erk", "snip"]


def test_a_study_with_dense_networks_alone_is_not_drawn_beside_another():
    rows = table()
    alone = rows[rows.pruner == "dense"].assign(model="lenet")
    both, alt = figures.sweep(pd.concat([rows, alone]))
    assert len(both.axes) == len(figures.sweep(rows)[0].axes) and "LeNet" not in alt
    assert "LeNet" in figures.sweep(alone)[1]


def test_pairs_with_a_zero_have_no_place_on_logarithmic_axes():
    figure, alt = figures.scatter([0.1, 0.2, 0.0, 0.4], [0.2, 0.4, 0.1, 0.8], ("score", "change"))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["both are equal"]
    [marks] = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert marks.get_xydata().tolist() == [[0.1, 0.2], [0.2, 0.4], [0.4, 0.8]]
    assert "3 pairs (1 with a zero are left out)" in alt and "a factor of 2 in the middle" in alt
    with pytest.raises(DataError, match="no pair of positive numbers"):
        figures.scatter([0.0, float("nan")], [1.0, 1.0], ("score", "change"))


def test_of_two_or_three_values_all_are_on_the_axis():
    from lotterylib.figures.sweep import span

    means = pd.DataFrame({"pruner": ["dense", "random"], "value": [0.11, 0.05], "region": [1, 2]})
    low, high = span(means.assign(low=np.nan, high=np.nan, sparsity=[0.0, 0.89]))
    assert low < 0.05 and high > 0.11


def test_apostrophes_in_pictures_are_curled_and_formulas_and_quotation_marks_are_not():
    figure = plt.figure()
    said = "SNIP's 'x'", "$f'g$", "plain"
    texts = [figure.text(0.1, 0.2 * i, words) for i, words in enumerate(said)]
    png(figure)
    assert [text.get_text() for text in texts] == ["SNIP’s 'x'", "$f'g$", "plain"]
