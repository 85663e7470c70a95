from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lotterylib import figures
from lotterylib.errors import SettingError

matplotlib.use("Agg")


def row(label, direction, low, high, verdict, tolerance=0.01):
    return SimpleNamespace(
        label=label,
        direction=direction,
        difference=(low + high) / 2,
        low=low,
        high=high,
        tolerance=tolerance,
        verdict=verdict,
    )


def test_right_is_better_whatever_the_metric_counts():
    rows = [row("Accuracy", "higher", -0.03, -0.02, "worse"), row("ECE", "lower", -0.03, -0.02, "better"),
            row("NLL", "lower", -9, 9, "undecided"), row("Trace", "lower", 0, 0, "holds", 0.0)]  # fmt: skip
    figure, alt = figures.differences(rows)
    (axis,) = figure.axes
    spans = [
        line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2
    ]
    assert [list(map(float, s)) for s in spans] == [
        pytest.approx(e) for e in ([-3, -2], [2, 3], [-5, 5], [0, 0])
    ]
    assert "worse in Accuracy" in alt and "better in ECE" in alt and "undecided in NLL" in alt
    plt.close(figure)


def test_what_runs_out_is_told_beside_a_head_within_the_frame():
    long = "Largest loss of recall of a class"
    rows = [row(long, "higher", -0.08, -0.02, "worse"), row("ECE", "lower", -0.14, -0.06, "better"),
            row("NLL", "lower", -9, 9, "undecided")]  # fmt: skip
    figure, alt = figures.differences(rows)
    (axis,) = figure.axes
    figure.draw_without_rendering()
    assert [t.get_text() for t in axis.texts] == ["−8.0", "+10, to +14", "−900", "+900"]
    heads = [line for line in axis.lines if line.get_marker() in "<>" and len(line.get_xdata())]
    assert len(heads) == 4
    low, high = axis.get_xlim()
    for each in [*heads, *axis.texts]:
        place = each.get_window_extent()
        assert axis.bbox.x0 < place.x0 and place.x1 < axis.bbox.x1
    assert max(abs(line.get_xdata()[0]) for line in heads) < min(-low, high)
    assert alt.endswith(f"{long} −8.0; ECE +10, to +14; NLL −900; NLL +900.")
    plt.close(figure)
    with pytest.raises(SettingError, match="no rows"):
        figures.differences([])


def test_what_networks_take():
    table = pd.DataFrame(
        [
            {"network": "dense", "kept_share": 1.0, "stored_share": 1.0, "multiply_adds_share": 1.0, "memory_share": 1.0,
             "speedup": 1.0, "low": 1.0, "high": 1.0},
            {"network": "structured", "kept_share": 0.1, "stored_share": 0.1, "multiply_adds_share": 0.2,
             "memory_share": 0.5, "speedup": 3.0, "low": 2.5, "high": 3.5},
        ]
    )  # fmt: skip
    figure, alt = figures.worth(table)
    assert [bar.get_width() for bar in figure.axes[2].patches] == [100, 20]
    assert "structured pruning: 10% of the parameters, 20% of the multiply-adds, 3.00 times as fast" in alt
    plt.close(figure)


def test_what_is_gained_and_lost():
    best = dict(network="best.pt", accuracy=0.9, dense=0.91, stored=2e6, stored_dense=8e6, milliseconds=3.0, grade="holds")  # fmt: skip
    beaten = best | dict(network="beaten.pt", accuracy=0.8, stored=3e6, milliseconds=4.0, grade="worse")
    unknown = best | dict(network="unknown.pt", grade="measured", milliseconds=float("nan"))
    figure, alt = figures.trade_offs([best, beaten, unknown])
    front = figure.axes[0].lines[0]
    assert list(front.get_xdata()) == [2.0, 2.0] and set(front.get_ydata()) == {
        90.0
    }  # the beaten one is not on it
    assert "beaten.pt: 80.0% at 3.00 MB, worse" in alt and "best.pt: 90.0% at 2.00 MB, holds up" in alt
    plt.close(figure)
    with pytest.raises(SettingError, match="no networks"):
        figures.trade_offs([])


def test_sparse_kernels_against_sparsity():
    found = {
        s: SimpleNamespace(speedup=v, low=0.9 * v, high=1.1 * v) for s, v in {0.5: 0.4, 0.95: 4.0}.items()
    }
    figure, alt = figures.sparse_speed(found)
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.4, 4.0]
    assert "0.40 times as fast at 50% zeros, 4.00 times as fast at 95% zeros" in alt
    plt.close(figure)
