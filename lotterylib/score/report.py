"""The scorecard in words: for the terminal, and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from .. import metrics
from ..errors import SettingError
from ..files import write_whole
from ..text import amount, opening, percent, plain, printable
from ..text import table as aligned
from . import exports
from .card import TRAININGS, VERDICTS, Row, Scorecard, finite
from .differences import FEW, NOTHING, ONE, Share
from .structure import in_words

# classes or corruptions that are named
_SHOWN = 3
# images with another answer that the page lists
_LISTED = 50
# columns of what is printed where there is no terminal: a page of the book holds so many
_PAGE = 85
# columns of a metric's name and of a network's in a table of several networks
_NAME, _NETWORK = 34, 18
# tolerances that the page's bars reach to either side
_SPAN = 4
_WORDS = {
    "better": "better", "holds": "holds up", "floor": "at the floor", "undecided": "undecided", "worse": "worse",
    "measured": "measured",
}  # fmt: skip
_MARKS = {"better": "+", "holds": "=", "floor": ".", "undecided": "?", "worse": "!", "measured": " "}


class Report(Scorecard):
    """A scorecard to read: ``print(card)`` shows it, ``save`` writes it."""

    def __str__(self) -> str:
        return text(self)

    def to_html(self) -> str:
        """Return one page that needs no other file and no network: the table, where it breaks, and the figures."""
        return page(self)

    def _repr_html_(self) -> str:
        return _framed(self.to_html())

    def to_markdown(self) -> str:
        """Return the answer and the table in Markdown, for a comment on a pull request."""
        return exports.markdown([self], [headline(self)])

    def to_junit(self, fail_on: str = "worse") -> str:
        """Return a JUnit file, a test case per metric: those that ``fail_on`` does not let pass have failed."""
        return exports.junit([self], fail_on)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the answer first."""
        said = {dimension: {"grade": grade, "counts": counts} for dimension, grade, counts in grades(self)}
        return {"answer": headline(self), "grades": said, **super().to_dict()}

    def save(self, folder: str | Path, fail_on: str = "worse") -> list[Path]:
        """Write ``scorecard.json``, ``.html``, ``.md`` and ``.xml`` (JUnit) and return their paths."""
        return _save(self, folder, fail_on)


@dataclass(frozen=True)
class Comparison:
    """The cards of several pruned networks, side by side: ``print`` shows the table, ``save`` writes it."""

    cards: list[Report]

    def __str__(self) -> str:
        return beside(self.cards)

    @property
    def passes(self) -> bool:
        """Return whether all networks pass."""
        return all(card.passes for card in self.cards)

    def fails(self, on: str) -> bool:
        """Return whether a gate is closed for any of them, see ``Scorecard.fails``."""
        return any(card.fails(on) for card in self.cards)

    def to_json(self) -> str:
        """Return all cards as JSON."""
        return json.dumps(finite({"cards": [card.to_dict() for card in self.cards]}), indent=1) + "\n"

    def to_html(self) -> str:
        """Return one page that needs no other file: the table, the picture of what is gained and lost, and every card."""
        return page_of_several(self.cards)

    def _repr_html_(self) -> str:
        return _framed(self.to_html())

    def to_markdown(self) -> str:
        """Return answers and tables in Markdown."""
        return exports.markdown(self.cards, [headline(card) for card in self.cards])

    def to_junit(self, fail_on: str = "worse") -> str:
        """Return a JUnit file, a suite per network."""
        return exports.junit(self.cards, fail_on)

    def save(self, folder: str | Path, fail_on: str = "worse") -> list[Path]:
        """Write ``scorecard.json``, ``.html``, ``.md`` and ``.xml`` (JUnit) and return their paths."""
        return _save(self, folder, fail_on)


def _framed(document: str) -> str:
    """Return a page for a notebook's output: in a frame, so that its style stays its own."""
    how = 'title="Scorecard" loading="lazy" style="width:100%;height:46rem;border:1px solid #ccc;resize:vertical"'
    # no browser of a phone shows a bar before a finger moves
    more = (
        '<p style="margin:0 0 .3rem"><small>The card is longer than its frame: scroll inside it.</small></p>'
    )
    return f'{more}<iframe srcdoc="{html.escape(document)}" {how}></iframe>'


def _save(what: Report | Comparison, folder: str | Path, fail_on: str) -> list[Path]:
    contents = [what.to_json, what.to_html, what.to_markdown, lambda: what.to_junit(fail_on)]
    paths = _files(folder)
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content().encode())
    return paths


def _files(folder: str | Path) -> list[Path]:
    return [Path(folder) / f"scorecard.{ending}" for ending in ("json", "html", "md", "xml")]


def check_folder(folder: str | Path) -> None:
    """Make a folder for a report to come; raise ``SettingError`` if it could not be written there."""
    if Path(folder).is_file():
        raise SettingError(f"{folder} is a file: name a folder to write to")
    for path in filter(Path.is_dir, _files(folder)):
        raise SettingError(f"{path} is a folder, where a file is to be written: name another one")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lottery")
            file.flush()
    except OSError as error:
        raise SettingError(f"{folder} is no folder that can be written to: {error.strerror}") from None


# --- sentences


def headline(card: Scorecard) -> str:
    """Return the answer: a sentence or two that one would sign."""
    if card.doubts:
        return f"These numbers cannot be trusted yet: {card.doubts[0]}."
    rows = {row.metric: row for row in card.rows}
    skipped = f" {len(card.skipped)} could not be measured." if card.skipped else ""
    if not rows:
        return f"Nothing is known: no metric could be measured.{skipped}"
    head = f"With {percent(card.sparsity)} of the weights removed"
    if row := rows.get("accuracy"):
        dense = f" (dense {row.dense:.1%})" if card.compared else ""
        guesses = ", not measurably better than guessing" if card.about["guesses"] else ""
        head += f" it is right on {row.ticket:.1%} of {card.about['test images']:,} images{dense}{guesses}"
    if not card.compared:
        return f"{head}; without a dense network there is nothing to compare {_metrics(card.rows)} with.{skipped}"
    floor = len(card.of("floor"))
    silent = (
        f" {floor} more tell{'s' * (floor == 1)} nothing: the dense network is at the floor." if floor else ""
    )
    said = _compared(card)
    joint = "," if not row else ", and" if not card.about["guesses"] else ":"
    return f"{head}{joint} {said}{silent if floor < len(rows) else ''}{skipped}"


def _compared(card: Scorecard) -> str:
    worse, undecided = ([r for r in card.rows if r.word == word] for word in ("worse", "undecided"))
    well = [row for row in card.rows if row.passes]
    telling = [row for row in card.rows if row.verdict != "floor"]
    best = len([row for row in well if row.word == "better"])
    retrained = f" (by {card.about['trainings of dense']} trainings of it)" if _banded(card) else ""
    if worse:
        rest = [f"better in {best}"] if best else []
        rest += [f"as good in {len(well) - best}"] if len(well) > best else []
        rest = (
            [f"{' and '.join(rest)}, which says nothing of a network that guesses"]
            if rest and card.about["guesses"]
            else rest
        )
        rest += [f"{len(undecided)} undecided"] if undecided else []
        tail = f"; {', '.join(rest)}" if rest else ""
        return (
            f"it is worse than its dense network in {_of_all(len(worse), telling)} ({_named(_told_first(worse))})"
            f"{retrained}{tail}.{_wait(undecided)}"
        )
    if undecided:
        good = f"; {_standing(len(well), best)}{retrained}" if well else ""
        than = (
            f" than {card.about['trainings of dense']} trainings of the dense network"
            if retrained and not well
            else ""
        )
        return (
            f"no metric is shown to be worse{than}, but {_of_all(len(undecided), telling)} "
            f"{'is' if len(undecided) == 1 else 'are'} undecided ({_named(undecided)}){good}.{_wait(undecided)}"
        )
    if not telling:
        return "nothing can be told: both networks are at the floor in every metric."
    many = _all(telling) if len(telling) > 1 else f"the one metric that was measured ({telling[0].label})"
    stated = "the tolerances that the card states."
    if best == len(telling):
        return f"it is better than its dense network in {many}{retrained}, by more than {stated}"
    better = f", and better in {best} of them" if best else ""
    return f"it is as good as its dense network in {many}{better}{retrained}, within {stated}"


def _standing(well: int, best: int) -> str:
    """Say in how many of the metrics in which it stands ``well`` it is as good, and in how many better.

    >>> _standing(2, 2), _standing(3, 1), _standing(3, 0)[-4:]
    ('it is better than its dense network in 2', 'it is as good as its dense network in 2 and better in 1', 'in 3')
    """
    if best == well:
        return f"it is better than its dense network in {best}"
    return f"it is as good as its dense network in {well - best}{f' and better in {best}' if best else ''}"


def _of_all(count: int, rows: list[Row]) -> str:
    """Return how many of the metrics, in words."""
    return f"{count} of {_metrics(rows)}" if count < len(rows) else _all(rows)


def _all(rows: list[Row]) -> str:
    return {1: "the one metric", 2: "both metrics"}.get(len(rows), f"all {len(rows)} metrics")


def _metrics(rows: list[Row]) -> str:
    return f"{len(rows)} metric{'s' * (len(rows) != 1)}"


def _named(rows: list[Row]) -> str:
    names = [row.label.removesuffix(f" ({row.unit})") for row in rows[:_SHOWN]]
    mark = ";" if any("," in name for name in names) else ","
    more = f"{mark * (mark == ';')} and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{mark} ".join(names) + more


def _wait(undecided: list[Row]) -> str:
    """Return how many more images would decide what is undecided, and of which metric the first are."""
    decidable = sorted((row for row in undecided if row.needed), key=lambda row: row.needed or 0)
    if not decidable:
        them = "them" if len(undecided) > 1 else "it"
        return f" Even a million more images would not decide {them}." if undecided else ""
    needs, open_still = [_rounded(row.needed or 0) for row in decidable], len(undecided) - len(decidable)
    # where some stay open, those that do not are counted: "both" and "all" would count them in
    last = f"{len(decidable)} of them" if open_still else "both" if len(decidable) == 2 else "all"
    if len(decidable) > 1 and needs[0] == needs[-1]:
        said = f"About {needs[0]} more images would decide {last}."
    else:
        name = "it" if len(undecided) == 1 else _named(decidable[:1])
        seen = f"{decidable[0].images:,}"
        said = f"About {needs[0]} more images would decide {name}, which was measured on {seen}."
        if len(decidable) > 1:
            said += f" About {needs[-1]} more would decide {last}."
    others = f"the other{'s' * (open_still > 1)}"
    return f" {said}{f' Even a million more would not decide {others}.' if open_still else ''}"


def _rounded(number: int) -> str:
    """Return two digits, rounded up.

    >>> _rounded(7), _rounded(1234), _rounded(99_900)
    ('7', '1,300', '100,000')
    """
    step = 10 ** max(0, len(str(number)) - 2)
    return f"{-(-number // step) * step:,}"


def _banded(card: Scorecard) -> bool:
    return any(row.band for row in card.rows)


def scope(card: Scorecard) -> str:
    """Return whom the words are about."""
    count = card.about["trainings of dense"]
    if not count:
        return ""
    if count > 1:
        return (
            f"{count} dense trainings: a difference within what a retraining changes is not called worse, and by {TRAININGS} "
            "trainings or more as good. The "
            f"intervals are those to {card.about['dense'].split(', ')[0]}."
        )
    return "This is about these two networks. What another training would change, one dense network cannot tell: give several."


def grades(card: Scorecard) -> Iterator[tuple[str, str, str]]:
    """Yield each dimension, its grade (its worst verdict), and the count of every verdict in words."""
    for dimension, rows in dimensions(card):
        counts = {word: sum(row.word == word for row in rows) for word in (*VERDICTS, "measured")}
        telling = [word for word in VERDICTS if counts[word] and word != "floor"]
        grade = telling[0] if telling else next(word for word in (*VERDICTS, "measured") if counts[word])
        words = {word: "hold up" if word == "holds" and n > 1 else _WORDS[word] for word, n in counts.items()}
        said = ", ".join(f"{n} {words[word]}" for word, n in reversed(counts.items()) if n)
        yield dimension, grade, said


def dimensions(card: Scorecard) -> Iterator[tuple[str, list[Row]]]:
    """Yield each dimension that has rows, in order, with its rows."""
    for dimension in dict.fromkeys(metrics.describe(name).dimension for name in metrics.names()):
        if rows := [row for row in card.rows if row.dimension == dimension]:
            yield dimension, rows


def _told_first(rows: list[Row]) -> list[Row]:
    """Return rows by size, accuracy before all others: a reader looks for it."""
    return sorted(_by_size(rows), key=lambda row: row.metric != "accuracy")


def _by_size(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -abs(row.difference) / (row.tolerance or 1))


def breaks(card: Scorecard) -> list[str]:
    """Return where it breaks: a line for each metric that is worse, and the classes and corruptions that are certainly hit."""
    lines = [
        f"{row.label}: {number(row.dense)} → {number(row.ticket)}, by {_signed(row.low)} to {_signed(row.high)} (95%); {_times(row)} "
        "what counts as comparable"
        for row in _by_size([row for row in card.rows if row.word == "worse"])
    ]
    hit = sorted((share for share in card.classes if share.high < 0), key=lambda share: share.difference)
    if hit:
        named = ", ".join(f"{_share_of(c)}" for c in hit[:_SHOWN])
        lines.append(f"Classes with a certain loss of recall: {len(hit)}; most of all {named}")
    hit = sorted((share for share in card.corruptions if share.low > 0), key=lambda share: -share.difference)
    if hit:
        named = ", ".join(f"{_share_of(c)}" for c in hit[:_SHOWN])
        lines.append(f"Corruptions with certainly more errors: {len(hit)}; most of all {named}")
    return lines


def _share_of(share: Share) -> str:
    """Return a share's change with its interval, in points."""
    ends = f"{_signed(100 * share.low)} to {_signed(100 * share.high)}"
    return f"{share.name.replace('_', ' ')} ({_signed(100 * share.difference)} points, {ends})"


def intervals(card: Scorecard) -> list[str]:
    """Return what the intervals of this card cover, and what they do not."""
    lines = [
        "95% intervals of the difference by images, both networks on the same ones: for shares of images (accuracy, also under "
        "attack) Newcombe's, which knows when there are few; recall loss holds for all classes at once. The others are "
        "Student's, from the standard error of the paired bootstrap over images: in closed form for means, corruption error "
        f"and ROC-AUC, from 200 resamples for the rest. From fewer than {FEW} images nothing is called as good."
    ]
    if named := [row.label for row in card.rows if "by fifths" in row.over]:
        lines.append(
            f"By fifths ({', '.join(named)}): measured again on five disjoint fifths of the images, ± 2.78 standard errors."
        )
    drawn = dict.fromkeys(
        row.over.removeprefix("images, by fifths").removeprefix("images") for row in card.rows
    )
    for over in sorted({part.removeprefix(" and ") for part in drawn} - {"", NOTHING, ONE}, reverse=True):
        if named := [row.label for row in card.rows if row.over.endswith(f"and {over}")]:
            lines.append(f"With what {over} add: {', '.join(named)}.")
        if named := [row.label for row in card.rows if row.over == over]:
            lines.append(
                f"Over {over}, not over images (others could change more than this says): {', '.join(named)}."
            )
    if bare := [row.label for row in card.rows if row.over == NOTHING]:
        lines.append(f"Without an interval, and so undecided: {', '.join(bare)}.")
    if any(row.over == ONE for row in card.rows):
        lines.append(
            "The two networks are one, which differs from itself by nothing: here no images are needed."
        )
    if not card.compared:
        return ["95% intervals of the values, over images: Wilson's for shares of images, else Student's."]
    if _banded(card):
        return [
            *lines,
            "None covers what another seed would give: the spread of the dense trainings does, where it is shown.",
        ]
    return [*lines, "None covers what another training, with another seed, would give."]


def costs(card: Scorecard) -> list[tuple[str, str, str, str]]:
    """Return what the two networks take: rows of what, dense, ticket, and the two compared in words."""
    rows = []
    if card.costs:
        ticket = card.costs["ticket"]
        dense = card.costs.get("dense", ticket)
        for what, name, unit in (
            ("parameters kept", "kept", ""),
            ("multiply-adds per image", "multiply_adds", ""),
            ("… with a surviving weight", "needed", ""),
            ("file, survivors only", "stored", "B"),
        ):
            a, b = getattr(dense, name), getattr(ticket, name)
            own = (amount(a, unit), amount(b, unit), _share(b, a))
            rows.append((what, *(own if card.compared else ("", own[1], ""))))
    if card.speed:
        b = card.speed["ticket"]
        a = card.speed.get("dense", b)
        span = f"{b.speedup:.2f}× as fast (95% interval {b.low:.2f} to {b.high:.2f})"
        taken = [("time of a batch", *[f"{1000 * each.seconds:.1f} ms" for each in (a, b)], span)]
        taken += [
            ("memory of a batch", *[amount(each.memory, "B") for each in (a, b)], _share(b.memory, a.memory))
        ]
        rows += taken if card.compared else [(what, "", own, "") for what, _, own, _ in taken]
    return [*rows, *_savings(card)]


def _savings(card: Scorecard) -> Iterator[tuple[str, str, str, str]]:
    """Yield what the layout of the zeros would save, where it would save anything."""
    if not card.costs:
        return
    found, passes = card.structure.get("savings", {}), card.costs["ticket"].multiply_adds
    for kind, what, how in (
        ("channels", "empty channels, cut out", ", at least"),
        ("two_of_four", "2:4 groups, packed", " on kernels for 2:4"),
    ):
        saved = found.get(kind, {})
        if saved.get("parameters"):
            share = f" and {saved['multiply_adds'] / passes:.1%} of the multiply-adds" if passes else ""
            words = f"parameters would be saved: {amount(saved['bytes'], 'B')}{share}{how}"
            yield what, "", amount(saved["parameters"]), words


def _of_costs(card: Scorecard) -> list[str]:
    """Return how the ratio of times was formed, and a plain word where zeros buy no time."""
    counts = [card.costs[which].multiply_adds for which in ("dense", "ticket") if which in card.costs]
    zeros = in_words(card.structure, (counts[0], counts[1]) if len(counts) == 2 else None)
    ratio = (
        "Both networks take turns in several rounds: a time is the median over rounds, and so is the ratio of a round's two times, "
        "which need not be that of the medians."
    )
    return [line for line in (ratio if card.compared and card.speed else "", zeros) if line]


def _skipped(card: Scorecard) -> list[str]:
    return [f"{metrics.describe(name).label}: {why}" for name, why in card.skipped.items()]


# --- for the terminal


def text(card: Scorecard, columns: int | None = None) -> str:
    """Return the card for a terminal of so many ``columns``, 80 or more; by default its own, 100 at most (85 in a notebook)."""
    columns = _columns(columns)
    lines = [*_wrapped(headline(card), columns, ""), *_wrapped(scope(card), columns, ""), ""]
    if len(card.doubts) > 1:
        lines += ["DOUBTS", *_listed(card.doubts, columns), ""]
    lines += [f"  {dimension:18}{_WORDS[grade]:14}{said}" for dimension, grade, said in grades(card)]
    lines += ["", *_table(card, columns)]
    if broken := breaks(card):
        lines += ["WHERE IT BREAKS", *_listed(broken, columns), ""]
    if taken := costs(card):
        lines += ["IS IT WORTH IT?"]
        for what, a, b, words in taken:
            first, *more = textwrap.wrap(words, columns - 53) or [""]
            lines += [f"  {what:26}{a:>11}{b:>11}   {first}", *(" " * 53 + part for part in more)]
        lines += [*_listed(_of_costs(card), columns), ""]
    if card.skipped:
        lines += ["NOT MEASURED", *_listed(_skipped(card), columns), ""]
    if card.notes:
        lines += ["NOTES", *_listed(card.notes, columns), ""]
    lines += ["HOW IT WAS MEASURED", *_listed(_facts(card), columns), ""]
    lines += ["WHAT THE INTERVALS COVER", *_listed(intervals(card), columns)]
    # names of files and classes are foreign words
    return printable("\n".join(line.rstrip() for line in lines))


def beside(cards: list[Report], columns: int | None = None) -> str:
    """Return several cards for a terminal: what each answers, and every metric of all of them."""
    columns, lines = _columns(columns), []
    for card in cards:
        lines += [*_wrapped(f"{card.about['ticket']}: {headline(card)}", columns, "")]
    dense = cards[0].compared
    table = _broken(["metric", *(["dense"] if dense else []), *(card.about["ticket"] for card in cards)])
    for name in dict.fromkeys(row.metric for card in cards for row in card.rows):
        known = [{row.metric: row for row in card.rows}.get(name) for card in cards]
        first = next(row for row in known if row)
        cells = [f"{number(r.ticket)} {_MARKS[r.word]}" if r else "-" for r in known]
        table += _broken([_titled(first), *([number(first.dense)] if dense else []), *cells])
    for what in ("file, survivors only", "time of a batch"):
        taken = [{row[0]: row for row in costs(card)}.get(what) for card in cards]
        if whole := next((row[1] for row in taken if row), None):
            table.append([what, whole, *(row[2] if row else "-" for row in taken)])
    lines += [
        "",
        aligned(table),
        "",
        "+ better  = holds up  ? undecided  ! worse  . at the floor" if dense else "",
    ]
    return printable("\n".join(line.rstrip() for line in lines))


def _broken(cells: Sequence[str]) -> list[list[str]]:
    """Return a row of a table as several, in which no name is cut.

    >>> _broken(["metric", "one-shot magnitude pruning"])
    [['metric', 'one-shot magnitude'], ['', 'pruning']]
    >>> [name for name, in _broken(["Largest loss of recall of a class ↓"])]
    ['Largest loss of recall of a', 'class ↓']
    """
    lines = [_lines(cell, _NETWORK if i else _NAME) for i, cell in enumerate(cells)]
    return [[(each[i : i + 1] or [""])[0] for each in lines] for i in range(max(map(len, lines)))]


def _lines(text: str, width: int) -> list[str]:
    """Break a name into lines; an arrow stays with the last word."""
    bound = re.sub(" ([↑↓])$", "\N{NO-BREAK SPACE}\\1", text)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(bound, width)] or [""]


def _columns(columns: int | None) -> int:
    return max(80, min(100, columns or shutil.get_terminal_size((_PAGE, 24)).columns))


def _facts(card: Scorecard) -> list[str]:
    about = card.about
    files = ", ".join(f"{name} (SHA-256 {digest}…)" for name, digest in about["files"].items())
    said = ", ".join(f"{row.label} ±{number(row.tolerance)}" for row in card.rows)
    lines = [
        f"{opening(about['data'])}: {about['test images']:,} test images; {about['preprocessing']}",
        files,
    ]
    lines += [f"what counts as comparable: {said}" if card.compared else ""]
    lines += [f"images that a metric rests on: {_seen(card)}" if card.rows else ""]
    return [line for line in [*lines, ", ".join(f"{n} {v}" for n, v in about["versions"].items())] if line]


def _seen(card: Scorecard) -> str:
    """Return how many images each metric rests on, the same number once."""
    counts = sorted({row.images for row in card.rows}, reverse=True)
    return "; ".join(
        f"{count:,} ({', '.join(row.label for row in card.rows if row.images == count)})" for count in counts
    )


def _table(card: Scorecard, columns: int) -> Iterator[str]:
    if not card.compared:
        for dimension, rows in dimensions(card):
            yield f"{dimension.upper():44}  {'value':>9}  95% interval"
            yield from (f"{_titled(r):44}  {number(r.ticket):>9}  {_own(r)}" for r in rows)
            yield ""
        return
    span = max([len(_interval(row)) for row in card.rows] + [27])
    width = min(max([len(_titled(row)) for row in card.rows] + [24]), columns - span - 33)
    for dimension, rows in dimensions(card):
        yield f"{dimension.upper():{width}}  {'dense':>8}  {'ticket':>8}  {'difference, 95% interval':^{span}}  verdict"
        for row in rows:
            label, *more = textwrap.wrap(_titled(row), width)
            numbers = f"{number(row.dense):>8}  {number(row.ticket):>8}  {_interval(row):^{span}}"
            yield f"{label:{width}}  {numbers}  {_WORDS[row.word]}"
            yield from (f"  {part}" for part in more)
            if row.band:
                low, high = map(number, row.band)
                yield f"  dense trained anew: {low} to {high}; {row.retraining}"
        yield ""


def _own(row: Row) -> str:
    return f"{number(row.low)} to {number(row.high)}" if row.low < row.high else ""


def _listed(lines, columns: int) -> list[str]:
    return [part for line in lines for part in _wrapped(line, columns, "  ")]


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    more = indent + "  " if indent else ""
    return textwrap.wrap(line, columns, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False)


# --- for the browser


def page(card: Scorecard) -> str:
    """Return the card as one HTML file: style, figures and all."""
    return _rendered([card], "")


def page_of_several(cards: list[Report]) -> str:
    """Return several cards as one HTML file, their table and picture first."""
    from .. import figures

    figure, alt = figures.trade_offs([_traded(card) for card in cards])
    return _rendered(cards, _png(figure), alt)


def _traded(card: Scorecard) -> dict[str, Any]:
    """Return what a picture of several networks shows of one."""
    rows = {row.metric: row for row in card.rows}
    dense, ticket = (card.costs.get(which) for which in ("dense", "ticket"))
    accuracy = rows.get("accuracy")
    return {
        "network": card.about["ticket"],
        "accuracy": accuracy.ticket if accuracy else float("nan"),
        "dense": accuracy.dense if accuracy else float("nan"),
        "stored": ticket.stored if ticket else float("nan"),
        "stored_dense": dense.stored if dense else float("nan"),
        "milliseconds": 1000 * card.speed["ticket"].seconds if card.speed else float("nan"),
        "grade": min(
            (grade for _, grade, _ in grades(card)), key=[*VERDICTS, "measured"].index, default="measured"
        ),
    }


def _rendered(cards: Sequence[Scorecard], picture: str, alt: str = "") -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(
        aside=_aside,
        interval=_interval,
        number=number,
        own=_own,
        positions=_positions,
        signed=_signed,
        titled=_titled,
    )
    return environment.get_template("report.html.j2").render(
        style=(Path(__file__).parent / "report.css").read_text(encoding="utf-8"),
        words=_WORDS,
        picture=picture,
        alt=alt,
        sections=[_section(card) for card in cards],
    )


def _section(card: Scorecard) -> dict[str, Any]:
    """Return what the page says of one network."""
    about = card.about
    facts = {
        "ticket": about["ticket"],
        "dense network": about["dense"] or None,
        "files": ", ".join(f"{name}: SHA-256 {digest}…" for name, digest in about["files"].items()) or None,
        "architecture": about["arch"],
        "data": f"{opening(about['data'])}, {about['test images']:,} test images, {about['classes']} classes, "
        f"{'×'.join(map(str, about['pixels']))} pixels",
        "preprocessing": about["preprocessing"],
        "seed": about["seed"],
        "device": f"{about['device']}, {about['threads']} thread(s)",
        "measured in": f"{about['seconds']:.0f} s",
        "versions": ", ".join(f"{n} {v}" for n, v in about["versions"].items()),
    }
    return dict(
        card=card,
        headline=headline(card),
        scope=scope(card),
        grades=list(grades(card)),
        dimensions=list(dimensions(card)),
        breaks=breaks(card),
        costs=costs(card),
        of_costs=_of_costs(card),
        figures=[(title, alt, _png(figure)) for title, (figure, alt) in _figures(card)],
        skipped=_skipped(card),
        intervals=intervals(card),
        facts=facts,
        changed=card.changed[:_LISTED],
    )


def _aside(row: Row) -> str:
    return {"images": "", NOTHING: "; no interval", ONE: "; one network"}.get(
        row.over, f"; interval over {row.over}"
    )


def _positions(row: Row) -> dict[str, Any]:
    """Return where the parts of a row's bar lie, from 0 to 200: the difference in tolerances, right is better."""
    sign, unit = (1 if row.direction == "higher" else -1), row.tolerance or 1.0
    low, high = sorted(sign * value / unit for value in (row.low, row.high))

    def place(value: float) -> float:
        return round(100 + max(-_SPAN, min(_SPAN, value)) * 94 / _SPAN, 1)

    return {
        "band": place(-1),
        "band_width": round(2 * 94 / _SPAN, 1),
        "low": place(low),
        "middle": place(sign * row.difference / unit),
        "high": place(high),
        "beyond_left": low < -_SPAN,
        "beyond_right": high > _SPAN,
    }


def _figures(card: Scorecard) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Yield a title, and what a figure function gives."""
    from .. import figures

    if not card.compared:
        return
    rows = {row.metric: row for row in card.rows}
    if "recall_loss" in rows:
        shown = sorted(card.classes, key=lambda share: share.difference)[:12]
        most = f"the {len(shown)} hit hardest; " if len(shown) < len(card.classes) else ""
        # the intervals of the sentences
        ends = {share.name: (share.low, share.high) for share in shown}
        changes = {share.name: share.difference for share in shown}
        title = f"Classes ({most}95% intervals that hold for all classes at once)"
        yield title, figures.recall_changes({"ticket": changes}, {"ticket": ends})
    if row := rows.get("corruption_error"):
        accuracies = {
            which: {name: [1 - e for e in rates] for name, rates in extra["errors"].items()}
            for which, extra in (("dense", row.dense_extra), ("ticket", row.extra))
        }
        floor = metrics.generalization.by_guessing(card.about["classes"], row.samples)
        title = "Corruptions: accuracy at each severity (crossed out: what guessing can reach)"
        yield title, figures.corruption_heatmap(accuracies, floor)
    if row := rows.get("fgsm_accuracy"):
        curves = {
            which: {"FGSM": extra["accuracy"]}
            for which, extra in (("dense", row.dense_extra), ("ticket", row.extra))
        }
        yield "Attacks", figures.attack_curves(curves, row.extra["epsilon_255ths"])
    if diagrams := card.diagrams.get("reliability"):
        yield "Calibration", figures.reliability_diagram(diagrams)


def _png(figure: Any) -> str:
    from ..figures.notebook import png

    return base64.b64encode(png(figure)).decode()


# --- numbers


def number(value: float) -> str:
    """Return three significant digits, without a power of ten.

    Example:
        >>> number(0.0123), number(1234.5), number(1e-5)
        ('0.0123', '1234', '0.00001')
    """
    if value == 0 or 0.001 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")
    return plain(value)


def _titled(row: Row) -> str:
    return f"{row.label} {'↑' if row.direction == 'higher' else '↓'}"


def _interval(row: Row) -> str:
    if row.low == row.high:
        return _signed(row.difference)
    return f"{_signed(row.difference)} [{_signed(row.low)}, {_signed(row.high)}]"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value))


def _times(row: Row) -> str:
    times = abs(row.difference) / row.tolerance if row.tolerance else float("inf")
    return f"{times:.1f} times" if times < 1000 else "far beyond"


def _share(own: float, dense: float) -> str:
    return f"{own / dense:.1%} of dense" if dense else ""
