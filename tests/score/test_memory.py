"""Measuring keeps to the memory that it is given."""

import os
import subprocess
import sys

import pytest
import torch

import lotterylib
from lotterylib import metrics, models
from lotterylib.efficiency.speed import peak
from lotterylib.errors import SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.checks import at_most, at_once
from lotterylib.score.bench import Plan, Wishes
from lotterylib.score.memory import answering, as_bytes, curving, in_use
from lotterylib.score.prepare import Reading, prepare
from tests.conftest import toy_data, untouched_rng
from tests.sources import ROOT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return models.build("resnet8", 3, 3, size=32)


@pytest.mark.parametrize(
    "given, expected",
    [
        ("2GB", 2 * 10**9),
        ("512 MiB", 2**29),
        ("1.5g", 1_500_000_000),
        (1e9, 10**9),
        ("640", 640),
        ("20kB", 20_000),
    ],
)
def test_amounts(given, expected):
    assert as_bytes(given) == expected


@pytest.mark.parametrize("given", ["much", "-2GB", 0, "2 apples", float("inf"), "", None])
def test_other_amounts_are_one_line(given):
    with pytest.raises(SettingError, match="memory is an amount such as 2GB, got"):
        as_bytes(given)


def test_what_images_hold_is_foreseen(network):
    """Measured on two and four images, right for sixteen."""
    images = torch.rand(16, 3, 32, 32)
    labels = torch.arange(16) % 3
    with untouched_rng():
        foreseen = curving(network, images, CPU)
        hessian = metrics.geometry.hessian.Hessian.of(network, images, labels, batch_size=8)
        vector = hessian.random(torch.randn, torch.Generator().manual_seed(0))
    held = peak(lambda: hessian.product(vector), CPU)
    assert 0.5 < held / (foreseen.fixed + 8 * foreseen.each) < 1.5
    one = answering(network, images, CPU)
    with torch.no_grad():
        assert peak(lambda: network(images), CPU) == pytest.approx(one.fixed + 16 * one.each, rel=0.3)
    assert one.each < foreseen.each


def test_at_most_bounds_what_goes_through_at_once():
    images = torch.zeros(1, 3, 32, 32)
    with at_most(7):
        assert at_once(256, images) == 7
    assert at_once(256, images) == 256


def test_a_graph_for_second_derivatives_is_counted_whole():
    """By what the allocator says, which also sees the work space within an operation."""
    network, images = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Tanh(), torch.nn.Conv2d(8, 3, 30)),
        torch.rand(4, 3, 32, 32),
    )

    def work():
        loss = network(images).square().sum()
        gradient = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        torch.autograd.grad(
            sum(g.sum() for g in gradient), list(network.parameters()), materialize_grads=True
        )

    with torch.autograd.profiler.profile(profile_memory=True) as seen:
        work()
    now = most = 0
    events = [each for each in seen.kineto_results.events() if each.name() == "[memory]"]
    for event in sorted(events, key=lambda each: each.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    assert peak(work, CPU, list(network.parameters())) == pytest.approx(most, rel=0.2)


DEAR = {
    "hessian_trace": {"images": 40, "steps": 1, "max_probes": 4}, "input_top": {"images": 40, "steps": 2},
    "pgd_accuracy": {"images": 40, "steps": 1}, "fidelity": {"images": 4, "samples": 80},
}  # fmt: skip


@pytest.mark.parametrize("name", DEAR)
def test_no_metric_holds_more_than_it_may(network, name, monkeypatch):
    """Each of the dear ones, with a fraction of what it would take if it might."""
    data, settings = toy_data(60, channels=3, size=32), DEAR[name]
    free = peak(lambda: metrics.evaluate(Subject(network, data), name, settings), CPU)
    room = free / 2
    monkeypatch.setattr("lotterylib.score.memory.in_use", lambda device: 10**9)
    case = prepare([network], [], data, Reading(memory=int(10**9 + room)))
    plan = Plan.of(Wishes(only=[name, "accuracy"], settings={name: settings}), case, CPU)
    assert name in plan.settings and plan.at_once < 40
    subject = Subject(case.tickets[0].model, case.data)
    with at_most(plan.at_once):
        assert peak(lambda: metrics.evaluate(subject, name, settings), CPU) <= room


def test_too_little_is_one_line_that_says_how_much(network, monkeypatch):
    data, how = toy_data(20, channels=3, size=32), {"speed": False, "progress": False}
    with pytest.raises(SettingError, match=r"memory 1 MB is too little: .* already; give .*B or more"):
        lotterylib.scorecard(network, None, data, memory="1MB", **how)
    monkeypatch.setattr("lotterylib.score.memory.in_use", lambda device: 0)
    news = []
    only = ["accuracy", "hessian_top"]
    card = lotterylib.scorecard(network, None, data, memory="8MB", only=only, on_message=news.append, **how)
    assert "accuracy" in [row.metric for row in card.rows] and "fit" in card.skipped["hessian_top"]
    assert any(line.startswith("memory 8 MB: ") for line in news)
    assert in_use(CPU) > 10**7


@pytest.mark.long
def test_the_whole_process_stays_below():
    """By what the operating system says, with all metrics; the first card imports all that there is to import."""
    script = """
import resource, sys, torch, lotterylib
from lotterylib import models
from tests.conftest import toy_data
network, data = models.build("resnet8", 3, 3, size=32), toy_data(400, channels=3, size=32)
def most():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
how = {"speed": False, "progress": False, "only": ["accuracy", "fgsm_accuracy", "pgd_accuracy", "fidelity", "hessian_top", "input_top"]}
lotterylib.scorecard(network, network, data.limited(12), images=10, **how)
allowed = most() + 100 * 10**6
card = lotterylib.scorecard(network, network, data, images=200, memory=None if sys.argv[1:] else allowed, **how)
print(most() <= allowed, len(card.rows))
"""
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)  # fmt: skip
    assert found.stdout.split() == ["True", "6"]
