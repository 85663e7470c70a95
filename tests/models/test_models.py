import pytest
import torch

from lotterylib import models
from lotterylib.errors import SettingError, UnknownNameError
from lotterylib.models.resnet import Pointwise
from lotterylib.rng import generator
from tests.conftest import untouched_rng

SLIM = {"resnet18": 0.1, "resnet50": 0.1, "wrn28_10": 0.02, "vgg16_bn": 0.1}  # of the large ones, for speed
LEAST = {"vgg16_bn": 32}  # pixels a side


def slim(name: str) -> float:
    return SLIM.get(name, 1.0)


def parameters(network) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "name, channels, count",
    [
        ("lenet", 1, 61_706),  # the textbook's LeNet-5
        ("resnet20s", 3, 272_474),
        ("resnet8", 3, 78_042),
        ("resnet8", 1, 78_042 - 2 * 16 * 9),
        ("resnet18", 3, 11_173_962),  # 11.2 million
        ("wrn28_10", 3, 36_479_194),  # 36.5 million
        ("vgg16_bn", 3, 14_728_266),  # 14.7 million: one linear layer after the convolutions
    ],
)
def test_parameter_counts(name, channels, count):
    with torch.device("meta"):
        assert parameters(models.build(name, 10, channels)) == count


@pytest.mark.parametrize("hidden, count", [(1, 14_990_922), (2, 15_253_578)])  # up to 15.3 million
def test_the_head_of_vgg_decides_its_count(hidden, count):
    with torch.device("meta"):
        assert parameters(models.build("vgg16_bn", 10, 3, hidden_layers=hidden)) == count
    network = models.build("vgg16_bn", 10, 3, width=0.05, hidden_layers=hidden).eval()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sum(isinstance(m, torch.nn.Linear) for m in network.modules()) == hidden + 1


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("width, size", [(1.0, 32), (0.25, 28), (2.0, 16), (0.01, 32)])
def test_any_width_and_size_gives_one_logit_a_class(name, width, size):
    size = max(size, LEAST.get(name, 0))
    network = models.build(name, 7, 2, width=width * slim(name), size=size).eval()
    assert network(torch.rand(3, 2, size, size)).shape == (3, 7)


def test_width_multiplies_the_hidden_channels():
    assert parameters(models.build("lenet", 10, 1, width=0.5)) == (
        (25 + 1) * 3 + (3 * 25 + 1) * 8 + (8 * 25 + 1) * 60 + 61 * 42 + 43 * 10
    )
    narrow, wide = (models.build("resnet8", 10, 3, width=w) for w in (1.0, 2.0))
    assert wide.net.head.in_features == 2 * narrow.net.head.in_features == 128
    assert models.build("resnet8", 10, 3, width=0.5).net.stem[0].out_channels == 8


def test_a_wider_stride_leaves_the_weights_as_they_are():
    usual, quick = (models.build("resnet8", 10, 1, stem_stride=s).eval() for s in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(usual.parameters(), quick.parameters(), strict=True))
    assert not torch.allclose(usual(torch.rand(1, 1, 32, 32)), quick(torch.rand(1, 1, 32, 32)))


@pytest.mark.parametrize("name", models.names())
def test_normalisation_is_inside(name):
    mean, std = [0.2, 0.5, 0.7], [0.1, 0.3, 0.2]
    network = models.build(name, 10, 3, width=slim(name), mean=mean, std=std).eval()
    images = torch.rand(2, 3, 32, 32)
    by_hand = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        assert torch.equal(network(images), network.net(by_hand))
    assert "normalize.mean" in network.state_dict()  # it travels with the weights


@pytest.mark.parametrize("name", models.names())
def test_a_seed_is_a_network_and_the_callers_random_state_stays(name):
    with untouched_rng():
        first = models.build(name, 10, 1, width=slim(name), seed=3)
    torch.rand(5)
    again, other = (models.build(name, 10, 1, width=slim(name), seed=seed) for seed in (3, 4))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_a_refused_build_leaves_the_random_state_too():
    with untouched_rng(), pytest.raises(SettingError):
        models.build("lenet", 10, 1, size=8)


@pytest.mark.parametrize("name", models.names())
def test_the_description_makes_a_twin(name):
    import json

    settings = {"stem_stride": 2} if name.startswith("resnet") and name != "resnet50" else {}
    settings |= {"hidden_layers": 1} if name == "vgg16_bn" else {}
    size = max(20, LEAST.get(name, 0))
    network = models.build(
        name, 5, 2, width=0.5 * slim(name), size=size, seed=9, mean=[0.1, 0.2], std=[0.3, 0.4], **settings
    )
    twin = models.build(**json.loads(json.dumps(network.spec)))
    twin.load_state_dict(network.state_dict())
    images = torch.rand(2, 2, size, size)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), twin.eval()(images))
    assert twin.spec == network.spec


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(classes=0), "classes must be a whole number"),
        (dict(classes=2.5), "classes"),
        (dict(channels=True), "channels"),
        (dict(width=0), "width must be above 0"),
        (dict(width=-1), "width"),
        (dict(width=float("nan")), "width"),
        (dict(width=float("inf")), "width must be above 0"),
        (dict(size=15), "at least 16 pixels"),
        (dict(name="resnet8", size=4), "at least 8 pixels"),
        (dict(name="resnet8", stem_stride=3), "model resnet8: stem_stride: Input should be 1 or 2, got 3"),
        (dict(name="resnet50", size=7), "resnet50 needs images of at least 8"),
        (dict(name="wrn28_10", size=7), "wrn28_10 needs images of at least 8"),
        (dict(name="vgg16_bn", size=31), "vgg16_bn needs images of at least 32"),
        (dict(name="vgg16_bn", hidden_layers=3), "hidden_layers: Input should be 0, 1 or 2, got 3"),
        (dict(stem_stride=2), "model lenet has no setting 'stem_stride': it has none"),
        (dict(mean=[0.5, 0.5], std=[1.0]), "one number per channel"),
        (dict(std=[0.0]), "std above 0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(arguments, words):
    with pytest.raises(SettingError, match=words):
        models.build(**(dict(name="lenet", classes=10, channels=1) | arguments))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown model 'resnet-8': did you mean 'resnet8'"):
        models.build("resnet-8", 10, 1)


@pytest.mark.parametrize("inputs, stride", [(4, 2), (3, 1), (16, 2)])
def test_a_shortcut_is_the_strided_convolution_that_its_settings_say(inputs, stride):
    shortcut = Pointwise(inputs, 6, 1, stride, bias=False).double()
    images = torch.randn(3, inputs, 9, 9, dtype=torch.float64, generator=generator(0, "images"))
    strided = torch.nn.functional.conv2d(images, shortcut.weight, stride=stride)
    assert torch.allclose(shortcut(images), strided)
