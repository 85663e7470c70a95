import errno
import os
from pathlib import Path

import pytest

from lotterylib.errors import DataError, SettingError
from lotterylib.files import MARKER, claim, component, content_of, emptied, write_first, write_whole


def test_content_folders_and_rights(tmp_path):
    target = tmp_path / "a" / "b" / "file.txt"
    write_whole(target, b"one")
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["file.txt"]
    assert target.stat().st_mode & 0o777 == 0o644  # readable by others, which mkstemp's are not


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_who_may_read_is_the_umasks_to_say(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "ours", b"")
        (tmp_path / "plain").write_bytes(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_written_over_a_private_file_stays_private(tmp_path):
    path = tmp_path / "private"
    path.touch(mode=0o600)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_or_an_interrupt_leaves_nothing_half(tmp_path, monkeypatch, call, error, before):
    target = tmp_path / "file.txt"
    if before is not None:
        target.write_bytes(before)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_whole(target, b"new" * 1000)
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_write_cut_short_by_the_disk_itself(tmp_path):
    """Linux's own full device: the very first byte is refused."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    target = tmp_path / "file.txt"
    original = os.fdopen

    def on_a_full_disk(handle, mode):
        os.close(handle)
        return open("/dev/full", mode)

    os.fdopen = on_a_full_disk
    try:
        with pytest.raises(OSError, match="No space left"):
            write_whole(target, b"new" * 10_000)
    finally:
        os.fdopen = original
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["..", ".", ".git", "", "a/b", "/a", "a\\b", "a b", "a\0", "x" * 61, "C:"])
def test_names_that_are_no_part_of_a_path(name):
    with pytest.raises(SettingError, match="profile .*want at most 60 letters"):
        component(name, "profile")


def test_a_new_or_an_empty_folder_is_taken_and_marked(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "deep" / "new"):
        assert claim(claim(folder)) == folder
        (folder / "page").write_text("old")
        assert [path.name for path in emptied(folder).iterdir()] == [MARKER]


def test_what_others_made_stays(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for take in (claim, emptied):
        with pytest.raises(SettingError, match="was not made by `lottery`, so it is left alone"):
            take(tmp_path)
        with pytest.raises(SettingError, match="left alone"):
            take(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.gz")
    with pytest.raises(DataError, match=r"data\.gz is no file"):
        content_of(tmp_path / "data.gz")
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "other.gz")


def test_the_first_writer_counts(tmp_path):
    file = tmp_path / "folder" / "note"
    assert [write_first(file, content) for content in (b"one", b"two")] == [b"one", b"one"]
    assert [path.name for path in file.parent.iterdir()] == ["note"]
