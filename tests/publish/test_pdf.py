"""The whole book as one page and one PDF."""

import os
import shutil
import stat

import pytest

from lotterylib.cli import main
from lotterylib.publish import SiteError
from lotterylib.publish import pdf as pdf_module
from lotterylib.publish.pdf import BROWSERS, build_pdf, find_browser, single_page
from lotterylib.publish.site import run_jupyter_book
from lotterylib.publish.toc import root_page
from tests.visit import Visit, served

PAGE = b"/Type /Page\n"  # a sheet of paper, in what Chromium writes


@pytest.fixture
def stage(site):
    return site.parent / "stage"


@pytest.fixture(scope="module")
def printed(site, tmp_path_factory):
    """The sample as a PDF where a browser is here, and the single page that it is printed from: one build for all."""
    work = tmp_path_factory.mktemp("single")
    stage, built, pdf = site.parent / "stage", work / "html", work / "new" / "book.pdf"

    def kept(*arguments):
        folder = run_jupyter_book(*arguments)
        shutil.copytree(folder, built)
        return folder

    if not any(map(shutil.which, BROWSERS)):
        return None, run_jupyter_book(stage, work, work / "log", "singlehtml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdf_module, "run_jupyter_book", kept)
        assert build_pdf(stage, pdf) == pdf
    return pdf, built


@pytest.fixture
def built_before(printed, monkeypatch):
    """What takes the longest has been done, as often as it is asked for."""

    def copied(stage, work, log, builder):
        assert builder == "singlehtml"
        return shutil.copytree(printed[1], work / "html")

    monkeypatch.setattr(pdf_module, "run_jupyter_book", copied)


def fake_browser(folder, monkeypatch, script):
    """The only program on the PATH is a browser that does what ``script`` says."""
    folder.mkdir()
    path = folder / BROWSERS[0]
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin")


def test_a_browser_prints_the_book(printed):
    pdf, _ = printed
    if pdf is None:
        pytest.skip("no chromium on this machine")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-") and content.count(PAGE) > 1
    assert b"/Subtype /Image" in content
    assert {p.name for p in pdf.parent.iterdir()} == {"book.pdf", "book.pdf.log"}


def test_the_single_page_is_whole(stage, tmp_path, browser, printed):
    root = root_page(stage)
    assert root == "book/index"
    folder = shutil.copytree(printed[1], tmp_path / "html")
    page = single_page(folder, root)
    with served(folder) as address, Visit(browser, address, page.name) as visit:
        assert visit.faults == []
        text = visit.page.locator("article").inner_text()
        assert "A sample book" in text and "reaches 92.5%" in text and "level" in text
        assert visit.page.locator("mjx-container").count() >= 1
        lead = "links => links.map(a => a.getAttribute('href')).filter(h => !/^(#|https:)/.test(h))"
        assert visit.page.locator("article a[href]").evaluate_all(lead) == []
        sizes = visit.page.locator("article figure img, article .cell_output img").evaluate_all(
            "images => images.map(i => i.naturalWidth)"
        )
        assert sizes and all(sizes)
        visit.page.emulate_media(media="print")
        breaks = "titles => titles.map(t => getComputedStyle(t).breakBefore)"
        chapters = visit.page.locator("article h2").evaluate_all(breaks)
        assert chapters == ["page", "page", "page"]  # each on a new sheet


def test_what_is_clicked_open_is_open(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book/index.html").write_text(
        '<details class="hide">a</details><details>b</details><a href="book/index.html#c">'
    )
    opened = single_page(tmp_path, "book/index").read_text()
    assert opened == '<details open class="hide">a</details><details open>b</details><a href="#c">'


def test_without_a_browser_it_is_said_before_anything_else(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match="Chromium or Chrome, and none is on the PATH"):
        find_browser()
    assert main(["book", "--profile", "smoke", "--pdf", "--store", str(tmp_path / "runs")]) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "install one" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "script, reason", [("echo first >&2; echo 'no display' >&2; exit 3", "no display"), ("exit 0", "nothing")]
)
def test_a_browser_that_fails_leaves_the_last_pdf(monkeypatch, built_before, tmp_path, stage, script, reason):
    fake_browser(tmp_path / "bin", monkeypatch, script)
    (tmp_path / "book.pdf").write_text("the last one")
    with pytest.raises(SiteError, match=reason):
        build_pdf(stage, tmp_path / "book.pdf")
    assert (tmp_path / "book.pdf").read_text() == "the last one"
    assert not list(tmp_path.glob(".pdf-*"))
