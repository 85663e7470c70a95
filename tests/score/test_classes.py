"""Which output is which class."""

import dataclasses
import json
import sys
import types

import pytest
import torch

import lotterylib
from lotterylib.errors import DataError
from lotterylib.score import dataset
from lotterylib.score.classes import imagenet_classes, outputs_of, read_classes
from tests.conftest import toy_data, toy_network


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.txt", "tench\ngreat white shark\ngoldfish\n"),
        ("a.csv", "n01440764,tench\nn01484850,great white shark\nn01443537,goldfish\n"),
        ("a.txt", "n01440764 tench, Tinca tinca\nn01484850 great white shark\nn01443537 goldfish\n"),
        ("a.csv", "1,great white shark\n0,tench\n2,goldfish\n"),
        ("a.csv", "goldfish\t2\ntench\t0\ngreat white shark\t1\n"),
        ("a.txt", "2 goldfish\n0 tench\n1 great white shark\n"),
        ("a.csv", "class,index\ngoldfish,2\ntench,0\ngreat white shark,1\n"),
        ("a.csv", "index;name;wnid\n2;goldfish;n01443537\n0;tench;n01440764\n1;great white shark;n01484850\n"),
        ("a.json", json.dumps({"0": ["n01440764", "tench"], "1": ["n01484850", "great_white_shark"], "2": ["n01443537", "goldfish"]})),
        ("a.json", json.dumps({"goldfish": 2, "great white shark": 1, "tench": 0})),
        ("a.json", json.dumps(["tench", "great white shark", "goldfish"])),
    ],
)  # fmt: skip
def test_lists_as_people_have_them(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    known = read_classes(tmp_path / name)
    assert outputs_of(["goldfish", "Great_White-Shark", "tench"], known, "it") == [2, 1, 0]
    if "n01440764" in text:
        assert outputs_of(["n01484850"], known, "it") == [1]


def test_a_name_of_several_words_is_one_name(tmp_path):
    (tmp_path / "a.txt").write_text("hot dog\ncrane bird\nbird\n7 up\ndog\n")
    known = read_classes(tmp_path / "a.txt")
    assert outputs_of(["bird", "dog", "7 up", "hot dog"], known, "it") == [2, 4, 3, 0]
    with pytest.raises(DataError, match="no class 'crane'"):
        outputs_of(["crane"], known, "it")


@pytest.mark.parametrize("text, words", [("", "lists no classes"), ("0,a\n0,b\n", "each once"), ("{", "no list of classes")])  # fmt: skip
def test_other_lists_are_one_line(tmp_path, text, words):
    path = tmp_path / ("a.json" if text == "{" else "a.csv")
    path.write_text(text)
    with pytest.raises(DataError, match=words) as error:
        read_classes(path)
    assert "\n" not in str(error.value)


def test_a_class_that_is_not_there_or_twice():
    with pytest.raises(DataError, match="no class 'goldfsh'; did you mean 'goldfish'"):
        outputs_of(["goldfsh"], [{"goldfish"}], "it")
    with pytest.raises(DataError, match="outputs 0 and 1 both go by 'crane'"):
        outputs_of(["crane"], [{"crane"}, {"crane"}], "it")


def test_imagenets_names_are_known():
    known = imagenet_classes(1000)
    assert outputs_of(["tench", "goldfish", "toilet tissue"], known, "ImageNet") == [0, 1, 999]
    assert imagenet_classes(10) is None


class Imagenet(torch.nn.Module):
    """Answers with the class that the brightness says."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.scale.weight)

    def forward(self, images):
        bright = images.mean(dim=(1, 2, 3)).mul(1000).round().long().clamp(0, 999)
        return self.scale(5 * torch.eye(1000)[bright].unsqueeze(2)).squeeze(2)


def test_folders_of_wordnet_ids_find_their_outputs(monkeypatch):
    """Where timm is at hand, its list says which they are; where it is not, one line says what to give."""
    labels = torch.arange(40) % 2
    images = torch.tensor([0.001, 0.0])[labels].view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    data = dataclasses.replace(dataset((images, labels))[0], class_names=("n01443537", "n01440764"))
    how = {"only": ["accuracy"], "speed": False, "progress": False}
    monkeypatch.setitem(sys.modules, "timm.data", None)
    with pytest.raises(
        DataError, match="a WordNet id: `pip install timm` brings their list, or give --classes"
    ) as error:
        lotterylib.scorecard(Imagenet(), None, data, **how)
    assert "\n" not in str(error.value)
    wnids = ["n01440764", "n01443537", *(f"n9{i:07}" for i in range(998))]
    timm = types.SimpleNamespace(ImageNetInfo=lambda name: types.SimpleNamespace(label_names=lambda: wnids))
    monkeypatch.setitem(sys.modules, "timm.data", timm)
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(data=timm))
    assert lotterylib.scorecard(Imagenet(), None, data, **how)["accuracy"].ticket == 1.0


def test_a_network_of_more_classes_in_another_order(tmp_path):
    """Of five outputs, three are the data's classes, shuffled: with the list the card is that of the three alone."""
    data, whole = toy_data(), toy_network(5)
    three = toy_network(3)
    order = [4, 0, 2]
    with torch.no_grad():
        for mine, theirs in zip(three.parameters(), whole.parameters(), strict=True):
            mine.copy_(theirs[order] if theirs.shape[0] == 5 else theirs)
    (tmp_path / "list.txt").write_text("b\nx\nc\ny\na\n")
    how = {"only": ["accuracy", "nll"], "speed": False, "progress": False}
    found = lotterylib.scorecard(whole, whole, data, classes=tmp_path / "list.txt", **how)
    expected = lotterylib.scorecard(three, three, data, **how)
    assert [row.ticket for row in found.rows] == pytest.approx(
        [row.ticket for row in expected.rows], rel=1e-5
    )
    with pytest.raises(
        DataError, match="5 logits, but the data have 3 classes: say which is which with --classes"
    ):
        lotterylib.scorecard(whole, whole, data, **how)
