import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lotterylib import datasets, metrics, models
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.interpretability.dissection import (
    Cells,
    Formula,
    compose,
    dissect,
    feature_maps,
    iou,
    last_feature_map,
    thresholds,
)
from tests.conftest import toy_data, toy_network, untouched_rng

T, F = True, False


def some_concepts(count=6, pixels=400, seed=0):
    dice = np.random.default_rng(seed)
    return {name: dice.random(pixels) < dice.uniform(0.1, 0.5) for name in "abcdefghijklmnop"[:count]}


# --- IoU and formulas


@pytest.mark.parametrize(
    "a, b, right",
    [
        ([T, T, F, F], [T, F, T, F], 1 / 3),
        ([T, T, F, F], [T, T, F, F], 1),
        ([T, F], [F, T], 0),
        ([T, F], [F, F], 0),
        ([F, F], [F, F], 0),  # nothing in common, and no NaN
        ([[1, 1], [0, 1]], [[1, 0], [0, 1]], 2 / 3),
    ],
)
def test_iou_by_hand(a, b, right):
    assert iou(np.array(a), np.array(b)) == right == iou(torch.tensor(b), torch.tensor(a))


@pytest.mark.parametrize(
    "a, b, words",
    [
        (np.zeros(3, bool), np.zeros(4, bool), "one shape"),
        (np.zeros(0, bool), np.zeros(0, bool), "no pixels"),
        (np.array([0.2, 0.9]), np.zeros(2, bool), "threshold first"),
        (np.array([np.nan, 1.0]), np.zeros(2, bool), "threshold first"),
    ],
)
def test_what_is_no_mask_is_refused(a, b, words):
    with pytest.raises(DataError, match=words):
        iou(a, b)


def test_formulas_print_as_one_reads_them():
    def text(*terms):
        return str(Formula(terms, 0.5))

    assert text(("", "sleeve")) == "sleeve"
    assert text(("", "sleeve"), ("AND NOT", "bright")) == "sleeve AND NOT bright"
    assert text(("", "a"), ("OR", "b"), ("OR", "c")) == "a OR b OR c"
    assert text(("", "a"), ("OR", "b"), ("AND", "c")) == "(a OR b) AND c"
    assert text(("", "a"), ("OR", "b"), ("AND", "c"), ("OR", "d")) == "((a OR b) AND c) OR d"
    assert Formula((("", "a"), ("OR NOT", "b"), ("OR", "c")), 0.5).named == ("a", "c")


PLANTED = {
    "a": lambda a, b, c: a,
    "a OR b": lambda a, b, c: a | b,
    "a AND b": lambda a, b, c: a & b,
    "a AND NOT b": lambda a, b, c: a & ~b,
    "a OR NOT b": lambda a, b, c: a | ~b,
    "a OR b OR c": lambda a, b, c: a | b | c,
    "a AND b AND NOT c": lambda a, b, c: a & b & ~c,
    "(a OR b) AND NOT c": lambda a, b, c: (a | b) & ~c,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_formula_is_found(planted):
    concepts = some_concepts()
    unit = PLANTED[planted](*(concepts[name] for name in "abc"))
    formula = compose(unit, concepts)
    assert formula.iou == 1
    assert (formula.mask(concepts) == unit).all()
    names = {name for _, name in formula.terms}
    assert names == set(planted) & set("abc") and len(formula) == len(names)
    if len(names) < 3:  # longer ones have several spellings
        joins = planted.replace("a", "").replace("b", "").strip()
        assert [join for join, _ in formula.terms[1:]] == ([joins] if joins else [])


def test_on_images_and_on_tensors_as_on_pixels():
    concepts = some_concepts()
    unit = concepts["b"] & ~concepts["e"]
    flat = compose(unit, concepts)
    shaped = {name: torch.from_numpy(mask).view(4, 10, 10) for name, mask in concepts.items()}
    assert compose(torch.from_numpy(unit).view(4, 10, 10), shaped) == flat
    assert compose(unit, Cells.of(concepts)) == flat and str(flat) == "b AND NOT e"


def test_a_dead_unit_has_no_formula():
    concepts = some_concepts() | {"nothing": np.zeros(400, bool)}
    assert compose(np.zeros(400, bool), concepts) is None
    assert compose(~concepts["a"] & ~concepts["a"] & False, concepts) is None
    outside = ~np.any(list(concepts.values()), axis=0)
    assert outside.any() and compose(outside, concepts, length=1) is None  # fires, but where no concept is


JOINS = (np.logical_and, np.logical_or, lambda f, c: f & ~c, lambda f, c: f | ~c)


def best_of_all(unit, concepts, length):
    """Every formula that grows from the left, each written out as a mask."""
    best = 0
    for chosen in itertools.product(concepts.values(), repeat=length):
        for joins in itertools.product(JOINS, repeat=length - 1):
            mask = chosen[0]
            for join, concept in zip(joins, chosen[1:], strict=True):
                mask = join(mask, concept)
            best = max(best, iou(unit, mask))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_finds_nothing_better(seed):
    concepts, dice = some_concepts(5, 120, seed), np.random.default_rng(seed + 100)
    unit = (concepts["a"] & ~concepts["c"]) ^ (dice.random(120) < 0.15)
    cells = Cells.of(concepts)
    for length, beam in ((1, 1), (2, 5), (3, 500)):  # so many are all formulas there are
        formula = compose(unit, cells, length, beam)
        assert formula.iou == best_of_all(unit, concepts, length)
        assert formula.iou == iou(unit, formula.mask(concepts))  # it is the formula's own


def test_longer_formulas_are_never_worse():
    gained = 0
    for seed in range(5):
        concepts = some_concepts(8, 300, seed)
        unit = np.random.default_rng(seed + 50).random(300) < 0.1
        found = [compose(unit, concepts, length).iou for length in (1, 2, 3, 4)]
        assert found == sorted(found)
        gained += found[2] > found[0]
        assert found[1] <= compose(unit, concepts, 2, beam=8).iou == best_of_all(unit, concepts, 2)
    assert gained == 5  # noise has an explanation too, and a better one the longer it may be


def test_ties_go_to_the_shorter_and_the_first():
    a, b = np.array([T, T, F, F, F]), np.array([F, F, T, F, F])
    twins = {"z": a, "y": a.copy(), "b": b}
    assert str(compose(a, twins)) == "z"  # not y, not z AND y
    assert str(compose(a | b, twins)) == "z OR b"
    again = {name: twins[name] for name in "byz"}
    assert str(compose(a | b, again)) == "y OR b"
    assert len({compose(a | b, twins) for _ in range(5)}) == 1


def test_cells_keep_apart_what_any_concept_tells_apart():
    concepts = {str(i): m for i, m in enumerate(np.random.default_rng(0).random((70, 300)) < 0.5)}
    concepts |= {"left": np.arange(300) < 100}
    cells = Cells.of(
        {name: m.reshape(3, 10, 10) for name, m in concepts.items()}
    )  # more concepts than a word has bits
    assert cells.sizes.sum() == 300 and cells.shape == (3, 10, 10)
    assert (cells.shows[:, cells.cell] == np.stack(list(concepts.values()))).all()
    assert (
        cells.hits(np.array([4, 4, 7])) == np.bincount(cells.cell[[4, 4, 7]], minlength=len(cells.sizes))
    ).all()
    assert cells.by_image.sum(axis=1).tolist() == [100] * 3
    for image, counts in zip(cells.cell.reshape(3, 100), cells.by_image.toarray(), strict=True):
        assert (counts == np.bincount(image, minlength=len(counts))).all()
    few = Cells.of({"left": concepts["left"]})
    assert sorted(few.sizes) == [100, 200]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda c: compose(c["a"], {}), DataError, "no concepts"),
        (lambda c: compose(c["a"][:10], c), DataError, r"\[10\], the concepts \[400\]"),
        (lambda c: compose(c["a"], c | {"short": c["a"][:10]}), DataError, "'short' has shape"),
        (lambda c: compose(c["a"] * 0.3, c), DataError, "threshold first"),
        (lambda c: compose(c["a"], c | {"soft": c["a"] * 0.3}), DataError, "'soft'"),
        (lambda c: compose(c["a"], c, length=0), SettingError, "at least 1"),
        (lambda c: compose(c["a"], c, beam=0), SettingError, "at least 1"),
    ],
)
def test_bad_masks_and_settings_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(some_concepts())


# --- thresholds and feature maps


def test_the_threshold_keeps_the_share():
    maps = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    for share in (0.005, 0.05, 0.5):
        limit = thresholds(maps, share)
        kept = (maps > limit[:, None, None]).sum(dim=(0, 2, 3))
        assert kept.tolist() == [int(share * 3200)] * 3
        assert limit == pytest.approx(maps.movedim(1, 0).flatten(1).quantile(1 - share, dim=1), abs=1e-3)


def test_ties_never_keep_more_than_the_share():
    maps = torch.randint(4, (40, 2, 5, 5), generator=torch.Generator().manual_seed(0)).float()
    maps[0, 0, 0, 0] = 9
    kept = (maps > thresholds(maps, 0.01)[:, None, None]).sum(dim=(0, 2, 3))
    assert kept.tolist() == [1, 0]  # a quarter of each is at 3; the second is saturated and fires nowhere
    assert (maps[:2] > thresholds(maps[:2], 0.001)[:, None, None]).sum() == 1  # of few positions at least one


def test_dead_units():
    maps = torch.rand(10, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    maps[:, 1] = 0
    maps[:, 2] = 0.7
    maps[:, 3] = maps[0, 3]  # the same picture whatever the image
    maps[:, 4] -= 2  # never above 0
    assert thresholds(maps).isinf().tolist() == [False, True, True, True, True]
    concepts = {"left": np.zeros((10, 8, 8), bool)}
    concepts["left"][:, :, :4] = True
    found = dissect(maps, concepts)
    assert found.dead.tolist() == [False, True, True, True, True]
    assert all(best == [None] * 3 for best in found.formulas[1:]) and not found.fires(3).any()
    assert found.ious()[1:].tolist() == [0] * 4


def test_dissection_is_what_the_definition_says(monkeypatch):
    dice = torch.Generator().manual_seed(0)
    maps = torch.rand(30, 4, 5, 5, generator=dice)
    concepts = {name: torch.rand(30, 16, 16, generator=dice) < 0.3 for name in "abc"}
    large = nn.functional.interpolate(maps, (16, 16), mode="bilinear")
    fires = (large > thresholds(maps, 0.05)[:, None, None]).numpy()
    monkeypatch.setattr("lotterylib.metrics.interpretability.dissection._ELEMENTS", 2048)  # many pieces
    found = dissect(maps, concepts, length=2, share=0.05)
    for unit in range(4):
        assert (found.fires(unit) == fires[:, unit]).all() and fires[:, unit].any()
        for length in (1, 2):
            formula = found.formulas[unit][length - 1]
            assert formula == compose(fires[:, unit], concepts, length)
            assert found.ious(length)[unit] == formula.iou


def test_a_planted_unit_is_found_through_its_maps():
    dice = torch.Generator().manual_seed(3)
    concepts = {name: torch.rand(20, 8, 8, generator=dice) < 0.05 for name in "abcd"}
    planted = concepts["a"] | concepts["b"]
    maps = torch.rand(20, 2, 8, 8, generator=dice)
    maps[:, 1] += planted
    found = dissect(maps, concepts, share=planted.double().mean().item())
    assert found.formulas[1][-1].iou == 1 and str(found.formulas[1][-1]) in ("a OR b", "b OR a")
    assert found.formulas[0][-1].iou < 0.3
    assert found.ious().tolist() == [found.formulas[0][2].iou, 1]


@pytest.mark.parametrize(
    "maps, share, error, words",
    [
        (torch.rand(4, 2, 3, 3), 0.0, SettingError, "between 0 and 1"),
        (torch.rand(4, 2, 3, 3), 1.0, SettingError, "between 0 and 1"),
        (torch.full((4, 2, 3, 3), torch.nan), 0.1, DataError, "broken"),
        (torch.rand(5, 2, 3, 3), 0.1, DataError, "same N images"),
        (torch.rand(4, 2), 0.1, DataError, "same N images"),
    ],
)
def test_bad_maps_are_refused(maps, share, error, words):
    with pytest.raises(error, match=words):
        dissect(maps, {"a": np.ones((4, 6, 6), bool)}, share=share)


@pytest.mark.parametrize(
    "name, layer, units, side",
    [("lenet", "net.5", 16, 5), ("resnet8", "net.stages", 64, 8), ("resnet20s", "net.stages", 64, 8)],
)
def test_the_last_feature_maps_of_each_model(name, layer, units, side):
    model = models.build(name, 10, 1)
    assert last_feature_map(model, torch.rand(1, 1, 32, 32), "cpu") == layer
    assert feature_maps(model, torch.rand(3, 1, 32, 32), layer, "cpu").shape == (3, units, side, side)


def test_what_a_layer_gives_is_taken_before_the_next_works_in_place():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(7, 1, 6, 6)
    assert last_feature_map(model, images[:1], "cpu") == "1"  # the pooled map has one position only
    with torch.no_grad():
        raw = model[0](images)
    assert raw.min() < 0
    for layer, wanted in (("0", raw), ("1", raw.relu())):
        torch.testing.assert_close(feature_maps(model, images, layer, "cpu"), wanted)


def test_networks_and_layers_without_maps_are_refused():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with pytest.raises(SettingError, match="no feature maps"):
        last_feature_map(linear, torch.rand(1, 1, 6, 6), "cpu")
    with pytest.raises(SettingError, match="no layer 'stem'; there are: 0, 1"):
        feature_maps(linear, torch.rand(1, 1, 6, 6), "stem", "cpu")
    with pytest.raises(SettingError, match=r"gives \[2, 36\]"):
        feature_maps(linear, torch.rand(2, 1, 6, 6), "0", "cpu")


# --- the metric


@pytest.fixture(scope="module")
def fashion():
    return datasets.load("fashion-mini", limit=60)


def small(data, width=0.25, seed=0):
    return models.build("resnet8", data.classes, data.channels, width, seed=seed, stem_stride=2)


def test_measuring_by_hand(fashion):
    subject = Subject(small(fashion).train(), fashion, device="cpu")
    before = {n: t.clone() for n, t in subject.model.state_dict().items()}
    with untouched_rng():
        measured = metrics.evaluate(subject, "explained_units", {"images": 50, "threshold": 0.05})
    assert subject.model.training and not any(m._forward_hooks for m in subject.model.modules())
    assert all(torch.equal(t, before[n]) for n, t in subject.model.state_dict().items())
    images, labels = subject.sample(50)
    concepts = datasets.concepts.concepts(images, labels, fashion.class_names)
    found = dissect(feature_maps(subject.model, images, "net.stages", "cpu"), concepts)
    above = found.ious() > 0.05
    assert measured.value == above.mean() and 0 < measured.value < 1 and measured.samples == 50
    assert measured.variants["single"].value == (found.ious(1) > 0.05).mean() <= measured.value
    assert 0 <= measured.variants["chance"].value <= 1 and measured.error > 0
    extra = measured.extra
    assert (extra["units"], extra["cut"], extra["dead"], extra["layer"]) == (16, 0, 0, "net.stages")
    assert extra["formulas"] == {str(u): str(found.formulas[u][-1]) for u in np.flatnonzero(above)}
    assert extra["ious"] == pytest.approx(found.ious().tolist(), abs=1e-4)
    for name, count in extra["concepts"].items():
        assert count == sum(name in found.formulas[u][-1].named for u in np.flatnonzero(above))
    assert max(extra["categories"].values()) <= above.sum()
    assert json.loads(json.dumps(extra)) == extra
    again = metrics.evaluate(
        Subject(small(fashion), fashion, device="cpu"), "explained_units", {"images": 50, "threshold": 0.05}
    )
    assert again == measured


def test_measuring_one_network_does_not_change_what_the_next_is_measured_by(fashion):
    dense = Subject(small(fashion), fashion, device="cpu")
    ticket = Subject(small(fashion, seed=1), fashion, dense=dense, device="cpu")
    alone = metrics.evaluate(
        Subject(small(fashion, seed=1), fashion, device="cpu"), "explained_units", {"images": 50}
    )
    first = metrics.evaluate(dense, "explained_units", {"images": 50})
    assert metrics.evaluate(ticket, "explained_units", {"images": 50}) == alone != first
    assert metrics.evaluate(dense, "explained_units", {"images": 50}) == first


def test_the_mean_iou_needs_no_second_pass(fashion):
    dense = Subject(small(fashion), fashion, device="cpu")
    cut = Subject(small(fashion, 0.125), fashion, dense=dense, device="cpu")
    counted = metrics.evaluate(cut, "explained_units", {"images": 50})
    passes = []
    cut.model.register_forward_hook(lambda *_: passes.append(1))
    measured = metrics.evaluate(cut, "unit_iou", {"images": 50})
    assert not passes
    assert measured.value == pytest.approx(
        sum(counted.extra["ious"]) / 16, abs=1e-4
    )  # of 16 dense units, 8 are there
    assert (
        0 < measured.variants["single"].value < measured.value < 0.5 and 0 < measured.error < measured.value
    )
    assert 0 < measured.variants["chance"].value < measured.value


def test_a_ticket_gains_nothing_by_losing_units(fashion):
    dense = Subject(small(fashion, 0.25), fashion, device="cpu")
    cut = Subject(small(fashion, 0.125), fashion, dense=dense, device="cpu")
    alone = metrics.evaluate(Subject(cut.model, fashion, device="cpu"), "explained_units", {"images": 50})
    measured = metrics.evaluate(cut, "explained_units", {"images": 50})
    assert alone.extra["units"] == 8 and alone.extra["cut"] == 0
    assert measured.extra["units"] == 16 and measured.extra["cut"] == 8
    assert measured.value == alone.value / 2 > 0


def test_a_collapsed_network_explains_nothing(fashion):
    model = small(fashion)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    measured = metrics.evaluate(Subject(model, fashion, device="cpu"), "explained_units", {"images": 40})
    assert (measured.value, measured.error, measured.extra["dead"]) == (0, 0, 16)
    assert measured.extra["formulas"] == measured.extra["concepts"] == {}


def test_another_layer_another_data_set():
    data = datasets.load("digits", limit=30)
    model = models.build("lenet", 10, 1, 0.5)
    measured = metrics.evaluate(
        Subject(model, data, device="cpu"), "explained_units", {"images": 30, "layer": "net.1"}
    )
    assert measured.extra["units"] == 3 and measured.extra["layer"] == "net.1"


def test_images_counted_twice_are_as_images_that_are_there_twice():
    dice = torch.Generator().manual_seed(0)
    maps, concepts = torch.rand(6, 3, 4, 4, generator=dice), {"a": torch.rand(6, 8, 8, generator=dice) < 0.3}
    concepts["b"] = torch.rand(6, 8, 8, generator=dice) < 0.2
    cells = Cells.of(concepts)
    found = dissect(maps, cells, share=0.1)
    draws = np.array([[1] * 6, [2, 0, 1, 0, 0, 3], [0] * 6])
    counted = found.redrawn(cells, 3, draws)
    assert counted[0] == pytest.approx(found.ious()) and counted[2].tolist() == [0] * 3
    there = np.repeat(np.arange(6), draws[1])
    for unit in range(3):
        holds = found.formulas[unit][2].mask(concepts)
        assert counted[1, unit] == pytest.approx(iou(found.fires(unit)[there], holds[there]))


def test_failing_leaves_the_network_as_it_was(fashion):
    model = toy_network().train()
    subject = Subject(model, toy_data(channels=3), device="cpu")  # the network takes one channel
    with pytest.raises(RuntimeError), untouched_rng():
        metrics.evaluate(subject, "explained_units", {"images": 20})
    assert model.training and not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"threshold": 1.0}, "threshold"),
        ({"share": 0}, "share"),
        ({"layer": "net.stage"}, "no layer 'net.stage'"),
        ({"broden": "/nowhere"}, "colour"),
    ],
)
def test_bad_settings_are_refused(fashion, settings, words):
    with pytest.raises(SettingError, match=words):
        metrics.evaluate(
            Subject(small(fashion), fashion, device="cpu"), "explained_units", {"images": 20} | settings
        )


def test_more_classes_than_concepts_of_whole_images_need_broden():
    few = toy_data()
    many = replace(few, class_names=tuple(str(i) for i in range(101)))
    assert metrics.build("explained_units").obstacle(few) == ""
    assert "at most 100" in metrics.build("explained_units").obstacle(many)
    assert metrics.build("explained_units", broden="/a").obstacle(many) == ""
