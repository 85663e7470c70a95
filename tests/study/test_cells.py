"""What a cell is. Committed records name their cells by hash: the ids written down here must not change."""

from collections import Counter

import pytest

from lotterylib.study import expand, load_profile
from lotterylib.study.cells import wanted, with_ancestors
from tests.study.helpers import TINY, cell_of, tiny


def test_ids_stay_what_the_committed_records_were_written_under():
    dense = cell_of(load_profile("laptop"), "dense")
    assert dense.id == "29c4720d02a82240"
    assert dense.metric_id("accuracy", {}) == "29c4720d02a82240-accuracy-57489530"
    last = [c for c in expand(load_profile("laptop")) if c.pruner == "lottery"][-1]
    assert (last.label, last.id) == ("lottery 95.6% resnet8 fashion-mini seed 2", "5ff5ec58ef007b2d")


def test_equal_descriptions_are_equal_cells():
    assert [c.id for c in expand(tiny())] == [c.id for c in expand(tiny())]
    explicit = tiny(pruners={"lottery": {"rate": 0.2, "scope": "all"}})  # the defaults, spelt out
    assert cell_of(explicit, "lottery").id == cell_of(tiny(), "lottery").id
    by_sparsity = tiny(rounds=[], sparsities=[0.2, 0.488])
    assert cell_of(by_sparsity, "lottery", 1).id == cell_of(tiny(), "lottery", 1).id


@pytest.mark.parametrize(
    "change",
    [
        dict(recipe=TINY["recipe"] | {"lr": 0.01}),
        dict(models=[{"name": "lenet", "width": 0.25}]),
        dict(models=[{"name": "resnet8", "width": 0.5}]),
        dict(dataset={"name": "digits", "limit": 61}),
        dict(dataset={"name": "fashion-mini", "limit": 60}),
        dict(seeds=[1]),
        dict(rounds=[2, 3]),
        dict(pruners={"lottery": {"scope": "conv"}}),
        dict(pruners={"lottery": {"rate": 0.3}}),
    ],
)
def test_whatever_determines_the_result_changes_the_id(change):
    assert cell_of(tiny(**change), "lottery").id != cell_of(tiny(), "lottery").id


def test_a_models_settings_change_the_id():
    plain, strided = (
        tiny(models=[{"name": "resnet8", "settings": settings}]) for settings in ({}, {"stem_stride": 2})
    )
    assert cell_of(plain, "lottery").id != cell_of(strided, "lottery").id


def test_where_the_data_lie_and_what_is_measured_do_not():
    moved = tiny(dataset={"name": "digits", "limit": 60, "root": "/elsewhere"})
    assert [c.id for c in expand(moved)] == [c.id for c in expand(tiny())]
    cell = cell_of(tiny(), "lottery")
    assert cell.metric_id("accuracy", {"k": 1}) != cell.metric_id("accuracy", {})
    assert cell.metric_id("accuracy", {"a": 1, "b": 2}) == cell.metric_id("accuracy", {"b": 2, "a": 1})


def test_one_dense_network_a_seed_whatever_the_pruners():
    cells = expand(tiny(seeds=[0, 1]))
    assert sum(c.pruner == "dense" for c in cells) == 2
    assert len(cells) == 2 * (1 + 3 * 2)
    assert cell_of(tiny(), "magnitude").dense().id == cell_of(tiny(), "lottery").dense().id == cells[0].id
    assert cell_of(tiny(), "random").dense() is None


def test_a_study_of_the_dense_network_alone():
    assert [c.pruner for c in expand(tiny(pruners=[], rounds=[]))] == ["dense"]


def test_ancestors_come_first_and_once():
    cells = with_ancestors(expand(tiny(rounds=[2, 5, 18], seeds=[0, 1])))
    place = {cell.id: i for i, cell in enumerate(cells)}
    assert len(place) == len(cells) == 2 * (1 + 3 + 3 + 18)
    for cell in cells:
        assert all(place[parent.id] < place[cell.id] for parent in cell.parents())


def test_eighteen_rounds_have_seventeen_before_them_and_the_dense_network():
    [last] = (c for c in expand(tiny(rounds=[18])) if c.pruner == "lottery")
    chain = with_ancestors([last])
    assert [c.pruner for c in chain] == ["dense"] + ["lottery"] * 18
    assert [c.sparsity for c in chain[1:]] == pytest.approx([1 - 0.8**n for n in range(1, 19)])


def test_rounds_asked_for_and_rounds_passed_through_are_the_same_cells():
    asked = {c.id for c in expand(tiny(rounds=list(range(1, 18)))) if c.pruner == "lottery"}
    [last] = (c for c in expand(tiny(rounds=[18])) if c.pruner == "lottery")
    assert {c.id for c in with_ancestors([last])[1:-1]} == asked


def test_cells_travel_between_processes():
    import pickle

    cell = cell_of(tiny(), "lottery")
    assert pickle.loads(pickle.dumps(cell)).id == cell.id


def test_a_pruner_may_have_fewer_seeds():
    some = tiny(seeds=[0, 1], pruners=["random", "lottery"], fewer_seeds={"lottery": [1]})
    seeds = {p: {c.seed for c in expand(some) if c.pruner == p} for p in ("dense", "random", "lottery")}
    assert seeds == {"dense": {0, 1}, "random": {0, 1}, "lottery": {1}}


@pytest.mark.parametrize("fewer", [{"lottery": [7]}, {"lottery": []}, {"snip": [0]}])
def test_fewer_seeds_must_be_seeds_of_a_pruner_of_the_profile(fewer):
    with pytest.raises(ValueError, match="fewer_seeds of"):
        tiny(pruners=["lottery"], fewer_seeds=fewer)


def test_more_than_accuracy_may_be_measured_on_some_seeds_only():
    profile = tiny(seeds=[0, 1], metrics=["accuracy", "nll"], metric_seeds=[1])
    counted = Counter((m, cell.seed) for cell, m, *_ in wanted(profile))
    assert counted == {("accuracy", 0): 7, ("accuracy", 1): 7, ("nll", 1): 7}
    with pytest.raises(ValueError, match="metric_seeds: want some of the seeds"):
        tiny(metric_seeds=[3])


def test_controls_are_dense_networks_of_other_seeds_compared_in_turn():
    profile = tiny(seeds=[0, 1], controls=3)
    found = [(c.seed, c.training_seed) for c in expand(profile) if c.pruner == "control"]
    assert found == [(0, 1000), (0, 1002), (1, 1001)]
    control = cell_of(profile, "control")
    assert control.parents() == [] and control.baseline().id == cell_of(tiny(), "dense").id
    assert len({c.id for c in expand(profile)}) == len({c.label for c in expand(profile)}) == 2 * 7 + 3
    assert {c.id for c in expand(tiny(seeds=[0, 1]))} < {c.id for c in expand(profile)}


def test_parts_of_a_study_keep_their_controls():
    """Otherwise a study done seed by seed would train other controls than one done at once."""
    profile = tiny(seeds=[0, 1, 2], controls=5, metrics=["accuracy", "nll"], metric_seeds=[0, 2])
    every = {c.id for c in expand(profile) if c.pruner == "control"}
    parts = [profile.cut(seeds=[2]), profile.cut(seeds=[0, 1]).cut(only=["control"])]
    of = [{c.id for c in expand(part) if c.pruner == "control"} for part in parts]
    assert (len(of[0]), len(of[1])) == (2, 3) and of[0] | of[1] == every
    assert not any(c.pruner == "control" for c in expand(profile.cut(only=["random"])))


def test_one_pruner_under_two_labels_is_two_pruners():
    profile = tiny(pruners={"random": {}, "layerwise": {"pruner": "random", "distribution": "erk"}})
    plain, labelled = cell_of(profile, "random"), cell_of(profile, "layerwise")
    assert plain.id == cell_of(tiny(), "random").id != labelled.id
    alone = tiny(pruners={"random": {"distribution": "erk"}})
    assert labelled.id == cell_of(alone, "random").id, "a label is no part of what a ticket is"
    assert labelled.build_pruner().distribution == "erk" and labelled.baseline() == plain.baseline()
