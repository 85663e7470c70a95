import os

import pytest
import torch

from lotterylib.errors import SettingError
from lotterylib.machine import devices
from lotterylib.machine.revision import revision
from tests.conftest import toy_network


def test_devices_by_name():
    assert devices.pick_device("cpu") == devices.device_of(toy_network()) == torch.device("cpu")
    assert devices.pick_device() == devices.pick_device("auto")
    assert devices.describe_device(torch.device("cpu")).startswith("cpu (")
    with pytest.raises(SettingError, match="device 'nowhere' cannot be used"):
        devices.device_name("nowhere")


def test_processors_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert devices.processors() == 3
    assert devices.places(None, 1, "cpu") == ["cpu"] * 3 and devices.places(None, 2, "cpu") == ["cpu"]


def test_gpus_take_turns(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices.places(None, 1, None) == [f"cuda:{i}" for i in range(4)]
    assert devices.places(None, 1, None, processes=2) == ["cuda:0", "cuda:2"]
    assert devices.places(3, 1, "cuda", per_gpu=2) == ["cuda:0", "cuda:1", "cuda:2"]
    with pytest.raises(SettingError, match="5 processes need a GPU each, there are 4"):
        devices.places(None, 1, None, processes=5)
    with pytest.raises(SettingError, match="share a GPU"):
        devices.places(None, 1, None, per_gpu=2, processes=2)


def test_bfloat16_counts_where_the_processor_has_it(monkeypatch):
    for amx, avx, expected in ((False, False, None), (True, False, "bfloat16"), (False, True, "bfloat16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        assert devices.half_precision(torch.device("cpu")) == expected
    assert devices.half_precision(torch.device("meta")) is None


@pytest.mark.parametrize("own, expected", [(False, "float16"), (True, "bfloat16")])
def test_older_gpus_have_float16_alone(monkeypatch, own, expected):
    """PyTorch says yes for a T4 too unless asked to leave emulation out."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or own
    )
    assert devices.half_precision(torch.device("cuda")) == expected


def test_a_checkout_names_its_commit():
    assert not revision().startswith("v") and revision() != "unknown"
