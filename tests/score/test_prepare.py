"""Networks and data are tried on one another."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from lotterylib.masks import Mask
from lotterylib.score.prepare import Reading, names, prepare
from lotterylib.ticket import Ticket


class Late(nn.Module):
    """A network whose first registered layer is not the one that sees the images."""

    def __init__(self, channels):
        super().__init__()
        self.head, self.stem, self.last = nn.Conv2d(6, 8, 1), nn.Conv2d(channels, 6, 3), nn.Linear(8, 2)

    def forward(self, images):
        return self.last(self.head(self.stem(images).relu()).relu().mean((2, 3)))


def of_pixels(channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 2))


@pytest.mark.parametrize("make", [Late, of_pixels])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_channels_with_which_a_network_runs(tmp_path, make, channels):
    network = make(channels).eval()
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("RGB", (8, 8), (30 * i, 9, 200)).save(tmp_path / name / f"{i}.png")
    how = Reading(size=8)
    case = prepare([network], [], tmp_path, how)
    assert case.data.channels == channels and torch.equal(
        network(case.data.test[0]), case.tickets[0].model(case.data.test[0])
    )
    arrays = torch.rand(20, channels, 8, 8), torch.arange(20) % 2
    assert prepare([network], [], arrays, Reading()).data.channels == channels


def test_a_ticket_goes_by_its_pruner_in_words():
    tickets = [
        Ticket(Late(1), Mask({"head.weight": torch.ones(8, 6, 1, 1, dtype=torch.bool)}), {"pruner": pruner})
        for pruner in ("magnitude", "random-erk", "dense")
    ]
    assert names([*tickets, Path("a/b.pt")]) == [
        "one-shot magnitude pruning",
        "random pruning (ERK)",
        "dense",
        "b.pt",
    ]
