"""Downloads, from a server on this machine."""

import functools
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest

from lotterylib import datasets
from lotterylib.datasets import ood
from lotterylib.datasets.corrupted import CIFAR10_C, IMAGENET_C
from lotterylib.datasets.sources import Source, fetch
from lotterylib.errors import DataError, MissingDataError, UnknownNameError
from tests.datasets.formats import write_cifar, write_cifar_c, write_imagenet_o, write_svhn


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/server: put(name, content or {path: content}) → address and MD5 of a file or an archive."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def put(name, members):
        if isinstance(members, bytes):
            (folder / name).write_bytes(members)
        else:
            with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
                for path, content in members.items():
                    about = tarfile.TarInfo(path)
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))
        content = (folder / name).read_bytes()
        return f"http://127.0.0.1:{web.server_port}/{name}", hashlib.md5(content).hexdigest()

    yield put
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize("name", ["thing.tar", "thing.tar.gz"])
def test_an_archive_is_checked_and_unpacked_in_place_of_what_was_there(tmp_path, server, name):
    root = tmp_path / "data"
    url, md5 = server(name, {"thing/a": b"A", "thing/deep/b": b"B", "other": b"C"})
    (root / "thing").mkdir(parents=True)
    (root / "thing" / "stale").write_bytes(b"")
    fetch(url, md5, root)
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) == [
        "other",
        "thing/a",
        "thing/deep/b",
    ]
    fetch(url, md5, root, "below")
    assert (root / "below" / "thing" / "deep" / "b").read_bytes() == b"B"


def test_another_checksum_leaves_nothing(tmp_path, server):
    url, md5 = server("thing.tar", {"thing/a": b"A"})
    with pytest.raises(RuntimeError, match="corrupted"):
        fetch(url, md5[::-1], tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_lies_there_is_taken_and_left(tmp_path, server):
    _, md5 = server("thing.tar", {"thing/a": b"A"})
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "server" / "thing.tar").rename(root / "thing.tar")
    fetch("https://nowhere.invalid/thing.tar", md5, root)
    assert (root / "thing" / "a").read_bytes() == b"A" and (root / "thing.tar").exists()


def test_a_file_that_is_no_archive_is_put_there(tmp_path, server):
    url, md5 = server("digits.mat", b"matrix")
    fetch(url, md5, tmp_path / "data", "svhn")
    assert (tmp_path / "data" / "svhn" / "digits.mat").read_bytes() == b"matrix"


def test_cifar_is_downloaded_when_it_is_not_there(tmp_path, server, monkeypatch):
    from torchvision.datasets import CIFAR10

    write_cifar(tmp_path / "made")
    files = sorted((tmp_path / "made" / "cifar-10-batches-py").iterdir())
    url, md5 = server(CIFAR10.filename, {f"cifar-10-batches-py/{p.name}": p.read_bytes() for p in files})
    monkeypatch.setattr(CIFAR10, "url", url)
    with pytest.raises(
        MissingDataError, match="the download failed: RuntimeError File not found or corrupted"
    ):
        datasets.load("cifar10", root=tmp_path / "data")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5)
    data = datasets.load("cifar10", root=tmp_path / "data")
    assert len(data.train[1]) == 36
    (tmp_path / "server" / CIFAR10.filename).unlink()
    datasets.load("cifar10", root=tmp_path / "data")  # once is enough
    damaged = tmp_path / "data" / "cifar-10-batches-py" / "test_batch"
    damaged.write_bytes(b"")
    with pytest.raises(DataError, match="is damaged"):  # and what is there is never overwritten unasked
        datasets.load("cifar10", root=tmp_path / "data")


def test_svhn_fetches_only_what_lacks(tmp_path, server, monkeypatch):
    from torchvision.datasets import SVHN

    write_svhn(tmp_path / "made")
    for split in ("train", "test"):
        name = f"{split}_32x32.mat"
        url, md5 = server(name, (tmp_path / "made" / "svhn" / name).read_bytes())
        monkeypatch.setitem(SVHN.split_list, split, [url, name, md5])
    root = tmp_path / "data"
    assert datasets.load_ood("svhn", count=20, root=root).shape == (20, 3, 32, 32)
    assert [p.name for p in (root / "svhn").iterdir()] == ["test_32x32.mat"]
    (tmp_path / "server" / "test_32x32.mat").unlink()
    assert len(datasets.load("svhn", root=root).test[1]) == 20


def test_states(tmp_path):
    source = datasets.source("cifar10")
    state, words = source.state(tmp_path)
    assert state == "missing" and "170 MB" in words and str(tmp_path / "cifar-10-batches-py") in words
    arrays = write_cifar(tmp_path)
    assert source.state(tmp_path) == ("there", "")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"x")
    assert source.state(tmp_path)[0] == "damaged"
    corruptions = CIFAR10_C.source
    assert corruptions.state(tmp_path)[0] == "missing"
    folder = write_cifar_c(tmp_path, "cifar10", arrays["test"])
    assert corruptions.state(tmp_path)[0] == "there"
    (folder / "snow.npy").write_bytes((folder / "snow.npy").read_bytes()[:-9])
    assert corruptions.state(tmp_path)[0] == "damaged"
    (folder / "snow.npy").unlink()
    assert corruptions.state(tmp_path)[0] == "missing"


def test_states_of_what_has_to_be_fetched_by_hand(tmp_path):
    source = ood.source("imagenet-o")
    assert source.state(tmp_path)[0] == "missing" and source.download is None
    with pytest.raises(MissingDataError, match=r"imagenet-o\.tar \(about 0\.1 GB\) so that it is there"):
        source.get(tmp_path)
    write_imagenet_o(tmp_path)
    assert source.state(tmp_path)[0] == "there"
    assert IMAGENET_C.source.state(tmp_path)[0] == "missing"


def test_fashion_mnist_is_looked_at_without_a_download(tmp_path, monkeypatch):
    from tests.datasets.test_datasets import write_fashion

    source = datasets.source("fashion-mnist")
    assert source.state(tmp_path)[0] == "missing" and not list(tmp_path.iterdir())
    write_fashion(tmp_path)
    assert source.state(tmp_path)[0] == "there"
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")
    (tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()
    assert source.state(tmp_path)[0] == "damaged"


def test_what_the_package_brings_has_no_source():
    assert datasets.source("fashion-mini") is None and ood.source("digits") is None
    with pytest.raises(UnknownNameError, match="did you mean 'cifar10'"):
        datasets.source("cifar-10")
    assert all(isinstance(datasets.source(name), Source) for name in ("svhn", "cifar100", "fashion-mnist"))


def test_a_download_that_meets_a_full_disk_is_one_line(tmp_path):
    def full(root):
        raise OSError(28, "No space left on device")

    source = Source("Stars", "stars", "9 GB", "fetch stars.tar", check=np.zeros, download=full)
    with pytest.raises(
        MissingDataError, match=r"stars \(the download failed: OSError .* No space left on device\)"
    ) as e:
        source.ensure(tmp_path)
    assert "\n" not in str(e.value)
