import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torch import nn

from lotterylib import datasets, metrics, models
from lotterylib.datasets import Dataset
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.calibration import (
    TEMPERATURES,
    adaptive_calibration_error,
    brier_score,
    calibration_floor,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    static_calibration_error,
    temperature,
)
from tests.conftest import untouched_rng

BINNED = [expected_calibration_error, static_calibration_error, adaptive_calibration_error]
SCORES = [*BINNED, brier_score]
NAMES = ["ece", "sce", "ace", "nll", "brier"]


def random_case(count=1000, classes=7, seed=0, sharpness=2.0):
    """Logits, and labels drawn from other probabilities than theirs."""
    dice = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(count, classes, generator=dice).double()
    labels = torch.multinomial((logits / 2).softmax(1), 1, generator=dice).squeeze(1)
    return logits, labels


def two_classes(confidence, right):
    """Probabilities of class 0 and labels that it gets right or not."""
    p = torch.as_tensor(confidence, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1), 1 - torch.as_tensor(right).long()


def netcal_ece(probabilities, labels, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ECE = pytest.importorskip("netcal.metrics").ECE
        return ECE(15, **settings).measure(probabilities.numpy(), labels.numpy())


# --- ECE


def test_confidence_one_shares_the_last_bin():
    """1,000 images at confidence 1.0, of which 900 are right, and 1,000 at .97, all right: one bin of mean confidence
    .985 and accuracy .95. A sixteenth bin for 1.0 would make it .065."""
    confidence = torch.cat([torch.ones(1000), torch.full((1000,), 0.97)])
    right = torch.cat([torch.ones(900), torch.zeros(100), torch.ones(1000)])
    for p, labels in (two_classes(confidence, right), two_classes(confidence.double(), right)):
        assert expected_calibration_error(p, labels) == pytest.approx(0.0350, abs=1e-7)
        assert expected_calibration_error(p.float(), labels) == pytest.approx(0.0350, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_are_closed_on_the_right(dtype):
    """.6 and .8 lie on edges of 5 bins: .6 belongs with .5, .8 with .7, and 1 with .9."""
    confidence = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    p, labels = two_classes(confidence, [1, 0, 1, 1, 0, 1])
    table = reliability(p.to(dtype), labels, bins=5)
    assert table["count"].tolist() == [0, 0, 2, 2, 2]
    assert table.accuracy.tolist()[2:] == [0.5, 1, 0.5]
    assert table.confidence.tolist()[2:] == pytest.approx([0.55, 0.75, 0.95])
    # |.5 − .55|·2/6 + |1 − .75|·2/6 + |.5 − .95|·2/6
    assert expected_calibration_error(p.to(dtype), labels, bins=5) == pytest.approx(0.25, abs=1e-7)


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 8.0])
def test_ece_as_netcal_computes_it(sharpness):
    logits, labels = random_case(sharpness=sharpness)
    p = logits.softmax(1)
    assert expected_calibration_error(p, labels) == pytest.approx(netcal_ece(p, labels), abs=1e-12)


def test_classwise_errors_as_netcal_computes_them():
    """netcal has no class-wise score, but scores a yes/no forecast; SCE is the mean of those over classes."""
    logits, labels = random_case()
    p = logits.softmax(1)
    each = [netcal_ece(p[:, k].contiguous(), (labels == k).long()) for k in range(p.shape[1])]
    assert static_calibration_error(p, labels) == pytest.approx(np.mean(each), abs=1e-12)


def test_reliability_as_scikit_learn_computes_it():
    logits, labels = random_case()
    p = logits.softmax(1)
    right = (p.argmax(1) == labels).numpy()
    accuracy, confidence = calibration_curve(right, p.amax(1).numpy(), n_bins=15)
    table = reliability(p, labels)
    assert len(table) == 15 and table["count"].sum() == len(labels)
    assert table.accuracy.dropna().tolist() == pytest.approx(accuracy.tolist())
    assert table.confidence.dropna().tolist() == pytest.approx(confidence.tolist())
    assert table.low.tolist() == pytest.approx([b / 15 for b in range(15)])
    assert table.high.tolist() == pytest.approx([b / 15 for b in range(1, 16)])
    gap = (table["count"] / len(labels) * (table.accuracy - table.confidence).abs()).sum()
    assert expected_calibration_error(p, labels) == pytest.approx(gap, abs=1e-15)


def test_one_bin_compares_the_means():
    logits, labels = random_case()
    p = logits.softmax(1)
    gap = abs(p.amax(1).mean() - (p.argmax(1) == labels).double().mean()).item()
    assert expected_calibration_error(p, labels, bins=1) == pytest.approx(gap, abs=1e-15)
    assert adaptive_calibration_error(p, labels, bins=1, classwise=False) == pytest.approx(gap, abs=1e-15)


# --- SCE and ACE by hand


def test_static_calibration_error_by_hand():
    """Two bins, three classes of which the last never comes up."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2]])
    labels = torch.tensor([0, 1, 1, 0])
    first = 0.5 * abs(0.5 - 0.3) + 0.5 * abs(0.5 - 0.65)  # {.2, .4}: one of two is 0; {.7, .6}: one of two
    second = 0.75 * abs(1 / 3 - 0.3) + 0.25 * abs(
        1 - 0.6
    )  # {.2, .3, .4}: one of three is 1; {.6}: one of one
    third = 0.15  # promised .15 on average, and never there
    assert static_calibration_error(p, labels, bins=2) == pytest.approx(
        (first + second + third) / 3, abs=1e-7
    )


def test_adaptive_calibration_error_by_hand():
    """Two bins of two images each, whatever their width."""
    p = torch.tensor([[0.90, 0.10], [0.85, 0.15], [0.80, 0.20], [0.10, 0.90]])
    labels = torch.tensor([0, 1, 0, 1])
    # class 0 by rank: {.10, .80} with one hit of two, {.85, .90} with one of two; class 1 mirrors it
    assert adaptive_calibration_error(p, labels, bins=2) == pytest.approx(
        0.5 * abs(0.5 - 0.45) + 0.5 * abs(0.5 - 0.875), abs=1e-7
    )
    # the top label: {.80, .85} with one hit of two, {.90, .90} with two of two
    top = 0.5 * abs(0.5 - 0.825) + 0.5 * abs(1 - 0.9)
    assert adaptive_calibration_error(p, labels, bins=2, classwise=False) == pytest.approx(top, abs=1e-7)


@pytest.mark.parametrize("count, bins", [(60, 15), (100, 7), (5, 15)])
def test_bins_of_equal_mass_against_sorting(count, bins):
    """Sorted and cut after the ⌈rN/R⌉-th: the same score where no two forecasts are equal."""
    logits, labels = random_case(count, classes=4)
    p = logits.softmax(1)
    expected = []
    for k in range(4):
        order = p[:, k].argsort()
        cuts = [math.ceil(r * count / bins) for r in range(bins + 1)]
        residual = ((labels == k).double() - p[:, k])[order]
        expected.append(sum(abs(residual[a:b].sum().item()) for a, b in zip(cuts, cuts[1:], strict=False)))
    assert adaptive_calibration_error(p, labels, bins) == pytest.approx(np.mean(expected) / count, abs=1e-12)


def test_equal_forecasts_share_a_bin():
    """All forecasts equal: one bin, however many were asked for, and no say for the order of images."""
    p = torch.tensor([0.7, 0.2, 0.1]).expand(90, 3)
    labels = torch.arange(90) % 3
    expected = (abs(1 / 3 - 0.7) + abs(1 / 3 - 0.2) + abs(1 / 3 - 0.1)) / 3
    assert adaptive_calibration_error(p, labels) == pytest.approx(expected, abs=1e-7)
    assert adaptive_calibration_error(p, labels, classwise=False) == pytest.approx(0.7 - 1 / 3, abs=1e-7)


# --- proper scores


def test_nll_of_hopeless_logits_is_exact():
    assert negative_log_likelihood(torch.tensor([[0.0, 120.0]]), torch.tensor([0])) == 120
    assert negative_log_likelihood(torch.tensor([[0.0, 120.0]]), torch.tensor([1])) == pytest.approx(
        0, abs=1e-50
    )
    assert negative_log_likelihood(torch.tensor([[-1000.0, 1000.0]]), torch.tensor([0])) == 2000
    assert negative_log_likelihood(torch.zeros(3, 10), torch.tensor([0, 4, 9])) == pytest.approx(math.log(10))


def test_proper_scores_as_scikit_learn_computes_them():
    logits, labels = random_case()
    p = logits.softmax(1)
    assert negative_log_likelihood(logits, labels) == pytest.approx(log_loss(labels, p, labels=range(7)))
    expected = brier_score_loss(labels, p, labels=range(7), scale_by_half=False)
    assert brier_score(p, labels) == pytest.approx(expected)


def test_the_range_of_the_brier_score():
    sure = torch.eye(3)
    assert brier_score(sure, torch.tensor([0, 1, 2])) == 0
    assert brier_score(sure, torch.tensor([1, 2, 0])) == 2
    assert brier_score(torch.full((3, 3), 1 / 3), torch.tensor([0, 1, 2])) == pytest.approx(2 / 3)


# --- what holds for all


@pytest.mark.parametrize("score", SCORES)
def test_the_order_of_images_does_not_matter(score):
    logits, labels = random_case(seed=1)
    p = logits.softmax(1).float().mul(20).round().div(20)  # with many ties
    p = p / p.sum(1, keepdim=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    assert score(p[order], labels[order]) == pytest.approx(score(p, labels), abs=1e-12)


@pytest.mark.parametrize("score", [static_calibration_error, adaptive_calibration_error, brier_score])
def test_the_order_of_classes_does_not_matter(score):
    logits, labels = random_case()
    p, order = logits.softmax(1), torch.tensor([3, 1, 0, 6, 5, 2, 4])
    assert score(p[:, order], order.argsort()[labels]) == pytest.approx(score(p, labels), abs=1e-12)


@pytest.mark.parametrize("score", BINNED)
def test_labels_drawn_from_the_forecast_score_near_zero(score):
    """A perfectly calibrated network, simulated; twice the logits make it overconfident."""
    dice = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(100_000, 5, generator=dice).double()
    labels = torch.multinomial(logits.softmax(1), 1, generator=dice).squeeze(1)
    few = slice(0, 500)
    calibrated = score(logits.softmax(1), labels)
    assert calibrated < 0.005
    assert score(logits[few].softmax(1), labels[few]) > 3 * calibrated  # biased upwards on few images
    assert score((2 * logits).softmax(1), labels) > 5 * calibrated


@pytest.mark.parametrize("count", [3, 100, 2000])
def test_the_floor_is_what_a_calibrated_network_scores(count):
    dice = torch.Generator().manual_seed(0)
    p = (3 * torch.randn(count, 4, generator=dice).double()).softmax(1)
    runs = [
        expected_calibration_error(p, torch.multinomial(p, 1, generator=dice).squeeze(1)) for _ in range(400)
    ]
    assert calibration_floor(p) == pytest.approx(np.mean(runs), rel=0.12)


def test_a_floor_of_single_images_is_exact():
    """In a bin of one image the residual is 1 − c with probability c, else c: 2c(1 − c) on average. Two such bins."""
    p, _ = two_classes([0.99, 0.9], [1, 1])
    assert calibration_floor(p) == pytest.approx((2 * 0.99 * 0.01 + 2 * 0.9 * 0.1) / 2)


def test_saturated_probabilities():
    p, labels = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0])], torch.tensor([0, 1, 2, 3, 1])
    assert expected_calibration_error(p, labels) == pytest.approx(0.2)
    assert static_calibration_error(p, labels) == pytest.approx((0.2 + 0.2) / 4)
    assert adaptive_calibration_error(p, labels) == pytest.approx((0.2 + 0.2) / 4)
    assert brier_score(p, labels) == pytest.approx(2 / 5)


@pytest.mark.parametrize("score", SCORES)
def test_rounding_is_forgiven(score):
    p = torch.tensor([[1.0000002, -1e-9], [0.3, 0.69995], [0.0, 1.0]])
    clean = torch.tensor([[1.0, 0.0], [0.3, 0.69995], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    assert score(p, labels) == score(clean, labels)


@pytest.mark.parametrize("score", SCORES)
def test_arrays_of_numpy_will_do(score):
    logits, labels = random_case(50)
    p = logits.softmax(1)
    assert score(p.numpy(), labels.numpy()) == score(p, labels)


@pytest.mark.parametrize("score", [*SCORES, reliability])
@pytest.mark.parametrize(
    "p, labels, words",
    [
        (torch.zeros(0, 3), torch.zeros(0).long(), "no images"),
        (torch.zeros(3, 0), torch.zeros(3).long(), "no images"),
        (torch.tensor([[0.5, torch.nan]]), torch.tensor([0]), "NaN"),
        (torch.tensor([[0.5, 0.4]]), torch.tensor([0]), "off 1 by 0.1"),
        (torch.tensor([[1.5, -0.5]]), torch.tensor([0]), "least entry is -0.5"),
        (torch.tensor([[torch.inf, 0.0]]), torch.tensor([0]), "off 1 by inf"),
        (torch.ones(3), torch.zeros(3).long(), "want probabilities"),
        (torch.eye(2), torch.tensor([0]), "label of each of 2 images"),
        (torch.eye(2), torch.tensor([0, 2]), r"0\.\.1"),
        (torch.eye(2), torch.tensor([-1, 0]), r"0\.\.1"),
        (torch.eye(2), torch.tensor([0.5, 0]), "whole number"),
    ],
)
def test_bad_probabilities_are_refused(score, p, labels, words):
    with pytest.raises(DataError, match=words):
        score(p, labels)


@pytest.mark.parametrize("score", [negative_log_likelihood, temperature])
@pytest.mark.parametrize(
    "logits, labels, words",
    [
        (torch.zeros(0, 3), torch.zeros(0).long(), "no images"),
        (torch.tensor([[0.0, torch.nan]]), torch.tensor([0]), "not finite"),
        (torch.tensor([[0.0, torch.inf]]), torch.tensor([0]), "not finite"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"0\.\.1"),
        (torch.zeros(2), torch.tensor([0, 1]), "want logits"),
    ],
)
def test_bad_logits_are_refused(score, logits, labels, words):
    with pytest.raises(DataError, match=words):
        score(logits, labels)


@pytest.mark.parametrize("score", [*BINNED, reliability])
@pytest.mark.parametrize("bins", [0, -1, 2.5, True])
def test_bad_bins_are_refused(score, bins):
    with pytest.raises(SettingError, match="bins must be"):
        score(torch.eye(2), torch.tensor([0, 1]), bins)


# --- temperature


@pytest.mark.parametrize("planted", [0.3, 1.0, 2.5, 8.0])
def test_a_planted_temperature_is_found(planted):
    logits, labels = random_case(4000)
    fitted = temperature(logits, labels)
    assert temperature(planted * logits, labels) == pytest.approx(planted * fitted, rel=1e-9)
    assert fitted == pytest.approx(2.0, rel=0.1)  # what ``random_case`` draws its labels with


def test_no_other_temperature_is_better():
    logits, labels = random_case()
    best = temperature(logits, labels)
    least = negative_log_likelihood(logits / best, labels)
    for other in [1.0, *(best * np.array([0.5, 0.99, 0.999, 1.001, 1.01, 2]))]:
        assert negative_log_likelihood(logits / other, labels) >= least


def test_temperature_changes_no_answer():
    logits, labels = random_case()
    assert torch.equal((logits / temperature(logits, labels)).argmax(1), logits.argmax(1))


def test_temperatures_without_an_optimum_end_at_a_bound():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, -1.0]])
    assert (
        temperature(logits, torch.tensor([0, 1])) == TEMPERATURES[0]
    )  # all right: ever surer is ever better
    assert temperature(logits, torch.tensor([1, 2])) == TEMPERATURES[1]  # all wrong: never unsure enough
    assert temperature(1000 * logits, torch.tensor([1, 2])) == TEMPERATURES[1]
    assert (
        temperature(torch.full((4, 3), 7.0), torch.tensor([0, 1, 2, 0])) == 1
    )  # says nothing at any temperature


# --- a network


@pytest.fixture(scope="module")
def subject() -> Subject:
    data = datasets.load("digits", limit=60)
    network = models.build("lenet", data.classes, data.channels, 0.5, data.size, seed=0)
    return Subject(network, data, device="cpu")


@pytest.fixture(autouse=True)
def cheap_corruptions(monkeypatch):
    """Severity s is noise of strength s/10: what calibration needs to know of a corruption."""

    def corrupted(images, name, **_):
        noise = torch.rand(5, *images.shape, generator=torch.Generator().manual_seed(len(name)))
        return (images + noise * torch.arange(1, 6).view(5, 1, 1, 1, 1) / 10).clamp(0, 1)

    monkeypatch.setattr(metrics.subject, "corrupted", corrupted)


def plain_score(name, logits, labels):
    p = logits.double().softmax(1)
    return {
        "ece": lambda: expected_calibration_error(p, labels),
        "sce": lambda: static_calibration_error(p, labels),
        "ace": lambda: adaptive_calibration_error(p, labels),
        "nll": lambda: negative_log_likelihood(logits, labels),
        "brier": lambda: brier_score(p, labels),
    }[name]()


@pytest.mark.parametrize("name", NAMES)
def test_measuring_agrees_with_the_plain_scores(subject, name):
    measured = metrics.evaluate(subject, name, {"images": 30})
    logits, labels = subject.test_logits, subject.test_labels
    fitted = temperature(subject.val_logits, subject.val_labels)
    assert measured.value == pytest.approx(plain_score(name, logits, labels), abs=1e-6)
    assert measured.variants["scaled"].value == pytest.approx(
        plain_score(name, logits.double() / fitted, labels), abs=1e-6
    )
    cells = [c for each in subject.corrupted_logits(30).values() for c in each]
    assert len(cells) == 75
    labels = subject.sample(30)[1]
    for variant, t in (("corrupted", 1.0), ("corrupted-scaled", fitted)):
        expected = np.mean([plain_score(name, c.double() / t, labels) for c in cells])
        assert measured.variants[variant].value == pytest.approx(expected, abs=1e-6)
        assert measured.variants[variant].samples == 30 and measured.variants[variant].error > 0
    assert measured.samples == len(subject.test_labels) and measured.error > 0
    curve = measured.extra["by_severity"]["corrupted"]
    assert len(curve) == 6
    assert np.mean(curve[1:]) == pytest.approx(measured.variants["corrupted"].value, abs=1e-5)
    clean = plain_score(name, subject.logits(subject.sample(30)[0]), labels)
    assert curve[0] == pytest.approx(clean, abs=1e-5)


def test_what_goes_with_the_ece(subject):
    measured = metrics.evaluate(subject, "ece", {"images": 30, "bins": 10})
    p, labels = subject.test_logits.double().softmax(1), subject.test_labels
    top = adaptive_calibration_error(p, labels, 10, classwise=False)
    assert measured.variants["equal-mass"].value == pytest.approx(top, abs=1e-9)
    assert measured.extra["floor"] == pytest.approx(calibration_floor(p, 10), abs=1e-6)
    fitted = temperature(subject.val_logits, subject.val_labels)
    assert measured.extra["temperature"] == fitted and measured.extra["temperature_at_bound"] is False
    before, after = (measured.extra["reliability"][k] for k in ("before", "after"))
    assert set(before) == {"low", "high", "count", "confidence", "accuracy"}
    assert sum(before["count"]) == sum(after["count"]) == len(labels)
    assert [v is None for v in before["accuracy"]] == [n == 0 for n in before["count"]]


def test_records_are_plain_json(subject):
    import json

    for name in NAMES:
        text = json.dumps(metrics.evaluate(subject, name, {"images": 30}).extra, allow_nan=False)
        assert len(text) < 4096


def test_scaling_helps_where_it_was_fitted(subject):
    fitted = temperature(subject.val_logits, subject.val_labels)
    before, after = (
        negative_log_likelihood(subject.val_logits.double() / t, subject.val_labels) for t in (1.0, fitted)
    )
    assert after <= before


class LookUp(nn.Module):
    """A network that knows its test images by their first pixel, and answers with given logits."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[(images[:, 0, 0, 0] * len(self.logits)).round().long()]


def fixed_logits(logits: torch.Tensor, labels: torch.Tensor, monkeypatch) -> Subject:
    """A subject that gives the same logits to clean and to corrupted images."""
    monkeypatch.setattr(metrics.subject, "corrupted", lambda images, name, **_: torch.stack([images] * 5))
    images = (torch.arange(len(labels)) / len(labels)).view(-1, 1, 1, 1)
    data = Dataset("fixed", *[(images, labels)] * 3, class_names=tuple("abcdefg"[: logits.shape[1]]))
    return Subject(LookUp(logits), data, device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_the_standard_error_is_the_spread_over_test_sets(name, monkeypatch):
    """Many test sets of one network: the spread of the scores, less their biases, is what one of them claims as its error."""
    logits, labels = random_case(40_000, classes=4)
    values, errors = [], []
    for z, y in zip(logits.split(400), labels.split(400), strict=True):
        # values and errors are of all 400 images, whatever is corrupted of them
        whole = len(values) < 5
        measured = metrics.evaluate(fixed_logits(z, y, monkeypatch), name, {"images": 400 if whole else 10})
        values.append(measured.value - measured.bias)
        errors.append(measured.error)
        # 75 cells on the same images are worth no more than one; those of a binned score keep their biases
        same = 1e-6 if name in ("nll", "brier") else 0.35
        if whole:
            assert measured.variants["corrupted"].error == pytest.approx(measured.error, rel=same)
        if len(values) == 40:
            break
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)


def test_a_mean_has_the_textbook_error(monkeypatch):
    logits, labels = random_case(100)
    measured = metrics.evaluate(fixed_logits(logits, labels, monkeypatch), "nll", {"images": 100})
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    assert measured.error == pytest.approx(losses.std(ddof=1) / 10)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_has_no_error_and_no_crash(name, monkeypatch):
    measured = metrics.evaluate(
        fixed_logits(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), monkeypatch), name, {"images": 1}
    )
    assert math.isfinite(measured.value) and measured.error is None
    assert measured.variants["corrupted"].error is None


@pytest.mark.parametrize("name", NAMES)
def test_a_network_at_the_limits_of_its_logits(name, monkeypatch):
    logits, labels = random_case(50, classes=3)
    measured = metrics.evaluate(fixed_logits(1000 * logits, labels, monkeypatch), name, {"images": 50})
    assert all(math.isfinite(m.value) for m in (measured, *measured.variants.values()))


def test_a_broken_network_is_refused(monkeypatch):
    logits = torch.tensor([[0.0, torch.nan], [0.0, 1.0]])
    for name in NAMES:
        with pytest.raises(DataError, match="not finite"):
            metrics.evaluate(fixed_logits(logits, torch.tensor([0, 1]), monkeypatch), name, {"images": 2})


@pytest.mark.parametrize("settings", [{"images": 0}, {"images": -5}])
def test_bad_settings_are_refused(subject, settings):
    for name in NAMES:
        with pytest.raises(SettingError, match="images: Input should be greater than 0"):
            metrics.evaluate(subject, name, settings)
    with pytest.raises(SettingError, match="bins: Input should be greater than 0"):
        metrics.evaluate(subject, "ece", {"bins": 0})
    with pytest.raises(SettingError, match="unknown setting 'bins': known: images"):
        metrics.evaluate(subject, "nll", {"bins": 15})


def test_measuring_is_repeatable_and_leaves_no_trace():
    data = datasets.load("digits", limit=60)
    network = models.build("lenet", data.classes, data.channels, 0.5, data.size, seed=0).train()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    with untouched_rng():
        first, again = (
            [metrics.evaluate(Subject(network, data, device="cpu"), n, {"images": 20}) for n in NAMES]
            for _ in range(2)
        )
    assert first == again
    assert network.training and all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_one_pass_serves_all_five():
    data = datasets.load("digits", limit=60)
    network = models.build("lenet", data.classes, data.channels, 0.5, data.size, seed=0)
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    subject = Subject(network, data, device="cpu")
    for name in NAMES:
        metrics.evaluate(subject, name, {"images": 20})
    assert len(calls) == 3 + 75  # test, validation, clean sample; 15 corruptions × 5 severities


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_knows_them(name):
    about = metrics.describe(f"{name}:corrupted-scaled")
    assert (about.dimension, about.direction) == ("calibration", "lower")
    assert not about.unit.startswith("fraction")  # or figures would show per cent
