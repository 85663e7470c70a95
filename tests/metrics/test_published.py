"""CIFAR's own corruptions and outliers: which images a network is judged on, and what the record says of them."""

import pytest
import torch

from lotterylib import datasets, metrics, models
from lotterylib.datasets import CORRUPTIONS
from lotterylib.errors import DataError, MissingDataError
from lotterylib.metrics import Subject
from tests.datasets.formats import write_cifar, write_cifar_c, write_svhn

FEW = {"images": 10}


@pytest.fixture
def root(tmp_path):
    arrays = write_cifar(tmp_path, "cifar10", test=20)
    write_cifar_c(tmp_path, "cifar10", arrays["test"])
    write_cifar(tmp_path, "cifar100", train=100, test=100)
    write_svhn(tmp_path)
    return tmp_path


def subject(root, limit=None) -> Subject:
    network = models.build("resnet8", 10, 3, width=0.25)
    return Subject(network, datasets.load("cifar10", root=root, limit=limit), device="cpu")


@pytest.mark.parametrize("limit", [None, 15])
@pytest.mark.parametrize("images", [10, 13, 50])
def test_the_published_images_of_the_same_places(root, limit, images):
    """Whatever the sample: the k-th logits are those of the k-th test image, corrupted."""
    judged = subject(root, limit)
    clean, labels = judged.sample(images)
    found = judged.corrupted_logits(images)
    assert list(found) == list(CORRUPTIONS[:15])
    for severity in (1, 5):
        by_hand = ((clean * 255).round() * (1 - 0.15 * severity)).floor() / 255
        assert torch.allclose(found["gaussian_noise"][severity - 1], judged.logits(by_hand), atol=1e-5)
    assert found["fog"].shape == (5, len(labels), 10)
    assert len(judged.corrupted_logits(images, held_out=True)) == 4


@pytest.mark.parametrize("name", ["corruption_error", "corrupted_accuracy", "ece", "nll"])
def test_the_record_names_them(root, name):
    published = metrics.evaluate(subject(root), name, FEW)
    assert published.extra["corruptions"] == "CIFAR-10-C"
    (root / "CIFAR-10-C").rename(root / "elsewhere")
    generated = metrics.evaluate(subject(root), name, FEW)
    assert generated.extra["corruptions"] == "generated"
    grey = Subject(
        models.build("resnet8", 10, 1, width=0.25), datasets.load("digits", limit=20), device="cpu"
    )
    assert "corruptions" not in metrics.evaluate(grey, name, FEW).extra  # there is nothing to choose from


def test_data_without_some_classes_have_no_published_images(root):
    """The archive's places are those of the whole test set."""
    less, _ = datasets.load("cifar10", root=root).without([3])
    judged = Subject(models.build("resnet8", 9, 3, width=0.25), less, device="cpu")
    assert judged.corruptions_from == {} and len(judged.corrupted_logits(5)) == 15


def test_an_archive_that_does_not_fit_is_refused(root):
    images, labels = (t.numpy() for t in datasets.load("cifar10", root=root).test)
    write_cifar_c(root, "cifar10", (images * 0, labels[::-1]))
    with pytest.raises(DataError, match="CIFAR-10-C: its labels are not those of cifar10's test images"):
        subject(root).corrupted_logits(10)
    (root / "CIFAR-10-C" / "fog.npy").unlink()
    write = write_cifar_c(root, "cifar10", ((images * 255).astype("uint8"), labels))
    (write / "fog.npy").unlink()
    with pytest.raises(
        MissingDataError, match=r"fog\.npy is missing"
    ):  # not replaced by another kind of image
        subject(root).corrupted_logits(10)


def test_cifar_is_tested_with_its_own_outliers(root):
    judged = subject(root)
    measured = metrics.evaluate(judged, "ood_auroc", {"images": 20})
    assert list(measured.variants) == ["cifar100", "svhn", "gaussian", "uniform"]
    assert measured.variants["svhn"].samples == 40
    named = metrics.evaluate(judged, "ood_fpr95", {"images": 20, "sets": ["svhn"]})
    assert list(named.variants) == ["svhn"]
    assert metrics.evaluate(judged, "ood_aupr", {"images": 30, "sets": ["gaussian"]}).samples == 40
