import hashlib
import io
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from lotterylib import datasets
from lotterylib.datasets import cifar, svhn
from lotterylib.errors import DataError, MissingDataError
from tests.conftest import untouched_rng
from tests.datasets.formats import python2, write_cifar, write_svhn


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    """A download fails at once, as it does without a network."""
    from torchvision.datasets import utils

    def refuse(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(utils, "download_url", refuse)


def same(split, images: np.ndarray, labels: np.ndarray) -> bool:
    mine = (split[0] * 255).round().byte()
    return torch.equal(mine, torch.from_numpy(images)) and split[1].tolist() == labels.tolist()


@pytest.mark.parametrize("dump", [python2, partial(pickle.dumps, protocol=2), pickle.dumps, partial(pickle.dumps, protocol=5)])  # fmt: skip
@pytest.mark.parametrize("name, train, test, classes", [("cifar10", 50, 20, 10), ("cifar100", 200, 100, 100)])
def test_cifar_from_pickles(tmp_path, name, train, test, classes, dump):
    arrays = write_cifar(tmp_path, name, train, test, dump)
    with untouched_rng():
        data = datasets.load(name, root=str(tmp_path))
    cut = 9 * train // 10
    images, labels = arrays["train"]
    assert same(data.train, images[:cut], labels[:cut]) and same(data.val, images[cut:], labels[cut:])
    assert same(data.test, *arrays["test"])
    assert (data.classes, data.channels, data.size, data.name) == (classes, 3, 32, name)
    assert data.class_names[3] == "class 3" and data.root == tmp_path
    assert data.train[0].max() <= 1 and data.train[0].is_contiguous()
    few = datasets.load(name, root=tmp_path, limit=10)
    assert len(few.test[1]) == len(few.train[1]) == 10 and few.root == tmp_path
    ones = datasets.build(name).outliers(tmp_path)
    assert torch.equal(ones[0], data.test[0]) and torch.equal(ones[1], data.test[1])


def test_as_torchvision_reads_it(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    write_cifar(tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = CIFAR10(tmp_path, train=True)
    data = datasets.load("cifar10", root=tmp_path)
    images = torch.cat([data.train[0], data.val[0]])
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(theirs.data).permute(0, 3, 1, 2))
    assert torch.cat([data.train[1], data.val[1]]).tolist() == theirs.targets


def test_svhn_from_mat_files(tmp_path):
    arrays = write_svhn(tmp_path, 30, 20)
    with untouched_rng():
        data = datasets.load("svhn", root=tmp_path)
    images, labels = arrays["train"]
    assert same(data.train, images[:27], labels[:27]) and same(data.val, images[27:], labels[27:])
    assert same(data.test, *arrays["test"]) and data.test[1].min() == 0
    assert loadmat(tmp_path / "svhn" / "test_32x32.mat")["y"].max() == 10
    assert (data.classes, data.channels, data.size) == (10, 3, 32)
    (tmp_path / "svhn" / "train_32x32.mat").unlink()
    assert same(datasets.build("svhn").outliers(tmp_path), *arrays["test"])  # outliers need no more


# --- what a pickle may not do


class Runs:
    """Unpickled, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["labels", "extra", "data"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, protocol, where):
    write_cifar(tmp_path)
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]} | {where: Runs(tmp_path / "made")}
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps(batch, protocol=protocol))
    with pytest.raises(
        DataError, match=r"data_batch_2 is damaged \(it asks for \w+\.mkdir, which no image file needs"
    ):
        datasets.load("cifar10", root=tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("call", ["builtins.eval", "numpy.load", "numpy.core.multiarray.scalar", "os.system", "_codecs.decode"])  # fmt: skip
def test_only_arrays_come_out_of_a_pickle(call):
    module, _, name = call.rpartition(".")
    content = f"c{module}\n{name}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match="which no image file needs"):
        cifar.Plain(io.BytesIO(content)).load()


def over_raw_memory(address: int) -> bytes:
    """An array of objects of which the first lies at an address: reading it would crash, or read what is there."""

    class Forged:
        def __reduce__(self):
            state = (1, (1,), np.dtype("O"), False, address.to_bytes(8, "little"))
            return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    return pickle.dumps({"data": Forged(), "labels": [0]}, protocol=2)


def test_an_array_over_raw_memory_is_refused(tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(over_raw_memory(0xDEADBEEF))
    with pytest.raises(DataError, match=r"it holds numbers of type 'O8', images are of 'u1'"):
        datasets.load("cifar10", root=tmp_path)


@pytest.mark.parametrize("shape, raw", [((2, 3072), b"x" * 3072), ((1, 3072, 9**18), b"x" * 3072), ((-1, 7), b"x" * 3072)])  # fmt: skip
def test_an_array_has_as_many_bytes_as_its_shape_says(shape, raw):
    class Forged:
        def __reduce__(self):
            return (
                np.empty(0).__reduce__()[0],
                (np.ndarray, (0,), b"b"),
                (1, shape, np.dtype("u1"), False, raw),
            )

    with pytest.raises(ValueError):
        cifar.Plain(io.BytesIO(pickle.dumps(Forged(), protocol=2)), encoding="latin1").load()


@pytest.mark.parametrize("content", [
    b"cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",  # a state for the stand-in itself
    b"cnumpy.core.multiarray\n_reconstruct\n}X\x08\x00\x00\x00__code__K\x01sb.",
    b"}r\xff\xff\xff\x7f.",  # a place in the memo far away: harmless here
])  # fmt: skip
def test_a_state_goes_to_arrays_alone_and_no_index_takes_memory(content):
    if content.startswith(b"c"):
        with pytest.raises(pickle.UnpicklingError, match="gives a state to what has none"):
            cifar.Plain(io.BytesIO(content)).load()
    else:
        assert cifar.Plain(io.BytesIO(content)).load() == {}


def test_a_large_file_is_compared_with_the_published_one_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "LARGE", 100)
    monkeypatch.setattr(cifar.Plain, "load", lambda self: pytest.fail("parsed"))
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(over_raw_memory(0xDEADBEEF) + b"." * 100)
    with pytest.raises(DataError, match="data_batch_1 is damaged: its MD5 is"):
        datasets.load("cifar10", root=tmp_path)


# --- class folders


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The same 200 + 20 images as pickles in ``pickles`` and as class folders in ``folders``, which are the real ones."""
    arrays = write_cifar(tmp_path / "pickles", train=200, test=20)
    for split, (images, labels) in arrays.items():
        pairs = [
            bytes([label]) + image.transpose(1, 2, 0).tobytes()
            for image, label in zip(images, labels, strict=True)
        ]
        digest = cifar.digest_of([hashlib.sha256(pair).hexdigest() for pair in pairs])
        monkeypatch.setitem(cifar.COUNTS, split, len(labels))
        monkeypatch.setitem(cifar.Cifar10.digests, split, digest)
        write_class_folders(tmp_path / "folders" / "cifar10" / split, images, labels)
    return tmp_path


def write_class_folders(folder, images, labels, name="{:05}.png"):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class {label}" / name.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)


def content(split) -> list[bytes]:
    return sorted(bytes([y]) + x.numpy().tobytes() for x, y in zip(*split, strict=True))


def test_both_forms_give_the_same_images(mirror):
    pickles, folders = (datasets.load("cifar10", root=mirror / form) for form in ("pickles", "folders"))
    assert (pickles.form, folders.form) == ("pickles", "class folders")
    assert pickles.class_names == folders.class_names
    assert content(pickles.test) == content(folders.test)
    whole = [tuple(map(torch.cat, zip(data.train, data.val, strict=True))) for data in (pickles, folders)]
    assert content(whole[0]) == content(whole[1])
    assert torch.bincount(folders.val[1]).tolist() == [2] * 10
    assert torch.bincount(folders.train[1]).tolist() == [18] * 10
    outliers = datasets.build("cifar10").outliers(mirror / "folders")
    assert torch.equal(outliers[0], folders.test[0])
    assert datasets.source("cifar10").state(mirror / "folders") == ("there", "")


def test_neither_file_names_nor_hidden_files_nor_the_folders_name_matter(mirror):
    data = datasets.load("cifar10", root=mirror / "folders")
    folder = (mirror / "folders" / "cifar10").rename(mirror / "folders" / "CIFAR-10")
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"{hashlib.md5(path.name.encode()).hexdigest()}.png"))
    (folder / "train" / "class 0" / "._0.png").write_bytes(b"")
    (folder / "train" / ".hidden").mkdir()
    again = datasets.load("cifar10", root=mirror / "folders")
    for split in ("train", "val", "test"):
        assert all(
            torch.equal(a, b) for a, b in zip(getattr(data, split), getattr(again, split), strict=True)
        )


def recolour(path):
    pixels = np.array(Image.open(path))
    pixels[9, 9, 1] ^= 1
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("change, words", [
    (lambda f: (f / "class 3" / "00003.png").unlink(), r"want 200 images \(\*\.png\), found 199"),
    (lambda f: recolour(f / "class 3" / "00003.png"), "at least one image or label is not CIFAR-10's own"),
    (lambda f: (f / "class 3" / "00003.png").rename(f / "class 4" / "00003.png"), "at least one image or label is not"),
    (lambda f: (f / "class 3" / "00003.png").write_bytes(b"no picture"), r"00003\.png is no readable image"),
    (lambda f: Image.new("RGB", (28, 28)).save(f / "class 3" / "00003.png"), "want 32×32 pixels, got 28×28"),
    (lambda f: (f / "class 9").rename(f / ".class 9"), "want 10 class folders, found 9"),
])  # fmt: skip
def test_one_image_that_is_missing_changed_or_moved_is_one_line(mirror, change, words):
    change(mirror / "folders" / "cifar10" / "train")
    one_line("cifar10", mirror / "folders", words)
    assert datasets.source("cifar10").state(mirror / "folders")[0] == "damaged"


def test_the_record_says_which_form_was_read(mirror, tmp_path):
    from lotterylib.study import Store, expand
    from lotterylib.study.work import Worker
    from tests.study.helpers import tiny

    for form, words in (("pickles", "pickles"), ("folders", "class folders")):
        profile = tiny(
            dataset={"name": "cifar10", "root": str(mirror / form), "limit": 20}, pruners=[], rounds=[]
        )
        cell, store = expand(profile)[0], Store(tmp_path / "store" / form)
        worker = Worker(store, device="cpu")
        assert worker.find(cell).what == "found"
        assert worker.measure(cell, {"accuracy": {}}).what == "found"
        assert store.record(cell, "accuracy", {})["form"] == words


# --- what is missing or damaged


def one_line(name, root, words, kind=DataError):
    with pytest.raises(kind, match=words) as caught:
        datasets.load(name, root=root)
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name, place, size", [
    ("cifar10", "cifar-10-batches-py", "170 MB"), ("cifar100", "cifar-100-python", "170 MB"), ("svhn", "svhn", "64 MB")
])  # fmt: skip
def test_what_is_missing_says_what_to_fetch_how_large_it_is_and_where_to_put_it(tmp_path, name, place, size):
    message = one_line(name, tmp_path, "the download failed: OSError no network", MissingDataError)
    assert size in message and str(tmp_path / place) in message and "http" in message
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_batch_that_is_missing(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    one_line("cifar10", tmp_path, "there is no data_batch_4", MissingDataError)
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").unlink()
    one_line("cifar10", tmp_path, "there is no batches.meta", MissingDataError)


@pytest.mark.parametrize("damage", [
    lambda c: c[:-200], lambda c: b"", lambda c: b"no pickle", lambda c: python2([1, 2]), lambda c: python2({"labels": [1]}),
    lambda c: python2({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
    lambda c: python2({"data": np.zeros((1, 3072)), "labels": [1]}),
    lambda c: python2({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}),
    lambda c: python2({"data": b"text", "labels": [1]}),
])  # fmt: skip
def test_a_damaged_batch_is_one_line(tmp_path, damage):
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(damage(path.read_bytes()))
    one_line("cifar10", tmp_path, "data_batch_3 is damaged")


def test_class_names_and_labels_are_checked(tmp_path):
    write_cifar(tmp_path)
    meta = tmp_path / "cifar-10-batches-py" / "batches.meta"
    meta.write_bytes(python2({"label_names": ["cat"]}))
    one_line("cifar10", tmp_path, "batches.meta is damaged: want 10 names")
    write_cifar(tmp_path)
    batch = {"data": np.zeros((1, 3072), np.uint8), "labels": [10]}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(python2(batch))
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.9"):
        datasets.load("cifar10", root=tmp_path)


def test_a_batch_of_the_published_size_has_to_be_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "LARGE", 20_000)
    write_cifar(tmp_path, train=40)
    one_line(
        "cifar10",
        tmp_path,
        "data_batch_1 is damaged: its MD5 is .*, it should be c99cafc152244af753f735de768cd75f",
    )
    monkeypatch.setitem(svhn._IMAGES, "test", 20)
    write_svhn(tmp_path)
    one_line(
        "svhn",
        tmp_path,
        "test_32x32.mat is damaged: its MD5 is .*, it should be eb5a983be6a315427106f1b164d9cef3",
    )


@pytest.mark.parametrize("damage", [
    lambda p: p.write_bytes(p.read_bytes()[:-500]), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"x" * 300),
    lambda p: savemat(p, {"X": np.zeros((32, 32, 3, 4), np.uint8)}),
    lambda p: savemat(p, {"X": np.zeros((32, 32, 3, 4)), "y": np.ones((4, 1))}),
    lambda p: savemat(p, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((5, 1))}),
])  # fmt: skip
def test_a_damaged_mat_file_is_one_line(tmp_path, damage):
    write_svhn(tmp_path)
    damage(tmp_path / "svhn" / "train_32x32.mat")
    one_line("svhn", tmp_path, "train_32x32.mat is damaged")
