"""The library on a second device, which refuses to mix with the processor: every pruner, every metric, the scorecard, and
what is saved there is loaded here. Results are those of the processor, to the bit, for it is what computes below."""

import copy

import pytest
import torch

import lotterylib
from lotterylib import datasets, metrics, models, pruners
from lotterylib.datasets import Shape
from lotterylib.masks import Mask
from lotterylib.metrics import Subject
from lotterylib.metrics.base import METRICS
from lotterylib.pruners import train_dense
from lotterylib.training import Launch, Recipe, predict, train
from tests.device.emulated import CUDA, emulated, on_device

RECIPE = Recipe(epochs=2, batch_size=10, warmup=0, rewind=0.5, crop_padding=1)


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", limit=20)


@pytest.fixture(scope="module")
def network(data):
    return models.build("resnet8", data.classes, data.channels, width=0.25)


@pytest.fixture(scope="module")
def dense(network, data):
    return train_dense(network, data, RECIPE, seed=0, device="cpu", progress=False)


@pytest.fixture
def device():
    with emulated() as device:
        yield device


def settings_of(name):
    return {"iterations": 3} if name == "synflow" else {"interval": 0.25} if name in ("rigl", "set") else {}


@pytest.mark.parametrize("name", pruners.names())
def test_every_pruner_finds_the_same_ticket(name, network, data, dense, tmp_path):
    pruner, sparsity = pruners.build(name, **settings_of(name)), 0.36
    here = pruner.find(network, data, sparsity, RECIPE, 0, dense=dense, device="cpu", progress=False)
    with emulated():
        there = pruner.find(network, data, sparsity, RECIPE, 0, dense=dense, progress=False)
        assert all(map(on_device, there.model.parameters())), "models live on the device"
        assert not any(map(on_device, there.mask.values())), "masks live on the processor"
        there.save(tmp_path / "ticket")
    loaded = lotterylib.Ticket.load(tmp_path / "ticket")
    assert loaded.mask.equals(here.mask) and loaded.record["losses"] == here.record["losses"]
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, here.model.state_dict()[name]), name


@pytest.fixture(scope="module")
def subjects(dense, data):
    """The same network on the processor and on the device, and what both have been asked: equal questions are answered once."""
    here, there = (
        Subject(copy.deepcopy(dense.model), data, Mask.of(dense.model), device=d) for d in ("cpu", None)
    )
    return here, there, set()


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_measures_the_same(name, data, subjects):
    here, there, asked = subjects
    settings = METRICS[name].suited(data, 20)
    settings |= {"max_probes": 4} if "max_probes" in METRICS[name].model_fields else {}
    settings |= {"samples": 60} if "samples" in METRICS[name].model_fields else {}
    settings |= {"images": 4} if "samples" in METRICS[name].model_fields else {}
    questions = set(metrics.build(name, **settings).asks(Shape.of(data)))
    expected = metrics.evaluate(here, name, settings)
    with emulated() as device:
        found = metrics.evaluate(there, name, settings)
        assert device.counts["to device"] or questions <= asked, "it ran on the device"
    asked |= questions
    assert found.value == expected.value and found.error == expected.error


def test_a_scorecard(device, dense, data):
    ticket = pruners.build("magnitude").find(
        dense.model, data, 0.5, RECIPE, 0, dense=dense, device="cuda", progress=False
    )
    few = ["accuracy", "fgsm_accuracy", "hessian_top"]
    settings = {"hessian_top": {"steps": 3}}
    card = lotterylib.scorecard(
        ticket, dense, data, only=few, settings=settings, images=20, speed=False, progress=False
    )
    assert card.about["device"] == "cuda" and len(card.rows) >= len(few)


def test_a_killed_training_resumes(network, data, tmp_path):
    """Begun on the device, ended on the processor, with the numbers of one that was not killed."""

    class Killed(Exception):
        pass

    def kill(*_):
        if any(tmp_path.iterdir()):
            raise Killed

    whole, first, second = (copy.deepcopy(network) for _ in range(3))
    expected = train(whole, data, RECIPE, Mask.ones(whole), device="cpu", progress=False)
    launch = Launch(checkpoints=tmp_path)
    hook = first.register_forward_pre_hook(kill)
    with emulated(), pytest.raises(Killed):
        train(first, data, RECIPE, Mask.ones(first), progress=False, launch=launch)
    hook.remove()
    with emulated():
        resumed = train(second, data, RECIPE, Mask.ones(second), progress=False, launch=launch)
        assert all(map(on_device, second.parameters()))
    assert resumed.losses == expected.losses and resumed.images == expected.images


def test_answers_come_to_the_processor(device, network, data):
    before = copy.deepcopy(network)
    logits = predict(network, data.test[0])
    assert not on_device(logits) and not any(map(on_device, network.parameters())), (
        "the model stays where it was"
    )
    assert torch.equal(logits, predict(before, data.test[0], device="cpu"))
    assert predict(network.to("cuda"), data.test[0].to(CUDA)).device.type == "cpu"


def test_float16_differs_by_nothing_but_the_scale_of_its_gradients(data, network):
    """The device below calculates in float32, where a power of two costs no bit."""
    here, there = copy.deepcopy(network), copy.deepcopy(network)
    expected = train(
        here, data, RECIPE.model_copy(update={"precision": "float32"}), device="cpu", progress=False
    )
    with emulated():
        done = train(there, data, RECIPE.model_copy(update={"precision": "float16"}), progress=False)
        answers = {name: tensor.cpu() for name, tensor in there.state_dict().items()}
    assert done.precision == "float16" and done.losses == expected.losses
    for name, tensor in here.state_dict().items():
        assert torch.equal(answers[name], tensor), name
