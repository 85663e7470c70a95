"""Outliers and corrupted images of one's own."""

import io
import sys
import tarfile
import types

import numpy as np
import pytest
import torch
from PIL import Image

import lotterylib
from lotterylib import metrics
from lotterylib.cli import main
from lotterylib.datasets import Dataset
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import accuracy, corruption_error, max_softmax, ood_auroc
from lotterylib.score import dataset
from lotterylib.score.own import own_images
from tests.conftest import toy_data
from tests.score.test_sources import folder


def picture(path, level, size=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), level, np.uint8)).save(path)


@pytest.fixture
def corrupted(tmp_path):
    """Two corruptions in two severities of the toys' classes; a picture's level says where it belongs."""
    names, root = toy_data().class_names, tmp_path / "corrupted"
    for i, corruption in enumerate(("fog", "night")):
        for severity in (1, 10):
            for c, name in enumerate(names):
                for k in range(4):
                    place = root / corruption / f"severity {severity}" / name / f"{k:02}.png"
                    picture(place, 100 * i + 10 * c + k + 50 * (severity > 1))
    picture(root / "fog" / "severity 1" / names[0] / "more.png", 255)
    return root


def test_a_folder_of_corruptions_is_read_by_classes_and_severities(corrupted):
    data, notes = own_images(toy_data(), None, corrupted, None, 0)
    own = data.corrupted
    assert (
        list(own.images) == ["fog", "night"]
        and own.sets == 4
        and own.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    )
    levels = [images[:][:, 0, 0, 0].mul(255).round().int().tolist() for images in own.images["night"]]
    expected = [100 + 10 * c + k for c in range(3) for k in range(4)]
    assert levels == [expected, [level + 50 for level in expected]]
    # what only one set has is left out
    assert (
        own.images["fog"][0][:].max() < 1
        and "2 corruptions of your own (fog, night), 2 severities, 12 images" in notes[0]
    )


def test_corruption_error_is_that_of_the_own_images(corrupted, networks):
    dense, ticket = networks
    card = lotterylib.scorecard(
        ticket, dense, toy_data(), corrupted=corrupted, only=["corruption_error", "corrupted_accuracy", "nll"],
        speed=False, progress=False,
    )  # fmt: skip
    data, _ = own_images(toy_data(), None, corrupted, None, 0)
    wrong = {
        which: {
            name: [1 - accuracy(network(images[:]), data.corrupted.labels) for images in sets]
            for name, sets in data.corrupted.images.items()
        }
        for which, network in (("dense", dense), ("ticket", ticket))
    }
    assert card["corruption_error"].ticket == pytest.approx(corruption_error(wrong["ticket"], wrong["dense"]))
    mean = np.mean([1 - error for rates in wrong["ticket"].values() for error in rates])
    assert card["corrupted_accuracy"].ticket == pytest.approx(mean)
    assert {share.name for share in card.corruptions} == {"fog", "night"} and card.corruptions[0].images == 12
    assert any("2 corruptions of your own" in note for note in card.notes)
    assert {"corrupted"} < set(card["nll"].variants)


def test_corrupted_images_in_memory(networks):
    images, labels = toy_data().test
    own = {"dark": [(images / 2, labels), (images / 4, labels)], "still": [(images, labels)] * 2}
    data, _ = own_images(toy_data(), None, own, None, 0)
    found = metrics.evaluate(Subject(networks[0], data), "corrupted_accuracy", {"images": len(labels)}).value
    shares = [accuracy(networks[0](part), labels) for part in (images / 2, images / 4, images, images)]
    assert found == pytest.approx(np.mean(shares))
    pairs = {"dark": [(image / 2, int(label)) for image, label in zip(images, labels, strict=True)]}
    assert torch.equal(
        own_images(data, None, pairs, None, 0)[0].corrupted.labels.sort().values, labels.sort().values
    )


@pytest.mark.parametrize(
    "own, words",
    [
        ({"a": [(torch.rand(12, 1, 12, 12), torch.arange(12) % 3)] * 2, "b": (torch.rand(12, 1, 12, 12), torch.arange(12) % 3)},
         "as many severities"),
        ({"a": (torch.rand(12, 1, 12, 12), torch.arange(12) % 3), "b": (torch.rand(12, 1, 12, 12), torch.arange(12) % 2)},
         "the same labels in the same order"),
        ({"a": (torch.rand(12, 1, 12, 12), torch.arange(12) % 4)}, r"labels must lie in 0\.\.2, got 3"),
        ({"a": (torch.rand(12, 3, 8, 8), torch.arange(12) % 3)}, "want images 1×12×12, as the data's, got 3×8×8"),
        (3, "a folder, or a mapping"),
        ("nowhere", "nowhere is no folder"),
    ],
)  # fmt: skip
def test_what_is_no_set_of_corruptions_is_one_line(own, words):
    with pytest.raises(DataError, match=words):
        own_images(toy_data(), None, own, None, 0)


def test_a_class_that_the_data_do_not_have_is_named(corrupted):
    picture(corrupted / "fog" / "severity 1" / "zebra" / "0.png", 0)
    with pytest.raises(DataError, match="zebra is none of the data's classes"):
        own_images(toy_data(), None, corrupted, None, 0)


def test_outliers_of_one_s_own_take_the_place_of_the_usual_ones(tmp_path, networks):
    dense, _ = networks
    for k in range(12):
        picture(tmp_path / "junk" / ("deep" if k % 2 else "") / f"{k}.png", 20 * k)
    bright = torch.full((15, 1, 12, 12), 0.9)
    card = lotterylib.scorecard(
        dense, dense, toy_data(), only=["ood_auroc", "ood_fpr95"], speed=False, progress=False,
        outliers={"junk": tmp_path / "junk", "bright": bright},
    )  # fmt: skip
    row = card["ood_auroc"]
    assert row.extra["sets"] == ["junk", "bright"] and set(row.variants) == {
        "junk",
        "bright",
        "gaussian",
        "uniform",
    }
    inside = max_softmax(dense(toy_data().test[0]).detach())
    expected = ood_auroc(inside, max_softmax(dense(bright).detach()))
    assert row.variants["bright"]["ticket"] == pytest.approx(expected)
    assert "outliers: 12 of junk, 15 of bright" in card.notes


@pytest.mark.parametrize("name", ["gaussian", "uniform", "imagenet-o", "digits"])
def test_outliers_of_one_s_own_may_bear_the_name_of_a_known_set(tmp_path, networks, name):
    dense, _ = networks
    for k in range(12):
        picture(tmp_path / name / f"{k}.png", 20 * k)
        picture(tmp_path / "junk" / f"{k}.png", 20 * k)
    how = {"only": ["ood_auroc"], "speed": False, "progress": False}
    own, other = (
        lotterylib.scorecard(dense, dense, toy_data(), outliers=tmp_path / n, **how) for n in (name, "junk")
    )
    assert own["ood_auroc"].extra["sets"] == [name] and own["ood_auroc"].ticket == other["ood_auroc"].ticket


@pytest.mark.parametrize(
    "outliers, words",
    [(torch.rand(3, 1, 12, 12), "10 images or more"), (torch.rand(20, 3, 12, 12), "want images 1×12×12"),
     ("nowhere", "nowhere is no folder"), (["text"] * 20, "text is no folder")],
)  # fmt: skip
def test_what_are_no_outliers_is_one_line(outliers, words):
    with pytest.raises(DataError, match=words):
        own_images(toy_data(), outliers, None, None, 0)


def test_what_is_kept_of_a_card_is_of_its_own_images(tmp_path, networks):
    how = {"only": ["ood_auroc"], "speed": False, "progress": False, "cache": tmp_path / "kept"}
    values = []
    for level in (50, 250):
        for k in range(12):
            picture(tmp_path / "junk" / f"{k}.png", level)
        values.append(
            lotterylib.scorecard(networks[0], None, toy_data(), outliers=tmp_path / "junk", **how)[
                "ood_auroc"
            ].ticket
        )
    assert values[0] != values[1]


def test_the_command_says_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lotterylib.score.measure.speeds", lambda *_, **how: {})
    folder(tmp_path / "images", {"a": 20, "b": 20}, size=(32, 32))
    folder(tmp_path / "corrupted" / "rain", {"a": 20, "b": 20}, size=(32, 32))
    folder(tmp_path, {"cars": 12, "trees": 12}, size=(40, 32))
    for name, seed in (("pruned", 1), ("dense", 0)):
        torch.save(
            lotterylib.models.build("lenet", 2, 3, size=32, seed=seed).state_dict(), tmp_path / f"{name}.pt"
        )
    command = ["score", tmp_path / "pruned.pt", "--dense", tmp_path / "dense.pt", "--arch", "lenet", "--data", tmp_path / "images",
               "--only", "corrupted_accuracy,ood_auroc", "--outliers", tmp_path / "cars", "--outliers", tmp_path / "trees",
               "--corrupted", tmp_path / "corrupted", "--quiet"]  # fmt: skip
    assert main(list(map(str, command))) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "outliers: 12 of cars, 12 of trees" in said
        and "1 corruption of your own (rain), 1 severity, 40 images" in said
    )


def test_archives_of_webdataset_are_data(tmp_path):
    for shard in range(2):
        with tarfile.open(tmp_path / f"shard-{shard}.tar", "w") as archive:
            for k in range(10):
                encoded = io.BytesIO()
                Image.fromarray(np.full((8, 8, 3), 10 * k, np.uint8)).save(encoded, "png")
                for ending, content in (
                    ("png", encoded.getvalue()),
                    ("cls", b"%d" % (k % 2)),
                    ("json", b"{}"),
                ):
                    about = tarfile.TarInfo(f"{shard}{k:03}.{ending}")
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))
    data, notes = dataset(str(tmp_path / "shard-*.tar"), size=8)
    assert data.name == "shard-*.tar" and data.classes == 2 and len(data.test[1]) == 16
    levels = data.test[0][:, 0, 0, 0].mul(255).round().int() // 10
    assert torch.equal(levels % 2, data.test[1].int()) and "first 20 images" in notes[-1]
    with pytest.raises(DataError, match="cannot be read .*nothing.tar"):
        dataset(str(tmp_path / "nothing.tar"))


def test_of_a_mapping_of_splits_the_test_images_are_taken():
    part = [{"image": torch.full((1, 8, 8), 0.5), "label": i % 2} for i in range(20)]
    data, _ = dataset({"train": [], "validation": part}, size=8, channels=1)
    assert isinstance(data, Dataset) and len(data.test[1]) == 16
    with pytest.raises(DataError, match="want a split test or validation, found train"):
        dataset({"train": part})


def test_a_folder_saved_by_hugging_face_is_opened_by_their_library(tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError, match="saved Hugging Face data set needs `pip install datasets`"):
        dataset(tmp_path / "saved")
    part = [{"image": torch.full((1, 8, 8), 0.5), "label": i % 2} for i in range(20)]
    theirs = types.SimpleNamespace(
        load_from_disk=lambda path: {"test": part} if path == str(tmp_path / "saved") else None
    )
    monkeypatch.setitem(sys.modules, "datasets", theirs)
    data, _ = dataset(str(tmp_path / "saved"), size=8, channels=1)
    assert data.name == "saved" and len(data.test[1]) == 16
