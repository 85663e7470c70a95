"""Intervals and verdicts where images are few, and how many more would help."""

import math

import numpy as np
import pytest
import torch

from lotterylib import metrics
from lotterylib.metrics import Measurement, Subject
from lotterylib.score.differences import (
    Difference,
    by_class,
    difference,
    hits,
    images_needed,
    judge,
)  # fmt: skip
from lotterylib.verdict import paired_proportions
from tests.conftest import toy_data, toy_network

ACCURACY, RECALL = metrics.describe("accuracy"), metrics.describe("recall_loss")
NLL, AUROC = metrics.describe("nll"), metrics.describe("ood_auroc")


def share(right):
    right = torch.tensor(right, dtype=torch.float64)
    return Measurement(right.mean().item(), 0.0, len(right), draws=right / math.sqrt(len(right)))


@pytest.mark.parametrize("count", [16, 32, 300])
def test_no_difference_seen_is_not_no_difference(count):
    both = share([1.0] * count)
    found = difference(ACCURACY, both, both, None, None, count)
    known = paired_proportions(count, 0, 0, 0)
    assert (found.low, found.high) == (known.low, known.high) and found.high > 0.01
    assert judge(found.low, found.high, "higher", 0.01, count) == "undecided"
    more = images_needed(found, "higher", 0.01)
    assert judge(*found.at((count + more) / count), "higher", 0.01, count + more) == "holds"
    assert judge(*found.at((count + more - 2) / count), "higher", 0.01, count) == "undecided"


def test_no_difference_seen_of_a_mean_is_not_no_difference():
    """As for shares: the interval is that of networks which answer otherwise the largest share of images of which 400 may show
    none (3.84 of 403.84), and there have nothing to do with each other."""
    dice, count = np.random.default_rng(0), 400
    scores = torch.from_numpy(dice.exponential(size=count))
    one = Measurement.mean_of(scores)
    found = difference(NLL, one, one, None, None, count)
    ours, theirs, unseen = (*dice.exponential(size=(2, 10**6)), dice.random(10**6) < 3.84 / 403.84)
    width = 1.96 * np.where(unseen, ours - theirs, 0.0).std() / math.sqrt(count)
    assert found.high == -found.low == pytest.approx(width * scores.std().item(), rel=0.02)
    assert found.over == "images" and judge(found.low, found.high, "lower", 0.1, count) == "holds"


def test_what_is_left_of_rounding_is_no_difference():
    scores = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = Measurement.mean_of(scores), Measurement.mean_of(scores * (1 + 1e-7))
    found, none = (difference(NLL, ours, one, None, None, 100) for ours in (other, one))
    assert (found.low, found.high) == pytest.approx((none.low, none.high), rel=1e-3) and none.high > 0


def test_two_networks_at_the_end_of_a_scale():
    perfect = Measurement(1.0, 0.0, 100)
    found = difference(AUROC, perfect, perfect, None, None, 100)
    assert found.high == -found.low == pytest.approx(3.84 / 103.84, rel=1e-3)


def test_a_single_image_tells_nothing():
    one = Measurement.mean_of(torch.tensor([0.3]))
    found = difference(NLL, one, one, None, None, 1)
    assert found.over == "nothing" and found.at is None


def test_one_network_needs_no_images():
    one = Measurement.mean_of(torch.rand(10))
    found = difference(NLL, one, one, None, None, 10, same=True)
    assert (found.low, found.high, found.over) == (0.0, 0.0, "one network")


def test_a_few_images_never_pass():
    assert (
        judge(0.0, 0.0, "higher", 0.1, images=29) == "undecided" and judge(0, 0, "higher", 0.1, 30) == "holds"
    )
    assert judge(0.5, 0.9, "higher", 0.1, images=29) == "undecided"
    assert judge(-0.9, -0.5, "higher", 0.1, images=29) == "worse"  # a loss may be plain from few


def test_a_share_is_told_by_its_images():
    assert hits(share([1.0, 0.0, 1.0])).tolist() == [1, 0, 1]
    assert hits(Measurement.mean_of(torch.rand(20))) is None and hits(Measurement(0.5, None, 4)) is None
    assert hits(Measurement(0.5, 0.1, 4, draws=torch.rand(200))) is None


def test_recall_lost_of_a_single_image_is_not_certain():
    """Of one image of a class the network may get anything right; and the worst of many classes is worst by chance, too."""
    data = toy_data(31)
    dense, ticket = (Subject(toy_network(), data) for _ in range(2))
    labels = torch.zeros(31, dtype=torch.int64)
    labels[-1] = 2
    object.__setattr__(data, "test", (data.test[0], labels))
    right = torch.eye(3)[labels]
    dense._kept["test"], ticket._kept["test"] = right, right.clone()
    ticket._kept["test"][-1] = torch.tensor([0.0, 1.0, 0.0])
    theirs, ours = (Measurement(value, 0.0, 1) for value in (0.0, 1.0))
    found = difference(RECALL, ours, theirs, (ticket, dense), None, 31)
    assert found.value == 1.0 and found.low < 0.05 < found.high
    assert judge(found.low, found.high, "lower", 0.05, 31) == "undecided"
    rows = by_class(ticket, dense)
    assert [row.images for row in rows] == [30, 1] and rows[1].difference == -1 and rows[1].high > -0.05


def test_equal_networks_are_not_called_worse_in_recall():
    """Ten classes of 200 images; both networks are right on nine of ten, each on its own: in at most 2 of 40 trials (1 in 20
    would be the promise; on the safe side it is far fewer) may the largest loss seem real."""
    random, wrong = torch.Generator().manual_seed(0), 0
    data = toy_data(2000, classes=10, size=32)
    labels = data.test[1]
    for _ in range(40):
        pair = []
        for _ in range(2):
            subject = Subject(toy_network(), data)
            hit = torch.rand(2000, generator=random) < 0.9
            subject._kept["test"] = torch.eye(10)[torch.where(hit, labels, (labels + 1) % 10)]
            pair.append(subject)
        found = difference(
            RECALL, Measurement(0.1, 0.0, 1), Measurement(0.0, 0.0, 1), tuple(pair), None, 2000
        )
        wrong += found.low > 0
    assert wrong <= 2


def test_what_images_cannot_decide():
    exact = Difference(0.01, 0.01, 0.01, "nothing", 100)
    assert images_needed(exact, "higher", 0.01) is None
    edge = Difference(
        -0.01, -0.02, 0.0, "images", 100, lambda k: (-0.01 - 0.01 / k**0.5, -0.01 + 0.01 / k**0.5)
    )
    assert images_needed(edge, "higher", 0.01) is None  # on the tolerance itself


def test_identical_networks_have_lost_no_recall():
    """The worst of many classes seems to have lost something by chance; of one network and itself nothing is by chance."""
    data = toy_data()
    dense = Subject(toy_network().eval(), data)
    ticket = Subject(toy_network().eval(), data, dense=dense)
    ours, theirs = (metrics.evaluate(each, "recall_loss") for each in (ticket, dense))
    assert (ours.value, ours.error, ours.bias) == (0.0, 0.0, 0.0)
    found = difference(RECALL, ours, theirs, (ticket, dense), None, len(data.test[1]), same=True)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
