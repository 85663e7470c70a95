"""The site: strict, complete without a network, and never half-built."""

import re
import shutil
from html.parser import HTMLParser
from importlib import metadata

import pytest

from lotterylib.publish import SiteError, build_site
from lotterylib.publish.site import heavy_pages
from tests.publish.sample_book import ALT


class Page(HTMLParser):
    """Addresses that a browser would load, images, and all text of a page."""

    LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}

    def __init__(self, path):
        super().__init__()
        self.loaded, self.images, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        address = attributes.get(self.LOADED.get(tag))
        if address and attributes.get("rel") not in ("canonical", "author", "license"):
            self.loaded.append(address)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def stage(site, tmp_path):
    """The sample's staged tree, free to be changed."""
    return shutil.copytree(site.parent / "stage", tmp_path / "stage")


def test_every_figure_has_alt_text_and_caption(site):
    page = Page(site / "notebooks" / "sample.html")
    assert ALT in [image.get("alt") for image in page.images]
    assert (
        "Accuracy falls with sparsity"
        in (site / "notebooks" / "sample.html").read_text().split("<figcaption>")[1]
    )
    assert all(
        image.get("alt")
        for path in site.rglob("*.html")
        for image in Page(path).images
        if path.parent != site
    )


def test_other_pages_quote_numbers_and_figures(site):
    html = (site / "book" / "index.html").read_text()
    assert '<span class="pasted-text">92.5</span>' in html
    assert 'href="../notebooks/sample.html#line"' in html
    assert "The figure of the other page" in [
        image["alt"] for image in Page(site / "book" / "index.html").images
    ]


def test_page_shows_the_run_and_hides_what_no_reader_needs(site):
    text = Page(site / "notebooks" / "sample.html").text
    assert "Smoke run." in text and "revision abc1234" in text and "ran in" in text
    assert "# Parameters" not in text and "installed_on_colab" not in text
    assert "Smoke run." in Page(site / "book" / "index.html").text


def test_a_solution_s_lid_is_its_title(site):
    html = (site / "notebooks" / "sample.html").read_text()
    lid = re.search(r"<summary[^>]*>(.*?)</summary>", html, re.DOTALL)
    assert lid and re.sub(r"<[^>]+>", "", lid[1]).split() == ["Solution", "1", "Solution", "1"]
    assert "Show code cell" not in html


def test_colab_link_points_to_the_source(site):
    html = (site / "notebooks" / "sample.html").read_text()
    assert re.search(r"colab\.research\.google\.com/github/[\w/-]+/blob/main/notebooks/sample\.ipynb", html)


def test_nothing_is_loaded_from_outside(site):
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    assert len(pages) >= 4
    for path in pages:
        outside = [address for address in Page(path).loaded if re.match(r"(\w+:)?//", address)]
        assert outside == [], path
        assert "unpkg.com" not in path.read_text(), path
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text()), path


def test_mathjax_is_part_of_the_site(site):
    assert "../_static/mathjax/tex-mml-chtml.js" in Page(site / "notebooks" / "sample.html").loaded
    mathjax = site / "_static" / "mathjax"
    assert (mathjax / "tex-mml-chtml.js").is_file()
    assert list((mathjax / "output" / "chtml" / "fonts").rglob("MathJax_Main-Regular.woff"))


def test_second_build_is_skipped_until_the_stage_changes(site, stage, tmp_path):
    # of the same sources: as good as a first build here
    index = shutil.copytree(site, tmp_path / "site") / "index.html"
    written = index.stat().st_mtime_ns
    assert build_site(stage, tmp_path / "site") == index and index.stat().st_mtime_ns == written
    with (stage / "book" / "index.md").open("a") as page:
        page.write("\nOne more line.\n")
    build_site(stage, tmp_path / "site")
    assert "One more line." in Page(tmp_path / "site" / "book" / "index.html").text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "site.log", "stage"]


FAULTS = {
    "missing.md": "[nowhere](missing.md)",
    "no-such-key": "{glue:text}`../notebooks/sample.ipynb::no-such-key:s`",
    "none.png": "```{figure} figures/none.png\n:alt: none\n```",
    "no-such-label": "{ref}`no-such-label`",
}


def test_a_broken_reference_fails_and_keeps_the_old_site(site, stage, tmp_path):
    """Each is one line of what one build says."""
    old = shutil.copytree(site, tmp_path / "site")
    with (stage / "book" / "index.md").open("a") as page:
        page.write("\n" + "\n\n".join(FAULTS.values()) + "\n")
    with pytest.raises(SiteError) as caught:
        build_site(stage, old)
    lines = [line for line in str(caught.value).splitlines() if "WARNING" in line]
    assert len(lines) == len(FAULTS) and "book/index.md" in lines[0], lines
    for message in FAULTS:
        assert message in str(caught.value)
    assert (old / "book" / "index.html").read_bytes() == (site / "book" / "index.html").read_bytes()
    assert (tmp_path / "site.log").is_file()


@pytest.mark.parametrize("version", ["2.1.0", "0.15.1"])
def test_another_jupyter_book_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    with pytest.raises(SiteError, match=f'jupyter-book {version} cannot .* pip install "jupyter-book>=1.0.4'):
        build_site(tmp_path, tmp_path / "site")


def test_a_folder_that_is_no_site_is_not_overwritten(stage, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.tex").write_text("years of work")
    with pytest.raises(SiteError, match="is not a site of this book"):
        build_site(stage, tmp_path / "site")
    assert (tmp_path / "site" / "thesis.tex").is_file()


def test_heavy_pages_are_named_with_their_images_and_without_the_theme(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "a.png").write_bytes(bytes(700))
    picture = '<img alt="A" src="../_images/a.png"><script src="../_static/theme.js"></script>'
    (tmp_path / "book" / "twice.html").write_text(picture * 2 + "x" * 300)
    (tmp_path / "book" / "light.html").write_text(picture)
    (tmp_path / "book" / "own.html").write_text(f'<img alt="A" src="data:image/png;base64,{"a" * 2000}">')
    found = heavy_pages(tmp_path, 1000)
    assert list(found) == ["book/own.html", "book/twice.html"]
    assert found["book/twice.html"] == 700 + 2 * len(picture) + 300
