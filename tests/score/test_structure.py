"""How zeros lie, and what they save."""

import torch

from lotterylib.masks import Mask
from lotterylib.score.structure import in_words, zeros


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
