import copy
import math

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from sklearn.linear_model import Ridge
from torch import nn

from lotterylib import datasets, metrics
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.interpretability import (
    draw_masks,
    explain,
    fidelity,
    fidelity_r2,
    linear_surrogates,
    match_confidence,
    stability,
    superpixels,
)
from lotterylib.rng import generator
from tests.conftest import toy_data, toy_network, untouched_rng

IMAGES = toy_data().test[0][:6]
GRID = (torch.arange(12) // 4).repeat_interleave(12).view(12, 12) * 3 + (torch.arange(12) // 4)  # 3 × 3 cells
SLOPES = torch.tensor([0.20, -0.10, 0.05, 0.0, 0.12, -0.04, 0.08, -0.15, 0.02])


class LinearInSuperpixels(nn.Module):
    """p = 0.4 + Σ slope · mean pixel of the superpixel; the other class has the rest."""

    def forward(self, images):
        cells = torch.nn.functional.one_hot(GRID).float().flatten(0, 1) / 16
        p = 0.4 + images.mean(dim=1).flatten(1) @ cells @ SLOPES
        return torch.stack([p, 1 - p], dim=1).log()


class Constant(nn.Module):
    def forward(self, images):
        return torch.tensor([[2.0, 0.0, -1.0]]).expand(len(images), 3)


def sharp_network(factor=8.0):
    """The toy network with larger logits: its random weights alone would be near constant."""
    network = toy_network().eval()
    network[-1].weight.data *= factor
    return network


def same(network, before):
    return all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


class Dice:
    """Deals the lime package our masks."""

    def __init__(self, masks):
        self.masks = masks

    def randint(self, low, high=None, size=None):
        return 0 if size is None else self.masks.numpy().astype(int).ravel()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_of_it_gives_what_the_lime_package_gives(channels):
    network = sharp_network()
    if channels == 3:
        network = nn.Sequential(nn.Conv2d(3, 1, 1), network).eval()
        nn.init.constant_(network[0].weight, 0.4)
    images = torch.rand(2, channels, 12, 12, generator=generator(0, "pictures"))
    segments = GRID.expand(2, 12, 12)
    ours = explain(network, images, segments, samples=80, seed=3)
    masks = draw_masks(images, segments, samples=80, seed=3)

    def classify(pictures):  # lime makes grey pictures RGB
        with torch.no_grad():
            x = torch.from_numpy(pictures).movedim(-1, 1)[:, :channels].float()
            return network(x).softmax(dim=1).double().numpy()

    for image, mask, own in zip(images, masks, ours, strict=True):
        package = LimeImageExplainer(random_state=0)
        package.random_state = Dice(mask)
        theirs = package.explain_instance(
            image.movedim(0, -1).squeeze(-1).double().numpy(), classify, top_labels=1, hide_color=0,
            num_samples=80, segmentation_fn=lambda _: GRID.numpy(), random_seed=0,
        )  # fmt: skip
        assert own.target == theirs.top_labels[0]
        theirs_by_place = [slope for _, slope in sorted(theirs.local_exp[own.target])]
        assert own.coefficients.tolist() == pytest.approx(theirs_by_place, abs=1e-6)
        assert own.coefficients.abs().max() > 1e-3
        assert own.intercept == pytest.approx(theirs.intercept[own.target], abs=1e-6)
        assert own.r2 == pytest.approx(theirs.score, abs=1e-5)


def test_a_batch_of_regressions_is_scikit_learns_one_by_one():
    dice = generator(0, "ridge")
    counts = torch.tensor([9, 4, 1])
    masks = torch.rand(3, 60, 9, generator=dice) < 0.5
    masks &= torch.arange(9) < counts[:, None, None]
    outcomes = torch.rand(3, 60, generator=dice, dtype=torch.float64)
    found = linear_surrogates(masks, outcomes, counts)
    for i, count in enumerate(counts.tolist()):
        x, y = masks[i, :, :count].double().numpy(), outcomes[i].numpy()
        weight = np.sqrt(np.exp(-((1 - np.sqrt(x.mean(axis=1))) ** 2) / 0.25**2))
        ridge = Ridge(alpha=1).fit(x, y, sample_weight=weight)
        assert found.coefficients[i, :count].numpy() == pytest.approx(ridge.coef_, abs=1e-10)
        assert not found.coefficients[i, count:].any()
        assert found.intercept[i].item() == pytest.approx(ridge.intercept_, abs=1e-10)
        assert found.mse[i].item() == pytest.approx(np.mean((y - ridge.predict(x)) ** 2), abs=1e-10)
        assert found.r2[i].item() == pytest.approx(ridge.score(x, y, sample_weight=weight), abs=1e-10)
        assert found.spread[i].item() == pytest.approx(y.max() - y.min())


def test_a_model_linear_in_the_superpixels_is_recovered():
    image = torch.ones(1, 12, 12)
    found = explain(LinearInSuperpixels(), image, GRID, samples=1000)
    sign = 1 if found.target == 0 else -1
    assert found.r2 > 0.999 and found.mse < 1e-5
    assert found.coefficients.argsort().tolist() == (sign * SLOPES).argsort().tolist()
    assert found.coefficients.tolist() == pytest.approx((sign * SLOPES).tolist(), abs=4e-3)  # ridge shrinks
    assert found.prediction == pytest.approx(0.58, abs=1e-6)
    assert found.intercept + found.coefficients.sum() == pytest.approx(found.prediction, abs=5e-3)
    assert torch.equal(found.heat, found.coefficients[GRID])


def test_metrics_are_means_over_the_explanations():
    network = sharp_network()
    found = explain(network, IMAGES, samples=60)
    for metric, score in ((fidelity, "mse"), (fidelity_r2, "r2")):
        by_hand = sum(getattr(e, score) for e in found) / len(found)
        assert metric(network, IMAGES, samples=60) == pytest.approx(by_hand, rel=1e-9)
        assert metric(network, IMAGES[0], samples=60) == getattr(
            explain(network, IMAGES[0], samples=60), score
        )
    assert stability(network, IMAGES[0], samples=60) == stability(network, IMAGES[:1], samples=60)


def test_stability_of_a_linear_model_grows_with_the_square_of_the_noise():
    image = torch.full((1, 1, 12, 12), 0.5)  # so far inside that nothing is clipped
    one, two = (
        stability(LinearInSuperpixels(), image, GRID[None], sigma=s, samples=300) for s in (0.01, 0.02)
    )
    assert two / one == pytest.approx(4, rel=1e-3)
    # a slope on a mean of 16 pixels moves by slope · σ/4: over many draws, the mean square of that
    many = stability(LinearInSuperpixels(), image, GRID[None], sigma=0.02, draws=60, samples=300)
    assert many == pytest.approx((SLOPES**2).mean().item() * 0.02**2 / 16, rel=0.25)


def test_an_image_is_explained_alone_as_among_others():
    network = sharp_network()
    together = explain(network, IMAGES, samples=50, seed=1)
    for image, among in zip(IMAGES, together, strict=True):
        alone = explain(network, image, samples=50, seed=1)
        assert torch.equal(alone.segments, among.segments) and alone.target == among.target
        assert alone.coefficients.tolist() == pytest.approx(among.coefficients.tolist(), abs=1e-6)


def test_batches_do_not_matter(monkeypatch):
    whole = explain(sharp_network(), IMAGES, samples=40)
    monkeypatch.setattr(metrics.interpretability.lime, "_BATCH", 7)
    for one, other in zip(whole, explain(sharp_network(), IMAGES, samples=40), strict=True):
        assert one.coefficients.tolist() == pytest.approx(other.coefficients.tolist(), abs=1e-6)


def test_seeds_decide_the_samples_and_nothing_else_does():
    def coefficients(seed):
        return explain(sharp_network(), IMAGES[0], samples=50, seed=seed).coefficients

    with untouched_rng():
        first = coefficients(0)
        torch.rand(5, generator=torch.Generator().manual_seed(9))
        assert torch.equal(first, coefficients(0)) and not torch.equal(first, coefficients(1))
        scores = [stability(sharp_network(), IMAGES, samples=50, seed=s) for s in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_the_network_is_left_as_found_also_when_it_raises():
    network = sharp_network().train()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    for call in (explain, fidelity, stability):
        call(network, IMAGES, samples=20)
    assert network.training and same(network, before)
    network.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stability(network, IMAGES, samples=20)
    assert network.training and same(network, before) and all(p.grad is None for p in network.parameters())


def test_a_constant_network_is_flagged_and_never_best():
    found = explain(Constant(), IMAGES[0], samples=20)
    assert found.constant and math.isnan(found.r2) and found.mse < 1e-20
    for metric in (fidelity, fidelity_r2, stability):
        with pytest.raises(DataError, match="constant network"):
            metric(Constant(), IMAGES, samples=20)
    data = toy_data()
    dense = Subject(sharp_network(), data, device="cpu")
    for name in ("fidelity", "fidelity_r2", "stability"):
        broken = Subject(Constant(), data, device="cpu", dense=dense)
        measured = metrics.evaluate(broken, name, {"images": 6, "samples": 20})
        assert math.isnan(measured.value) and measured.samples == 0 and measured.extra["constant"] == 1
        assert math.isnan(measured.variants["gap"].value)
        assert not math.isnan(measured.variants["control"].value)


def test_images_on_which_the_output_is_constant_are_left_out():
    class HalfConstant(nn.Module):  # dark images get one answer, whatever they show
        def forward(self, images):
            bright = (images.amax(dim=(1, 2, 3)) > 0.5).float()[:, None]
            return bright * LinearInSuperpixels()(images)

    dark, bright = torch.full((1, 1, 12, 12), 0.3), torch.ones(1, 1, 12, 12)
    cells = GRID.expand(2, 12, 12)
    both = fidelity_r2(HalfConstant(), torch.cat([dark, bright]), cells, samples=50)
    assert both == pytest.approx(fidelity_r2(HalfConstant(), bright, cells[:1], samples=50), abs=1e-6)


def test_superpixels_are_numbered_and_background_is_what_is_already_hidden():
    images = datasets.load("fashion-mini", limit=20).test[0]
    counts = {}
    for method in ("auto", "slic", "felzenszwalb"):
        cuts = superpixels(images, method)
        counts[method] = (cuts.amax(dim=(1, 2)) + 1).tolist()
        for image, cut in zip(images, cuts, strict=True):
            assert not image[:, cut == -1].any()
            assert cut.unique()[cut.unique() >= 0].tolist() == list(range(int(cut.max()) + 1))
            assert all(image[:, cut == i].any() for i in range(int(cut.max()) + 1))
    assert counts["auto"] == counts["slic"] and min(counts["slic"]) >= 8 and max(counts["slic"]) <= 64
    assert (
        sorted(counts["felzenszwalb"])[10] <= 8 < sorted(counts["slic"])[10]
    )  # the paper's are too few here


def test_superpixels_of_other_images():
    dice = generator(0, "large")
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=dice), size=64, mode="bilinear")
    assert torch.equal(superpixels(smooth), superpixels(smooth, "quickshift"))
    assert 4 <= superpixels(smooth).max() < superpixels(smooth, "slic").max() < 80
    assert superpixels(smooth[:, :1], "quickshift").shape == (1, 64, 64)
    assert not superpixels(torch.zeros(1, 1, 12, 12)).any()  # all black: one superpixel, none is left out


def test_a_temperature_that_matches_the_confidence():
    logits = 3 * torch.randn(40, 5, generator=generator(0, "logits"))
    for target in (0.3, 0.5, 0.9):
        t = match_confidence(logits, target)
        assert (logits / t).double().softmax(1).amax(1).mean().item() == pytest.approx(target, abs=1e-6)
    own = logits.double().softmax(1).amax(1).mean().item()
    assert match_confidence(logits, own) == pytest.approx(1, abs=1e-9)
    assert match_confidence(logits, 1 / 5) == pytest.approx(1e4)
    assert match_confidence(torch.zeros(3, 2), 1.0) == pytest.approx(
        1e-4
    )  # ties stay ties at any temperature


@pytest.mark.parametrize("name", ["fidelity", "fidelity_r2", "stability"])
def test_the_control_is_the_dense_network_made_as_unsure(name):
    data, settings = toy_data(), {"images": 12, "samples": 40}
    dense = Subject(sharp_network(), data, device="cpu")
    alone = metrics.evaluate(dense, name, settings)
    assert alone.variants["control"].value == alone.value and alone.variants["gap"].value == 0
    twin = metrics.evaluate(Subject(sharp_network(), data, device="cpu", dense=dense), name, settings)
    assert twin.extra["temperature"] == pytest.approx(1, abs=1e-6)
    assert twin.variants["control"].value == pytest.approx(alone.value, rel=1e-6)
    unsure = sharp_network()
    for p in unsure[-1].parameters():
        p.data /= 3  # the same decisions at a third of the logits
    measured = metrics.evaluate(Subject(unsure, data, device="cpu", dense=dense), name, settings)
    assert measured.extra["temperature"] == pytest.approx(3, rel=1e-4)
    assert measured.extra["confidence"] < alone.extra["confidence"]
    assert measured.variants["control"].value == pytest.approx(measured.value, rel=1e-3)
    assert measured.variants["gap"].value == pytest.approx(0, abs=1e-3 * abs(measured.value))
    if name != "fidelity_r2":
        assert measured.value < alone.value  # "more interpretable", with every answer the same


def test_measuring_is_the_pure_function_on_the_first_images():
    data, network = toy_data(), sharp_network()
    images = data.limited(12).test[0]
    for name, pure in (("fidelity", fidelity), ("fidelity_r2", fidelity_r2), ("stability", stability)):
        subject = Subject(network, data, seed=4, device="cpu")
        with untouched_rng():
            measured = metrics.evaluate(subject, name, {"images": 12, "samples": 40})
        assert measured.value == pytest.approx(pure(network, images, samples=40), rel=1e-9)
        assert measured.samples == 12 and measured.error > 0
    each = torch.tensor([e.mse for e in explain(network, images, samples=40)])
    measured = metrics.evaluate(subject, "fidelity", {"images": 12, "samples": 40})
    assert measured.error == pytest.approx((each.std() / math.sqrt(12)).item(), rel=1e-5)


def test_relative_stability_does_not_depend_on_the_scale_of_the_logits():
    data, settings = toy_data(), {"images": 12, "samples": 40}
    almost = sharp_network(1e-2)  # so unsure that its probabilities are linear in its logits
    less = copy.deepcopy(almost)
    for p in less[-1].parameters():
        p.data /= 10
    one, other = (
        metrics.evaluate(Subject(n, data, device="cpu"), "stability", settings) for n in (almost, less)
    )
    assert other.value == pytest.approx(one.value / 100, rel=0.05)
    assert other.variants["relative"].value == pytest.approx(one.variants["relative"].value, rel=0.05)
    assert 0 < one.variants["relative"].value < 2 and "relative-control" in one.variants


def test_the_dense_network_is_asked_once():
    calls = []
    network = sharp_network()
    network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    dense = Subject(network, toy_data(), device="cpu")
    for _ in range(2):
        ticket = Subject(sharp_network(4), toy_data(), device="cpu", dense=dense)
        for name in ("fidelity", "fidelity_r2"):
            metrics.evaluate(ticket, name, {"images": 6, "samples": 40})
    assert sum(calls) == 240


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda n: explain(n, IMAGES[:0], samples=20), DataError, "float images"),
        (lambda n: explain(n, IMAGES * 2, samples=20), DataError, r"\[0, 1\]"),
        (lambda n: explain(n, IMAGES * torch.nan, samples=20), DataError, r"\[0, 1\]"),
        (lambda n: explain(n, (IMAGES * 255).byte(), samples=20), DataError, "float images"),
        (lambda n: explain(n, IMAGES, GRID, samples=20), DataError, "want segments"),
        (lambda n: explain(n, IMAGES[0], GRID + 1, samples=20), DataError, "numbered 0, 1"),
        (lambda n: explain(n, IMAGES[0], 0 * GRID - 1, samples=20), DataError, "numbered 0, 1"),
        (lambda n: explain(n, IMAGES[0], GRID, samples=9), SettingError, "more samples than superpixels"),
        (lambda n: stability(n, IMAGES, sigma=0.0, samples=20), SettingError, "sigma above 0"),
        (lambda n: stability(n, IMAGES, sigma=math.nan, samples=20), SettingError, "sigma above 0"),
        (lambda n: stability(n, IMAGES, draws=0, samples=20), SettingError, "one draw"),
        (lambda n: superpixels(IMAGES, "watershed"), SettingError, "unknown superpixels 'watershed'"),
        (lambda n: linear_surrogates(torch.ones(1, 5, 2).bool(), torch.ones(1, 4)), DataError, "want masks"),
        (lambda n: match_confidence(torch.zeros(3), 0.5), DataError, "want finite logits"),
        (lambda n: match_confidence(torch.tensor([[0.0, torch.nan]]), 0.7), DataError, "want finite logits"),
        (lambda n: match_confidence(torch.zeros(3, 4), 0.2), DataError, "between 1/4 and 1"),
        (lambda n: match_confidence(torch.zeros(3, 4), 1.2), DataError, "between 1/4 and 1"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(sharp_network())


def test_a_broken_network_is_refused():
    network = sharp_network()
    network[-1].bias.data[0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        fidelity(network, IMAGES, samples=20)
