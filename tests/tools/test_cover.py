"""The line on coverage in the README."""

import pytest

from tools.cover import README, sentence, with_sentence

LINE = sentence({"totals": {"percent_covered": 93.51, "num_statements": 4321}})


def test_the_line_is_put_between_the_markers_of_the_readme():
    assert LINE == "The tests run 94% of the library's 4,321 statements."
    text = with_sentence(README.read_text(), LINE)
    assert LINE in text and with_sentence(text, LINE) == text
    assert with_sentence(text, "")[:500] == README.read_text()[:500]


def test_without_markers_it_is_said():
    with pytest.raises(ValueError, match="0 places between"):
        with_sentence("# Title", LINE)
