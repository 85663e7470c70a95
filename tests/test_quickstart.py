"""The quickstart's claim: what it calls random pruning begins where the dense network began."""

import torch

from lotterylib import figures, pruners, study
from lotterylib.masks import Mask
from tests.sources import ROOT, cells, source, tagged


def test_every_pruner_of_the_quickstart_begins_with_the_untrained_network(monkeypatch):
    path = ROOT / "notebooks/quickstart.ipynb"
    begun, find, train_dense = {}, pruners.Pruner.find, pruners.train_dense

    def spied_find(self, model, *given, **named):
        begun[self.name] = model.state_dict()
        return find(self, model, *given, **named | {"progress": False})

    def spied_dense(model, *given, **named):
        begun.setdefault("dense", model.state_dict())
        return train_dense(model, *given, **named | {"progress": False})

    monkeypatch.setattr(pruners.Pruner, "find", spied_find)
    monkeypatch.setattr(pruners, "train_dense", spied_dense)
    monkeypatch.setattr(figures, "show", lambda *given, **named: None)
    space = {"__name__": "quickstart"}
    for cell in cells(path, "code"):
        if cell not in tagged(path, "colab-setup") + tagged(path, "solution"):
            exec(source(cell), space)
            if cell in tagged(path, "parameters"):
                space["profile"] = "smoke"
    assert begun.keys() == {"dense", "random", "lottery"}
    untrained = study.load_profile("smoke").live_case(seed=0)[0].state_dict()
    for name, state in begun.items():
        assert all(torch.equal(state[n], t) for n, t in untrained.items()), name
    # and the mask is one that was drawn, not read off the ticket
    assert space["lucky"].mask.equals(pruners.build("random").mask(space["untrained"], None, 0.8, 0))
    assert Mask.of(space["ticket"]).equals(space["mask"]) and not space["mask"].equals(space["lucky"].mask)
