"""Sphinx extension: each page brings a description and a card for whoever shares its address."""

from __future__ import annotations

import re
from html import escape, unescape

PICTURE = "_images/what-is-kept.png"
# paragraphs that say something, in the order of preference: an answer, the first page's verdict, any
PARAGRAPHS = (r'<div class="answer"[^>]*>.*?</p>', r'<div class="[^"]*verdict[^"]*">.*?</p>', r"<p>.*?</p>")
LONGEST = 200


def describe(body: str) -> str:
    """Return the first paragraph of a page that is longer than a line, as plain text of at most 200 characters."""
    for pattern in PARAGRAPHS:
        for found in re.findall(pattern, body, re.DOTALL):
            text = " ".join(unescape(re.sub(r"<[^>]+>", "", found)).split())
            if len(text) > 60:
                return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"
    return ""


def add_card(app, pagename, templatename, context, doctree) -> None:
    said = describe(context.get("body") or "") or app.config.html_title or app.config.project
    title = re.sub(r"<[^>]+>", "", context.get("title") or app.config.project)
    # a page that is called as the book is does not say it twice
    if title == context.get("docstitle"):
        context["docstitle"] = ""
    home = app.config.html_baseurl
    tags = {"og:type": "article", "og:title": title, "og:description": said}
    # Pictures and pages of a card have whole addresses; without one of its own the book names none.
    if home:
        picture = {"og:image": home + PICTURE, "twitter:card": "summary_large_image"}
        tags |= {"og:url": f"{home}{pagename}.html", **picture}
    lines = [f'<meta name="description" content="{escape(said)}">']
    lines += [f'<meta property="{name}" content="{escape(unescape(text))}">' for name, text in tags.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def setup(app):
    app.connect("html-page-context", add_card)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
