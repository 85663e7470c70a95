"""Networks and a card that several test modules look at."""

import copy

import pytest
import torch
from torch.nn.utils import prune

import lotterylib
from tests.conftest import toy_data, toy_network, untouched_rng

QUICK = [
    "accuracy",
    "recall_loss",
    "corruption_error",
    "fgsm_accuracy",
    "ece",
    "nll",
    "explained_units",
    "hessian_trace",
]


@pytest.fixture(scope="package")
def networks():
    """A dense network that has learnt its toys a little, and a copy whose last layer lost most weights to a mask."""
    data, dense = toy_data(), toy_network()
    optimizer = torch.optim.Adam(dense.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(dense(data.train[0]), data.train[1]).backward()
        optimizer.step()
    ticket = copy.deepcopy(dense.eval())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prune.random_unstructured(ticket[5], "weight", amount=0.9)
    return dense, ticket


@pytest.fixture(scope="package")
def card(networks):
    dense, ticket = networks
    with untouched_rng():
        return lotterylib.scorecard(ticket, dense=dense, data=toy_data(), only=QUICK, progress=False)
