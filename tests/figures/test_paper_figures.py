import matplotlib
import pandas as pd
import pytest

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.results import tidy
from lotterylib.verdict import paper
from tests.test_results import row

matplotlib.use("Agg")


def study(dataset, model):
    rows = [row("dense", 0.0, 0, 0.93), row("lottery", 0.488, 0, 0.92), row("random", 0.488, 0, 0.90)]
    return tidy(r | {"dataset": dataset, "model": model} for r in rows)


def test_the_same_data_and_network_stand_beside_the_paper_s():
    figure, alt = figures.beside_paper(study("cifar10", "resnet18"), paper.digitised(), "accuracy")
    assert [a.get_title("left") for a in figure.axes] == [
        "this book (dotted: the paper):\nResNet-18 on CIFAR-10", "the paper, digitised (same data and network):\nResNet-18 on CIFAR-10",
    ]  # fmt: skip
    assert (
        "this book (dotted: the paper): ResNet-18 on CIFAR-10: at 48.8% sparsity, from best to worst: LTH, RP."
        in alt
    )


def test_another_setting_is_called_so():
    figure, _ = figures.beside_paper(
        study("fashion-mini", "resnet8"), paper.digitised(), "accuracy", smoke=True
    )
    assert "other data or network" in figure.axes[1].get_title("left")
    assert "MEAN NOTHING" in figure._suptitle.get_text()


def test_a_study_without_tickets_yet_has_the_paper_s_sparsities_on_its_axis():
    begun = study("cifar10", "resnet18").query("pruner == 'dense'")
    figure, alt = figures.beside_paper(begun, paper.digitised(), "accuracy")
    ours, theirs = ([t.get_text() for t in axis.get_xticklabels()] for axis in figure.axes)
    assert ours == theirs != []
    assert [axis.get_title("left").splitlines()[0] for axis in figure.axes] == [
        "this book, nothing pruned yet (dotted: the paper):", "the paper, digitised (same data and network):",
    ]  # fmt: skip
    assert "nothing pruned yet (dotted: the paper): ResNet-18 on CIFAR-10. the paper" in alt


def test_what_the_paper_does_not_show_is_refused():
    accuracy = study("cifar10", "resnet18")
    table = pd.concat([accuracy, accuracy.assign(metric="brier")])
    with pytest.raises(DataError, match="the paper has no curve of brier"):
        figures.beside_paper(table, paper.digitised(), "brier")


def test_the_same_setting_is_drawn_over_ours_and_another_is_not():
    both = pd.concat([study("cifar10", "resnet18"), study("fashion-mini", "resnet8")])
    figure, alt = figures.beside_paper(both, paper.digitised(), "accuracy")
    assert len(figure.axes) == 4  # one row per network
    dotted = [sum(line.get_linestyle() == ":" for line in axis.lines) for axis in figure.axes]
    theirs = paper.digitised().query("dataset == 'cifar10' and model == 'resnet18' and metric == 'accuracy'")
    pruners = set(theirs.pruner) - {"dense"}
    assert dotted == [len(pruners) + 1, 0, 0, 0]  # one more for the legend
    assert alt.count("dotted in our panel") == 1


def test_methods_that_the_paper_does_not_show_leave_room_for_those_it_does():
    mine = study("cifar10", "resnet18")
    extra = mine[mine.pruner == "random"].assign(pruner="structured")
    figure, alt = figures.beside_paper(pd.concat([mine, extra]), paper.digitised(), "accuracy")
    assert "Structured" not in figure.axes[0].get_legend_handles_labels()[1] and "Structured" not in alt
    alone = pd.concat([mine[mine.pruner == "dense"], extra])
    assert "Structured." in figures.beside_paper(alone, paper.digitised(), "accuracy")[1]


def test_each_panel_of_the_paper_is_drawn_once_and_none_is_empty():
    """Its smallest setting is ours already; SCE it has on ImageNet alone."""
    both = pd.concat([study("cifar10", "resnet20s"), study("fashion-mini", "resnet8")])
    for metric, shown in (("accuracy", "ResNet-20s on CIFAR-10"), ("sce", "ResNet-50 on ImageNet")):
        figure, alt = figures.beside_paper(both.assign(metric=metric), paper.digitised(), metric)
        visible = [axis for axis in figure.axes if axis.get_visible()]
        assert len(visible) == 3 and alt.count("the paper, digitised") == 1
        assert visible[1].get_title("left").endswith(shown)
        assert all(axis.lines for axis in visible)


def test_shares_are_per_cent():
    figure, _ = figures.beside_paper(study("cifar10", "resnet18"), paper.digitised(), "accuracy")
    assert figure.axes[0].get_ylabel() == "Test accuracy (%) ↑"
    assert all(50 < axis.get_ylim()[1] < 110 for axis in figure.axes)


def collapsed(lottery):
    """Six levels of two pruners near dense, and the last of random pruning far below."""
    rows = [row("dense", 0.0, 0, 0.93)]
    for i, level in enumerate((0.36, 0.488, 0.59, 0.672, 0.738, 0.79)):
        rows.append(row("lottery", level, 0, lottery if i == 5 else 0.925))
        rows.append(row("random", level, 0, 0.1 if i == 5 else 0.92 - 0.005 * i))
    return tidy(r | {"dataset": "fashion-mini", "model": "resnet8"} for r in rows)


def test_a_collapsed_network_does_not_set_the_scale():
    figure, alt = figures.beside_paper(collapsed(0.91), paper.digitised(), "accuracy")
    low, high = figure.axes[0].get_ylim()
    assert 85 < low < 90 and 93 < high < 94
    assert [text.get_text() for text in figure.axes[0].texts] == ["10"] and "beyond the axis" in alt
    assert "beyond the axis" in [text.get_text() for text in figure.legends[0].texts]


def test_lottery_tickets_are_always_within_the_axis():
    figure, alt = figures.beside_paper(collapsed(0.6), paper.digitised(), "accuracy")
    assert 50 < figure.axes[0].get_ylim()[0] < 60
    assert [text.get_text() for text in figure.axes[0].texts] == ["10"]


def test_a_long_label_is_broken_into_lines_no_longer_than_a_panel_is_high():
    table = study("cifar10", "resnet18").assign(metric="corruption_error")
    figure, _ = figures.beside_paper(table, paper.digitised(), "corruption_error")
    label = figure.axes[0].yaxis.label
    figure.draw_without_rendering()
    assert "\n" in label.get_text()
    assert label.get_window_extent().height < 1.1 * figure.axes[0].get_window_extent().height
