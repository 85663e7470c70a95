"""A network's answers, and that asking leaves network and images as they were."""

import pytest
import torch
from torch import nn

from lotterylib.training import Launch, Recipe, predict, train
from lotterylib.training.prediction import in_mode
from tests.conftest import toy_data, toy_network
from tests.training.test_loop import states_equal

COLOUR = toy_data(channels=3)


def colour_network() -> nn.Module:
    network = toy_network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network[0] = nn.Conv2d(3, 6, 3, padding=1)
    return network.eval()


class Tutorial(nn.Module):
    """Flattens by ``view``, as PyTorch's tutorials do; channels-last has no such view."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.norm = nn.BatchNorm2d(3)
            self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 144, 3)

    def forward(self, x):
        return self.head(self.body(self.norm(x)).relu().view(len(x), -1))


def test_pieces_give_the_numbers_of_the_whole():
    network, images = colour_network(), COLOUR.test[0]
    with torch.no_grad():
        whole = network(images)
    for size in (1, 10, 100):
        assert torch.allclose(predict(network, images, batch_size=size, device="cpu"), whole, atol=1e-6)


def test_a_network_that_normalises_in_place_gets_copies():
    """Also of grey images, for which channels-last and contiguous are the same."""

    class InPlace(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.layer = nn.Linear(channels * 144, 3)

        def forward(self, x):
            return self.layer(x.sub_(0.5).div_(0.2).flatten(1))

    for data in (COLOUR, toy_data()):
        network, images = InPlace(data.channels), data.test[0].clone()
        first = predict(network, images, device="cpu")
        assert torch.equal(images, data.test[0]) and torch.equal(
            predict(network, images, device="cpu"), first
        )
        train_images = data.train[0].clone()
        recipe = Recipe(epochs=1, warmup=0, crop_padding=0, flip=False, batch_size=16, precision="float32")
        train(network, data, recipe, progress=False, device="cpu")
        assert torch.equal(data.train[0], train_images)


def test_a_view_after_a_convolution_is_taken_as_it_is():
    network, by_hand = Tutorial().eval(), Tutorial().eval()
    with torch.no_grad():
        expected = by_hand(COLOUR.test[0])
    assert torch.allclose(predict(network, COLOUR.test[0], device="cpu"), expected, atol=1e-6)
    recipe = Recipe(epochs=2, batch_size=16, warmup=0, rewind=0.5, lr=0.05, precision="float32")
    done = [
        train(
            model,
            COLOUR,
            recipe.model_copy(update={"channels_last": last}),
            seed=1,
            progress=False,
            device="cpu",
        )
        for model, last in ((network, True), (by_hand, False))
    ]
    assert states_equal(network.state_dict(), by_hand.state_dict()) and done[0].losses == done[1].losses
    assert int(network.norm.num_batches_tracked) == 8 and done[0].images == done[1].images


def test_asking_on_another_device_moves_a_copy_of_the_weights():
    """``meta`` stands for a GPU: it refuses to mix with the processor's tensors, and holds no numbers."""
    network, asked = colour_network().train(), []
    network[1].eval()
    before = [(id(t), t.device, t.is_contiguous()) for t in (*network.parameters(), *network.buffers())]
    network[5].register_forward_hook(lambda module, inputs, output: asked.append(module.weight.device.type))
    with pytest.raises(NotImplementedError):
        predict(network, COLOUR.test[0], device="meta")
    assert asked == ["meta"]
    assert before == [
        (id(t), t.device, t.is_contiguous()) for t in (*network.parameters(), *network.buffers())
    ]
    assert network.training and not network[1].training


def test_modes_come_back():
    network = toy_network()
    network[1].eval()
    with pytest.raises(KeyError), in_mode(network, training=True):
        assert network[1].training
        raise KeyError
    assert network.training and not network[1].training


def test_readers_are_those_of_the_launch(monkeypatch):
    from lotterylib.training import launching, prediction

    seen, original = [], prediction.evaluation_batches
    monkeypatch.setattr(
        prediction,
        "evaluation_batches",
        lambda i, size, workers, pin: seen.append(workers) or original(i, size),
    )
    with launching(Launch(workers=3)):
        predict(toy_network(), toy_data().test[0], device="cpu")
        predict(toy_network(), toy_data().test[0], device="cpu", workers=1)
    assert seen == [3, 1]
