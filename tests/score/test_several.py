"""Several pruned files on one card, several trainings of the dense network, and none."""

import copy
import json
import math
import re

import pytest
import torch
from torch.nn.utils import prune

import lotterylib
from lotterylib import metrics
from lotterylib.errors import SettingError, UnknownNameError
from lotterylib.score import Row, compare
from lotterylib.verdict.controls import Band
from tests.conftest import toy_data, toy_network

QUICK = {"only": ["accuracy", "nll", "recall_loss"], "speed": False, "progress": False}


def trained(seed=0, steps=40):
    data, network = toy_data(), toy_network(seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(data.train[0]), data.train[1]).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def dense():
    return trained()


def pruned(network, amount):
    found = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prune.random_unstructured(found[5], "weight", amount=amount)
    return found


def test_files_of_one_name_are_told_apart_by_their_folders(dense, tmp_path):
    constant = copy.deepcopy(dense)
    torch.nn.init.zeros_(constant[5].weight)
    for folder, network in (("a", dense), ("b", constant), ("d", dense)):
        (tmp_path / folder).mkdir()
        torch.save(network.state_dict(), tmp_path / folder / "model.pt")
    a, b, d = (tmp_path / folder / "model.pt" for folder in "abd")
    one, two = compare([a, b], d, toy_data(), arch=toy_network(), **QUICK).cards
    assert [card.about["ticket"] for card in (one, two)] == ["a/model.pt", "b/model.pt"]
    assert set(two.about["files"]) == {"b/model.pt", "d/model.pt"}
    assert not one.doubts and two.doubts == ["b/model.pt gives the same answer for every image"]


def test_several_cards_are_those_of_each_alone(dense, tmp_path):
    tickets = [pruned(dense, 0.5), pruned(dense, 0.95)]
    both = compare(tickets, dense, toy_data(), **QUICK)
    for card, ticket in zip(both.cards, tickets, strict=True):
        alone = lotterylib.scorecard(ticket, dense, toy_data(), **QUICK)
        assert [row.ticket for row in card.rows] == [row.ticket for row in alone.rows]
        assert [(row.low, row.high) for row in card.rows] == [(row.low, row.high) for row in alone.rows]
    assert both.passes == all(card.passes for card in both.cards) and both.fails("undecided")
    paths = both.save(tmp_path)
    assert [path.name for path in paths] == [f"scorecard.{e}" for e in ("json", "html", "md", "xml")]
    assert len(json.loads(paths[0].read_text())["cards"]) == 2
    page = paths[1].read_text()
    assert page.count("id=card") == 2 and "What is gained, what is lost" in page and "http" not in page
    said = str(both)
    assert re.search(r"file, survivors only +[\d.]+ kB +[\d.]+ kB +[\d.]+ kB", said)
    assert "Test accuracy" in said and "! worse" in said and max(map(len, said.splitlines())) <= 100
    with pytest.raises(UnknownNameError, match="did you mean 'only'"):
        compare(tickets, dense, toy_data(), onyl=["accuracy"])


def test_the_dense_network_is_measured_once(dense, monkeypatch):
    asked = []
    whole = metrics.evaluate
    monkeypatch.setattr(metrics, "evaluate", lambda s, n, o=None: (asked.append(n), whole(s, n, o))[1])
    compare([pruned(dense, 0.5), pruned(dense, 0.9)], dense, toy_data(), **QUICK | {"only": ["nll"]})
    assert asked == ["nll"] * 3


def test_without_a_dense_network_values_stand_alone(dense):
    card = lotterylib.scorecard(pruned(dense, 0.5), data=toy_data(), **QUICK)
    with_dense = lotterylib.scorecard(pruned(dense, 0.5), dense, toy_data(), **QUICK)
    assert (
        [row.metric for row in card.rows] == ["accuracy", "nll"] and not card.passes and card.fails("worse")
    )
    assert card.skipped == {"recall_loss": "it compares with a dense network, and none was given"}
    assert card["nll"].ticket == with_dense["nll"].ticket and math.isnan(card["nll"].dense)
    assert card["accuracy"].low < card["accuracy"].ticket == 1.0 == card["accuracy"].high
    assert "nothing to compare" in str(card) and json.loads(card.to_json())["metrics"][0]["dense"] is None
    assert "<th scope=col>value" in card.to_html() and "Without" not in card.to_markdown()


def test_several_trainings_tell_what_a_retraining_changes(dense):
    others, how = [trained(seed) for seed in (1, 2, 3, 4)], QUICK | {"only": ["nll"]}
    card = lotterylib.scorecard(others[0], [dense, *others], toy_data(), **how)
    row = card["nll"]
    values = [lotterylib.scorecard(n, data=toy_data(), **how)["nll"].ticket for n in (dense, *others)]
    assert row.band == Band.of(values).predict(1) and row.retraining == "within" and row.passes
    assert "dense trained anew" in str(card) and "a retraining changes" in " ".join(str(card).split())
    few = lotterylib.scorecard(others[0], [dense, *others[:2]], toy_data(), **how)["nll"]
    assert few.retraining == "within" and few.word in ("undecided", few.verdict) != "worse"
    one = lotterylib.scorecard(others[0], dense, toy_data(), **how)
    assert one["nll"].band is None and "This is about these two networks" in str(one)
    bad = lotterylib.scorecard(pruned(dense, 0.95), [dense, *others], toy_data(), **how)
    assert bad["nll"].word == "worse" == bad["nll"].retraining and not bad.passes and bad.fails("worse")


@pytest.mark.parametrize(
    "verdict, place, trainings, word",
    [("worse", "within", 5, "holds"), ("worse", "within", 4, "undecided"), ("undecided", "within", 5, "holds"),
     ("worse", "worse", 9, "worse"), ("holds", "worse", 9, "holds"), ("floor", "within", 9, "floor"), ("worse", "", 1, "worse")],
)  # fmt: skip
def test_what_a_few_trainings_excuse_and_many_confirm(verdict, place, trainings, word):
    row = Row("nll", "NLL", "calibration", "lower", "nats", 1, None, 1, None, 0, 0, 0, 1, verdict, 9, retraining=place, trainings=trainings)  # fmt: skip
    assert row.word == word and row.passes == (word == "holds")


def test_an_interrupted_card_goes_on_from_its_cache(dense, tmp_path, monkeypatch):
    ticket, whole, asked = pruned(dense, 0.5), metrics.evaluate, []

    def evaluate(subject, name, settings=None):
        asked.append(name)
        if name == "brier" and "stop" in asked:
            raise KeyboardInterrupt
        return whole(subject, name, settings)

    monkeypatch.setattr(metrics, "evaluate", evaluate)
    how = QUICK | {"only": ["accuracy", "nll", "brier"], "cache": tmp_path}
    asked.append("stop")
    with pytest.raises(KeyboardInterrupt):
        lotterylib.scorecard(ticket, dense, toy_data(), **how)
    asked.clear()
    card = lotterylib.scorecard(ticket, dense, toy_data(), **how)
    assert asked == ["brier", "brier"]  # of two networks; the others are taken up
    plain = lotterylib.scorecard(ticket, dense, toy_data(), **how | {"cache": None})
    assert [(r.metric, r.ticket, r.low, r.verdict) for r in card.rows] == [
        (r.metric, r.ticket, r.low, r.verdict) for r in plain.rows
    ]
    asked.clear()
    lotterylib.scorecard(pruned(dense, 0.6), dense, toy_data(), **how)
    assert len(asked) == 6  # another network is another card


def test_the_answer_and_the_grades(dense):
    card = lotterylib.scorecard(pruned(dense, 0.5), dense, toy_data(), **QUICK)
    answer = str(card).splitlines()[0]
    assert answer.startswith("With ") and "worse than its dense network" in " ".join(str(card).split())
    found = json.loads(card.to_json())
    assert found["grades"]["calibration"]["grade"] == "worse" and re.search(
        "more images .*would decide", found["answer"]
    )
    assert all(image["dense"] != image["ticket"] for image in found["changed"])
    assert [share["name"] for share in found["classes"]] == ["a", "b", "c"]
    assert "±0.0100" in str(card) and "torch" in str(card) and "Class by class" in card.to_html()


def test_no_network_is_one_line(dense):
    with pytest.raises(SettingError, match="give one pruned network or more"):
        compare([], dense, toy_data(), **QUICK)
