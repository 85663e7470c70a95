"""Plans against hand counts."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lotterylib.metrics import Subject, evaluate
from lotterylib.study import estimate, expand, load_profile
from lotterylib.study.cells import with_ancestors
from lotterylib.study.plan import Shape, images_to_corrupt, passes, plan, rates, shape, size, training_images
from lotterylib.study.profile import ModelSpec
from tests.study.helpers import tiny

CIFAR = Shape(3, 32, 10, 45_000, 5_000, 10_000, "cifar10")


def test_sizes_of_published_networks():
    """Multiply-adds and parameters as their papers and torchvision's table of weights state them."""
    assert size(ModelSpec(name="resnet18"), CIFAR).forward == pytest.approx(0.56e9, rel=0.01)
    assert size(ModelSpec(name="wrn28_10"), CIFAR).parameters == pytest.approx(36.5e6, rel=0.01)
    large = size(ModelSpec(name="resnet50"), shape(load_profile("imagenet").dataset))
    assert large.parameters == 25_557_032 and large.forward == pytest.approx(4.09e9, rel=0.01)


def test_passes_by_hand():
    wanted = {
        "accuracy": {}, "recall_loss": {}, "ood_auroc": {"sets": ["svhn"], "images": 100}, "ood_aupr": {"sets": ["svhn"], "images": 100},
        "ece": {"images": 10}, "nll": {"images": 10}, "fgsm_accuracy": {"images": 10}, "pgd_accuracy": {"images": 10, "steps": 5},
        "fidelity": {"images": 2, "samples": 50}, "fidelity_r2": {"images": 2, "samples": 50},
        "hessian_top": {"images": 10, "steps": 3},
    }  # fmt: skip
    assert passes(wanted, CIFAR) == {
        "accuracy": 10_000, "recall_loss": 0, "ood_auroc": 100, "ood_aupr": 0, "ece": 5_000 + 10 + 750, "nll": 0,
        "fgsm_accuracy": 90, "pgd_accuracy": 220, "fidelity": 100, "fidelity_r2": 0,
        # its own, and the dense network's over the same weights
        "hessian_top": 2 * 210,
    }  # fmt: skip


def test_images_to_corrupt_by_hand():
    """Those that some metric asks for, equal ones once, and no more than there are."""
    cell = expand(load_profile("smoke"))[0]
    few, more = {"images": 10}, {"images": 20_000}
    wanted = {"accuracy": {}, "ece": few, "nll": few, "corruption_error": more}
    assert images_to_corrupt([(cell, wanted), (cell, {"ece": few})], CIFAR) == 10 + 10_000
    assert images_to_corrupt([(cell, {"accuracy": {}})], CIFAR) == 0


@pytest.mark.parametrize("size", [8, 128])
def test_the_time_that_corruptions_take_is_that_of_an_image_in_75_ways(monkeypatch, size):
    """On a clock that a corruption turns by a second per pixel."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    def corrupt(images, name, severity):
        clock.now += images.numel()

    clock = Clock()
    monkeypatch.setattr(estimate, "time", clock)
    monkeypatch.setattr(estimate, "corrupt", corrupt)
    assert estimate.seconds_to_corrupt(Shape(1, size, 10, 1, 1, 1)) == 75 * size**2


class Convolutions(TorchDispatchMode):
    """Counts multiply-adds of convolutions, forwards and backwards, by PyTorch's own formulas."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func._overloadpacket in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward):
            self.count += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out) // 2
        return out


def test_passes_are_what_networks_are_asked():
    """Metrics of a ticket, one after another as a study does, with its network's work counted on the way. Corruptions, which
    take seconds to make, are left to the count by hand."""
    profile = load_profile("smoke")
    data, few, more = profile.dataset.load(), {"images": 2}, {"images": 12}
    settings = {
        "accuracy": {}, "recall_loss": {}, "ood_auroc": {"images": 20}, "fgsm_accuracy": few,
        "pgd_accuracy": few | {"steps": 2}, "fidelity": few | {"samples": 60}, "fidelity_r2": few | {"samples": 60},
        "stability": few | {"samples": 60, "draws": 2},
        "unit_iou": {"images": 20, "length": 1, "beam": 1}, "hessian_trace": more | {"max_probes": 4, "steps": 2}, "hessian_top": more | {"steps": 3},
        "input_trace": more | {"max_probes": 4, "steps": 2}, "input_top": more | {"steps": 3},
        "pac_bayes_sigma": {"images": 10, "draws": 2},
    }  # fmt: skip
    dense, network = (profile.models[0].build(data, seed) for seed in (0, 1))
    with Convolutions() as once:
        network(data.test[0][:1])
    twin = Subject(dense, data, device="cpu")
    first, ticket = (Subject(network, data, device="cpu", dense=twin) for _ in range(2))
    for name in ("recall_loss", "fidelity", "stability", "unit_iou"):
        evaluate(first, name, settings[name])  # what the twin answers serves all its tickets: not counted
    found = {}
    for name, own in settings.items():
        with Convolutions() as asked:
            evaluate(ticket, name, own)
        found[name] = asked.count / once.count
    said = passes(settings, shape(profile.dataset))
    searched = {"pac_bayes_sigma"}
    assert said == pytest.approx(found | {name: said[name] for name in searched}, rel=0.15, abs=1)
    assert said["pac_bayes_sigma"] == pytest.approx(found["pac_bayes_sigma"], rel=0.5)


def test_every_metric_is_counted():
    every = load_profile("laptop").metrics
    found = passes(every, CIFAR)
    assert found.keys() == every.keys() and sum(count == 0 for count in found.values()) == 13


def test_a_small_plan_by_hand():
    """60 images, batches of 20, one epoch of three steps; from the dense network, two are left after the rewind step."""
    profile = tiny(pruners=["random", "lottery"], rounds=[1, 3])
    cells = expand(profile)
    trainings = with_ancestors(cells)
    assert [training_images(c, 60) for c in trainings if c.pruner == "lottery"] == [40, 40, 40]
    found = plan(profile, cells, [(cell, {"accuracy": {}}) for cell in cells], trainings)
    forward = size(profile.models[0], shape(profile.dataset)).forward
    assert found.training == {
        "dense": 3 * forward * 60,
        "random": 3 * forward * 120,
        "lottery": 3 * forward * 120,
    }
    assert found.measuring["random"] == {"accuracy": 2 * forward * 60}
    assert found.work["lenet-x0.5"] == pytest.approx(300 + 5 * 60 / 3)
    # alone: dense 1, random 1 + 1, lottery 2 and 4
    assert (found.alone, found.together) == (9, 6)
    assert found.storage["dense"] > 2 * found.storage["random"] / 2


def test_other_models_are_as_much_slower_as_they_are_larger():
    profile = tiny(models=[{"name": "lenet"}, {"name": "resnet8"}])
    data = shape(profile.dataset)
    small, large = (size(model, data).forward for model in profile.models)
    assert rates(profile, 100.0) == pytest.approx({"lenet": 100, "resnet8": 100 * small / large})
