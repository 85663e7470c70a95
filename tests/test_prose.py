"""The book's words: no result typed by hand, no link into nowhere, no term without its entry, one voice."""

import re
from pathlib import Path

import pytest

from tests.sources import DOCUMENTS, NOTEBOOKS, PAGES, ROOT, name, prose

# A share, a difference in points, or a fraction with two digits: what a result looks like.
RESULT = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?\s?(?:%|per cent|percent|(?:percentage )?points?\b)|(?<![\w.,-])0?\.\d\d+\b"
)
FENCED = re.compile(r"^(`{3,}|~{3,})(?!\{).*?^\1`*$", re.MULTILINE | re.DOTALL)
DISPLAYED = re.compile(r"\$\$.*?\$\$|^```\{math\}.*?^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"https?://\S+|arXiv:\S+")
# Numbers that no record makes: a fragment of the text around the number, and why it may stand there.
DEFINITIONS = {
    "95 % interval": "the confidence level of every interval",
    "20 % a round": "the definition of a round",
    "20 % of the remaining": "the definition of a round",
    "rounds of 20 %": "the definition of a round",
    "within one percentage point": "the definition of Region I",
}
ALLOWED = {
    "book/dimensions.md": {
        "given with 80 % confidence, 80 % should be right": "an example of what calibration means",
    },
    "book/scale.md": {
        "94 % in about a minute is the *aim*": "an aim, said to be one",
        "8 to 100 % of its area": "a setting of the crop",
        "25 training images of each class, 2 % of all": "25 of about 1,300, computed",
    },
    "book/sparsity.md": {
        "two rounds remove 36 % of the weights, seven 79 %, fourteen 96 %": "1 − 0.8ⁿ, computed",
        "between 90 % and 99 %": "a range of the axis",
    },
    "notebooks/dimensions/accuracy.ipynb": {
        "At 90 % accuracy": "an assumption of the calculation below it",
        "live case at 80 % sparsity": "a setting of the exercise",
    },
    "notebooks/dimensions/calibration.ipynb": {
        "says it is 90 % sure": "an example of what calibration means",
        "in 10 % of the cases": "an example of what calibration means",
        '"Shirt" 10 %': "an example of what calibration means",
        "90 % of them right, and a thousand at .97": "a constructed case, computed below it",
        "between .99 and .9999": "two confidences, as an example",
    },
    "notebooks/dimensions/dissection.ipynb": {
        "explained above 0.04": "a threshold that Bau et al. chose",
        "above an IoU of 0.04": "the same threshold",
    },
    "notebooks/dimensions/hessian_inputs.ipynb": {"more than 90 %": "a setting of the exercise"},
    "notebooks/dimensions/lime.ipynb": {"$w = 0.25$": "a setting of LIME"},
    "notebooks/dimensions/ood.ipynb": {"lets in 95 % of the distribution": "the definition of FPR95"},
    "notebooks/pruners/grasp.ipynb": {"at 90 % sparsity": "a setting of the exercise"},
    "notebooks/pruners/lottery.ipynb": {"keep the largest 80 % of them": "the definition of a round"},
    "notebooks/pruners/random.ipynb": {
        'compared at "95 % sparsity"': "an example of a claim",
        "At 98 % sparsity": "a setting of the exercise",
    },
    "notebooks/pruners/small_dense.ipynb": {"a 90 % magnitude ticket": "a setting of the exercise"},
    "notebooks/pruners/snip.ipynb": {"at 90 % sparsity": "a setting of the exercise"},
    "notebooks/pruners/structured.ipynb": {"Prune to 80 %": "a setting of the exercise"},
    "notebooks/pruners/synflow.ipynb": {"at 98 % sparsity": "a setting of the cell below it"},
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
        ("The ticket gets 91.2 % right.", True),
        ("It loses 3 points.", True),
        ("two per cent, 2 per cent", True),
        ("an AUROC of .93", True),
        ("an ECE of 0.016", True),
        ("ResNet-20, CIFAR-10, version 1.15.2, in 2019", False),
        ("a temperature of 200 and a width of 0.5", False),
        ("three points to remember", False),
    ],
)
def test_what_counts_as_a_result(line, is_result):
    assert bool(RESULT.search(line)) == is_result


def anchors(path: Path) -> set[str]:
    """What may follow a # in a link to this page: its headings, as Sphinx and GitHub spell them."""
    text = FENCED.sub("", prose(path))
    headings = [
        re.sub(r"[*`$]|\{[\w:]+\}", "", line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


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
