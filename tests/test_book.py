"""The main job, small: a smoke study from scratch, every notebook through papermill, a strict build, all by the CLI."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.visit import PHONE, WIDE, Visit, served

ROOT = Path(__file__).parents[1]
# a slow and busy machine needs half an hour for the whole book
pytestmark = pytest.mark.timeout(2700)


def lottery_book(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lotterylib.cli", "book", "--profile", "smoke", "--quiet"]
    command += ["--store", str(folder / "runs"), "--out", str(folder / "build")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2600)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    done = lottery_book(folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder, done


def test_it_says_where_to_open_the_book(built):
    folder, done = built
    index = folder / "build/smoke/site/index.html"
    assert index.is_file() and index.as_uri() in done.stdout
    assert "notebook/s" not in done.stderr  # --quiet


def test_every_notebook_is_a_page_with_a_run_card_and_the_smoke_warning(built):
    site = built[0] / "build/smoke/site"
    sources = sorted((ROOT / "notebooks").rglob("*.ipynb"))
    assert sources
    for source in sources:
        page = (site / source.relative_to(ROOT).with_suffix(".html")).read_text()
        assert "run-card" in page and "smoke-run" in page and "profile <b>smoke</b>" in page


def test_every_image_has_an_alt_text_in_words(built):
    for page in (built[0] / "build/smoke/site").rglob("*.html"):
        text = page.read_text().replace('\\"', '"')  # a slider's pictures stand in JSON
        for image in re.findall(r"<img[^>]*>", text):
            alt = re.search(r'alt="([^"]*)"', image)
            assert alt and (len(alt[1].split()) > 3 or "logo" in image), f"{page.name}: {image[:200]}"
            assert len(alt[1]) <= 800, f"{page.name}: {len(alt[1])} characters"


@pytest.fixture(scope="module")
def address(built):
    with served(built[0] / "build/smoke/site") as address:
        yield address


CUT_OFF = "pieces => pieces.filter(p => p.scrollWidth > p.clientWidth).length"


def test_every_page_is_sound_and_fits_a_phone_and_a_wide_window(built, browser, address):
    """No script error, no failed request, none to elsewhere, no sideways scrolling, every formula drawn."""
    site = built[0] / "build/smoke/site"
    pages = sorted(
        p.relative_to(site).as_posix()
        for p in (
            site / "search.html",
            *(site / "book").rglob("*.html"),
            *(site / "notebooks").rglob("*.html"),
        )
    )
    assert len(pages) > 40
    problems = {}
    context = browser.new_context()
    for page in pages:
        with Visit(browser, address, page, PHONE, context=context) as visit:
            found = list(visit.faults)
            for width in (PHONE, WIDE):
                visit.page.set_viewport_size({"width": width, "height": 900})
                across = visit.page.evaluate("document.documentElement.scrollWidth")
                found += [f"{across} pixels across a window of {width}"] * (across > width)
            cut = visit.page.locator(".cell pre").evaluate_all(CUT_OFF)  # in the wide window
            found += [f"{cut} pieces of code or output are cut off at the right"] * (cut > 0)
            undrawn = visit.page.locator("mjx-merror, .math:not(:has(mjx-container))").count()
            found += [f"{undrawn} formulas are not drawn"] * (undrawn > 0)
            if found:
                problems[page] = found
    context.close()
    assert problems == {}


def test_quoted_numbers_read_like_the_prose_around_them(browser, address):
    weights = "es => [...new Set(es.map(e => getComputedStyle(e).fontWeight))]"
    with Visit(browser, address, "book/index.html") as visit:
        quoted = visit.page.locator("article .pasted-text")
        assert quoted.count() > 5
        assert (
            quoted.evaluate_all(weights) == visit.page.locator("article p").evaluate_all(weights) == ["400"]
        )


def test_the_explorer_s_slider_and_switch_change_the_picture(built, browser, address):
    page = "notebooks/verdict/explorer.html"
    if "widget-state" not in (built[0] / "build/smoke/site" / page).read_text():
        pytest.skip("the scripts of widgets could not be fetched from npm")
    with Visit(browser, address, page, WIDE) as visit:
        shown = "es => es.filter(e => e.offsetParent && e.naturalWidth).map(e => e.src)"
        handle, frames = visit.page.locator(".noUi-handle").first, visit.page.locator(".jupyter-widgets img")
        handle.wait_for()
        first = frames.evaluate_all(shown)
        handle.press("ArrowRight")
        visit.page.wait_for_timeout(200)
        second = frames.evaluate_all(shown)
        assert first and second and first != second
        visit.page.locator(".jupyter-widgets select").first.select_option(index=1)
        visit.page.wait_for_timeout(200)
        third = frames.evaluate_all(shown)
        assert third and third != second
        assert visit.faults == []


class Links(HTMLParser):
    """Where a page's links lead, and what other pages may link to in it."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.add(attributes["href"])


def broken_links(site: Path) -> list[str]:
    """Internal links and anchors that lead nowhere, in all pages of a site."""
    pages = {path: Links(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            place, _, anchor = unquote(link).partition("#")
            if re.match(r"\w+:", place):
                continue
            target = (path.parent / place.partition("?")[0]).resolve() if place else path
            found = target.exists() and (not anchor or target not in pages or anchor in pages[target].anchors)
            if not found:
                broken.append(f"{path.relative_to(site)}: {link}")
    return sorted(broken)


def test_every_internal_link_and_anchor_resolves(built):
    assert broken_links(built[0] / "build/smoke/site") == []


def test_a_broken_link_would_be_noticed(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="b.html#no">2</a><a href="c.html">3</a>'
    )
    (tmp_path / "b.html").write_text("<p>")
    assert broken_links(tmp_path) == ["a.html: b.html#no", "a.html: c.html"]


def test_numbers_on_the_landing_page_come_from_the_records(built):
    text = re.sub(r"<[^>]+>|\s+", " ", (built[0] / "build/smoke/site/book/index.html").read_text())
    records = [json.loads(p.read_text()) for p in (built[0] / "runs/records").glob("*.json")]
    dense = [r["value"] for r in records if r["pruner"] == "dense" and r["metric"] == "accuracy"]
    assert f"dense network gets {100 * sum(dense) / len(dense):.1f}% of 200 test images" in text


def test_a_second_call_runs_no_notebook_and_builds_nothing(built):
    folder = built[0]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in (".ipynb", ".html", ".json")}
    executed = {
        p: t for p, t in before.items() if "build/smoke/notebooks" in p.as_posix() or p.suffix == ".html"
    }
    assert lottery_book(folder).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in executed} == executed
