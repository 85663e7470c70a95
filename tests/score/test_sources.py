"""Data from where engineers keep them."""

import numpy as np
import pytest
import torch
from PIL import Image

from lotterylib.errors import DataError, SettingError, UnknownNameError
from lotterylib.score import dataset
from tests.conftest import toy_data, untouched_rng


def folder(root, counts, size=(20, 16)):
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((size[1], size[0], 3), 40 * label + i, np.uint8)).save(
                root / name / f"{i:02}.png"
            )


def test_a_folder_is_split_by_seed(tmp_path):
    folder(tmp_path / "pets", {"dog": 10, "cat": 10})
    with untouched_rng():
        data, notes = dataset(tmp_path / "pets", size=12, resize=14, seed=1)
    assert (
        data.class_names == ("cat", "dog") and data.test[0].shape == (16, 3, 12, 12) and len(data.val[1]) == 4
    )
    pixels = torch.cat([data.val[0], data.test[0]])[:, 0, 0, 0].mul(255).round().int().tolist()
    labels = torch.cat([data.val[1], data.test[1]]).tolist()
    assert sorted(pixels) == [*range(10), *range(40, 50)]  # every image once
    assert all((pixel < 10) == (label == 1) for pixel, label in zip(pixels, labels, strict=True))
    again, _ = dataset(str(tmp_path / "pets"), size=12, resize=14, seed=1)
    other, _ = dataset(tmp_path / "pets", size=12, resize=14, seed=2)
    assert torch.equal(again.test[0], data.test[0]) and not torch.equal(other.test[0], data.test[0])
    assert "validation images" in notes[0]


def test_where_each_test_image_comes_from_is_known(tmp_path):
    """By pixels, which tell the files apart; of folders of classes, of splits and of tables, whole and limited."""
    folder(tmp_path / "pets", {"a": 10, "b": 10})
    for split, count in {"val": 4, "test": 5}.items():
        folder(tmp_path / "d" / split, {"a": count, "b": count})
    paths = [f"pets/{name}/{i:02}.png" for name in "ab" for i in range(10)]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(f"{p},{p[5]}" for p in paths))
    for source, root in ((tmp_path / "pets", "pets"), (tmp_path / "d", "d"), (tmp_path / "list.csv", "")):
        whole, _ = dataset(source, size=8)
        for data in (whole, whole.limited(6)):
            expected = [in_unit(np.array(Image.open(tmp_path / root / file))[0, 0, 0]) for file in data.files]
            assert data.test[0][:, 0, 0, 0].tolist() == pytest.approx(expected) and len(expected) == len(
                data.test[1]
            )
    assert dataset((torch.rand(20, 1, 8, 8), torch.arange(20) % 2))[0].files == ()


def in_unit(level):
    return float(level) / 255


def test_folders_that_are_split_already_and_limits(tmp_path):
    for split, count in {"train": 6, "val": 4, "test": 5}.items():
        folder(tmp_path / "d" / split, {"a": count, "b": count})
    data, notes = dataset(tmp_path / "d", size=8, channels=1)
    assert [len(part[1]) for part in (data.train, data.val, data.test)] == [12, 8, 10]
    assert notes == [f"2 classes of {tmp_path / 'd'}: a, b"]
    assert data.channels == 1
    data, _ = dataset(tmp_path / "d" / "train", size=8, limit=10)
    assert sorted(torch.cat([data.val[1], data.test[1]]).tolist()) == [0] * 5 + [1] * 5


class Pairs:
    classes = ["x", "y", "z"]

    def __init__(self, picture):
        self.picture = picture

    def __len__(self):
        return 20

    def __getitem__(self, i):
        if i >= 20:
            raise IndexError
        return self.picture, i % 2


@pytest.mark.parametrize(
    "picture",
    [torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 51, dtype=torch.uint8), np.full((8, 8, 3), 51, np.uint8),
     Image.fromarray(np.full((8, 8, 3), 51, np.uint8))],
)  # fmt: skip
def test_any_indexable_of_pairs(picture):
    data, _ = dataset(Pairs(picture), size=8)
    assert data.class_names == ("x", "y", "z") and data.test[0].shape == (16, 3, 8, 8)
    assert torch.allclose(data.test[0], torch.tensor(0.2))


@pytest.mark.parametrize(
    "columns, separator", [(("path", "label"), ","), (("Class", "file"), "\t"), (("image", "target"), ";")]
)
def test_a_table_of_paths_and_labels(tmp_path, columns, separator):
    folder(tmp_path / "pictures", {"a": 10, "b": 10})
    rows = [separator.join(columns)]
    for name in ("a", "b"):
        for i in range(10):
            cells = {"path": f"pictures/{name}/{i:02}.png", "label": name}
            order = reversed(cells.values()) if columns[0] == "Class" else cells.values()
            rows.append(separator.join(order))
    table = tmp_path / "list.csv"
    table.write_text("\n".join(rows))
    data, notes = dataset(table, size=8)
    assert data.class_names == ("a", "b") and len(data.test[1]) == 16 and "2 classes" in notes[-1]
    pixels = data.test[0][:, 0, 0, 0].mul(255).round().int().tolist()
    assert all(
        (pixel < 10) == (label == 0) for pixel, label in zip(pixels, data.test[1].tolist(), strict=True)
    )
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has the columns a, b: want one called path"):
        dataset(table)
    table.write_text("path,label\nnothing.png,a\nnothing.png,b\n" * 6)
    with pytest.raises(DataError, match=r"nothing\.png is no readable image"):
        dataset(table)


def test_any_iterable_and_mappings():
    items = [{"image": torch.full((3, 8, 8), 0.2), "label": i % 2} for i in range(20)]
    data, _ = dataset(items, size=8)
    assert len(data.test[1]) == 16 and torch.allclose(data.test[0], torch.tensor(0.2))
    data, notes = dataset(iter([(item["image"], item["label"]) for item in items]), size=8, limit=12)
    assert len(data.test[1]) + len(data.val[1]) == 12 and "first 12 images" in notes[-1]
    with pytest.raises(DataError, match="no image and label among x"):
        dataset([{"x": 1}] * 12)


def test_tensors_and_data_sets():
    data = toy_data()
    assert dataset(data)[0] is data
    found, _ = dataset((torch.rand(20, 1, 8, 8), torch.arange(20) % 4))
    assert found.classes == 4 and len(found.test[1]) == 16
    found, _ = dataset(
        (torch.full((20, 1, 8, 8), 51, dtype=torch.uint8), (torch.arange(20) % 4).to(torch.int8))
    )
    assert torch.allclose(found.test[0], torch.tensor(0.2)) and found.test[1].dtype == torch.int64
    with pytest.raises(DataError, match="of one-hot labels take"):
        dataset((torch.rand(20, 1, 8, 8), torch.eye(4).repeat(5, 1)))


class Bombs(Pairs):
    targets = [0] * 20

    def __getitem__(self, i):
        raise Image.DecompressionBombError("too large")


@pytest.mark.parametrize(
    "source, error, words",
    [
        ("fashion-mimi", UnknownNameError, "did you mean 'fashion-mini'"),
        (Pairs(torch.full((3, 8, 8), -1.0)), DataError, "leave normalisation out"),
        (Pairs("picture"), DataError, "an image must be"),
        (Pairs(torch.rand(3, 8, 9)), DataError, "square"),
        ([1, 2, 3], DataError, "no pair"),
        (7, DataError, "got int"),
        (Bombs("picture"), DataError, "can be read .DecompressionBombError too large"),
        ((1 / 0 for _ in range(20)), DataError, "cannot be read .ZeroDivisionError"),
    ],
)
def test_what_is_no_data_is_one_line(source, error, words):
    with pytest.raises(error, match=words) as caught:
        dataset(source, size=8)
    assert "\n" not in str(caught.value)


def test_broken_folders_and_settings(tmp_path):
    folder(tmp_path / "one", {"a": 2})
    with pytest.raises(DataError, match="two classes or more"):
        dataset(tmp_path / "one")
    folder(tmp_path / "two", {"a": 12, "b": 12})
    (tmp_path / "two" / "a" / "00.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"00\.png is no readable image"):
        dataset(tmp_path / "two", size=8)
    with pytest.raises(SettingError):
        dataset(tmp_path / "two", size=8, resize=6)
