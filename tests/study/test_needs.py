import pytest

from lotterylib import cli, metrics
from lotterylib.datasets import sources
from lotterylib.study.needs import needs
from tests.datasets.formats import write_cifar, write_cifar_c, write_svhn
from tests.study.helpers import TINY, tiny, write

CIFAR = {"metrics": {"accuracy": {}, "ood_auroc": {}, "ece": {}}}


def cifar(root, **changes):
    return tiny(**({"dataset": {"name": "cifar10", "root": str(root)}} | CIFAR | changes))


def states(profile) -> dict[str, str]:
    return {need.what: need.state for need in needs(profile)}


def write_all(root) -> None:
    arrays = write_cifar(root, "cifar10")
    write_cifar(root, "cifar100", train=100, test=100)
    write_svhn(root)
    write_cifar_c(root, "cifar10", arrays["test"])


def test_what_the_package_brings(tmp_path):
    assert states(tiny()) == {"data set digits": "there"}
    everything = tiny(dataset={"name": "fashion-mini"}, metrics={m: {} for m in metrics.names()})
    assert states(everything) == {
        "data set fashion-mini": "there", "corruptions": "generated", "outliers mnist-mini": "there",
        "outliers gaussian": "generated", "outliers uniform": "generated",
    }  # fmt: skip
    assert all(need.met and not need.remark for need in needs(everything))


def test_every_metric_that_looks_at_more_than_the_data_is_known(monkeypatch):
    """Metrics are run, and what they ask the subject for is compared with what they say that they read."""
    from lotterylib import datasets, models
    from lotterylib.metrics import Subject

    asked = {}

    class Watched(Subject):
        def corrupted_logits(self, *arguments):
            asked.setdefault(name, set()).add("corrupted")
            return super().corrupted_logits(*arguments)

        def outlier_logits(self, *arguments):
            asked.setdefault(name, set()).add("outliers")
            return super().outlier_logits(*arguments)

    profile = cli_profile("smoke")
    watched = Watched(
        models.build("lenet", 10, 1, width=0.3), datasets.load("digits", limit=20), device="cpu"
    )
    for name, settings in profile.metrics.items():
        if metrics.describe(name).dimension in ("generalization", "calibration"):
            metrics.evaluate(watched, name, settings | ({"sets": ["uniform"]} if "ood" in name else {}))
    reads = {name: metrics.build(name).reads(datasets.build("digits")) for name in profile.metrics}
    assert {n for n, kinds in asked.items() if "corrupted" in kinds} == {
        n for n in reads if reads[n].corruptions
    }
    assert {n for n, kinds in asked.items() if "outliers" in kinds} == {n for n in reads if reads[n].outliers}


def cli_profile(name):
    from lotterylib.study import load_profile

    return load_profile(name)


def test_cifar_missing_there_and_damaged(tmp_path):
    assert states(cifar(tmp_path)) == {
        "data set cifar10": "downloadable", "corruptions CIFAR-10-C": "generated", "outliers cifar100": "downloadable",
        "outliers svhn": "downloadable", "outliers gaussian": "generated", "outliers uniform": "generated",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []  # looked, not fetched
    write_all(tmp_path)
    found = needs(cifar(tmp_path))
    assert {n.state for n in found} == {"there", "generated"} and found[1].state == "there"
    assert all(n.met and not n.remark for n in found)
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(b"")
    (tmp_path / "CIFAR-10-C" / "fog.npy").write_bytes(b"")
    after = states(cifar(tmp_path))
    assert after["outliers svhn"] == "damaged" and after["corruptions CIFAR-10-C"] == "damaged"
    (tmp_path / "svhn" / "train_32x32.mat").unlink()  # outliers do without it
    write_svhn(tmp_path)
    assert states(cifar(tmp_path))["outliers svhn"] == "there"


def test_named_sets_and_broden(tmp_path):
    folder = tmp_path / "broden1_224"
    asked = {
        "accuracy": {}, "ood_auroc": {"sets": ["svhn", "uniform"]}, "ood_fpr95": {"sets": ["imagenet-o", "svhn"]},
        "unit_iou": {"broden": str(folder)}, "explained_units": {"broden": str(folder)},
    }  # fmt: skip
    found = {need.what: need for need in needs(cifar(tmp_path, metrics=asked))}
    assert list(found) == [
        "data set cifar10", "outliers svhn", "outliers uniform", "outliers imagenet-o", "concepts of Broden",
    ]  # fmt: skip
    broden = found["concepts of Broden"]
    assert broden.state == "missing" and broden.place == str(folder) and "broden1_224.zip" in broden.remark
    assert found["outliers imagenet-o"].state == "missing" and "0.1 GB" in found["outliers imagenet-o"].remark


def test_the_command(tmp_path, capsys):
    root = tmp_path / "data"
    content = TINY | {"dataset": {"name": "cifar10", "root": str(root)}} | CIFAR
    profile = str(write(tmp_path, content))
    assert cli.main(["data", "--profile", profile]) == 1
    out = capsys.readouterr().out
    rows = {line[:22].strip(): line for line in out.splitlines()}
    assert "downloadable" in rows["data set cifar10"] and "170 MB" in rows["data set cifar10"]
    assert rows["data set cifar10"].endswith(str(root / "cifar-10-batches-py"))
    assert "data set cifar10: CIFAR-10 is not in" in out and "--download fetches" in out and not root.exists()
    write_all(root)
    assert cli.main(["data", "--profile", profile]) == 0
    out = capsys.readouterr().out
    assert "cifar10: train 36, val 4, test 20; 10 classes, 3×32×32 pixels" in out
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    assert cli.main(["data", "--profile", profile]) == 1
    out = capsys.readouterr().out
    assert "damaged" in out and "data_batch_1 is damaged" in out


def test_the_command_downloads_when_asked(tmp_path, capsys, monkeypatch):
    root, asked = tmp_path / "data", []

    def instead(self, into):
        asked.append(self.title)
        write_all(into)

    monkeypatch.setattr(sources.Source, "get", instead)
    profile = str(write(tmp_path, TINY | {"dataset": {"name": "cifar10", "root": str(root)}} | CIFAR))
    assert cli.main(["data", "--profile", profile, "--download"]) == 0
    assert asked == ["CIFAR-10", "CIFAR-10-C", "CIFAR-100", "SVHN (test)"]
    assert "fetching data set cifar10 (170 MB) to" in capsys.readouterr().err
    assert cli.main(["data", "--profile", profile, "--download"]) == 0 and len(asked) == 4


@pytest.mark.parametrize("name", ["fashion-mnist", "svhn", "cifar100"])
def test_a_download_that_fails_is_one_line(tmp_path, capsys, monkeypatch, name):
    from torchvision.datasets import mnist, utils

    def refuse(*_, **__):
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(utils, "download_url", refuse)
    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    profile = str(write(tmp_path, TINY | {"dataset": {"name": name, "root": str(tmp_path / "data")}}))
    assert cli.main(["data", "--profile", profile, "--download"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "no network" in errors[1] and "MB" in errors[1]
