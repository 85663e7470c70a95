"""The main job, small: a smoke study from scratch, every notebook through papermill, a strict build, all by the CLI."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(1100)  # a slow machine needs ten minutes for the whole book


def lottery_book(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lotterylib.cli", "book", "--profile", "smoke", "--quiet"]
    command += ["--store", str(folder / "runs"), "--out", str(folder / "build")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1000)


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


def test_every_notebook_is_a_page_with_a_run_card_and_the_smoke_warning(built):
    site = built[0] / "build/smoke/site"
    sources = sorted((ROOT / "notebooks").rglob("*.ipynb"))
    assert sources
    for source in sources:
        page = (site / source.relative_to(ROOT).with_suffix(".html")).read_text()
        assert "run-card" in page and "smoke-run" in page and "profile <b>smoke</b>" in page


def test_every_image_has_an_alt_text_in_words(built):
    for page in (built[0] / "build/smoke/site").rglob("*.html"):
        for image in re.findall(r"<img[^>]*>", page.read_text()):
            alt = re.search(r'alt="([^"]*)"', image)
            assert alt and (len(alt[1].split()) > 3 or "logo" in image), f"{page.name}: {image[:200]}"


def test_numbers_on_the_landing_page_come_from_the_records(built):
    text = re.sub(r"<[^>]+>|\s+", " ", (built[0] / "build/smoke/site/book/index.html").read_text())
    records = [json.loads(p.read_text()) for p in (built[0] / "runs/records").glob("*.json")]
    dense = [r["value"] for r in records if r["pruner"] == "dense" and r["metric"] == "accuracy"]
    assert f"dense network gets {100 * sum(dense) / len(dense):.1f} % of 200 test images" in text


def test_a_second_call_runs_no_notebook_and_builds_nothing(built):
    folder = built[0]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in (".ipynb", ".html", ".json")}
    executed = {
        p: t for p, t in before.items() if "build/smoke/notebooks" in p.as_posix() or p.suffix == ".html"
    }
    assert lottery_book(folder).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in executed} == executed
