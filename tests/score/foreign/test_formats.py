"""Files and architectures as other tools leave them."""

import json
import os
import pickle
import re
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

import lotterylib
from lotterylib.errors import DataError, SettingError
from lotterylib.score.foreign.modules import build, usual_images
from lotterylib.score.foreign.state_dicts import fit, read
from tests.conftest import toy_data, toy_network


def same(found, network):
    images = torch.rand(2, 1, 12, 12)
    return torch.equal(fit(found, toy_network(seed=7))[0](images), network.eval()(images))


def test_sharded_safetensors_with_an_index_and_a_folder(tmp_path):
    network = toy_network()
    state, wanted = network.state_dict(), {}
    for i, names in enumerate((list(state)[:3], list(state)[3:])):
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.torch.save_file({n: state[n] for n in names}, tmp_path / shard)
        wanted |= dict.fromkeys(names, shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": wanted}))
    assert same(read(index), network) and same(read(tmp_path), network)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match="which is not there: copy all of its files"):
        read(index)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds none of model.safetensors.index.json"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("path", ["ema", "trainer.best", "params"])
def test_a_key_names_the_state_dict(tmp_path, path):
    network, other = toy_network(), toy_network(seed=5)
    content = network.state_dict()
    for part in reversed(path.split(".")):
        content = {part: content}
    torch.save({"state_dict": other.state_dict(), **content}, tmp_path / "c.pt")
    assert same(read(tmp_path / "c.pt", path), network) and same(read(tmp_path / "c.pt"), other)
    flat = {f"{path}.{name}": t for name, t in network.state_dict().items()}
    torch.save({**flat, "other.weight": torch.zeros(1)}, tmp_path / "flat.pt")
    assert same(read(tmp_path / "flat.pt", path), network)
    with pytest.raises(DataError, match="has no key 'emma'"):
        read(tmp_path / "c.pt", "emma")


def test_a_key_that_some_files_have_is_not_asked_of_the_others(tmp_path):
    network, other = toy_network(seed=1).eval(), toy_network(seed=2).eval()
    torch.save({"model": other.state_dict(), "ema": network.state_dict()}, tmp_path / "p.pt")
    torch.save(network.state_dict(), tmp_path / "d.pt")
    how = {"arch": toy_network(), "only": ["accuracy"], "speed": False, "progress": False}
    card = lotterylib.scorecard(tmp_path / "p.pt", tmp_path / "d.pt", toy_data(), key="ema", **how)
    assert "d.pt has no key 'ema', and was read without it" in card.notes
    assert any("are one: the same weights" in note for note in card.notes)
    with pytest.raises(DataError, match=r"p\.pt has no key 'best'; its keys are model, ema"):
        lotterylib.scorecard(tmp_path / "p.pt", tmp_path / "d.pt", toy_data(), key="best", **how)


def test_what_torch_warns_of_is_no_further_line(tmp_path, recwarn):
    with open(tmp_path / "p.pt", "wb") as file:
        pickle.dump(toy_network().state_dict(), file)
    with pytest.raises(DataError, match="is no checkpoint"):
        read(tmp_path / "p.pt")
    assert not recwarn.list


@pytest.mark.parametrize("wrapper", ["ema", "params", "network", "weights", "model_ema"])
def test_usual_wrappers(tmp_path, wrapper):
    network = toy_network()
    torch.save({wrapper: network.state_dict(), "epoch": 3}, tmp_path / "w.pt")
    assert same(read(tmp_path / "w.pt"), network)


@pytest.mark.parametrize("name, words", [("a.onnx", "an ONNX graph: load it into"), ("a.h5", "Keras"), ("a.tflite", "TensorFlow Lite")])  # fmt: skip
def test_other_formats_come_with_a_remedy(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


def test_a_function_that_the_user_names_is_imported_and_called():
    network = build("tests.conftest:toy_network", 3, 1, 12, {"seed": 3})
    assert torch.equal(network[0].weight, toy_network(seed=3)[0].weight)
    for arch, words in (
        ("tests.nowhere:net", "cannot be imported"),
        ("tests.conftest:nothing", "cannot be imported"),
        ("tests.conftest:toy_data", "want a network"),
    ):
        with pytest.raises(SettingError, match=words):
            build(arch, 3, 1, 12)
    with pytest.raises(SettingError, match="unexpected keyword argument 'width'"):
        build("tests.conftest:toy_network", 3, 1, 12, {"width": 3})


def test_a_module_in_the_current_folder_is_found_and_one_that_fails_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def net():\n    import beside\n    return beside.make()\n")
    (tmp_path / "beside.py").write_text("from torch import nn\ndef make():\n    return nn.Flatten()\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit('usage: script')\n")
    (tmp_path / "typo.py").write_text("def net(:\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('never imported')\n")
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", [place for place in before if place not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    assert isinstance(build("mine:net", 3, 1, 12), nn.Flatten) and str(tmp_path) not in sys.path
    for name, words in (("script", "SystemExit usage: script"), ("typo", "SyntaxError")):
        with pytest.raises(SettingError, match=f"arch {name}:net: cannot be imported .{words}") as error:
            build(f"{name}:net", 3, 1, 12)
        assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="arch json:net: cannot be imported .AttributeError"):
        build("json:net", 3, 1, 12)


def test_networks_of_timm_need_timm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(SettingError, match="pip install timm"):
        build("timm:resnet18", 3, 3, 64)


def test_torchvisions_own_preprocessing_is_the_default(tmp_path):
    mean, std, size, resize = usual_images("torchvision:resnet18")
    assert mean == [0.485, 0.456, 0.406] and std == [0.229, 0.224, 0.225] and (size, resize) == (224, 256)
    assert usual_images("torchvision:inception_v3")[2] == 299
    assert usual_images("resnet18") is None and usual_images("torchvision:none") is None
    network = build("torchvision:squeezenet1_1", 2, 3, 64)
    torch.save(network.state_dict(), tmp_path / "n.pt")
    data = torch.rand(20, 3, 64, 64), torch.arange(20) % 2
    how = {"arch": "torchvision:squeezenet1_1", "only": ["nll"], "speed": False, "progress": False}
    found = lotterylib.scorecard(tmp_path / "n.pt", data=data, **how)
    given = lotterylib.scorecard(tmp_path / "n.pt", data=data, mean=mean, std=std, **how)
    bare = lotterylib.scorecard(tmp_path / "n.pt", data=data, mean=[0.0] * 3, std=[1.0] * 3, **how)
    assert found["nll"].ticket == given["nll"].ticket != bare["nll"].ticket
    assert "mean 0.485 0.456 0.406" in found.about["preprocessing"]
    assert re.fullmatch(r"[0-9a-f]{16}", found.about["files"]["n.pt"])
