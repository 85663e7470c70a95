import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from lotterylib import datasets
from lotterylib.datasets import Dataset, fashion
from lotterylib.errors import DataError, SettingError, UnknownNameError
from tests.conftest import untouched_rng


@pytest.fixture(scope="module")
def mini():
    return datasets.load("fashion-mini")


def keys(images: torch.Tensor) -> set[bytes]:
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in images}


def test_fashion_mini_is_what_it_says(mini):
    assert [len(getattr(mini, s)[1]) for s in ("train", "val", "test")] == [10_000, 1_000, 10_000]
    assert (mini.classes, mini.channels, mini.size) == (10, 1, 32)
    for split, per_class in (("train", 1000), ("val", 100), ("test", 1000)):
        images, labels = getattr(mini, split)
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert images.shape[1:] == (1, 32, 32)
        assert images.min() == 0 and images.max() == 1
        assert torch.bincount(labels).tolist() == [per_class] * 10
        border = images.clone()
        border[:, :, 2:30, 2:30] = 0
        assert border.abs().max() == 0  # 28 pixels, padded by two on each side
        assert images[:, :, 2:30, 2:30].flatten(1).max(1).values.min() > 0  # none is blank


def test_training_and_validation_images_are_disjoint(mini):
    """By content: the official training set holds few exact duplicates, and none of them sits on both sides."""
    train, val = keys(mini.train[0]), keys(mini.val[0])
    assert len(val) == 1000 and len(train) > 9_950
    assert not train & val


def test_statistics_are_those_of_the_training_pixels(mini):
    pixels = mini.train[0].double()
    assert mini.mean == pytest.approx([pixels.mean().item()])
    assert mini.std == pytest.approx([pixels.std().item()])


def test_a_flipped_byte_is_one_clear_error(tmp_path, monkeypatch):
    content = bytearray(fashion.MINI.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "fashion-mini.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(fashion, "MINI", damaged)
    with pytest.raises(DataError, match="is damaged: its SHA-256") as caught:
        datasets.load("fashion-mini")
    assert str(damaged) in str(caught.value) and "\n" not in str(caught.value)
    damaged.unlink()
    with pytest.raises(DataError, match="is missing"):
        datasets.load("fashion-mini")


@pytest.mark.parametrize("limit", [1, 7, 10, 25, 2000])
def test_a_limit_is_balanced_and_the_same_every_time(mini, limit):
    small = datasets.load("fashion-mini", limit=limit)
    for split in ("train", "val", "test"):
        images, labels = getattr(small, split)
        counts = torch.bincount(labels, minlength=10)
        assert len(labels) == min(limit, len(getattr(mini, split)[1]))
        assert counts.max() - counts.min() <= 1
        again = mini.limited(limit)
        assert torch.equal(images, getattr(again, split)[0])
        assert torch.equal(labels, getattr(again, split)[1])


def test_a_limit_keeps_images_with_their_labels(mini):
    small = mini.limited(20)
    whole = {i.numpy().tobytes(): int(c) for i, c in zip(*mini.train, strict=True)}
    assert all(whole[i.numpy().tobytes()] == c for i, c in zip(*small.train, strict=True))


def test_digits():
    with untouched_rng():
        data = datasets.load("digits")
    assert [len(getattr(data, s)[1]) for s in ("train", "val", "test")] == [1197, 200, 400]
    assert (data.classes, data.channels, data.size) == (10, 1, 32)
    assert data.train[0].min() >= 0 and 0.9 < data.train[0].max() <= 1
    assert not keys(data.train[0]) & keys(data.test[0])
    again = datasets.load("digits")
    assert torch.equal(data.train[0], again.train[0]) and torch.equal(data.test[1], again.test[1])


def test_mnist_mini_is_handwriting_in_full_resolution():
    """The digits of scikit-learn are other ones (8×8 pixels, other writers), and still their class means name
    MNIST's four times as often as chance would: these are digits, and their labels are right."""
    data, small = datasets.load("mnist-mini"), datasets.load("digits")
    assert [len(getattr(data, s)[1]) for s in ("train", "val", "test")] == [3500, 500, 1000]
    for split, each in (("train", 350), ("val", 50), ("test", 100)):
        images, labels = getattr(data, split)
        assert torch.bincount(labels).tolist() == [each] * 10
        assert (
            images.count_nonzero() == images[:, :, 2:30, 2:30].count_nonzero()
            and images.amax(dim=(1, 2, 3)).min() > 0.9
        )
    assert len(keys(torch.cat([data.train[0], data.val[0], data.test[0]]))) == 5000
    assert len(data.test[0].unique()) == 256
    assert (pixels := (data.test[0] * 255)).sub(pixels.round()).abs().max() < 1e-4
    means = torch.stack([small.train[0][small.train[1] == c].mean(dim=0) for c in range(10)]).flatten(1)
    images, labels = data.test
    # the pen's strokes fill 20×20 pixels of MNIST's images, and all of scikit-learn's
    near = torch.nn.functional.interpolate(images[:, :, 6:26, 6:26], size=32, mode="bilinear").flatten(1)
    centred, wanted = (torch.nn.functional.normalize(t - t.mean(dim=1, keepdim=True)) for t in (near, means))
    assert ((centred @ wanted.T).argmax(dim=1) == labels).float().mean() > 0.35


# --- the full Fashion-MNIST, from hand-written idx files


def idx(array: np.ndarray) -> bytes:
    """The format: two zero bytes, type 8 (uint8), number of axes, each axis big-endian, then the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_fashion(folder: Path, train: int = 12, test: int = 5, zipped: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[f"{prefix}-images-idx3"] = dice.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1"] = (np.arange(count) % 10).astype(np.uint8)
    for name, array in arrays.items():
        if zipped:
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / f"{name}-ubyte").write_bytes(idx(array))
    return arrays


@pytest.fixture
def no_download(monkeypatch):
    """A download fails at once, as it does without a network."""
    from torchvision.datasets import mnist

    def refuse(*_, **__):
        raise RuntimeError("Error downloading:\nno network")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)


@pytest.mark.parametrize("zipped, inside", [(True, "."), (False, "."), (False, "FashionMNIST/raw")])
def test_fashion_mnist_from_idx_files(tmp_path, monkeypatch, no_download, zipped, inside):
    monkeypatch.setattr(fashion, "TRAIN", 8)
    arrays = write_fashion(tmp_path / inside, zipped=zipped)
    data = datasets.load("fashion-mnist", root=str(tmp_path))
    assert [len(getattr(data, s)[1]) for s in ("train", "val", "test")] == [8, 4, 5]
    both = torch.cat([data.train[0], data.val[0]])
    expected = torch.from_numpy(arrays["train-images-idx3"]).float() / 255
    assert torch.equal(both[:, 0, 2:30, 2:30], expected)
    assert both.sum() == pytest.approx(expected.sum().item(), rel=1e-6)  # padded with zeros
    assert torch.cat([data.train[1], data.val[1]]).tolist() == arrays["train-labels-idx1"].tolist()
    assert data.test[1].tolist() == arrays["t10k-labels-idx1"].tolist()


def test_the_split_point_leaves_five_thousand_for_validation():
    assert fashion.TRAIN == 60_000 - 5_000


def test_no_files_and_no_network_is_one_line_that_says_what_to_do(tmp_path, no_download):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz") as caught:
        datasets.load("fashion-mnist", root=tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no gzip at all", gzip.compress(b"x" * 5000, mtime=0)[:40], gzip.compress(b"not an idx file", mtime=0)])  # fmt: skip
def test_a_damaged_idx_file_is_one_line(tmp_path, no_download, content):
    write_fashion(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match="no readable idx files") as caught:
        datasets.load("fashion-mnist", root=tmp_path)
    assert "\n" not in str(caught.value)


# --- what is refused


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'fashion-mini'"):
        datasets.load("fashion_mini")
    assert set(datasets.names()) >= {"fashion-mini", "fashion-mnist", "digits"}


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(SettingError, match="limit must be at least 1"):
        datasets.load("digits", limit=limit)


@pytest.mark.parametrize(
    "images, labels, words",
    [
        (torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), "float32"),
        (torch.zeros(3, 4, 4), torch.zeros(3).long(), r"\[N, C, H, W\]"),
        (torch.zeros(3, 1, 4, 4), torch.zeros(2).long(), r"int64 \[3\]"),
        (torch.zeros(3, 1, 4, 4), torch.zeros(3), "int64"),
        (torch.zeros(0, 1, 4, 4), torch.zeros(0).long(), "no images"),
        (torch.full((3, 1, 4, 4), 255.0), torch.zeros(3).long(), r"pixels must lie in \[0, 1\]"),
        (torch.full((3, 1, 4, 4), torch.nan), torch.zeros(3).long(), "pixels"),
        (torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 2]), r"0\.\.1"),
    ],
)
def test_data_of_another_form_are_refused(images, labels, words):
    good = (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(DataError, match=words):
        Dataset("mine", good, (images, labels), good, ("a", "b"))
