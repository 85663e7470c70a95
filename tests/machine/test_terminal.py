"""Printing to terminals of any kind."""

import io
import subprocess
import sys

from lotterylib.machine.terminal import show


def test_a_terminal_gets_what_it_can_take():
    for encoding, expected in (
        ("ascii", "loss v -0.5 ? 1"),
        ("latin-1", "loss v -0.5 é 1"),
        ("utf-8", "loss ↓ −0.5 é 1"),
    ):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        show("loss ↓ −0.5 é 1", stream)
        assert stream.buffer.getvalue().decode(encoding) == expected + "\n"


def test_foreign_words_do_not_command_the_terminal():
    stream = io.StringIO()
    show("a\x1b[2J\tclass\nof images", stream)
    assert stream.getvalue() == "a\\x1b[2J\tclass\nof images\n"


def test_a_reader_that_has_gone_is_no_error():
    code = "from lotterylib.machine.terminal import show\nfor _ in range(20000): show('a line of text')\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.stderr.read() == b"" and writer.wait() == 0
