"""Precision "auto" takes what is faster here; the clock is a network that sleeps in one of the two."""

import time

import pytest
import torch
from torch import nn

from lotterylib.errors import SettingError
from lotterylib.training import Launch, Recipe, precision, train
from lotterylib.training.precision import pick_precision
from tests.conftest import toy_data, toy_network, untouched_rng

AUTO = Recipe(epochs=2, batch_size=16, warmup=0)
CPU = torch.device("cpu")


class Sleepy(nn.Module):
    """Takes longer in one precision; draws at random and counts its calls in a buffer."""

    def __init__(self, slow: str):
        super().__init__()
        self.body, self.drop, self.slow = toy_network(), nn.Dropout(0.5), slow

    def forward(self, x):
        half = torch.is_autocast_enabled("cpu")
        time.sleep(0.02 if half == (self.slow == "bfloat16") else 0.0)
        return self.drop(self.body(x))


@pytest.fixture(autouse=True)
def measuring(monkeypatch):
    monkeypatch.setattr(precision, "choices", {})
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision, "SHORT", 0.0)
    monkeypatch.setattr(precision, "BURST", 0.1)


def pick(model, recipe=AUTO, launch=Launch()):  # noqa: B008
    return pick_precision(model, toy_data().train, recipe, CPU, launch)


@pytest.mark.parametrize("slow, fast", [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_faster_one_is_taken_and_nothing_is_moved(slow, fast):
    model = Sleepy(slow).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with untouched_rng():
        assert pick(model) == fast
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())
    assert list(precision.choices.values()) == [fast]
    # once per shape: the same network, now slow in the other one, is not measured again
    model.slow = fast
    assert pick(model) == fast
    assert pick(model, AUTO.model_copy(update={"batch_size": 8})) == slow


def test_the_choice_is_trained_with_and_recorded():
    done = train(Sleepy("float32"), toy_data(), AUTO, progress=False, device="cpu")
    assert done.precision == "bfloat16"
    done = train(
        Sleepy("float32"), toy_data(), AUTO, progress=False, device="cpu", launch=Launch(precision="float32")
    )
    assert done.precision == "float32"


def test_it_is_not_measured_where_the_answer_is_known(monkeypatch):
    refuse = Sleepy("float32")
    refuse.forward = lambda x: pytest.fail("measured")
    assert pick(refuse, AUTO.model_copy(update={"precision": "bfloat16"})) == "bfloat16"
    assert pick(refuse, launch=Launch(precision="bfloat16")) == "bfloat16"
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert pick(refuse) == "float32"
    with pytest.raises(SettingError, match="want precision float32 or bfloat16, got 'half'"):
        Launch(precision="half")


def test_a_short_training_stays_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "SHORT", 1000.0)
    assert pick(Sleepy("float32")) == "float32"


def test_a_network_that_cannot_take_channels_last_is_measured_too():
    from tests.training.test_prediction import COLOUR, Tutorial

    assert pick_precision(Tutorial(), COLOUR.train, AUTO, CPU, Launch()) in ("float32", "bfloat16")
