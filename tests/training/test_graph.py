"""Steps in a CUDA graph, on the emulated device, which records operations and does them again: what Python decides in a step
is decided once there too."""

import pytest
import torch
from torch import nn

from lotterylib.errors import SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.pruners.rigl import Update
from lotterylib.training import Launch, Recipe, precision, train
from lotterylib.training.precision import pick_precision
from tests.conftest import toy_data, toy_network, untouched_rng
from tests.device.emulated import emulated

RECIPE = Recipe(epochs=3, batch_size=16, warmup=1, rewind=1, lr=0.05, precision="float32")
GRAPHS = Launch(cuda_graphs=True)


def network():
    model = toy_network()
    return nn.Sequential(*model[:5], nn.Dropout(0.3), model[5])


def trained(launch, model, update=None, **changes):
    mask = Mask.top({name: weight.abs() for name, weight in prunable(model).items()}, 0.5)
    with emulated() as device, device.counting() as counts, untouched_rng():
        recipe = RECIPE.model_copy(update=changes)
        done = train(model, toy_data(), recipe, mask, 1, update=update, progress=False, launch=launch)
        return done, {name: tensor.cpu() for name, tensor in model.state_dict().items()}, counts


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adam"}, {"precision": "float16"}, {"update": Update(interval=3, stop=11, alpha=0.5)}],
    ids=["sgd", "adam", "float16", "rigl"],
)
def test_a_captured_step_is_the_step(changes):
    """With its learning rate, dropout, BatchNorm, and a mask that moves; the rate has 24 bits instead of 53."""
    (eager, expected, before), (done, state, counts) = (
        trained(how, network(), **changes) for how in (Launch(), GRAPHS)
    )
    assert counts["captures"] == 1 and not before["captures"]
    assert done.losses == pytest.approx(eager.losses, rel=1e-5)
    assert done.mask.equals(eager.mask) and done.updates == eager.updates and done.images == eager.images
    # BatchNorm follows this bias, whose gradient is thus 0: of its rounding Adam makes steps
    for name in expected.keys() - {"0.bias", "1.running_mean"}:
        assert torch.allclose(state[name], expected[name], atol=1e-5), name


def test_it_waits_no_more_often_in_longer_epochs():
    """Once for the capture."""
    waits = [trained(GRAPHS, network(), batch_size=size)[2]["waits"] for size in (16, 4)]
    assert waits[0] == waits[1]


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = toy_network()

    def forward(self, x):
        return self.body(x) * (1.0 if x.sum().item() > 0 else 2.0)


def test_a_network_that_reads_from_the_device_is_refused():
    with pytest.raises(
        SettingError, match="cannot be captured in a CUDA graph .*not permitted.*train it without"
    ):
        trained(GRAPHS, Reads())


@pytest.mark.parametrize("graphs", [False, True])
def test_the_precision_is_chosen_by_steps_as_they_will_be(monkeypatch, graphs):
    """Launches, which a captured step saves, are more in 16 bits: they hid that it is faster."""
    monkeypatch.setattr(precision, "choices", {})
    monkeypatch.setattr(precision, "SHORT", 0.0)
    monkeypatch.setattr(precision, "BURST", 0.05)
    model, recipe = network().train(), RECIPE.model_copy(update={"precision": "auto"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with emulated() as device, device.counting() as counts, untouched_rng():
        there = torch.device("cuda")
        picked = pick_precision(model, toy_data().train, recipe, there, Launch(cuda_graphs=graphs))
    assert picked in ("float32", "float16") and counts["captures"] == (2 if graphs else 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_it_is_for_gpus_and_for_one_process():
    models = [network() for _ in range(2)]
    for model, launch in zip(models, (Launch(), GRAPHS), strict=True):
        train(model, toy_data(), RECIPE, device="cpu", progress=False, launch=launch)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    with pytest.raises(SettingError, match="trainings of one process, not of 2"):
        Launch(processes=2, cuda_graphs=True)
