"""Inputs prepared otherwise than in training, outputs that are no logits, networks that guess."""

import pytest
import torch
from torch import nn
from torchvision.transforms import v2 as transforms

import lotterylib
from lotterylib import models
from lotterylib.datasets import Dataset
from lotterylib.errors import SettingError
from lotterylib.score.checks import guessing, renumbered, strangeness
from tests.conftest import toy_data, toy_network, untouched_rng

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained():
    """A network that learnt on images normalised by ImageNet's constants, and those images in [0, 1]."""
    grey = toy_data(96)
    colour = {s: (getattr(grey, s)[0].expand(-1, 3, -1, -1) * torch.tensor([1, 0.8, 0.6]).view(1, 3, 1, 1), getattr(grey, s)[1]) for s in ("train", "val", "test")}  # fmt: skip
    data = Dataset(name="colour", class_names=grey.class_names, **colour)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(96, 3)]  # fmt: skip
        network = nn.Sequential(*layers)
    shift, scale = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network((data.train[0] - shift) / scale), data.train[1]).backward()
        optimizer.step()
    return network.eval(), data


def card(network, data, **more):
    news = []
    found = lotterylib.scorecard(network, network, data, only=["accuracy"], speed=False, progress=False, on_message=news.append, **more)  # fmt: skip
    return found, " ".join(news)


def test_wrong_constants_are_noticed_and_the_right_ones_named(trained):
    right, _ = card(*trained, mean=MEAN, std=STD)
    assert not right.doubts and right.passes and "mean 0.485 0.456 0.406" in right.about["preprocessing"]
    wrong, news = card(*trained)
    assert (
        not wrong.passes and wrong.fails("worse") and str(wrong).startswith("These numbers cannot be trusted")
    )
    [doubt] = [line for line in wrong.doubts if "first BatchNorm" in line]
    assert "mean and std ImageNet's" in doubt and doubt in news


def test_strangeness_is_a_divergence():
    """By hand: a layer that remembers N(0, 1) and sees N(1, 4) is log 1/2 + (4 + 1)/2 − 1/2 away."""
    layer = nn.BatchNorm2d(1).eval()
    layer.running_mean.fill_(1e-9)
    images = 1 + 2 * torch.randn(50, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(layer, nn.Flatten())
    with untouched_rng():
        assert strangeness(network, images, CPU) == pytest.approx(-0.6931 + 2.5 - 0.5, abs=0.02)
    assert not layer._forward_pre_hooks
    assert strangeness(nn.Sequential(nn.Flatten()), images, CPU) is None
    assert strangeness(nn.Sequential(nn.BatchNorm2d(1)), images, CPU) is None  # never trained


def test_an_expected_accuracy_confirms_or_refutes(trained):
    network, data = trained
    fine, _ = card(network, data, mean=MEAN, std=STD, expect=1.0)
    assert fine.passes
    wrong, _ = card(network, data, mean=MEAN, std=STD, expect=0.5)
    assert not wrong.passes and "50.00% was expected" in wrong.doubts[0]
    with pytest.raises(SettingError, match="above 0 and at most 1"):
        card(network, data, expect=91.25)


def test_probabilities_are_recognised(trained):
    network, data = trained
    soft = nn.Sequential(network, nn.Softmax(dim=1))
    with pytest.raises(
        SettingError, match="gives probabilities, not logits: say so with outputs probabilities"
    ):
        card(soft, data, mean=MEAN, std=STD)
    how = dict(only=["ece", "nll"], speed=False, progress=False, mean=MEAN, std=STD)
    known = lotterylib.scorecard(network, network, data, **how)
    found = lotterylib.scorecard(soft, soft, data, outputs="probabilities", **how)
    assert [row.ticket for row in found.rows] == pytest.approx([row.ticket for row in known.rows], abs=1e-5)


class Squashed(nn.Module):
    def __init__(self, net, how):
        super().__init__()
        self.net, self.how = net, how

    def forward(self, images):
        return self.how(self.net(images))


def test_probabilities_of_some_of_the_classes_are_recognised(trained, tmp_path):
    """The classes that the data do not have took a share of them."""
    network, data = trained
    (tmp_path / "list.txt").write_text("none\na\nb\nc\n")

    def soft(logits):
        return torch.cat([logits.new_zeros(len(logits), 1), logits], dim=1).softmax(dim=1)

    with pytest.raises(SettingError, match="gives probabilities, not logits"):
        card(Squashed(network, soft), data, mean=MEAN, std=STD, classes=tmp_path / "list.txt")
    fine, _ = card(
        Squashed(network, soft),
        data,
        mean=MEAN,
        std=STD,
        classes=tmp_path / "list.txt",
        outputs="probabilities",
    )
    assert fine.passes


def test_logits_are_not_taken_for_probabilities(trained):
    with pytest.raises(SettingError, match="the dense network gives no probabilities, which sum to 1"):
        card(*trained, mean=MEAN, std=STD, outputs="probabilities")


def test_outputs_of_a_sigmoid_are_named(trained):
    network, data = trained
    found, _ = card(Squashed(network, torch.sigmoid), data, mean=MEAN, std=STD)
    assert any("if a sigmoid gave them" in note for note in found.notes)
    assert not any("sigmoid" in note for note in card(network, data, mean=MEAN, std=STD)[0].notes)


def test_classes_in_another_order_are_named(trained):
    """All three, and two of them alone, of which guessing would not be said."""
    network, data = trained
    for order, said in (
        ([1, 2, 0], "a stands for b, b stands for c, c stands for a"),
        ([0, 2, 1], "b stands for c, c stands for b"),
    ):
        other = Squashed(network, lambda logits, order=order: logits[:, order])
        found, _ = card(other, data, mean=MEAN, std=STD)
        [doubt] = found.doubts
        assert f"numbered otherwise ({said})" in doubt and "right on 100.0%" in doubt and found.fails("worse")
    assert not card(network, data, mean=MEAN, std=STD)[0].doubts


def test_who_guesses_has_no_other_order():
    """Of all orders the best one is right more often by chance, on few images more so."""
    draw = torch.Generator().manual_seed(0)
    for classes, count in ((2, 40), (3, 60), (10, 100), (10, 1000), (100, 900)):
        labels = torch.arange(count) % classes
        logits = torch.randn(count, classes, generator=draw)
        assert renumbered("it", logits, labels, range(classes)) == ""


def test_a_broken_training_of_the_dense_network_is_no_excuse(trained):
    network, data = trained
    dead = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 3))
    nn.init.zeros_(dead[1].weight)
    how = dict(only=["accuracy"], speed=False, progress=False, mean=MEAN, std=STD)
    found = lotterylib.scorecard(network, [network, network, dead.eval()], data, **how)
    assert found.doubts == ["Sequential gives the same answer for every image"] and found.fails("worse")


def test_an_accuracy_is_expected_of_a_dense_network(trained):
    with pytest.raises(SettingError, match="expect is the accuracy of the dense network, and none was given"):
        lotterylib.scorecard(trained[0], None, trained[1], expect=0.9, progress=False)


@pytest.mark.parametrize(
    "mean, std, words",
    [([0.5, 0.5], [0.5, 0.5], "mean wants one number per channel, 3, got 2"), ([0.5] * 3, [0.5] * 2, "std wants one number"),
     ([123.7, 116.3, 103.5], [58.0] * 3, "mean 123.7 is of pixels from 0 to 255.*divide mean and std by 255"),
     ([float("nan")], [1.0], "mean wants numbers, got nan")],
)  # fmt: skip
def test_constants_that_cannot_be_right_are_one_line(trained, mean, std, words):
    with pytest.raises(SettingError, match=words):
        card(*trained, mean=mean, std=std)


@pytest.mark.parametrize("right, count, classes, guesses", [(688, 1000, 2, False), (520, 1000, 2, True), (10, 1000, 1000, False), (9, 20, 3, True)])  # fmt: skip
def test_guessing_is_told_by_interval_and_class_count(right, count, classes, guesses):
    labels = torch.zeros(count, dtype=torch.int64)
    answers = torch.where(torch.arange(count) < right, 0, 1)
    assert guessing(nn.functional.one_hot(answers, classes).float(), labels) is guesses


def test_broken_networks_do_not_hold_up(trained):
    network, data = trained
    dead = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 3))
    nn.init.zeros_(dead[1].weight)
    found, _ = card(dead.eval(), data)
    assert "same answer for every image" in found.doubts[0] and not found.passes
    pruned = lotterylib.scorecard(
        dead, network, data, only=["accuracy"], speed=False, progress=False, mean=MEAN, std=STD
    )
    assert "same answer for every image" in pruned.doubts[0] and pruned.fails("worse")


def test_a_network_that_learnt_is_not_strange_to_itself():
    data, network = toy_data(), toy_network()
    for _ in range(60):
        network(data.train[0])
    assert strangeness(network.eval(), data.test[0], CPU) < 0.07


def learnt(first, body):
    """A network that prepares its images by its ``first`` layer, and has learnt its toys."""
    network, data = nn.Sequential(first, body), toy_data()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(data.train[0]), data.train[1]).backward()
        optimizer.step()
    return network.eval()


def without_batchnorm():
    body = toy_network()
    body[1] = nn.Identity()
    return body


class Arithmetic(nn.Module):
    """A mean and a std that are no attributes."""

    def forward(self, images):
        return (images - 0.5) / 0.05


@pytest.mark.parametrize("first", [models.Normalize([0.3], [0.2]), transforms.Normalize([0.3], [0.2])])
@pytest.mark.parametrize("body", [toy_network, without_batchnorm])
def test_a_network_that_normalises_by_itself_needs_no_constants(first, body):
    network = learnt(first, body())
    twice, _ = card(network, toy_data(), mean=[0.3], std=[0.2])
    assert twice.doubts == [
        "the dense network normalises its images by itself (in 0): leave out mean and std"
    ]
    once, _ = card(network, toy_data())
    assert not once.doubts


def test_constants_that_cost_a_network_its_answers_are_noticed():
    network = learnt(Arithmetic(), without_batchnorm())
    twice, _ = card(network, toy_data(), mean=[0.9], std=[0.01])
    assert "and on 100.0% without: does it normalise its images by itself?" in twice.doubts[0]
    needed, _ = card(network[1], toy_data(), mean=[0.5], std=[0.05])
    assert not needed.doubts
    # a layer that changes nothing normalises nothing
    idle = nn.Sequential(models.Normalize([0.0], [1.0]), network[1]).eval()
    assert not card(idle, toy_data(), mean=[0.5], std=[0.05])[0].doubts
