"""SynFlow: conservation, the schedule, and layers that live on."""

import copy

import pytest
import torch
from torch import nn

from lotterylib import models, pruners
from lotterylib.errors import SettingError
from lotterylib.masks import Mask
from lotterylib.pruners import synflow


def bias_free():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=False), nn.ReLU(), nn.Conv2d(5, 5, 3, groups=5, bias=False), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(20, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False),
    )  # fmt: skip


def flow(network, shape):
    """R by hand: the outputs' sum with every weight's absolute value, for ones."""
    network = network.double()
    with torch.no_grad():
        for p in network.parameters():
            p.abs_()
    return network(torch.ones(1, *shape, dtype=torch.float64)).sum().item()


def test_every_layers_scores_add_up_to_the_same_flow():
    network = bias_free()
    sums = [s.sum().item() for s in synflow.scores(network, (2, 8, 8)).values()]
    r = flow(network, (2, 8, 8))
    assert r > 0 and sums == pytest.approx([r] * 4, rel=1e-10)


def test_conservation_survives_normalisation_and_batchnorm():
    """Pixel means and running statistics would subtract something and let activations die."""
    network = models.build("resnet8", 10, 3, size=16, mean=[0.9] * 3, std=[0.1] * 3)
    nn.init.zeros_(network.net.head.bias)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(3.0)
            module.running_var.fill_(9.0)
    scores = synflow.scores(network, (3, 16, 16))
    stem, head = scores["net.stem.0.weight"].sum().item(), scores["net.head.weight"].sum().item()
    assert stem == pytest.approx(head, rel=1e-10) and stem > 0
    assert all(s.dtype == torch.float64 and (s > 0).all() for s in scores.values())


def test_scores_by_hand():
    """Two linear layers: the score of a weight is |w| × what comes in × what goes out."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        network[1].weight.copy_(torch.tensor([[-4.0, 5.0]]))
    for shape in [(2,), (1, 1, 1, 2)]:
        scores = synflow.scores(network, shape)
        assert scores["0.weight"].tolist() == [[4.0, 8.0], [15.0, 0.0]]
        assert scores["1.weight"].tolist() == [[12.0, 15.0]]


def test_a_deep_network_without_batchnorm_stays_in_range():
    """R is beyond float32 here."""
    layers = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(24)]
    network = nn.Sequential(nn.Conv2d(1, 8, 3), *layers, nn.Flatten(), nn.Linear(8 * 16, 4))
    for p in network.parameters():
        nn.init.normal_(p, std=1.0)
    scores = synflow.scores(network, (1, 6, 6))
    assert all(s.isfinite().all() for s in scores.values())
    assert sum(s.sum().item() for s in scores.values()) > torch.finfo(torch.float32).max
    total = sum(s.numel() for s in scores.values())
    mask = synflow.mask(network, (1, 6, 6), 0.02, iterations=20)
    assert mask.kept == round(0.02 * total) and all(t.any() for t in mask.values())


@pytest.mark.parametrize("name", models.names())
def test_no_layer_of_a_library_model_is_empty_at_98_percent(name):
    narrow = 1.0 if name in ("lenet", "resnet8", "resnet20s") else 0.05  # the large ones take minutes
    size = 32 if name == "vgg16_bn" else 16  # five halvings need as many pixels
    network = models.build(name, 10, 1, narrow, size)
    mask = synflow.mask(network, (1, size, size), 0.02)
    assert mask.kept == round(0.02 * mask.total)
    assert all(t.any() for t in mask.values())


def test_layers_that_one_ranking_would_empty_live_on():
    """Very unequal layers: the one-shot ranking cuts the network in two, iterated scores leave paths through it."""
    sizes = [300, 300, 100, 100, 100, 2]
    network = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False)))
    total = sum(p.numel() for p in network.parameters())
    ranked = Mask.top(synflow.scores(network, (300,)), 200 / total)
    assert not all(t.any() for t in ranked.values())
    once, often = (synflow.mask(network, (300,), 200 / total, iterations=n) for n in (1, 100))
    assert once.kept == often.kept == 200
    assert all(t.any() for mask in (once, often) for t in mask.values())
    assert flow(often.apply_(copy.deepcopy(network)), (300,)) > 0
    assert flow(once.apply_(copy.deepcopy(network)), (300,)) < flow(often.apply_(network), (300,))
    assert synflow.mask(bias_free(), (2, 8, 8), 3 / 296, iterations=5).kept == 3  # fewer than layers


def test_pruner_looks_at_no_data_and_takes_its_settings(network, data):
    pruner = pruners.build("synflow", iterations=4)
    mask = pruner.mask(network, data, 0.7, seed=0)
    assert mask.equals(synflow.mask(network, (1, 12, 12), 0.3, iterations=4))
    assert mask.equals(pruner.mask(network, data, 0.7, seed=9))
    assert pruners.build("synflow").iterations == 100
    with pytest.raises(SettingError, match="iterations"):
        synflow.mask(network, (1, 12, 12), 0.3, iterations=0)


def test_exact_count_on_ties():
    network = nn.Linear(10, 10)
    nn.init.ones_(network.weight)
    assert synflow.mask(network, (10,), 0.37).kept == 37
    assert isinstance(synflow.mask(network, (10,), 1.0), Mask)
