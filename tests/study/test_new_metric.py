"""A metric that is nowhere but here takes part in a study: one class, and nothing else names it."""

import matplotlib
import pytest
import torch
from pydantic import PositiveInt

from lotterylib import metrics, results, verdict
from lotterylib.errors import SettingError
from lotterylib.figures.sweep import sweep
from lotterylib.metrics import About, Measurement, Metric, Question, Reads, Tolerance
from lotterylib.study import Store, records
from lotterylib.study.lookup import missing
from lotterylib.study.needs import needs
from lotterylib.study.plan import passes, plan, shape
from lotterylib.study.scheduler import run
from lotterylib.study.work import Worker
from tests.study.helpers import tiny

matplotlib.use("Agg")


@pytest.fixture
def flipped(own_metrics):
    """Share of answers that stay when an image is mirrored."""

    @metrics.register
    class Flipped(Metric):
        about = About(
            "flipped",
            "Steady under mirrors",
            "generalization",
            "higher",
            "fraction of images",
            Tolerance(0.5),
            "this test",
        )
        images: PositiveInt = 20

        def asks(self, data):
            return super().asks(data) | {Question("mirrored", (self.images,)): self.images}

        def reads(self, builder):
            return Reads(outliers=("uniform",))

        def measure(self, subject):
            images, _ = subject.sample(self.images)
            there = subject.sample_logits(self.images).argmax(1)
            same = (subject.logits(images.flip(-1)).argmax(1) == there).double()
            return Measurement(same.mean().item(), same.std().item() / len(same) ** 0.5, len(same))

    return Flipped


@pytest.fixture
def profile(flipped):
    return tiny(
        metrics={"accuracy": {}, "flipped": {"images": 10}}, pruners=["random"], rounds=[1], seeds=[0, 1]
    )


def test_its_settings_are_checked_when_a_profile_is_read(flipped):
    with pytest.raises(ValueError, match="metric flipped: images: Input should be greater than 0, got 0"):
        tiny(metrics={"accuracy": {}, "flipped": {"images": 0}})
    with pytest.raises(SettingError, match="unknown setting 'image': did you mean 'images'"):
        metrics.build("flipped", image=3)


def test_it_is_planned_and_what_it_reads_is_looked_for(profile, tmp_path):
    data = shape(profile.dataset)
    assert passes(profile.metrics, data) == {"accuracy": data.test, "flipped": 10}
    assert passes({"flipped": {}}, data) == {"flipped": data.test + 20}
    todo = missing(profile, Store(tmp_path))
    assert (
        plan(profile, [cell for cell, _ in todo], todo, []).measuring["random"].keys()
        == profile.metrics.keys()
    )
    assert [need.what for need in needs(profile)] == ["data set digits", "outliers uniform"]


def test_it_is_measured_judged_and_drawn(profile, tmp_path):
    store = Store(tmp_path).open_for_writing()
    todo, worker = missing(profile, store), Worker(store, torch.get_num_threads(), "cpu")
    # dense networks first
    for cell, wanted in sorted(todo, key=lambda item: item[0].pruner != "dense"):
        assert worker.find(cell).what == "found"
        assert worker.measure(cell, wanted).what == "found"
    assert not missing(profile, store) and not run([], store).counts
    table = results.tidy(records(profile, store))
    assert table[table.metric == "flipped"].value.between(0, 1).sum() == 4
    judged = verdict.passes(table).set_index("metric")
    assert (
        judged.loc["flipped", "tolerance"] == 0.5 and judged.loc["flipped", "dimension"] == "generalization"
    )
    assert judged.loc["flipped", "verdict"] in ("pass", "fail", "undecided")
    _, alt = sweep(table, "flipped")
    assert "Steady under mirrors" in alt
