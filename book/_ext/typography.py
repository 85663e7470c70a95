"""Sphinx extension: what a notebook displays is set as the prose around it: curled apostrophes, no arrow alone on a line."""

from __future__ import annotations

import re

# code and what is printed stay as they are
KEPT = re.compile(
    r"(<(?:pre|code|script|style|textarea)\b.*?</(?:pre|code|script|style|textarea)>|<[^>]*>)", re.DOTALL
)
RULES = (
    (re.compile(r"(?<=\w)(?:'|&#x27;|&#39;)(?=\w)"), "’"),
    (re.compile(r" (?=[↑↓])"), "\N{NO-BREAK SPACE}"),
)


def set_text(html: str) -> str:
    """Return HTML with its text set as prose."""
    pieces = KEPT.split(html)
    for rule, better in RULES:
        pieces[::2] = [rule.sub(better, text) for text in pieces[::2]]
    return "".join(pieces)


def set_page(app, pagename, templatename, context, doctree) -> None:
    if context.get("body"):
        context["body"] = set_text(context["body"])


def setup(app):
    app.connect("html-page-context", set_page, priority=400)  # before descriptions are taken from the page
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
