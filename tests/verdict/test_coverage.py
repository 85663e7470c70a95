"""The simulations behind the table of coverage, in small, and the table that is committed."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import measured
from benchmarks.intervals import PARTS, cases, simulate, tickets
from lotterylib.metrics import describe
from lotterylib.verdict.coverage import coverage, too_narrow


@pytest.mark.parametrize("part", PARTS)
def test_the_committed_table_is_of_this_simulation_and_within_bounds(part):
    table = coverage()
    table, (found, draws) = table[table.part == part], PARTS[part]
    assert list(zip(table.interval, table.setting, strict=True)) == [(name, of) for name, of, _ in found()]
    # variances of three seeds alone fall a little short, and the verdict does not rest on them
    alone = table.interval == "ticket − dense, alone"
    # two standard errors of a share that is counted over so many intervals
    doubt = 0 if part == "verdict" else 2 * math.sqrt(0.95 * 0.05 / draws)
    least, most = 0.93 - doubt, 0.97 + doubt
    # of what is the largest of ten no interval is exact: its promise is to hold often enough
    largest = table.interval == describe("recall_loss").label
    assert table[~alone & ~largest].coverage.between(least, most).all()
    assert table[alone].coverage.between(0.92, most).all() and table[largest].coverage.between(least, 1).all()
    assert (table.draws >= draws).all() and table[
        ["seed", "lotterylib", "numpy", "scipy"]
    ].notna().all().all()


def test_too_narrow_is_what_no_chance_explains_and_tickets_of_a_study_count_once():
    rows = [("few draws", 0.93, 100), ("many draws", 0.93, 4000), ("3 seeds, 16 tickets", 0.93, 4000)]
    table = pd.DataFrame(rows, columns=["setting", "coverage", "draws"])
    assert too_narrow(table).setting.tolist() == ["many draws"]


@pytest.mark.parametrize("case", [c for c in cases() if not c[0].startswith("ticket")], ids=lambda c: c[1])
def test_intervals_cover(case):
    random, draw = np.random.default_rng(1), case[2]
    assert 0.925 <= np.mean([hit for _ in range(1500) for hit in draw(random)]) <= 0.975


@pytest.mark.parametrize("seeds, images", [(3, 0.0), (10, 0.5)])
def test_tickets_with_pooled_variances_cover(seeds, images):
    random, draw = np.random.default_rng(2), tickets(seeds, 16, 8.0, images, moderated=True)
    assert 0.92 <= np.mean([hit for _ in range(100) for hit in draw(random)]) <= 0.98


def test_a_simulation_is_a_row_per_case():
    table = simulate("verdict", draws=3)
    assert len(table) == len(list(cases())) and (table.draws >= 3).all()


@pytest.mark.long
def test_metrics_are_measured_on_samples_of_known_answers():
    """A draw per case; what it costs beforehand is the dense network's and a ticket's answers to all images."""
    few = {
        name: case
        for name, _, case in measured.cases()
        if name in ("Test accuracy", "Changed answers (churn)", "Outlier detection, ROC-AUC")
    }
    hits = [hit for case in few.values() for k in range(8) for hit in case(np.random.default_rng(k))]
    assert len(hits) == 24 and 0.7 < np.mean(hits) <= 1
