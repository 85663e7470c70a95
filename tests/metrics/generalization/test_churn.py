import json
import math

import numpy as np
import pytest
import torch

from lotterylib import metrics
from lotterylib.errors import DataError
from lotterylib.metrics import Subject, paired
from lotterylib.metrics.generalization import changed_answers, churn, identified_exemplars
from tests.conftest import toy_data, untouched_rng


def answering(predicted, dense=None):
    """A network of three classes that gives these answers to the test images."""
    logits = torch.nn.functional.one_hot(predicted, 3).float()
    return type("Answering", (Subject,), {"test_logits": logits})(None, toy_data(), dense=dense)


def test_churn_counts_what_differs():
    dice = np.random.default_rng(0)
    one, other = (torch.from_numpy(dice.integers(0, 4, 500)) for _ in range(2))
    assert churn(one, other) == np.mean(one.numpy() != other.numpy()) == churn(other, one)
    assert churn(one, one) == 0
    for bad in (one[:9], one[:0], one[None]):
        with pytest.raises(DataError, match="same images"):
            churn(one if len(bad) else bad, bad)


def test_measured_beside_the_labels():
    """Of 64 images the ticket loses 5, wins 2 of 4 that dense missed, and answers another wrong class on 1."""
    labels = toy_data().test[1]
    dense, ticket = labels.clone(), labels.clone()
    dense[:4] = (labels[:4] + 1) % 3
    ticket[2] = (labels[2] + 1) % 3
    ticket[3] = (labels[3] + 2) % 3
    ticket[10:15] = (labels[10:15] + 1) % 3
    reference = answering(dense)
    subject = answering(ticket, reference)
    with untouched_rng():
        measured = metrics.evaluate(subject, "churn")
    assert measured.value == (5 + 2 + 1) / 64 and measured.samples == 64
    assert measured.error == pytest.approx(math.sqrt(8 / 64 * 56 / 64 / 64))
    extra = json.loads(json.dumps(measured.extra))
    assert (extra["lost"], extra["won"]) == (round(5 / 64, 6), round(2 / 64, 6))
    changed = changed_answers(extra)
    assert torch.equal((dense + changed) % 3, ticket)
    # of one network each, the exemplars are all images that changed
    assert torch.equal(changed.nonzero()[:, 0], identified_exemplars(dense[None], ticket[None]))
    none = metrics.evaluate(reference, "churn")
    assert (none.value, none.error) == (0, 0) and paired(measured, none).value == measured.value


def test_records_without_answers_say_so():
    with pytest.raises(DataError, match="measure churn again"):
        changed_answers({"lost": 0.1})
