import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.results import tidy
from lotterylib.verdict import passes, rank_agreement
from tests.test_results import row

matplotlib.use("Agg")


def networks(scale=1.0):
    """Dense and two pruners at three sparsities, two seeds; the trace grows with sparsity by ``scale``."""
    rows = []
    for seed in (0, 1):
        for pruner, start in (("dense", 0.0), ("lottery", 0.01), ("random", 0.1)):
            for i, sparsity in enumerate((0.36, 0.79, 0.95)) if pruner != "dense" else ((0, 0.0),):
                accuracy = 0.9 - start * (i + 1) + 0.001 * seed
                trace = 10.0 * (1 + scale * start * (i + 1)) ** 2
                for metric, value, dense in (
                    ("accuracy", accuracy, 0.9 + 0.001 * seed),
                    ("hessian_trace", trace, 10.0),
                ):
                    found = row(pruner, sparsity, seed, value, metric)
                    if pruner != "dense":
                        found["difference"] = {"value": value - dense, "error": 0.002}
                    rows.append(found)
    return tidy(rows)


def test_panels_are_one_a_metric_and_say_who_is_best():
    figure, alt = figures.sweep_panels(networks(), ["accuracy", "ece", "hessian_trace"], smoke=True)
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    # ECE was not measured
    assert titles == ["Test accuracy (%) ↑", "Weight curvature (Hessian trace, nats) ↓"]
    assert alt.startswith("Smoke run") and alt.count("best to worst: LTH, RP.") == 2
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "linear"]
    assert "SMOKE RUN" in figure._suptitle.get_text()


def test_values_far_apart_are_on_a_logarithmic_axis():
    figure, alt = figures.sweep_panels(networks(scale=50), ["accuracy", "hessian_trace"], highlight="random")
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log"]
    assert alt.count("RP is number 2 of 2") == 2


def test_grey_curves_are_in_the_legend_where_there_are_some():
    for highlight, grey in ((None, False), ("random", True)):
        figure, _ = figures.sweep_panels(networks(), ["accuracy"], highlight=highlight)
        labelled = {line.get_label(): line.get_color() for line in figure.legends[0].get_lines()}
        assert ("each other method" in labelled) == grey
    assert labelled["each other method"] in {line.get_color() for line in figure.axes[0].lines}


def test_panels_refuse_what_they_cannot_show():
    table = networks()
    with pytest.raises(DataError, match="no records of ece"):
        figures.sweep_panels(table, ["ece"])
    table.loc[0, "model"] = "lenet"
    with pytest.raises(DataError, match="one model"):
        figures.sweep_panels(table, ["accuracy"])


def test_agreement_shows_the_numbers_of_spearman():
    judged = passes(networks())
    matrix = rank_agreement(judged, by="metric")
    wide = judged.pivot_table(index=["pruner", "sparsity"], columns="metric", values="difference")
    expected = stats.spearmanr(wide.accuracy, -wide.hessian_trace).statistic
    assert matrix.loc["accuracy", "hessian_trace"] == pytest.approx(expected)
    figure, alt = figures.agreement(matrix)
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers == ["1.00", f"{expected:.2f}", f"{expected:.2f}", "1.00"]
    assert f"accuracy with weight curvature {expected:+.2f}" in alt


def test_many_metrics_are_shown_in_tenths():
    names = ["accuracy", "ece", "sce", "nll", "brier", "fidelity", "stability"]
    matrix = pd.DataFrame(-0.5, index=names, columns=names)
    matrix = matrix.where(~np.eye(len(names), dtype=bool), 1.0)
    figure, _ = figures.agreement(matrix)
    assert {text.get_text() for text in figure.axes[0].texts} <= {"10", "−5"}


def test_one_metric_against_another():
    table = networks()
    figure, alt = figures.against(table, "accuracy", "accuracy")
    assert "0 of 7 lie below" in alt and "rank correlation 1.00 over the tickets" in alt
    assert len(figure.axes[0].collections) == 3  # dense and two pruners
    assert figure.axes[0].get_xlabel()[-1] == "→" and figure.axes[0].get_ylabel()[-1] == "↑"
    with pytest.raises(DataError, match="'ece'"):
        figures.against(table, "accuracy", "ece")


def test_a_point_far_from_all_others_is_cut_off_and_its_values_said():
    table = networks()
    broken = (table.pruner == "random") & (table.sparsity == 0.95) & (table.metric == "accuracy")
    rest = table.pruner.eq("random") & table.metric.eq("accuracy") & ~broken
    table.loc[rest, "value"] = 0.85
    more = [table.assign(pruner=table.pruner.replace("random", p)) for p in ("snip", "grasp")]
    more = pd.concat([table, *(m[m.pruner.isin(["snip", "grasp"]) & (m.sparsity < 0.9)] for m in more)])
    more.loc[(more.pruner == "random") & (more.sparsity == 0.95), "value"] = 0.1
    figure, alt = figures.against(more, "accuracy", "accuracy")
    assert alt.endswith("Beyond the axes (arrows): RP at 95%, 10 and 10.")
    assert [text.get_text() for text in figure.axes[0].texts] == ["RP at 95%, 10 and 10"]
    assert figure.axes[0].get_xlim()[0] > 80 and figure.axes[0].get_ylim()[0] > 80


def test_only_the_first_of_two_methods_has_whiskers_and_both_are_cut_off():
    figure, _ = figures.sweep_panels(networks(), ["accuracy"])
    axis = figure.axes[0]
    whiskers = [c for c in axis.collections if len(c.get_segments())]
    assert len(whiskers) == 1
    assert {figures.look("lottery").colour, figures.look("random").colour} <= {
        line.get_color() for line in axis.lines
    }
    others = networks().query("pruner == 'random'").assign(pruner="snip")
    axis = figures.sweep_panels(pd.concat([networks(), others]), ["accuracy"])[0].axes[0]
    colours = {name: figures.look(name).colour for name in ("lottery", "random")} | {"others": "#b8b8b8"}
    thick = {
        n: max(
            li.get_linewidth() for li in axis.lines if li.get_color() == c and li.get_linestyle() != "None"
        )
        for n, c in colours.items()
    }
    marks = {
        n: [li for li in axis.lines if li.get_color() == c and li.get_marker() != "None"]
        for n, c in colours.items()
    }
    # in grey, too, a curve with a name is no other method's
    assert thick["lottery"] > thick["random"] > 1.5 * thick["others"]
    assert marks["lottery"] and max(li.get_markersize() for li in marks["random"]) > 4 and not marks["others"]
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    lost = [v for v in (80, 70, 60) if not low <= v - 0.05 <= high]
    assert lost and len(axis.texts) == len(lost)


def test_a_forest_fills_what_is_sure():
    effects = {
        "ECE: all": (0.1, 0.05, 0.2),
        "ECE: matched": (-0.1, -0.3, 0.2),
        "NLL: all": (0.1, math.nan, math.nan),
    }
    figure, alt = figures.forest(effects, "early minus late")
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [p.get_markerfacecolor() for p in points] == ["#0072B2", "white", "white"]
    assert "ECE: all +0.1 (+0.05 to +0.2)" in alt
    with pytest.raises(DataError, match="no effects"):
        figures.forest({}, "x")


def test_doubt_comes_from_trainings_or_images():
    figure, alt = figures.doubt_bars({"ece": 0.25, "accuracy": 0.75})
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [25.0, 75.0, 75.0, 25.0]
    assert "ECE 25%; Test accuracy 75%" in alt
    with pytest.raises(DataError, match="several seeds"):
        figures.doubt_bars({})


def test_dots_beyond_the_tolerance_are_open_diamonds():
    found = pd.DataFrame(
        {"half": [0.02, 0.005], "tolerance": 0.01, "ratio": [2.0, 0.5], "able": [False, True]},
        index=["accuracy", "ece"],
    )
    figure, alt = figures.resolution_bars(found)
    dots = [line for line in figure.axes[0].lines if line.get_marker() in "oD"]
    found_dots = [(dot.get_xdata()[0], dot.get_marker(), dot.get_markerfacecolor()) for dot in dots]
    assert found_dots == [(0.5, "o", "#0072B2"), (2.0, "D", "white")]
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5 and high > 2 and not figure.axes[0].patches
    assert "limit used, above 1 for 1 metric: ECE 0.5; Test accuracy 2." in alt
    # the limit may be what a retraining changes, and then is no tolerance
    assert figure.axes[0].get_xlabel() == "half the interval / limit used, log axis"
    with pytest.raises(DataError, match="no metric has an interval"):
        figures.resolution_bars(found[found.ratio < 0])
