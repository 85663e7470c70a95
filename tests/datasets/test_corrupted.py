import hashlib
import multiprocessing
import os

import numpy as np
import pytest
import torch
from PIL import Image

from lotterylib import datasets
from lotterylib.datasets import corrupted as module
from lotterylib.datasets.corrupted import corrupted, read_cifar_c, read_imagenet_c
from lotterylib.errors import DataError, SettingError, UnknownNameError


@pytest.fixture(scope="module")
def images():
    return datasets.load("fashion-mini", limit=6).test[0]


@pytest.fixture
def counted(monkeypatch):
    """How often images are generated."""
    calls, original = [], module.corrupt
    monkeypatch.setattr(module, "corrupt", lambda *a: calls.append(a) or original(*a))
    return calls


def test_all_severities_as_corrupt_gives_them(images):
    result = corrupted(images, "frost", seed=4)
    assert result.shape == (5, *images.shape) and result.dtype == torch.float32
    for severity in range(1, 6):
        assert torch.equal(result[severity - 1], datasets.corrupt(images, "frost", severity, seed=4))


@pytest.mark.parametrize("corruption", ["gaussian_noise", "jpeg_compression", "saturate"])
def test_generated_once_and_the_same_to_the_bit(images, tmp_path, counted, corruption):
    fresh = corrupted(images, corruption)
    counted.clear()
    folder = tmp_path / "not yet there"
    first, second = (corrupted(images, corruption, folder=folder) for _ in range(2))
    assert len(counted) == 5
    assert torch.equal(first, fresh) and torch.equal(second, fresh)
    assert second.is_contiguous() and second.dtype == torch.float32
    (file,) = folder.iterdir()  # and nothing half-written beside it
    assert file.stat().st_size == 32 + 5 * images.numel()
    second += 1  # a caller's own
    assert torch.equal(corrupted(images, corruption, folder=folder), fresh)


def test_what_decides_has_a_file_of_its_own(images, tmp_path, counted, monkeypatch):
    def again(pictures=images, corruption="fog", seed=0):
        counted.clear()
        corrupted(pictures, corruption, folder=tmp_path, seed=seed)
        return len(counted)

    assert again() == 5 and again() == 0
    assert again(seed=1) == 5
    assert again(corruption="snow") == 5
    other = images.clone()
    other[2, 0, 9, 9] = 1 - other[2, 0, 9, 9]
    assert again(other) == 5
    assert again(images.transpose(2, 3)) == 5  # other content, though not in memory
    assert again(images[:3]) == 5
    assert again(images.reshape(3, 2, *images.shape[1:]).flatten(0, 1)) == 0  # the same images
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert again() == 5
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:20], lambda c: b"", lambda c: c + b"x",
               lambda c: c[:40] + bytes([c[40] ^ 1]) + c[41:], lambda c: bytes([c[0] ^ 1]) + c[1:]]
)  # fmt: skip
def test_a_damaged_file_is_noticed_and_generated_anew(images, tmp_path, counted, damage):
    good = corrupted(images, "contrast", folder=tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    counted.clear()
    assert torch.equal(corrupted(images, "contrast", folder=tmp_path), good)
    assert len(counted) == 5 and file.read_bytes() == content
    assert content[:32] == hashlib.sha256(content[32:]).digest()


def _worker(images, folder, barrier, results):
    torch.set_num_threads(1)
    barrier.wait()
    results.put(hashlib.sha256(corrupted(images, "impulse_noise", folder=folder).numpy()).hexdigest())


def test_two_processes_may_share_the_folder(images, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_worker, args=(images, tmp_path, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {hashlib.sha256(corrupted(images, "impulse_noise").numpy()).hexdigest()}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(images, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        corrupted(images, "fog", folder=tmp_path)


def test_what_corrupt_refuses_leaves_no_file(images, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'fog'"):
        corrupted(images, "fogg", folder=tmp_path)
    with pytest.raises(DataError):
        corrupted(images * 2, "fog", folder=tmp_path)
    assert not list(tmp_path.iterdir())


# --- in parts, by several processes


@pytest.fixture
def in_parts(monkeypatch):
    """Six images are three parts."""
    monkeypatch.setattr(module, "PART", 2 * 28 * 28)
    monkeypatch.setattr(module, "BATCH", 2)


def made_in_parts(images, folder=None):
    return [corrupted(images[p], "impulse_noise", folder=folder, first=p.start) for p in module.parts(images)]


def test_parts_are_the_whole(images, tmp_path, counted, in_parts):
    whole = corrupted(images, "impulse_noise")
    assert torch.equal(torch.cat(made_in_parts(images), 1), whole)
    module.generate(images, ["impulse_noise"], tmp_path)
    counted.clear()
    assert torch.equal(torch.cat(made_in_parts(images, tmp_path), 1), whole)
    assert not counted and len(list(tmp_path.iterdir())) == 3
    module.generate(images, ["impulse_noise"], tmp_path)
    assert not counted


def test_equal_images_at_other_places_have_files_of_their_own(images, tmp_path, in_parts):
    twice = torch.cat([images[:2], images[:2]])
    module.generate(twice, ["impulse_noise"], tmp_path)
    first, second = made_in_parts(twice, tmp_path)
    assert not torch.equal(first, second)


def _generating(images, folder, barrier, results):
    torch.set_num_threads(1)
    made, original = [], module.corrupt

    def corrupt(*arguments):
        made.append(arguments[-1])
        # both have begun before one ends
        if len(made) == 1:
            barrier.wait(60)
        return original(*arguments)

    module.corrupt = corrupt
    module.generate(images, ["impulse_noise", "fog"], folder)
    results.put((len(made), len([p for p in folder.iterdir() if p.suffix == ".pixels"])))


def test_processes_share_out_the_parts(images, tmp_path, in_parts):
    """Each part is made by one of them, and both leave when all are there."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_generating, args=(images, tmp_path, barrier, results)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(calls for calls, _ in found) == 2 * 3 * 5 and min(calls for calls, _ in found) >= 5
    assert [files for _, files in found] == [6, 6]
    assert {path.suffix for path in tmp_path.iterdir()} == {".pixels"}


# --- load_corrupted


def test_load_corrupted_is_the_test_split():
    clean = datasets.load("fashion-mini", limit=20).test
    images, labels = datasets.load_corrupted("fashion-mini", "fog", 3, limit=20)
    assert torch.equal(labels, clean[1])
    assert torch.equal(images, corrupted(clean[0], "fog")[2])
    images, labels = datasets.load_corrupted("digits", "contrast", 1)
    assert images.shape == (400, 1, 32, 32) and labels.shape == (400,)


def test_load_corrupted_refuses():
    with pytest.raises(UnknownNameError, match="unknown data set 'cifar-10': did you mean 'cifar10'"):
        datasets.load_corrupted("cifar-10", "fog", 3)
    with pytest.raises(UnknownNameError, match="did you mean 'frost'"):
        datasets.load_corrupted("digits", "forst", 3)
    with pytest.raises(SettingError, match="severity"):
        datasets.load_corrupted("digits", "fog", 6)
    with pytest.raises(SettingError, match="limit"):
        datasets.load_corrupted("cifar10", "fog", 3, limit=0)


# --- the published archives, in small


def write_cifar_c(folder, count=20, classes=10, corruption="fog"):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (5 * count, 32, 32, 3), dtype=np.uint8)
    labels = np.tile(np.arange(count) % classes, 5).astype(np.uint8)
    np.save(folder / f"{corruption}.npy", pixels)
    np.save(folder / "labels.npy", labels)
    return pixels, labels


@pytest.mark.parametrize("name, folder, classes", [("cifar10", "CIFAR-10-C", 10), ("cifar100", "CIFAR-100-C", 100)])  # fmt: skip
def test_cifar_c(tmp_path, name, folder, classes):
    pixels, labels = write_cifar_c(tmp_path / folder, count=classes, classes=classes)
    for severity in (1, 2, 5):
        images, targets = datasets.load_corrupted(name, "fog", severity, root=str(tmp_path))
        block = slice((severity - 1) * classes, severity * classes)
        assert (
            images.shape == (classes, 3, 32, 32) and images.dtype == torch.float32 and images.is_contiguous()
        )
        assert torch.equal((images * 255).round().byte(), torch.from_numpy(pixels[block]).permute(0, 3, 1, 2))
        assert targets.tolist() == labels[block].tolist() and targets.dtype == torch.int64


def test_cifar_c_limited_is_balanced(tmp_path):
    pixels, _ = write_cifar_c(tmp_path, count=30)
    images, labels = read_cifar_c(tmp_path, "fog", 4, limit=10)
    assert sorted(labels.tolist()) == list(range(10))
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(pixels[90:100]).permute(0, 3, 1, 2))


def test_cifar_c_says_what_is_missing_and_where(tmp_path):
    def error(match):
        with pytest.raises(DataError, match=match) as caught:
            read_cifar_c(tmp_path, "fog", 3)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)

    error(r"fog\.npy is missing: unpack CIFAR-10-C\.tar")
    write_cifar_c(tmp_path)
    (tmp_path / "labels.npy").unlink()
    error(r"labels\.npy is missing")
    np.save(tmp_path / "labels.npy", np.zeros(7, dtype=np.uint8))
    error("want 100 labels, as many as images, got")
    for wrong in (np.zeros((11, 32, 32, 3), np.uint8), np.zeros((10, 32, 32), np.uint8), np.zeros((10, 32, 32, 3)), np.zeros((0, 32, 32, 3), np.uint8)):  # fmt: skip
        np.save(tmp_path / "fog.npy", wrong)
        error(r"want uint8 \[50000, 32, 32, 3\]")
    whole, _ = write_cifar_c(tmp_path)
    content = (tmp_path / "fog.npy").read_bytes()
    for damaged in (content[:-100], b"no array", b""):
        (tmp_path / "fog.npy").write_bytes(damaged)
        error("is damaged")
    write_cifar_c(tmp_path)
    np.save(tmp_path / "labels.npy", np.full(100, 250, dtype=np.uint8))
    error("labels must lie in")


def write_imagenet_c(folder, classes=3, per_class=2):
    dice = np.random.default_rng(0)
    for c in range(classes):
        place = folder / f"n{c:08d}"
        place.mkdir(parents=True)
        for i in range(per_class):
            pixels = dice.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"ILSVRC2012_val_{10 * c + i:08d}.JPEG", quality=90)


@pytest.mark.parametrize("inside", [".", "weather"])
def test_imagenet_c_is_read_when_asked_for(tmp_path, inside):
    folder = tmp_path / "ImageNet-C" / inside / "fog" / "3"
    write_imagenet_c(folder)
    files, labels = read_imagenet_c(tmp_path / "ImageNet-C", "fog", 3, classes=3)
    assert len(files) == 6 and labels.tolist() == [0, 0, 1, 1, 2, 2]
    with Image.open(folder / "n00000001" / "ILSVRC2012_val_00000010.JPEG") as image:
        expected = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(files[2], expected) and torch.equal(files[1:4][1], expected)
    assert files[:4].shape == (4, 3, 24, 24) and sum(1 for _ in files) == 6
    few, their_labels = read_imagenet_c(tmp_path / "ImageNet-C", "fog", 3, limit=3, classes=3)
    assert their_labels.tolist() == [0, 1, 2] and torch.equal(few[1], expected)
    (folder / "n00000001" / "ILSVRC2012_val_00000010.JPEG").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"val_00000010\.JPEG is no readable image") as caught:
        files[2]
    assert "\n" not in str(caught.value)


def test_imagenet_c_says_what_is_missing_and_where(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*ImageNet-C/snow/2; unpack the archive that holds snow"):
        datasets.load_corrupted("imagenet", "snow", 2, root=tmp_path)
    folder = tmp_path / "ImageNet-C" / "snow" / "2"
    write_imagenet_c(folder)
    with pytest.raises(DataError, match="has 3 class folders, it should have 1000"):
        datasets.load_corrupted("imagenet", "snow", 2, root=tmp_path)
    for file in folder.rglob("*.JPEG"):
        file.unlink()
    with pytest.raises(DataError, match=r"no \.JPEG files"):
        read_imagenet_c(tmp_path / "ImageNet-C", "snow", 2, classes=3)


@pytest.mark.parametrize("read", [read_cifar_c, read_imagenet_c])
def test_readers_check_their_arguments_first(tmp_path, read):
    with pytest.raises(UnknownNameError, match="did you mean 'fog'"):
        read(tmp_path, "fogs", 1)
    with pytest.raises(SettingError, match="severity must be 1, 2, 3, 4 or 5"):
        read(tmp_path, "fog", 0)
