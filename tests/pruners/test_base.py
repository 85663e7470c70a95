"""Score, allocate, schedule, start: each can be changed alone; and a pruner from outside takes part everywhere."""

import copy
import os
import re
import subprocess
import sys
import textwrap

import pytest
import torch
import yaml

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
from tests.study.helpers import TINY, lottery, write

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


PACKAGE = '''
from lotterylib import masks
from lotterylib.pruners import Pruner, register
from lotterylib.pruners.base import Look


@register
class Last(Pruner):
    """Keeps the last weights of each tensor first; a pruner of another package."""

    name = "last"
    look = Look("Last", "#123456", "x")
    offset: int = 0

    def scores(self, model, data, seed):
        weights = masks.prunable(model, self.scope)
        return {n: (w.new_ones(w.shape).cumsum(0) + self.offset) for n, w in weights.items()}
'''
CHECK = """
import sys
from lotterylib import figures, pruners, study
from lotterylib.study import Store, expand, load_profile

profile, store = load_profile(sys.argv[1]), Store(sys.argv[2])
[cell] = [c for c in expand(profile) if c.pruner == "last"]
ticket = store.load_ticket(cell)
assert ticket.record["settings"]["offset"] == 2 and ticket.mask.kept == ticket.record["kept"]
assert store.record(cell, "accuracy", {})["pruner"] == "last"
assert pruners.names()[-1] == "last" and figures.look("last").colour == "#123456"
"""


def test_an_outside_package_takes_part_by_its_entry_point(tmp_path):
    site = tmp_path / "site"
    (site / "last_pruner-1.0.dist-info").mkdir(parents=True)
    (site / "last_pruner.py").write_text(PACKAGE)
    about = site / "last_pruner-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: last-pruner\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lotterylib.pruners]\nlast = last_pruner:Last\n")
    content = TINY | {"pruners": {"last": {"offset": 2}}, "rounds": [3]}
    path, store = write(tmp_path, content), tmp_path / "store"
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    status, out, errors = lottery(
        "run", "--profile", path, "--store", store, "--workers", 1, "--quiet", env=environment
    )
    assert status == 0, out + errors
    command = [sys.executable, "-c", CHECK, str(path), str(store)]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert checked.returncode == 0, checked.stderr
    path.write_text(yaml.safe_dump(content | {"pruners": {"last": {"offset": "far"}}}))
    status, out, errors = lottery("run", "--profile", path, "--store", store, env=environment)
    assert status != 0 and "offset" in errors and "Traceback" not in errors
    assert "last" not in pruners.names()
