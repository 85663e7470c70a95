import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from lotterylib import datasets
from lotterylib.datasets.ood import load_ood, names, outliers
from lotterylib.errors import SettingError, UnknownNameError
from tests.conftest import toy_data, untouched_rng


OFFLINE = ("digits", "fashion-mini", "gaussian", "uniform")  # these need no files


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("size, channels", [(32, 1), (28, 1), (32, 3), (64, 3)])
def test_form(name, size, channels):
    with untouched_rng():
        images = load_ood(name, size, channels, count=50)
    assert images.shape == (50, channels, size, size) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std(dim=(1, 2, 3)).min() > 0.05
    assert torch.equal(images, load_ood(name, size, channels, count=50))
    assert len({i.numpy().tobytes() for i in images}) == 50
    if name in ("digits", "fashion-mini"):  # grey, also in colour
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
