"""Modules of other people, by name and in any state."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.score import Network
from lotterylib.score.foreign.modules import build, plain, try_out
from lotterylib.score.foreign.state_dicts import merged
from tests.conftest import toy_network, untouched_rng
from tests.score.foreign.test_state_dicts import pruned


def test_plain_leaves_the_module_as_it_was():
    network = pruned()
    network(torch.rand(2, 1, 12, 12))  # its weights now hang on a graph, which cannot be copied
    twin = plain(network)
    assert set(twin.state_dict()) == set(toy_network().state_dict())
    assert prune.is_pruned(network) and not prune.is_pruned(twin)
    assert set(merged(network.state_dict())[1]) == {"0.weight", "5.weight"}


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


@pytest.mark.parametrize(
    "outputs, words",
    [
        (lambda logits: (logits, logits), "it gives tuple [], want logits [N, classes] alone"),
        (lambda logits: {"out": logits}, "it gives dict [], want logits [N, classes] alone"),
        (lambda logits: logits[:, :, None], "it gives Tensor [2, 3, 1], want logits [N, classes]"),
        (lambda logits: {}["out"], "it does not take images of 1×12×12 pixels ('out')"),
    ],
)
def test_other_outputs_are_one_line(outputs, words):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = toy_network().eval()

        def forward(self, images):
            return outputs(self.net(images))

    for network in (Odd(), Network(Odd(), [0.5], [0.2], batch=32)):
        with pytest.raises(DataError) as error:
            try_out(network, (1, 12, 12), 3, "it")
        assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_precisions_are_measured_in_float32(kind):
    network = toy_network().eval().to(kind)
    copied = plain(network)
    assert torch.equal(copied[5].weight, network[5].weight.float()) and network[5].weight.dtype == kind
    try_out(copied, (1, 12, 12), 3, "it")
