"""Files as engineers have them."""

import copy
import random

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.score import Network
from lotterylib.score.foreign.modules import build, plain, try_out
from lotterylib.score.foreign.state_dicts import fit, merged, read
from tests.conftest import toy_network, untouched_rng
from tests.score.foreign.test_programs import Bomb


def pruned(amount=0.5):
    network = toy_network().eval()
    for layer in (network[0], network[5]):
        prune.l1_unstructured(layer, "weight", amount=amount)
    return network


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3},
                                  lambda s: {"model": {f"module.{n}": t for n, t in s.items()}}])  # fmt: skip
def test_masks_of_prune_become_zeros_and_a_mask(tmp_path, wrap):
    network, images = pruned(), torch.rand(3, 1, 12, 12)
    network[0].weight_orig.data[0, 0, 0, 0] = 0.0  # a kept weight that happens to be 0
    network[0].weight_mask[0, 0, 0, 0] = 1.0
    torch.save(wrap(network.state_dict()), tmp_path / "p.pt")
    model, mask = fit(read(tmp_path / "p.pt"), toy_network(seed=7))
    assert torch.equal(model(images), network(images))
    assert mask["0.weight"][0, 0, 0, 0] and model[0].weight[0, 0, 0, 0] == 0
    assert torch.equal(mask["0.weight"], network[0].weight_mask.bool())
    assert mask["5.weight"].sum() == 96 * 3 // 2


def test_baked_in_zeros_in_safetensors(tmp_path):
    network = plain(pruned())
    safetensors.torch.save_file(network.state_dict(), tmp_path / "p.safetensors")
    model, mask = fit(read(tmp_path / "p.safetensors"), toy_network())
    assert torch.equal(mask["5.weight"], network[5].weight != 0) and mask.density == pytest.approx(
        0.5, abs=0.01
    )
    assert torch.equal(model[5].weight, network[5].weight)


def test_plain_leaves_the_module_as_it_was():
    network = pruned()
    network(torch.rand(2, 1, 12, 12))  # its weights now hang on a graph, which cannot be copied
    twin = plain(network)
    assert set(twin.state_dict()) == set(toy_network().state_dict())
    assert prune.is_pruned(network) and not prune.is_pruned(twin)
    assert set(merged(network.state_dict())[1]) == {"0.weight", "5.weight"}


def test_cut_channels_are_followed(tmp_path):
    tp = pytest.importorskip("torch_pruning")
    arch = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()  # fmt: skip
    small, images = copy.deepcopy(arch), torch.rand(2, 1, 12, 12)
    tp.pruner.MagnitudePruner(
        small,
        images,
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[small[7]],
    ).step()
    torch.save(small.state_dict(), tmp_path / "s.pt")
    model, _ = fit(read(tmp_path / "s.pt"), arch)
    assert model[0].out_channels == 4 and model[3].groups == 4
    assert torch.allclose(model(images), small.eval()(images))
    assert arch[0].out_channels == 8


def test_whole_modules_are_refused_and_never_executed(tmp_path):
    torch.save(toy_network(), tmp_path / "whole.pt")
    with pytest.raises(DataError, match=r"holds code \(torch\.nn.*never run.*state_dict\(\)"):
        read(tmp_path / "whole.pt")
    torch.save({"state_dict": Bomb(tmp_path / "executed")}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="never run"):
        read(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("5.bias"), "missing 5.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "unexpected extra"),
        (
            lambda s: s.update({"5.weight": torch.ones(5, 96)}),
            "5.weight has shape [5, 96], the network's is [3, 96]",
        ),
        (
            lambda s: s.update({"0.weight": torch.ones(6)}),
            "0.weight has shape [6], the network's is [6, 1, 3, 3]",
        ),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path, change, words):
    state = dict(toy_network().state_dict())
    change(state)
    torch.save(state, tmp_path / "p.pt")
    with pytest.raises(DataError) as error:
        fit(read(tmp_path / "p.pt"), toy_network())
    assert words in str(error.value) and "\n" not in str(error.value)


def test_another_number_of_classes_is_named_as_such(tmp_path):
    torch.save(toy_network(classes=5).state_dict(), tmp_path / "p.pt")
    with pytest.raises(DataError, match=r"a network of 5 classes \(5\.weight has .*, but the data have 3$"):
        fit(read(tmp_path / "p.pt"), toy_network(), classes=3)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.pt", b""),
        ("a.pt", b"nonsense"),
        ("a.pt", b"root:x:0:0"),
        ("a.txt", b"q\x00"),
        ("a.safetensors", b"x" * 30),
    ],
)
def test_other_files_are_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="no file"):
        read(tmp_path / "none.pt")


def test_damaged_files_are_one_line(tmp_path):
    """Bytes changed, files cut short: some still are checkpoints, none is a traceback."""
    torch.save(toy_network().state_dict(), tmp_path / "p.pt")
    good, dice = (tmp_path / "p.pt").read_bytes(), random.Random(0)
    for _ in range(100):
        content = bytearray(good)
        for _ in range(dice.randrange(1, 200)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        content[-40:] = good[-40:] if dice.random() < 0.5 else content[-40:]
        (tmp_path / "p.pt").write_bytes(content[: dice.choice((None, dice.randrange(1, len(good))))])
        try:
            read(tmp_path / "p.pt")
        except DataError as error:
            assert "p.pt" in str(error) and "\n" not in str(error)


def test_networks_by_name():
    with untouched_rng():
        assert build("torchvision:squeezenet1_1", 3, 3, 64).num_classes == 3
    with pytest.raises(UnknownNameError, match="resnet18"):
        build("torchvision:resnet19", 3, 3, 64)
    with pytest.raises(UnknownNameError, match="torchvision:resnet18"):
        build("resnet9", 3, 3, 64)


def test_a_wrapped_network_normalises_and_takes_grey_images_in_pieces():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()
    images = torch.rand(5, 1, 6, 6)
    wrapped = Network(net, [0.1, 0.2, 0.3], [1.0, 2.0, 4.0], grey=True, batch=2)
    shown = (images.repeat(1, 3, 1, 1) - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [1.0, 2, 4]
    ).view(3, 1, 1)
    assert torch.allclose(wrapped(images), net(shown), atol=1e-6)
    with pytest.raises(SettingError, match="go together"):
        Network(net, mean=[0.5])


def test_outputs_must_be_logits_of_the_classes():
    try_out(toy_network(), (1, 12, 12), 3, "it")
    with pytest.raises(DataError, match="3 logits, but the data have 5 classes"):
        try_out(toy_network(), (1, 12, 12), 5, "it")
    with pytest.raises(DataError, match="does not take images of 3×12×12"):
        try_out(toy_network(), (3, 12, 12), 3, "it")
