"""Third dimension: which concept, if any, does a unit of the network stand for?

Network dissection (Bau et al., 2017, arXiv:1704.05796) calls a channel of a layer a unit. A unit *fires* on the pixels
where its activation is among its own top 0.5 %, and is explained by the concept whose pixels agree best with those:

    IoU(unit, concept) = |unit ∩ concept| / |unit ∪ concept|        in [0, 1], higher is better

Compositional explanations (Mu & Andreas, 2020, arXiv:2006.14032) let the explanation be a formula of several concepts,
found by beam search: the best formulas so far are each extended by AND, OR, AND NOT and OR NOT with every concept.

No formula can tell apart two pixels that show the same concepts. So pixels are sorted into ``Cells`` once, one for each
combination of concepts that occurs; the million pixels of a thousand small images fall into some thousand cells, and the
size of any formula, or of its overlap with any unit, is a sum over those. Exact, and what makes the search fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from ..datasets import Dataset
from ..datasets.broden import broden as read_broden
from ..datasets.concepts import Concepts
from ..errors import DataError, SettingError
from ..machine.devices import pick_device
from ..rng import derive
from ..training import predict
from .subject import Measurement, Subject

_JOINS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "AND": lambda formula, concept: formula & concept,
    "OR": lambda formula, concept: formula | concept,
    "AND NOT": lambda formula, concept: formula & ~concept,
    "OR NOT": lambda formula, concept: formula | ~concept,
}
_ELEMENTS = 2**24  # of activations brought to the size of the images at a time: 64 MB


def iou(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> float:
    """Intersection over union of two boolean masks of one shape: in [0, 1], higher is better.

        IoU = |a ∧ b| / |a ∨ b|

    Two empty masks have nothing in common: 0, not 1 and not NaN. Raises ``DataError`` for masks that are empty arrays,
    not of True and False, or of different shapes.
    """
    a, b = _boolean(a, "the first mask"), _boolean(b, "the second mask")
    if a.shape != b.shape:
        raise DataError(f"want masks of one shape, got {list(a.shape)} and {list(b.shape)}")
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


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
        """The concepts that the formula is made of, without those that it excludes."""
        return tuple(name for join, name in self.terms if "NOT" not in join)

    def mask(self, concepts: Mapping[str, np.ndarray | Tensor]) -> np.ndarray:
        """Where the formula holds: boolean, of the shape of the concepts' masks."""
        mask = _boolean(concepts[self.terms[0][1]], self.terms[0][1])
        for join, name in self.terms[1:]:
            mask = _JOINS[join](mask, _boolean(concepts[name], name))
        return mask


@dataclass(frozen=True)
class Cells:
    """Pixels sorted by the concepts that they show. ``names``: of the C concepts; ``shows``: float64 [C, K], 1 where a
    cell shows a concept; ``sizes``: float64 [K], pixels a cell; ``cell``: int [pixels], the cell of each pixel;
    ``shape``: of a mask."""

    names: tuple[str, ...]
    shows: np.ndarray
    sizes: np.ndarray
    cell: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, concepts: Mapping[str, np.ndarray | Tensor]) -> Cells:
        """Raises ``DataError`` for no concepts, or masks that are not boolean or not of one shape."""
        if not concepts:
            raise DataError("no concepts to explain units by")
        shape, code = None, np.zeros(1, np.int64)
        for name, mask in concepts.items():
            mask = _boolean(mask, f"concept {name!r}")
            shape = shape or mask.shape
            if mask.shape != shape:
                raise DataError(f"concept {name!r} has shape {list(mask.shape)}, the first has {list(shape)}")
            if code.max() >> 61:  # the next bit would not fit: number the codes that occur
                code = np.unique(code, return_inverse=True)[1].ravel()
            code = 2 * code + mask.ravel()
        _, first, cell, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        shows = np.stack([_boolean(mask, name).ravel()[first] for name, mask in concepts.items()])
        return cls(tuple(concepts), shows.astype(np.float64), sizes.astype(np.float64), cell.ravel(), shape)

    @cached_property
    def by_image(self) -> csr_array:
        """How many pixels of each image lie in each cell: sparse float64 [N, K]."""
        starts = np.arange(0, self.cell.size + 1, math.prod(self.shape[1:]))
        counts = csr_array(
            (np.ones(self.cell.size), self.cell, starts), (self.shape[0], self.sizes.size), copy=True
        )
        counts.sum_duplicates()
        return counts

    def hits(self, fires: np.ndarray) -> np.ndarray:
        """How many of the given pixels (flat indices) lie in each cell: float64 [K]."""
        return np.bincount(self.cell[fires], minlength=len(self.sizes)).astype(np.float64)

    def holds(self, formula: Formula) -> np.ndarray:
        """Where a formula holds, cell by cell: bool [K]."""
        return formula.mask({name: self.shows[self.names.index(name)] > 0 for _, name in formula.terms})


def compose(
    activations: np.ndarray | Tensor,
    concepts: Mapping[str, np.ndarray | Tensor] | Cells,
    length: int = 3,
    beam: int = 5,
) -> Formula | None:
    """The formula of at most ``length`` concepts that agrees best with a unit, or None for a unit that never fires or
    overlaps no concept.

    ``activations``: where the unit fires, boolean, [pixels] or [N, H, W]; ``concepts``: name → boolean mask of that
    shape (or their ``Cells``, to sort the pixels once for many units). ``beam``: formulas kept at each length; as many
    as there are concepts make the search exhaustive up to length 2. A longer limit never gives a lower IoU.

    Formulas grow from the left, (a ∘ b) ∘ c with ∘ in AND, OR, AND NOT, OR NOT, as in Mu & Andreas (2020, section 2); a
    lone NOT is no explanation. Among equal IoUs the shorter formula wins, then the one of higher rank before, then the
    order AND, OR, AND NOT, OR NOT, then that of the concepts: no dice.

    Raises ``DataError`` for masks that are not boolean or do not fit, ``SettingError`` for a length or beam below 1.
    """
    fires = _boolean(activations, "activations")
    cells = concepts if isinstance(concepts, Cells) else Cells.of(concepts)
    if fires.shape != cells.shape:
        raise DataError(f"activations have shape {list(fires.shape)}, the concepts {list(cells.shape)}")
    return search(cells.hits(np.flatnonzero(fires)), cells, length, beam)[-1]


def search(hits: np.ndarray, cells: Cells, length: int = 3, beam: int = 5) -> list[Formula | None]:
    """As ``compose``, for a unit given by its hits a cell (``Cells.hits``): the best formula up to each length,
    1 … ``length``."""
    if length < 1 or beam < 1:
        raise SettingError(f"length and beam must be at least 1, got {length} and {beam}")
    fired = hits.sum()
    if not fired:
        return [None] * length
    kept: list[tuple[Formula, np.ndarray]] = []  # formulas, best first, with the cells where they hold
    best = []
    for _ in range(length):
        stems = [formula.terms for formula, _ in kept] or [()]
        grown = _grown(hits, cells, np.stack([holds for _, holds in kept]) if kept else None)
        # |unit ∧ f| / |unit ∨ f| of every extension f: [stems, joins, concepts]
        scores = np.stack([both / (fired + size - both) for both, size in grown.values()], axis=1)
        ranks = np.concatenate([[formula.iou for formula, _ in kept], scores.ravel()])
        pool, seen = [], set()
        for place in np.argsort(-ranks, kind="stable"):
            if ranks[place] == 0 or len(pool) == beam:
                break
            if place < len(kept):
                formula, holds = kept[place]
            else:
                stem, join, concept = np.unravel_index(place - len(kept), scores.shape)
                term = (list(grown)[join], cells.names[concept])
                formula = Formula((*stems[stem], term), float(ranks[place]))
                holds = cells.holds(formula)
            # a OR b and b OR a hold alike, and need one place in the beam
            if holds.tobytes() not in seen:
                seen.add(holds.tobytes())
                pool.append((formula, holds))
        kept = pool
        best.append(kept[0][0] if kept else None)
    return best


def _grown(
    hits: np.ndarray, cells: Cells, holds: np.ndarray | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What comes of joining each formula f (``holds``: bool [F, K]) with each concept c: join → |unit ∧ (f ∘ c)| and
    |f ∘ c|, each [F, C]. Without formulas: the concepts alone."""
    fired, pixels = hits.sum(), cells.sizes.sum()
    shown, size = cells.shows @ hits, cells.shows @ cells.sizes  # |unit ∧ c| and |c|
    if holds is None:
        return {"": (shown[None], size[None])}
    hit, held = holds * hits, holds * cells.sizes
    inside, whole = hit.sum(axis=1)[:, None], held.sum(axis=1)[:, None]  # |unit ∧ f| and |f|
    both, common = hit @ cells.shows.T, held @ cells.shows.T  # |unit ∧ f ∧ c| and |f ∧ c|
    return {
        "AND": (both, common),
        "OR": (inside + shown - both, whole + size - common),
        "AND NOT": (inside - both, whole - common),
        "OR NOT": (fired - shown + both, pixels - size + common),
    }


@dataclass(frozen=True)
class Dissection:
    """The units of one layer. ``formulas``: for each unit the best formula up to each length, None where there is none;
    ``dead``: bool [units]; ``unit`` and ``pixel``: int [firings], which unit fires on which pixel (flat index into
    ``shape`` = [N, H, W])."""

    formulas: list[list[Formula | None]]
    dead: np.ndarray
    unit: np.ndarray
    pixel: np.ndarray
    shape: tuple[int, ...]

    def fires(self, unit: int) -> np.ndarray:
        """Where a unit fires: bool [N, H, W]."""
        mask = np.zeros(self.shape, bool)
        mask.reshape(-1)[self.pixel[self.unit == unit]] = True
        return mask

    def ious(self, length: int | None = None) -> np.ndarray:
        """IoU of each unit's best formula up to a length (None: the longest searched), 0 without one: float [units]."""
        return np.array([f.iou if (f := best[(length or 0) - 1]) else 0.0 for best in self.formulas])


def dissect(
    maps: Tensor,
    concepts: Mapping[str, np.ndarray | Tensor] | Cells,
    length: int = 3,
    beam: int = 5,
    share: float = 0.005,
) -> Dissection:
    """Explains all units of a layer from its feature ``maps``, float [N, units, h, w] on the images of the concepts'
    masks [N, H, W].

    As in Bau et al. (2017, section 3.2): a unit's threshold is the value that it exceeds at a ``share`` of all positions
    of its maps; maps are brought to H × W bilinearly; the unit fires where they exceed the threshold. (Bringing the masks
    down to h × w instead would lose all that is thinner than a position: edges, collars, soles.) The formulas are
    ``compose``'s.

    Raises ``DataError`` for maps with NaN or of another number of images than the concepts.
    """
    cells = concepts if isinstance(concepts, Cells) else Cells.of(concepts)
    if maps.ndim != 4 or len(maps) != cells.shape[0] or len(cells.shape) != 3:
        raise DataError(
            f"want maps [N, units, h, w] and concepts [N, H, W] of the same N images, got {list(maps.shape)} and "
            f"{list(cells.shape)}"
        )
    limits = thresholds(maps, share)
    unit, pixel = _firing(maps, limits, cells.shape[1:])
    count = len(cells.sizes)
    hits = np.bincount(unit * count + cells.cell[pixel], minlength=maps.shape[1] * count).astype(np.float64)
    formulas = [search(row, cells, length, beam) for row in hits.reshape(-1, count)]
    return Dissection(formulas, limits.isinf().numpy(), unit, pixel, cells.shape)


def thresholds(maps: Tensor, share: float = 0.005) -> Tensor:
    """What each unit exceeds at a ``share`` of all positions of its maps (float [N, units, h, w]): float [units], on the
    CPU.

    Never at more, but for at least one: values that tie with the threshold do not exceed it, so a unit that is at its
    largest on all of the black background does not fire there, nor anywhere else. A dead unit has the threshold ∞: one that is never above 0,
    or has the same map for every image (a constant, or what zero-padding makes of one) and so says nothing about any.
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


def _firing(maps: Tensor, limits: Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Units and flat pixel indices wherever the maps, brought to ``size``, exceed the units' limits."""
    maps = maps.detach().float().cpu()
    # interpolation never exceeds the values it starts from: most maps of most units need none
    images, units = (maps.amax(dim=(2, 3)) > limits).nonzero(as_tuple=True)
    found = [(np.zeros(0, np.int64),) * 2]
    for image, unit in zip(
        *(part.split(max(1, _ELEMENTS // math.prod(size))) for part in (images, units)), strict=True
    ):
        large = nn.functional.interpolate(maps[image, unit][:, None], size, mode="bilinear").flatten(1)
        pair, place = (large > limits[unit][:, None]).nonzero(as_tuple=True)
        found.append((unit[pair].numpy(), (image[pair] * math.prod(size) + place).numpy()))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def last_feature_map(model: nn.Module, image: Tensor, device: str | torch.device | None = None) -> str:
    """The name of the last module that gives feature maps: the output is [1, units, h, w] with more than one position,
    and a convolution came before. ``image``: [1, C, H, W].

    Raises ``SettingError`` for a network without one.
    """
    found, convolved = [], []

    def look(name: str, module: nn.Module, output: object) -> None:
        convolved.extend([name] if isinstance(module, nn.Conv2d) else [])
        if convolved and isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(name)

    hooks = [
        m.register_forward_hook(lambda m, _, out, n=n: look(n, m, out)) for n, m in model.named_modules()
    ]
    try:
        predict(model, image, device=device)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise SettingError(
            "the network has no feature maps to dissect: no convolution gives more than one position"
        )
    return found[-1]


def feature_maps(
    model: nn.Module, images: Tensor, layer: str, device: str | torch.device | None = None
) -> Tensor:
    """Output of a module on images [N, C, H, W]: float32 [N, units, h, w], in eval mode, on the CPU.

    Raises ``SettingError`` for a ``layer`` that the model does not have, or that gives no such maps.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise SettingError(
            f"the network has no layer {layer!r}; there are: {', '.join(filter(None, modules))}"
        )
    last, parts = [], []

    def note(_, __, output: object) -> None:
        if isinstance(output, Tensor):  # copied at once, since the next module may work in place
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
class _Examined:
    """A network's layer on the probe images: as it is, and with its maps ``dealt`` to other images. ``units``: of the
    dense network's layer; ``draws``: int [200, N], how often each image is drawn when drawing with replacement."""

    layer: str
    units: int
    concepts: Concepts
    cells: Cells
    found: Dissection
    dealt: Dissection
    draws: np.ndarray

    def measure(self, score: Callable[[np.ndarray], np.ndarray], length: int) -> Measurement:
        """Sum of the scores of the units' IoUs over the dense network's number of units, with its variants."""

        def mean(dissection: Dissection, limit: int) -> Measurement:
            value = score(dissection.ious(limit)).sum() / self.units
            again = score(_redrawn(dissection, self.cells, limit, self.draws)).sum(axis=1) / self.units
            draws = torch.from_numpy(again)
            return Measurement(float(value), draws.std().item(), self.cells.shape[0], draws=draws)

        variants = {"single": mean(self.found, 1), "chance": mean(self.dealt, length)}
        return replace(mean(self.found, length), variants=variants)


def measure_explained_units(
    subject: Subject,
    images: int = 2000,
    layer: str | None = None,
    length: int = 3,
    beam: int = 5,
    share: float = 0.005,
    threshold: float = 0.04,
    broden: str | None = None,
) -> Measurement:
    """Share of the units of a layer whose best formula has an IoU above ``threshold``; higher is better.

        explained units = |{u : IoU(u, best formula of u) > threshold}| / units of that layer in the dense network

    The denominator is the dense network's, so a ticket gains nothing by losing units, dead or cut away. ``layer``: a
    module's name; None: the last feature maps (for a ResNet its last block). ``images``: of the test set, with the
    concepts of ``datasets.concepts``; or as many of the Broden folder ``broden``, with its labels. The ``threshold`` is Bau
    et al.'s, and serves here too: nearly no unit passes it by ``chance``, few do in an untrained network.

    The error is that of the images: they are drawn anew with replacement 200 times, with thresholds and formulas as they
    were found. It says nothing of what another training seed would give, which moves some dozens of units by more.
    Variants: ``single``, explained by one concept alone; ``chance``, the same maps laid on the wrong images, where only
    the search's luck and the concepts' usual places explain anything. ``extra`` counts, for each concept, the explained
    units whose formula names it (not under NOT).
    """
    if not 0 <= threshold < 1:
        raise SettingError(f"threshold must lie in [0, 1), got {threshold}")
    examined = _examine(subject, images, layer, length, beam, share, broden)
    measured = examined.measure(lambda ious: ious > threshold, length)
    found, concepts = examined.found, examined.concepts
    explained = {u: f for u, best in enumerate(found.formulas) if (f := best[-1]) and f.iou > threshold}
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
        "formulas": {str(u): str(formula) for u, formula in explained.items()},
    }
    return replace(measured, extra=extra)


def measure_unit_iou(
    subject: Subject,
    images: int = 2000,
    layer: str | None = None,
    length: int = 3,
    beam: int = 5,
    share: float = 0.005,
    broden: str | None = None,
) -> Measurement:
    """Mean IoU of the units with their best formulas: ``measure_explained_units`` without a threshold, which makes it
    steadier from seed to seed; in [0, 1], higher is better.

        unit IoU = Σᵤ IoU(u, best formula of u) / units of that layer in the dense network

    Dead units, and those that are cut away, count as 0. Settings, error and variants are ``measure_explained_units``'s.
    """
    examined = _examine(subject, images, layer, length, beam, share, broden)
    return examined.measure(lambda ious: ious, length)


def _examine(
    subject: Subject, images: int, layer: str | None, length: int, beam: int, share: float, broden: str | None
) -> _Examined:
    """What both metrics look at, made once."""
    device, dense = pick_device(subject.device), subject.baseline
    pictures, concepts, cells = dense.once(
        ("dissection", images, broden), lambda: _probe(dense.data, *dense.sample(images), broden)
    )

    def make() -> _Examined:
        where = layer or last_feature_map(dense.model, pictures[:1], device)
        units = feature_maps(dense.model, pictures[:1], where, device).shape[1]
        maps = feature_maps(subject.model, pictures, where, device)
        random = np.random.default_rng(derive(subject.seed, "dissection"))
        found = dissect(maps, cells, length, beam, share)
        dealt = dissect(maps[torch.from_numpy(random.permutation(len(maps)))], cells, length, beam, share)
        draws = random.multinomial(len(maps), np.full(len(maps), 1 / len(maps)), size=200)
        return _Examined(where, units, concepts, cells, found, dealt, draws)

    return subject.once(("dissected", images, layer, length, beam, share, broden), make)


def _probe(
    data: Dataset, images: Tensor, labels: Tensor, broden: str | None
) -> tuple[Tensor, Concepts, Cells]:
    """What units are dissected on: these images of the data with concepts by rule, or as many of Broden's."""
    if broden is None:
        concepts = data.concepts(images, labels)
    elif data.channels == 3:
        images, concepts = read_broden(broden, data.size, len(images))
    else:
        raise SettingError(f"broden has colour photographs, the network takes {data.channels} channel(s)")
    return images, concepts, Cells.of(concepts)


def _redrawn(found: Dissection, cells: Cells, length: int, draws: np.ndarray) -> np.ndarray:
    """IoU of each unit with its formula when images are counted as often as ``draws`` (int [draws, N]) say: [draws,
    units]."""
    units, count, pixels = len(found.formulas), found.shape[0], math.prod(found.shape[1:])
    formulas = [best[length - 1] for best in found.formulas]
    holds = np.stack([cells.holds(f) if f else np.zeros(len(cells.sizes), bool) for f in formulas])
    place, inside = found.unit * count + found.pixel // pixels, holds[found.unit, cells.cell[found.pixel]]
    # a row a unit, a column an image
    fired = np.bincount(place, minlength=units * count).reshape(units, count)
    both = np.bincount(place, inside, minlength=units * count).reshape(units, count)
    size = (cells.by_image @ holds.T.astype(np.float64)).T
    union = draws @ (fired + size - both).T
    return np.divide(draws @ both.T, union, out=np.zeros(union.shape), where=union > 0)


def _boolean(mask: np.ndarray | Tensor, what: str) -> np.ndarray:
    """A mask as NumPy array; 0 and 1 will do for False and True."""
    mask = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if not mask.size:
        raise DataError(f"{what}: no pixels")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise DataError(
            f"{what}: want True and False, got {mask.dtype} numbers; compare with a threshold first"
        )
    return mask.astype(bool, copy=False)
