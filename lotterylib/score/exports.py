"""The scorecard for machines that check pull requests: Markdown for a comment, JUnit for a list of tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree

from .. import metrics
from ..text import plain, printable
from .card import Row, Scorecard

_SIGNS = {"better": "🟢 better", "holds": "🟢 holds up", "floor": "⚪ at the floor", "undecided": "🟡 undecided",
          "worse": "🔴 worse", "measured": ""}  # fmt: skip


def markdown(cards: Sequence[Scorecard], answers: Sequence[str]) -> str:
    """Return cards as Markdown: the answer of each, then its table."""
    parts = []
    for card, answer in zip(cards, answers, strict=True):
        parts += [f"### Scorecard of {_plain(card.about['ticket'])}", "", _plain(answer), ""]
        if card.compared:
            parts += ["| metric | dense | pruned | difference, 95% interval | tolerance | verdict |"]
            parts += ["| :-- | --: | --: | :-: | --: | :-- |", *map(_line, card.rows), ""]
        else:
            parts += ["| metric | value | 95% interval |", "| :-- | --: | :-: |"]
            parts += [
                f"| {_plain(r.label)} | {_number(r.ticket)} | {_number(r.low)} to {_number(r.high)} |"
                for r in card.rows
            ]
            parts.append("")
        left = [
            f"- {_plain(metrics.describe(name).label)}: {_plain(why)}" for name, why in card.skipped.items()
        ]
        left += [f"- {_plain(note)}" for note in [*card.doubts[1:], *card.notes]]
        if left:
            parts += ["<details><summary>Notes</summary>", "", *left, "", "</details>", ""]
    return "\n".join(parts)


def junit(cards: Sequence[Scorecard], fail_on: str) -> str:
    """Return cards as JUnit XML: a suite per network, a test case per metric."""
    suites = ElementTree.Element("testsuites", name="lottery score")
    for card in cards:
        suite = ElementTree.SubElement(suites, "testsuite", name=printable(str(card.about["ticket"])))
        failures = 0
        for doubt in card.doubts:
            case = ElementTree.SubElement(
                suite, "testcase", classname="scorecard", name="the numbers can be trusted"
            )
            ElementTree.SubElement(case, "failure", message=printable(doubt))
            failures += 1
        for row in card.rows:
            case = ElementTree.SubElement(suite, "testcase", classname=row.dimension, name=row.metric)
            if row.word == "worse" or row.word == fail_on:
                ElementTree.SubElement(case, "failure", message=printable(_sentence(row)))
                failures += 1
            ElementTree.SubElement(case, "system-out").text = printable(_sentence(row))
        for name, why in card.skipped.items():
            case = ElementTree.SubElement(suite, "testcase", classname="skipped", name=name)
            what = "failure" if name in card.missing else "skipped"
            ElementTree.SubElement(case, what, message=printable(why))
        count, missing = len(card.doubts) + len(card.rows) + len(card.skipped), len(card.missing)
        numbers = {"tests": count, "failures": failures + missing, "skipped": len(card.skipped) - missing}
        suite.attrib |= {name: str(number) for name, number in numbers.items()}
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _line(row: Row) -> str:
    within = " (within a retraining)" if row.word != row.verdict else ""
    cells = (
        f"{_plain(row.label)} {'↑' if row.direction == 'higher' else '↓'}",
        _number(row.dense),
        _number(row.ticket),
        f"{_number(row.difference, '+')} [{_number(row.low, '+')}, {_number(row.high, '+')}]",
        f"±{_number(row.tolerance)}",
        _SIGNS[row.word] + within,
    )
    return f"| {' | '.join(cells)} |"


def _sentence(row: Row) -> str:
    if row.verdict == "measured":
        return f"{row.label}: {_number(row.ticket)}"
    return (
        f"{row.label}: {row.verdict}; dense {_number(row.dense)}, pruned {_number(row.ticket)}, difference "
        f"{_number(row.difference, '+')} [{_number(row.low, '+')}, {_number(row.high, '+')}], tolerance {_number(row.tolerance)}"
    )


def _number(value: float, sign: str = "") -> str:
    if not math.isfinite(value):
        return "-"
    return (sign if value >= 0 else "") + plain(value)


def _plain(text: str) -> str:
    """Names of files and classes are foreign words: they must not become tables, links or HTML."""
    escaped = printable(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "|`*_[]" else c for c in escaped.replace("\n", " "))
