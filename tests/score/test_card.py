"""The scorecard itself, on networks and images so small that a card takes a second."""

import copy
import dataclasses
import io
import json
import math
import re
import threading
import time

import pytest
import torch
from torch.nn.utils import prune
from tqdm import tqdm

import lotterylib
from lotterylib import metrics
from lotterylib.cli import main
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.score.estimate import ticking
from lotterylib.score.measure import judge
from lotterylib.score.report import number, text
from tests.conftest import toy_data, toy_network, untouched_rng
from tests.score.foreign.test_programs import exported
from tests.score.test_sources import folder

QUICK = [
    "accuracy",
    "recall_loss",
    "corruption_error",
    "fgsm_accuracy",
    "ece",
    "nll",
    "explained_units",
    "hessian_trace",
]


@pytest.fixture(scope="module")
def networks():
    """A dense network that has learnt its toys a little, and a copy whose last layer lost most weights to a mask."""
    data, dense = toy_data(), toy_network()
    optimizer = torch.optim.Adam(dense.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(dense(data.train[0]), data.train[1]).backward()
        optimizer.step()
    ticket = copy.deepcopy(dense.eval())
    prune.random_unstructured(ticket[5], "weight", amount=0.9)
    return dense, ticket


@pytest.fixture(scope="module")
def card(networks):
    dense, ticket = networks
    with untouched_rng():
        return lotterylib.scorecard(ticket, dense=dense, data=toy_data(), only=QUICK, progress=False)


def test_it_measures_what_the_metrics_measure(card, networks):
    dense, ticket = networks
    images, labels = toy_data().test
    right = {
        n: (m(images).argmax(1) == labels).double().mean().item() for n, m in (("t", ticket), ("d", dense))
    }
    row = card["accuracy"]
    assert (row.ticket, row.dense) == pytest.approx((right["t"], right["d"]))
    moved = (ticket(images).argmax(1) == labels).double() - (dense(images).argmax(1) == labels).double()
    assert row.high - row.difference == pytest.approx(
        1.96 * moved.std().item() / math.sqrt(len(moved)), rel=1e-3
    )
    assert row.verdict == judge(row.low, row.high, "higher", 0.01)
    assert card.sparsity == pytest.approx(round(0.9 * 288) / (288 + 54))
    assert card.costs["ticket"].kept == card.costs["dense"].kept - round(0.9 * 288)


def test_what_cannot_be_measured_is_skipped_with_a_reason(card):
    assert set(card.skipped) == {"corruption_error", "explained_units"}
    assert "32 pixels" in card.skipped["corruption_error"]
    assert not any(name.startswith("corrupted") for name in card["nll"].variants)
    assert [row.metric for row in card.rows] == [
        n for n in metrics.names() if n in QUICK and n not in card.skipped
    ]


def test_the_networks_are_left_as_found(card, networks):
    dense, ticket = networks
    assert (
        prune.is_pruned(ticket) and ticket[5].weight_orig.requires_grad and dense[0].weight.grad is not None
    )


def test_a_network_holds_up_against_itself(networks):
    same = lotterylib.scorecard(
        networks[0], dense=networks[0], data=toy_data(), only=["accuracy", "nll"], speed=False, progress=False
    )
    assert same.passes and {row.verdict for row in same.rows} == {"holds"}
    assert all(row.difference == row.low == row.high == 0 for row in same.rows)


def test_a_program_for_an_image_at_a_time_is_told_to_take_long(networks, tmp_path):
    exported(tmp_path / "p.pt2", networks[0], batch=2)
    news = []
    lotterylib.scorecard(
        tmp_path / "p.pt2",
        networks[0],
        toy_data(),
        only=["accuracy"],
        speed=False,
        progress=False,
        on_message=news.append,
    )
    assert sum("p.pt2 was exported for 2 image(s) at a time" in line for line in news) == 1


class Attentive(torch.nn.Module):
    """Rows of the image attend to one another, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.qkv, self.head = torch.nn.Linear(12, 36), torch.nn.Linear(12, 3)

    def forward(self, images):
        q, k, v = self.qkv(images).chunk(3, dim=-1)
        return self.head(torch.nn.functional.scaled_dot_product_attention(q, k, v)[:, 0].mean(dim=1))


def test_attention_has_curvature_too():
    """Fused attention has no second derivative."""
    network, few = Attentive().eval(), {"images": 10}
    only = {"hessian_trace": few, "input_trace": few}
    card = lotterylib.scorecard(
        network, network, toy_data(), only=only, settings=only, speed=False, progress=False
    )
    assert [row.metric for row in card.rows] == list(only)


def test_what_pytorch_cannot_do_leaves_the_other_metrics(networks, monkeypatch):
    def evaluate(subject, name, settings=None, whole=metrics.evaluate):
        if name == "fgsm_accuracy":
            raise torch.OutOfMemoryError("out of memory: tried 9 GB\nand more lines")
        return whole(subject, name, settings)

    monkeypatch.setattr(metrics, "evaluate", evaluate)
    card = lotterylib.scorecard(
        *networks, toy_data(), only=["accuracy", "fgsm_accuracy"], speed=False, progress=False
    )
    assert [row.metric for row in card.rows] == ["accuracy"]
    assert card.skipped["fgsm_accuracy"] == "PyTorch says: out of memory: tried 9 GB"


def test_the_bar_ticks_within_a_metric_and_is_gone_in_the_end():
    screen = io.StringIO()
    bar = tqdm(total=1, file=screen, leave=False, bar_format="{elapsed}", mininterval=0)
    threads = threading.active_count()
    with ticking(bar):
        time.sleep(1.3)
    assert "00:01" in screen.getvalue() and threading.active_count() == threads
    with ticking(tqdm(total=1, disable=True)):
        assert threading.active_count() == threads


def test_what_looks_wrong_is_told_before_the_long_work(networks):
    dense, ticket = networks
    news = []
    card = lotterylib.scorecard(
        dense, ticket, toy_data(), only=["accuracy"], speed=False, progress=False, on_message=news.append
    )
    assert any("about" in line for line in news) and any("in the wrong order?" in line for line in news)
    assert any(line.startswith("right: the dense network on") for line in news)
    assert any("in the wrong order?" in note for note in card.notes)
    labels = (toy_data().test[1] + 1) % 3
    data = dataclasses.replace(toy_data(), test=(toy_data().test[0], labels))
    card = lotterylib.scorecard(ticket, dense, data, only=["nll"], speed=False, progress=False)
    assert any("hardly more than guessing" in note for note in card.notes)
    broken = copy.deepcopy(dense)
    broken[5].bias.data[0] = math.nan
    with pytest.raises(DataError, match="the pruned network cannot be judged: .*NaN"):
        lotterylib.scorecard(broken, dense, data, only=["accuracy"], progress=False)


@pytest.mark.parametrize(
    "low, high, direction, verdict",
    [
        (-0.5, 0.5, "higher", "holds"), (-2, 0.5, "higher", "undecided"), (-3, -1.5, "higher", "worse"),
        (1.5, 3, "higher", "better"), (0.5, 3, "higher", "holds"), (-2, 2, "lower", "undecided"),
        (1.5, 3, "lower", "worse"), (-3, -1.5, "lower", "better"), (-3, 0.5, "lower", "holds"),
    ],
)  # fmt: skip
def test_verdicts_by_hand(low, high, direction, verdict):
    assert judge(low, high, direction, 1.0) == verdict


def test_json_says_all_and_is_json(card):
    found = json.loads(card.to_json())
    assert {m["metric"] for m in found["metrics"]} == {row.metric for row in card.rows}
    assert (
        found["passes"] == card.passes and found["skipped"] == card.skipped and found["about"]["classes"] == 3
    )
    assert all(m["low"] <= m["difference"] <= m["high"] for m in found["metrics"])


def test_the_page_needs_nothing_else(card):
    page = card.to_html()
    assert not re.search(r"(src|href)=(?!'data:)", page) and "http" not in page and "<script" not in page
    assert page.count("<img") == len(re.findall(r"<img alt='[^']{20,}'", page)) >= 2
    assert "prefers-color-scheme:dark" in page and "@media(max-width" in page
    for row in card.rows:
        assert row.label in page


def test_the_table_fits_a_terminal_and_says_that_zeros_buy_no_speed(card):
    table = str(card)
    rows = [
        line for line in table.splitlines() if line.endswith(("holds up", "worse", "better", "undecided"))
    ]
    assert len(rows) == len(card.rows) and max(map(len, table.splitlines())) <= 100
    assert "dense kernels multiply by them all the same" in " ".join(table.split())
    narrow = text(card, columns=80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert len(narrow.split()) == len(table.split())  # nothing is cut off


@pytest.mark.parametrize(
    "value, text", [(0, "0.00"), (0.0123, "0.0123"), (99.96, "100"), (1234.5, "1234"), (1e-5, "1.00e-05")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_bad_requests_are_one_line(networks, tmp_path):
    dense, ticket = networks
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        lotterylib.scorecard(ticket, dense=dense, data=toy_data(), only=["acuracy"])
    with pytest.raises(SettingError, match="'nowhere' cannot be used"):
        lotterylib.scorecard(ticket, dense=dense, data=toy_data(), device="nowhere")
    torch.save(dense.state_dict(), tmp_path / "d.pt")
    with pytest.raises(SettingError, match="give arch"):
        lotterylib.scorecard(tmp_path / "d.pt", dense=dense, data=toy_data())
    with pytest.raises(SettingError, match="nothing to measure"):
        lotterylib.scorecard(ticket, dense=dense, data=toy_data(), only=["corruption_error"], progress=False)


def test_the_command(tmp_path, capsys):
    folder(tmp_path / "images", {"a": 20, "b": 20}, size=(32, 32))
    from lotterylib import models

    network = models.build("lenet", 2, 3, size=32)
    torch.save(network.state_dict(), tmp_path / "dense.pt")
    prune.l1_unstructured(network.net[0], "weight", amount=0.5)
    torch.save(network.state_dict(), tmp_path / "pruned.pt")
    command = ["score", tmp_path / "pruned.pt", "--dense", tmp_path / "dense.pt", "--data", tmp_path / "images",
               "--only", "accuracy,ood_auroc", "--quiet", "--out", tmp_path / "out"]  # fmt: skip
    command = list(map(str, command))
    assert main(command) == 2
    assert "give arch" in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, "--arch", "lenet"]) == 0
    said = capsys.readouterr()
    assert "about " in said.err and "scorecard.html" in said.err and "Test accuracy" in said.out
    assert (tmp_path / "out" / "scorecard.html").stat().st_size > 5000
    assert main([*command, "--arch", "lenet", "--set", "width"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_the_command_has_help(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["score", "--help"])
    said = capsys.readouterr().out
    assert (
        exit.value.code == 0
        and "--mean" in said
        and "torchvision:resnet18" in said
        and "Nothing in it is executed" in said
    )
