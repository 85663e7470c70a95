import math

import matplotlib
import pandas as pd
import pytest

from lotterylib import figures, metrics
from lotterylib.errors import DataError
from lotterylib.figures.notebook import png, smallest_letters
from lotterylib.figures.verdict import scaled
from lotterylib.results import tidy
from lotterylib.verdict import lth_pass, passes
from tests.test_results import row
from tests.verdict.test_controls import controls, dense, tickets
from tests.verdict.test_passes import study

matplotlib.use("Agg")
NAMES = ["accuracy", "ece", "nll"]
VALUES = {  # accuracy higher, the others lower is better
    "dense": (0.90, 0.02, 0.30),
    "lottery": (0.88, 0.04, 0.30),
    "random": (0.80, 0.01, 0.30),
}


def networks():
    return tidy(
        row(p, 0.0 if p == "dense" else 0.9, s, value + shift, metric)
        for p, values in VALUES.items()
        for metric, value in zip(NAMES, values, strict=True)
        for s, shift in enumerate((-0.001, 0.001))
    )


def test_radar_axes_run_from_the_worst_to_the_best_of_those_shown():
    places = scaled(networks(), 0.9, NAMES)
    assert places.accuracy.to_dict() == pytest.approx({"dense": 1.0, "lottery": 0.8, "random": 0.0})
    assert places.ece.to_dict() == pytest.approx({"dense": 2 / 3, "lottery": 0.0, "random": 1.0})
    assert (places.nll == 0).all()  # where all are alike nobody stands out


def test_a_metric_that_a_network_lacks_counts_as_the_worst():
    table = networks()
    table.loc[(table.pruner == "random") & (table.metric == "ece"), "value"] = math.nan
    assert scaled(table, 0.9, NAMES).ece["random"] == 0


def test_radar_says_what_it_shows():
    figure, alt = figures.radar(networks(), 0.9, NAMES, smoke=True)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["LTH", "RP"]
    assert "LTH: mean 0.27." in alt and "RP: mean 0.33, best in ECE." in alt and alt.startswith("Smoke run")
    assert "SMOKE RUN" in figure._suptitle.get_text()


@pytest.mark.parametrize("sparsity, names, reason", [(0.9, NAMES[:2], "three metrics"), (0.5, NAMES, "at sparsity 50%")])  # fmt: skip
def test_radar_refuses_what_it_cannot_compare(sparsity, names, reason):
    with pytest.raises(DataError, match=reason):
        figures.radar(networks(), sparsity, names)


def test_the_board_has_a_sign_for_every_verdict():
    judged, whole = passes(study()), lth_pass(study())
    figure, alt = figures.verdict_board(judged, whole)
    axis = figure.axes[0]
    signs = [text.get_text() for text in axis.texts if len(text.get_text()) == 1]
    # rows: lottery 50%, 90%, random 50%, 90%; columns: accuracy, ECE, all at once
    assert signs == ["●", "●", "●", "●", "×", "×", "?", "●", "?", "×", "●", "×"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["Test accuracy", "ECE", "LTH-PASS"]
    # of two metrics at two sparsities: LTH-PASS is no third metric
    assert (
        "LTH: 3 pass, 0 undecided, 1 fail. RP: 2 pass, 1 undecided, 1 fail. In all at once 1 of 4 pass."
        in alt
    )


def test_the_board_asks_for_what_a_retraining_changes_where_it_is_known():
    networks = (
        dense(3) + controls(6) + tickets({"accuracy": 0.0}) + tickets({"accuracy": -0.3}, pruner="random")
    )
    figure, alt = figures.verdict_board(passes(tidy(networks)), lth_pass(tidy(networks)))
    axis = figure.axes[0]
    assert axis.get_xticklabels()[-1].get_text() == "as a retraining"
    rows = [t.get_text() for t in axis.texts if t.get_position()[0] == len(axis.get_xticklabels()) - 1]
    # the controls themselves are no news, LTH is within, RP is worse
    assert rows == ["●", "×"] and "Dense anew: 3 pass" in alt


def test_the_board_names_the_dimensions_where_there_is_room():
    names = ["ece", "sce", "ace", "nll"]
    judged = passes(study())
    judged = pd.concat([judged[judged.metric == "ece"].assign(metric=n) for n in ["accuracy", *names]])
    axis = figures.verdict_board(judged)[0].axes[0]
    words = {t.get_text(): t.get_position()[0] for t in axis.texts if t.get_text().endswith("tion")}
    assert words == {"Calibration": 2.5}  # columns 1 to 4; one column is too narrow for "Generalization"


def test_a_board_is_of_one_model():
    judged = passes(study())
    judged.loc[0, "model"] = "lenet"
    with pytest.raises(DataError, match="one model"):
        figures.verdict_board(judged)


def fits_a_phone(figure):
    """Whether nine pixels of its smallest letters leave it no wider than a phone's text."""
    letters = smallest_letters(figure) * 120 / 72
    return int.from_bytes(png(figure)[16:20], "big") * 9 / letters <= 358


def titles(figure):
    return [title for axis in figure.axes if (title := axis.get_title(loc="left"))]


def test_narrow_sweeps_and_counts_fit_a_phone_and_say_the_same():
    table = tidy(study())
    for draw in (figures.sweep, lambda t, **a: figures.kept_counts(passes(t), ["lottery", "random"], **a)):
        (wide, words), (narrow, same) = draw(table), draw(table, narrow=True)
        assert words == same and titles(narrow) == titles(wide)
        assert fits_a_phone(narrow) and not fits_a_phone(wide)


def test_boards_of_single_dimensions_hold_the_squares_of_the_whole_board_and_fit_a_phone():
    judged, whole = passes(study()), lth_pass(study())
    figure, alt = figures.verdict_boards(judged, whole)
    assert alt == figures.verdict_board(judged, whole)[1]
    labels = [[t.get_text() for t in axis.get_xticklabels()] for axis in figure.axes]
    assert labels == [["accuracy"], ["ECE", "LTH-PASS"]]
    signs = [[t.get_text() for t in axis.texts if len(t.get_text()) == 1] for axis in figure.axes]
    assert signs == [["●", "●", "?", "×"], ["●", "●", "×", "×", "●", "?", "●", "×"]]
    every = pd.concat([judged[judged.metric == "accuracy"].assign(metric=m) for m in metrics.names()])
    assert fits_a_phone(figures.verdict_boards(every)[0])
    for draw in (figures.verdict_board, figures.verdict_boards):
        figure = draw(every, smoke=True)[0]
        figure.canvas.draw()
        heads = [t.get_window_extent().y1 for axis in figure.axes for t in axis.get_xticklabels()]
        assert max(heads) < figure._suptitle.get_window_extent().y0
