"""How long it takes, while it takes it."""

import io
import threading
import time

import pytest
import torch
from torch import nn
from tqdm import tqdm

from lotterylib.score.estimate import _seconds, ticking


def test_the_bar_ticks_within_a_metric_and_is_gone_in_the_end():
    screen = io.StringIO()
    bar = tqdm(total=1, file=screen, leave=False, bar_format="{elapsed}", mininterval=0)
    threads = threading.active_count()
    with ticking(bar):
        time.sleep(1.3)
    assert "00:01" in screen.getvalue() and threading.active_count() == threads
    with ticking(tqdm(total=1, disable=True)):
        assert threading.active_count() == threads


@pytest.mark.parametrize(("pause", "passes"), [(0.4, 1), (0.004, 20)])
def test_a_slow_network_is_asked_once_and_a_fast_one_until_its_time_is_known(pause, passes):
    """Beside a look at few images, which the first pass of all needs."""
    seen = []

    class Slow(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            time.sleep(pause if len(seen) > 1 else 1.0)
            return x.flatten(1)

    found = _seconds(Slow(), torch.zeros(40, 1, 2, 2), torch.device("cpu"))
    assert seen[0] <= 5 and seen[1:] == [40] * passes
    assert found == pytest.approx(pause / 40, rel=0.5)
