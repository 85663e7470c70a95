"""What a profile needs on disk before it runs, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..datasets import Source, broden, ood
from ..datasets.base import data_root
from ..datasets.corrupted import Published
from ..errors import DataError
from .profile import Profile

CORRUPTED = (
    "corruption_error",
    "corrupted_accuracy",
    "ece",
    "sce",
    "ace",
    "nll",
    "brier",
)  # metrics on such images
OUTLIERS = ("ood_auroc", "ood_fpr95", "ood_aupr")


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
        """Whether the study can do with what there is."""
        return self.state in ("there", "generated")

    @property
    def fetchable(self) -> bool:
        """Whether a download would help: also where the study would otherwise generate what it lacks."""
        return self.state != "there" and self.source is not None and self.source.download is not None

    @property
    def place(self) -> str:
        """Where it is or goes."""
        if self.source:
            return str(self.source.path(self.root))
        return "made on the way" if self.state == "generated" else "in the package"


def needs(profile: Profile) -> list[Need]:
    """The data set, corruptions, outliers and Broden folders that a profile asks for, each once. Reads much of what is
    there, to see whether it is whole; downloads nothing."""
    data, builder = profile.dataset, profile.dataset.builder
    found = [_of(f"data set {data.name}", builder.source(), data_root(data.root), data.load)]
    root = data_root(builder.shared_root(data.root))
    if set(CORRUPTED) & set(profile.metrics):
        found.append(_corruptions(builder.archive, root))
    for outliers in _named(profile, OUTLIERS, "sets", builder.usual_outliers):
        if outliers not in ood.names():
            found.append(Need(f"outliers {outliers}", "missing", f"known are {', '.join(ood.names())}"))
        elif outliers in ood.NOISE:
            found.append(Need(f"outliers {outliers}", "generated"))
        else:
            found.append(_of(f"outliers {outliers}", ood.source(outliers), root, lambda: None))
    for folder in _named(profile, profile.metrics, "broden", ()):
        found.append(_of("concepts of Broden", broden.source(folder), Path()))
    return found


def _named(profile: Profile, metrics, setting: str, usual: tuple[str, ...]) -> list[str]:
    """What these metrics name under a setting, each once; ``usual`` where one names nothing."""
    asked = {}
    for metric, settings in profile.metrics.items():
        if metric in metrics:
            value = settings.get(setting)
            asked |= dict.fromkeys(usual if value is None else [value] if isinstance(value, str) else value)
    return list(asked)


def _corruptions(archive: Published | None, root: Path) -> Need:
    if archive is None:
        return Need("corruptions", "generated")
    need = _of(f"corruptions {archive.name}", archive.source, root)
    if need.met or need.state == "damaged":
        return need
    remark = f"generated; to measure on the published ones instead: {need.source.missing(root)}"
    return Need(need.what, "generated", remark, need.source, root)


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
