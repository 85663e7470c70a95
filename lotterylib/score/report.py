"""The scorecard in words: for the terminal, and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from .. import metrics
from ..errors import SettingError
from ..files import write_whole
from ..text import amount, printable
from .card import Row, Scorecard

# classes or corruptions that are named
_SHOWN = 3
# tolerances that the page's bars reach to either side
_SPAN = 4
_WORDS = {"better": "better", "holds": "holds up", "undecided": "undecided", "worse": "worse"}


class Report(Scorecard):
    """A scorecard to read: ``print(card)`` shows it, ``save`` writes it."""

    def __str__(self) -> str:
        return text(self)

    def to_html(self) -> str:
        """Return one page that needs no other file and no network: the table, where it breaks, and the figures."""
        return page(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``scorecard.json`` and ``scorecard.html`` and return their paths."""
        contents = {"scorecard.json": self.to_json, "scorecard.html": self.to_html}
        for name, content in contents.items():
            write_whole(Path(folder) / name, content().encode())
        return [Path(folder) / name for name in contents]


def check_folder(folder: str | Path) -> None:
    """Make a folder for files to come; raise ``SettingError`` if they could not be written there."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lottery")
            file.flush()
    except OSError as error:
        raise SettingError(f"{folder} is no folder that can be written to: {error.strerror}") from None


# --- sentences


def headline(card: Scorecard) -> str:
    """Return the verdict in a sentence or two."""
    count, counts = len(card.rows), {v: len(card.of(v)) for v in _WORDS}
    well = counts["holds"] + counts["better"]
    head = f"With {card.sparsity:.1%} of the weights removed, it holds up in {well} of {count} metrics"
    more = f" ({counts['better']} better)" if counts["better"] else ""
    rest = [f"{counts[v]} {v}" for v in ("worse", "undecided") if counts[v]]
    tail = f"; {', '.join(rest)}." if rest or not count else ", none left open."
    skipped = f" {len(card.skipped)} could not be measured." if card.skipped else ""
    return head + more + (tail if count else ".") + skipped


def dimensions(card: Scorecard) -> Iterator[tuple[str, list[Row]]]:
    """Yield each dimension that has rows, in order, with its rows."""
    for dimension in dict.fromkeys(metrics.describe(name).dimension for name in metrics.names()):
        if rows := [row for row in card.rows if row.dimension == dimension]:
            yield dimension, rows


def breaks(card: Scorecard) -> list[str]:
    """Return where it breaks: a line for each metric that is worse, and the classes and corruptions hit hardest."""
    worse = sorted(card.of("worse"), key=lambda row: -abs(row.difference) / (row.tolerance or 1))
    lines = [
        f"{row.label}: {number(row.dense)} → {number(row.ticket)}, {_times(row)} what counts as comparable"
        for row in worse
    ]
    rows = {row.metric: row for row in card.rows}
    lines += _classes_hit(rows["recall_loss"]) if "recall_loss" in rows else []
    lines += _corruptions_hit(rows["corruption_error"]) if "corruption_error" in rows else []
    return lines


def _classes_hit(row: Row) -> list[str]:
    errors = row.extra.get("errors", {})
    hit = {
        name: change
        for name, change in row.extra.get("change", {}).items()
        if change is not None and change + 1.96 * errors.get(name, 0) < 0
    }
    worst = sorted(hit, key=hit.__getitem__)[:_SHOWN]
    named = ", ".join(f"{name} ({_signed(100 * hit[name])} points)" for name in worst)
    return [f"Classes with a certain loss of recall: {len(hit)}; most of all {named}"] if worst else []


def _corruptions_hit(row: Row) -> list[str]:
    """Name those with more errors than the dense network makes; where it makes none, a share cannot be named."""
    dense = {name: sum(rates) for name, rates in row.dense_extra["errors"].items()}
    more = {
        name: sum(rates) / dense[name] - 1 for name, rates in row.extra["errors"].items() if dense.get(name)
    }
    worst = [name for name in sorted(more, key=more.__getitem__, reverse=True)[:_SHOWN] if more[name] > 0]
    named = ", ".join(f"{name.replace('_', ' ')} (+{100 * more[name]:.0f} % errors)" for name in worst)
    return [f"Corruptions that it bears worst, against dense: {named}"] if worst else []


def intervals(card: Scorecard) -> list[str]:
    """Return what the intervals of this card cover, and what they do not."""
    lines = [
        "95 % intervals: difference ± 1.96 standard errors of the paired bootstrap over images, both networks on the same "
        "ones. Means over images, corruption error and AUROC have them in closed form, most others from 200 resamples."
    ]
    if named := [row.label for row in card.rows if "by fifths" in row.over]:
        lines.append(
            f"By fifths ({', '.join(named)}): measured again on five disjoint fifths of the images, ± 2.78 standard errors."
        )
    drawn = dict.fromkeys(
        row.over.removeprefix("images, by fifths").removeprefix("images") for row in card.rows
    )
    for over in sorted({part.removeprefix(" and ") for part in drawn} - {"", "nothing"}, reverse=True):
        if named := [row.label for row in card.rows if row.over.endswith(f"and {over}")]:
            lines.append(f"With what {over} add: {', '.join(named)}.")
        if named := [row.label for row in card.rows if row.over == over]:
            lines.append(
                f"Over {over}, not over images (others could change more than this says): {', '.join(named)}."
            )
    if bare := [row.label for row in card.rows if row.over == "nothing"]:
        lines.append(f"Without an interval: {', '.join(bare)}.")
    return [*lines, "None covers what another training, with another seed, would give."]


def costs(card: Scorecard) -> list[tuple[str, str, str, str]]:
    """Return what the two networks take: rows of what, dense, ticket, and the two compared in words."""
    rows = []
    if card.costs:
        dense, ticket = card.costs["dense"], card.costs["ticket"]
        for what, name, unit in (
            ("parameters kept", "kept", ""),
            ("multiply-adds an image", "multiply_adds", ""),
            ("… with a surviving weight", "needed", ""),
            ("file, survivors only", "stored", "B"),
        ):
            a, b = getattr(dense, name), getattr(ticket, name)
            rows.append((what, amount(a, unit), amount(b, unit), _share(b, a)))
    if card.speed:
        a, b = card.speed["dense"], card.speed["ticket"]
        span = f"{b.speedup:.2f}× as fast (95 % interval {b.low:.2f} to {b.high:.2f})"
        rows.append(("time of a batch", f"{1000 * a.seconds:.1f} ms", f"{1000 * b.seconds:.1f} ms", span))
        memory = (amount(each.memory, "B") for each in (a, b))
        rows.append(("memory of a batch", *memory, _share(b.memory, a.memory)))
    return rows


def _no_speed(card: Scorecard) -> str:
    """Return a plain word where zeros buy no time."""
    if not card.costs or card.sparsity < 0.05:
        return ""
    if card.costs["ticket"].multiply_adds < 0.95 * card.costs["dense"].multiply_adds:
        return ""
    return (
        "Its zeros are scattered: dense kernels multiply by them all the same. They save space on disk; time is saved by "
        "fewer channels or by kernels made for sparse weights."
    )


def _skipped(card: Scorecard) -> list[str]:
    return [f"{metrics.describe(name).label}: {why}" for name, why in card.skipped.items()]


# --- for the terminal


def text(card: Scorecard, columns: int | None = None) -> str:
    """Return the card for a terminal of so many ``columns``, 80 or more; by default as wide as it is, 100 at most."""
    columns = max(80, min(100, columns or shutil.get_terminal_size((100, 24)).columns))
    lines = [*_wrapped(headline(card), columns, ""), "", *_table(card, columns)]
    if broken := breaks(card):
        lines += ["WHERE IT BREAKS", *_listed(broken, columns), ""]
    if taken := costs(card):
        lines += ["IS IT WORTH IT?"]
        for what, a, b, words in taken:
            first, *more = textwrap.wrap(words, columns - 53) or [""]
            lines += [f"  {what:26}{a:>11}{b:>11}   {first}", *(" " * 53 + part for part in more)]
        lines += [*_listed(filter(None, [_no_speed(card)]), columns), ""]
    if card.skipped:
        lines += ["NOT MEASURED", *_listed(_skipped(card), columns), ""]
    if card.notes:
        lines += ["NOTES", *_listed(card.notes, columns), ""]
    lines += ["WHAT THE INTERVALS COVER", *_listed(intervals(card), columns)]
    # names of files and classes are foreign words
    return printable("\n".join(line.rstrip() for line in lines))


def _table(card: Scorecard, columns: int) -> Iterator[str]:
    span = max([len(_interval(row)) for row in card.rows] + [27])
    width = min(max([len(_titled(row)) for row in card.rows] + [24]), columns - span - 33)
    for dimension, rows in dimensions(card):
        yield f"{dimension.upper():{width}}  {'dense':>8}  {'ticket':>8}  {'difference, 95 % interval':^{span}}  verdict"
        for row in rows:
            label, *more = textwrap.wrap(_titled(row), width)
            numbers = f"{number(row.dense):>8}  {number(row.ticket):>8}  {_interval(row):^{span}}"
            yield f"{label:{width}}  {numbers}  {_WORDS[row.verdict]}"
            yield from (f"  {part}" for part in more)
        yield ""


def _listed(lines, columns: int) -> list[str]:
    return [part for line in lines for part in _wrapped(line, columns, "  ")]


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    more = indent + "  " if indent else ""
    return textwrap.wrap(line, columns, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False)


# --- for the browser


def page(card: Scorecard) -> str:
    """Return the card as one HTML file: style, figures and all."""
    about = card.about
    facts = {
        "ticket": about["ticket"],
        "dense network": about["dense"],
        "architecture": about["arch"],
        "data": f"{about['data']}, {about['test images']:,} test images, {about['classes']} classes, "
        f"{'×'.join(map(str, about['pixels']))} pixels",
        "seed": about["seed"],
        "device": f"{about['device']}, {about['threads']} thread(s)",
        "measured in": f"{about['seconds']:.0f} s",
        "versions": ", ".join(f"{n} {v}" for n, v in about["versions"].items()),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(
        aside=_aside, interval=_interval, number=number, positions=_positions, signed=_signed, titled=_titled
    )
    return environment.get_template("report.html.j2").render(
        card=card,
        style=(Path(__file__).parent / "report.css").read_text(encoding="utf-8"),
        words=_WORDS,
        headline=headline(card),
        dimensions=list(dimensions(card)),
        breaks=breaks(card),
        costs=costs(card),
        no_speed=_no_speed(card),
        figures=[(title, alt, _png(figure)) for title, (figure, alt) in _figures(card)],
        skipped=_skipped(card),
        intervals=intervals(card),
        facts=facts,
    )


def _aside(row: Row) -> str:
    return {"images": "", "nothing": "; no interval"}.get(row.over, f"; interval over {row.over}")


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

    rows = {row.metric: row for row in card.rows}
    if row := rows.get("recall_loss"):
        change = {name: c for name, c in row.extra["change"].items() if c is not None}
        shown = sorted(change, key=change.__getitem__)[:12]
        changes, errors = ({n: part[n] for n in shown} for part in (change, row.extra["errors"]))
        more = f" (the {len(shown)} hit hardest)" if len(shown) < len(change) else ""
        yield f"Classes{more}", figures.recall_changes({"ticket": changes}, {"ticket": errors})
    if row := rows.get("corruption_error"):
        accuracies = {
            which: {name: [1 - e for e in rates] for name, rates in extra["errors"].items()}
            for which, extra in (("dense", row.dense_extra), ("ticket", row.extra))
        }
        yield "Corruptions: accuracy at each severity", figures.corruption_heatmap(accuracies)
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
    """Return three significant digits, without a power of ten where it can be avoided.

    Example:
        >>> number(0.0123), number(1234.5), number(1e-5)
        ('0.0123', '1234', '1.00e-05')
    """
    if value == 0 or 0.001 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")
    return f"{value:.2e}"


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
