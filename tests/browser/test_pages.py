"""What a reader's browser makes of the built pages, without a network."""

import re

import pytest

from lotterylib.figures import Answer
from tests.visit import PHONE, WIDE, Visit, served


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.mark.parametrize(("page", "formulas"), [("book/index.html", 1), ("notebooks/sample.html", 4)])
def test_formulas_are_drawn_with_the_fonts_of_the_site(browser, address, page, formulas):
    with Visit(browser, address, page) as visit:
        visit.page.wait_for_selector("mjx-container mjx-math")
        assert visit.page.locator("mjx-container").count() == formulas
        assert visit.page.locator("mjx-container mjx-merror").count() == 0
        loaded = "[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)"
        assert any(family.startswith("MJX") for family in visit.page.evaluate(loaded))


def test_slider_moves_the_picture_without_a_kernel(browser, address, site):
    if "widget-state" not in (site / "notebooks" / "explorer.html").read_text():
        pytest.skip("the scripts of widgets could not be fetched from npm")
    with Visit(browser, address, "notebooks/explorer.html", PHONE) as visit:
        shown = "es => es.filter(e => e.offsetParent && e.naturalWidth).map(e => e.alt)"
        frames, handle = visit.page.locator(".widget-html img"), visit.page.locator(".noUi-handle")
        handle.wait_for()
        # a finger needs 24 pixels (WCAG 2.2, 2.5.8)
        assert min(handle.bounding_box()[side] for side in ("width", "height")) >= 24
        seen = [frames.evaluate_all(shown)]
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            handle.press(key)  # a reader without a mouse
            visit.page.wait_for_timeout(100)
            seen.append(frames.evaluate_all(shown))
        levels = [0.25, 0.5, 0.75, 0.5]
        assert seen == [[f"Two bars; the right one is {level} of the left one"] for level in levels]
        assert visit.faults == []


@pytest.mark.parametrize(
    ("width", "display", "title"), [(WIDE, "table-cell", "none"), (PHONE, "block", "decides: ")]
)
def test_a_table_is_stacked_on_a_phone(browser, address, width, display, title):
    with Visit(browser, address, "book/index.html", width) as visit:
        cell = visit.page.locator("article table td", has_text="before training")
        assert cell.evaluate("e => getComputedStyle(e).display") == display
        # some versions of the browser join the two parts, some quote each
        before = cell.evaluate("e => getComputedStyle(e, '::before').content")
        assert before.replace('"', "") in (title, title.replace(": ", " : "))
        # as dark as the words beside it, on whatever colour they stand
        assert cell.evaluate("e => getComputedStyle(e, '::before').color === getComputedStyle(e).color")


LONG_NAME = """() => {
  const title = document.createElement("h2");
  title.textContent = "lotterylib.figures.diagrams.weight_grid 0.5";
  document.querySelector("article").append(title);
  breakNames();
  return [title.innerHTML, title.textContent];
}"""


def test_a_long_name_breaks_at_dots_and_underscores(browser, address):
    with Visit(browser, address, "notebooks/sample.html", PHONE) as visit:
        broken, text = visit.page.evaluate(LONG_NAME)
        assert broken == "lotterylib.<wbr>figures.<wbr>diagrams.<wbr>weight_<wbr>grid 0.5"
        assert text == "lotterylib.figures.diagrams.weight_grid 0.5"


def test_a_long_word_of_a_neighbours_title_stays_whole_on_a_phone(browser, address):
    lines = "e => { e.lang = ''; e.textContent = 'connections'; return e.offsetHeight / parseFloat(getComputedStyle(e).lineHeight) }"
    with Visit(browser, address, "notebooks/sample.html", PHONE) as visit:
        assert round(visit.page.locator(".prev-next-title").first.evaluate(lines)) == 1


WIDE_FIGURE = """async (classes) => {
  const [figure, canvas, image] = ["figure", "canvas", "img"].map((name) => document.createElement(name));
  Object.assign(canvas, { width: 1000, height: 100 });
  image.src = canvas.toDataURL();
  image.className = classes;
  figure.append(image);
  document.querySelector("article").append(figure);
  await image.decode();
  keepFiguresReadable();
  const across = image.getBoundingClientRect().width;
  return [across, figure.scrollWidth > figure.clientWidth, document.documentElement.scrollWidth];
}"""


def test_a_wide_figure_scrolls_on_a_phone_and_keeps_its_letters_readable(browser, address):
    with Visit(browser, address, "notebooks/sample.html", PHONE) as visit:
        # 9 pixels of its smallest letters: 8 points if it does not say
        assert visit.page.evaluate(WIDE_FIGURE, "") == [675, True, PHONE]
        assert visit.page.evaluate(WIDE_FIGURE, "letters-100") == [540, True, PHONE]
        across, scrolls, page = visit.page.evaluate(WIDE_FIGURE, "letters-180")
        assert 300 < across < PHONE and not scrolls and page == PHONE
        # a shadow at the edge that has more, under covers that scroll along; the paper lets it through
        frame, paper = (visit.page.locator(where).last for where in ("figure.scrolls", "figure.scrolls img"))
        assert (
            frame.evaluate("e => getComputedStyle(e).backgroundAttachment") == "local, local, scroll, scroll"
        )
        assert paper.evaluate("e => getComputedStyle(e).mixBlendMode") in ("multiply", "lighten")
    with Visit(browser, address, "notebooks/sample.html", WIDE) as visit:
        across, scrolls, page = visit.page.evaluate(WIDE_FIGURE, "letters-100")
        assert 500 < across <= 1000 and not scrolls and page == WIDE


OUTPUTS = """() => {
  const sentence = "A sentence that is a good deal longer than a phone is wide, so that it wraps there";
  const item = `  ${sentence}`;
  const rows = ["one      1", "two      2", "three    3"].join("\\n");
  const output = document.createElement("div");
  output.className = "cell_output";
  output.innerHTML =
    `<pre>${sentence}\\nand goes on.\\n${rows}\\n${item}\\n    and goes on.\\n${item}\\n${item} and is too long.\\n` +
    `${sentence}</pre><table class="dataframe"><thead><tr><th>claim</th><th>word</th></tr></thead>` +
    `<tbody><tr><td>${sentence}</td><td>yes</td></tr></tbody></table>` +
    '<div class="text_html"><table class="dataframe"><tbody><tr><td>-4 to 4, 1-2</td></tr></tbody></table></div>';
  document.querySelector("article").append(output);
  const text = output.querySelector("pre").textContent;
  layOutOutputs();
  layOutOutputs();
  const [printed, said] = [output.querySelector("pre"), output.querySelector("pre > span")];
  return [
    said.getBoundingClientRect().height > 30,
    printed.textContent == text,
    getComputedStyle(output.querySelector("td")).display,
    output.querySelectorAll("td")[1].dataset.title,
    said.textContent.endsWith("and goes on.\\n"),
    [...output.querySelectorAll("pre > span")].map((span) => span.textContent.trim().split("\\n").length).join(" "),
    output.querySelector("div.scrolls td").textContent,
  ];
}"""


def test_outputs_with_sentences_wrap_and_stack_on_a_phone(browser, address):
    with Visit(browser, address, "notebooks/sample.html", PHONE) as visit:
        assert visit.page.evaluate(OUTPUTS) == [
            True,
            True,
            "block",
            "word",
            True,
            "2 2 1 1 1",
            "−4 to 4, 1-2",
        ]
    with Visit(browser, address, "notebooks/sample.html", WIDE) as visit:
        assert visit.page.evaluate(OUTPUTS)[1:] == [
            True,
            "table-cell",
            "word",
            True,
            "2 2 1 1 1",
            "−4 to 4, 1-2",
        ]


def test_icons_are_drawn_from_fonts(browser, address):
    with Visit(browser, address, "notebooks/sample.html") as visit:
        icons = visit.page.locator(".article-header-buttons i[class*=fa-]")
        assert icons.count() > 3
        glyphs = icons.evaluate_all("es => es.map(e => getComputedStyle(e, '::before').content)")
        families = icons.evaluate_all("es => es.map(e => getComputedStyle(e).fontFamily)")
        assert "none" not in glyphs and all("Font Awesome" in family for family in families)
        loaded = "[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)"
        assert any("Font Awesome" in family for family in visit.page.evaluate(loaded))


def test_sliders_have_the_colours_of_a_dark_page(browser, address, site):
    if "widget-state" not in (site / "notebooks" / "explorer.html").read_text():
        pytest.skip("the scripts of widgets could not be fetched from npm")
    with Visit(browser, address, "notebooks/explorer.html", scheme="dark") as visit:
        visit.page.locator(".noUi-handle").wait_for()
        colour = "e => getComputedStyle(e).color"
        page = visit.page.locator("article p").last.evaluate(colour)
        assert visit.page.locator(".widget-label").first.evaluate(colour) == page
        panel = visit.page.locator(".widget-subarea").first
        assert panel.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_a_keyboard_reaches_the_text_and_the_theme_switch(browser, address):
    with Visit(browser, address, "notebooks/sample.html") as visit:
        visit.page.keyboard.press("Tab")
        first = visit.page.evaluate("document.activeElement.textContent.trim()")
        assert "main content" in first.lower()
        names = set()
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            names.add(visit.page.evaluate("document.activeElement.getAttribute('aria-label') || ''").lower())
        assert any("mode" in name or "theme" in name for name in names), names


def test_buttons_lead_to_colab_the_source_and_a_download(browser, address):
    with Visit(browser, address, "notebooks/sample.html") as visit:
        links = visit.page.locator("a[href]").evaluate_all("es => es.map(e => e.getAttribute('href'))")
        assert any(link.startswith("https://colab.research.google.com/github/") for link in links)
        assert any(link.startswith("https://github.com/") for link in links)
        (download,) = {link for link in links if link.endswith("sample.ipynb") and "://" not in link}
        assert visit.page.request.get(f"{address}notebooks/{download}").ok


@pytest.mark.parametrize("page", ["book/index.html", "notebooks/sample.html"])
def test_figures_are_loaded_and_turn_dark_with_the_page(browser, address, page):
    with Visit(browser, address, page, scheme="dark") as visit:
        image = visit.page.locator("figure img")
        assert image.count() == 1
        assert visit.page.locator("figure figcaption").inner_text().strip()
        assert image.evaluate("e => e.naturalWidth") > 0
        assert visit.page.locator("html").get_attribute("data-theme") == "dark"
        style = image.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).filter]")
        assert style[0] == "rgba(0, 0, 0, 0)" and re.match(r"invert\(.*hue-rotate\(180deg\)", style[1])


def test_front_door_leads_to_the_first_page(browser, address):
    with Visit(browser, address, "index.html") as visit:
        visit.page.wait_for_url("**/book/index.html")
        assert visit.page.locator("article h1").inner_text().startswith("A sample book")


def test_site_works_from_a_folder_too(browser, site):
    home = site.as_uri() + "/"
    with Visit(browser, home, "notebooks/sample.html") as visit:
        visit.page.wait_for_selector("mjx-container mjx-math")
        assert visit.faults == []


@pytest.mark.parametrize("opened", ["served", "as a file"])
def test_search_shows_pages_with_what_they_say(browser, address, site, opened):
    home = address if opened == "served" else site.as_uri() + "/"
    with Visit(browser, home, "search.html?q=dense") as visit:
        found = visit.page.locator("#search-results li", has_text="A sample book")
        # from the page as it is read: a quoted number is part of it
        found.locator("p.context", has_text="The dense network reaches 92.5%").wait_for()
        assert found.locator(".highlighted").first.inner_text().lower() == "dense"
        found.locator("a").click()
        visit.page.wait_for_url("**/book/index.html*")
        assert visit.faults == []


FOLDED = """(said) => {
  const output = document.createElement("div");
  output.innerHTML = said;
  document.querySelector("article").append(output);
  const part = output.querySelector("details");
  const states = [part.open];
  for (const name of ["beforeprint", "afterprint"]) {
    dispatchEvent(new Event(name));
    states.push(part.open);
  }
  part.querySelector("summary").click();
  return [...states, part.open];
}"""


def test_what_an_answer_folds_opens_on_a_click_and_on_paper(browser, address):
    said = Answer(("One.", "Two.", "Three."))._repr_html_()
    with Visit(browser, address, "notebooks/sample.html") as visit:
        assert visit.page.evaluate(FOLDED, said) == [False, True, False, True]


TWO = """() => {
  document.querySelector("article").insertAdjacentHTML("beforeend", "<img class=on-wide><img class=on-narrow>");
  return [...document.querySelectorAll("img.on-wide, img.on-narrow")].map((e) => getComputedStyle(e).display == "none");
}"""


@pytest.mark.parametrize(("width", "hidden"), [(WIDE, [False, True]), (PHONE, [True, False])])
def test_of_two_pictures_a_window_shows_the_one_that_fits(browser, address, width, hidden):
    with Visit(browser, address, "notebooks/sample.html", width) as visit:
        assert visit.page.evaluate(TWO) == hidden


def test_the_picture_for_a_phone_turns_dark_outside_a_figure_too(browser, address):
    with Visit(browser, address, "notebooks/sample.html", PHONE, scheme="dark") as visit:
        visit.page.evaluate(TWO)
        style = visit.page.locator("img.on-narrow").evaluate("e => getComputedStyle(e).filter")
        assert style.startswith("invert(")
