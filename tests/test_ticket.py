import json

import pytest
import safetensors.torch
import torch
from torch import nn

from lotterylib import models
from lotterylib.errors import DataError, SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.ticket import Ticket, is_whole
from lotterylib.training import state_of
from tests.conftest import toy_network


def a_ticket(rewind: bool = True) -> Ticket:
    network = models.build("resnet8", 10, 1, width=0.25, stem_stride=2, mean=[0.3], std=[0.4], seed=1)
    mask = Mask.top({n: p.detach().abs() for n, p in prunable(network).items()}, 0.37)
    state = state_of(network)  # before pruning: the rewind point holds weights that the mask removes
    mask.apply_(network)
    network(torch.rand(4, 1, 32, 32))  # moves BatchNorm's statistics
    record = {"pruner": "magnitude", "losses": [2.3, 1 / 3], "data": {"name": "ünïcode"}}
    return Ticket(network.eval(), mask, record, state if rewind else None)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[n], other[n]) and one[n].dtype == other[n].dtype for n in one
    )


@pytest.fixture
def path(tmp_path):
    a_ticket().save(tmp_path / "t.safetensors")
    return tmp_path / "t.safetensors"


@pytest.mark.parametrize("rewind", [True, False])
def test_round_trip_to_the_bit(tmp_path, rewind):
    ticket = a_ticket(rewind)
    ticket.save(tmp_path / "deep" / "t.safetensors")
    back = Ticket.load(tmp_path / "deep" / "t.safetensors")
    assert same(ticket.model.state_dict(), back.model.state_dict())
    assert back.mask.equals(ticket.mask) and list(back.mask) == list(ticket.mask)
    assert back.sparsity == ticket.sparsity == pytest.approx(0.63, abs=1e-3)
    assert back.record == ticket.record
    assert same(ticket.rewind, back.rewind) if rewind else back.rewind is None
    assert not back.model.training and back.model.spec == ticket.model.spec


def test_equal_tickets_are_equal_files(tmp_path):
    """The header's metadata would come in another order each time."""
    ticket, files = a_ticket(), [tmp_path / f"{k}.safetensors" for k in range(8)]
    for file in files:
        ticket.save(file)
    assert len({file.read_bytes() for file in files}) == 1


def test_a_kept_weight_that_is_exactly_zero_stays_kept(tmp_path):
    ticket = a_ticket()
    name = next(iter(ticket.mask))
    place = tuple(ticket.mask[name].nonzero()[0])
    with torch.no_grad():
        dict(ticket.model.named_parameters())[name][place] = 0.0
    ticket.save(tmp_path / "t")
    back = Ticket.load(tmp_path / "t")
    assert back.mask[name][place] and back.mask.equals(ticket.mask)
    assert not Mask.of(back.model).equals(back.mask)  # which the zeros alone would not tell


def test_negative_zero_and_infinity_survive(tmp_path):
    ticket = a_ticket()
    name = next(iter(ticket.mask))
    places = ticket.mask[name].nonzero()[:2]
    with torch.no_grad():
        weight = dict(ticket.model.named_parameters())[name]
        weight[tuple(places[0])], weight[tuple(places[1])] = -0.0, torch.inf
    ticket.save(tmp_path / "t")
    back = dict(Ticket.load(tmp_path / "t").model.named_parameters())[name]
    assert torch.signbit(back[tuple(places[0])]) and torch.isinf(back[tuple(places[1])])


def test_only_survivors_are_stored(tmp_path):
    ticket = a_ticket(rewind=False)
    ticket.save(tmp_path / "t")
    dense = Ticket(ticket.model, Mask.ones(ticket.model))
    dense.save(tmp_path / "dense")
    saved = (tmp_path / "dense").stat().st_size - (tmp_path / "t").stat().st_size
    assert saved == pytest.approx(4 * (ticket.mask.total - ticket.mask.kept), abs=1000)


def test_a_channels_last_model_round_trips(tmp_path):
    ticket = a_ticket()
    ticket.model.to(memory_format=torch.channels_last)
    ticket.save(tmp_path / "t")
    assert same(ticket.model.state_dict(), Ticket.load(tmp_path / "t").model.state_dict())


def test_a_model_of_ones_own_is_passed_in(tmp_path):
    network = toy_network().double()
    mask = Mask.ones(network)
    Ticket(network, mask, {"a": 1}).save(tmp_path / "t")
    with pytest.raises(DataError, match=r"pass the model as Ticket\.load\(path, model=…\)"):
        Ticket.load(tmp_path / "t")
    back = Ticket.load(tmp_path / "t", model=toy_network(seed=5).double())
    assert same(network.state_dict(), back.model.state_dict())  # in double precision, too
    assert back.mask.equals(mask) and back.record == {"a": 1}


def test_a_mask_of_another_network_is_not_saved(tmp_path):
    with pytest.raises(SettingError, match="mask"):
        Ticket(toy_network(), Mask.ones(nn.Linear(3, 2))).save(tmp_path / "t")
    assert not list(tmp_path.iterdir())


def refused(path, **options) -> str:
    with pytest.raises(DataError) as caught:
        Ticket.load(path, **options)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("length", [0, 4, 100, 2000, -1])
def test_a_truncated_file_is_one_line(path, length):
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    assert not is_whole(path)
    assert "delete it and run again" in refused(path)
    path.write_bytes(whole)
    assert is_whole(path)


def test_random_bytes_a_folder_and_nothing(path, tmp_path):
    path.write_bytes(bytes(range(256)) * 40)
    assert "no safetensors file" in refused(path)
    refused(tmp_path)
    assert "no ticket at" in refused(tmp_path / "none")
    assert not is_whole(path) and not is_whole(tmp_path) and not is_whole(tmp_path / "none")


def test_another_format_is_one_line(path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    assert "format None" in refused(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata={"format": "lotterylib-ticket-9"})
    assert "lotterylib-ticket-9" in refused(path)


def rewritten(path, **changes):
    with safetensors.safe_open(path, framework="pt") as file:
        tensors, about = {n: file.get_tensor(n) for n in file.keys()}, file.metadata()  # noqa: SIM118
    # as older versions wrote it
    about.pop("checksum", None)
    safetensors.torch.save_file(tensors, path, metadata={**about, **changes})


def test_a_damaged_description_is_one_line(path):
    rewritten(path, record="{")
    assert "description" in refused(path)


def test_a_model_that_this_version_does_not_know_is_one_line(path):
    spec = json.dumps(dict(name="resnet9", classes=10, channels=1))
    rewritten(path, spec=spec)
    assert "did you mean 'resnet8'" in refused(path)
    rewritten(path, spec=json.dumps(dict(name="resnet8")))
    assert "cannot build" in refused(path)


@pytest.mark.parametrize(
    "other",
    [
        models.build("resnet8", 10, 1, width=0.5),
        models.build("resnet8", 7, 1, width=0.25),
        models.build("lenet", 10, 1),
        toy_network(),
    ],
)
def test_another_network_is_one_line(path, other):
    assert "does not fit the model" in refused(path, model=other)


def test_a_larger_layer_is_not_filled_in_part(tmp_path):
    """No bias, no BatchNorm: nothing but the weight itself shows that it is another size."""
    network = nn.Sequential(nn.Linear(4, 8, bias=False))
    Ticket(network, Mask.ones(network)).save(tmp_path / "t")
    assert "another size" in refused(tmp_path / "t", model=nn.Sequential(nn.Linear(4, 16, bias=False)))


def test_a_layer_under_two_names_is_stored_once(tmp_path):
    def network():
        layer = nn.Linear(20, 20)
        return nn.Sequential(layer, nn.ReLU(), layer)

    model = network()
    mask = Mask.top({n: p.detach().abs() for n, p in prunable(model).items()}, 0.25)
    mask.apply_(model)
    Ticket(model, mask).save(tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").stat().st_size < 4 * 20 * 20
    loaded = Ticket.load(tmp_path / "t.safetensors", network())
    assert same(loaded.model.state_dict(), model.state_dict()) and loaded.model[0] is loaded.model[2]
