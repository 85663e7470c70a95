"""Two processes on this machine's processor, talking through gloo; nothing here needs a GPU."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn

from lotterylib import pruners
from lotterylib.errors import DataError, SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.pruners.rigl import Update
from lotterylib.training import Launch, Recipe, launching, train
from lotterylib.training.launch import Group, current
from lotterylib.training.loop import Job
from lotterylib.training.parallel import train_together
from tests.conftest import toy_data, untouched_rng

RECIPE = Recipe(epochs=3, batch_size=16, warmup=0.5, rewind=0.75, precision="float32", lr=0.05)  # 12 steps
TWO = Launch(processes=2)


def network() -> nn.Module:
    """Without BatchNorm, whose statistics on the processor are those of each process's share."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3),
        )  # fmt: skip


def random_mask(model: nn.Module) -> Mask:
    dice = torch.Generator().manual_seed(3)
    return Mask.top({n: torch.rand(p.shape, generator=dice) for n, p in prunable(model).items()}, 0.3)


@dataclass(frozen=True)
class Watched(Update):
    """RigL's update that leaves each process's mask in ``folder``. A file ``kill`` there ends one process at step 6, once;
    a file ``differ`` gives each process a mask of its own."""

    folder: Path

    def apply(self, model, optimizer, mask, step, total):
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        if step == 6 and rank == 1 and (self.folder / "kill").exists():
            (self.folder / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.folder / "differ").exists():
            return Mask({n: m.roll(rank) for n, m in mask.items()})
        new = super().apply(model, optimizer, mask, step, total)
        torch.save(dict(new), self.folder / f"{step}-{rank}.pt")
        return new


def run(folder: Path, launch: Launch | None = None):
    model = network()
    update = Watched(interval=2, stop=11, alpha=0.5, folder=folder)
    mask = random_mask(model)
    with untouched_rng():
        done = train(
            model, toy_data(), RECIPE, mask, 1, update=update, progress=False, device="cpu", launch=launch
        )
    return model, done


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same training by one process and by two, with the folders of their masks."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    return [(folder, *run(folder, launch)) for folder, launch in zip(folders, (None, TWO), strict=True)]


def test_two_processes_train_as_one_does(both):
    (_, one, alone), (_, two, together) = both
    assert together.losses == pytest.approx(alone.losses, rel=1e-5) and len(together.losses) == 3
    for name, tensor in one.state_dict().items():
        assert torch.allclose(two.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)
        assert torch.allclose(together.rewind[name], alone.rewind[name], rtol=1e-3, atol=1e-5)
    assert not two.training and Mask.of(two).equals(together.mask)
    assert (alone.processes, together.processes) == (1, 2)
    for fact in ("images", "update_images", "precision"):
        assert getattr(together, fact) == getattr(alone, fact)


def test_masks_move_alike_in_all_processes(both):
    (first, _, alone), (second, _, together) = both
    assert together.updates == alone.updates and len(together.updates) == 5
    assert sum(u["grown"] for u in together.updates) > 50
    for step in (2, 4, 6, 8, 10):
        masks = [
            Mask(torch.load(folder / f"{step}-{rank}.pt", weights_only=True))
            for folder, rank in ((first, 0), (second, 0), (second, 1))
        ]
        assert masks[0].equals(masks[1]) and masks[1].equals(masks[2])
    assert together.mask.equals(alone.mask)


def test_a_killed_training_goes_on_with_the_same_numbers(both, tmp_path):
    """One process is killed in the second epoch: the other ends too, and the next attempt starts from the first epoch's
    end and gives, to the bit, what the undisturbed two gave."""
    _, whole, undisturbed = both[1]
    launch = Launch(processes=2, checkpoints=tmp_path / "checkpoints")
    (tmp_path / "kill").touch()
    with pytest.raises(RuntimeError, match="2 processes failed.*SIGKILL"):
        run(tmp_path, launch)
    assert len(list(launch.checkpoints.iterdir())) == 1
    (tmp_path / "2-0.pt").unlink()
    model, done = run(tmp_path, launch)
    assert (
        not (tmp_path / "2-0.pt").exists() and (tmp_path / "6-0.pt").exists()
    )  # the first epoch was not repeated
    for facts in ("losses", "updates", "images", "update_images"):
        assert getattr(done, facts) == getattr(undisturbed, facts)
    assert all(torch.equal(t, whole.state_dict()[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(t, undisturbed.rewind[n]) for n, t in done.rewind.items())
    assert not list(launch.checkpoints.iterdir())


def test_masks_that_differ_are_noticed(tmp_path):
    (tmp_path / "differ").touch()
    with pytest.raises(RuntimeError, match="different masks after the update at step 2"):
        run(tmp_path, TWO)


def test_an_error_of_one_process_ends_all_and_is_told_in_one_line(tmp_path):
    """An image that only one process reads is damaged; pruners train in the way that the block says."""
    from tests.datasets.test_imagenet import load, make_imagenet  # not in the processes that import this file

    data = load(make_imagenet(tmp_path))
    for wnid in data.class_names[1:]:
        for file in (tmp_path / "train" / wnid).iterdir():
            file.write_bytes(b"damaged")
    recipe = RECIPE.model_copy(update=dict(batch_size=2, rewind=0.0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with (
        launching(Launch(processes=2, workers=0)),
        pytest.raises(DataError, match="no readable image") as caught,
    ):
        pruners.build("random").find(model, data, 0.5, recipe, 0, device="cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert current() == Launch()


def test_what_cannot_be_shared_out_is_refused_before_anything_starts(data, monkeypatch):
    with pytest.raises(SettingError, match="batch of 16 images .* 3 processes"):
        train(network(), data, RECIPE, launch=Launch(processes=3), device="cpu", progress=False)
    with pytest.raises(SettingError, match="a GPU each, there are 0"):
        train_together(network(), Job(data, RECIPE), torch.device("cuda"), False, TWO)
    monkeypatch.setattr("multiprocessing.process._current_process._config", {"daemon": True})
    with pytest.raises(SettingError, match="daemon"):
        train(network(), data, RECIPE, launch=TWO, device="cpu", progress=False)


@pytest.mark.parametrize("settings", [dict(processes=0), dict(every=0), dict(workers=-1)])
def test_impossible_launches_are_refused(settings):
    with pytest.raises(SettingError, match="processes and every"):
        Launch(**settings)


def test_shares_make_up_the_batch():
    images = torch.arange(12)
    assert torch.equal(torch.cat([images[Group(r, 3).share(12)] for r in range(3)]), images)
    assert torch.equal(images[Group().share(12)], images)


def test_the_number_of_processes_names_no_ticket(data):
    """How a training runs is not part of what it is; a ticket's record tells it."""
    ticket = pruners.train_dense(network(), data, RECIPE, 0, device="cpu", progress=False)
    assert "processes" not in ticket.record and "processes" not in RECIPE.model_dump()


def test_a_process_takes_its_gpu_before_it_unpickles_anything(monkeypatch):
    """And nothing that is pickled lies on a GPU: it would be unpickled on the first one."""
    from lotterylib.training import parallel
    from tests.device.emulated import emulated

    steps, pickles = [], parallel.pickle.loads

    class Meeting(Exception):
        pass

    def meet(backend, **_):
        steps.append(backend)
        raise Meeting

    def begin(work, arguments, size, start_method):
        work(1, *arguments)

    monkeypatch.setattr(parallel, "start_processes", begin)
    monkeypatch.setattr(parallel.threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(parallel.pickle, "loads", lambda sent: steps.append("unpickle") or pickles(sent))
    monkeypatch.setattr(distributed, "init_process_group", meet)
    for backend in ("GLOO", "NCCL"):
        monkeypatch.setenv(f"{backend}_SOCKET_IFNAME", "lo")
    threads = torch.get_num_threads()
    with emulated() as device:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        monkeypatch.setattr(torch.cuda, "set_device", steps.append)
        model = network().to("cuda")
        with pytest.raises(Meeting):
            train(model, toy_data(), RECIPE, random_mask(model), device="cuda:2", launch=TWO, progress=False)
        assert not device.counts["pickled"]
    torch.set_num_threads(threads)
    assert steps == [torch.device("cuda", 3), "unpickle", "nccl"]
