"""The files that a profile needs before it runs, and whether they are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import metrics
from ..datasets import Source, broden, ood
from ..datasets.base import data_root
from ..datasets.corrupted import Published
from ..errors import DataError
from .profile import Profile


@dataclass(frozen=True)
class Need:
    """One thing that a study reads.

    ``state``: "there"; "generated", made on the way; "downloadable" or "missing", not there, to be had by a download or
    by hand; "damaged". ``remark``: the line that says what is wrong and what to do, empty where nothing is. ``source`` and
    ``root``: of things on disk, None for what the package brings.
    """

    what: str
    state: Literal["there", "generated", "downloadable", "missing", "damaged"]
    remark: str = ""
    source: Source | None = None
    root: Path | None = None

    @property
    def met(self) -> bool:
        """Return whether the study can do with what there is."""
        return self.state in ("there", "generated")

    @property
    def fetchable(self) -> bool:
        """Return whether a download would help: also where the study would otherwise generate what it lacks."""
        return self.state != "there" and self.source is not None and self.source.download is not None

    @property
    def size(self) -> str:
        """Return how large a download is; nothing for what is no download."""
        return self.source.size if self.source else ""

    def fetch(self) -> None:
        """Download it, if it is to be had so."""
        if self.source and self.root is not None:
            self.source.get(self.root)

    @property
    def place(self) -> str:
        """Return where it is or goes."""
        if self.source:
            return str(self.source.path(self.root or Path()))
        return "made on the way" if self.state == "generated" else "in the package"


def needs(profile: Profile) -> list[Need]:
    """Return the data set, corruptions, outliers and Broden folders that a profile asks for, each once. Reads much of what
    is there, to see whether it is whole; downloads nothing."""
    data, builder = profile.dataset, profile.dataset.builder
    found = [_of(f"data set {data.name}", builder.source(), data_root(data.root), data.load)]
    root = data_root(builder.shared_root(data.root))
    reads = [metrics.build(metric, **own).reads(builder) for metric, own in profile.metrics.items()]
    if any(each.corruptions for each in reads):
        found.append(_corruptions(builder.archive, root))
    for outliers in dict.fromkeys(name for each in reads for name in each.outliers):
        if outliers in ood.NOISE:
            found.append(Need(f"outliers {outliers}", "generated"))
        else:
            found.append(_of(f"outliers {outliers}", ood.source(outliers), root))
    for folder in dict.fromkeys(each.broden for each in reads if each.broden):
        found.append(_of("concepts of Broden", broden.source(folder), Path()))
    return found


def _corruptions(archive: Published | None, root: Path) -> Need:
    if archive is None:
        return Need("corruptions", "generated")
    source = archive.source
    need = _of(f"corruptions {archive.name}", source, root)
    if need.met or need.state == "damaged":
        return need
    remark = f"generated; to measure on the published ones instead: {source.missing(root)}"
    return Need(need.what, "generated", remark, source, root)


def _of(what: str, source: Source | None, root: Path, load=lambda: None) -> Need:
    if source is None:
        try:
            load()
        except DataError as error:
            return Need(what, "damaged", str(error))
        return Need(what, "there")
    state, remark = source.state(root)
    if state == "missing" and source.download:
        state = "downloadable"
    return Need(what, state, remark, source, root)
