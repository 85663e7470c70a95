"""Precision "auto" takes what is faster here; the clock is one that a network turns, further in one of the two."""

import pytest
import torch
from torch import nn

from lotterylib.errors import SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.pruners.rigl import Update
from lotterylib.training import Launch, Recipe, checkpoint, precision, predict, train
from lotterylib.training.precision import pick_precision
from tests.conftest import toy_data, toy_network, untouched_rng

AUTO = Recipe(epochs=2, batch_size=16, warmup=0)
CPU = torch.device("cpu")


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


CLOCK = Clock()


class Sleepy(nn.Module):
    """Takes longer in one precision; draws at random and counts its calls in a buffer."""

    def __init__(self, slow: str):
        super().__init__()
        self.body, self.drop, self.slow = toy_network(), nn.Dropout(0.5), slow

    def forward(self, x):
        half = torch.is_autocast_enabled("cpu")
        CLOCK.now += 0.02 if half == (self.slow == "bfloat16") else 0.001
        return self.drop(self.body(x))


@pytest.fixture(autouse=True)
def measuring(monkeypatch):
    monkeypatch.setattr(precision, "choices", {})
    monkeypatch.setattr(precision, "half_precision", lambda device: "bfloat16")
    monkeypatch.setattr(precision, "time", CLOCK)
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
    monkeypatch.setattr(precision, "half_precision", lambda device: None)
    assert pick(refuse) == "float32"
    with pytest.raises(SettingError, match="want precision float32, bfloat16 or float16, got 'half'"):
        Launch(precision="half")


def test_float16_is_measured_where_it_is_all_there_is(monkeypatch):
    monkeypatch.setattr(precision, "half_precision", lambda device: "float16")
    assert pick(Sleepy("float32")) == "float16"


class Killed(Exception):
    pass


class Steep(nn.Module):
    """A toy network whose gradients are ``slope`` times as large; it can stop a training on its way."""

    def __init__(self, slope: float, killed_at: int = -1):
        super().__init__()
        self.body, self.slope, self.left = toy_network(), slope, killed_at

    def forward(self, x):
        self.left -= 1
        if self.left == -1:
            raise Killed
        return self.body(x).float() * self.slope


def trained(model, kind, folder=None, mask=None, update=None, **changes):
    recipe = Recipe(**{"epochs": 3, "batch_size": 16, "warmup": 0, "lr": 0.05, "precision": kind} | changes)
    launch = Launch(checkpoints=folder)
    return train(model, toy_data(), recipe, mask, update=update, progress=False, device="cpu", launch=launch)


def test_float16_trains_like_float32_and_says_so():
    """The weights and the network's answers stay in float32."""
    half, whole = toy_network(), toy_network()
    done, expected = trained(half, "float16"), trained(whole, "float32")
    assert (done.precision, expected.precision) == ("float16", "float32")
    assert done.losses == pytest.approx(expected.losses, rel=0.02) and done.losses != expected.losses
    state = half.state_dict()
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float32}
    kinds = []
    half[0].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    predict(half, toy_data().test[0], device="cpu")
    assert set(kinds) == {torch.float32}


def test_gradients_too_small_for_float16_arrive():
    """Of a hundred-millionth: as numbers of 16 bits they are 0."""
    start, half, whole = (Steep(1e-8) for _ in range(3))
    for model, kind in ((half, "float16"), (whole, "float32")):
        trained(model, kind, lr=1e7, weight_decay=0.0)
    moved, expected = (m.body[5].weight - start.body[5].weight for m in (half, whole))
    assert expected.abs().max() > 1e-3
    assert torch.allclose(moved, expected, atol=0.05 * expected.abs().max().item())


def test_a_training_in_float16_goes_on_with_its_scale(tmp_path):
    """Which gradients too large have lowered."""
    whole, resumed = Steep(1e3), Steep(1e3)
    expected = trained(whole, "float16", lr=1e-6)
    with pytest.raises(Killed):
        trained(Steep(1e3, killed_at=6), "float16", tmp_path, lr=1e-6)
    (file,) = tmp_path.iterdir()
    found = checkpoint.load(file)
    assert found is not None and found.scaler["scale"] <= 2**14
    assert trained(resumed, "float16", tmp_path, lr=1e-6).losses == expected.losses
    assert all(torch.equal(t, whole.state_dict()[n]) for n, t in resumed.state_dict().items())


def test_masks_do_not_move_by_gradients_that_overflow():
    """Weights that hardly move have the masks of float32."""
    masks = []
    for kind in ("float16", "float32"):
        model, update = Steep(1e3), Update(interval=2, stop=3, alpha=0.5)
        mask = Mask.top({n: w.abs() for n, w in prunable(model).items()}, 0.5)
        masks.append(trained(model, kind, mask=mask, update=update, lr=1e-12).mask)
    assert masks[0].equals(masks[1]) and not masks[0].equals(mask)


def test_a_short_training_stays_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "SHORT", 1000.0)
    assert pick(Sleepy("float32")) == "float32"


def test_a_network_that_cannot_take_channels_last_is_measured_too(monkeypatch):
    from tests.training.test_prediction import COLOUR, Tutorial

    monkeypatch.setattr(precision, "SHORT", 1000.0)
    assert pick_precision(Tutorial(), COLOUR.train, AUTO, CPU, Launch()) in ("float32", "bfloat16")


def test_a_study_keeps_to_what_was_measured_first(tmp_path, monkeypatch):
    """Also another process, which here is one that has forgotten; a damaged note is written anew."""
    launch = Launch(choices=(folder := tmp_path / "choices"))
    assert pick(Sleepy("float32"), launch=launch) == "bfloat16"
    monkeypatch.setattr(precision, "choices", {})
    assert pick(Sleepy("bfloat16"), launch=launch) == "bfloat16"
    assert pick(Sleepy("bfloat16")) == "float32"
    [note] = folder.iterdir()
    note.write_bytes(b"\xff")
    monkeypatch.setattr(precision, "choices", {})
    assert pick(Sleepy("bfloat16"), launch=launch) == "float32" == note.read_text()
