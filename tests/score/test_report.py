"""What a card says, on screen and on paper."""

import json
import re

import pytest

from lotterylib.score.report import number, text


def test_json_says_all_and_is_json(card):
    found = json.loads(card.to_json())
    assert {m["metric"] for m in found["metrics"]} == {row.metric for row in card.rows}
    assert (
        found["passes"] == card.passes and found["skipped"] == card.skipped and found["about"]["classes"] == 3
    )
    assert all(m["low"] <= m["difference"] <= m["high"] for m in found["metrics"])


def test_the_page_needs_nothing_else(card):
    page = card.to_html()
    assert not re.search(r"(src|href)=(?!'data:)", page) and "http" not in page and "<script" not in page
    assert page.count("<img") == len(re.findall(r"<img alt='[^']{20,}'", page)) >= 2
    assert "prefers-color-scheme:dark" in page and "@media(max-width" in page
    for row in card.rows:
        assert row.label in page


def test_the_table_fits_a_terminal_and_says_that_zeros_buy_no_speed(card, monkeypatch):
    # in a narrower one, long labels take two lines
    monkeypatch.setenv("COLUMNS", "100")
    table = str(card)
    words = ("holds up", "worse", "better", "undecided", "at the floor")
    rows = [line for line in table.splitlines() if line.endswith(words) and re.match(r".* [↑↓] ", line)]
    assert len(rows) == len(card.rows) and max(map(len, table.splitlines())) <= 100
    assert "dense kernels multiply by them all the same" in " ".join(table.split())
    narrow = text(card, columns=80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert len(narrow.split()) == len(table.split())  # nothing is cut off


@pytest.mark.parametrize(
    "value, text", [(0, "0.00"), (0.0123, "0.0123"), (99.96, "100"), (1234.5, "1234"), (1e-5, "1.00e-05")]
)
def test_numbers(value, text):
    assert number(value) == text
