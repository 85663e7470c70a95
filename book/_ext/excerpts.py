"""Sphinx extension: the text of each page as one script, from which search shows excerpts (``book.js``).

A script may be read where the book is opened as a file; other pages may not.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

ARTICLE = re.compile(r"<article\b[^>]*>(.*)</article>", re.DOTALL)
INLINE = re.compile(r"</?(?:span|a|em|strong|b|code)\b[^>]*>")
# what says nothing of a page's matter: its title stands above the excerpt, and how the page was made
UNREAD = re.compile(
    r'<(script|style|h1)\b.*?</\1>|<a class="headerlink".*?</a>|<div class="run-card">.*?</div>', re.DOTALL
)


def text_of(html: str) -> str:
    """Return what there is to read in the article of a page, in one line."""
    found = ARTICLE.search(html)
    body = UNREAD.sub(" ", found[1]) if found else ""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", INLINE.sub("", body))).split())


def write_texts(app, exception) -> None:
    if exception or app.builder.name != "html":
        return
    site = Path(app.outdir)
    texts = {name: text_of((site / f"{name}.html").read_text("utf-8")) for name in sorted(app.env.found_docs)}
    script = f"window.PAGE_TEXTS = {json.dumps(texts, ensure_ascii=False)};\n"
    (site / "_static" / "excerpts.js").write_text(script, "utf-8")


def setup(app):
    app.connect("build-finished", write_texts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
