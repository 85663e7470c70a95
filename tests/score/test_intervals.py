"""The card's intervals against a bootstrap that is drawn out by brute force, image by image."""

import copy
import html
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import lotterylib
from lotterylib.masks import Mask
from lotterylib.metrics import Measurement, Subject
from lotterylib.metrics.calibration import calibration_interval
from lotterylib.score.bench import fifths_error
from tests.conftest import toy_data, toy_network

COUNT, RESAMPLES, BINS = 400, 2000, 15
BY_FIFTHS = ("hessian_trace", "hessian_top", "pac_bayes_sigma")


@pytest.fixture(scope="module")
def case():
    """Images that are hard to tell apart, a network that has learnt them a little, and its noisy twin."""
    data = toy_data(COUNT)
    for images, _ in (data.train, data.val, data.test):
        images += 1.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(len(images)))
        images.clamp_(0, 1)
    dense = toy_network()
    optimizer = torch.optim.Adam(dense.parameters(), 0.02)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(dense(data.train[0]), data.train[1]).backward()
        optimizer.step()
    ticket = copy.deepcopy(dense.eval())
    with torch.no_grad():
        ticket[5].weight.mul_(torch.rand(3, 96, generator=torch.Generator().manual_seed(1)) > 0.2)
        ticket[5].weight.mul_(1.6)
    return dense, ticket, data


@pytest.fixture(scope="module")
def card(case):
    dense, ticket, data = case
    only = ["accuracy", "nll", "ece", "hessian_trace", "hessian_top", "pac_bayes_sigma", "input_trace"]
    few = dict.fromkeys(only[3:], {"images": 20}) | {"pac_bayes_sigma": {"images": 20, "draws": 3}}
    return lotterylib.scorecard(ticket, dense, data, only=only, settings=few, speed=False, progress=False)


def scores(logits, labels):
    """Accuracy, NLL and ECE of logits [N, classes], in plain NumPy."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    ece = np.abs(np.bincount(place, right - top, BINS)).sum() / len(labels)
    return np.array([right.mean(), -np.log(p[np.arange(len(labels)), labels]).mean(), ece])


def test_intervals_are_those_of_a_paired_bootstrap_over_images(case, card):
    """2,000 times: the same images drawn with replacement for both networks, every score computed afresh. Widths of the
    95% percentile interval and of the card's agree to 15%, and so do standard errors; a bootstrap of 200 resamples is
    itself good to 5%, one of 2,000 to 2%."""
    dense, ticket, data = case
    labels = data.test[1].numpy()
    with torch.no_grad():
        a, b = (network(data.test[0]).double().numpy() for network in (ticket, dense))
    dice, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        i = dice.integers(len(labels), size=len(labels))
        drawn.append(scores(a[i], labels[i]) - scores(b[i], labels[i]))
    drawn, found = np.array(drawn), scores(a, labels) - scores(b, labels)
    for k, name in enumerate(("accuracy", "nll", "ece")):
        row, (low, high) = card[name], np.quantile(drawn[:, k], [0.025, 0.975])
        width = row.high - row.low
        if name == "ece":
            # a bootstrap keeps the bias of binning, and adds to it
            (ours, bias, error), (theirs, its, other) = (
                calibration_interval(torch.tensor(x).softmax(1), data.test[1], kind="ece") for x in (a, b)
            )
            assert row.difference == pytest.approx(ours - bias - theirs + its, abs=1e-6)
            assert width == pytest.approx(2 * 1.96 * math.hypot(error, other), rel=0.05)
            continue
        assert row.difference == pytest.approx(found[k], abs=1e-6) and row.over == "images"
        assert width == pytest.approx(2 * 1.96 * drawn[:, k].std(), rel=0.15)
        assert width == pytest.approx(high - low, rel=0.15)
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.1 * width)
        # unpaired, it would be far wider: the comparison can tell
        assert 2 * 1.96 * math.hypot(row.ticket_error, row.dense_error) > 1.3 * width


def test_each_metric_says_what_its_interval_is_over(card):
    assert [card[m].over for m in ("nll", "hessian_trace", "hessian_top", "pac_bayes_sigma", "input_trace")] == [
        "images", "images, by fifths and random probes", "images, by fifths",
        "images, by fifths and random draws of noise", "images and random probes",
    ]  # fmt: skip
    assert all(card[m].low < card[m].difference < card[m].high for m in BY_FIFTHS)
    for place in (str(card), html.unescape(card.to_html())):
        said = " ".join(place.split())
        assert "paired bootstrap over images" in said and "another seed" in said
        labels = ", ".join(card[m].label for m in BY_FIFTHS)
        assert f"By fifths ({labels}): measured again on five disjoint fifths" in said
        assert f"With what random draws of noise add: {card['pac_bayes_sigma'].label}." in said
    assert "interval over images, by fifths" in card.to_html()
    assert json.loads(card.to_json())["metrics"][0]["over"] == "images"


def test_the_error_of_fifths_is_that_of_images(case, monkeypatch):
    """Of a plain mean over images, for which the error is known: in the mean over many splits, error² = S²/N."""
    dense, ticket, data = case
    pair = Subject(ticket, data, Mask.ones(ticket)), Subject(dense, data)

    def mean_score(subject, name, settings):
        images, _ = subject.sample(settings["images"], "train")
        assert len(images) == settings["images"] == 20
        return Measurement(
            (images.mean(dim=(1, 2, 3)) * (3.0 if subject.mask else 1.0)).mean().item(), None, 20
        )

    monkeypatch.setattr("lotterylib.metrics.evaluate", mean_score)
    squares = []
    for seed in range(200):
        pair[0].seed = seed
        squares.append(fifths_error("hessian_top", {"images": 100}, *pair) ** 2)
    each = 2 * pair[0].sample(100, "train")[0].mean(dim=(1, 2, 3))
    assert np.mean(squares) == pytest.approx(each.var().item() / 100, rel=0.15)


def test_fifths_that_give_no_number_leave_the_probes(case, monkeypatch):
    dense, ticket, data = case
    monkeypatch.setattr("lotterylib.score.bench.fifths_error", lambda *_: None)
    few = dict.fromkeys(("hessian_trace", "hessian_top"), {"images": 20})
    card = lotterylib.scorecard(
        ticket, dense, data, only=list(few), settings=few, speed=False, progress=False
    )
    assert [card[m].over for m in few] == ["random probes", "nothing"]
    assert card["hessian_top"].low == card["hessian_top"].difference == card["hessian_top"].high
    said = " ".join(str(card).split())
    assert re.search(
        rf"Over random probes, not over images .*: {re.escape(card['hessian_trace'].label)}\.", said
    )
    assert "Without an interval" in said and "; no interval" in card.to_html()
