"""The scorecard itself, on networks and images so small that a card takes a second."""

import copy
import dataclasses
import math
import re

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import lotterylib
from lotterylib import datasets, metrics, models
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.score.differences import judge
from lotterylib.verdict import paired_proportions
from tests.conftest import toy_data, toy_network
from tests.score.conftest import QUICK
from tests.score.foreign.test_programs import exported


def test_it_measures_what_the_metrics_measure(card, networks):
    dense, ticket = networks
    images, labels = toy_data().test
    right = {
        n: (m(images).argmax(1) == labels).double().mean().item() for n, m in (("t", ticket), ("d", dense))
    }
    row = card["accuracy"]
    assert (row.ticket, row.dense) == pytest.approx((right["t"], right["d"]))
    a, b = (network(images).argmax(1) == labels for network in (ticket, dense))
    counts = [int(t.sum()) for t in (a & b, a & ~b, ~a & b, ~a & ~b)]
    expected = paired_proportions(*counts)
    assert (row.low, row.high) == (expected.low, expected.high) and row.low < row.difference < row.high
    assert row.verdict == judge(row.low, row.high, "higher", 0.01)
    assert card.sparsity == pytest.approx(round(0.9 * 288) / (288 + 54))
    assert card.costs["ticket"].kept == card.costs["dense"].kept - round(0.9 * 288)


def test_what_cannot_be_measured_is_skipped_with_a_reason(card):
    assert set(card.skipped) == {"corruption_error"}
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
    assert {row.over for row in same.rows} == {"one network"}
    assert any("are one: the same weights" in note for note in same.notes)


def test_networks_that_answer_alike_are_not_one(networks):
    """A filter behind which nothing is ever left is pruned: no image of these tells, and 64 decide nothing of accuracy."""
    dense = copy.deepcopy(networks[0])
    with torch.no_grad():
        dense[1].weight[0], dense[1].bias[0] = 0.0, -1.0
    ticket = copy.deepcopy(dense)
    with torch.no_grad():
        ticket[0].weight[0] = 0.0
    card = lotterylib.scorecard(
        ticket, dense=dense, data=toy_data(), only=["accuracy", "nll"], speed=False, progress=False
    )
    assert all(row.difference == 0 and row.low < 0 < row.high and row.over == "images" for row in card.rows)
    assert card["accuracy"].verdict == "undecided" and not card.passes
    assert any("answer alike on all 64 images" in note for note in card.notes)


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


def test_a_program_in_half_precision_comes_with_a_remedy(networks, tmp_path):
    half = copy.deepcopy(networks[0]).half()
    program = torch.export.export(half, (torch.rand(2, 1, 12, 12).half(),))
    torch.export.save(program, tmp_path / "h.pt2")
    with pytest.raises(
        DataError, match=r"h\.pt2 was exported in half precision: export model\.float\(\) instead"
    ):
        lotterylib.scorecard(tmp_path / "h.pt2", networks[0], toy_data(), only=["accuracy"], progress=False)


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


def test_what_is_announced_names_data_and_metrics_in_words():
    data, news = datasets.load("digits", limit=40), []
    network = models.build("lenet", data.classes, data.channels, size=data.size)
    wanted = ["accuracy", "hessian_trace", "pac_bayes_sigma"]
    card = lotterylib.scorecard(
        network, data=data, only=wanted, speed=False, progress=False, on_message=news.append
    )
    said = "\n".join([*news, str(card)])
    assert news[0].startswith("Scikit-learn's digits: ") and "Scikit-learn's digits: 40 test images; " in str(
        card
    )
    assert not re.search(r"[a-z]_[a-z]", said) and "weight curvature" in news[1], said


def test_what_looks_wrong_is_told_before_the_long_work(networks):
    dense, ticket = networks
    news = []
    card = lotterylib.scorecard(
        dense, ticket, toy_data(), only=["accuracy"], speed=False, progress=False, on_message=news.append
    )
    assert any("about" in line for line in news) and any("in the wrong order?" in line for line in news)
    assert any(line.startswith("right: the dense network on") for line in news)
    assert any("in the wrong order?" in note for note in card.notes)
    labels = toy_data().test[1].sort().values
    data = dataclasses.replace(toy_data(), test=(toy_data().test[0], labels))
    card = lotterylib.scorecard(ticket, dense, data, only=["nll"], speed=False, progress=False)
    assert any("not measurably more than guessing" in doubt for doubt in card.doubts) and not card.passes
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


def test_inference_mode_hides_no_gradient(networks):
    dense, ticket = networks
    how = dict(only=["fgsm_accuracy", "hessian_trace"], images=20, speed=False, progress=False)
    expected = lotterylib.scorecard(ticket, dense, toy_data(), **how)
    with torch.inference_mode():
        found = lotterylib.scorecard(ticket, dense, toy_data(), **how)
    assert not found.skipped and [r.ticket for r in found.rows] == [r.ticket for r in expected.rows]


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


def quick(ticket, dense, only, **more):
    return lotterylib.scorecard(ticket, dense, toy_data(), only=only, speed=False, progress=False, **more)


@pytest.mark.parametrize(
    "error, said",
    [
        (ZeroDivisionError("by zero"), "it failed with ZeroDivisionError: by zero"),
        (
            OSError(28, "No space left on device"),
            "it failed with OSError: [Errno 28] No space left on device",
        ),
        (MemoryError(), "it failed with MemoryError"),
        (RecursionError("too deep"), "it failed with RecursionError: too deep"),
        (RuntimeError("no such kernel"), "PyTorch says: no such kernel"),
    ],
)
def test_an_error_in_one_metric_leaves_the_others(networks, monkeypatch, error, said):
    def evaluate(subject, name, settings=None, whole=metrics.evaluate):
        if name == "nll":
            raise error
        return whole(subject, name, settings)

    monkeypatch.setattr(metrics, "evaluate", evaluate)
    card = quick(*networks[::-1], ["accuracy", "nll", "brier"])
    assert [row.metric for row in card.rows] == ["accuracy", "brier"] and card.skipped == {"nll": said}
    assert said in " ".join(str(card).split()) and said in card.to_html()
    nothing = quick(*networks[::-1], ["nll"])
    assert not nothing.rows and not nothing.passes
    assert str(nothing).startswith("Nothing is known: no metric could be measured. 1 could not be measured.")
    assert nothing.fails("worse") and nothing.fails("undecided")


class Wrong(nn.Module):
    """The answers of a network turned round: the likeliest class last."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return -self.network(x)


def test_from_below_chance_one_answer_to_everything_is_no_gain(networks):
    """Dense is right on no image; who always says "a" is right on a third of them, and knows nothing."""
    always = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    with torch.no_grad():
        always[1].weight.zero_()
        always[1].bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    row = quick(always, Wrong(networks[0]), ["accuracy"])["accuracy"]
    assert (row.ticket, row.dense, row.verdict) == (
        pytest.approx(1 / 3, abs=0.02),
        pytest.approx(0, abs=0.02),
        "floor",
    )
    risen = quick(networks[0], Wrong(networks[0]), ["accuracy"])["accuracy"]
    assert risen.ticket == pytest.approx(1, abs=0.02) and risen.verdict == "better"


class Small(nn.Module):
    """A network that fails on larger batches, in its own way."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        if len(images) > 50:
            raise KeyError("k")
        return self.net(images)


def test_a_network_that_fails_is_named(networks):
    with pytest.raises(DataError, match=r"Small cannot be judged: on 64 images it fails \(KeyError.*k"):
        quick(Small(networks[1]).eval(), networks[0], ["accuracy"])


class Flat(nn.Sequential):
    def __init__(self, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(nn.Flatten(), nn.Linear(32 * 32, 3))


def test_a_cache_without_room_costs_no_row(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    how = {"only": ["accuracy", "ece"], "images": 20, "variants": True, "speed": False, "progress": False}
    data = toy_data(20, size=32)
    dense, ticket = (Flat(seed).eval() for seed in range(2))
    expected = lotterylib.scorecard(ticket, dense, data, **how)
    assert "corrupted" in expected["ece"].variants
    monkeypatch.setattr("lotterylib.score.bench.write_whole", full)
    monkeypatch.setattr("lotterylib.datasets.corrupted.write_whole", full)
    card = lotterylib.scorecard(ticket, dense, data, cache=tmp_path / "cache", **how)
    assert card.rows == expected.rows and card.skipped == expected.skipped
    [note] = [note for note in card.notes if "kept for the next card" in note]
    assert "No space left on device" in note and str(tmp_path / "cache") in note


def test_sizes_that_cannot_be_counted_are_a_note(networks, monkeypatch):
    monkeypatch.setattr("lotterylib.score.measure.size_of", lambda *_: 1 / 0)
    card = quick(*networks[::-1], ["accuracy"])
    assert card.costs == {} and card["accuracy"].dense == 1.0
    assert "sizes could not be measured: it failed with ZeroDivisionError: division by zero" in card.notes
    assert "IS IT WORTH IT" not in str(card) and "worth it" not in card.to_html()


def test_a_tolerance_given_takes_the_place_of_the_metrics_own(networks):
    assert quick(*networks[::-1], ["nll"], tolerances={"nll": 0.5})["nll"].tolerance == 0.5
    with pytest.raises(UnknownNameError, match="did you mean 'nll'"):
        quick(*networks[::-1], ["nll"], tolerances={"nl": 0.5})


def test_a_cache_that_cannot_be_written_to_is_noticed_first(networks, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="file is a file: name a folder"):
        quick(*networks[::-1], ["accuracy"], cache=tmp_path / "file")


def test_no_place_for_temporary_files_is_one_line(networks, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(SettingError, match="no temporary folder can be made .*: set TMPDIR, or give a cache"):
        quick(*networks[::-1], ["accuracy"])


class Twice(torch.nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first = self.second = torch.nn.Linear(144, 144)
        self.head = torch.nn.Linear(144, 3)

    def forward(self, images):
        return self.head(self.second(self.first(images.flatten(1)).relu()).relu())


def test_a_layer_under_two_names(tmp_path):
    dense = Twice().eval()
    ticket = copy.deepcopy(dense)
    prune.l1_unstructured(ticket.first, "weight", amount=0.5)
    card = quick(ticket, dense, ["accuracy"])
    assert card.sparsity == pytest.approx(0.5 * 144**2 / (144**2 + 3 * 144))
    parameters = 144 * 145 + 3 * 145
    assert card.costs["dense"].kept == parameters
    assert 4 * parameters < card.costs["dense"].stored < 4 * parameters + 5000
    torch.save(ticket.state_dict(), tmp_path / "t.pt")
    torch.save(dense.state_dict(), tmp_path / "d.pt")
    again = quick(tmp_path / "t.pt", tmp_path / "d.pt", ["accuracy"], arch=Twice())
    assert again["accuracy"].ticket == card["accuracy"].ticket and again.sparsity == card.sparsity


def parametrized(kind):
    from torch.nn import utils

    network = toy_network()
    if kind == "sparsifier":
        from torch.ao.pruning import WeightNormSparsifier

        sparsifier = WeightNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1))
        sparsifier.prepare(network, [{"tensor_fqn": "5.weight"}])
        sparsifier.step()
        return network
    {
        "weight norm": utils.parametrizations.weight_norm,
        "spectral norm": utils.parametrizations.spectral_norm,
        "old weight norm": utils.weight_norm,
        "old spectral norm": utils.spectral_norm,
    }[kind](network[5])
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["weight norm", "spectral norm", "old weight norm", "old spectral norm", "sparsifier"]
)
def test_a_parametrized_module_is_left_as_found(kind, monkeypatch):
    network, images, labels = parametrized(kind).eval(), *toy_data().test
    expected = network(images)
    network.train()
    state, hooks = copy.deepcopy(network.state_dict()), len(network[5]._forward_pre_hooks)
    card = quick(network, network, ["accuracy"])
    assert card["accuracy"].ticket == (expected.argmax(1) == labels).double().mean()
    monkeypatch.setattr(metrics, "evaluate", lambda *_: 1 / 0)
    quick(network, network, ["accuracy"])
    with pytest.raises(DataError, match="3 logits, but the data have 5 classes"):
        lotterylib.scorecard(network, network, toy_data(classes=5), progress=False)
    assert network.training and network[1].training and len(network[5]._forward_pre_hooks) == hooks
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(network.eval()(images), expected)
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
