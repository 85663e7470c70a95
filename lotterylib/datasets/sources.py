"""Sources of data: what to fetch, how large it is, where it goes, and whether it is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import DataError, MissingDataError, one_line

State = Literal["there", "missing", "damaged"]


@dataclass(frozen=True)
class Source:
    """Files below the data folder.

    Args:
        place: The folder or file where they go, relative to the data folder.
        size: The size of the download.
        fetch: An instruction in words.
        check: Called with the data folder; raises ``MissingDataError`` or ``DataError``.
        download: Gets them; None where the source publishes no checksum or asks for a registration.
        files: All that is there if they are (default: ``place``).
    """

    title: str
    place: str
    size: str
    fetch: str
    check: Callable[[Path], object]
    download: Callable[[Path], object] | None = None
    files: tuple[str, ...] = ()

    def path(self, root: Path) -> Path:
        """Return where they go."""
        return root / self.place

    def missing(self, root: Path, why: str = "") -> MissingDataError:
        """Return the error that says all in one line."""
        why = f" ({why})" if why else ""
        return MissingDataError(
            f"{self.title} is not in {self.path(root)}{why}: {self.fetch} ({self.size}) so that it is there"
        )

    def state(self, root: Path) -> tuple[State, str]:
        """Return whether the files are there and whole; and, if not, the line that says what is wrong. Download nothing."""
        try:
            self.check(root)
        except MissingDataError as error:
            return "missing", str(error)
        except DataError as error:
            return "damaged", str(error)
        return "there", ""

    def get(self, root: Path) -> None:
        """Download the files, in place of any that are there. Raise ``MissingDataError`` if that fails."""
        if self.download is None:
            raise self.missing(root)
        try:
            self.download(root)
        except DataError:
            raise
        except (RuntimeError, ValueError, EOFError, OSError) as error:
            raise self.missing(root, f"the download failed: {one_line(error, named=True)}") from None

    def ensure(self, root: Path) -> None:
        """Download the files unless they (or others) are in their place."""
        if not all((root / file).exists() for file in self.files or (self.place,)):
            self.get(root)


def md5_of(content: bytes) -> str:
    """Return the MD5, for comparison with a published checksum, not for security."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def fetch(url: str, md5: str, root: Path, into: str = ".") -> None:
    """Download a file, check it, and put what it holds (or itself, if it is no archive) into ``root / into``, whole or
    not at all. An archive of that name and checksum that lies in ``root`` is taken instead.

    Raises:
        RuntimeError: for another checksum.
        OSError: as network and disk do.
    """
    from torchvision.datasets.utils import check_integrity, download_url, extract_archive

    name, target = url.rsplit("/", 1)[-1], root / into
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}.") as folder:
        found, unpacked = root / name, Path(folder, "unpacked")
        if not check_integrity(found, md5):
            download_url(url, folder, name, md5)
            found = Path(folder, name)
        if ".tar" in name:
            extract_archive(found, unpacked)
        else:
            unpacked.mkdir()
            shutil.copy(found, unpacked)
        for entry in unpacked.iterdir():
            if (target / entry.name).is_dir():
                shutil.rmtree(target / entry.name)
            os.replace(entry, target / entry.name)
