"""How zeros lie, and what they save."""

import copy
import json

import torch
from torch.nn.utils import prune

import lotterylib
from lotterylib.efficiency.macs import multiply_adds
from lotterylib.masks import Mask
from lotterylib.score.structure import in_words, zeros
from tests.conftest import toy_data


def mask(kept):
    return Mask({"layer.weight": kept})


def test_whole_filters_are_counted():
    kept = torch.ones(8, 4, 3, 3, dtype=torch.bool)
    kept[:2] = False
    found = zeros(mask(kept))
    assert (found["channels"], found["all_channels"], found["removed"]) == (2, 8, 0.25)
    assert "2 of its 8 output channels have no weight left" in in_words(found, (100, 100))
    assert in_words(found, (100, 60)) == ""  # cut away already


def test_two_of_four_along_the_inputs_is_recognised():
    generator = torch.Generator().manual_seed(0)
    groups = torch.rand(16, 8 * 9 // 4, 4, generator=generator).argsort(dim=-1) < 2
    for kept in (groups.reshape(16, 72), groups.reshape(16, 3, 3, 8).movedim(-1, 1)):
        found = zeros(mask(kept))
        assert found["two_of_four"] == 1.0 and found["removed"] == 0.5
        assert "at most two of every four" in in_words(found, (100, 100))


def test_scattered_zeros_are_neither():
    kept = torch.rand(16, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    found = zeros(mask(kept))
    assert found["two_of_four"] == found["channels"] == 0
    assert "scattered" in in_words(found, (100, 100))
    assert in_words(zeros(mask(torch.ones(4, 4, dtype=torch.bool))), (100, 100)) == ""


def test_what_channels_and_groups_would_save_is_what_smaller_layers_have():
    """Two of eight filters are empty and one of four inputs is read by none: what is left is a layer of 3 to 6 channels."""
    kept = torch.ones(8, 4, 3, 3, dtype=torch.bool)
    kept[:2] = kept[:, 3] = False
    layers = {size: torch.nn.Conv2d(*size, 3) for size in ((4, 8), (3, 6))}
    weights, passes = (
        [f(layer) for layer in layers.values()]
        for f in (
            lambda layer: layer.weight.numel(),
            lambda layer: multiply_adds(layer, (layer.in_channels, 5, 5))["weight"],
        )
    )
    found = zeros(Mask({"weight": kept}), {"weight": passes[0]})["savings"]
    less = weights[0] - weights[1]
    assert found["channels"] == {
        "parameters": less,
        "bytes": 4 * less,
        "multiply_adds": passes[0] - passes[1],
    }
    groups = torch.tensor([1, 0, 0, 1] * 4).bool().repeat(8, 1)
    found = zeros(Mask({"weight": groups}), {"weight": 8 * 16})["savings"]
    # 64 float32 and 64 places of 2 bits in place of 128 float32
    assert found["two_of_four"] == {"parameters": 64, "bytes": 512 - (256 + 16), "multiply_adds": 64}
    assert found["channels"]["parameters"] == 8 * 8  # half of the inputs are read by none
    assert zeros(Mask({"weight": torch.ones(4, 4).bool()}))["savings"]["two_of_four"]["bytes"] == 0


def test_the_card_says_what_would_be_saved(networks):
    dense, _ = networks
    pruned = copy.deepcopy(dense)
    prune.ln_structured(pruned[0], "weight", amount=0.5, n=1, dim=0)
    card = lotterylib.scorecard(pruned, dense, toy_data(), only=["accuracy"], speed=False, progress=False)
    channels = pruned[0].out_channels // 2
    saved = json.loads(card.to_json())["structure"]["savings"]["channels"]
    assert (
        saved["parameters"] == channels * dense[0].weight[0].numel()
        and saved["bytes"] == 4 * saved["parameters"]
    )
    share = saved["multiply_adds"] / card.costs["ticket"].multiply_adds
    for said in (str(card), card.to_html()):
        assert "empty channels, cut out" in said and f"{share:.1%} of the multiply-adds" in " ".join(
            said.split()
        )
