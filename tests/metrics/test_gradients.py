"""No gradient is not flat: networks that cut it, and callers in inference mode."""

import pytest
import torch
from torch import nn

from lotterylib.errors import DataError
from lotterylib.metrics import Subject, evaluate
from lotterylib.metrics.generalization import fgsm, pgd
from lotterylib.metrics.geometry import hessian_trace, pac_bayes_sigma, spectral_density, top_eigenvalue
from lotterylib.pruners import grasp, snip
from tests.conftest import toy_data, toy_network


class Probe(nn.Module):
    """A linear probe: its frozen backbone runs without gradients."""

    def __init__(self):
        super().__init__()
        whole = toy_network().eval()
        self.backbone, self.head, self.unused = whole[:5], whole[5], nn.Linear(3, 3)

    def forward(self, images):
        with torch.no_grad():
            features = self.backbone(images)
        return self.head(features)


@pytest.mark.parametrize("wrt, named", [("weights", "backbone.0.weight"), ("inputs", "the images")])
@pytest.mark.parametrize("ask", [hessian_trace, top_eigenvalue, spectral_density])
def test_a_network_that_cuts_its_gradient_is_refused(ask, wrt, named):
    images, labels = toy_data(10).test
    with pytest.raises(DataError, match=f"no gradient reaches {named}, which would pass for flat"):
        ask(Probe().eval(), images, labels, wrt=wrt)


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_need_a_gradient_too(attack):
    images, labels = toy_data(10).test
    with pytest.raises(DataError, match="no gradient reaches the images"):
        attack(Probe().eval(), images, labels, epsilon=0.1)


class Rounding(Probe):
    """A network that sees eight shades of grey: between them its gradient is 0, and so is its curvature."""

    def forward(self, images):
        return self.head(self.backbone((7 * images).round() / 7))


class Quantised(Probe):
    """A network whose first weights are rounded to four bits as it runs."""

    def forward(self, images):
        first, *rest = self.backbone
        scale = first.weight.detach().abs().max() / 7
        images = nn.functional.conv2d(images, (first.weight / scale).round() * scale, first.bias, padding=1)
        return self.head(nn.Sequential(*rest)(images))


@pytest.mark.parametrize("ask", [hessian_trace, top_eigenvalue, spectral_density])
def test_a_network_that_answers_in_steps_is_not_flat(ask):
    images, labels = toy_data(10).test
    with pytest.raises(
        DataError, match="no gradient reaches the images, which would pass for flat: .* rounds"
    ):
        ask(Rounding().eval(), images, labels, wrt="inputs")
    with pytest.raises(DataError, match="no gradient reaches backbone.0.weight, which would pass for flat"):
        ask(Quantised().eval(), images, labels, wrt="weights")
    assert ask(Rounding().eval(), images, labels, wrt="weights") is not None


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("count", [1, 10])
def test_a_network_that_answers_in_steps_is_not_robust(attack, count):
    images, labels = toy_data(10).test
    with pytest.raises(
        DataError, match="no gradient reaches the images, which would pass for robust: .* rounds"
    ):
        attack(Rounding().eval(), images[:count], labels[:count], epsilon=0.1)


class Dead(Probe):
    """Units that never fire, beside a head that answers all images alike: flat indeed."""

    def forward(self, images):
        return self.head(torch.relu(self.backbone(images) - 1e3))


@pytest.mark.parametrize("wrt", ["weights", "inputs"])
def test_a_dead_network_is_flat(wrt):
    images, labels = toy_data(10).test
    assert hessian_trace(Dead().eval(), images, labels, wrt=wrt) == 0
    assert torch.equal(fgsm(Dead().eval(), images, labels, epsilon=0.1), images)


def test_a_confident_network_has_a_gradient():
    """That of the loss vanishes in float32, and that of the answers does not: it cannot be attacked, and is not broken."""
    images, labels = toy_data(10).test
    sure = Whole().eval()
    with torch.no_grad():
        sure.head.weight.mul_(1e5)
        labels = sure(images).argmax(dim=1)
    assert torch.equal(fgsm(sure, images, labels, epsilon=0.1), images)


class Whole(Probe):
    def forward(self, images):
        return self.head(self.backbone(images))


def test_a_layer_that_nobody_uses_is_no_cut_gradient():
    images, labels = toy_data(10).test
    expected = top_eigenvalue(toy_network().eval(), images, labels)
    assert top_eigenvalue(Whole().eval(), images, labels) == pytest.approx(expected, rel=1e-3)


def test_inference_mode_changes_nothing():
    network, data = toy_network().eval(), toy_data(10)
    images, labels = data.test
    names = {"hessian_trace": {"images": 10, "steps": 3, "max_probes": 4}, "fgsm_accuracy": {"images": 10}}
    expected = [evaluate(Subject(network, data), name, own).value for name, own in names.items()]
    moved = fgsm(network, images, labels, epsilon=0.1)
    curved = hessian_trace(network, images, labels, wrt="inputs", steps=3, max_probes=4)
    with torch.inference_mode():
        inner = toy_data(10)
        assert inner.test[0].is_inference()
        found = [evaluate(Subject(network, inner), name, own).value for name, own in names.items()]
        assert torch.equal(fgsm(network, inner.test[0], inner.test[1], epsilon=0.1), moved)
        same = hessian_trace(network, *inner.test, wrt="inputs", steps=3, max_probes=4)
    assert found == expected and same == curved != 0


class Copying(Whole):
    def forward(self, images):
        return super().forward((images - 0.1) / 0.9)


class InPlace(Whole):
    def forward(self, images):
        return super().forward(images.sub_(0.1).div_(0.9))


def test_a_network_that_normalises_in_place_can_be_attacked():
    images, labels = toy_data(10).test
    before, network = images.clone(), Whole().eval()
    network.forward = lambda images: Whole.forward(network, (images - 0.1) / 0.9)
    for attack in (fgsm, pgd):
        expected = attack(network, images, labels, epsilon=0.1)
        assert torch.equal(attack(InPlace().eval(), images, labels, epsilon=0.1), expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "ask", [
        lambda *a: hessian_trace(*a, wrt="inputs"), lambda *a: top_eigenvalue(*a, wrt="inputs"),
        hessian_trace, top_eigenvalue, lambda *a: pac_bayes_sigma(*a, draws=3),
    ], ids=["input trace", "input top", "trace", "top", "sigma"],
)  # fmt: skip
def test_a_network_that_normalises_in_place_is_as_curved_as_one_that_does_not(ask):
    images, labels = toy_data(6).test
    before = images.clone()
    found = ask(InPlace().eval(), images, labels)
    assert found == pytest.approx(ask(Copying().eval(), images, labels), rel=1e-4) and found != 0
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "scores", [snip.scores, lambda *a: grasp.scores(*a, batches=2)], ids=["SNIP", "GraSP"]
)
def test_a_network_that_normalises_in_place_is_scored_as_one_that_does_not(scores):
    images, labels = toy_data(6).train
    before = images.clone()
    found, expected = scores(InPlace(), images, labels), scores(Copying(), images, labels)
    assert torch.equal(images, before)
    for name, score in found.items():
        torch.testing.assert_close(score, expected[name])
