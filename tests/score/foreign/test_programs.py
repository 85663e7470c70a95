"""Exported programs: the same numbers as PyTorch's own, and nothing of the file is ever executed."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from lotterylib.errors import DataError
from lotterylib.masks import prunable
from lotterylib.score import load_program
from tests.conftest import toy_network


class Odd(nn.Module):
    """Sizes read off the batch, pieces of a tensor, constants, a buffer that no layer owns."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same", groups=1)
        self.deep = nn.Conv2d(4, 4, 3, groups=2, stride=2)
        self.head = nn.Linear(100, 3, bias=False)
        self.register_buffer("shift", torch.ones(3), persistent=False)

    def forward(self, x):
        a, b = self.conv(x).relu().split(2, dim=1)
        y = self.deep(torch.cat([b, a], dim=1)).reshape(x.shape[0], -1)
        return self.head(y) + self.shift + torch.tensor([1.0, 2.0, 3.0])


class Rare(nn.Module):
    """Operations that few networks use."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(144, 3)
        self.register_buffer("places", torch.arange(12).flip(0))
        self.register_buffer("hidden", torch.zeros(12, 12, dtype=torch.bool))

    def forward(self, x):
        turned = x.flip(3)[:, :, self.places]
        seen = torch.where(~self.hidden, turned, torch.zeros_like(turned)).reshape_as(x)
        return self.head(seen.flatten(1))


def exported(path, model=None, batch=None):
    model = (model or toy_network()).eval()
    shapes = None if batch else ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(model, (torch.rand(batch or 2, 1, 12, 12),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return model


def changed(path, out, name, edit):
    """A copy of an archive in which one file is edited."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, edit(content) if entry.endswith(name) else content)
    return out


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "toy.pt2"
    exported(path)
    return path


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("make", [toy_network, Odd, Rare])
def test_a_program_computes_what_the_module_did(tmp_path, make, batch):
    model, images = exported(tmp_path / "m.pt2", make(), batch), torch.rand(7, 1, 12, 12)
    program = load_program(tmp_path / "m.pt2")
    assert torch.equal(program(images), model(images)) or torch.allclose(
        program(images), model(images), atol=1e-6
    )
    assert program.input_shape == [batch, 1, 12, 12]
    layers = {n: p for n, p in prunable(program).items()}
    assert {n: p.shape for n, p in layers.items()} == {n: p.shape for n, p in prunable(model).items()}
    assert all(torch.equal(p, prunable(model)[n]) for n, p in layers.items())


def test_layers_are_modules_again(archive):
    kinds = [type(m) for m in load_program(archive).modules()]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == kinds.count(nn.Linear) == 1


def test_a_program_in_training_mode_is_refused(tmp_path):
    program = torch.export.export(toy_network().train(), (torch.rand(2, 1, 12, 12),))
    torch.export.save(program, tmp_path / "t.pt2")
    with pytest.raises(DataError, match=r"training mode: call model\.eval\(\)"):
        load_program(tmp_path / "t.pt2")


@pytest.mark.parametrize(
    "target", ["torch.hub.load", "torch.ops.aten.from_file.default", "os.system", "_operator.attrgetter"]
)
def test_only_listed_operations_are_called(archive, tmp_path, target):
    def edit(content):
        graph = json.loads(content)
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target
        return json.dumps(graph)

    with pytest.raises(DataError, match="not on the list of operations"):
        load_program(changed(archive, tmp_path / "x.pt2", "models/model.json", edit))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickled_weights_are_never_unpickled(archive, tmp_path):
    mark, evil = tmp_path / "executed", io.BytesIO()
    torch.save(Bomb(mark), evil)

    def edit(content):
        config = json.loads(content)
        config["config"]["0.weight"]["use_pickle"] = True
        return json.dumps(config)

    half = changed(archive, tmp_path / "h.pt2", "model_weights_config.json", edit)
    with pytest.raises(DataError, match="never read"):
        load_program(changed(half, tmp_path / "x.pt2", "weights/weight_0", lambda _: evil.getvalue()))
    assert not mark.exists()


def test_symbolic_expressions_and_guards_are_not_evaluated(archive, tmp_path):
    mark = tmp_path / "executed"

    def edit(content):
        code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
        graph = json.loads(content)
        graph["guards_code"] = [code]
        graph["graph_module"]["graph"]["tensor_values"]["input"]["sizes"][0] = {
            "as_expr": {"expr_str": code, "hint": None}
        }
        return json.dumps(graph)

    program = load_program(changed(archive, tmp_path / "x.pt2", "models/model.json", edit))
    program(torch.rand(2, 1, 12, 12))
    assert not mark.exists()


def test_a_compiled_library_is_refused(archive, tmp_path):
    path = tmp_path / "x.pt2"
    path.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("toy/data/aotinductor/model/lib.so", b"\x7fELF")
    with pytest.raises(DataError, match="compiled library"):
        load_program(path)


@pytest.mark.parametrize(
    "edit", [lambda c: c[:50], lambda c: b"[]", lambda c: c.replace(b'"major": 8', b'"major": 7')]
)
def test_damage_and_other_formats_are_one_line(archive, tmp_path, edit):
    with pytest.raises(DataError) as error:
        load_program(changed(archive, tmp_path / "x.pt2", "models/model.json", edit))
    assert "\n" not in str(error.value) and "x.pt2" in str(error.value)


def test_the_bomb_works(tmp_path):  # else the tests above would prove nothing
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed"))).close()
    assert (tmp_path / "executed").exists()
