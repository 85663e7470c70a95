"""GraSP against the full Hessian, and its sign against what pruning does to the gradient."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lotterylib import pruners
from lotterylib.masks import Mask
from lotterylib.pruners import grasp
from lotterylib.pruners.scoring import draw_balanced

T = 3.0


@pytest.fixture
def case():
    """A small network with BatchNorm and biases in float64, 24 images of 4 × 4."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    return network, torch.randn(24, 1, 4, 4, dtype=torch.float64), torch.arange(24) % 3


def loss_of(network, images, labels):
    """The loss as a function of the flat vector of prunable weights."""
    parts = {n: network.get_parameter(n) for n in ("0.weight", "4.weight")}

    def loss(flat):
        pieces = flat.split([p.numel() for p in parts.values()])
        weights = {n: f.view(p.shape) for (n, p), f in zip(parts.items(), pieces, strict=True)}
        rest = {n: p.detach() for n, p in network.named_parameters() if n not in parts}
        buffers = {n: b.clone() for n, b in network.named_buffers()}
        return cross_entropy(functional_call(network, {**rest, **weights, **buffers}, (images,)) / T, labels)

    return loss, torch.cat([p.detach().flatten() for p in parts.values()])


def flat(scores):
    return torch.cat([s.flatten() for s in scores.values()])


def test_theta_times_hessian_times_gradient(case):
    loss, theta = loss_of(*case)
    g = torch.autograd.functional.jacobian(loss, theta)
    h = torch.autograd.functional.hessian(loss, theta)
    assert torch.allclose(flat(grasp.scores(*case, temperature=T)), theta * (h @ g), rtol=1e-8, atol=1e-14)


def test_in_pieces_it_is_the_same_product(case):
    """Without batch statistics the pieces, uneven ones too, add up to g and Hg of all images."""
    network, images, labels = case
    network[1] = nn.Identity()
    whole = flat(grasp.scores(network, images, labels, T))
    for batches in (2, 5, 24, 99):
        assert torch.allclose(
            flat(grasp.scores(network, images, labels, T, batches=batches)), whole, rtol=1e-9
        )


def test_many_images_are_taken_in_pieces(network, data, monkeypatch):
    sizes = []
    network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    assert pruners.build("grasp").passes(data) == 9 * 30
    monkeypatch.setattr(grasp, "AT_ONCE", 16)
    pruners.build("grasp").mask(network, data, 0.5, 0)
    assert sizes == [15, 15, 15, 15] and pruners.build("grasp").passes(data) == 12 * 30


def test_sign_is_that_of_keeping_the_gradient_alive(case):
    """Shrinking a weight of score s by ε changes ‖g‖² by −2εs: cutting a positive one costs gradient, so it stays."""
    loss, theta = loss_of(*case)
    scores = flat(grasp.scores(*case, temperature=T))

    def squared_gradient(at):
        return torch.autograd.functional.jacobian(loss, at).square().sum().item()

    for i in (int(scores.argmax()), int(scores.argmin()), 5):
        step = torch.zeros_like(theta)
        step[i] = 1e-5 * theta[i]
        slope = (squared_gradient(theta - step) - squared_gradient(theta + step)) / 2e-5
        assert slope == pytest.approx(-2 * scores[i].item(), rel=1e-4)
    assert scores.max() > 0 > scores.min()


def test_mask_keeps_the_most_positive_without_an_absolute_value(network, data):
    images, labels = draw_balanced(data, 10, 0, "grasp")
    assert labels.bincount().tolist() == [10, 10, 10]
    scores = grasp.scores(network, images, labels)
    values = flat(scores)
    assert (values < 0).any()
    mask = pruners.build("grasp").mask(network, data, 0.5, seed=0)
    kept = torch.cat([m.flatten() for m in mask.values()])
    assert kept.sum() == 171 and values[kept].min() >= values[~kept].max()
    assert not mask.equals(Mask.top({n: s.abs() for n, s in scores.items()}, 0.5))
    assert not mask.equals(Mask.top({n: -s for n, s in scores.items()}, 0.5))


def test_temperature_divides_the_logits(case):
    network, images, labels = case
    tempered = grasp.scores(network, images, labels, 5.0)
    with (
        torch.no_grad()
    ):  # the same loss with T inside the last layer: gradients of its weights are T times as large
        network[4].weight /= 5
        network[4].bias /= 5
    inside = grasp.scores(network, images, labels, 1.0)
    assert not torch.allclose(
        tempered["0.weight"], inside["0.weight"]
    )  # as H and g take in the last layer too
    only_conv = grasp.scores(network, images, labels, 1.0, scope="conv")["0.weight"]
    with torch.no_grad():
        network[4].weight *= 5
        network[4].bias *= 5
    assert torch.allclose(grasp.scores(network, images, labels, 5.0, scope="conv")["0.weight"], only_conv)
