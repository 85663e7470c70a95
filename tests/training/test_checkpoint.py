import pytest
import torch
from torch import nn

from lotterylib.masks import Mask, prunable
from lotterylib.pruners.rigl import Update
from lotterylib.training import Launch, Recipe, checkpoint, train
from tests.conftest import toy_data, toy_network, untouched_rng

RECIPE = Recipe(epochs=4, batch_size=16, warmup=0.5, rewind=1.75, precision="float32", lr=0.05)  # 16 steps
RIGL = Update(interval=3, stop=14, alpha=0.5)


class Killed(Exception):
    pass


def network() -> nn.Module:
    """Two convolutions, so that weights have a memory layout; dropout, so that training draws at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        front = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)
        return nn.Sequential(*front, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, 3))


def random_mask(model):
    dice = torch.Generator().manual_seed(3)
    return Mask.top({n: torch.rand(p.shape, generator=dice) for n, p in prunable(model).items()}, 0.5)


def run(recipe, folder=None, killed_at=None, every=1, **settings):
    """Trains; ``killed_at`` (in steps of this attempt) ends it by an error from within."""
    model, steps = network(), []

    def count(module, inputs):
        steps.append(1)
        if len(steps) - 1 == killed_at:
            raise Killed

    hook = model.register_forward_pre_hook(count)
    launch = Launch(checkpoints=folder, every=every) if folder else None
    with untouched_rng():
        done = train(
            model, toy_data(), recipe, random_mask(model), 1, launch=launch, progress=False, **settings
        )
    hook.remove()
    return model, done, len(steps)


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0}, {"optimizer": "adam"}, {"flip": "alternate"}])
@pytest.mark.parametrize("settings", [{}, {"update": RIGL}, {"start": 2}])
def test_resuming_is_not_having_been_killed_to_the_bit(tmp_path, changes, settings):
    """Killed twice: in the second epoch, and in the last one of what is left."""
    recipe = RECIPE.model_copy(update=changes)
    whole, undisturbed, total = run(recipe, **settings)
    for killed_at in (5, 9):
        with pytest.raises(Killed):
            run(recipe, tmp_path, killed_at, **settings)
    model, done, steps = run(recipe, tmp_path, **settings)
    assert total == 16 - settings.get("start", 0) and steps == 4
    assert all(torch.equal(t, whole.state_dict()[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(t, undisturbed.rewind[n]) for n, t in done.rewind.items())
    assert done.losses == undisturbed.losses and done.updates == undisturbed.updates
    assert len(done.epoch_seconds) == len(done.losses) and 0 < sum(done.epoch_seconds) <= done.seconds
    assert done.mask.equals(undisturbed.mask) and Mask.of(model).equals(done.mask)
    assert (done.images, done.update_images) == (undisturbed.images, undisturbed.update_images)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_serves_no_other_training(tmp_path):
    """Another seed, recipe, mask, start or initial weights: another file; a damaged one counts as none."""
    with pytest.raises(Killed):
        run(RECIPE, tmp_path, 6)
    (file,) = tmp_path.iterdir()
    _, _, steps = run(RECIPE.model_copy(update=dict(lr=0.06)), tmp_path)
    assert steps == 16
    _, _, steps = run(RECIPE, tmp_path, start=1)
    assert steps == 15
    assert list(tmp_path.iterdir()) == [file]
    file.write_bytes(file.read_bytes()[:-10])
    assert checkpoint.load(file) is None and checkpoint.load(tmp_path / "none") is None
    _, _, steps = run(RECIPE, tmp_path)
    assert steps == 16 and not list(tmp_path.iterdir())


def test_names_depend_on_all_that_decides():
    model, mask = toy_network(), Mask.ones(toy_network())
    name = checkpoint.name_of(model, mask, {"seed": 0})
    assert name == checkpoint.name_of(toy_network(), Mask.ones(model), {"seed": 0})
    fewer = Mask({n: m & (torch.arange(m.numel()).view(m.shape) > 0) for n, m in mask.items()})
    others = [
        checkpoint.name_of(toy_network(seed=1), mask, {"seed": 0}), checkpoint.name_of(model, mask, {"seed": 1}),
        checkpoint.name_of(model, fewer, {"seed": 0}), checkpoint.name_of(model, None, {"seed": 0}),
    ]  # fmt: skip
    assert len({name, *others}) == 5


def test_checkpoints_come_every_so_many_epochs(tmp_path, monkeypatch):
    saved, original = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda path, step, *a: saved.append(step) or original(path, step, *a)
    )
    run(RECIPE, tmp_path, every=2)
    assert saved == [8]
    saved.clear()
    run(RECIPE, tmp_path)
    assert saved == [4, 8, 12]


def test_weights_that_share_a_tensor_are_kept(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    from lotterylib.training import Training

    checkpoint.save(tmp_path / "a", 3, model, optimizer, None, Training(losses=[0.1 + 0.2]))
    found = checkpoint.load(tmp_path / "a")
    assert found.step == 3 and found.training["losses"] == [0.1 + 0.2] and found.mask is None
    twin = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    twin[1].weight = twin[0].weight
    again = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    found.restore_(twin, again)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(optimizer.state[one]["momentum_buffer"], again.state[other]["momentum_buffer"])
