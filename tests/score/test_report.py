"""What a card says, on screen and on paper."""

import dataclasses
import json
import re

import pytest

from lotterylib.score.report import _figures, beside, breaks, headline, number, text
from lotterylib.text import percent


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


def test_a_ratio_of_speed_says_that_it_is_a_median(card):
    assert card.speed and "ratio of a round's two times" in " ".join(text(card).split())
    assert "ratio of a round&#39;s two times" in card.to_html()
    assert "of a round's" not in text(dataclasses.replace(card, speed={}))


def test_where_it_breaks_comes_with_intervals(card):
    worst = max(
        (row for row in card.rows if row.word == "worse"), key=lambda row: abs(row.difference) / row.tolerance
    )
    first = breaks(card)[0]
    low, high = (f"{'+' if end >= 0 else '−'}{number(abs(end))}" for end in (worst.low, worst.high))
    assert first.startswith(f"{worst.label}: ") and f"by {low} to {high} (95%)" in first


def test_the_figure_of_classes_has_the_intervals_of_the_sentences(card):
    drawn = dict(_figures(card))
    [title] = [title for title in drawn if title.startswith("Classes")]
    [axis] = drawn[title][0].axes
    ends = [tuple(s[:, 0]) for s in axis.collections[0].get_segments()]
    assert "for all classes at once" in title and len(ends) == len(card.classes)
    for share in card.classes:
        assert any(end == pytest.approx((100 * share.low, 100 * share.high)) for end in ends), share


def test_images_that_changed_go_by_their_files(card):
    changed = [{"image": "cat/7.png", "label": "cat", "dense": "cat", "ticket": "dog"}]
    found = dataclasses.replace(card, changed=changed, rows=[], diagrams={})
    assert "<th scope=row>cat/7.png<td data-label=label>cat" in found.to_html()


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0.00"),
        (0.0123, "0.0123"),
        (99.96, "100"),
        (1234.5, "1234"),
        (1e-5, "0.00001"),
        (2.4e7, "24,000,000"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def told(card, needed=None, guesses=False, **verdicts):
    """A card of these verdicts alone, of a network that guesses or not."""
    rows = [
        dataclasses.replace(card[name], verdict=word, needed=(needed or {}).get(name))
        for name, word in verdicts.items()
    ]
    about = {**card.about, "guesses": guesses}
    return headline(dataclasses.replace(card, rows=rows, skipped={}, doubts=[], about=about))


def test_the_answer_is_a_sentence_to_sign(card):
    """It says how much is gone, on how many images which of the networks is right, and leaves out nothing that was looked at."""
    row, removed = card["accuracy"], f"With {percent(card.sparsity)} of the weights removed"
    head = f"{removed} it is right on {row.ticket:.1%} of {card.about['test images']} images (dense {row.dense:.1%}), and "
    stated = "within the tolerances that the card states."
    assert told(card, accuracy="holds", nll="better") == (
        f"{head}it is as good as its dense network in both metrics, and better in 1 of them, {stated}"
    )
    assert told(card, accuracy="better", nll="better") == (
        f"{head}it is better than its dense network in both metrics, by more than the tolerances that the card states."
    )
    assert told(card, nll="holds") == (
        f"{removed}, it is as good as its dense network in the one metric that was measured ({card['nll'].label}), {stated}"
    )
    floor = told(card, accuracy="worse", nll="holds", fgsm_accuracy="floor")
    assert floor == (
        f"{head}it is worse than its dense network in 1 of 2 metrics ({row.label}); as good in 1. 1 more tells nothing: the dense "
        "network is at the floor."
    )
    both = told(card, accuracy="worse", nll="better", ece="worse")
    assert "in 2 of 3 metrics (" in both and both.endswith("; better in 1.")
    assert "worse than its dense network in both metrics" in told(card, accuracy="worse", nll="worse")
    assert told(card, accuracy="floor").endswith(
        "and nothing can be told: both networks are at the floor in every metric."
    )
    assert "1 could not be measured" in headline(dataclasses.replace(card, doubts=[]))


def test_the_answer_names_accuracy_first_and_names_can_be_told_apart(card):
    sizes = {"nll": 3, "fgsm_accuracy": 2, "accuracy": 1, "ece": 1, "hessian_trace": 4}
    rows = [
        dataclasses.replace(card[name], verdict="worse", difference=size, tolerance=1)
        for name, size in sizes.items()
    ]
    said = headline(dataclasses.replace(card, rows=rows, skipped={}, doubts=[]))
    assert "(Test accuracy; Weight curvature (Hessian trace, nats); NLL; and 2 more)" in said
    assert "(Test accuracy, NLL)" in told(card, nll="worse", accuracy="worse")


def test_the_answer_does_not_praise_a_network_that_guesses(card):
    assert card.about["guesses"]
    said = told(card, None, True, accuracy="worse", nll="better", ece="holds")
    assert ", not measurably better than guessing: it is worse than its dense network in 1 of 3" in said
    assert said.endswith("better in 1 and as good in 1, which says nothing of a network that guesses.")
    assert told(card, None, True, nll="worse").startswith(
        f"With {percent(card.sparsity)} of the weights removed, it is worse"
    )


@pytest.mark.parametrize(
    "needed, said",
    [({"nll": 1234}, "About 1,300 more images would decide NLL, which was measured on {}. Even a million more would not decide "
      "the other."),
     ({"nll": 12, "ece": 99_900}, "About 12 more images would decide NLL, which was measured on {}. About 100,000 more would "
      "decide both."),
     ({"nll": 12, "ece": 12}, "About 12 more images would decide both."), ({}, "Even a million more images would not decide "
      "them.")],
)  # fmt: skip
def test_the_answer_says_how_many_images_would_decide(card, needed, said):
    seen = card["nll"].images
    answer = told(card, needed, nll="undecided", ece="undecided")
    assert answer.endswith(f" {said.format(seen)}")
    # good in none is no news
    assert "undecided (NLL, ECE). " in answer and "as good as" not in answer
    three = told(card, {"nll": 12, "ece": 99_900}, nll="undecided", ece="undecided", accuracy="undecided")
    assert three.endswith(
        "100,000 more would decide 2 of them. Even a million more would not decide the other."
    )
    alone = told(card, {"nll": 7}, nll="undecided", accuracy="holds")
    assert alone.endswith(f"About 7 more images would decide it, which was measured on {seen}.")
    assert "; it is as good as its dense network in 1. " in alone
    best = told(card, {"nll": 7}, nll="undecided", accuracy="better")
    assert "; it is better than its dense network in 1. " in best


def test_the_card_says_on_how_many_images_each_metric_rests(card):
    counts = {row.label: row.images for row in card.rows}
    said = " ".join(str(card).split()).partition("images that a metric rests on: ")[2]
    assert all(f"{counts[row.label]:,} images; tolerance" in card.to_html() for row in card.rows)
    assert said.startswith(f"{max(counts.values()):,} (")


def test_a_table_of_several_cuts_no_name_and_no_arrow(card):
    long = dataclasses.replace(card, about={**card.about, "ticket": "one-shot magnitude pruning"})
    lines = beside([long, card]).splitlines()
    [head] = [i for i, line in enumerate(lines) if line.startswith("metric")]
    assert "one-shot magnitude" in lines[head] and lines[head + 1].strip() == "pruning"
    rows = lines[head + 2 : lines.index("", head)]
    arrows = sum(line.count("↑") + line.count("↓") for line in rows)
    assert arrows == len(card.rows) and max(map(len, lines)) <= 85
