"""Third dimension: which concept, if any, does a unit of the network stand for?

Network dissection (Bau et al., 2017, arXiv:1704.05796) calls a channel of a layer a unit. A unit *fires* on the pixels
where its activation is among its own top 0.5%, and is explained by the concept whose pixels agree best with those:

    IoU(unit, concept) = |unit ∩ concept| / |unit ∪ concept|

It lies in [0, 1], higher is better.

Compositional explanations (Mu & Andreas, 2020, arXiv:2006.14032) let the explanation be a formula of several concepts,
found by beam search: the best formulas so far are each extended by AND, OR, AND NOT and OR NOT with every concept.

A formula treats two pixels that show the same concepts alike. So pixels are sorted into ``Cells`` once, one for each
combination of concepts that occurs; the million pixels of a thousand small images fall into some thousand cells, and the
size of any formula, or of its overlap with any unit, is a sum over those. Exact, and what makes the search fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import numpy as np
import scipy
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ...datasets import Dataset, broden
from ...datasets.base import DatasetBuilder
from ...datasets.concepts import MOST_SCENES, Concepts
from ...errors import DataError, SettingError
from ...machine.devices import pick_device
from ...rng import derive
from ...training import predict
from ..base import About, Metric, Question, Reads, Shape, Tolerance, register
from ..resampling import DRAWS, multinomial_counts
from ..subject import Measurement, Subject

_JOINS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "AND": lambda formula, concept: formula & concept,
    "OR": lambda formula, concept: formula | concept,
    "AND NOT": lambda formula, concept: formula & ~concept,
    "OR NOT": lambda formula, concept: formula | ~concept,
}
# IoUs → scores
UnitScore = Callable[[np.ndarray], np.ndarray]
# activations that are brought to the size of the images at a time: 64 MB
_ELEMENTS = 2**24


def iou(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> float:
    """Return the intersection over union of two boolean masks of one shape: in [0, 1], higher is better.

        IoU = |a ∧ b| / |a ∨ b|

    Two empty masks have nothing in common: 0, not 1 and not NaN. Raises ``DataError`` for masks that are empty arrays,
    not of True and False, or of different shapes.

    Example:
        >>> iou(np.array([True, True, False]), np.array([True, False, False]))
        0.5
    """
    a, b = _boolean(a, "the first mask"), _boolean(b, "the second mask")
    if a.shape != b.shape:
        raise DataError(f"want masks of one shape, got {list(a.shape)} and {list(b.shape)}")
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


@dataclass(frozen=True)
class Formula:
    """Concepts joined from left to right, e.g. ``(("", "sleeve"), ("AND NOT", "bright"))``, and the IoU with the unit
    that it explains. Prints as "sleeve AND NOT bright"; its length is the number of concepts."""

    terms: tuple[tuple[str, str], ...]
    iou: float

    def __len__(self) -> int:
        return len(self.terms)

    def __str__(self) -> str:
        words = self.terms[0][1]
        for i, (join, name) in enumerate(self.terms[1:], start=1):
            if i > 1 and join != self.terms[i - 1][0]:
                words = f"({words})"
            words = f"{words} {join} {name}"
        return words

    @property
    def named(self) -> tuple[str, ...]:
        """Return the concepts that the formula is made of, without those that it excludes."""
        return tuple(name for join, name in self.terms if "NOT" not in join)

    def mask(self, concepts: Mapping[str, np.ndarray | Tensor]) -> np.ndarray:
        """Return where the formula holds: boolean, of the shape of the concepts' masks."""
        mask = _boolean(concepts[self.terms[0][1]], self.terms[0][1])
        for join, name in self.terms[1:]:
            mask = _JOINS[join](mask, _boolean(concepts[name], name))
        return mask


@dataclass(frozen=True)
class Cells:
    """Pixels sorted by the concepts that they show. ``names``: of the C concepts; ``shows``: float64 [C, K], 1 where a
    cell shows a concept; ``sizes``: float64 [K], pixels of each cell; ``cell``: int [pixels], the cell of each pixel;
    ``shape``: of a mask."""

    names: tuple[str, ...]
    shows: np.ndarray
    sizes: np.ndarray
    cell: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, concepts: Mapping[str, np.ndarray | Tensor]) -> Cells:
        """Sort pixels by these masks. Raises ``DataError`` for no concepts, or masks that are not boolean or not of one shape."""
        if not concepts:
            raise DataError("no concepts to explain units by")
        masks = {name: _boolean(mask, f"concept {name!r}") for name, mask in concepts.items()}
        shape, code = next(iter(masks.values())).shape, np.zeros(1, np.int64)
        for name, mask in masks.items():
            if mask.shape != shape:
                raise DataError(f"concept {name!r} has shape {list(mask.shape)}, the first has {list(shape)}")
            # where the next bit would not fit, number the codes that occur
            if code.max() >> 61:
                code = np.unique(code, return_inverse=True)[1].ravel()
            code = 2 * code + mask.ravel()
        _, first, cell, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        shows = np.stack([mask.ravel()[first] for mask in masks.values()])
        return cls(tuple(concepts), shows.astype(np.float64), sizes.astype(np.float64), cell.ravel(), shape)

    @cached_property
    def by_image(self) -> scipy.sparse.csr_array:
        """Return how many pixels of each image lie in each cell: sparse float64 [N, K]."""
        starts = np.arange(0, self.cell.size + 1, math.prod(self.shape[1:]))
        shape = self.shape[0], self.sizes.size
        counts = scipy.sparse.csr_array((np.ones(self.cell.size), self.cell, starts), shape, copy=True)
        counts.sum_duplicates()
        return counts

    def hits(self, fires: np.ndarray) -> np.ndarray:
        """Return how many of the given pixels (flat indices) lie in each cell: float64 [K]."""
        return np.bincount(self.cell[fires], minlength=len(self.sizes)).astype(np.float64)

    def holds(self, formula: Formula) -> np.ndarray:
        """Return where a formula holds, cell by cell: bool [K]."""
        return formula.mask({name: self.shows[self.names.index(name)] > 0 for _, name in formula.terms})


def compose(
    activations: np.ndarray | Tensor,
    concepts: Mapping[str, np.ndarray | Tensor] | Cells,
    length: int = 3,
    beam: int = 5,
) -> Formula | None:
    """Return the formula of at most ``length`` concepts that agrees best with a unit, or None for a unit that never fires or
    overlaps no concept.

    ``activations``: where the unit fires, boolean, [pixels] or [N, H, W]; ``concepts``: name → boolean mask of that
    shape (or their ``Cells``, to sort the pixels once for many units). ``beam``: formulas kept at each length; as many
    as there are concepts make the search exhaustive up to length 2. A longer limit never gives a lower IoU.

    Formulas grow from the left, (a ∘ b) ∘ c with ∘ in AND, OR, AND NOT, OR NOT, as in Mu & Andreas (2020, section 2); a
    lone NOT is no explanation. Among equal IoUs the shorter formula wins, then the one of higher rank before, then the
    order AND, OR, AND NOT, OR NOT, then that of the concepts: nothing is drawn.

    Raises ``DataError`` for masks that are not boolean or do not fit, ``SettingError`` for a length or beam below 1.

    Example:
        >>> round_, red = np.array([True, True, False, False]), np.array([True, False, True, False])
        >>> str(compose(np.array([True, False, False, False]), {"round": round_, "red": red}))
        'round AND red'
    """
    fires = _boolean(activations, "activations")
    cells = concepts if isinstance(concepts, Cells) else Cells.of(concepts)
    if fires.shape != cells.shape:
        raise DataError(f"activations have shape {list(fires.shape)}, the concepts {list(cells.shape)}")
    return search(cells.hits(np.flatnonzero(fires)), cells, length, beam)[-1]


def search(hits: np.ndarray, cells: Cells, length: int = 3, beam: int = 5) -> list[Formula | None]:
    """Search as ``compose`` does, for a unit's hits in each cell (``Cells.hits``): the best formula up to each length."""
    if length < 1 or beam < 1:
        raise SettingError(f"length and beam must be at least 1, got {length} and {beam}")
    if not hits.sum():
        return [None] * length
    kept: list[_Kept] = []
    best = []
    for _ in range(length):
        kept = _extended(kept, hits, cells, beam)
        best.append(kept[0][0] if kept else None)
    return best


# a formula with the cells where it holds, bool [K]
_Kept = tuple[Formula, np.ndarray]


def _extended(kept: list[_Kept], hits: np.ndarray, cells: Cells, beam: int) -> list[_Kept]:
    """Return the ``beam`` best of these formulas and of all their extensions by one concept, best first."""
    grown = _grown(hits, cells, np.stack([holds for _, holds in kept]) if kept else None)
    # |unit ∧ f| / |unit ∨ f| of every extension f: [stems, joins, concepts]
    scores = np.stack([both / (hits.sum() + size - both) for both, size in grown.values()], axis=1)
    joins, stems = list(grown), [formula.terms for formula, _ in kept] or [()]

    def candidate(place: int) -> _Kept:
        if place < len(kept):
            return kept[place]
        stem, join, concept = np.unravel_index(place - len(kept), scores.shape)
        formula = Formula((*stems[stem], (joins[join], cells.names[concept])), float(ranks[place]))
        return formula, cells.holds(formula)

    ranks = np.concatenate([[formula.iou for formula, _ in kept], scores.ravel()])
    pool: dict[bytes, _Kept] = {}
    for place in np.argsort(-ranks, kind="stable"):
        if ranks[place] == 0 or len(pool) == beam:
            break
        formula, holds = candidate(place)
        # a OR b and b OR a hold alike, and need one place in the beam
        pool.setdefault(holds.tobytes(), (formula, holds))
    return list(pool.values())


def _grown(
    hits: np.ndarray, cells: Cells, holds: np.ndarray | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Join each formula f (``holds``: bool [F, K]) with each concept c: join → |unit ∧ (f ∘ c)| and
    |f ∘ c|, each [F, C]. Without formulas: the concepts alone."""
    fired, pixels = hits.sum(), cells.sizes.sum()
    # |unit ∧ c| and |c|
    shown, size = cells.shows @ hits, cells.shows @ cells.sizes
    if holds is None:
        return {"": (shown[None], size[None])}
    hit, held = holds * hits, holds * cells.sizes
    # |unit ∧ f| and |f|, then |unit ∧ f ∧ c| and |f ∧ c|
    inside, whole = hit.sum(axis=1)[:, None], held.sum(axis=1)[:, None]
    both, common = hit @ cells.shows.T, held @ cells.shows.T
    return {
        "AND": (both, common),
        "OR": (inside + shown - both, whole + size - common),
        "AND NOT": (inside - both, whole - common),
        "OR NOT": (fired - shown + both, pixels - size + common),
    }


@dataclass(frozen=True)
class Dissection:
    """The units of one layer. ``formulas``: for each unit the best formula up to each length, None where there is none;
    ``dead``: bool [units]; ``fired``: for each unit the pixels that it fires on (flat indices into ``shape`` = [N, H, W], of
    the smallest type that holds them: there may be a thousand million of them)."""

    formulas: list[list[Formula | None]]
    dead: np.ndarray
    fired: list[np.ndarray]
    shape: tuple[int, ...]

    def fires(self, unit: int) -> np.ndarray:
        """Return where a unit fires: bool [N, H, W]."""
        mask = np.zeros(self.shape, bool)
        mask.reshape(-1)[self.fired[unit]] = True
        return mask

    def ious(self, length: int | None = None) -> np.ndarray:
        """Return the IoU of each unit's best formula up to a length (None: the longest searched), 0 without one: float [units]."""
        return np.array([f.iou if (f := best[(length or 0) - 1]) else 0.0 for best in self.formulas])

    def redrawn(self, cells: Cells, length: int, counts: np.ndarray) -> np.ndarray:
        """Return the IoU of each unit with its formula when images are counted as often as ``counts`` (int [draws, N])
        say: [draws, units]."""
        images, pixels = self.shape[0], math.prod(self.shape[1:])
        nowhere = np.zeros(len(cells.sizes), bool)
        holds = np.stack([cells.holds(f) if (f := best[length - 1]) else nowhere for best in self.formulas])
        # one row per unit, one column per image
        fired = np.stack([np.bincount(at // pixels, minlength=images) for at in self.fired])
        both = np.stack(
            [
                np.bincount(at // pixels, inside[cells.cell[at]], minlength=images)
                for at, inside in zip(self.fired, holds, strict=True)
            ]
        )
        size = (cells.by_image @ holds.T.astype(np.float64)).T
        union = counts @ (fired + size - both).T
        return np.divide(counts @ both.T, union, out=np.zeros(union.shape), where=union > 0)


def dissect(
    maps: Tensor,
    concepts: Mapping[str, np.ndarray | Tensor] | Cells,
    length: int = 3,
    beam: int = 5,
    share: float = 0.005,
) -> Dissection:
    """Explain all units of a layer from its feature ``maps``, float [N, units, h, w] on the images of the concepts'
    masks [N, H, W].

    As in Bau et al. (2017, section 3.2): a unit's threshold is the value that it exceeds at a ``share`` of all positions
    of its maps; maps are brought to H × W bilinearly; the unit fires where they exceed the threshold. The formulas are
    ``compose``'s. Raises ``DataError`` for maps with NaN or of another number of images than the concepts.
    """
    cells = concepts if isinstance(concepts, Cells) else Cells.of(concepts)
    if maps.ndim != 4 or len(maps) != cells.shape[0] or len(cells.shape) != 3:
        raise DataError(
            f"want maps [N, units, h, w] and concepts [N, H, W] of the same N images, got {list(maps.shape)} and "
            f"{list(cells.shape)}"
        )
    limits = thresholds(maps, share)
    fired = _firing(maps, limits, cells.shape[1:])
    formulas = [search(cells.hits(at), cells, length, beam) for at in fired]
    return Dissection(formulas, limits.isinf().numpy(), fired, cells.shape)


def thresholds(maps: Tensor, share: float = 0.005) -> Tensor:
    """Return the value that each unit exceeds at a ``share`` of all positions of its maps [N, units, h, w]: float [units].

    Values that tie with the threshold do not exceed it, so a unit that is at its largest on all of the black background
    fires nowhere. A dead unit has the threshold ∞: one that is never above 0, or has the same map for every image.
    """
    if not 0 < share < 1:
        raise SettingError(f"share must lie between 0 and 1, got {share}")
    maps = maps.detach().float().cpu()
    if not maps.isfinite().all():
        raise DataError("feature maps contain NaN or infinity: the network is broken")
    values = maps.movedim(1, 0).flatten(1)
    positions = values.shape[1]
    above = max(1, math.floor(share * positions + 1e-9))
    limit = values.topk(min(above + 1, positions), dim=1).values[:, -1]
    spread = (maps.amax(dim=0) - maps.amin(dim=0)).amax(dim=(1, 2))
    dead = (values.amax(dim=1) <= 0) | (spread <= 1e-6 * values.abs().amax(dim=1))
    return limit.masked_fill(dead, math.inf)


def _firing(maps: Tensor, limits: Tensor, size: tuple[int, int]) -> list[np.ndarray]:
    """Return for each unit the flat pixel indices wherever its maps, brought to ``size``, exceed its limit."""
    maps, positions = maps.detach().float().cpu(), math.prod(size)
    # interpolation never exceeds the values it starts from: most maps of most units need none
    most, kind = maps.amax(dim=(2, 3)), np.min_scalar_type(len(maps) * positions)
    step, fired = max(1, _ELEMENTS // positions), []
    for unit, limit in enumerate(limits):
        pixels = [np.zeros(0, kind)]
        for image in (most[:, unit] > limit).nonzero()[:, 0].split(step):
            large = nn.functional.interpolate(maps[image, unit][:, None], size, mode="bilinear").flatten(1)
            at, place = (large > limit).nonzero(as_tuple=True)
            pixels.append((image[at] * positions + place).numpy().astype(kind))
        fired.append(np.concatenate(pixels))
    return fired


def last_feature_map(model: nn.Module, image: Tensor, device: str | torch.device | None = None) -> str:
    """Return the name of the last module that gives feature maps: the output is [1, units, h, w] with more than one position,
    and a convolution came before. ``image``: [1, C, H, W].

    Raises ``SettingError`` for a network without one.
    """
    found, convolved = [], []

    def look(name: str, module: nn.Module, output: object) -> None:
        convolved.extend([name] if isinstance(module, nn.Conv2d) else [])
        if convolved and isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(name)

    named = model.named_modules()
    hooks = [m.register_forward_hook(lambda m, _, out, n=n: look(n, m, out)) for n, m in named]
    try:
        predict(model, image, device=device)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise SettingError("the network has no feature maps: no convolution gives more than one position")
    return found[-1]


def feature_maps(
    model: nn.Module, images: Tensor, layer: str, device: str | torch.device | None = None
) -> Tensor:
    """Return the output of a module on images [N, C, H, W]: float32 [N, units, h, w], in eval mode, on the CPU.

    Raises ``SettingError`` for a ``layer`` that the model does not have, or that gives no such maps.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise SettingError(f"there is no layer {layer!r}; there are: {', '.join(filter(None, modules))}")
    last, parts = [], []

    def note(_, __, output: object) -> None:
        # copied at once, since the next module may work in place
        if isinstance(output, Tensor):
            last.append(output.detach().float().cpu().clone())

    def collect(*_) -> None:
        parts.extend(last[-1:])
        last.clear()

    hooks = [modules[layer].register_forward_hook(note), model.register_forward_hook(collect)]
    try:
        predict(model, images, device=device)
    finally:
        for hook in hooks:
            hook.remove()
    if not parts or parts[0].ndim != 4:
        shape = list(parts[0].shape) if parts else "nothing"
        raise SettingError(f"layer {layer!r} gives {shape}, not maps [N, units, h, w]")
    return torch.cat(parts)


@dataclass(frozen=True)
class Probes:
    """The images that units are dissected on, and the concepts that each pixel shows."""

    images: Tensor
    concepts: Concepts
    cells: Cells

    @classmethod
    def of(cls, data: Dataset, images: Tensor, labels: Tensor, folder: str | None) -> Probes:
        """Return these images of the data with concepts by rule, or as many of the Broden ``folder``."""
        if folder is None:
            concepts = data.concepts(images, labels)
        elif data.channels == 3:
            images, concepts = broden.broden(folder, data.size, len(images))
        else:
            raise SettingError(f"broden has colour photographs, the network takes {data.channels} channel(s)")
        return cls(images, concepts, Cells.of(concepts))


@dataclass(frozen=True)
class Examined:
    """A network's layer on the probe images: as it is, and with its maps ``dealt`` to other images. ``units``: of the
    dense network's layer; ``counts``: int [resamples, N], how often each image is drawn."""

    layer: str
    units: int
    probes: Probes
    found: Dissection
    dealt: Dissection
    counts: np.ndarray

    def measure(self, score: UnitScore, length: int) -> Measurement:
        """Return the sum of the scores of the units' IoUs over the dense network's number of units, with variants."""
        variants = {
            "single": self._mean(self.found, score, 1),
            "chance": self._mean(self.dealt, score, length),
        }
        return replace(self._mean(self.found, score, length), variants=variants)

    def _mean(self, dissection: Dissection, score: UnitScore, length: int) -> Measurement:
        cells = self.probes.cells
        value = score(dissection.ious(length)).sum() / self.units
        again = score(dissection.redrawn(cells, length, self.counts)).sum(axis=1) / self.units
        draws = torch.from_numpy(again)
        return Measurement(float(value), draws.std().item(), cells.shape[0], draws=draws)


class _UnitMetric(Metric):
    """A mean over the units of a layer.

    ``layer``: a module's name; None: the last feature maps (for a ResNet its last block). ``images``: of the test set,
    with the concepts of ``datasets.concepts``; or as many of the Broden folder ``broden``, with its labels. ``length`` and
    ``beam``: as in ``compose``; ``share``: as in ``dissect``.

    The units are all that the layer has, a whole and no sample: no error is over them. The error is that of the images: they
    are drawn anew with replacement 200 times, with thresholds and formulas as they were found. It says nothing of what another training seed would give, which moves some dozens of units by more.
    Variants: ``single``, explained by one concept alone; ``chance``, the same maps laid on the wrong images, where only
    the search's luck and the concepts' usual places explain anything.
    """

    images: PositiveInt = 2000
    layer: str | None = None
    length: PositiveInt = 3
    beam: PositiveInt = 5
    share: Annotated[float, Field(gt=0, lt=1)] = 0.005
    broden: str | None = None

    def asks(self, data: Shape) -> dict[Question, float]:
        images = min(self.images, data.test)
        return {Question("units", (images, self.layer, self.broden)): images}

    def other_work(self, data: Shape) -> dict[Question, float]:
        # the search for formulas
        images = min(self.images, data.test)
        return {Question("formulas", (images, self.layer, self.broden)): 7 * images}

    def reads(self, builder: DatasetBuilder) -> Reads:
        return Reads(broden=self.broden)

    def obstacle(self, data: Dataset) -> str:
        if self.broden or len(data.class_names) <= MOST_SCENES:
            return ""
        return f"takes classes for concepts, at most {MOST_SCENES} of them; else a folder of Broden (setting broden)"

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, int]:
        return {"images": min(cls.model_fields["images"].default, len(data.test[1]))}

    def examined(self, subject: Subject) -> Examined:
        """Return what both metrics look at, made once."""
        dense = subject.baseline

        def probe() -> Probes:
            return Probes.of(dense.data, *dense.sample(self.images), self.broden)

        probes = dense.once(("dissection", self.images, self.broden), probe)
        search = self.length, self.beam, self.share
        key = "dissected", self.images, self.layer, self.broden, *search

        def examine() -> Examined:
            device = pick_device(subject.device)
            layer = self.layer or last_feature_map(dense.model, probes.images[:1], device)
            units = feature_maps(dense.model, probes.images[:1], layer, device).shape[1]
            maps = feature_maps(subject.model, probes.images, layer, device)
            random = np.random.default_rng(derive(DRAWS, "dissection"))
            found = dissect(maps, probes.cells, *search)
            elsewhere = torch.from_numpy(random.permutation(len(maps)))
            dealt = dissect(maps[elsewhere], probes.cells, *search)
            return Examined(layer, units, probes, found, dealt, multinomial_counts(len(maps), random))

        return subject.once(key, examine)


@register
class ExplainedUnits(_UnitMetric):
    """Share of the units of a layer whose best formula has an IoU above ``threshold``; higher is better.

        explained units = |{u : IoU(u, best formula of u) > threshold}| / units of that layer in the dense network

    The denominator is the dense network's, so a ticket gains nothing by losing units, dead or cut away. The ``threshold``
    is Bau et al.'s, and serves here too: nearly no unit passes it by ``chance``, few do in an untrained network.
    ``extra`` counts, for each concept, the explained units whose formula names it (not under NOT).
    """

    about = About(
        "explained_units", "Explained units", "interpretability", "higher",
        "fraction of the dense network's units", Tolerance(0.05),
        "IoU with formulas of concepts (Bau et al., 2017; Mu & Andreas, 2020, section 2)", short="explained units",
        words=("easier to explain unit by unit", "harder to explain unit by unit"), version=2, floor=0.0,
    )  # fmt: skip
    bulky = ("ious", "formulas", "concepts")

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.04

    def measure(self, subject: Subject) -> Measurement:
        examined = self.examined(subject)
        measured = examined.measure(lambda ious: ious > self.threshold, self.length)
        found, concepts = examined.found, examined.probes.concepts
        best = {unit: formulas[-1] for unit, formulas in enumerate(found.formulas)}
        explained = {unit: f for unit, f in best.items() if f and f.iou > self.threshold}
        named = Counter(name for formula in explained.values() for name in set(formula.named))
        kinds = Counter(k for f in explained.values() for k in {concepts.category[name] for name in f.named})
        extra = {
            "layer": examined.layer,
            "units": examined.units,
            "cut": examined.units - len(found.formulas),
            "dead": int(found.dead.sum()),
            "ious": [round(float(value), 4) for value in found.ious()],
            "concepts": {name: named[name] for name in concepts if named[name]},
            "categories": dict(sorted(kinds.items())),
            "formulas": {str(unit): str(formula) for unit, formula in explained.items()},
        }
        return replace(measured, extra=extra)


@register
class UnitIou(_UnitMetric):
    """Mean IoU of the units with their best formulas: ``ExplainedUnits`` without a threshold, which makes it steadier
    from seed to seed; in [0, 1], higher is better.

        unit IoU = Σᵤ IoU(u, best formula of u) / units of that layer in the dense network

    Dead units, and those that are cut away, count as 0.
    """

    about = About(
        "unit_iou", "Mean IoU of units", "interpretability", "higher", "0 to 1", Tolerance(0.1, relative=True),
        "IoU with formulas of concepts (Mu & Andreas, 2020, section 2)", short="IoU of units",
        words=ExplainedUnits.about.words, version=2, floor=0.0,
    )  # fmt: skip

    def measure(self, subject: Subject) -> Measurement:
        return self.examined(subject).measure(lambda ious: ious, self.length)


def _boolean(mask: np.ndarray | Tensor, what: str) -> np.ndarray:
    """Return a mask as NumPy array; 0 and 1 will do for False and True."""
    mask = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if not mask.size:
        raise DataError(f"{what}: no pixels")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise DataError(f"{what}: want True and False, got {mask.dtype}; compare with a threshold first")
    return mask.astype(bool, copy=False)
