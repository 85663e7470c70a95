"""Images of one's own, in good folders and in bad ones."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, PngImagePlugin

from lotterylib import datasets
from lotterylib.datasets import LazyImages, ood
from lotterylib.datasets import folder as module
from lotterylib.datasets.lazy import Reader
from lotterylib.errors import DataError, MissingDataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.score import dataset
from lotterylib.study import expand, load_profile
from lotterylib.study.needs import needs
from lotterylib.study.plan import shape
from tests.conftest import untouched_rng
from tests.study.helpers import TINY, tiny


def write(path, level=0, size=(20, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).convert(mode).save(path)


def make(root, splits=("train", "val", "test"), classes=("cat", "dog"), count=6):
    """A picture's level tells its class and number: 100 · class + number."""
    for split in splits:
        for c, name in enumerate(classes):
            for i in range(count):
                write(root / split / name / f"{i}.png", 100 * c + i)
    return root


def levels(split) -> list[int]:
    return split[0][:, 0, 0, 0].mul(255).round().int().tolist()


def refused(root, words, kind=DataError, read=None, **settings):
    """One line, by the study's reader and by the scorecard's."""
    for load in (
        [read]
        if read
        else [
            lambda: datasets.load("folder", root, **settings),
            lambda: dataset(root, size=8, **settings),
        ]
    ):
        with pytest.raises(kind, match=words) as caught:
            load()
        assert "\n" not in str(caught.value)


# --- what it gives


def test_three_splits(tmp_path):
    with untouched_rng():
        data = datasets.load("folder", make(tmp_path / "pets"), size=8, resize=10)
    assert data.name == "pets" and data.class_names == ("cat", "dog") and data.root is None
    assert data.test[0].shape == (12, 3, 8, 8) and data.train[1].tolist() == [0] * 6 + [1] * 6
    assert levels(data.val) == [*range(6), *range(100, 106)]
    assert data.mean == pytest.approx([(2.5 + 102.5) / 2 / 255] * 3)
    assert data.std == pytest.approx(data.train[0].double().std(dim=(0, 2, 3)).tolist())
    grey = datasets.load("folder", tmp_path / "pets", channels=1)
    assert grey.test[0].shape == (12, 1, 32, 32) and len(grey.mean) == 1
    assert shape(tiny(dataset={"name": "folder", "root": tmp_path / "pets", "limit": 4}).dataset) == (
        datasets.Shape(3, 32, 2, 4, 4, 4, "folder")
    )


def test_a_share_is_held_out_class_by_class_with_a_fixed_seed(tmp_path):
    make(tmp_path, ("train", "test"), count=20)
    for i in range(20, 60):
        write(tmp_path / "train" / "dog" / f"{i}.png", 100 + i)
    data, again = (datasets.load("folder", tmp_path, size=8) for _ in range(2))
    assert torch.bincount(data.val[1]).tolist() == [2, 6]
    assert torch.bincount(data.train[1]).tolist() == [18, 54]
    assert not set(levels(data.val)) & set(levels(data.train))
    assert levels(data.val) == levels(again.val)
    assert len(datasets.load("folder", tmp_path, size=8, validation=0.5).val[1]) == 40


def test_without_test_images_val_is_the_test_set(tmp_path):
    make(tmp_path, ("training", "Validation"), count=10)
    data = datasets.load("folder", tmp_path, size=8)
    assert [len(part[1]) for part in (data.train, data.val, data.test)] == [18, 2, 20]


def test_large_ones_stay_in_their_files(tmp_path, monkeypatch):
    read = datasets.load("folder", make(tmp_path), size=8)
    monkeypatch.setattr(module, "MEMORY", 100)
    lazy = datasets.load("folder", tmp_path, size=8)
    assert isinstance(lazy.train[0], LazyImages)
    assert torch.equal(lazy.train[0][:], read.train[0]) and lazy.mean == pytest.approx(read.mean)


# --- a name says nothing


@pytest.mark.parametrize("name", ["digits", "fashion-mini", "cifar10"])
def test_a_folder_called_like_a_known_set_is_not_it(tmp_path, name):
    data = datasets.load("folder", make(tmp_path / name), channels=1)
    assert data.name == name and data.archive is None
    assert ood.usual(data) == ("mnist-mini",)
    assert ood.outliers("digits", data, 5).shape == (5, 1, 32, 32)
    assert "class" not in data.concepts(*data.test).category.values()
    assert datasets.Shape.of(data).name == "folder"
    assert Subject(torch.nn.Identity(), data).corruptions_from == {}
    scored, _ = dataset(tmp_path / name, channels=1)
    assert scored.builder is None and datasets.Shape.of(scored).name == ""
    known = datasets.load("fashion-mini", limit=10)
    assert {"class", "part"} <= set(known.concepts(*known.test).category.values())


def test_a_bundled_name_beside_a_folder_of_that_name_says_which_was_taken(tmp_path, monkeypatch):
    make(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    data, notes = dataset("digits")
    assert data.builder.name == "digits" and notes == [
        "digits is the known data set; your folder is ./digits"
    ]


# --- in a study


def profile_of(folder, **changes):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY | {"dataset": {"name": "folder", "size": 16} | changes}))
    return load_profile(path)


def test_identity_is_what_the_folder_holds(tmp_path):
    def first(root):
        return expand(profile_of(tmp_path, root=str(root)))[0].id

    make(tmp_path / "a")
    make(tmp_path / "elsewhere" / "b")
    assert first(tmp_path / "a") == first(tmp_path / "elsewhere" / "b")
    (tmp_path / "a" / "train").rename(tmp_path / "a" / "Training")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    before = first(tmp_path / "a")
    assert before == first(tmp_path / "elsewhere" / "b")
    held = profile_of(tmp_path, root=str(tmp_path / "a"))
    file = tmp_path / "a" / "val" / "dog" / "0.png"
    content = file.read_bytes()
    write(file, 101)
    assert file.stat().st_size == len(content) and first(tmp_path / "a") != before
    with pytest.raises(DataError, match="no longer holds the images that the study began with"):
        held.dataset.load()
    file.write_bytes(content)
    assert first(tmp_path / "a") == before and len(held.dataset.load().train[1]) == 12
    (tmp_path / "a" / "val" / "cat" / "1.png").rename(tmp_path / "a" / "val" / "dog" / "9.png")
    assert first(tmp_path / "a") != before
    away = profile_of(tmp_path, content=held.dataset.content)
    assert expand(away)[0].id == before  # records are found without the images


def test_settings_may_stand_beside_the_name(tmp_path):
    make(tmp_path / "a")
    flat = profile_of(tmp_path, root=str(tmp_path / "a"), channels=1).dataset
    below = tiny(
        dataset={"name": "folder", "root": tmp_path / "a", "settings": {"size": 16, "channels": 1}}
    ).dataset
    assert flat == below and flat.settings == {"size": 16, "channels": 1}
    assert tiny(dataset={"name": "imagenet", "size": 64}).dataset.settings == {"size": 64}
    assert "content" not in tiny().dataset.model_dump()


@pytest.mark.parametrize("changes, words", [
    ({"size": "big"}, "folder: size: Input should be a valid integer"),
    ({"size": 0}, "size: Input should be greater than 0, got 0"),
    ({"resize": 8}, "resize at least as large, got 16 and 8"),
    ({"channels": 2}, "channels: Input should be 1 or 3, got 2"),
    ({"validation": 1}, "validation: Input should be less than 1"),
    ({"settings": {"size": 8}}, "size stands beside settings and in them"),
    ({"sizes": 3}, "unknown key 'dataset.sizes'"),
    ({"root": None}, "folder needs root"),
    ({"root": "nowhere"}, "nowhere is no folder"),
])  # fmt: skip
def test_what_is_wrong_with_it_is_one_line_when_the_profile_is_read(tmp_path, changes, words):
    make(tmp_path / "a")
    with pytest.raises(SettingError, match=words) as caught:
        profile_of(tmp_path, **{"root": str(tmp_path / "a")} | changes)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "mine.yaml"))


def test_needs_look_at_all_of_it_and_put_nothing_into_it(tmp_path):
    make(tmp_path / "a")
    profile = profile_of(tmp_path, root=str(tmp_path / "a"))
    profile = profile.model_copy(update={"metrics": {"accuracy": {}, "ood_auroc": {"sets": ["svhn"]}}})
    images, svhn = needs(profile)
    assert images.state == "there" and svhn.root != tmp_path / "a"
    (tmp_path / "a" / "test" / "cat" / "0.png").write_bytes(b"")
    assert needs(profile)[0].state == "damaged"


# --- folders of another form


@pytest.mark.parametrize("names", [("train", "valid"), ("Train", "Test"), ("training", "validation"), ("TRAIN", "dev"), ("train_set", "test-images"), ("trn", "eval")])  # fmt: skip
def test_splits_go_by_their_usual_names(tmp_path, names):
    make(tmp_path, names, count=10)
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    (tmp_path / "__MACOSX").mkdir()
    assert datasets.load("folder", tmp_path, size=8).class_names == ("cat", "dog")
    data, notes = dataset(tmp_path, size=8)
    assert data.class_names == ("cat", "dog") and notes[-1].endswith(": cat, dog")


@pytest.mark.parametrize("names", [("seg_train", "seg_test"), ("flowers-train", "flowers-val"), ("train_split", "val_split"), ("trains", "tests"), ("my_train", "test"), ("tr", "te")])  # fmt: skip
def test_splits_have_their_name_among_their_words(tmp_path, names):
    make(tmp_path, names, count=10)
    data, notes = dataset(tmp_path, size=8)
    assert data.class_names == ("cat", "dog") and notes[-1].endswith(": cat, dog")


def test_classes_that_are_kept_by_the_same_years_are_classes(tmp_path):
    make(tmp_path, ("bus", "car"), ("2019", "2020"), count=10)
    assert dataset(tmp_path, size=8)[0].class_names == ("bus", "car")


def test_a_class_called_train_is_a_class(tmp_path):
    make(tmp_path, ("",), ("bus", "car", "train"))
    assert dataset(tmp_path, size=8)[0].class_names == ("bus", "car", "train")


def test_what_is_no_picture_is_left_out(tmp_path):
    make(tmp_path)
    for name in ("._0.png", ".hidden.png", "Thumbs.db", "notes.txt"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"no picture")
    (tmp_path / "train" / "._dog").write_bytes(b"")
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    write(tmp_path / "train" / "cat" / "deeper" / "UPPER.PNG", 50)
    data = datasets.load("folder", tmp_path, size=8)
    assert len(data.train[1]) == 13 and 50 in levels(data.train)


@pytest.mark.parametrize("change, words", [
    (lambda r: write(r / "train" / "stray.png"), r"stray\.png lies beside the folders cat, dog"),
    (lambda r: write(r / "stray.JPG"), r"stray\.JPG lies beside the folders"),
    (lambda r: (r / "train" / "dog").rename(r / "train" / "bird"), "'dog'|'bird'"),
    (lambda r: (r / "val" / "dog").rename(r / "dog"), "train, val, test with class folders, dog not: keep splits"),
    (lambda r: [p.unlink() for p in (r / "val" / "dog").iterdir()], r"val/dog: no images \(looked for"),
    (lambda r: (r / "val").rename(r / "Training"), r"Training, train are names of one split \(train\): keep one"),
    (lambda r: (r / "train").rename(r / "trainval"), "test, val and trainval hold the same folders, as splits do: call them train, val and test"),
    (lambda r: [(r / old).rename(r / new) for old, new in (("train", "our_train"), ("val", "cars"))], "our_train, test and cars hold the same folders, as splits do"),
    (lambda r: [(s / "dog").rename(s / r"$\foo$") for s in r.iterdir()], r"cannot be called '\$"),
    (lambda r: [(s / "dog").rename(s / "a\x1b[31m") for s in r.iterdir()], r"cannot be called 'a\\x1b"),
    (lambda r: (r / "train" / "cat" / "up").symlink_to(r / "train" / "cat"), "leads back to a folder that it lies in"),
    (lambda r: (r / "train" / "bird").symlink_to(r / "gone"), "train/bird is a link to nothing"),
    (lambda r: (r / "train" / "cat" / "x.png").symlink_to(r / "gone.png"), r"x\.png is a link to nothing"),
])  # fmt: skip
def test_folders_of_another_form_are_one_line(tmp_path, change, words):
    change(make(tmp_path))
    refused(tmp_path, words)


def test_a_class_lacking_in_one_split_is_named(tmp_path):
    make(tmp_path)
    for file in (tmp_path / "val" / "dog").iterdir():
        file.unlink()
    (tmp_path / "val" / "dog").rmdir()
    refused(tmp_path, "train has a class 'dog' and val has none: cat, dog")


def test_splits_without_classes_and_within_classes(tmp_path):
    make(tmp_path / "flat", ("",), ("train", "test"))
    refused(tmp_path / "flat", "want a folder of images for each class within test, train")
    make(tmp_path / "inside", ("cat", "dog"), ("train", "test"))
    refused(tmp_path / "inside", "test, train are splits within a class: put classes within splits")
    refused(
        tmp_path / "nothing",
        "nothing is no folder",
        MissingDataError,
        lambda: module.listing(tmp_path / "nothing"),
    )


def test_classes_alone_are_no_study(tmp_path):
    make(tmp_path, ("",))
    refused(
        tmp_path,
        "want folders train and test, .* found cat, dog",
        read=lambda: datasets.load("folder", tmp_path),
    )


def test_linked_class_folders_are_followed_once(tmp_path):
    make(tmp_path / "real")
    for split in ("train", "test"):
        (tmp_path / "links" / split).mkdir(parents=True)
        for name in ("cat", "dog"):
            (tmp_path / "links" / split / name).symlink_to(tmp_path / "real" / split / name)
    data = datasets.load("folder", tmp_path / "links", size=8)
    assert len(data.test[1]) == 12
    (tmp_path / "links" / "test" / "dog").unlink()
    (tmp_path / "links" / "test" / "dog").symlink_to(tmp_path / "real" / "test" / "cat")
    refused(tmp_path / "links", "cat and dog are one folder")


# --- pictures of all kinds


def save(path, content):
    content.save(path) if isinstance(content, Image.Image) else path.write_bytes(content)
    return path


def gradient(dtype, top):
    return np.linspace(0, top, 64).reshape(8, 8).astype(dtype)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled(tmp_path, ending):
    levels = gradient(np.uint16, 65535)
    if ending == "pgm":
        content = b"P5 8 8 65535\n" + levels.astype(">u2").tobytes()
    else:
        content = Image.fromarray(levels)
    for channels in (1, 3):
        image = Reader(8, channels=channels).read(save(tmp_path / f"a.{ending}", content))
        assert torch.allclose(
            image, torch.from_numpy(levels / 65535).float().expand(channels, 8, 8), atol=0.003
        )


def test_a_sixteen_bit_tiff_whose_0_is_white_is_turned(tmp_path):
    levels = gradient(np.uint16, 65535)
    path = save(tmp_path / "a.tif", Image.fromarray(levels))
    black, white = (struct.pack("<HHLL", 262, 3, 1, k) for k in (1, 0))
    content = path.read_bytes()
    assert content.count(black) == 1
    path.write_bytes(content.replace(black, white))
    assert torch.allclose(
        Reader(8, channels=1).read(path), torch.from_numpy(1 - levels / 65535).float(), atol=0.003
    )


def test_signed_pixels_are_refused(tmp_path):
    Image.fromarray(gradient(np.uint8, 100)).save(tmp_path / "a.tif", tiffinfo={339: 2})
    refused(
        tmp_path / "a.tif",
        "signed or 32-bit integers have no known scale",
        read=lambda: Reader(8).open(tmp_path / "a.tif"),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_scale_are_refused(tmp_path, dtype):
    path = save(tmp_path / "a.tif", Image.fromarray(gradient(dtype, 1000)))
    refused(
        path,
        r"a\.tif is no readable image \(pixels that are (floats|signed or 32-bit integers) have no known scale",
        read=lambda: Reader(8).open(path),
    )


def test_cmyk_and_palettes_keep_their_colours(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    for name, mode in (("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.png", "P"), ("b.png", "RGBA")):
        image = Reader(8).read(save(tmp_path / name, red.convert(mode)))
        assert torch.allclose(image[:, 4, 4], torch.tensor([1.0, 0, 0]), atol=0.02), (name, mode)


def test_a_turned_picture_is_set_upright(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: its top is the right side
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = Reader(8).read(tmp_path / "a.png")[0]
    assert image[:, 4:].min() == 1 and image[:, :4].max() == 0
    assert Reader(8, upright=False).read(tmp_path / "a.png")[0][:4].min() == 1


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, side: int = 8) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * (side + 1) * min(side, 8)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


BOMB = png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))))


@pytest.mark.parametrize("name, content", [
    ("truncated.png", png()[:-30]), ("empty.png", b""), ("text.png", b"no picture"), ("text_bomb.png", BOMB),
    ("huge.png", png(side=60_000)), ("damaged.ppm", b"P6 8 x 255\n" + bytes(192)), ("short.ppm", b"P6 8 8 255\n"),
    ("damaged.tif", b"II*\0\x08\0\0\0\x02\0" + b"\xff" * 40), ("damaged.gif", b"GIF89a" + b"\xff" * 9),
])  # fmt: skip
def test_damaged_pictures_are_one_line(tmp_path, name, content):
    make(tmp_path)
    (tmp_path / "train" / "cat" / name).write_bytes(content)
    refused(tmp_path, f"{name} is no readable image")


@pytest.mark.parametrize("width, height", [(20, 14), (14, 20), (33, 47), (64, 64), (10, 31), (255, 101)])
def test_the_cut_is_torchvisions(width, height):
    from torchvision.transforms.v2 import functional

    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for size, resize in ((8, 10), (9, 9), (7, 12), (32, 37)):
        wanted = functional.center_crop(functional.resize(picture, resize, antialias=True), size)
        assert np.array_equal(np.asarray(Reader(size, resize).view(picture)), np.asarray(wanted))
