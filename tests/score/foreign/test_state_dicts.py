"""Files as engineers have them."""

import copy
import random
import re
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import utils
from torch.nn.utils import prune

from lotterylib.errors import DataError
from lotterylib.score.foreign.modules import build, plain
from lotterylib.score.foreign.state_dicts import fit, read
from tests.conftest import toy_network
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


def renamed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module.",
        "model.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.module._orig_mod.",
        "net.net.",
        "_forward_module.model.",
    ],
)
def test_prefixes_in_any_order_and_depth(tmp_path, prefix):
    network, images = pruned(), torch.rand(3, 1, 12, 12)
    torch.save({"state_dict": renamed(network.state_dict(), prefix)}, tmp_path / "p.pt")
    for arch in (toy_network(seed=7), nn.ModuleDict({"net": toy_network(seed=7)})):
        model, mask = fit(read(tmp_path / "p.pt"), arch)
        layers = model if isinstance(model, nn.Sequential) else model["net"]
        assert torch.equal(layers(images), network(images))
        masks = [kept for name, kept in mask.items() if name.endswith("5.weight")]
        assert torch.equal(masks[0], network[5].weight_mask.bool())


def test_names_within_a_network_may_be_wrapped_too(tmp_path):
    network = toy_network().eval()
    state = {re.sub(r"^(\d)", r"\1._orig_mod", name): tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "p.pt")
    model, _ = fit(read(tmp_path / "p.pt"), toy_network(seed=7))
    assert torch.equal(model[5].weight, network[5].weight)


def test_averaged_models_are_read(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(toy_network(seed=3))
    for prefix in ("", "_orig_mod.", "model."):
        torch.save(renamed(averaged.state_dict(), prefix), tmp_path / "p.pt")
        found = read(tmp_path / "p.pt")
        model, _ = fit(found, toy_network())
        assert torch.equal(model[5].weight, averaged.module[5].weight) and not found.notes


COMPUTED = [
    utils.parametrizations.weight_norm,
    utils.parametrizations.spectral_norm,
    utils.weight_norm,
    utils.spectral_norm,
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", COMPUTED, ids=["weight", "spectral", "old weight", "old spectral"])
def test_weights_that_a_norm_computes_are_read_into_such_a_network(tmp_path, norm):
    network, arch, images = toy_network(), toy_network(seed=7), torch.rand(3, 1, 12, 12)
    norm(network[5])
    norm(arch[5])
    network(images)
    before = copy.deepcopy(arch.state_dict())
    torch.save({f"module.{name}": t for name, t in network.state_dict().items()}, tmp_path / "p.pt")
    model, _ = fit(read(tmp_path / "p.pt"), arch)
    assert torch.allclose(model(images), network.eval()(images), atol=1e-6)
    assert all(torch.equal(t, before[name]) for name, t in arch.state_dict().items())
    with pytest.raises(DataError, match="give the network that has this weight or spectral norm"):
        fit(read(tmp_path / "p.pt"), toy_network())
    arch[5] = norm(nn.Linear(95, 3))
    with pytest.raises(DataError, match=r"want \[.*cannot be fewer"):
        fit(read(tmp_path / "p.pt"), arch)


def test_a_moving_average_is_named_where_it_is_left_aside(tmp_path):
    own, average = (toy_network(seed=seed).state_dict() for seed in (3, 4))
    contents = (
        {"state_dict": own, "state_dict_ema": average},
        {"ema": average, "model": renamed(own, "module."), "epoch": 3},
        {"state_dict": renamed(average, "model_ema.module.") | renamed(own, "model.")},
        renamed(own, "net.") | renamed(average, "ema."),
        {"state_dict": renamed(own, "net.") | renamed(average, "net_ema.")},
    )
    for content in contents:
        torch.save(content, tmp_path / "p.pt")
        found = read(tmp_path / "p.pt")
        model, _ = fit(found, toy_network())
        assert torch.equal(model[5].weight, own["5.weight"])
        assert len(found.notes) == 1 and "p.pt also holds a moving average" in found.notes[0]
    torch.save({"params_ema": average}, tmp_path / "p.pt")
    model, _ = fit(read(tmp_path / "p.pt"), toy_network())
    assert torch.equal(model[5].weight, average["5.weight"])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("store", [torch.save, safetensors.torch.save_file])
def test_weights_of_two_bytes(tmp_path, kind, store):
    network = toy_network().eval().to(kind)
    store(network.state_dict(), tmp_path / "p.pt")
    for arch in (toy_network(seed=7), toy_network(seed=7).half()):
        model, _ = fit(read(tmp_path / "p.pt"), arch)
        assert model[5].weight.dtype == torch.float32
        assert torch.equal(model[5].weight, network[5].weight.float())


def test_quantized_weights_are_one_line(tmp_path):
    state = toy_network().state_dict() | {"5.weight": torch.ones(3, 96, dtype=torch.int8)}
    torch.save(state, tmp_path / "p.pt")
    with pytest.raises(DataError, match="5.weight holds int8, want floating-point numbers"):
        fit(read(tmp_path / "p.pt"), toy_network())


def test_masks_between_0_and_1_scale_the_weights(tmp_path):
    network, images = pruned(), torch.rand(3, 1, 12, 12)
    network[5].weight_mask.mul_(torch.rand(3, 96))
    torch.save(network.state_dict(), tmp_path / "p.pt")
    model, mask = fit(read(tmp_path / "p.pt"), toy_network(seed=7))
    assert torch.equal(model(images), network(images))
    assert mask["5.weight"].sum() == 96 * 3 // 2


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"0.weight": torch.ones(6, 1, 2, 2)},
            "0.weight has shape [6, 1, 2, 2], the network's is [6, 1, 3, 3]; only channels",
        ),
        ({"0.weight": torch.ones(4, 1, 3, 3)}, "the channels of 0 are weight 4, bias 6"),
        ({"1.running_var": torch.ones(1)}, "the channels of 1 are"),
        ({"5.bias": torch.ones(1)}, "the channels of 5 are weight 3, bias 1"),
    ],
)
def test_only_channels_may_be_fewer_and_of_a_whole_layer(tmp_path, change, words):
    torch.save(toy_network().state_dict() | change, tmp_path / "p.pt")
    with pytest.raises(DataError) as error:
        fit(read(tmp_path / "p.pt"), toy_network())
    assert words in str(error.value) and "\n" not in str(error.value)


class Block(nn.Module):
    """A residual sum, scaled channel by channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x):
        # one map for all channels, which is meant to be spread over them
        where = x.mean(dim=1, keepdim=True).sigmoid()
        return torch.relu(x * where + self.bn(self.conv(x)) * self.scale)


def residual():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).eval()


def one_channel(*names):
    """Entries of a state dict with one channel left, of the first dimension or (``@1``) the second."""
    state, found = residual().state_dict(), {}
    for name in names:
        key, _, second = name.partition("@")
        found[key] = found.get(key, state[key])[(slice(None), slice(1)) if second else slice(1)]
    return found


BRANCH = [
    "1.conv.weight",
    "1.conv.bias",
    *(f"1.bn.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
]
STEM = ["0.weight", "0.bias", "1.conv.weight@1"]


@pytest.mark.parametrize(
    "names, words",
    [
        ([*BRANCH], r"in 1 \(mul\) one channel stands for 6, where the network has 6"),
        ([*BRANCH, "1.scale"], r"in 1 \(add\) one channel stands for 6"),
        (["1.scale"], r"in 1 \(mul\) one channel stands for 6"),
        (STEM, r"in 1 \(add\) one channel stands for 6"),
    ],
)  # fmt: skip
def test_one_channel_that_is_spread_over_others_is_refused(tmp_path, names, words):
    """It runs, by broadcasting, and is another network."""
    torch.save(residual().state_dict() | one_channel(*names), tmp_path / "p.pt")
    with pytest.raises(DataError, match=words) as error:
        fit(read(tmp_path / "p.pt"), residual(), shape=(1, 8, 8))
    assert "\n" not in str(error.value)


def test_one_channel_all_along_is_taken(tmp_path):
    state = residual().state_dict() | one_channel(*BRANCH, "1.scale", *STEM, "4.weight@1")
    torch.save(state, tmp_path / "p.pt")
    model, _ = fit(read(tmp_path / "p.pt"), residual(), shape=(1, 8, 8))
    images = torch.rand(2, 1, 8, 8)
    x = nn.functional.conv2d(images, state["0.weight"], state["0.bias"])
    y = nn.functional.conv2d(x, state["1.conv.weight"], state["1.conv.bias"], padding=1)
    y = nn.functional.batch_norm(
        y, *(state[f"1.bn.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    )
    x = torch.relu(x * x.sigmoid() + y * state["1.scale"]).mean(dim=(2, 3))
    assert torch.allclose(model(images), x @ state["4.weight"].T + state["4.bias"], atol=1e-6)


def test_the_small_stem_of_another_network_is_not_taken_for_pruned(tmp_path):
    state = build("torchvision:resnet18", 2, 3, 64).state_dict()
    torch.save(state | {"conv1.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "p.pt")
    with pytest.raises(
        DataError, match=r"conv1.weight has shape \[64, 3, 3, 3\], the network's is \[64, 3, 7, 7\]"
    ):
        fit(read(tmp_path / "p.pt"), build("torchvision:resnet18", 2, 3, 64))


@pytest.mark.parametrize("name", ["models/model.json", "data/0"], ids=["program", "state dict"])
def test_an_archive_that_unpacks_to_far_more_is_not_read(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"toy/{name}", bytes(20_000_000))
    with pytest.raises(DataError, match=r"small\.pt would unpack to 20 MB"):
        read(tmp_path / "small.pt")
