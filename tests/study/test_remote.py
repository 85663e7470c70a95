"""Stores with an address: fsspec's memory, and S3, by a server on loopback that speaks its protocol."""

import pytest
import torch

from lotterylib.errors import DataError, SettingError
from lotterylib.files import exists, place, write_whole
from lotterylib.study import Store, records, ticket
from lotterylib.study.lookup import failures, missing
from lotterylib.study.work import Worker
from tests.study.helpers import cell_of, same_state, tiny

pytest.importorskip("upath")


@pytest.fixture(scope="module", params=["memory", "s3"])
def bucket(request):
    """The address of an empty bucket; S3's clients find the server by environment variables, as they do elsewhere."""
    if request.param == "memory":
        yield "memory://lottery"
        return
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("lottery")
        yield "s3://lottery"
    server.stop()


def test_a_study_in_a_bucket_gives_what_it_gives_in_a_folder(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    profile = tiny(pruners=["magnitude"], rounds=[1])
    remote, local = Store(f"{bucket}/study"), Store(tmp_path / "s")
    assert len(missing(profile, remote)) == 2
    for store in (remote, local):
        store.open_for_writing()
        for cell, wanted in missing(profile, store):
            assert Worker(store, 1, "cpu").find(cell).what == "found"
            assert Worker(store, 1, "cpu").measure(cell, wanted).what == "found"
    assert missing(profile, remote) == [] and failures(profile, remote) == {}
    cell = cell_of(profile, "magnitude")
    assert Worker(Store(f"{bucket}/study"), 1, "cpu").find(cell).what == "kept"
    here, there = (s.load_ticket(cell) for s in (local, remote))
    assert here.mask.equals(there.mask) and same_state(here.model.state_dict(), there.model.state_dict())
    again = ticket(profile, "dense", 0, f"{bucket}/study")
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            again.rewind.values(), ticket(profile, "dense", 0, local).rewind.values(), strict=True
        )
    )
    values = [[row["value"] for row in records(profile, store)] for store in (f"{bucket}/study", local.root)]
    assert values[0] == values[1] and len(values[0]) == 2
    assert remote.generated == tmp_path / "cache" / "lotterylib" / "generated"


def test_failures_and_other_versions_in_a_bucket(bucket):
    store, cell = Store(f"{bucket}/failures").open_for_writing(), cell_of(tiny(), "dense")
    store.save_failure(cell, "diverged", "the loss was nan", {})
    store.save_unmeasured(cell, "accuracy", {}, "no luck", {})
    assert store.is_final(cell) and not store.has_ticket(cell)
    assert store.unmeasured(cell, "accuracy", {}) == "no luck"
    store.save_record(cell, "accuracy", {}, {"value": 0.5})
    assert store.unmeasured(cell, "accuracy", {}) is None and store.record(cell, "accuracy", {}) == {
        "value": 0.5
    }
    with pytest.raises(DataError, match="no ticket at .*lottery/failures"):
        store.load_ticket(cell)
    write_whole(place(f"{bucket}/old/store.json"), b'{"format": 7}')
    with pytest.raises(DataError, match="has format 7"):
        Store(f"{bucket}/old")


def test_a_store_that_does_not_answer_is_not_an_empty_one(monkeypatch):
    class Silent:
        def __truediv__(self, _):
            return self

        def __str__(self):
            return "s3://silent"

        def stat(self):
            raise RuntimeError("no\ncredentials")

    monkeypatch.setattr("lotterylib.study.store.place", lambda _: Silent())
    with pytest.raises(DataError, match="the store s3://silent does not answer: no credentials"):
        Store("s3://silent")


def test_schemes_that_nothing_reads(tmp_path):
    with pytest.raises(SettingError, match="nosuch://"):
        place("nosuch://x/y")
    assert place("runs/a").as_posix() == "runs/a" and not exists(tmp_path / "none")
