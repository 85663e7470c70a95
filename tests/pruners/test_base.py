"""Score, allocate, schedule, start: each can be changed alone. tests/study/test_outside.py has a pruner of another package."""

import copy
import re
import textwrap

import pytest
import torch

from lotterylib import figures, pruners
from lotterylib.cli import main
from lotterylib.errors import SettingError
from lotterylib.masks import Mask
from lotterylib.masks.densities import top_each
from lotterylib.pruners import Pruner, Start, magnitude
from lotterylib.study import load_profile
from lotterylib.training import Recipe, train
from tests.conftest import toy_network
from tests.sources import ROOT
from tests.study.helpers import TINY, write

RECIPE = Recipe(epochs=2, batch_size=16, warmup=0.5, rewind=0.5, precision="float32", lr=0.05)
QUIET = dict(progress=False, device="cpu")
BOOK = ["random", "magnitude", "lottery", "snip", "grasp", "synflow", "rigl", "structured", "small-dense", "gradual", "set"]  # fmt: skip


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(pruners.PRUNERS, "_known", dict(pruners.PRUNERS._known))


class Smallest(Pruner):
    """Keeps the smallest trained weights, in ERK's shares, in rounds of a half: all four parts are its own."""

    name = "smallest"
    start = Start.ROUNDS

    def scores(self, model, data, seed):
        return {n: -s for n, s in magnitude.scores(model, self.scope).items()}

    def allocate(self, scores, density, within):
        return top_each(scores, "erk", density, within)

    def previous(self, sparsity):
        return 0.5 if sparsity > 0.5 else None


def test_the_four_parts_combine(network, data):
    dense = pruners.train_dense(network, data, RECIPE, 0, **QUIET)
    first = Smallest().find(network, data, 0.5, RECIPE, 0, dense=dense, **QUIET)
    second = Smallest().find(network, data, 0.8, RECIPE, 0, dense=dense, previous=first, **QUIET)
    scores = {n: -s for n, s in magnitude.scores(first.model).items()}
    assert second.mask.equals(top_each(scores, "erk", 0.2, first.mask))
    assert first.mask.kept == 171 and second.mask.kept == 68
    assert second.record["cost"] > first.record["cost"] > 1 and "mask_seconds" not in second.record
    by_hand = toy_network(seed=5)
    by_hand.load_state_dict(dense.rewind)
    train(by_hand, data, RECIPE, second.mask, 0, start=RECIPE.rewind_step(64), **QUIET)
    pairs = zip(by_hand.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", pruners.names())
def test_a_network_that_has_been_trained_is_refused_as_a_start(name, network, data):
    trained = pruners.train_dense(network, data, RECIPE, 0, **QUIET).model
    with pytest.raises(SettingError, match="untrained network, but BatchNorm has seen 8 batches"):
        pruners.build(name).find(trained, data, 0.5, RECIPE, 0, **QUIET)


def test_names_and_legends_have_their_order(registry):
    assert pruners.names()[: len(BOOK)] == BOOK
    legend = ["dense", "lottery", "magnitude", "random", *BOOK[3:], "ours", "yours"]
    assert figures.in_order([*reversed(legend), "set"]) == legend


def test_what_is_no_pruner_is_not_registered(registry):
    class Nameless(Smallest):
        name = None

    class Unfinished(Pruner):
        name = "unfinished"

    class Taken(Smallest):
        name = "random"

    for cls, message in ((Nameless, "needs a name"), (Unfinished, "a method scores"), (Taken, "already")):
        with pytest.raises(SettingError, match=message):
            pruners.register(cls)
    assert "unfinished" not in pruners.names()


def recipe(title: str) -> str:
    """The Python of a recipe of CONTRIBUTING."""
    text = (ROOT / ".github/CONTRIBUTING.md").read_text()
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    [block] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return textwrap.dedent(block)


def test_the_recipe_for_a_pruner_works_as_it_stands(registry, tmp_path, network, data, capsys):
    space = {"__name__": "recipe"}
    exec(recipe("Add a pruner"), space)
    [name] = [n for n in pruners.names() if n not in BOOK]
    before = copy.deepcopy(network.state_dict())
    ticket = pruners.build(name).find(network, data, 0.8, RECIPE, 0, **QUIET)
    assert ticket.mask.kept == 68 and ticket.record["pruner"] == name
    assert Mask.of(ticket.model).equals(ticket.mask)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    path = write(tmp_path, TINY | {"pruners": ["random", name]})
    assert list(load_profile(path).pruners) == ["random", name]
    assert main(["plan", "--profile", str(path), "--store", str(tmp_path / "s")]) == 0
    assert name in capsys.readouterr().out
    assert figures.look(name).label == name or figures.look(name) not in map(figures.look, BOOK)
