import json
import math

import pytest
import torch
from sklearn.metrics import recall_score

from benchmarks import bias as simulated
from lotterylib import metrics
from lotterylib.errors import DataError
from lotterylib.metrics import Subject, paired
from lotterylib.metrics.generalization import identified_exemplars, mistakes, recall, recall_change
from tests.conftest import toy_data, toy_network, untouched_rng


def some(count=300, classes=5, seed=0):
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=dice), torch.randint(classes, (count,), generator=dice)


def test_recall_as_scikit_learn_counts():
    logits, labels = some()
    assert recall(logits, labels) == pytest.approx(
        recall_score(labels, logits.argmax(1), average=None).tolist()
    )


def test_a_class_without_labels_has_no_recall():
    logits = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    assert recall(logits, torch.tensor([0, 2, 2])) == [1.0, None, 0.0]


def test_recall_refuses_what_accuracy_refuses():
    with pytest.raises(DataError, match="no images"):
        recall(torch.zeros(0, 3), torch.zeros(0).long())
    with pytest.raises(DataError, match="NaN"):
        recall(torch.tensor([[0.0, torch.nan]]), torch.tensor([0]))


def test_accuracy_records_recall_and_predictions():
    network, data = toy_network(), toy_data()
    measured = metrics.evaluate(Subject(network, data, device="cpu"), "accuracy")
    with torch.no_grad():
        predicted = network.eval()(data.test[0]).argmax(1)
    labels = data.test[1]
    extra = json.loads(json.dumps(measured.extra))
    off = mistakes(extra)
    assert torch.equal((labels + off) % 3, predicted) and off.dtype == torch.int64
    assert (off == 0).double().mean().item() == measured.value
    expected = recall_score(labels, predicted, average=None)
    assert list(extra["recall"].values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert list(extra["recall"]) == ["a", "b", "c"]


def test_predictions_of_many_images_and_classes_stay_small():
    labels = torch.arange(10_000) % 1000
    predicted = torch.where(torch.arange(10_000) % 10 == 0, 999 - labels, labels)
    logits = torch.zeros(10_000, 1000).scatter_(1, predicted[:, None], 1.0)

    class Canned(Subject):
        test_logits, test_labels = logits, labels

    names = tuple(str(c) for c in range(1000))
    subject = Canned(None, toy_data(classes=3))
    object.__setattr__(subject.data, "class_names", names)
    extra = metrics.evaluate(subject, "accuracy").extra
    assert torch.equal((labels + mistakes(extra)) % 1000, predicted)
    assert len(extra["mistakes"]) < 6000


def test_records_without_predictions_say_so():
    with pytest.raises(DataError, match="measure accuracy again"):
        mistakes({"recall": {}})


def test_recall_change():
    assert recall_change([0.5, None, 1.0, None], [0.75, 0.2, 0.5, None]) == [-0.25, None, 0.5, None]
    with pytest.raises(DataError, match="same classes"):
        recall_change([0.5], [0.5, 0.5])


# Five images, three dense and three sparse networks.
DENSE = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 1, 1], [0, 2, 2, 2, 1]])
SPARSE = torch.tensor([[0, 2, 1, 0, 0], [1, 2, 2, 1, 0], [0, 1, 0, 2, 1]])


def test_exemplars_by_hand():
    """Most say: dense 0, 1, 2, any, 1; sparse 0, 2, any, any, 0. Images 1 and 4 have no answer in common."""
    assert identified_exemplars(DENSE, SPARSE).tolist() == [1, 4]


def test_ties_count_only_without_a_common_class():
    dense = torch.tensor([[0, 0, 0], [1, 1, 0]])  # 0 and 1 tie, 0 and 1 tie, 0
    assert identified_exemplars(dense, torch.tensor([[1, 2, 1], [2, 3, 0]])).tolist() == [1]


def test_neither_order_nor_names_matter():
    dice = torch.Generator().manual_seed(0)
    dense, sparse = (torch.randint(4, (k, 200), generator=dice) for k in (3, 6))
    found = identified_exemplars(dense, sparse)
    assert 0 < len(found) < 200
    assert torch.equal(found, identified_exemplars(dense.flip(0), sparse[torch.randperm(6, generator=dice)]))
    shift = torch.randint(4, (200,), generator=dice)  # as mistakes() names the classes of each image
    assert torch.equal(found, identified_exemplars((dense + shift) % 4, (sparse + shift) % 4))
    assert torch.equal(found, identified_exemplars(sparse, dense))
    assert len(identified_exemplars(dense, dense)) == 0


def test_single_networks_are_their_own_majority():
    logits, labels = some()
    one, other = logits.argmax(1), labels
    assert torch.equal(identified_exemplars(one[None], other[None]), (one != other).nonzero().squeeze(1))


@pytest.mark.parametrize(
    "dense, sparse",
    [
        (DENSE, SPARSE[:, :4]),
        (DENSE[:0], SPARSE),
        (DENSE, SPARSE[:, :0]),
        (DENSE[0], SPARSE[0]),
        (DENSE, SPARSE - 1),
    ],
)
def test_bad_predictions_are_refused(dense, sparse):
    with pytest.raises(DataError, match="predictions"):
        identified_exemplars(dense, sparse)


def canned(logits, dense=None):
    class Canned(Subject):
        test_logits = logits

    return Canned(None, toy_data(), dense=dense)


def answers(predicted):
    return torch.nn.functional.one_hot(predicted, 3).float()


def test_recall_loss_by_hand():
    """64 images: 22 of a, 21 of b, 21 of c. Dense misses 1 of b; the ticket 4 others of b and 2 of a."""
    labels = toy_data().test[1]
    places = {c: (labels == c).nonzero().squeeze(1) for c in range(3)}
    dense, ticket = labels.clone(), labels.clone()
    dense[places[1][:1]] = 0
    ticket[places[1][1:5]] = 2
    ticket[places[0][:2]] = 1
    subject = canned(answers(ticket), dense=canned(answers(dense)))
    with untouched_rng():
        measured = metrics.evaluate(subject, "recall_loss")
    assert measured.value == pytest.approx(3 / 21) and measured.samples == 21
    # by hand, with half an image in each of four cells: 6 of 23 moved, by 3 in all
    by_hand = math.sqrt(6 - 3**2 / 23) / 23
    assert measured.extra["errors"]["b"] == pytest.approx(by_hand, abs=1e-6)
    assert 0.6 * by_hand < measured.error < 1.6 * by_hand and 0 < measured.bias < 1.5 * by_hand
    assert measured.extra["worst"] == "b"
    assert measured.extra["change"] == pytest.approx({"a": -2 / 22, "b": -3 / 21, "c": 0.0}, abs=1e-6)
    assert measured.extra["errors"]["c"] == pytest.approx(1 / 23, abs=1e-6)
    json.dumps(measured.extra)


@pytest.mark.parametrize("lost", ["none", "one class, 3 errors", "normal, 1 error"])
def test_the_largest_of_ten_losses_is_covered_without_most_of_its_bias(lost):
    """300 draws about known losses; the largest alone is too large by 1.5 errors where nothing is lost."""
    row = simulated.means(simulated.recall(simulated.LOST[lost]), 300)
    assert row["covers"] >= 0.92
    assert abs(row["unbiased"] - row["truth"]) < 0.85
    if lost == "none":
        assert row["plain"] == pytest.approx(1.54, abs=0.1) and row["plain covers"] < row["covers"]


def test_nothing_is_certain_from_one_image():
    """One image of one class, right in the dense network and wrong in the ticket: +1.000, and no certainty."""
    label, data = torch.tensor([1]), toy_data()
    object.__setattr__(data, "test", (data.test[0][:1], label))

    class Canned(Subject):
        test_logits = answers(label)

    dense = Canned(None, data)
    ticket = type("Wrong", (Subject,), {"test_logits": answers((label + 1) % 3)})(None, data, dense=dense)
    measured = metrics.evaluate(ticket, "recall_loss")
    apart = paired(measured, metrics.evaluate(dense, "recall_loss"))
    assert measured.value == 1 and apart.error > 0.4


def test_dense_has_lost_nothing():
    measured = metrics.evaluate(canned(some(64, 3)[0]), "recall_loss")
    assert (measured.value, measured.error) == (0, 0) and math.copysign(1, measured.value) == 1
    assert set(measured.extra["change"].values()) == {0.0}


def test_equal_answers_of_other_weights_have_lost_nothing_as_far_as_these_images_tell():
    labels = toy_data().test[1]
    subject = canned(answers(labels), dense=canned(2 * answers(labels)))
    measured = metrics.evaluate(subject, "recall_loss")
    assert (measured.value, measured.bias) == (0, 0) and measured.error > 0.01


def test_a_gain_in_every_class_is_a_negative_loss():
    labels = toy_data().test[1]
    subject = canned(answers(labels), dense=canned(answers((labels + 1) % 3)))
    assert metrics.evaluate(subject, "recall_loss").value == -1


def test_a_class_missing_from_the_test_labels_is_left_out():
    data = toy_data()
    kept = data.test[1] != 2

    class Canned(Subject):
        test_logits = answers(data.test[1][kept])

    subject = Canned(None, data)
    object.__setattr__(data, "test", (data.test[0][kept], data.test[1][kept]))
    measured = metrics.evaluate(subject, "recall_loss")
    assert measured.extra["change"] == {"a": 0.0, "b": 0.0, "c": None} and set(measured.extra["errors"]) == {
        "a",
        "b",
    }
