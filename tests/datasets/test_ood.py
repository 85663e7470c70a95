import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

from lotterylib import datasets
from lotterylib.datasets.ood import extras, load_ood, names, outliers, usual
from lotterylib.errors import DataError, MissingDataError, SettingError, UnknownNameError
from tests.conftest import toy_data, untouched_rng
from tests.datasets.formats import write_cifar, write_imagenet_o, write_svhn

OFFLINE = ("digits", "fashion-mini", "mnist-mini", "gaussian", "uniform")  # these need no files


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("size, channels", [(32, 1), (28, 1), (32, 3), (64, 3)])
def test_form(name, size, channels):
    with untouched_rng():
        images = load_ood(name, size, channels, count=50)
    assert images.shape == (50, channels, size, size) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std(dim=(1, 2, 3)).min() > 0.05
    assert torch.equal(images, load_ood(name, size, channels, count=50))
    assert len({i.numpy().tobytes() for i in images}) == 50
    if name not in ("gaussian", "uniform"):  # grey, also in colour
        assert torch.equal(images, images[:, :1].expand_as(images))
    elif channels == 3:
        assert not torch.equal(images[:, 0], images[:, 1])


def test_by_name_alone():
    assert set(names()) == {*OFFLINE, "cifar10", "cifar100", "svhn", "imagenet-o"}
    for name in OFFLINE:
        assert datasets.load_ood(name).shape == (1000, 1, 32, 32)


def test_the_noise_is_the_papers():
    """clip(N(0, 1/2), −1, 1)/2 + 1/2: each end holds all beyond two standard deviations, the middle has spread 1/4."""
    images = load_ood("gaussian", count=200)
    tail = 0.5 * math.erfc(2 / math.sqrt(2))
    assert (images == 0).double().mean() == pytest.approx(tail, rel=0.05)
    assert (images == 1).double().mean() == pytest.approx(tail, rel=0.05)
    assert images.mean() == pytest.approx(0.5, abs=0.002)
    inner = images[(images > 0) & (images < 1)]
    below = (inner < 0.25).double().mean().item()  # one standard deviation below the mean
    assert below == pytest.approx((0.5 * math.erfc(1 / math.sqrt(2)) - tail) / (1 - 2 * tail), rel=0.03)
    flat = load_ood("uniform", count=200)
    assert torch.histc(flat, 10, 0, 1).div(flat.numel()).tolist() == pytest.approx([0.1] * 10, rel=0.03)
    assert not torch.equal(flat, images)


def test_digits_are_scikit_learns_class_by_class():
    source = torch.from_numpy(load_digits().images).float().div(16).unsqueeze(1)
    source = F.interpolate(source, size=32, mode="bilinear")
    images = load_ood("digits", count=1797)
    assert {i.numpy().tobytes() for i in images} == {i.numpy().tobytes() for i in source}
    few = load_ood("digits", count=100)
    digits = datasets.load("digits")
    splits = (digits.test, digits.val, digits.train)
    everything, labels = (torch.cat(part) for part in zip(*splits, strict=True))
    places = torch.cdist(few.flatten(1), everything.flatten(1)).argmin(dim=1)
    assert torch.bincount(labels[places]).tolist() == [10] * 10


@pytest.fixture
def root(tmp_path):
    write_cifar(tmp_path, "cifar10", test=30)
    write_cifar(tmp_path, "cifar100", train=100, test=100)
    write_svhn(tmp_path, test=40)
    write_imagenet_o(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_colour_sets_are_test_images_class_by_class(root, name):
    with untouched_rng():
        found = load_ood(name, count=20, root=str(root))
    assert torch.equal(found, datasets.load(name, root=root, limit=20).test[0])
    grey = load_ood(name, channels=1, count=20, root=root)
    assert torch.allclose(grey, found.mean(dim=1, keepdim=True))
    assert load_ood(name, size=64, count=3, root=root).shape == (3, 3, 64, 64)


def test_imagenet_o_is_cut_as_imagenet_is(root):
    with untouched_rng():
        images = load_ood("imagenet-o", size=28, count=3, root=root)
    assert images.shape == (3, 3, 28, 28) and images.min() >= 0 and images.max() <= 1
    assert load_ood("imagenet-o", count=2, root=root).shape == (2, 3, 224, 224)
    with Image.open(root / "imagenet-o" / "n00000000" / "n00000000_0.JPEG") as file:  # 48 × 64 pixels, grey
        middle = file.convert("RGB").resize((32, 42), Image.Resampling.BILINEAR).crop((2, 7, 30, 35))
    by_hand = torch.from_numpy(np.array(middle)).permute(2, 0, 1).float() / 255
    assert torch.allclose(images[0], by_hand, atol=1.5 / 255)
    with pytest.raises(SettingError, match="imagenet-o has 6 images, not 7"):
        load_ood("imagenet-o", count=7, root=root)
    (root / "imagenet-o" / "n00000001" / "n00000001_0.JPEG").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"n00000001_0\.JPEG is no readable image"):
        load_ood("imagenet-o", count=3, root=root)
    with pytest.raises(MissingDataError, match="there are no class folders"):
        load_ood("imagenet-o", root=root / "elsewhere")


@pytest.mark.parametrize("data, sets", [
    ("fashion-mini", ("mnist-mini",)), ("toy", ("mnist-mini",)), ("cifar10", ("cifar100", "svhn")),
    ("cifar100", ("cifar10", "svhn")), ("imagenet", ("imagenet-o",)), ("digits", ("fashion-mini",)),
])  # fmt: skip
def test_the_usual_sets_are_real_images_and_noise_stands_beside_them(data, sets):
    assert usual(data) == sets and extras(data) == ("gaussian", "uniform")
    if data in datasets.names():
        assert usual(datasets.build(data)) == sets and extras(datasets.build(data)) == ("gaussian", "uniform")


def test_outliers_come_from_the_folder_of_the_data(root):
    data = datasets.load("cifar10", root=root)
    for name in usual("cifar10"):
        assert outliers(name, data, 7).shape == (7, 3, 32, 32)
    for own in (data, data.without([3])[0]):
        assert usual(own) == ("cifar100", "svhn")
        with pytest.raises(SettingError, match="cifar10 is in distribution for cifar10"):
            outliers("cifar10", own, 7)


def test_outliers_fit_the_data():
    data = toy_data(size=12)
    assert outliers("digits", data, 7).shape == (7, 1, 12, 12)
    assert torch.equal(outliers("gaussian", data, 7), load_ood("gaussian", 12, 1, 7))
    assert outliers("digits", data).shape[0] == 1000


def test_what_is_refused():
    with pytest.raises(
        UnknownNameError, match="unknown out-of-distribution set 'digit': did you mean 'digits'"
    ):
        load_ood("digit")
    with pytest.raises(SettingError, match="channels must be 1 or 3, got 2"):
        load_ood("digits", channels=2)
    with pytest.raises(SettingError, match="at least 1, got 32 and 0"):
        load_ood("gaussian", count=0)
    with pytest.raises(SettingError, match="digits has 1,797 images, not 1,798"):
        load_ood("digits", count=1798)
    for name, data in (("digits", "digits"), ("fashion-mini", "fashion-mini")):
        with pytest.raises(SettingError, match=f"{name} is in distribution for {data}: choose"):
            outliers(name, datasets.load(data, limit=10))
