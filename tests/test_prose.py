"""The book's words: no result typed by hand, no link into nowhere, no term without its entry, one voice."""

import re
from pathlib import Path

import pytest

from lotterylib import figures, metrics, study
from lotterylib.study.reference import REFERENCE
from tests.sources import DOCUMENTS, NOTEBOOKS, PAGES, ROOT, code, name, prose

# A share, a difference in points, or a fraction with two digits: what a result looks like.
RESULT = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?\s?(?:%|per cent|percent|(?:percentage )?points?\b)|(?<![\w.,-])0?\.\d\d+\b"
)
FENCED = re.compile(r"^(`{3,}|~{3,})(?=\w).*?^\1`*$", re.MULTILINE | re.DOTALL)
DISPLAYED = re.compile(r"\$\$.*?\$\$|^```\{math\}.*?^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"https?://\S+|arXiv:\S+")
# Numbers that no record makes: a fragment of the text around the number, and why it may stand there.
DEFINITIONS = {
    "95% interval": "the confidence level of every interval",
    "20% per round": "the definition of a round",
    "20% of the remaining": "the definition of a round",
    "rounds of 20%": "the definition of a round",
    "within one percentage point": "the definition of Region I",
}
ALLOWED = {
    "book/reading_figures.md": {"about 75% confidence": "an invented bin, which the sentence says"},
    "book/scale.md": {
        "94% in about a minute is the *aim*": "an aim, said to be one",
        "8 to 100% of its area": "a setting of the crop",
        "54.5% in float32, 58.0% in TF32, 62.5% in float16, 57.1% in bfloat16": "printed by `make gpu`; date, devices and "
        "versions stand below it",
        "differ by 0.0037": "the same",
        "0.04 of the images; on the processor 0.04": "the same",
        "0.209 of each weight; on the processor 0.209": "the same",
    },
    "book/sparsity.md": {
        "two rounds remove 36% of the weights, seven 79%, fourteen 96%": "1 − 0.8ⁿ, computed",
    },
    "notebooks/dimensions/accuracy.ipynb": {"an error of 8.75%": "He et al. (2016), table 6"},
    "notebooks/dimensions/calibration.ipynb": {
        "says it is 90% sure": "an example of what calibration means",
        "90% of them right, and a thousand at 0.97": "a constructed case, computed below it",
        "between 0.99 and 0.9999": "two confidences, as an example",
    },
    "notebooks/dimensions/dissection.ipynb": {
        "explained above 0.04": "a threshold that Bau et al. chose",
        "above an IoU of 0.04": "the same threshold",
    },
    "notebooks/dimensions/lime.ipynb": {"$w = 0.25$": "a setting of LIME"},
    "notebooks/dimensions/ood.ipynb": {"lets in 95% of the distribution": "the definition of FPR95"},
}
TEXTS = [*PAGES, *NOTEBOOKS]
text_of = pytest.mark.parametrize("path", TEXTS, ids=[path.stem for path in TEXTS])


def typed_results(path: Path) -> list[str]:
    """Lines of a text with a number that looks like a result and is not on the list."""
    text = prose(path)
    for pattern in (FENCED, DISPLAYED, ADDRESS):
        text = pattern.sub("", text)
    for fragment in [*DEFINITIONS, *ALLOWED.get(name(path), ())]:
        text = text.replace(fragment, "")
    return [line for line in text.splitlines() if RESULT.search(line)]


@text_of
def test_no_result_is_typed_by_hand(path):
    assert typed_results(path) == [], "quote it from a notebook, or list it with a reason"


def test_the_list_holds_no_more_than_is_needed():
    for file, fragments in ALLOWED.items():
        text = prose(ROOT / file)
        for fragment, reason in fragments.items():
            assert fragment in text and reason, f"{file}: {fragment!r} is gone; take it off the list"


@pytest.mark.parametrize(
    "line, is_result",
    [
        ("The ticket gets 91.2% right.", True),
        ("It loses 3 points.", True),
        ("two per cent, 2 per cent", True),
        ("a ROC-AUC of .93", True),
        ("an ECE of 0.016", True),
        ("ResNet-20, CIFAR-10, version 1.15.2, in 2019", False),
        ("a temperature of 200 and a width of 0.5", False),
        ("three points to remember", False),
    ],
)
def test_what_counts_as_a_result(line, is_result):
    assert bool(RESULT.search(line)) == is_result


COUNTED = r"rows?|columns?|curves?|lengths?|bits?|gradients?|samples|images|seconds|trainings?|passes|workers?|points?"
ONE_OF_EACH = (
    r"networks?|metric|method|pruner|ticket|layer|channel|core|seed|sparsity|weight|class|cell|GPU|study|worker|filter|"
    r"bar|image|corruption|severity|number|round|second|point|unit"
)
DIALECT = {
    "say per": rf"\b(?!training a network)(?:{COUNTED}) an? (?:{ONE_OF_EACH})\b",
    "say outlier": r"\bstrangers?\b",
    "say dense network": r"\btwins?\b",
    "say random numbers or lots": r"\bdice\b",
    "say expensive": r"\b(?:too )?dear(?:er)?\b",
    "say stop …ing": r"\bstops? to\b",
    "say billion": r"\bthousand million\b",
    "say ROC-AUC": r"\bAUROC\b",
    "say cannot": r"\bcan not\b",
    "write 79%": r"\d %(?=[^\w ]| [a-z])",
}


@pytest.mark.parametrize("path", [*TEXTS, *DOCUMENTS], ids=name)
def test_words_are_those_that_readers_use(path):
    text = FENCED.sub(
        "", path.read_text(encoding="utf-8") if path.suffix == ".md" else prose(path) + code(path)
    )
    found = {advice: found for advice, words in DIALECT.items() if (found := re.findall(words, text))}
    assert found == {}


IDENTIFIER = re.compile(
    rf"(?<![\w./-])(?:{'|'.join(n for n in metrics.names() if '_' in n)})(?![\w(/])|"
    rf"(?<!\w)(?:{'|'.join(metrics.names())}):[a-z]|\b(?:stages|layer\d)\.\d|\bsmall-dense\b"
)


@text_of
def test_readers_meet_names_not_identifiers(path):
    """A metric has its label, a layer is called "block 2, conv 1": code is code, and prose is prose."""
    text = ADDRESS.sub("", DISPLAYED.sub("", FENCED.sub("", prose(path))))
    text = re.sub(r"\]\([^)]*\)|\{[\w:]+\}`[^`]*`", "]", text)
    assert IDENTIFIER.findall(text) == [], "say what the figures say"


@pytest.mark.parametrize(
    "text, seen",
    [
        ("the share (`explained_units`)", True),
        ("`ece:scaled` falls", True),
        ("of stages.1.shortcut.0", True),
        ("the lottery: a game; note: this", False),
        ("explained units, ECE: after scaling, block 2", False),
    ],
)
def test_what_counts_as_an_identifier(text, seen):
    assert bool(IDENTIFIER.search(text)) == seen


def anchors(path: Path) -> set[str]:
    """What may follow a # in a link to this page: its headings, as Sphinx and GitHub spell them."""
    text = FENCED.sub("", prose(path))
    headings = [
        re.sub(r"[*`$]|\{[\w:]+\}", "", line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("path", [*TEXTS, *DOCUMENTS], ids=name)
def test_links_lead_somewhere(path):
    text = FENCED.sub("", prose(path))
    text = re.sub(r"`[^`\n]*`", "", text)
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https://|mailto:", address):
            continue
        assert not re.match(r"\w+:", address), f"{address}: use https"
        place, _, anchor = address.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{name(path)}: {address} leads nowhere"
        if anchor and target.suffix in (".md", ".ipynb"):
            assert anchor in anchors(target), f"{name(path)}: {address}: no such heading"


def test_every_citation_is_in_the_bibliography_and_every_entry_is_cited():
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book/references.bib").read_text(), re.MULTILINE))
    cited = set()
    for page in PAGES:
        for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", page.read_text()):
            cited |= {key.strip() for key in keys.split(",")}
    assert cited - known == set() and known - cited == set()


# Where a page or the source of a metric names a work: "Mu & Andreas, 2020", "Hooker et al. (2019)".
CITED = re.compile(
    r"\b([A-Z][\w-]+(?: [A-Z][\w-]+)?(?: et al\.| (?:&|and) [A-Z][\w-]+)?)(?:, | \()((?:19|20)\d\d)\b(?!-)"
)


def works() -> set[str]:
    """The entries of the bibliography as texts name them: "Mu & Andreas, 2020"."""
    found = set()
    for entry in re.findall(
        r"^@.*?^\}", (ROOT / "book/references.bib").read_text(), re.MULTILINE | re.DOTALL
    ):
        fields = dict(re.findall(r"^\s*(author|year)\s*=\s*\{(.*)\},?$", entry, re.MULTILINE))
        names = [who.partition(",")[0] for who in fields["author"].split(" and ")]
        who = " & ".join(names) if len(names) < 3 else f"{names[0]} et al."
        found.add(f"{who}, {fields['year']}")
    return found


def cited(text: str) -> set[str]:
    return {f"{who.replace(' and ', ' & ')}, {year}" for who, year in CITED.findall(text)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_what_a_notebook_cites_is_in_the_bibliography(path):
    assert cited(prose(path)) - works() == set()


def test_what_a_metric_comes_from_is_in_the_bibliography():
    sources = "; ".join(metrics.describe(name).source for name in metrics.names())
    assert len(cited(sources)) > 10 and cited(sources) - works() == set()


def test_what_counts_as_a_citation():
    text = "[Mu and Andreas (2020)](x), (Milani Fard et al., 2016; Brier, 1950, p. 2), in March 2020"
    assert cited(text) == {"Mu & Andreas, 2020", "Milani Fard et al., 2016", "Brier, 1950"}
    assert cited(text) <= works()


# The works that the paper's review rests on, on the page of what they are about.
TOPICS = {
    "book/prior_work.md": "chen2022can gui2019model ye2019adversarial hooker2019what hooker2020characterising iofinova2022how",
    "book/pruners.md": "han2016deep lee2019snip wang2020picking tanaka2020pruning evci2020rigging frankle2020linear shen2022prune",
    "book/dimensions.md": "nguyen2015deep hendrycks2019benchmarking goodfellow2015explaining hooker2020characterising "
    "naeini2015obtaining gweon2019reliable lecun2015deep ribeiro2016why plumb2020regularizing alvarez2018robust "
    "hochreiter1997flat jiang2020fantastic wu2020adversarial moosavi2019robustness",
}


@pytest.mark.parametrize("page", TOPICS)
def test_a_work_is_cited_on_the_page_of_its_topic(page):
    keys = {
        key for found in re.findall(r"\{cite:\w+\}`([^`]+)`", prose(ROOT / page)) for key in found.split(",")
    }
    assert set(TOPICS[page].split()) - keys == set()


def test_every_equation_label_is_used_once_as_a_name():
    labels = [
        label
        for page in PAGES
        for label in re.findall(r"^:label: (\S+)$|^\$\$ \(([\w-]+)\)$", page.read_text(), re.MULTILINE)
    ]
    flat = ["".join(label) for label in labels]
    assert len(flat) == len(set(flat))
    used = {ref for page in PAGES for ref in re.findall(r"\{eq\}`([\w-]+)`", page.read_text())}
    assert used <= set(flat)


def test_the_first_screen_has_a_verdict_of_two_sentences_four_tiles_and_a_picture():
    """What fits into it; everything else stands below the picture."""
    text = (ROOT / "book/index.md").read_text(encoding="utf-8")
    screen = re.findall(r"::([\w-]+):s`|```\{(figure)\}", text)[:12]
    dimensions = "generalization", "calibration", "interpretability", "geometry"
    tiles = [f"{dimension}-{part}" for dimension in dimensions for part in ("lead", "steps")]
    assert [quoted or figure for quoted, figure in screen] == ["short", "also", "setting", *tiles, "figure"]


@pytest.mark.parametrize("page", ["book/not_measured.md", "book/reproducibility.md"])
def test_a_page_on_the_studies_names_each_whose_records_come_with_the_book(page):
    shipped = {manifest.parent.name for manifest in REFERENCE.glob("*/manifest.json")}
    assert set(re.findall(r"::state-([\w-]+):s", prose(ROOT / page))) == shipped


def test_the_page_on_dimensions_has_a_row_for_every_metric():
    """By the words of its figures."""
    rows = re.findall(r"^\| ([^|]+) [↑↓] \|", prose(ROOT / "book/dimensions.md"), re.MULTILINE)
    told = " ".join(rows).lower()
    for metric in study.load_profile("laptop").metrics:
        about = metrics.describe(metric)
        assert about.short.lower() in told or about.label.lower() in told, metric


@pytest.mark.parametrize("page", ["glossary", "references"])
def test_a_page_of_entries_says_first_what_it_is(page):
    """A shared link shows the first paragraph that is longer than a line."""
    _, first, *_ = prose(ROOT / f"book/{page}.md").split("\n\n")
    assert len(first) > 60 and not first.startswith("```")


def test_methods_and_explanations_have_entries_in_the_glossary():
    entries = set(re.findall(r"^(\S.*)$", prose(ROOT / "book/glossary.md"), re.MULTILINE))
    assert {"LIME", "SNIP", "GraSP", "SynFlow", "RigL", "PAC-Bayes", "at the floor"} <= entries


def test_the_words_of_the_boards_have_entries_in_the_glossary():
    entries = set(re.findall(r"^(\S.*)$", prose(ROOT / "book/glossary.md"), re.MULTILINE))
    short = [figures.look(p).label for p in ("random", "magnitude", "lottery")]
    words = [
        "ROC-AUC",
        "average precision",
        "Brier score",
        "fidelity",
        "stability",
        "explained units",
        "R²",
        "Hessian",
    ]
    assert {
        *short,
        *words,
        "churn",
        "corruption error",
        "weight noise",
        "ECE",
        "NLL",
        "IoU",
        "FGSM",
    } <= entries


def test_a_drawing_on_a_page_fits_on_a_phone():
    """Its letters have ten points (tests/figures/test_diagrams.py), which its class says: a picture that does not say so is
    taken to have smaller ones, and scrolls (book.js). What has a form of its own for phones is not meant."""
    figures = [
        f for page in PAGES for f in re.findall(r"^```\{(?:figure|image)\}.*?^```", prose(page), re.M | re.S)
    ]
    assert len(figures) > 10
    assert [
        f for f in figures if not re.search(r"^:class: (?:letters-100|on-wide|on-narrow)$", f, re.M)
    ] == []


def test_preprints_are_links():
    """The style links an eprint, not a note."""
    text = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    assert not re.search(r"arXiv:\d", text) and len(re.findall(r"^\s*eprint\s*=", text, re.MULTILINE)) > 40


MATHS = re.compile(r"^```\{math\}.*?^```|\$\$.*?\$\$|(?<!\$)\$[^$\n]+\$", re.MULTILINE | re.DOTALL)


def first_page(symbol: str) -> str:
    """Where a reader who begins at the beginning meets a symbol in a formula."""
    sign = re.compile(rf"(?<![a-zA-Z\\]){re.escape(symbol)}(?![a-zA-Z])")
    for place in re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")):
        path = next(path for path in (ROOT / f"{place}.md", ROOT / f"{place}.ipynb") if path.is_file())
        text = re.sub(
            r"^\|.*$|^:label:.*$|\\(?:text|operatorname)\{.*?\}", "", prose(path), flags=re.MULTILINE
        )
        if any(sign.search(formula) for formula in MATHS.findall(text)):
            return name(path)
    raise AssertionError(f"{symbol} is in no formula")


def test_notation_links_to_where_a_symbol_is_first_seen():
    labelled = {
        label: name(page)
        for page in PAGES
        for label in re.findall(r"^:label: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    table = prose(ROOT / "book/notation.md").partition("Three formulas")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", table.replace("\\lvert", ""), re.MULTILINE)
    for symbols, seen in rows:
        for symbol in re.findall(r"\$([^$]+)\$", symbols):
            if r"\cdot" not in symbol:
                label, link = re.search(r"\{eq\}`(.+)`|\]\((.+)\)", seen).groups()
                there = labelled[label] if label else name((ROOT / "book" / link).resolve())
                assert first_page(symbol) == there, symbol


def test_gradual_pruning_and_set_are_on_one_list():
    """As the page on pruners says."""
    lists = {profile: study.load_profile(profile).pruners for profile in study.profile_names()}
    assert [profile for profile, names in lists.items() if {"gradual", "set"} & set(names)] == ["smoke"]
