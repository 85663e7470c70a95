"""What a shared link shows, and how the bibliography is labelled: the book's own Sphinx extensions, as functions."""

import sys
from types import SimpleNamespace

import pytest

from tests.publish.sample_book import REPOSITORY


@pytest.fixture
def extension(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(REPOSITORY / "book" / "_ext"))

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return load


LONG = "A first paragraph that is long enough to say something about the page, whatever it is on."


def test_an_answer_describes_its_page_before_any_paragraph(extension):
    describe = extension("shared").describe
    body = f"<p>Short.</p><p>{LONG}</p>"
    assert describe(body) == LONG and describe("<p>Short.</p>") == ""
    answer = f'<div class="answer" role="note"><p><strong>Answer.</strong> {LONG[::-1]}</p></div>'
    assert describe(body + answer) == f"Answer. {LONG[::-1]}"
    assert len(describe(f"<p>{LONG} {LONG} {LONG}</p>")) <= 200


def test_a_card_is_escaped_and_knows_its_address(extension):
    config = SimpleNamespace(html_title="T", project="P", html_baseurl="https://x.org/")
    context = {"body": f"<p>a &lt; b &quot;c&quot; {LONG}</p>", "title": "Loss &amp; <em>more</em>"}
    extension("shared").add_card(SimpleNamespace(config=config), "book/index", "", context, None)
    tags = context["metatags"]
    assert 'content="a &lt; b &quot;c&quot; A first' in tags
    assert '<meta property="og:title" content="Loss &amp; more">' in tags
    assert 'content="https://x.org/book/index.html"' in tags and "what-is-kept.png" in tags


@pytest.mark.parametrize("page, kept", [("The book", ""), ("A page", "The book")])
def test_the_first_page_does_not_say_the_book_s_title_twice(extension, page, kept):
    config = SimpleNamespace(html_title="The book", project="P", html_baseurl="")
    context = {"body": f"<p>{LONG}</p>", "title": page, "docstitle": "The book"}
    extension("shared").add_card(SimpleNamespace(config=config), "book/index", "", context, None)
    assert context["docstitle"] == kept


def test_a_book_without_an_address_names_none(extension):
    config = SimpleNamespace(html_title="T", project="P", html_baseurl="")
    context = {"body": f"<p>{LONG}</p>", "title": "Loss"}
    extension("shared").add_card(SimpleNamespace(config=config), "book/index", "", context, None)
    assert LONG in context["metatags"] and "og:url" not in context["metatags"]
    assert "og:image" not in context["metatags"]


def test_search_reads_what_a_reader_reads(extension):
    html = """<nav>menu</nav><article class="bd-article" role="main"><h1>Title<a class="headerlink" href="#t">#</a></h1>
      <div class="run-card">profile <b>laptop</b></div><script type="x">{"a": "<p>no</p>"}</script><p>a &lt; b, <b>92.5</b>&nbsp;%</p><pre><span>f</span>(<span>x</span>)</pre></article><p>foot</p>"""
    text_of = extension("excerpts").text_of
    assert text_of(html) == "a < b, 92.5 % f(x)" and text_of("<p>no article</p>") == ""


def test_labels_are_authors_and_year_and_differ(extension):
    pytest.importorskip("pybtex")
    from pybtex.database import Entry, Person

    def entry(*names):
        return Entry("misc", [("year", "2019")], {"author": [Person(n) for n in names]})

    entries = [
        entry("Brier, G."),
        entry("A, B", "C, D"),
        entry("A, B", "C, D", "E, F"),
        entry("A, B", "C, D"),
    ]
    found = list(extension("labels").AuthorYear().format_labels(entries))
    assert found == ["Brier, 2019", "A & C, 2019a", "A et al., 2019", "A & C, 2019b"]


def test_what_a_notebook_displays_is_set_as_prose_and_code_is_not(extension):
    html = "<p title=\"it's\">the paper's, LTH&#x27;s <b>it&#39;s</b> 'x' ECE ↓ <code>f'a'b ↑</code></p><pre>don't</pre>y's"
    assert extension("typography").set_text(html) == (
        "<p title=\"it's\">the paper’s, LTH’s <b>it’s</b> 'x' ECE\N{NO-BREAK SPACE}↓ <code>f'a'b ↑</code></p><pre>don't</pre>y’s"
    )
    assert extension("typography").set_text("") == ""
