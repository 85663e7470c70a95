import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lotterylib import datasets
from lotterylib.datasets import Dataset, LazyImages
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject

WNIDS = ("n01440764", "n01443537", "n02084071")


def write_image(path, seed, size=(20, 14), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def make_imagenet(folder, train=6, test=3):
    """Three classes of tiny images; one class has fewer, so that counts differ."""
    for c, wnid in enumerate(WNIDS):
        for i in range(train - c):
            write_image(folder / "train" / wnid / f"{wnid}_{i:03}.JPEG", seed=100 * c + i)
        for i in range(test):
            write_image(folder / "val" / wnid / f"val_{i:03}.JPEG", seed=1000 + 100 * c + i)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_imagenet(tmp_path_factory.mktemp("imagenet"))


def load(root, **settings):
    return datasets.load("imagenet", root, **{"size": 8, "resize": 10, "validation": 2} | settings)


def names(split):
    return [split[0].path(i).name for i in range(len(split[0]))]


def test_the_last_images_of_a_class_are_validation_and_the_official_ones_are_the_test(root):
    data = load(root)
    assert data.class_names == WNIDS and (data.classes, data.channels, data.size) == (3, 3, 8)
    assert torch.bincount(data.train[1]).tolist() == [4, 3, 2]
    assert torch.bincount(data.val[1]).tolist() == [2, 2, 2]
    assert torch.bincount(data.test[1]).tolist() == [3, 3, 3]
    assert names(data.val) == [
        f"{w}_{i:03}.JPEG" for w, n in zip(WNIDS, (6, 5, 4), strict=True) for i in (n - 2, n - 1)
    ]
    for split in (data.train, data.val, data.test):  # labels are the folders'
        assert all(split[0].path(i).parent.name == WNIDS[y] for i, y in enumerate(split[1].tolist()))
    assert all("val" in split[0].path(0).parts for split in (data.test,))
    assert data.mean == pytest.approx((0.485, 0.456, 0.406)) and len(data.std) == 3


def test_a_share_of_validation_is_drawn_the_same_every_time(root):
    one, other = (load(root, validation=0.2) for _ in range(2))
    assert len(one.val[1]) == 3 and len(one.train[1]) == 12
    assert names(one.val) == names(other.val) and not set(names(one.val)) & set(names(one.train))


def test_evaluation_is_resize_and_centre_crop_by_hand(root):
    """A 20 × 14 image: the shorter side to 10 makes 14 × 10, of which the central 8 × 8 stay."""
    images = load(root).test[0]
    with Image.open(images.path(4)) as file:
        wanted = np.asarray(file.resize((14, 10), Image.Resampling.BILINEAR))[1:9, 3:11]
    assert torch.equal(images[4], torch.from_numpy(wanted.copy()).permute(2, 0, 1).float() / 255)


def test_lazy_images_are_indexed_like_a_tensor(root):
    images = load(root).test[0]
    whole = images[:]
    assert whole.shape == images.shape == (9, 3, 8, 8) and whole.dtype == images.dtype == torch.float32
    assert torch.equal(torch.stack(list(images)), whole) and torch.equal(images[-1], whole[-1])
    for chosen in (
        torch.tensor([5, 0, 5]),
        torch.arange(9) % 2 == 0,
        slice(2, 4),
        torch.tensor([], dtype=torch.int64),
    ):
        assert torch.equal(images[chosen], whole[chosen])
        if isinstance(chosen, torch.Tensor):
            assert torch.equal(images.only(chosen)[:], whole[chosen])
    assert torch.equal(pickle.loads(pickle.dumps(images))[3], whole[3])
    with pytest.raises(IndexError):
        images[9]


def test_a_part_of_it_comes_into_memory(root):
    data = load(root).limited(3)
    read = data.in_memory()
    for split in ("train", "val", "test"):
        (images, labels), (lazy, numbers) = getattr(read, split), getattr(data, split)
        assert isinstance(images, torch.Tensor) and torch.equal(images, lazy[:])
        assert torch.equal(labels, numbers)


def test_choosing_reads_nothing(root, monkeypatch):
    """Limits, classes left out and moving to a device open no file; a metric's sample opens its own alone."""
    opened, original = [], LazyImages.open
    monkeypatch.setattr(LazyImages, "open", lambda self, i: opened.append(i) or original(self, i))
    data = load(root, validation=1).limited(6).to("cpu")
    rest, left_out = data.without([WNIDS[1]])
    assert isinstance(rest.train[0], LazyImages) and rest.train[1].tolist() == [0, 0, 1, 1]
    assert {left_out.path(i).parent.name for i in range(len(left_out))} == {WNIDS[1]}
    assert not opened
    images, labels = Subject(torch.nn.Identity(), data).sample(3)
    assert isinstance(images, torch.Tensor) and labels.tolist() == [0, 1, 2] and len(opened) == 3


def test_grey_and_png_images_become_rgb(tmp_path):
    root = make_imagenet(tmp_path)
    write_image(root / "val" / WNIDS[0] / "grey.jpg", 0, mode="L")
    write_image(root / "val" / WNIDS[0] / "clear.png", 0, mode="RGBA")
    (root / "val" / WNIDS[0] / "notes.txt").write_text("not an image")
    data = load(root)
    assert len(data.test[1]) == 11 and data.test[0][:].shape == (11, 3, 8, 8)


def test_it_is_also_found_in_a_folder_of_its_name(tmp_path):
    make_imagenet(tmp_path / "imagenet")
    assert len(load(tmp_path).test[1]) == 9
    assert len(datasets.load("imagenet", tmp_path, limit=3, validation=1).train[1]) == 3


def test_missing_folders_classes_and_damaged_files_are_one_line_each(tmp_path):
    with pytest.raises(DataError, match="no folders train and val in .*image-net.org") as caught:
        load(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    root = make_imagenet(tmp_path)
    (root / "val" / WNIDS[0] / "val_001.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val_001.JPEG is no readable image"):
        load(root).test[0][1]
    (root / "val" / "n09999999").mkdir()
    with pytest.raises(DataError, match="n09999999 is no class of"):
        load(root)
    (root / "val" / "n09999999").rename(root / "train" / "n09999999")
    with pytest.raises(DataError, match=r"no .JPEG files in .*n09999999"):
        load(root)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(size=11), "size"),
        (dict(size=0), "size"),
        (dict(validation=4), "smallest has 4"),
        (dict(validation=0), "validation"),
        (dict(validation=1.5), "validation"),
        (dict(validation=0.01), "validation"),
        (dict(crop=3), "no setting 'crop'"),
    ],
)
def test_impossible_settings_are_refused_by_name(root, settings, words):
    with pytest.raises(SettingError, match=words):
        load(root, **settings)


def test_the_default_sizes_are_the_usual_ones(root):
    data = datasets.load("imagenet", root, validation=1)
    assert data.train[0].shape == (12, 3, 224, 224) and data.train[0].reader.resize == 256


def test_statistics_are_streamed_where_none_are_known(root):
    """Of images in files, without reading all of them at once: 300 images are two pieces."""
    data = load(root)
    images, labels = data.train
    many = torch.arange(300) % len(labels)
    data = Dataset("mine", (images.only(many), labels[many]), data.val, data.test, data.class_names)
    pixels = images[many].double()
    assert data.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std(dim=(0, 2, 3)).tolist())


def test_the_shape_for_planning_needs_no_files():
    assert datasets.build("imagenet", size=64, resize=72, validation=0.1).shape(None) == (
        datasets.Shape(3, 64, 1000, 1_153_050, 128_117, 50_000, "imagenet")
    )
