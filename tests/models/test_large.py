"""The paper's larger networks, slimmed down, under every kind of pruning; and torchvision's checkpoints."""

import json

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lotterylib import Recipe, masks, models, pruners
from lotterylib.errors import DataError, SettingError
from lotterylib.models.imagenet import MEAN, STD
from lotterylib.pruners import grasp, snip, synflow
from lotterylib.pruners.small_dense import narrowed
from lotterylib.rng import generator
from tests.conftest import toy_data

TINY = {"resnet18": 0.07, "resnet50": 0.05, "wrn28_10": 0.03, "vgg16_bn": 0.07}
LAYERS = {
    "resnet18": 21,
    "resnet50": 54,
    "wrn28_10": 29,
    "vgg16_bn": 14,
}  # convolutions, shortcuts, linear layers


def tiny(name: str, **settings) -> nn.Module:
    return models.build(name, 3, 3, width=TINY[name], **settings)


def batch(count: int = 6):
    return torch.rand(count, 3, 32, 32, generator=generator(0, "images")), torch.arange(count) % 3


@pytest.mark.parametrize("name", TINY)
def test_every_convolution_and_linear_layer_is_prunable(name):
    network = tiny(name)
    found = masks.prunable(network)
    assert len(found) == LAYERS[name]
    assert len(masks.prunable(network, "conv")) == LAYERS[name] - 1
    rest = [n for n, p in network.named_parameters() if n not in found]
    assert all(network.get_parameter(n).dim() == 1 for n in rest)


@pytest.mark.parametrize("name", TINY)
def test_scores_at_initialisation(name):
    network, (images, labels) = tiny(name), batch()
    for scores in (
        snip.scores(network, images, labels),
        grasp.scores(network, images, labels),
        synflow.scores(network, (3, 32, 32)),
    ):
        assert list(scores) == list(masks.prunable(network))
        assert all(s.isfinite().all() for s in scores.values())
        assert all((s != 0).any() for s in scores.values())
    mask = synflow.mask(network, (3, 32, 32), 0.1, iterations=3)
    assert mask.kept == round(0.1 * mask.total)
    assert all(tensor.any() for tensor in mask.values())


def test_synflow_conserves_the_flow_of_vgg():
    """No shortcuts and no active biases: every layer's scores sum to the same R, in networks this deep as well."""
    sums = [s.sum().item() for s in synflow.scores(tiny("vgg16_bn"), (3, 32, 32)).values()]
    # max-pooling passes on a maximum, of which the score of one path is all
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-9)


@pytest.mark.parametrize("name", TINY)
def test_small_dense_finds_the_widths(name):
    with torch.device("meta"):
        network = models.build(name, 10, 3)
        full = sum(p.numel() for p in masks.prunable(network).values())
        small = models.build(**narrowed(network.spec, round(0.2 * full)))
        assert sum(p.numel() for p in masks.prunable(small).values()) == pytest.approx(0.2 * full, rel=0.01)


@pytest.mark.parametrize("name", TINY)
def test_structured_pruning_cuts_it(name):
    data = toy_data(count=12, channels=3, size=32)
    recipe = Recipe(epochs=1, batch_size=6, warmup=0, rewind=0, lr=0.01, precision="float32")
    network = models.build(name, 3, 3, width=2 * TINY[name])
    ticket = pruners.build("structured").find(network, data, 0.5, recipe, 0, device="cpu", progress=False)
    full = sum(p.numel() for p in masks.prunable(network).values())
    assert 0.4 * full < ticket.mask.kept <= 0.5 * full
    twin = models.build(**json.loads(json.dumps(ticket.model.spec)))
    twin.load_state_dict(ticket.model.state_dict())
    with torch.no_grad():
        # the ticket's weights lie channels last: other sums
        assert torch.allclose(twin.eval()(data.test[0]), ticket.model(data.test[0]), rtol=1e-4, atol=1e-5)


def test_a_wide_block_by_hand():
    network = tiny("wrn28_10").double().eval()
    blocks, x = network.net.stages, torch.rand(2, 2, 9, 9, dtype=torch.float64)
    for module in network.modules():  # statistics and scales that matter
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2, generator=generator(0, "scale"))
            nn.init.normal_(module.running_mean, generator=generator(0, "mean"))
    x = torch.rand(2, network.net.stem.out_channels, 9, 9, dtype=torch.float64)
    for block, stride in ((blocks[0], 1), (blocks[4], 2)):
        a = block.bn1(x).relu()
        inner = block.bn2(F.conv2d(a, block.conv1.weight, stride=stride, padding=1)).relu()
        expected = F.conv2d(inner, block.conv2.weight, padding=1)
        expected = expected + F.conv2d(a, block.shortcut.weight, stride=stride)
        assert torch.allclose(block(x), expected)
        x = expected
    assert torch.allclose(
        blocks[5](x), x + blocks[5].conv2(blocks[5].bn2(blocks[5].conv1(blocks[5].bn1(x).relu())).relu())
    )
    assert blocks[5].shortcut is None


# --- torchvision's checkpoints


@pytest.fixture(scope="module")
def original():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.resnet50(weights=None, num_classes=7)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("from_file", [False, True])
def test_torchvisions_checkpoint_gives_torchvisions_logits(original, tmp_path, from_file):
    weights = original.state_dict()
    if from_file:
        torch.save(weights, tmp_path / "resnet50.pth")
        weights = tmp_path / "resnet50.pth"
    network = models.build("resnet50", 7, 3, size=64, mean=[0.1, 0.2, 0.3])
    assert models.load_torchvision_(network, weights) is network
    images = torch.rand(2, 3, 64, 64, generator=generator(0, "images"))
    normalised = torchvision.transforms.functional.normalize(images, list(MEAN), list(STD))
    with torch.no_grad():
        assert torch.allclose(network.eval()(images), original(normalised), rtol=1e-4, atol=1e-5)
    assert network.spec["mean"] == list(MEAN)
    assert torch.equal(models.build(**network.spec).normalize.std, network.normalize.std)


def test_another_checkpoint_is_refused_and_changes_nothing(original, tmp_path):
    network = models.build("resnet50", 7, 3)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    good = original.state_dict()

    def refused(weights, words, kind=DataError, model=network):
        with pytest.raises(kind, match=words) as caught:
            models.load_torchvision_(model, weights)
        assert "\n" not in str(caught.value)

    less = {n: t for n, t in good.items() if n != "layer3.2.conv1.weight"}
    refused(less, r"lacks layer3\.2\.conv1\.weight: is it a state dict of torchvision's resnet50")
    refused(
        good | {"fc.weight": torch.zeros(1000, 2048)},
        r"fc\.weight has shape \[1000, 2048\], .* wants \[7, 2048\]",
    )
    refused(good | {"extra": torch.zeros(1)}, "holds extra, which resnet50 does not have")
    refused([1], "holds no state dict but list")
    refused(tmp_path / "none.pth", "no checkpoint at")
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    refused(tmp_path / "bad.pth", "is no readable checkpoint")
    refused(good, "go into a network of build", SettingError, models.build("resnet8", 7, 3))
    refused(good, "takes 3 channels, this one 1", SettingError, models.build("resnet50", 7, 1, width=0.05))
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    counters = {n: t for n, t in good.items() if not n.endswith("num_batches_tracked")}
    models.load_torchvision_(network, counters)  # as the first published one


def test_a_checkpoint_is_read_without_running_code(original, tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(DataError, match="is no readable checkpoint"):
        models.load_torchvision_(models.build("resnet50", 7, 3, width=0.05), tmp_path / "trap.pth")
