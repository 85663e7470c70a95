"""A whole study on tiny data in CIFAR's formats, with each of the paper's networks in small."""

import pytest

from lotterylib import Ticket, datasets, results
from lotterylib.study import Store, expand, records
from lotterylib.study.cells import with_ancestors
from lotterylib.study.work import Worker
from tests.datasets.formats import write_cifar, write_cifar_c, write_svhn
from tests.study.helpers import tiny

FEW = {"images": 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    arrays = write_cifar(root, "cifar10", train=50, test=20)
    write_cifar_c(root, "cifar10", arrays["test"])
    write_cifar(root, "cifar100", train=200, test=100)
    write_svhn(root)
    return root


@pytest.mark.parametrize("name, classes, corruptions, others", [
    ("cifar10", 10, "CIFAR-10-C", ["cifar100", "svhn", "gaussian", "uniform"]),
    ("cifar100", 100, "generated", ["cifar10", "svhn", "gaussian", "uniform"]),
])  # fmt: skip
def test_a_study(tmp_path, root, name, classes, corruptions, others):
    profile = tiny(
        dataset={"name": name, "root": str(root)},
        models=[{"name": "resnet20s", "width": 0.25}],
        pruners=["random"],
        rounds=[2],
        recipe={
            "epochs": 2,
            "batch_size": 15,
            "warmup": 0,
            "rewind": 0.5,
            "crop_padding": 4,
            "precision": "float32",
        },
        metrics={"accuracy": {}, "ood_auroc": {"images": 20}, "corruption_error": FEW, "nll": FEW},
    )
    store = Store(tmp_path / "store").open_for_writing()
    for cell in with_ancestors(expand(profile)):
        assert Worker(store, 1, "cpu").find(cell).what == "found"
    for cell in expand(profile):
        outcome = Worker(store, 1, "cpu").measure(cell, dict(profile.metrics))
        assert outcome.what == "found", outcome.reasons
    rows = records(profile, store)
    assert len(rows) == 2 * 4 and {row["chance"] for row in rows} == {1 / classes}
    for row in rows:
        if row["metric"] == "ood_auroc":
            assert sorted(row["variants"]) == sorted(others)
        elif row["metric"] in ("corruption_error", "nll"):
            assert row["extra"]["corruptions"] == corruptions
    table = results.tidy(rows)
    assert set(table["dataset"]) == {name} and set(table["pruner"]) == {"dense", "random"}


@pytest.mark.parametrize(
    "model, width", [("resnet18", 0.1), ("resnet50", 0.06), ("wrn28_10", 0.04), ("vgg16_bn", 0.1)]
)
def test_each_network_trains_prunes_and_comes_back_from_disk(tmp_path, root, model, width):
    profile = tiny(
        dataset={"name": "cifar10", "root": str(root)},
        models=[{"name": model, "width": width}],
        pruners=["lottery"],
        rounds=[1],
        recipe={
            "epochs": 1,
            "batch_size": 15,
            "warmup": 0,
            "rewind": 0.34,
            "lr": 0.01,
            "precision": "float32",
        },
    )
    store = Store(tmp_path / "store").open_for_writing()
    for cell in with_ancestors(expand(profile)):
        outcome = Worker(store, 1, "cpu").find(cell)
        assert outcome.what == "found", outcome.reasons
        ticket = store.load_ticket(cell)
        assert isinstance(ticket, Ticket) and ticket.model.spec["name"] == model
        assert abs(ticket.sparsity - cell.sparsity) < 1e-3
        data = datasets.load("cifar10", root=root)
        assert ticket.model.spec["mean"] == pytest.approx(data.mean)
