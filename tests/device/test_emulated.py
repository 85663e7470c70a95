"""The control: the emulated device does refuse what CUDA refuses, and lets through what CUDA lets through."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from tests.device.emulated import CUDA, emulated


@pytest.fixture
def device():
    with emulated() as device:
        yield device


def there(*shape):
    return torch.ones(shape, device="cuda")


def test_it_says_what_it_is(device):
    assert torch.cuda.is_available() and there(2).device == CUDA and there(2).is_cuda
    for made in (
        there(2) + 1,
        there(2)[0],
        there(2).mean(),
        torch.zeros_like(there(2)),
        copy.deepcopy(there(2)),
    ):
        assert made.device == CUDA
    for made in (torch.ones(2), there(2).cpu(), there(2).to("cpu"), torch.ones(2).to(torch.ones(1))):
        assert made.device.type == "cpu"
    model = nn.Linear(2, 2).to("cuda")
    model(there(3, 2)).sum().backward()
    assert model.weight.grad.device == CUDA and next(model.parameters()).is_cuda
    assert nn.functional.one_hot(there(2).long(), 3).device == CUDA


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: there(2) + torch.ones(2),
        lambda: torch.ones(2).mul_(there()),
        lambda: there(2).mul_(torch.ones(2, dtype=torch.bool)),
        lambda: there(2).masked_fill_(torch.ones(2, dtype=torch.bool), 0),
        lambda: torch.ones(2)[there(2).bool()],
        lambda: torch.stack([there(), torch.ones(())]),
        lambda: nn.Linear(2, 2).to("cuda")(torch.ones(1, 2)),
        lambda: nn.Linear(2, 2)(there(1, 2)),
        lambda: nn.functional.cross_entropy(there(1, 2), torch.zeros(1).long()),
        lambda: torch.equal(there(2), torch.ones(2)),
        lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
        lambda: there(2).normal_(generator=torch.Generator()),
        lambda: there(2).index_select(0, torch.tensor([0])),
        lambda: there(2).gather(0, torch.tensor([0])),
    ],
)
def test_it_refuses_to_mix(device, mistake):
    with pytest.raises(RuntimeError, match="device"):
        mistake()


def test_it_refuses_numpy(device):
    for ask in (lambda: there(2).numpy(), lambda: np.asarray(there(2)), lambda: np.mean([there(2)])):
        with pytest.raises(TypeError, match="numpy"):
            ask()


def test_a_backward_pass_is_watched_too(device):
    twos = torch.full((2,), 2.0)

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient * twos

    with pytest.raises(RuntimeError, match="same device"):
        Doubled.apply(there(2).requires_grad_()).sum().backward()


def test_it_allows_what_cuda_allows(device):
    assert (there(2) * torch.tensor(3.0)).tolist() == [3, 3]
    assert there(3)[torch.tensor([0, 2])].device == CUDA
    assert torch.empty(2).copy_(there(2)).device.type == "cpu"
    assert torch.func.vmap(lambda x: x * 2)(there(2)).device == CUDA


def test_gradients_travel_back(device):
    pixels = torch.ones(2, requires_grad=True)
    [gradient] = torch.autograd.grad((3 * pixels.to("cuda")).cpu().sum(), pixels)
    assert gradient.device.type == "cpu" and gradient.tolist() == [3, 3]


def test_it_counts(device):
    x = torch.ones(4).to("cuda")
    assert device.counts == {"to device": 1}
    with device.counting() as found:
        x.sum().item(), x[x > 0], x.cpu(), x.tolist(), torch.cuda.synchronize(), pickle.dumps(x)
    assert found == {"waits": 5, "to processor": 1, "pickled": 1}
    with device.counting() as found:
        x * 2, x.to("cuda"), x[1:]
    assert found == {}


def test_it_is_gone_afterwards():
    with emulated():
        pass
    assert not torch.cuda.is_available() and torch.ones(1).device.type == "cpu"
