"""Files that are either whole or not there, here or in an object store."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from .errors import SettingError


def write_whole(path: Path, content: bytes) -> None:
    """Writes to a temporary name beside ``path``, then renames: a reader, a second writer, a kill or a full disk never
    meet half a file. Raises ``OSError`` as the disk does, with nothing left behind. An object store shows an object when
    all of it has arrived, so there it is written as it is."""
    if is_remote(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def place(address: str | Path) -> Path:
    """A path: of this machine, or, for an address with a scheme (``s3://bucket/folder``), fsspec's, which behaves like one.

    Raises ``SettingError`` if what reads such addresses is not installed, or knows no such scheme.
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
    """Whether it is an address with a scheme."""
    return "://" in str(path)


def exists(path: Path) -> bool:
    """Whether there is such a file. A store that does not answer raises an error: it is not an empty one."""
    if not is_remote(path):
        return path.is_file()
    try:
        path.stat()
        return True
    except FileNotFoundError:
        return False


def names(folder: Path) -> set[str]:
    """Names of the files in a folder, asked for at once; none if there is no such folder."""
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def remove(folder: Path) -> None:
    """Removes a folder with all that is in it, and the one above if that is then empty; what cannot be removed stays."""
    with contextlib.suppress(Exception):
        if is_remote(folder):
            remote: Any = folder
            remote.fs.rm(remote.path, recursive=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.rmdir()
