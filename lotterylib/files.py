"""Files that are either whole or not there, here or in an object store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any, cast

from .errors import DataError, SettingError

MARKER = ".made-by-lottery"
NOTE = "Made by `lottery`, which replaces and deletes what is in here.\n"


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, then rename: a reader, a second writer, a kill or a full disk never meet
    half a file. Who may read it is the umask's to say. An object store shows an object when all of it has arrived, so
    there it is written as it is.

    Raises:
        OSError: as the disk does, with nothing left behind.
    """
    if is_remote(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    # the mode of any new file, less the umask; tempfile's are the owner's alone
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            # written over, a file keeps its own
            if path.exists():
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # a full disk does not say which
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_first(path: Path, content: bytes) -> bytes:
    """Write a file of this machine, whole, unless another process was first; return what it holds then.

    Raises:
        OSError: as the disk does, with nothing left behind.
    """
    mine = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    write_whole(mine, content)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
    finally:
        mine.unlink()
    return path.read_bytes()


def place(address: str | Path) -> Path:
    """Return a path: of this machine, or, for an address with a scheme (``s3://bucket/folder``), fsspec's, which behaves
    like one.

    Raises:
        SettingError: if what reads such addresses is not installed, or knows no such scheme.
    """
    if not is_remote(address):
        return Path(address)
    try:
        from upath import UPath

        # others write there too
        return cast(Path, UPath(str(address), use_listings_cache=False))
    except ImportError as error:
        raise SettingError(f'{address} needs `pip install "lotterylib[remote]"` ({error})') from None
    except ValueError as error:
        raise SettingError(f"{address}: {error}") from None


def is_remote(path: str | Path) -> bool:
    """Return whether it is an address with a scheme.

    Example:
        >>> is_remote("s3://bucket/folder"), is_remote("/home/me")
        (True, False)
    """
    return "://" in str(path)


def exists(path: Path) -> bool:
    """Return whether there is such a file. A store that does not answer raises an error: it is not an empty one."""
    if not is_remote(path):
        return path.is_file()
    try:
        path.stat()
        return True
    except FileNotFoundError:
        return False


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: for what is no file.
    """
    check_is_file(path)
    return path.read_bytes()


def check_is_file(path: Path) -> None:
    """Raise ``DataError`` for what is there and is no file: reading a pipe waits for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path} is no file")


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def names(folder: Path) -> set[str]:
    """Return the names of the files in a folder, asked for at once; none if there is no such folder."""
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, and the one above if that is then empty; what cannot be removed stays."""
    with contextlib.suppress(Exception):
        if is_remote(folder):
            remote: Any = folder
            remote.fs.rm(remote.path, recursive=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.rmdir()


def component(name: str, kind: str = "name") -> str:
    """Return a name that is harmless as one part of a path: letters, digits, ``.``, ``_`` and ``-``, no dot in front.

    Raises:
        SettingError: for any other, ``../victim`` or an absolute path among them.
    """
    plain = all(c.isalnum() or c in "._-" for c in name)
    if not plain or not 1 <= len(name) <= 60 or name.startswith("."):
        raise SettingError(
            f"{kind} {name[:80]!r}: want at most 60 letters, digits, '.', '_' and '-', not '.' at the beginning"
        )
    return name


def claim(folder: Path, marker: str = MARKER, note: str = NOTE) -> Path:
    """Make a folder that this program may fill and empty, or accept an empty one, or one that holds the ``marker`` file.

    Args:
        note: Text of the marker in a new folder; none is written without.

    Raises:
        SettingError: if it holds anything else.
    """
    if not (folder / marker).is_file():
        if names(folder) or folder.exists() and not folder.is_dir():
            raise SettingError(
                f"{folder} was not made by `lottery`, so it is left alone: move it away, or name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if note:
            (folder / marker).write_text(note)
    return folder


def emptied(folder: Path) -> Path:
    """Claim a folder and remove what is in it."""
    if folder.exists():
        shutil.rmtree(claim(folder))
    return claim(folder)
