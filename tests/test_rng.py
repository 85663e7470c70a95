import pytest
import torch

from lotterylib.rng import derive, forked, generator, isolated, reseed
from tests.conftest import untouched_rng


def test_streams_depend_on_seed_and_purpose_alone():
    seeds = {derive(s, *p) for s in (0, 1) for p in (("order", 7), ("order", 8), ("crop", 7), ())}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "a")))
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        derive(-1)


def test_blocks_give_the_random_state_back_also_when_they_raise():
    with untouched_rng():
        with isolated(0, "weights"):
            first = torch.rand(3)
        with pytest.raises(KeyError), forked(torch.device("cpu")):
            reseed(torch.device("cpu"), 5)
            torch.rand(3)
            raise KeyError
        with isolated(0, "weights"):
            assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize(
    "device, in_use, saved", [("cpu", False, []), ("cpu", True, [0, 1, 2]), ("cuda:1", False, [0, 1, 2])]
)
def test_every_gpu_that_pytorch_seeds_is_saved(monkeypatch, device, in_use, saved):
    seen, original = [], torch.random.fork_rng
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices: seen.extend(devices) or original(devices=[])
    )
    with forked(torch.device(device)):
        pass
    assert seen == saved
