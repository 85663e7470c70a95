"""A profile: the YAML file that names data, models, pruners, sparsities, seeds, recipe and metrics of a study."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import nn

from .. import datasets, metrics, models, pruners
from ..datasets import Dataset
from ..errors import DataError, LotteryError, SettingError, UnknownNameError, first_problem
from ..files import component
from ..training import Recipe
from .strict import check_taken_literally, read_yaml

FOLDER = Path(__file__).parents[1] / "profiles"
# share of the remaining weights that a round removes
ROUND = 0.2
# controls are trained from this seed on, far from those of studies
FIRST_CONTROL = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(_Strict):
    """The data of a study.

    Args:
        root: The folder of downloaded files; of ``folder`` the one with the images.
        limit: At most that many images per split.
        settings: The data set's own, such as ImageNet's ``size``; they may stand beside ``name`` too.
        content: The digest of files of one's own, found when the profile is read; tickets are named by it. Where the files
            are not, a profile may give it, so that records of the study can be read.
    """

    name: Annotated[str, AfterValidator(lambda name: _known("data set", name, datasets.names()))]
    root: Path | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    settings: dict[str, Any] = {}
    content: str | None = None

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Any) -> dict[str, Any]:
        """Leave out what there was not always: tickets are named by it."""
        return {k: v for k, v in dump(self).items() if k not in ("settings", "content") or v}

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """Take settings that stand beside the name."""
        if not isinstance(value, dict) or value.get("name") not in datasets.names():
            return value
        own = datasets.base.BUILDERS[value["name"]].model_fields.keys() - cls.model_fields.keys()
        flat = {key: held for key, held in value.items() if key in own}
        if not flat:
            return value
        settings = value.get("settings", {})
        if not isinstance(settings, dict):
            return value
        if twice := sorted(flat.keys() & settings.keys()):
            raise ValueError(f"{twice[0]} stands beside settings and in them")
        return {k: v for k, v in value.items() if k not in flat} | {"settings": settings | flat}

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path | None) -> Path | None:
        """Workers may have another working folder."""
        return root and root.expanduser().absolute()

    @model_validator(mode="after")
    def _its_own(self) -> DataSource:
        builder = self.builder
        if self.content is None:
            object.__setattr__(self, "content", builder.content(self.root))
        return self

    @property
    def builder(self) -> datasets.DatasetBuilder:
        """Return what the library knows of the data set."""
        return datasets.build(self.name, **self.settings)

    def load(self) -> Dataset:
        """Load the data; raise ``DataError`` if they are not those that the profile was read with."""
        if self.content and self.builder.content(self.root) != self.content:
            raise DataError(f"{self.root} no longer holds the images that the study began with")
        return datasets.load(self.name, self.root, self.limit, **self.settings)


class ModelSpec(_Strict):
    """A model's name, width multiplier, and its own settings."""

    name: Annotated[str, AfterValidator(lambda name: _known("model", name, models.names()))]
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    settings: dict[str, Any] = {}

    @field_validator("settings")
    @classmethod
    def _its_own(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" in info.data:
            models.architecture(info.data["name"], **settings)
        return settings

    @property
    def label(self) -> str:
        """Return what tells it apart from a study's other networks."""
        return models.label(self.name, self.width)

    def build(self, data: Dataset, seed: int) -> nn.Module:
        """Return the untrained network of a seed, normalising by the statistics of the training images."""
        return models.build(
            self.name, data.classes, data.channels, self.width, data.size,
            seed=seed, mean=data.mean, std=data.std, **self.settings,
        )  # fmt: skip


class Live(_Strict):
    """The small case that notebooks train in front of the reader: images per split and recipe."""

    limit: Annotated[int, Field(ge=1)]
    recipe: Recipe


class Profile(_Strict):
    """One study.

    Sparsities come as ``rounds`` of 20% each or as fractions; dense is always part of it, and all of it where ``pruners``
    is empty. ``smoke`` says that its numbers mean nothing, and ``live`` what notebooks train in front of the reader.
    ``longer`` names the profile that trains the dense network for longer, to show that the recipe converges, ``beside`` one
    whose records, where there are some, are shown with this one's, and ``family`` those of other data or networks with the same
    recipe, for claims that compare them.
    ``hours_per_cell``: a training or measurement that takes longer counts as failed.

    ``pruners`` may hold one pruner twice: under a label of one's own, its settings name it (``random-erk: {pruner: random,
    distribution: erk}``). ``controls`` dense networks more are trained from other seeds and measured like tickets, each
    against the dense network of one of ``control_with`` (empty: ``metric_seeds``, or all seeds) in turn: what a retraining
    changes.
    ``fewer_seeds`` (pruner → some of the seeds) and ``metric_seeds`` (those on which more than accuracy is measured;
    empty: all) are for studies too costly for all metrics on all seeds.
    """

    name: str
    title: str = ""
    smoke: bool = False
    dataset: DataSource
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    pruners: dict[str, dict[str, Any]]
    rounds: list[Annotated[int, Field(ge=1, le=60)]] = []
    sparsities: list[Annotated[float, Field(gt=0, lt=1)]] = []
    seeds: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]
    controls: Annotated[int, Field(ge=0)] = 0
    control_with: list[int] = []
    recipe: Recipe = Recipe()
    metrics: dict[str, dict[str, Any]] = {"accuracy": {}}
    live: Live
    longer: str | None = None
    hours_per_cell: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 168.0
    beside: str | None = None
    family: list[str] = []
    fewer_seeds: dict[str, list[int]] = {}
    metric_seeds: list[int] = []

    @field_validator("name")
    @classmethod
    def _harmless(cls, name: str) -> str:
        """Folders are called by it."""
        return component(name)

    @field_validator("pruners", "metrics", mode="before")
    @classmethod
    def _empty_settings(cls, value: Any) -> Any:
        """``random:`` with nothing behind it means default settings; a plain list of names does too."""
        if isinstance(value, list):
            if not all(isinstance(each, str) for each in value):
                raise ValueError(
                    "want a list of names, or NAME: {settings} on lines of their own without a dash"
                )
            return {name: {} for name in value}
        return {k: v or {} for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("pruners", "metrics")
    @classmethod
    def _build(cls, value: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        """Refuse what cannot be built. Settings stay as they are written: a metric's id is made of them."""
        build = metrics.build if info.field_name == "metrics" else _labelled
        built: dict[Any, str] = {}
        for name, settings in value.items():
            try:
                found = build(name, **settings)
            except LotteryError as error:
                raise ValueError(str(error)) from None
            if (same := built.setdefault((type(found), repr(found)), name)) != name:
                raise ValueError(f"{same} and {name} are the same: want other settings")
        if info.field_name == "metrics" and "accuracy" not in value:
            raise ValueError("accuracy is missing: the regions of every figure rest on it")
        return value

    @model_validator(mode="after")
    def _one_scale(self) -> Profile:
        if self.rounds and self.sparsities or self.pruners and not (self.rounds or self.sparsities):
            raise ValueError("give either rounds (e.g. [2, 4, 7]) or sparsities (fractions, e.g. [0.5, 0.9])")
        for what in ("rounds", "sparsities", "seeds"):
            values = getattr(self, what)
            if len(set(values)) != len(values):
                raise ValueError(f"{what} repeats a value: {values}")
        for pruner, seeds in self.fewer_seeds.items():
            if pruner not in self.pruners or not seeds or not set(seeds) <= set(self.seeds):
                raise ValueError(
                    f"fewer_seeds of {pruner}: want a pruner of this profile and some of its seeds, got {seeds}"
                )
        for what in ("metric_seeds", "control_with"):
            if not set(getattr(self, what)) <= set(self.seeds):
                raise ValueError(f"{what}: want some of the seeds {self.seeds}, got {getattr(self, what)}")
        if self.controls and max(self.seeds) >= FIRST_CONTROL:
            raise ValueError(f"seeds: want seeds below {FIRST_CONTROL}, from where on controls are trained")
        labels = [model.label for model in self.models]
        if len(set(labels)) != len(labels):
            raise ValueError(
                f"models repeats a name and width: {labels}; give the second one a profile of its own"
            )
        return self

    @property
    def levels(self) -> list[float]:
        """Return the sparsities of the study, rising, dense left out."""
        return sorted(self.sparsities or [1 - (1 - ROUND) ** r for r in self.rounds])

    def cut(
        self,
        only: list[str] | None = None,
        seeds: list[int] | None = None,
        sparsities: list[float] | None = None,
    ) -> Profile:
        """Return the same study with some of its pruners, seeds and sparsities alone (None: all); the networks keep their
        names in a store. ``only`` may name "dense" and, where there are controls, "control"; sparsities may be rounded to a
        tenth of a per cent.

        Raises:
            UnknownNameError, SettingError: for what is not in the profile.
        """
        changes: dict[str, Any] = {}
        known = ["dense", *self.pruners, *(["control"] if self.controls else [])]
        for name in only or ():
            if name not in known:
                raise UnknownNameError("pruner of this profile", name, known)
        if only is not None:
            changes["pruners"] = {name: s for name, s in self.pruners.items() if name in only}
            changes["controls"] = self.controls if "control" in only else 0
        for seed in seeds or ():
            if seed not in self.seeds:
                raise SettingError(f"seed {seed} is not in the profile {self.name}: it has {self.seeds}")
        if seeds is not None:
            changes["seeds"] = [seed for seed in self.seeds if seed in seeds]
            # those that are left stay with the networks that they were compared with
            changes["control_with"] = self._control_with
        for sparsity in sparsities or ():
            if not any(_same(sparsity, level) for level in self.levels):
                has = ", ".join(f"{level:.3f}" for level in self.levels)
                raise SettingError(f"sparsity {sparsity:g} is not in the profile {self.name}: it has {has}")
        if sparsities is not None:
            kept = [level for level in self.levels if any(_same(s, level) for s in sparsities)]
            changes |= {"rounds": [], "sparsities": kept}
        return self.model_copy(update=changes)

    def pruner(self, label: str) -> pruners.Pruner:
        """Return a pruner of the profile with its settings."""
        return _labelled(label, **self.pruners[label])

    @property
    def _control_with(self) -> list[int]:
        return self.control_with or self.metric_seeds or self.seeds

    def control_seeds(self, seed: int) -> list[int]:
        """Return the seeds that those controls are trained from which are compared with the dense network of ``seed``.

        Example:
            >>> load_profile("laptop").model_copy(update={"controls": 4}).control_seeds(0)
            [1000, 1002]
        """
        seeds = self._control_with
        return [FIRST_CONTROL + i for i in range(self.controls) if seeds[i % len(seeds)] == seed]

    def metrics_at(self, seed: int) -> dict[str, dict[str, Any]]:
        """Return what is measured on the networks of a seed: metric → settings."""
        if seed in (self.metric_seeds or self.seeds):
            return self.metrics
        return {"accuracy": self.metrics["accuracy"]}

    def live_case(self, seed: int = 0) -> tuple[nn.Module, Dataset, Recipe]:
        """Return an untrained network, a little data in memory (the whole test set is left out) and a short recipe, to be
        trained in well under a minute; numbers from it illustrate, they are no results."""
        source = self.dataset.model_copy(
            update={"limit": min(self.live.limit, self.dataset.limit or self.live.limit)}
        )
        data = _live_data(source).cloned()
        return self.models[0].build(data, seed), data, self.live.recipe


@lru_cache(maxsize=1)
def _live_data(source: DataSource) -> Dataset:
    """Load a little data once for all live cases of a notebook."""
    return source.load().in_memory()


def _same(sparsity: float, level: float) -> bool:
    return abs(sparsity - level) <= 0.0005 + 1e-9


def profile_names() -> list[str]:
    """Return the names of the profiles that come with the package.

    Example:
        >>> "laptop" in profile_names()
        True
    """
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def load_profile(name: str | Path | Profile) -> Profile:
    """Return a shipped profile by name, or any YAML file by path; a profile comes back as it is.

    A file may say ``extends:`` and name another one, shipped or by a path from its own folder: what it does not say is as
    there. Mappings are merged key by key; anything else, lists too, is replaced.

    Raises:
        UnknownNameError: for a name that is neither.
        SettingError: in one line for a file that is no profile: file, key, and what would be right.

    Example:
        >>> load_profile("laptop").levels[-1] > 0.95
        True
    """
    if isinstance(name, Profile):
        return name
    path = _path(name)
    content = {"name": path.stem, **_content(path)}
    try:
        profile = Profile.model_validate(content)
        check_taken_literally(content, profile)
        built = {label: profile.pruner(label) for label in profile.pruners}
        check_taken_literally(profile.pruners, built, "pruners")
    except ValidationError as error:
        raise SettingError(f"{path}: {first_problem(error)}") from None
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
    return profile


def _path(name: str | Path, folder: Path = Path()) -> Path:
    if Path(name).suffix in (".yaml", ".yml"):
        return folder / name
    if str(name) not in profile_names():
        raise UnknownNameError("profile", str(name), profile_names())
    return FOLDER / f"{name}.yaml"


def _content(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return what the file says, over what the one that it extends says. ``within``: the files that led here."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SettingError(
            f"{path}: want keys and values (name, dataset, models, …), got {type(content).__name__}"
        )
    if "extends" not in content:
        return content
    base, within = content.pop("extends"), (*within, path.resolve())
    try:
        below = _path(base, path.parent) if isinstance(base, str) else None
    except UnknownNameError as error:
        raise SettingError(f"{path}: extends: {error}") from None
    if below is None:
        raise SettingError(f"{path}: extends: want the name or path of one profile, got {base!r}")
    if below.resolve() in within:
        chain = " → ".join(p.name for p in (*within, below))
        raise SettingError(f"{path}: extends: goes round in a circle: {chain}")
    # each has its own name
    return _merged({k: v for k, v in _content(below, within).items() if k != "name"}, content)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {k for k in base.keys() & over.keys() if isinstance(base[k], dict) and isinstance(over[k], dict)}
    return {**base, **over, **{k: _merged(base[k], over[k]) for k in both}}


def _labelled(label: str, pruner: str | None = None, **settings: Any) -> pruners.Pruner:
    """Return a pruner by its own name, or by a label for which ``pruner`` names it."""
    if pruner is None:
        return pruners.build(label, **settings)
    if label in ("dense", "control", *pruners.names()):
        raise SettingError(f"{label} is a name of its own: give {pruner} another label, e.g. {pruner}-2")
    component(label, "label")
    return pruners.build(pruner, **settings)


def _known(kind: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise ValueError(str(UnknownNameError(kind, name, known)))
    return name
