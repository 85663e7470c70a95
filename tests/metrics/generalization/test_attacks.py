import math

import foolbox
import pytest
import torch
from foolbox.attacks import LinfFastGradientAttack, LinfPGD
from torch import nn

from lotterylib import Recipe, metrics, train
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import accuracy, fgsm, pgd
from lotterylib.metrics.generalization.attacks import input_gradient
from lotterylib.training import predict
from tests.conftest import toy_data, toy_network, untouched_rng

EPSILON = 8 / 255
ROUNDING = 1e-6  # float32 pixels


@pytest.fixture(scope="module")
def trained():
    """Learned enough to be right, and to have gradients."""
    network = toy_network()
    train(
        network, toy_data(), Recipe(epochs=6, batch_size=16, warmup=0, rewind=0), device="cpu", progress=False
    )
    return network


@pytest.fixture
def batch():
    return toy_data().test


def as_foolbox(network):
    return foolbox.PyTorchModel(network.eval(), bounds=(0, 1), device="cpu")


def linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize("epsilon", [1 / 255, EPSILON, 0.3])
def test_fgsm_is_foolbox_fgsm(trained, batch, epsilon):
    theirs = LinfFastGradientAttack().run(as_foolbox(trained), *batch, epsilon=epsilon)
    ours = fgsm(trained, *batch, epsilon)
    assert torch.allclose(ours, theirs, atol=ROUNDING)
    assert accuracy(predict(trained, ours), batch[1]) == accuracy(predict(trained, theirs), batch[1])


@pytest.mark.parametrize("steps, step_size", [(1, None), (10, None), (7, 0.01)])
def test_pgd_is_foolbox_pgd(trained, batch, steps, step_size):
    attack = LinfPGD(steps=steps, abs_stepsize=step_size or 2.5 * 0.1 / steps, random_start=False)
    theirs = attack.run(as_foolbox(trained), *batch, epsilon=0.1)
    ours = pgd(trained, *batch, 0.1, steps, step_size, seed=None)
    same = (ours - theirs).abs() < ROUNDING  # a gradient next to 0 may round to either sign
    assert same.double().mean() > 0.999
    assert accuracy(predict(trained, ours), batch[1]) == accuracy(predict(trained, theirs), batch[1])


def test_a_linear_network_in_closed_form():
    """∇ₓ L = Wᵀ (p − e_y); with two classes its sign is that of ±(w₁ − w₀), whatever p."""
    weight = torch.tensor([[1.0, -2.0, 0.0, 0.5], [3.0, -2.0, -1.0, 0.5]])
    network = linear(weight, torch.zeros(2))
    images = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.99, 0.0, 0.01, 1.0]]).view(2, 1, 2, 2)
    moved = fgsm(network, images, torch.tensor([0, 1]), 0.1).flatten(1)[:, [0, 2]]  # where w₁ ≠ w₀
    assert torch.allclose(moved, torch.tensor([[0.6, 0.4], [0.89, 0.11]]))
    p = (images.flatten(1) @ weight.T).softmax(1)
    by_hand = (p - torch.eye(2)) @ weight
    assert torch.allclose(
        input_gradient(network, images, torch.tensor([0, 1])).flatten(1), by_hand, atol=1e-6
    )
    far = pgd(network, images[:1], torch.tensor([0]), 0.1, seed=3).flatten()
    assert torch.allclose(far[[0, 2]], torch.tensor([0.6, 0.4]))  # the corner, from wherever it starts


def test_the_gradient_is_that_of_finite_differences(trained, batch):
    network, (images, labels) = trained.double().eval(), batch
    images = images[:2].double()
    gradient = input_gradient(network, images, labels[:2])
    for place in [(0, 0, 3, 5), (1, 0, 6, 2), (1, 0, 0, 0)]:
        losses = []
        for step in (1e-6, -1e-6):
            nudged = images.clone()
            nudged[place] += step
            losses.append(nn.functional.cross_entropy(network(nudged), labels[:2], reduction="sum").item())
        assert gradient[place].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-5)
    trained.float()


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_inside_the_ball_and_inside_the_pixels_range(trained, batch, attack):
    images, labels = batch
    extreme = torch.cat([images, torch.zeros_like(images), torch.ones_like(images)])
    moved = attack(trained, extreme, labels.repeat(3), 0.1)
    assert moved.min() >= 0 and moved.max() <= 1
    assert (moved - extreme).abs().max() <= 0.1 + ROUNDING
    assert (moved != extreme).any()
    assert moved.dtype == torch.float32 and moved.shape == extreme.shape


@pytest.mark.parametrize("attack", [fgsm, pgd, lambda *a: pgd(*a, steps=3, step_size=0.5)])
def test_without_strength_the_image_stays_to_the_bit(trained, batch, attack):
    assert torch.equal(attack(trained, *batch, 0.0), batch[0])
    assert torch.equal(attack(trained, *batch, 0), batch[0])


def test_attacks_do_harm_and_pgd_no_less_than_fgsm(trained, batch):
    clean, once, often = (
        accuracy(predict(trained, x), batch[1])
        for x in (batch[0], fgsm(trained, *batch, 0.3), pgd(trained, *batch, 0.3))
    )
    assert often <= once < clean


def test_an_image_does_not_depend_on_those_beside_it(trained, batch, monkeypatch):
    images, labels = batch
    whole = fgsm(trained, images, labels, EPSILON)
    alone = torch.cat([fgsm(trained, images[i : i + 1], labels[i : i + 1], EPSILON) for i in range(8)])
    assert torch.allclose(whole[:8], alone, atol=ROUNDING)
    monkeypatch.setattr("lotterylib.metrics.generalization.attacks._BATCH", 7)
    assert torch.allclose(fgsm(trained, images, labels, EPSILON), whole, atol=ROUNDING)


def test_pgd_starts_where_the_seed_says(trained, batch):
    one, same, other = (pgd(trained, *batch, 0.1, steps=1, seed=s) for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    frozen = pgd(trained, *batch, 0.1, steps=1, step_size=0.0, seed=0)
    assert 0.09 < (frozen - batch[0]).abs().max() <= 0.1 + ROUNDING  # the start itself, all over the ball
    assert torch.equal(pgd(trained, *batch, 0.1, step_size=0.0, seed=None), batch[0])


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_the_network_stays_as_it_was(batch, attack):
    """BatchNorm in training mode would move its averages; a gradient of before must neither count nor change."""
    network = toy_network().train()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    network[5].weight.grad = torch.full_like(network[5].weight, 7.0)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    with untouched_rng(), torch.no_grad():
        moved = attack(network, *batch, 0.1)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert [m.training for m in network.modules()] == modes
    assert not network[0].weight.requires_grad and network[0].bias.requires_grad
    assert (network[5].weight.grad == 7).all() and network[0].bias.grad is None
    assert not moved.requires_grad and not batch[0].requires_grad
    assert torch.equal(moved, attack(network.eval(), *batch, 0.1))  # eval mode is what it attacks


def test_modes_come_back_also_after_a_failure(batch):
    network = toy_network().train()
    network[1].eval()
    with pytest.raises(RuntimeError):
        fgsm(network, torch.zeros(2, 5, 12, 12), torch.tensor([0, 1]), 0.1)
    assert network.training and not network[1].training


IMAGES, LABELS = torch.full((2, 1, 12, 12), 0.5), torch.tensor([0, 1])


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize(
    "images, labels, epsilon, error, words",
    [
        (IMAGES[:0], LABELS[:0], 0.1, DataError, "no images"),
        (IMAGES[0], LABELS, 0.1, DataError, "want images"),
        (IMAGES, LABELS[:1], 0.1, DataError, "want images"),
        (IMAGES * 255, LABELS, 0.1, DataError, r"\[0, 1\], got 128"),
        (IMAGES - 1, LABELS, 0.1, DataError, "pixels"),
        (IMAGES * torch.nan, LABELS, 0.1, DataError, "pixels"),
        (IMAGES, torch.tensor([0, 3]), 0.1, DataError, r"0\.\.2"),
        (IMAGES, torch.tensor([0, -100]), 0.1, DataError, r"0\.\.2"),
        (IMAGES, LABELS, -0.1, SettingError, "epsilon"),
        (IMAGES, LABELS, 8, SettingError, "8/255"),
        (IMAGES, LABELS, math.nan, SettingError, "epsilon"),
    ],
)
def test_bad_input_is_refused(attack, images, labels, epsilon, error, words):
    with pytest.raises(error, match=words):
        attack(toy_network(), images, labels, epsilon)


def test_bad_steps_and_broken_networks_are_refused():
    with pytest.raises(SettingError, match="1 step"):
        pgd(toy_network(), IMAGES, LABELS, 0.1, steps=0)
    with pytest.raises(SettingError, match="step_size"):
        pgd(toy_network(), IMAGES, LABELS, 0.1, step_size=-1.0)
    broken = toy_network()
    broken[0].weight.data[0] = torch.nan
    with pytest.raises(DataError, match="broken"):
        fgsm(broken, IMAGES, LABELS, 0.1)


class Scaled(nn.Module):
    """Logits × 1000: the same answers, and no gradient where the softmax is 1 to the last bit."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return 1000 * self.network(images)


def test_saturated_logits_mask_the_gradient(trained, batch):
    """Why the curve has a control, and why a good FGSM score alone proves nothing."""
    images, labels = batch
    sharp = Scaled(trained)
    assert torch.equal(predict(sharp, images).argmax(1), predict(trained, images).argmax(1))
    honest = accuracy(predict(trained, fgsm(trained, images, labels, 0.3)), labels)
    masked = accuracy(predict(sharp, fgsm(sharp, images, labels, 0.3)), labels)
    assert masked > honest
    still = (input_gradient(sharp, images, labels).flatten(1) == 0).all(dim=1)
    assert still.any() and torch.equal(fgsm(sharp, images, labels, 0.3)[still], images[still])
    measured = metrics.evaluate(Subject(sharp, toy_data(), device="cpu"), "fgsm_accuracy", {"images": 64})
    assert measured.extra["no_gradient"] == still.double().mean().item()


def test_measuring_fgsm(trained):
    subject = Subject(trained, toy_data(), device="cpu")
    measured = metrics.evaluate(subject, "fgsm_accuracy", {"images": 30, "epsilon": 4 / 255})
    pictures, labels = toy_data().limited(30).test
    share = accuracy(predict(trained, fgsm(trained, pictures, labels, 4 / 255)), labels)
    assert measured.value == share and measured.samples == 30
    assert measured.error == pytest.approx(math.sqrt(share * (1 - share) / 30))
    curve = dict(zip(measured.extra["epsilon_255ths"], measured.extra["accuracy"], strict=True))
    assert curve[0] == round(accuracy(predict(trained, pictures), labels), 6)
    assert curve[4] == round(share, 6) and set(curve) == {0, 1, 2, 4, 8, 16}
    assert round(measured.variants["2/255"].value, 6) == curve[2]


def test_measuring_pgd(trained):
    subject = Subject(trained, toy_data(), seed=5, device="cpu")
    settings = {"images": 30, "epsilon": 0.2, "steps": 4}
    with untouched_rng():
        measured = metrics.evaluate(subject, "pgd_accuracy", settings)
    pictures, labels = toy_data().limited(30).test
    share = accuracy(predict(trained, pgd(trained, pictures, labels, 0.2, 4)), labels)
    assert measured.value == share and measured.samples == 30
    gently = pgd(trained, pictures, labels, 2 / 255, 4)
    assert measured.variants["2/255"].value == accuracy(predict(trained, gently), labels)
    assert metrics.evaluate(subject, "pgd_accuracy", settings) == measured


@pytest.mark.parametrize("name", ["fgsm_accuracy", "pgd_accuracy"])
def test_measuring_refuses_bad_settings(trained, name):
    with pytest.raises(SettingError, match="epsilon"):
        metrics.evaluate(Subject(trained, toy_data(), device="cpu"), name, {"epsilon": 8})
