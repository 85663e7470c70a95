"""How long it takes, while it takes it."""

import io
import threading
import time

from tqdm import tqdm

from lotterylib.score.estimate import ticking


def test_the_bar_ticks_within_a_metric_and_is_gone_in_the_end():
    screen = io.StringIO()
    bar = tqdm(total=1, file=screen, leave=False, bar_format="{elapsed}", mininterval=0)
    threads = threading.active_count()
    with ticking(bar):
        time.sleep(1.3)
    assert "00:01" in screen.getvalue() and threading.active_count() == threads
    with ticking(tqdm(total=1, disable=True)):
        assert threading.active_count() == threads
