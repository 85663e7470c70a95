import multiprocessing
import os
import sys
from collections import namedtuple
from itertools import islice

import pytest
import torch
from torch import nn

from lotterylib import pruners
from lotterylib.datasets import LazyImages
from lotterylib.datasets.base import Dataset
from lotterylib.datasets.lazy import in_unit
from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.training import Recipe, decoders, predict, train
from lotterylib.training import batches as batches_module
from lotterylib.training.batches import (
    Views,
    _workers,
    alternating,
    augment,
    batch_indices,
    evaluation_batches,
    training_batches,
)
from lotterylib.training.launch import Launch
from tests.conftest import toy_network, untouched_rng
from tests.datasets.test_imagenet import load, make_imagenet
from tests.device.emulated import emulated, on_device

PLAIN = Recipe(
    epochs=2, batch_size=6, warmup=0.5, rewind=0.5, precision="float32", lr=0.05, crop_padding=0, flip=False
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lazy(tmp_path_factory) -> Dataset:
    """21 images to train on, three classes of tiny JPEG files."""
    return load(make_imagenet(tmp_path_factory.mktemp("files"), train=10, test=4))


@pytest.fixture(scope="module")
def loaded(lazy) -> Dataset:
    """The same images, as evaluation sees them, in memory."""
    splits = {s: (getattr(lazy, s)[0][:], getattr(lazy, s)[1]) for s in ("train", "val", "test")}
    return Dataset(name="imagenet", class_names=lazy.class_names, statistics=lazy.statistics, **splits)


def colour_network() -> nn.Module:
    network = toy_network()
    network[0] = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        network[0].weight.copy_(torch.linspace(-0.3, 0.3, 162).view(6, 3, 3, 3))
        network[0].bias.zero_()
    return network


def batches(data, recipe, steps, seed=0, **settings):
    return list(training_batches(data.train, recipe, seed, steps, CPU, **settings))


def equal(ones, others):
    return all(
        torch.equal(a, b)
        for one, other in zip(ones, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("crop", ["padded", "resized"])
@pytest.mark.parametrize("flip", [True, "alternate"])
def test_batches_are_a_function_of_seed_and_step(lazy, crop, flip):
    """However many processes read, and wherever training starts; each process's shares make up the batch."""
    recipe = PLAIN.model_copy(update=dict(crop=crop, crop_padding=1, flip=flip))
    with untouched_rng():
        whole = batches(lazy, recipe, range(6), workers=0)
        assert equal(whole, batches(lazy, recipe, range(6), workers=2))
    assert equal(whole[4:], batches(lazy, recipe, range(4, 6), workers=0))
    shares = [batches(lazy, recipe, range(6), workers=0, share=s) for s in (slice(0, 2), slice(2, 6))]
    assert equal(
        whole, [tuple(torch.cat(p) for p in zip(*pair, strict=True)) for pair in zip(*shares, strict=True)]
    )
    assert not equal(whole, batches(lazy, recipe, range(6), seed=1, workers=0))
    for step, (images, labels) in enumerate(whole):
        assert images.shape == (6, 3, 8, 8) and images.min() >= 0 and images.max() <= 1
        assert torch.equal(labels, lazy.train[1][batch_indices(step, 21, recipe, 0)])


def test_resized_crops_are_parts_of_their_image_and_new_each_epoch(tmp_path):
    """On an image that is brighter to the right (red) and below (green), a crop rises evenly, over a part of the range."""
    import numpy as np
    from PIL import Image

    gradient = np.zeros((40, 60, 3), dtype=np.uint8)
    gradient[..., 0], gradient[..., 1] = np.linspace(0, 255, 60), np.linspace(0, 255, 40)[:, None]
    Image.fromarray(gradient).save(tmp_path / "a.png")
    recipe = PLAIN.model_copy(update=dict(crop="resized", batch_size=1))
    views = Views(LazyImages(tmp_path, ["a.png"], 16, 20), recipe, 0, slice(None))
    seen = [views[step][0].float() for step in range(40)]
    assert len({tuple(v.flatten().tolist()) for v in seen}) == 40
    shares = []
    for view in seen:
        red, green = view[0].mean(0), view[1].mean(1)  # by column, by row
        assert (red.diff() > 0).all() and (green.diff() > 0).all() and view[0].std(0).max() < 2
        shares.append((red[-1] - red[0]) * (green[-1] - green[0]) / 255**2 * (16 / 15) ** 2)
    assert (
        min(shares) > 0.05 and max(shares) < 1.1 and max(shares) - min(shares) > 0.5
    )  # areas from 8 to 100%


@pytest.mark.parametrize("encoded", [True, False], ids=["files", "pixels"])
@pytest.mark.parametrize("flip", [True, "alternate", False])
def test_views_made_on_the_device_are_those_of_the_workers(lazy, monkeypatch, flip, encoded):
    """The same parts, mirrored likewise, up to the rounding of two ways to resize and to decode."""
    monkeypatch.setattr(decoders.TorchVision, "works_on", lambda self, device: encoded)
    recipe = PLAIN.model_copy(update=dict(crop="resized", flip=flip))
    expected = batches(lazy, recipe, range(4), workers=0)
    with untouched_rng():
        found = batches(lazy, recipe, range(4), workers=0, views_on_device="torchvision")
    for (images, labels), (ours, theirs) in zip(found, expected, strict=True):
        assert images.shape == ours.shape and images.dtype == torch.float32 and torch.equal(labels, theirs)
        assert (images - ours).abs().max() <= 2.5 / 255


def test_dali_cuts_the_same_parts(lazy):
    pytest.importorskip("nvidia.dali.experimental.dynamic")
    recipe = PLAIN.model_copy(update=dict(crop="resized", flip=True))
    expected = batches(lazy, recipe, range(4), workers=0)
    for (images, labels), (ours, theirs) in zip(
        batches(lazy, recipe, range(4), workers=0, views_on_device="dali"), expected, strict=True
    ):
        assert torch.equal(labels, theirs) and (images - ours).abs().max() <= 2.5 / 255


def test_decoders_go_by_their_names(lazy, monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean 'dali'"):
        Launch(views_on_device="daly")
    # as if it were not installed
    monkeypatch.setitem(sys.modules, "nvidia.dali.experimental.dynamic", None)
    recipe = PLAIN.model_copy(update=dict(crop="resized"))
    with pytest.raises(SettingError, match="decoder dali is not installed: pip install nvidia-dali-cuda"):
        batches(lazy, recipe, range(1), workers=0, views_on_device="dali")


def test_processes_hand_over_what_views_are_made_of(lazy):
    recipe = PLAIN.model_copy(update=dict(crop="resized", flip=True))
    whole = batches(lazy, recipe, range(3), workers=0, views_on_device="torchvision")
    assert equal(whole, batches(lazy, recipe, range(3), workers=2, views_on_device="torchvision"))


def test_a_gpu_without_a_decoder_resizes_pixels(lazy):
    recipe = PLAIN.model_copy(update=dict(crop="resized", flip=True))
    settings = dict(workers=0, views_on_device="torchvision")
    with emulated() as device:
        cuda, found = torch.device("cuda"), []
        for images, labels in training_batches(lazy.train, recipe, 0, range(2), cuda, **settings):
            assert on_device(images) and on_device(labels)
            found.append((images.cpu(), labels.cpu()))
        assert device.counts["waits"] == 4
    expected = batches(lazy, recipe, range(2), workers=0)
    assert all((a - b).abs().max() <= 2.5 / 255 for (a, _), (b, _) in zip(found, expected, strict=True))


@pytest.mark.parametrize("broken", [b"", b"\xff\xd8\xff junk", None])
def test_a_file_that_the_device_cannot_decode_is_one_line(tmp_path, broken):
    data = load(make_imagenet(tmp_path, train=10, test=4))
    path = data.train[0].path(3)
    path.write_bytes(path.read_bytes()[:400] if broken is None else broken)
    recipe = PLAIN.model_copy(update=dict(crop="resized"))
    with pytest.raises(DataError, match="no readable image|cannot be decoded on cpu") as error:
        batches(data, recipe, range(3), workers=0, views_on_device="torchvision")
    assert "\n" not in str(error.value)


def test_alternating_flips_turn_every_image_every_epoch(lazy, loaded):
    recipe = PLAIN.model_copy(update=dict(flip="alternate", batch_size=21, epochs=4))
    first = alternating(torch.arange(1000), 0, 1000, seed=0)
    assert 400 < first.sum() < 600
    assert torch.equal(alternating(torch.arange(1000), 1, 1000, 0), ~first)
    assert torch.equal(alternating(torch.tensor([7, 3]), 2, 1000, 0), first[[7, 3]])
    assert not torch.equal(alternating(torch.arange(1000), 0, 1000, seed=1), first)
    for data in (lazy, loaded):
        epochs = []
        for step, (images, _) in enumerate(
            batches(data, recipe, range(4), **({"workers": 0} if data is lazy else {}))
        ):
            order = batch_indices(step, 21, recipe, 0)
            epochs.append(images[order.argsort()])
        assert torch.equal(epochs[1], epochs[0].flip(-1)) and torch.equal(epochs[2], epochs[0])
        mirrored = alternating(torch.arange(21), 0, 21, 0)
        assert torch.equal(
            epochs[0], torch.where(mirrored[:, None, None, None], loaded.train[0].flip(-1), loaded.train[0])
        )


def test_flips_can_be_told_and_crops_stay_the_same():
    images = torch.rand(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(crop_padding=1)
    told = torch.arange(32) % 2 == 0
    moved = augment(images, recipe.model_copy(update=dict(flip=False)), 0, 3)
    out = augment(images, recipe, 0, 3, told)
    assert torch.equal(out[1::2], moved[1::2])
    assert not torch.equal(out[::2], moved[::2])


def test_training_from_files_is_training_from_memory_to_the_bit(lazy, loaded):
    states = []
    for data in (lazy, loaded):
        network = colour_network()
        training = train(network, data, PLAIN, seed=3, progress=False)
        states.append(
            {
                **network.state_dict(),
                "losses": torch.tensor(training.losses),
                **{f"r/{n}": t for n, t in training.rewind.items()},
            }
        )
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])


def test_predictions_from_files_are_those_from_memory(lazy, loaded):
    network = colour_network()
    with untouched_rng():
        logits = predict(network, lazy.test[0], batch_size=5)
    assert torch.equal(logits, predict(network, loaded.test[0], batch_size=5))
    whole = LazyImages(lazy.test[0].folder, lazy.test[0].names)  # as ImageNet-C is read
    assert torch.equal(predict(network, whole, batch_size=5), predict(network, whole[0:12], batch_size=5))
    pieces = list(evaluation_batches(lazy.test[0], 5, workers=0))
    # they travel as bytes
    assert [(len(p), p.dtype) for p in pieces] == [(n, torch.uint8) for n in (5, 5, 2)]
    assert torch.equal(in_unit(torch.cat(pieces)), loaded.test[0])


@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow"])
def test_masks_from_files_are_those_from_memory(lazy, loaded, pruner):
    one, other = (pruners.build(pruner).mask(colour_network(), data, 0.6, 0) for data in (lazy, loaded))
    assert one.equals(other)


def test_images_are_read_as_training_goes_on(lazy, monkeypatch):
    opened, original = [], LazyImages.open
    monkeypatch.setattr(LazyImages, "open", lambda self, i: opened.append(i) or original(self, i))
    for _ in islice(training_batches(lazy.train, PLAIN, 0, range(6), CPU, workers=0), 2):
        pass
    assert len(opened) == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_line_whoever_reads_it(tmp_path, workers):
    data = load(make_imagenet(tmp_path))
    broken = data.train[0].path(0)
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(DataError, match="is no readable image") as caught:
        batches(data, PLAIN, range(4), workers=workers)
    assert str(caught.value).startswith(str(broken)) and "\n" not in str(caught.value)


def test_a_small_shared_memory_is_done_without(lazy, monkeypatch, capsys):
    """As in a container, where its 64 MB would be waited for, for ever."""
    usage = namedtuple("usage", "free")(1000)
    expected = [images for images, _ in training_batches(lazy.train, PLAIN, 0, range(4), CPU, workers=0)]
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    shared, from_numpy = [], torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: shared.append(array) or from_numpy(array))
    found = [images for images, _ in training_batches(lazy.train, PLAIN, 0, range(4), CPU, workers=2)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(shared) == 4 and capsys.readouterr().err.count("come through pipes") == 1


def test_an_image_that_is_never_read_is_not_waited_for(lazy, monkeypatch):
    never, _ = os.pipe()
    monkeypatch.setattr(LazyImages, "open", lambda self, i: os.read(never, 1))
    monkeypatch.setattr(batches_module, "PATIENCE", 1)
    with pytest.raises(RuntimeError, match="timed out after 1 seconds"):
        next(training_batches(lazy.train, PLAIN, 0, range(4), CPU, workers=1))


def test_a_pipe_among_images_is_one_line(tmp_path):
    data = load(make_imagenet(tmp_path))
    pipe = data.train[0].path(0)
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="is no file"):
        data.train[0][0]


def test_crops_from_files_are_refused_for_images_in_memory(loaded):
    with pytest.raises(SettingError, match="crop 'resized'"):
        train(colour_network(), loaded, PLAIN.model_copy(update=dict(crop="resized")), progress=False)


def test_a_process_that_may_have_no_children_reads_for_itself(monkeypatch):
    assert _workers(None, 100) >= 1 and _workers(3, 100) == 3 and _workers(3, 2) == 2
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert _workers(None, 100) == 0
