"""The scorecard in words: for the terminal, and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import metrics

if TYPE_CHECKING:
    from .card import Row, Scorecard

_SHOWN = 3  # classes or corruptions that are named
_SPAN = 4  # tolerances that the page's bars reach to either side
_WORDS = {"better": "better", "holds": "holds up", "undecided": "undecided", "worse": "worse"}


def headline(card: Scorecard) -> str:
    """The verdict in a sentence or two."""
    count, counts = len(card.rows), {v: len(card.of(v)) for v in _WORDS}
    well = counts["holds"] + counts["better"]
    head = f"With {card.sparsity:.1%} of the weights removed, it holds up in {well} of {count} metrics"
    more = f" ({counts['better']} better)" if counts["better"] else ""
    rest = [f"{counts[v]} {w}" for v, w in (("worse", "worse"), ("undecided", "undecided")) if counts[v]]
    tail = f"; {', '.join(rest)}." if rest else ", none left open."
    skipped = f" {len(card.skipped)} could not be measured." if card.skipped else ""
    return head + more + tail + skipped


def dimensions(card: Scorecard) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each dimension that has any, in order."""
    for dimension in dict.fromkeys(metrics.describe(name).dimension for name in metrics.names()):
        if rows := [row for row in card.rows if row.dimension == dimension]:
            yield dimension, rows


def breaks(card: Scorecard) -> list[str]:
    """Where it breaks: a line for each metric that is worse, and the classes and corruptions that are hit hardest."""
    lines = [
        f"{row.label}: {number(row.dense)} → {number(row.ticket)}, {_times(row)} what counts as comparable"
        for row in sorted(card.of("worse"), key=lambda row: -abs(row.difference) / (row.tolerance or 1))
    ]
    for row in card.rows:
        if row.metric == "recall_loss":
            hit = {
                name: change
                for name, change in row.extra.get("change", {}).items()
                if change is not None and change + 1.96 * row.extra["errors"].get(name, 0) < 0
            }
            worst = sorted(hit, key=hit.__getitem__)[:_SHOWN]
            if worst:
                named = ", ".join(f"{name} ({_signed(100 * hit[name])} points)" for name in worst)
                lines.append(f"Classes with a certain loss of recall: {len(hit)}; most of all {named}")
        if row.metric == "corruption_error":
            ratio = {
                name: sum(rates) / sum(row.dense_extra["errors"][name])
                for name, rates in row.extra["errors"].items()
            }
            worst = sorted(ratio, key=ratio.__getitem__, reverse=True)[:_SHOWN]
            if ratio[worst[0]] > 1:
                named = ", ".join(
                    f"{n.replace('_', ' ')} (+{100 * (ratio[n] - 1):.0f} % errors)"
                    for n in worst
                    if ratio[n] > 1
                )
                lines.append(f"Corruptions that it bears worst, against dense: {named}")
    return lines


def intervals(card: Scorecard) -> list[str]:
    """What the intervals of this card cover, and what they do not."""
    lines = [
        "95 % intervals: difference ± 1.96 standard errors of the paired bootstrap over images, both networks on the same "
        "ones. Means over images, corruption error and AUROC have them in closed form, most others from 200 resamples."
    ]
    if named := [row.label for row in card.rows if "by fifths" in row.over]:
        lines.append(
            f"By fifths ({', '.join(named)}): measured again on five disjoint fifths of the images, ± 2.78 standard errors."
        )
    for over in ("random probes", "random draws of noise"):
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
    """Rows (what, dense, ticket, in words) of what the two take."""
    dense, ticket = card.costs["dense"], card.costs["ticket"]
    rows = []
    for what, name, unit in (
        ("parameters kept", "kept", ""),
        ("multiply-adds an image", "multiply_adds", ""),
        ("… with a surviving weight", "needed", ""),
        ("file, survivors only", "stored", "B"),
    ):
        a, b = getattr(dense, name), getattr(ticket, name)
        rows.append((what, (_large(a) + unit).strip(), (_large(b) + unit).strip(), f"{b / a:.1%} of dense"))
    if card.speed:
        a, b = card.speed["dense"], card.speed["ticket"]
        span = f"{b.speedup:.2f}× as fast (95 % interval {b.low:.2f} to {b.high:.2f})"
        rows.append(("time of a batch", f"{1000 * a.seconds:.1f} ms", f"{1000 * b.seconds:.1f} ms", span))
        share = f"{b.memory / a.memory:.1%} of dense" if a.memory else ""
        rows.append(("memory of a batch", _large(a.memory) + "B", _large(b.memory) + "B", share))
    return rows


def text(card: Scorecard, columns: int | None = None) -> str:
    """For a terminal of so many ``columns``, 80 or more; by default as wide as it is, 100 at most."""
    columns = max(80, min(100, columns or shutil.get_terminal_size((100, 24)).columns))
    span = max([len(_interval(row)) for row in card.rows] + [27])
    width = min(max([len(_titled(row)) for row in card.rows] + [24]), columns - span - 33)
    lines = [*_wrapped(headline(card), columns, ""), ""]
    head = f"  {'dense':>8}  {'ticket':>8}  {'difference, 95 % interval':^{span}}  verdict"
    for dimension, rows in dimensions(card):
        lines += [f"{dimension.upper():{width}}{head}"]
        for row in rows:
            label, *more = textwrap.wrap(_titled(row), width)
            lines += [
                f"{label:{width}}  {number(row.dense):>8}  {number(row.ticket):>8}  {_interval(row):^{span}}  {_WORDS[row.verdict]}",
                *(f"  {part}" for part in more),
            ]
        lines.append("")
    if broken := breaks(card):
        lines += ["WHERE IT BREAKS", *_listed(broken, columns), ""]
    lines += ["IS IT WORTH IT?"]
    for what, a, b, words in costs(card):
        first, *more = textwrap.wrap(words, columns - 53) or [""]
        lines += [f"  {what:26}{a:>11}{b:>11}   {first}", *(" " * 53 + part for part in more)]
    if worthless := _no_speed(card):
        lines += _listed([worthless], columns)
    if card.skipped:
        lines += [
            "",
            "NOT MEASURED",
            *_listed([f"{_label(m)}: {why}" for m, why in card.skipped.items()], columns),
        ]
    if card.notes:
        lines += ["", "NOTES", *_listed(card.notes, columns)]
    lines += ["", "WHAT THE INTERVALS COVER", *_listed(intervals(card), columns)]
    return "\n".join(line.rstrip() for line in lines)


def _listed(lines: list[str], columns: int) -> list[str]:
    return [part for line in lines for part in _wrapped(line, columns, "  ")]


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    more = indent + "  " if indent else ""
    return textwrap.wrap(line, columns, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False)


def number(value: float) -> str:
    """Three significant digits, without a power of ten where it can be avoided."""
    if value == 0 or 0.001 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")
    return f"{value:.2e}"


def _titled(row: Row) -> str:
    return f"{row.label} {'↑' if row.direction == 'higher' else '↓'}"


def _label(metric: str) -> str:
    return metrics.describe(metric).label


def _interval(row: Row) -> str:
    if row.low == row.high:
        return _signed(row.difference)
    return f"{_signed(row.difference)} [{_signed(row.low)}, {_signed(row.high)}]"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value))


def _times(row: Row) -> str:
    times = abs(row.difference) / row.tolerance if row.tolerance else float("inf")
    return f"{times:.1f} times" if times < 1000 else "far beyond"


def _large(count: float) -> str:
    for step, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= step:
            return f"{count / step:.3g}{suffix}"
    return f"{count:.0f} "


def _no_speed(card: Scorecard) -> str:
    """Said plainly where zeros buy no time."""
    dense, ticket = card.costs["dense"], card.costs["ticket"]
    if card.sparsity < 0.05 or ticket.multiply_adds < 0.95 * dense.multiply_adds:
        return ""
    return (
        "Its zeros are scattered: dense kernels multiply by them all the same. They save space on disk; time is saved by "
        "fewer channels or by kernels made for sparse weights."
    )


# --- HTML


def page(card: Scorecard) -> str:
    """One file: style, figures and all."""
    about = card.about
    facts = {
        "ticket": about["ticket"], "dense network": about["dense"], "architecture": about["arch"],
        "data": f"{about['data']}, {about['test images']:,} test images, {about['classes']} classes, "
        f"{'×'.join(map(str, about['pixels']))} pixels",
        "seed": about["seed"], "device": f"{about['device']}, {about['threads']} thread(s)",
        "measured in": f"{about['seconds']:.0f} s",
        "versions": ", ".join(f"{n} {v}" for n, v in about["versions"].items()),
    }  # fmt: skip
    parts = [
        f"<h1>Scorecard</h1><p class=lead>{_safe(headline(card))}</p>",
        _legend(),
        *(_section(dimension, rows) for dimension, rows in dimensions(card)),
    ]
    if broken := breaks(card):
        parts.append(f"<h2>Where it breaks</h2>{_list(broken)}")
    rows = "".join(
        f"<tr><th scope=row>{_safe(what)}<td data-label=dense>{_safe(a)}<td data-label=ticket>{_safe(b)}"
        f"<td data-label=''>{_safe(words)}"
        for what, a, b, words in costs(card)
    )
    heads = "<tr><th scope=col><span class=sr>what</span><th scope=col>dense<th scope=col>ticket<th scope=col>compared"
    remark = f"<p>{_safe(_no_speed(card))}</p>" if _no_speed(card) else ""
    parts.append(f"<h2>Is it worth it?</h2><table class=costs><thead>{heads}<tbody>{rows}</table>{remark}")
    parts += [f"<h2>{_safe(title)}</h2>{_figure(*made)}" for title, made in _figures(card)]
    if card.skipped:
        parts.append(
            "<h2>Not measured</h2>"
            + _list([f"{_label(metric)}: {why}" for metric, why in card.skipped.items()])
        )
    if card.notes:
        parts.append(f"<h2>Notes</h2>{_list(card.notes)}")
    parts.append(f"<h2>What the intervals cover</h2>{_list(intervals(card))}")
    listed = "".join(f"<dt>{_safe(k)}<dd>{_safe(v)}" for k, v in facts.items() if v is not None)
    parts.append(f"<h2>How it was measured</h2><dl>{listed}</dl>")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Scorecard of {_safe(about['ticket'])}</title><style>{_STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def _legend() -> str:
    return (
        "<p>Each bar is the difference to the dense network with its 95 % interval (over images, both networks on the same "
        "ones, but where a row says otherwise), so turned that right is better; the grey band is what counts as "
        "comparable. <b>Holds up</b>: the interval does not reach beyond the band on the left. "
        "<b>Worse</b> or <b>better</b>: it lies beyond the band altogether. <b>Undecided</b>: more images would tell.</p>"
    )


def _section(dimension: str, rows: list[Row]) -> str:
    head = (
        "<tr><th scope=col>metric<th scope=col>dense<th scope=col>ticket<th scope=col>difference, 95 % interval"
        "<th scope=col>verdict"
    )
    body = "".join(
        f"<tr><th scope=row>{_safe(_titled(row))}<small>{_safe(row.unit + _aside(row))}</small>"
        f"<td data-label=dense>{_safe(number(row.dense))}<td data-label=ticket>{_safe(number(row.ticket))}"
        f"<td data-label=difference>{_bar(row)}<span class=nums>{_safe(_interval(row))}</span>"
        f"<td data-label=verdict><span class='v {row.verdict}'>{_WORDS[row.verdict]}</span>"
        for row in rows
    )
    return f"<h2>{_safe(dimension.capitalize())}</h2><table><thead>{head}<tbody>{body}</table>"


def _aside(row: Row) -> str:
    return {"images": "", "nothing": "; no interval"}.get(row.over, f"; interval over {row.over}")


def _bar(row: Row) -> str:
    """The difference in tolerances, right is better."""
    sign, unit = (1 if row.direction == "higher" else -1), row.tolerance or 1.0
    ends = sorted(sign * value / unit for value in (row.low, row.high))
    low, mid, high = (_place(value) for value in (ends[0], sign * row.difference / unit, ends[1]))
    arrows = ""
    if ends[0] < -_SPAN:
        arrows += f"<path class='mark {row.verdict}' d='M1 9l6-5v10z'/>"
    if ends[1] > _SPAN:
        arrows += f"<path class='mark {row.verdict}' d='M199 9l-6-5v10z'/>"
    words = f"{_signed(row.difference)}, tolerance {number(row.tolerance)}"
    return (
        f"<svg viewBox='0 0 200 18' role=img aria-label='{_safe(words)}'>"
        f"<rect class=band x={_place(-1):.1f} y=0 width={_place(1) - _place(-1):.1f} height=18 /><path class=zero d='M100 0v18'/>"
        f"<path class='line {row.verdict}' d='M{low:.1f} 9H{high:.1f}'/>"
        f"<circle class='mark {row.verdict}' cx={mid:.1f} cy=9 r=4 />{arrows}</svg>"
    )


def _place(value: float) -> float:
    return 100 + max(-_SPAN, min(_SPAN, value)) * 94 / _SPAN


def _figures(card: Scorecard) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Title, and what a figure function gives."""
    from .. import figures

    rows = {row.metric: row for row in card.rows}
    if row := rows.get("recall_loss"):
        change = {name: c for name, c in row.extra["change"].items() if c is not None}
        shown = sorted(change, key=change.__getitem__)[:12]
        chosen = {n: change[n] for n in shown}, {n: row.extra["errors"][n] for n in shown}
        more = f" (the {len(shown)} hit hardest)" if len(shown) < len(change) else ""
        yield f"Classes{more}", figures.recall_changes({"ticket": chosen[0]}, {"ticket": chosen[1]})
    if row := rows.get("corruption_error"):
        both = {"dense": row.dense_extra["errors"], "ticket": row.extra["errors"]}
        accuracies = {
            n: {c: [1 - e for e in rates] for c, rates in cells.items()} for n, cells in both.items()
        }
        yield "Corruptions: accuracy at each severity", figures.corruption_heatmap(accuracies)
    if row := rows.get("fgsm_accuracy"):
        curves = {
            n: {"FGSM": extra["accuracy"]} for n, extra in (("dense", row.dense_extra), ("ticket", row.extra))
        }
        yield "Attacks", figures.attack_curves(curves, row.extra["epsilon_255ths"])
    if diagrams := card.diagrams.get("reliability"):
        yield "Calibration", figures.reliability_diagram(diagrams)


def _figure(figure: Any, alt: str) -> str:
    from ..figures.notebook import png

    data = base64.b64encode(png(figure)).decode()
    return f"<figure tabindex=0><img alt='{_safe(alt)}' src='data:image/png;base64,{data}'></figure>"


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{_safe(line)}' for line in lines)}</ul>"


def _safe(value: Any) -> str:
    return html.escape(str(value), quote=True)


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#5c5c5c;--paper:#fff;--line:#d9d9d9;--band:#e6e6e6;
--better:#0b62a4;--holds:#17733f;--undecided:#8a5a00;--worse:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--soft:#a8a8a8;--paper:#161616;--line:#3a3a3a;--band:#333;
--better:#7cc0f5;--holds:#6fd39b;--undecided:#f0b95a;--worse:#ff8f85}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1rem 1rem 4rem}h1{margin:.5rem 0}h2{margin:2.2rem 0 .6rem;font-size:1.25rem}
@media(min-width:42.01rem){table{table-layout:fixed}th:first-child{width:34%}th:nth-child(4){width:30%}}
.lead{font-size:1.15rem}table{width:100%;border-collapse:collapse}th,td{padding:.45rem .6rem;text-align:right;
border-bottom:1px solid var(--line);vertical-align:middle;font-variant-numeric:tabular-nums}
th[scope=row],th:first-child{text-align:left;font-weight:600}thead th{color:var(--soft);font-weight:400;font-size:.9rem}
small{display:block;color:var(--soft);font-weight:400}svg{display:block;width:100%;min-width:9rem;height:1.2rem}
.nums{display:block;color:var(--soft);font-size:.85rem;text-align:center;white-space:nowrap}
.band{fill:var(--band)}.zero{stroke:var(--soft);stroke-width:1}.line{stroke-width:3;fill:none}
.line.better{stroke:var(--better)}.line.holds{stroke:var(--holds)}.line.undecided{stroke:var(--undecided)}
.line.worse{stroke:var(--worse)}.mark.better{fill:var(--better)}.mark.holds{fill:var(--holds)}
.mark.undecided{fill:var(--undecided)}.mark.worse{fill:var(--worse)}.v{font-weight:600;white-space:nowrap}
.v.better{color:var(--better)}.v.holds{color:var(--holds)}.v.undecided{color:var(--undecided)}.v.worse{color:var(--worse)}
figure{margin:0;overflow-x:auto;background:#fff;border:1px solid var(--line);border-radius:.5rem;padding:.6rem;text-align:center}
figure img{max-width:100%;min-width:min(100%,34rem)}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}.sr{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
@media(max-width:42rem){thead{position:absolute;clip-path:inset(50%)}tr{display:block;padding:.6rem 0;border-bottom:1px solid var(--line)}
th,td{display:flex;justify-content:space-between;gap:1rem;padding:.15rem 0;border:0;text-align:right}
th[scope=row]{display:block}td::before{content:attr(data-label);color:var(--soft)}td:has(svg){display:block}
td:has(svg)::before{content:none}figure img{min-width:34rem}dl{display:block}dd{margin-bottom:.4rem}}
"""
