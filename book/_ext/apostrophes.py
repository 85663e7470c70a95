"""Sphinx extension: what a notebook displays has the apostrophes of the prose around it, which Sphinx curls and HTML does not."""

from __future__ import annotations

import re

# code and what is printed keep theirs
PIECES = re.compile(r"(<(?P<tag>pre|code|script|style|textarea)\b.*?</(?P=tag)>|<[^>]*>)", re.DOTALL)
STRAIGHT = re.compile(r"(?<=\w)(?:'|&#x27;|&#39;)(?=\w)")


def curl(html: str) -> str:
    """Return HTML with a curled apostrophe within each word of its text."""
    between = PIECES.split(html)[:: PIECES.groups + 1]
    tags = [found.group() for found in PIECES.finditer(html)] + [""]
    return "".join(STRAIGHT.sub("’", text) + tag for text, tag in zip(between, tags, strict=True))


def curl_page(app, pagename, templatename, context, doctree) -> None:
    if context.get("body"):
        context["body"] = curl(context["body"])


def setup(app):
    app.connect("html-page-context", curl_page, priority=400)  # before descriptions are taken from the page
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
