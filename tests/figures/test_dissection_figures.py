import matplotlib.pyplot as plt
import pytest
import torch

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.metrics.dissection import dissect


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def case():
    dice = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 16, 16, generator=dice)
    concepts = {f"spots {i}": (torch.rand(12, 16, 16, generator=dice) < 0.2).numpy() for i in range(7)}
    concepts["nowhere"] = concepts["spots 0"] & False
    maps = torch.rand(12, 3, 4, 4, generator=dice)
    maps[:, 2] = 0
    return images, concepts, dissect(maps, concepts, share=0.05)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


@pytest.mark.parametrize("columns", [3, 10])
def test_every_concept_has_its_picture(case, columns):
    images, concepts, _ = case
    figure, alt = figures.concept_gallery(images, concepts, columns)
    for name in concepts:
        assert name in texts(figure) and name in alt
    assert f"nowhere ({0:.1%}" in alt
    assert figures.concept_gallery(images.expand(-1, 3, -1, -1), concepts)[0].axes


def test_units_with_their_formulas(case):
    images, concepts, found = case
    figure, alt = figures.unit_gallery(images, [("dense", found, 0), ("lottery", found, 1)], concepts)
    for label, unit in (("Dense", 0), ("LTH", 1)):
        title = f"{label}, unit {unit}: IoU {found.formulas[unit][-1].iou:.3f}, {found.formulas[unit][-1]}"
        assert title in texts(figure) and title in alt
    pictures = sum(min(6, found.fires(unit).any(axis=(1, 2)).sum()) for unit in (0, 1))
    assert texts(figure).count("%") == pictures >= 6
    assert sum(len(axis.images) for axis in figure.axes) == pictures


def test_a_dead_unit_has_no_pictures(case):
    images, concepts, found = case
    figure, alt = figures.unit_gallery(images, [("random", found, 2)], concepts, columns=4)
    assert "RP, unit 2: no formula" in alt and "%" not in texts(figure)
    assert not any(axis.images for axis in figure.axes)


def test_ious_with_their_threshold():
    figure, alt = figures.unit_ious({"dense": [0.1, 0.2, 0.0], "untrained": [0.03]}, threshold=0.05)
    line = figure.axes[0].lines[0]
    assert line.get_label() == "Dense" and list(line.get_ydata()) == [0.2, 0.1, 0.0]
    assert "Dense has 2 of 3 units above it, the best at 0.200" in alt
    assert "untrained has 0 of 1 units above it" in alt


def record(pruner, sparsity, seed, **concepts):
    extra = {"concepts": {name.replace("_", " "): count for name, count in concepts.items()}}
    return dict(
        dataset="toy",
        model="net",
        pruner=pruner,
        sparsity=sparsity,
        seed=seed,
        metric="explained_units",
        extra=extra,
    )


RECORDS = [
    record("dense", 0.0, 0, leg=4, bright=2, horizontal_edge=3),
    record("dense", 0.0, 1, leg=6, bright=2),
    record("lottery", 0.5, 0, leg=5, horizontal_edge=2),
    record("lottery", 0.9, 0),
    record("random", 0.5, 0, bright=1, sole=3),
    {"metric": "accuracy", "pruner": "dense"},
]


def test_concepts_that_vanish_first_stand_on_top():
    figure, alt = figures.concept_counts(RECORDS, ("lottery", "random"))
    first, second = figure.axes
    rows = [text.get_text() for text in first.get_yticklabels()]
    assert rows == ["bright", "leg", "horizontal edge"]  # 0, half, 2 of 1.5 on average at 50%
    assert [t.get_text() for t in first.get_xticklabels()] == ["dense", "50", "90"]
    assert [[float(v) for v in row] for row in first.images[0].get_array()] == [
        [2, 0, 0],
        [5, 5, 0],
        [1.5, 2, 0],
    ]
    assert [[float(v) for v in row] for row in second.images[0].get_array()] == [[2, 1], [5, 0], [1.5, 0]]
    assert "LTH names these no more: bright at 50%; bright, leg, horizontal edge at 90%" in alt
    assert "Dense: bright 2, leg 5, horizontal edge 1.5" in alt
    assert len(figures.concept_counts(RECORDS, ("lottery",), top=1)[0].axes[0].get_yticklabels()) == 1


def test_records_that_are_not_there_are_named():
    with pytest.raises(DataError, match="explained_units for snip"):
        figures.concept_counts(RECORDS, ("lottery", "snip"))
    with pytest.raises(DataError, match="dense, lottery, random"):
        figures.concept_counts([])
    unexplained = [record(pruner, level, 0) for pruner, level in (("dense", 0.0), ("lottery", 0.5))]
    with pytest.raises(DataError, match="no unit of the dense network is explained"):
        figures.concept_counts(unexplained, ("lottery",))
