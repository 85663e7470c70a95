import pytest
import torch
from torch import nn

from lotterylib import models
from lotterylib.errors import SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.masks.mask import inner_layer


def test_prunable_names_weights_of_conv_and_linear_only(network):
    assert list(prunable(network)) == ["0.weight", "5.weight"]
    assert list(prunable(network, "conv")) == ["0.weight"]


def test_prunable_lists_a_shared_weight_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert list(prunable(nn.Sequential(first, second))) == ["0.weight"]


def test_prunable_refuses_a_model_without_layers_and_a_wrong_scope(network):
    with pytest.raises(SettingError, match="no Conv2d or Linear"):
        prunable(nn.BatchNorm2d(3))
    with pytest.raises(SettingError, match="scope"):
        prunable(network, "convs")


@pytest.mark.parametrize(
    "model, layer",
    [
        ("resnet8", "net.stages.1.conv1.weight"),
        ("resnet20s", "net.stages.3.conv1.weight"),
        ("resnet50", "net.layer2.0.conv2.weight"),
        ("vgg16_bn", "net.7.weight"),
    ],
)
def test_the_layer_to_look_at_is_a_spatial_convolution_of_any_network(model, layer):
    network = models.build(model, classes=3, channels=3, width=0.1, size=32, seed=0)
    assert inner_layer(prunable(network)) == layer


def test_a_network_of_linear_layers_has_one_to_look_at_too():
    assert inner_layer({n: torch.ones(2, 2) for n in "abc"}) == "b"


def test_top_keeps_the_hand_computed_weights():
    scores = {"a": torch.tensor([[0.1, 0.9], [0.5, 0.3]]), "b": torch.tensor([0.8, 0.2])}
    mask = Mask.top(scores, 0.5)
    assert mask["a"].tolist() == [[False, True], [True, False]]
    assert mask["b"].tolist() == [True, False]
    assert mask.density == mask.sparsity == 0.5


@pytest.mark.parametrize("density", [0.0, 0.013, 0.25, 0.5, 0.999, 1.0])
def test_top_keeps_the_exact_count_on_ties(density):
    scores = {"a": torch.zeros(7, 11), "b": torch.ones(13)}
    mask = Mask.top(scores, density)
    assert mask.kept == round(density * 90)
    assert int(mask["b"].sum()) == min(13, mask.kept)  # the higher scores first


def test_ties_go_to_the_earlier_weight():
    assert Mask.top({"a": torch.ones(4)}, 0.5)["a"].tolist() == [True, True, False, False]


def test_top_never_revives_outside_within_even_if_scores_are_highest_there():
    within = Mask({"a": torch.tensor([True, False, True, False])})
    mask = Mask.top({"a": torch.tensor([0.1, 9.0, 0.2, 8.0])}, 0.25, within=within)
    assert mask["a"].tolist() == [False, False, True, False]
    with pytest.raises(SettingError, match="only 2 are left"):
        Mask.top({"a": torch.rand(4)}, 0.75, within=within)


def test_top_handles_infinite_and_integer_scores_and_refuses_nan():
    assert Mask.top({"a": torch.tensor([-torch.inf, torch.inf, 0.0])}, 1 / 3)["a"].tolist() == [
        False,
        True,
        False,
    ]
    assert Mask.top({"a": torch.tensor([1, 3, 2])}, 1 / 3)["a"].tolist() == [False, True, False]
    with pytest.raises(SettingError, match="NaN"):
        Mask.top({"a": torch.tensor([1.0, torch.nan])}, 0.5)


@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan")])
def test_top_refuses_a_density_outside_0_to_1(density):
    with pytest.raises(SettingError, match="density"):
        Mask.top({"a": torch.rand(3)}, density)


def test_apply_zeroes_removed_weights_and_of_reads_them_back(network):
    mask = Mask.top({n: torch.rand(p.shape, generator=torch.Generator().manual_seed(1))
                     for n, p in prunable(network).items()}, 0.3)  # fmt: skip
    mask.apply_(network)
    assert Mask.of(network).equals(mask)
    assert Mask.ones(network).density == 1


def test_apply_changes_nothing_if_any_layer_does_not_fit(network):
    before = network[0].weight.clone()
    wrong = Mask(
        {
            "0.weight": torch.zeros_like(before, dtype=torch.bool),
            "5.weight": torch.ones(2, 2, dtype=torch.bool),
        }
    )
    with pytest.raises(SettingError, match="5.weight has shape"):
        wrong.apply_(network)
    assert torch.equal(network[0].weight, before)


def test_a_mask_must_be_boolean():
    with pytest.raises(SettingError, match="boolean"):
        Mask({"a": torch.ones(3)})
