"""A cell is one ticket to find: (data set, model, pruner, sparsity, seed) and all else that determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

from .. import pruners
from ..training import Recipe
from .profile import DataSource, ModelSpec, Profile

# Raise this when a change makes the same cell give other numbers: old records then no longer count as its result.
ALGORITHM = 1

DENSE = "dense"
# the dense network trained anew: measured like a ticket against the dense network of a seed of the study
CONTROL = "control"


@dataclass(frozen=True)
class Cell:
    """One training and its measurements.

    ``pruner`` is its name in the profile, which may be "dense" or "control"; ``method``, where the profile gave it a label of
    its own, the pruner's name in the library.
    """

    dataset: DataSource
    model: ModelSpec
    pruner: str
    settings: tuple[tuple[str, Any], ...]
    sparsity: float
    seed: int
    recipe: Recipe
    method: str = ""

    def __hash__(self) -> int:
        return hash(self.id)

    def __getstate__(self) -> dict[str, Any]:
        """Send workers the cell alone, without the rounds before it that were asked for."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Return all that determines the ticket, as plain values. The data's folder does not: the same files lie elsewhere
        on another machine."""
        return {
            "algorithm": ALGORITHM,
            **{part: getattr(self, part).model_dump(mode="json", exclude={"root"}) for part in _SHARED},
            "pruner": self.method or self.pruner,
            "seed": self.seed,
            "settings": dict(self.settings),
            "sparsity": round(self.sparsity, 9),
        }

    @cached_property
    def id(self) -> str:
        """Return 16 hex digits of the identity's SHA-256; the name of its files in a store."""
        # what json.dumps gives for the whole, put together from parts that thousands of cells share
        shared = self._shared
        numbers = int(self.seed), shared.settings, repr(round(float(self.sparsity), 9))
        text = '{}, "seed": {}, "settings": {}, "sparsity": {}}}'.format(shared.head, *numbers)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def _shared(self) -> _Shared:
        parts = (self.dataset, self.model, self.settings, self.recipe)
        key = (*map(id, parts), self.method or self.pruner, ALGORITHM)
        if key not in _known:
            _make_room(_known)
            _known[key] = _Shared.of(self, parts)
        return _known[key]

    @property
    def label(self) -> str:
        """Return the name in messages, e.g. ``lottery 79.0% resnet8 fashion-mini seed 1``."""
        which = f"{self.training_seed}" if self.pruner == CONTROL else f"{self.sparsity:.1%}"
        return f"{self.pruner} {which} {self.model.label} {self.dataset.name} seed {self.seed}"

    def metric_id(self, metric: str, settings: dict[str, Any]) -> str:
        """Return the name of the record of one metric of this cell."""
        return f"{self.id}-{how_measured(metric, settings)}"

    @property
    def unpruned(self) -> bool:
        """Return whether it is trained without a pruner: dense, or a control."""
        return self.pruner in (DENSE, CONTROL)

    @property
    def training_seed(self) -> int:
        """Return the seed of initial weights and batches: a control's is not that of the networks it is compared with."""
        return dict(self.settings)["training_seed"] if self.pruner == CONTROL else self.seed

    def build_pruner(self) -> pruners.Pruner:
        key = (pruners.PRUNERS[self.method or self.pruner], id(self.settings))
        if key not in _built:
            _make_room(_built)
            _built[key] = self.settings, pruners.build(self.method or self.pruner, **dict(self.settings))
        return _built[key][1]

    def dense(self) -> Cell | None:
        """Return the dense network that this cell starts from, if it needs one."""
        return None if self.unpruned or not self.build_pruner().needs_dense else self.baseline()

    def baseline(self) -> Cell:
        """Return the dense network of the same seed, which its metrics are compared with."""
        if self.pruner == DENSE:
            return self
        key = (*map(id, (self.dataset, self.model, self.recipe)), self.seed, ALGORITHM)
        if key not in _baselines:
            _make_room(_baselines)
            _baselines[key] = replace(self, pruner=DENSE, settings=(), sparsity=0.0, method="")
        return _baselines[key]

    def previous(self) -> Cell | None:
        """Return the cell of the round before, if the pruner is iterative and this is not its first."""
        return self._previous

    @cached_property
    def _previous(self) -> Cell | None:
        before = None if self.unpruned else self.build_pruner().previous(self.sparsity)
        return None if before is None else self.at(before)

    def at(self, sparsity: float) -> Cell:
        """Return the same cell at another sparsity."""
        # dataclasses.replace takes three times as long, for tens of thousands
        return Cell(
            self.dataset,
            self.model,
            self.pruner,
            self.settings,
            sparsity,
            self.seed,
            self.recipe,
            self.method,
        )

    def parents(self) -> list[Cell]:
        """Return the cells whose tickets must exist first."""
        return [cell for cell in (self.dense(), self.previous()) if cell]


_SHARED = ("dataset", "model", "recipe")


class _Shared(NamedTuple):
    """What thousands of cells share: the text of their identities up to the seed, and that of their settings. ``parts`` are
    held here, so that no other can have their place in memory."""

    parts: tuple[Any, ...]
    head: str
    settings: str

    @classmethod
    def of(cls, cell: Cell, parts: tuple[Any, ...]) -> _Shared:
        plain = {part: getattr(cell, part).model_dump(mode="json", exclude={"root"}) for part in _SHARED}
        head = json.dumps(
            {"algorithm": ALGORITHM, "pruner": cell.method or cell.pruner, **plain}, sort_keys=True
        )[:-1]
        return cls(parts, head, json.dumps(dict(cell.settings), sort_keys=True))


_known: dict[tuple[Any, ...], _Shared] = {}
# dense networks, which hundreds of cells are compared with; each holds what its key is made of
_baselines: dict[tuple[int, ...], Cell] = {}
# with the settings, held for the same reason
_built: dict[tuple[Any, ...], tuple[Any, pruners.Pruner]] = {}


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= 1000:
        cache.clear()


def how_measured(metric: str, settings: dict[str, Any]) -> str:
    """Return the part of a record's name that all cells have in common."""
    return f"{metric}-{digest([ALGORITHM, metric, settings])[:8]}"


def digest(value: Any) -> str:
    """Return 16 hex digits that stand for a plain value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def expand(profile: Profile) -> list[Cell]:
    """Return the cells whose metrics the profile asks for: per model and seed the dense network, then each pruner at each
    sparsity, then the controls. Rounds in between are not listed; ``with_ancestors`` adds them.

    Example:
        >>> from lotterylib.study import load_profile
        >>> [cell.label for cell in expand(load_profile("laptop"))][:2]
        ['dense 0.0% resnet8 fashion-mini seed 0', 'random 48.8% resnet8 fashion-mini seed 0']
    """
    if _last and _last[0] is profile:
        return list(_last[1])
    # full settings, so that a changed default of the library is another cell
    built = {label: profile.pruner(label) for label in profile.pruners}
    full = {
        label: ("" if pruner.name == label else pruner.name, tuple(sorted(pruner.model_dump().items())))
        for label, pruner in built.items()
    }
    cells, levels = [], profile.levels
    for model in profile.models:
        for seed in profile.seeds:
            dense = Cell(profile.dataset, model, DENSE, (), 0.0, seed, profile.recipe)
            cells.append(dense)
            for pruner, (method, settings) in full.items():
                if seed in profile.fewer_seeds.get(pruner, profile.seeds):
                    of = replace(dense, pruner=pruner, settings=settings, method=method)
                    cells += [of.at(s) for s in levels]
            for training_seed in profile.control_seeds(seed):
                cells.append(replace(dense, pruner=CONTROL, settings=(("training_seed", training_seed),)))
    _last[:] = profile, cells
    return list(cells)


# the profile that was expanded last, its cells, whose names are known by now, and if asked for, with their ancestors
_last: list[Any] = []


def everything(profile: Profile) -> list[Cell]:
    """Return the profile's cells and all that they start from: each once, parents before children."""
    cells = expand(profile)
    if len(_last) < 3:
        _last.append(with_ancestors(cells))
    return list(_last[2])


class Asked(NamedTuple):
    """A measurement that a profile asks for; ``id`` is the name of its record."""

    cell: Cell
    metric: str
    settings: dict[str, Any]
    id: str


def wanted(profile: Profile) -> list[Asked]:
    """Return every measurement that the profile asks for."""
    how = {metric: how_measured(metric, settings) for metric, settings in profile.metrics.items()}
    at = {seed: profile.metrics_at(seed) for seed in profile.seeds}
    return [
        Asked(cell, metric, settings, f"{cell.id}-{how[metric]}")
        for cell in expand(profile)
        for metric, settings in at[cell.seed].items()
    ]


def with_ancestors(cells: list[Cell], found: Callable[[Cell], bool] = lambda cell: False) -> list[Cell]:
    """Return the cells, the dense networks that they are compared with, and all that they start from: each once, parents
    before children. What led to a cell whose ticket is ``found`` is not needed again."""
    ordered: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.id not in ordered:
            for parent in [] if found(cell) else cell.parents():
                visit(parent)
            ordered[cell.id] = cell

    for cell in cells:
        visit(cell.baseline())
        visit(cell)
    return list(ordered.values())
