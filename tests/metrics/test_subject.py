"""Two networks on the same images: their difference and its error."""

import math
from dataclasses import replace

import pytest
import torch

from lotterylib import datasets, metrics, models
from lotterylib.metrics import Measurement, Subject, paired
from lotterylib.metrics.calibration import negative_log_likelihood
from lotterylib.metrics.resampling import of_images


def test_a_difference_of_means_has_the_error_of_the_images_own_differences():
    dice = torch.Generator().manual_seed(0)
    hard = torch.randn(400, generator=dice).double()  # what both networks find hard
    a, b = (hard + 0.1 * torch.randn(400, generator=dice).double() + shift for shift in (0.5, 0.2))

    def measured(scores):
        return Measurement(scores.mean().item(), (scores.std() / 20).item(), 400, draws=of_images(scores))

    apart = paired(measured(a), measured(b))
    assert apart.value == pytest.approx((a - b).mean().item())
    assert apart.error == pytest.approx(((a - b).std() / math.sqrt(400)).item())
    assert apart.error < 0.2 * math.hypot(measured(a).error, measured(b).error)


def test_what_no_common_image_explains_adds_up():
    """Each value has an error of its own (random probes) beside that of the images."""
    images = torch.tensor([0.0, 1.0, 2.0, 3.0]).double()
    scatter = images.std().item()
    one, other = (Measurement(1.0, math.hypot(scatter, own), 4, draws=images) for own in (0.3, 0.4))
    assert paired(one, other).error == pytest.approx(0.5)


def test_without_common_draws_errors_are_independent():
    one, other = Measurement(1.0, 3.0, 10), Measurement(0.5, 4.0, 20)
    assert paired(one, other) == Measurement(0.5, 5.0, 10)
    short, long = (Measurement(1.0, 1.0, n, draws=torch.arange(n).double()) for n in (3, 4))
    assert paired(short, long).error == pytest.approx(math.sqrt(2))
    hole = Measurement(1.0, 1.0, 3, draws=torch.tensor([0.0, math.nan, 1.0]))
    assert paired(short, hole).error == pytest.approx(math.sqrt(2))


def test_no_error_stays_no_error_and_variants_follow():
    one = Measurement(2.0, None, 5, {"a": Measurement(3.0, 0.3, 5), "only here": Measurement(1.0, 0.1, 5)})
    other = Measurement(1.5, 0.1, 5, {"a": Measurement(1.0, 0.4, 5)})
    apart = paired(one, other)
    assert (apart.value, apart.error) == (0.5, None)
    assert apart.variants == {"a": Measurement(2.0, 0.5, 5)}


SETTINGS = {
    "corruption_error": {"images": 30}, "corrupted_accuracy": {"images": 30}, "ece": {"images": 30},
    "sce": {"images": 30}, "ace": {"images": 30}, "nll": {"images": 30}, "brier": {"images": 30},
    "fgsm_accuracy": {"images": 30}, "pgd_accuracy": {"images": 30, "steps": 2},
    "fidelity": {"images": 4, "samples": 60}, "fidelity_r2": {"images": 4, "samples": 60},
    "stability": {"images": 4, "samples": 60}, "explained_units": {"images": 60}, "unit_iou": {"images": 60},
    "input_top": {"images": 20, "steps": 3},
}  # fmt: skip
BY_IMAGE = ["accuracy", "recall_loss", "churn", "ood_auroc", "ood_fpr95", "ood_aupr", *SETTINGS]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """The same untrained network twice, and another one."""
    data, cache = datasets.load("fashion-mini", limit=60), tmp_path_factory.mktemp("generated")

    def subject(seed):
        network = models.build("resnet8", 10, 1, 0.25, seed=seed, stem_stride=2)
        return Subject(network, data, device="cpu", cache=cache)

    return subject(0), subject(0), subject(1)


@pytest.mark.parametrize("name", BY_IMAGE)
def test_a_network_does_not_differ_from_itself(twins, name):
    """Whatever comes from images alone cancels, in every variant."""
    one, same, _ = (metrics.evaluate(s, name, SETTINGS.get(name)) for s in twins)
    apart = paired(one, same)
    for part in (apart, *apart.variants.values()):
        assert part.value == 0 and part.error == pytest.approx(0, abs=1e-7)  # a rounding error under a root


def test_the_error_of_a_measured_difference_is_that_of_its_images(twins):
    one, _, other = twins
    apart = paired(*(metrics.evaluate(s, "nll", {"images": 30}) for s in (one, other)))
    each = [
        torch.tensor([negative_log_likelihood(z[None], y[None]) for z, y in zip(s.test_logits, s.test_labels, strict=True)])
        for s in (one, other)
    ]  # fmt: skip
    assert apart.value == pytest.approx((each[0] - each[1]).mean().item())
    assert apart.error == pytest.approx(
        ((each[0] - each[1]).std() / math.sqrt(len(each[0]))).item(), rel=1e-6
    )


def test_the_error_of_two_auroc_is_that_of_delong(twins):
    """DeLong et al. (1988), equation 4 to 6, image by image."""
    one, _, other = twins
    apart = paired(*(metrics.evaluate(s, "ood_auroc", {"sets": ["digits"]}) for s in (one, other)))

    def placements(subject):
        inside, outside = (
            metrics.generalization.max_softmax(z)
            for z in (subject.test_logits, subject.outlier_logits("digits"))
        )
        wins = (inside[:, None] > outside).double() + 0.5 * (inside[:, None] == outside).double()
        return wins.mean(dim=1), wins.mean(dim=0)

    (in_a, out_a), (in_b, out_b) = placements(one), placements(other)
    variance = (in_a - in_b).var() / len(in_a) + (out_a - out_b).var() / len(out_a)
    assert apart.error == pytest.approx(variance.sqrt().item(), rel=1e-6)


@pytest.mark.parametrize("name", [
    "ood_fpr95", "ece", "pgd_accuracy", "stability", "explained_units", "input_top", "hessian_trace", "input_trace",
    "pac_bayes_sigma",
])  # fmt: skip
def test_what_is_drawn_does_not_depend_on_the_seed_of_the_training(twins, name):
    """Common random numbers: noise, probes, masks, starts and resamples are those of every network of a study."""
    few = {"hessian_trace": 6, "input_trace": 6, "pac_bayes_sigma": 6}
    settings = SETTINGS.get(name) or ({"images": few[name]} if name in few else {})
    one, again = twins[0], replace(twins[1], seed=7)
    first, second = (metrics.evaluate(s, name, settings) for s in (one, again))
    assert first == second
    assert first.draws is None or torch.equal(first.draws, second.draws)


def test_the_noise_of_the_weights_is_paired(twins):
    """σ of one network against itself differs by nothing, whatever noise was drawn, and against another by less noise than two
    independent searches would have."""
    one, same, other = (metrics.evaluate(s, "pac_bayes_sigma", {"images": 20}) for s in twins)
    assert len(one.draws) == 12 and one.draws.std().item() == pytest.approx(one.error, rel=1e-6)
    assert paired(one, same).error == pytest.approx(0, abs=1e-7)
    assert paired(one, other).error < 1.5 * math.hypot(one.error, other.error)


def test_biases_are_taken_off_a_difference():
    one, other = Measurement(0.5, 0.1, 9, bias=0.2), Measurement(0.1, 0.1, 9, bias=0.05)
    assert paired(one, other).value == pytest.approx(0.25)
    draws = torch.tensor([0.0, 0.1, 0.3])
    one, same = (replace(m, draws=draws, pairs=False) for m in (one, one))
    moved = replace(other, draws=draws + 0.1, pairs=False)
    assert (paired(one, same).value, paired(one, same).error) == (0, 0)
    assert paired(one, moved).error == pytest.approx(math.hypot(0.1, 0.1))
