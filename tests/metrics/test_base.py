"""What every metric says of itself, and what its settings refuse."""

import pytest

from lotterylib import datasets, metrics
from lotterylib.errors import SettingError, UnknownNameError
from lotterylib.metrics import About, Metric, Question, Shape, Tolerance
from lotterylib.metrics.base import METRICS

CIFAR = Shape(3, 32, 10, 45_000, 5_000, 10_000, "cifar10")
NAMES = metrics.names()


def test_names_come_dimension_by_dimension():
    dimensions = [metrics.describe(name).dimension for name in NAMES]
    assert list(dict.fromkeys(dimensions)) == [
        "generalization",
        "calibration",
        "interpretability",
        "geometry",
    ]
    assert len(NAMES) == 25 and NAMES[:2] == ["accuracy", "recall_loss"] and NAMES[-1] == "pac_bayes_sigma"
    assert dimensions == sorted(dimensions, key=list(dict.fromkeys(dimensions)).index)


def test_a_variant_is_described_by_its_metric():
    about = metrics.describe("ece:corrupted")
    assert (about.label, about.short, about.name) == ("ECE, corrupted", "ECE, corrupted", "ece:corrupted")
    assert about.tolerance == metrics.describe("ece").tolerance
    with pytest.raises(UnknownNameError, match="did you mean 'ece'"):
        metrics.describe("eec:corrupted")


def test_intervals_say_what_they_are_over():
    over = {name: (metrics.describe(name).over, metrics.describe(name).noise) for name in NAMES}
    special = {n: o for n, o in over.items() if o != ("images", "")}
    assert special == {
        "hessian_trace": ("fifths", "random probes"), "hessian_top": ("fifths", ""),
        "input_trace": ("images", "random probes"), "pac_bayes_sigma": ("fifths", "random draws of noise"),
        "recall_loss": ("classes", ""),
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_answers(name):
    data = datasets.load("digits", limit=60)
    kind = METRICS[name]
    found = metrics.build(name, **kind.suited(data, 50))
    asked = found.asks(Shape.of(data))
    assert asked and all(isinstance(q, Question) and count > 0 for q, count in asked.items())
    assert found.obstacle(data) == "" and set(kind.splits) <= {"train", "val", "test"}
    assert len(kind.about.short) <= 20
    if "images" in kind.suited(data, 50):
        assert 10 <= found.images <= 60


def test_equal_questions_are_equal_across_metrics():
    ece, nll = (metrics.build(name, images=50).asks(CIFAR) for name in ("ece", "nll"))
    assert ece == nll and metrics.build("nll", images=51).asks(CIFAR) != nll
    fidelity, other = metrics.build("fidelity").asks(CIFAR), metrics.build("fidelity_r2", superpixels="slic")
    assert fidelity == metrics.build("fidelity_r2").asks(CIFAR) != other.asks(CIFAR)


def test_images_too_small_to_corrupt_are_asked_clean_alone():
    small = Shape(1, 28, 10, 60, 10, 60)
    kinds = {question.kind for question in metrics.build("ece").asks(small)}
    assert kinds == {"test", "val", "sample"}
    assert "corrupted" in {question.kind for question in metrics.build("ece").asks(CIFAR)}


def test_what_a_network_breaks_on():
    said = METRICS["recall_loss"].breaks(
        {"change": {"cat": -0.2, "dog": -0.01, "fox": None}, "errors": {"cat": 0.05, "dog": 0.05}}, {}
    )
    assert said == "Classes with a certain loss of recall: 1; most of all cat (-20.0 points)"
    said = METRICS["corruption_error"].breaks(
        {"errors": {"fog": [0.2, 0.4], "snow_storm": [0.3, 0.3]}},
        {"errors": {"fog": [0.2, 0.4], "snow_storm": [0.2, 0.2]}},
    )
    assert said == "Corruptions that it bears worst, against dense: snow storm (+50% errors)"
    assert METRICS["corruption_error"].breaks({"errors": {"fog": [0.1]}}, {"errors": {"fog": [0.2]}}) == ""
    assert METRICS["accuracy"].breaks({}, {}) == ""


def test_a_name_belongs_to_one_class(own_metrics):
    with pytest.raises(SettingError, match="there is a metric 'ece' already"):

        @metrics.register
        class Ece(Metric):
            about = About("ece", "Mine", "calibration", "lower", "1", Tolerance(1.0), "here")

            def measure(self, subject):
                raise AssertionError


def test_tolerances_by_hand():
    assert Tolerance(0.25, relative=True).of(-4.0) == 1.0 and Tolerance(0.02).of(-4.0) == 0.02
    assert [str(Tolerance(0.25, relative=True)), str(Tolerance(0.02))] == ["25% of dense", "0.02"]


@pytest.mark.parametrize(
    "name, dense, tolerance, nothing_to_lose",
    [
        # one answer to everything is right on a tenth of the images, however they are attacked
        ("pgd_accuracy", 0.01, 0.02, True),
        ("fgsm_accuracy", 0.06, 0.02, True),
        ("fgsm_accuracy", 0.119, 0.02, True),
        ("pgd_accuracy", 0.2, 0.02, False),
        ("ood_auroc", 0.63, 0.19, True),  # guessing has .5
        ("ood_auroc", 0.63, 0.01, False),
        ("ood_fpr95", 0.89, 0.17, True),  # guessing lets in 95% of the outliers
        ("ood_fpr95", 0.74, 0.05, False),
        ("nll", 3.0, 5.0, False),  # may grow without end
    ],
)
def test_where_a_network_that_knows_nothing_would_pass(name, dense, tolerance, nothing_to_lose):
    assert metrics.describe(name).at_floor(dense, tolerance, chance=0.1) == nothing_to_lose


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["", ":control", ":per weight"])
def test_an_axis_names_its_unit_once(name, variant):
    about = metrics.describe(name + variant)
    assert about.axis.count(f"{about.sign})") == 1, about.axis
