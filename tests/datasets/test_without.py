import pytest
import torch

from lotterylib import datasets
from lotterylib.errors import SettingError, UnknownNameError
from tests.conftest import toy_data


def test_what_stays_is_relabelled_in_order_and_what_goes_is_real():
    data = toy_data(classes=3)
    less, near = data.without(["b"])
    assert less.class_names == ("a", "c") and less.classes == 2
    for split in ("train", "val", "test"):
        images, labels = getattr(data, split)
        kept = labels != 1
        assert torch.equal(getattr(less, split)[0], images[kept])
        assert torch.equal(getattr(less, split)[1], labels[kept] // 2)  # 0 → 0, 2 → 1
    assert torch.equal(near, data.test[0][data.test[1] == 1])
    assert data.classes == 3 and less.name == "toy without b"


def test_by_number_and_by_name():
    data = datasets.load("fashion-mini", limit=40)
    by_name, near = data.without(["Shirt", "Sandal"])
    by_number, same = data.without([5, 6, 5])
    assert by_name.class_names == by_number.class_names and len(by_name.class_names) == 8
    assert torch.equal(near, same) and len(near) == 8
    assert torch.equal(by_name.train[1], by_number.train[1]) and by_name.train[1].unique().tolist() == list(
        range(8)
    )
    assert by_name.mean != data.mean  # its own statistics, not the whole data set's


@pytest.mark.parametrize(
    "classes, error, words",
    [
        (["B"], UnknownNameError, "did you mean 'b'|known: a, b, c"),
        ([3], UnknownNameError, "known: a, b, c"),
        ([-1], UnknownNameError, "known: a, b, c"),
        ([], SettingError, "1 to 1 classes"),
        (["a", 1], SettingError, "not 2"),
    ],
)
def test_impossible_choices_are_refused(classes, error, words):
    with pytest.raises(error, match=words):
        toy_data(classes=3).without(classes)
