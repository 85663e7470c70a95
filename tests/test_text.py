import doctest

import pytest

from lotterylib import text


def test_the_examples_are_right():
    done = doctest.testmod(text)
    assert done.failed == 0 and done.attempted


@pytest.mark.parametrize(
    "seconds, says",
    [(0, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (360000, "100.0 h")],
)
def test_durations(seconds, says):
    assert text.duration(seconds) == says


@pytest.mark.parametrize(
    "number, says",
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1 k"),
        (1234, "1.23 k"),
        (5e16, "50 P"),
        (2e18, "2 E"),
        (3e22, "3e+04 E"),
    ],
)
def test_amounts(number, says):
    assert text.amount(number) == says


def test_what_a_terminal_would_obey_is_shown_instead():
    assert text.printable("a\x1b]0;x\x07\r\x9b2Jb\tc\nd é×") == "a\\x1b]0;x\\x07\\r\\x9b2Jb\tc\nd é×"
