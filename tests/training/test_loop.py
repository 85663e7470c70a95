import copy
import functools
import hashlib
import warnings

import pytest
import torch
from torch import nn

from lotterylib.errors import DivergedError, SettingError
from lotterylib.machine.numerics import full_precision, numerics
from lotterylib.masks import Mask, prunable
from lotterylib.rng import derive
from lotterylib.study.cells import Cell, digest
from lotterylib.study.profile import DataSource, ModelSpec
from lotterylib.training import Recipe, loop, predict, train
from lotterylib.training.batches import augment, batch_indices
from tests.conftest import toy_data, toy_network, untouched_rng

RECIPE = Recipe(epochs=2, batch_size=16, warmup=0.5, rewind=0.75, precision="float32", lr=0.05)


def random_mask(network, density=0.3):
    dice = torch.Generator().manual_seed(3)
    return Mask.top({n: torch.rand(p.shape, generator=dice) for n, p in prunable(network).items()}, density)


def states_equal(one, other):
    return all(torch.equal(one[n], other[n]) for n in one) and one.keys() == other.keys()


def test_a_step_is_the_textbook_step(data):
    """Two steps of SGD with momentum, Nesterov and weight decay against the update written out by hand."""
    torch_free = nn.Sequential(nn.Flatten(), nn.Linear(144, 3, bias=False))
    with torch.no_grad():
        torch_free[1].weight.copy_(torch.linspace(-0.1, 0.1, 432).view(3, 144))
    recipe = RECIPE.model_copy(update=dict(
        epochs=1, warmup=0.0, crop_padding=0, flip=False, batch_size=32, nesterov=True, weight_decay=0.01
    ))  # fmt: skip
    weight, velocity = torch_free[1].weight.detach().double().clone(), 0.0
    for step in range(2):
        chosen = batch_indices(step, 64, recipe, seed=5)
        x, y = data.train[0][chosen].flatten(1).double(), data.train[1][chosen]
        error = torch.softmax(x @ weight.T, 1) - nn.functional.one_hot(y, 3)
        gradient = error.T @ x / len(y) + 0.01 * weight
        velocity = 0.9 * velocity + gradient
        weight -= recipe.lr * (1 - step / 2) * (gradient + 0.9 * velocity)
    train(torch_free, data, recipe, seed=5, progress=False)
    assert torch.allclose(torch_free[1].weight.double(), weight, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_zero_set_is_the_mask_after_every_step(data, optimizer, monkeypatch):
    """With momentum, weight decay and Adam's state; looked at through the optimizer's own step."""
    network = toy_network()
    mask = random_mask(network)
    recipe = RECIPE.model_copy(update=dict(optimizer=optimizer, weight_decay=0.1))
    seen = []

    def check(module, inputs):
        seen.append(Mask.of(network).equals(mask))

    network.register_forward_pre_hook(check)
    train(network, data, recipe, mask, seed=0, progress=False)
    assert len(seen) == 8 and all(seen)
    assert Mask.of(network).equals(mask)


def test_live_momentum_would_revive_weights_without_enforcement(data):
    """The fault that the mask guards against is real: masking only the gradient lets weights come back."""
    network = toy_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    loss = nn.functional.cross_entropy(network(data.train[0]), data.train[1])
    loss.backward()
    optimizer.step()
    mask = random_mask(network)
    mask.apply_(network)
    network.zero_grad(set_to_none=False)
    optimizer.step()
    assert not Mask.of(network).equals(mask)


@pytest.mark.parametrize("start", [3, 4, 7])  # in the first epoch, at its end, in the second
def test_resuming_sees_the_same_batches_and_schedule(data, start):
    """Without momentum, training on from the state at any step ends where the whole training ends, to the bit."""
    recipe = RECIPE.model_copy(update=dict(momentum=0.0, rewind=start / 4))
    whole = toy_network()
    training = train(whole, data, recipe, seed=1, progress=False)
    resumed = toy_network(seed=9)
    resumed.load_state_dict(training.rewind)
    train(resumed, data, recipe, seed=1, start=start, progress=False)
    assert states_equal(whole.state_dict(), resumed.state_dict())


def test_rewind_state_holds_buffers_and_is_a_copy(data):
    network = toy_network()
    training = train(network, data, RECIPE, seed=0, progress=False)
    assert int(training.rewind["1.num_batches_tracked"]) == 3
    assert int(network.state_dict()["1.num_batches_tracked"]) == 8
    assert not torch.equal(training.rewind["1.running_mean"], network.state_dict()["1.running_mean"])


def test_rewind_at_zero_is_the_initial_state(data):
    network, initial = toy_network(), toy_network().state_dict()
    recipe = RECIPE.model_copy(update=dict(rewind=0.0))
    assert states_equal(train(network, data, recipe, progress=False).rewind, initial)


def test_same_seed_same_bits_other_seed_other_bits(data):
    runs = [toy_network() for _ in range(3)]
    for network, seed in zip(runs, (0, 0, 1), strict=True):
        train(network, data, RECIPE, seed=seed, progress=False)
    first, again, other = (r.state_dict() for r in runs)
    assert states_equal(first, again) and not states_equal(first, other)


def test_dropout_is_seeded_and_the_callers_random_state_stays(data):
    """Dropout draws from PyTorch's global generator: seeded by step inside, given back outside, so that a resumed
    training drops the same units."""
    recipe = RECIPE.model_copy(update=dict(momentum=0.0, rewind=1.0))
    whole, resumed = (nn.Sequential(*toy_network()[:5], nn.Dropout(0.5), toy_network()[5]) for _ in range(2))
    with untouched_rng():
        rewind = train(whole, data, recipe, seed=1, progress=False).rewind
    resumed.load_state_dict(rewind)
    torch.rand(3, generator=None)
    train(resumed, data, recipe, seed=1, start=4, progress=False)
    assert states_equal(whole.state_dict(), resumed.state_dict())


class Late(nn.Module):
    """Draws from its seventh call in training on, as schedules of dropout do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if not self.training:
            return x
        self.calls += 1
        return x * (0.5 + torch.rand_like(x)) if self.calls > 6 else x


@pytest.mark.parametrize(
    "layer, seeded", [(nn.Identity, [0, 4, 8]), (nn.Dropout, list(range(12))), (Late, [0, 4, 8, 9, 10, 11])]
)
def test_steps_are_seeded_where_something_is_drawn(data, monkeypatch, layer, seeded):
    """Every epoch anew, so that a training that goes on at one draws what it would have drawn."""
    steps, recipe = [], RECIPE.model_copy(update=dict(epochs=3, momentum=0.0, rewind=2.0))
    monkeypatch.setattr(
        loop, "derive", lambda seed, *purpose: steps.append(purpose[1]) or derive(seed, *purpose)
    )
    whole, resumed = (nn.Sequential(*toy_network()[:5], layer(), toy_network()[5]) for _ in range(2))
    rewind = train(whole, data, recipe, seed=1, progress=False).rewind
    assert steps == seeded
    resumed.load_state_dict(rewind)
    train(resumed, data, recipe, seed=1, start=8, progress=False)
    assert states_equal(whole.state_dict(), resumed.state_dict())


def test_it_learns(data):
    network = toy_network()
    losses = train(network, data, RECIPE.model_copy(update=dict(epochs=8)), progress=False).losses
    assert len(losses) == 8 and losses[-1] < 0.5 * losses[0]
    assert (predict(network, data.test[0]).argmax(1) == data.test[1]).double().mean() > 0.9


def test_divergence_is_an_error_that_names_the_step(data):
    network = toy_network()
    with torch.no_grad():
        network[5].bias[0] = torch.nan
    with pytest.raises(DivergedError, match="step 0"):
        train(network, data, RECIPE, progress=False)


def test_an_exploding_rate_diverges_rather_than_returning(data):
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.Linear(32, 3))
    with pytest.raises(DivergedError):
        train(network, data, RECIPE.model_copy(update=dict(epochs=20, lr=1e6)), progress=False)


def test_augment_moves_and_flips_whole_images():
    """Every augmented image is one of the 2 · (2p+1)² shifted or mirrored versions of its own original."""
    images = torch.rand(32, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(crop_padding=1, flip=True)
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    variants = []
    for flip in (False, True):
        for top in range(3):
            for left in range(3):
                # a mirrored crop from the left edge is a crop from the right edge of the mirrored image
                crop = padded[:, :, top : top + 6, left : left + 5]
                variants.append(crop.flip(-1) if flip else crop)
    out = augment(images, recipe, seed=0, step=0)
    matches = torch.stack([(out == v).flatten(1).all(1) for v in variants])
    assert matches.any(0).all()
    assert matches.any(1).sum() > 9  # not always the same one
    assert torch.equal(out, augment(images, recipe, seed=0, step=0))
    assert not torch.equal(out, augment(images, recipe, seed=0, step=1))


def test_augment_switched_off_returns_the_images():
    images = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert augment(images, Recipe(crop_padding=0, flip=False), 0, 0) is images
    flips = augment(images, Recipe(crop_padding=0, flip=True), 0, 0)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(flips, images, strict=True))


def test_every_epoch_is_a_permutation():
    recipe = Recipe(batch_size=10)
    for epoch in (0, 1):
        seen = torch.cat([batch_indices(epoch * 6 + i, 64, recipe, 0) for i in range(6)])
        assert len(seen.unique()) == 60
    assert not torch.equal(batch_indices(0, 64, recipe, 0), batch_indices(6, 64, recipe, 0))


def test_fewer_images_than_a_batch_is_one_step_an_epoch():
    recipe = Recipe(epochs=3, batch_size=128)
    assert recipe.total_steps(20) == 3
    assert len(batch_indices(2, 20, recipe, 0)) == 20


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("step", [0.5, 1.0, 1.0, 0.1, 0.01, 0.01]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
    ],
)
def test_schedules_by_hand(schedule, expected):
    """Six steps, two of warm-up; milestones at steps 3 and 4."""
    recipe = Recipe(epochs=6, batch_size=8, lr=1.0, warmup=2, schedule=schedule, milestones=(0.5, 0.66))
    assert [recipe.lr_at(s, 8) for s in range(6)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(epochs=0), "epochs"),
        (dict(epochs=2, rewind=3), "rewind"),
        (dict(epochs=2, warmup=3, rewind=0), "warmup"),
        (dict(lr=-1), "lr"),
        (dict(optimiser="sgd"), "optimiser"),
        (dict(optimizer="adam", nesterov=True), "nesterov"),
    ],
)
def test_impossible_recipes_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**settings)


def test_train_refuses_a_start_beyond_the_end_and_a_foreign_mask(data):
    with pytest.raises(SettingError, match="start"):
        train(toy_network(), data, RECIPE, start=9, progress=False)
    with pytest.raises(SettingError, match="7.weight"):
        train(
            toy_network(), data, RECIPE, Mask({"7.weight": torch.ones(2, dtype=torch.bool)}), progress=False
        )


def test_predict_leaves_mode_and_buffers_alone(data):
    network = toy_network().train()
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    logits = predict(network, data.test[0], batch_size=10)
    assert network.training and not network[1].training
    assert states_equal(before, network.state_dict())
    network.eval()
    with torch.no_grad():
        assert torch.allclose(logits, network(data.test[0]), atol=1e-6)


def test_bfloat16_runs_and_is_near_float32(data):
    losses = {}
    for precision in ("float32", "bfloat16"):
        recipe = RECIPE.model_copy(update=dict(precision=precision))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = train(toy_network(), data, recipe, progress=False)
        assert done.precision == precision
        losses[precision] = done.losses[-1]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["bfloat16"] != losses["float32"]


def test_colour_images_and_channels_last_give_the_same_training():
    data = toy_data(channels=3)
    states = []
    for channels_last in (True, False):
        network = toy_network()
        network[0] = nn.Conv2d(3, 6, 3, padding=1)
        with torch.no_grad():
            network[0].weight.copy_(torch.linspace(-0.3, 0.3, 162).view(6, 3, 3, 3))
            network[0].bias.zero_()
        train(network, data, RECIPE.model_copy(update=dict(channels_last=channels_last)), progress=False)
        states.append(network.state_dict())
    assert all(torch.allclose(states[0][n].float(), states[1][n].float(), atol=1e-4) for n in states[0])


LAPTOP = dict(
    epochs=18, batch_size=128, lr=0.2, nesterov=True, weight_decay=1e-3, schedule="linear", warmup=1, rewind=1,
    crop_padding=1,
)  # fmt: skip


def test_recipes_keep_the_names_that_they_had():
    """Records of finished studies are found by these hashes: a new field must not change them while at its default."""
    assert digest(Recipe().model_dump(mode="json")) == "e273d19f0ce3ba59"
    assert digest(Recipe(epochs=2).model_dump(mode="json")) == "df38e0c8e8eb2ece"
    model = ModelSpec(name="resnet8", settings={"stem_stride": 2})
    cell = Cell(DataSource(name="fashion-mini"), model, "dense", (), 0.0, 0, Recipe(**LAPTOP))
    assert cell.id == "7fd145195ad0c4e5"


@pytest.mark.parametrize(
    "change",
    [
        dict(flip="alternate"),
        dict(crop="resized"),
        dict(compile=True),
        dict(tf32=False),
        dict(deterministic=True),
    ],
)
def test_what_later_fields_change_is_another_recipe(change):
    recipe = Recipe(**change)
    dump = recipe.model_dump(mode="json")
    assert change.items() <= dump.items() and Recipe.model_validate(dump) == recipe
    assert digest(dump) != digest(Recipe().model_dump(mode="json"))


def test_numbers_of_existing_recipes_stay_to_the_bit():
    """The images and their order, without the arithmetic, which differs between machines."""
    content = hashlib.sha256()
    images = torch.arange(64 * 36).view(64, 1, 6, 6).float()
    for step in range(8):
        chosen = batch_indices(step, 64, RECIPE, 1)
        content.update(augment(images[chosen], RECIPE, 1, step).numpy().tobytes())
    assert content.hexdigest()[:16] == "5538c4b26461dd2a"


def test_a_compiled_network_trains_to_the_same_weights(data, monkeypatch):
    """Traced and run as PyTorch's compiler does, but for the generated code, which takes it half a minute."""
    compiled = functools.partial(torch.compile, backend="eager")
    calls = []
    monkeypatch.setattr(torch, "compile", lambda module: calls.append(module) or compiled(module))
    states = []
    for recipe in (RECIPE, RECIPE.model_copy(update=dict(compile=True))):
        network = toy_network()
        mask = random_mask(network)
        train(network, data, recipe, mask, progress=False)
        assert Mask.of(network).equals(mask)
        states.append(network.state_dict())
    assert len(calls) == 1 and states_equal(*states)


def test_every_width_of_a_network_is_compiled(monkeypatch):
    """PyTorch gives up on code that it has compiled for eight shapes: small-dense and structured networks have more."""
    graphs, compile_ = [], torch.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", lambda module: compile_(module, backend=backend))
    data, recipe = (
        toy_data(count=4),
        Recipe(epochs=1, batch_size=4, warmup=0, rewind=0, compile=True, precision="float32"),
    )
    for width in range(1, 11):
        layers = nn.Conv2d(1, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
        before = len(graphs)
        train(nn.Sequential(*layers), data, recipe, progress=False, device="cpu")
        assert len(graphs) > before, f"width {width} ran as it is"


def test_settings_of_arithmetic_hold_while_training_and_are_given_back(data, monkeypatch):
    def settings():
        return (
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip

    before, seen = settings(), []
    network = toy_network()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(settings()))
    for change in ({}, {"tf32": False}, {"deterministic": True}):
        recipe = RECIPE.model_copy(update=dict(epochs=1, rewind=0.0, **change))
        train(network, data, recipe, progress=False)
        assert settings() == before
    assert seen[::4] == [(True, True, True, False), (False, False, True, False), (True, True, False, True)]
    with numerics(tf32=True, deterministic=True):
        seen.clear()
        predict(network, data.test[0])
        assert (
            seen[0][:2] == (False, False) and seen[0][3]
        )  # measured in full precision, as strictly as asked for
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert settings() == before


def test_deterministic_algorithms_give_the_same_numbers_here(data):
    states = []
    for change in ({}, {"deterministic": True}):
        network = toy_network()
        train(network, data, RECIPE.model_copy(update=change), progress=False)
        states.append(network.state_dict())
    assert states_equal(*states)


def test_alternating_flips_train_and_resume(data):
    recipe = RECIPE.model_copy(update=dict(momentum=0.0, rewind=1.25, flip="alternate"))
    whole, random = toy_network(), toy_network()
    training = train(whole, data, recipe, seed=1, progress=False)
    resumed = toy_network(seed=9)
    resumed.load_state_dict(training.rewind)
    train(resumed, data, recipe, seed=1, start=5, progress=False)
    assert states_equal(whole.state_dict(), resumed.state_dict())
    train(random, data, recipe.model_copy(update=dict(flip=True)), seed=1, progress=False)
    assert not states_equal(whole.state_dict(), random.state_dict())


def test_warm_up_and_linear_decay_make_a_triangle():
    """What the fastest trainings of small images use: up for a share of the training, then down to nothing."""
    recipe = Recipe(epochs=8, batch_size=8, lr=1.0, warmup=2, schedule="linear")
    rates = [recipe.lr_at(s, 16) for s in range(16)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([1 - k / 12 for k in range(12)])


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_network_may_flatten_grey_images_by_view(channels_last):
    """PyTorch's own tutorial does. Images of one channel can have the strides of channels-last and count as contiguous."""

    class Flattening(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.head = nn.Conv2d(1, 6, 3), nn.Linear(6 * 10 * 10, 3)

        def forward(self, images):
            found = self.convolution(images).relu()
            return self.head(found.view(len(images), -1))

    data = toy_data(12, channels=1)
    torch.manual_seed(0)
    trained = train(Flattening(), data, Recipe(epochs=1, batch_size=4, channels_last=channels_last), seed=0)
    assert trained.losses
