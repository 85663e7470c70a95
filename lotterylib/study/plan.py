"""What a study costs before any of it is computed: trainings, multiply-adds, storage and hours.

Known from shapes alone, so that a study of ImageNet can be planned on a machine that has no ImageNet. The numbers are of
networks that are computed in full: no processor in the plan gains from a weight that is zero. Small-dense and structured
networks, which are smaller in fact, cost less than is said here. What measuring costs is a count of passes (``passes``),
good to a fifth or so where nothing is searched for.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .. import masks, metrics, models
from ..datasets import Shape, ood
from ..efficiency import macs
from ..errors import SettingError
from .cells import DENSE, Cell, with_ancestors
from .needs import CORRUPTED, OUTLIERS
from .profile import DataSource, ModelSpec, Profile
from .store import Record

# in forward passes (see the tests, which count a network's multiply-adds while it is measured)
BACKWARD = 2  # a backward pass to weights and inputs
HESSIAN, PIXEL_HESSIAN = 7, 4  # a product with the Hessian of weights, of pixels
SEARCH = 13  # networks that a search for σ tries, a draw
RECORD = 6_000  # bytes of a record, about


@functools.lru_cache(maxsize=8)
def shape(source: DataSource) -> Shape:
    """Return the data set's shape: of large ones known, of others looked at."""
    return source.builder.shape(source.root).limited(source.limit)


@dataclass(frozen=True)
class Size:
    """Of a network: multiply-adds of one image's forward pass, parameters and prunable weights."""

    forward: int
    parameters: int
    prunable: int


def size(model: ModelSpec, data: Shape) -> Size:
    """Counted on a network without memory for its weights."""
    with torch.device("meta"):
        network = models.build(
            model.name, data.classes, data.channels, model.width, data.size, **model.settings
        )
        counts = macs.multiply_adds(network, (data.channels, data.size, data.size))
    prunable = sum(p.numel() for p in masks.prunable(network).values())
    return Size(sum(counts.values()), sum(p.numel() for p in network.parameters()), prunable)


def training_images(cell: Cell, images: int) -> int:
    """Images that the cell's own training sees: a pruner that starts from the dense network resumes at its rewind step."""
    steps = cell.recipe.total_steps(images)
    if cell.pruner != DENSE and cell.build_pruner().needs_dense:
        steps -= cell.recipe.rewind_step(images)
    return steps * min(cell.recipe.batch_size, images)


def passes(wanted: dict[str, Record], data: Shape, name: str) -> dict[str, float]:
    """Forward passes of one image that measuring takes, metric → count. What metrics share (logits of the test set, say) is
    counted at the first of them. A gradient in pixels is one more pass; a product with the Hessian takes about seven
    passes, in pixels four; a search for σ takes thirteen networks a draw, more or less.

    ``wanted``: metric → settings, ``name``: of the data set. What the dense network answers to a ticket's questions serves
    all tickets of its seed and is left out, and so is all that is no pass of a network (superpixels, corruptions, formulas).
    """
    asked: set[tuple] = set()
    found: dict[str, float] = {}
    for metric, own in wanted.items():
        known = inspect.signature(metrics.describe(metric).measure).parameters
        settings = {k: p.default for k, p in list(known.items())[1:]} | own
        parts = _asked(metric, settings, data, name)
        found[metric] = float(sum(count for question, count in parts.items() if question not in asked))
        asked |= parts.keys()
    return found


def _asked(metric: str, s: Record, data: Shape, name: str) -> dict[tuple, float]:
    """What a metric asks of a network, question → passes; equal questions are asked once."""
    images = min(s.get("images") or data.test, data.test)
    test = {("test",): data.test}
    if metric in ("accuracy", "recall_loss"):
        return test
    if metric in OUTLIERS:
        sets = s["sets"] or ood.usual(name)
        sets = [sets] if isinstance(sets, str) else sets
        return test | {("outliers", each, s["images"]): s["images"] for each in sets}
    if metric in CORRUPTED:
        clean = {("val",): data.val, ("sample", images): images} | test
        held_out = {("held out", images): images * 4 * 5} if s.get("held_out") else {}
        calibration = "held_out" not in s
        return (clean if calibration else held_out) | {("corrupted", images): images * 15 * 5}
    if metric == "fgsm_accuracy":  # one gradient serves seven strengths
        return {(metric,): images * (2 + 7)}
    if metric == "pgd_accuracy":  # at two strengths
        return {(metric,): images * 2 * (2 * s["steps"] + 1)}
    if metric in ("fidelity", "fidelity_r2", "stability"):
        clean = {("lime", images, s["samples"], s["superpixels"]): images * s["samples"]}
        return clean | ({(metric,): images * s["samples"] * s["draws"]} if "draws" in s else {})
    if metric in ("explained_units", "unit_iou"):
        return {("units", images, s["layer"]): images}
    if metric == "pac_bayes_sigma":
        return {(metric,): images * s["draws"] * SEARCH}
    where = metric.partition("_")[0]  # hessian_… or input_…
    product = images * (HESSIAN if where == "hessian" else PIXEL_HESSIAN)
    probes = {(metric,): product * s["max_probes"]} if "max_probes" in s else {}  # at most so many
    return {("lanczos", where, images, s["steps"]): product * s["steps"]} | probes


@dataclass(frozen=True)
class Plan:
    """``training`` and ``measuring``: multiply-adds, pruner → metric → count for the latter; ``storage``: bytes, pruner →
    count; ``work``: the same as multiply-adds, model → training images that take as long. ``alone``: trainings if no cell
    shared its dense network and rounds with others; ``together``: as it is done."""

    training: dict[str, float]
    measuring: dict[str, dict[str, float]]
    storage: dict[str, float]
    work: dict[str, float]
    alone: int
    together: int


def plan(
    profile: Profile, cells: Sequence[Cell], todo: list[tuple[Cell, dict[str, Record]]], trainings: list[Cell]
) -> Plan:
    """What ``trainings`` and the measurements of ``todo`` (as ``store.missing`` lists them) cost; ``cells``: all of the
    profile's."""
    data = shape(profile.dataset)
    sizes = {model.name: size(model, data) for model in profile.models}
    names = [DENSE, *profile.pruners]
    training, storage = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    measuring: dict[str, dict[str, float]] = {name: {} for name in names}
    work = dict.fromkeys(sizes, 0.0)
    for cell in trainings:
        network, images = sizes[cell.model.name], training_images(cell, data.train)
        training[cell.pruner] += (1 + BACKWARD) * network.forward * images
        work[cell.model.name] += images
        kept = network.parameters - cell.sparsity * network.prunable
        # float32 weights and a bit a weight for the mask; of dense networks also the weights of the rewind step
        storage[cell.pruner] += 4 * kept * (2 if cell.pruner == DENSE else 1) + network.prunable / 8
    for cell, wanted in todo:
        for metric, count in passes(wanted, data, profile.dataset.name).items():
            row = measuring[cell.pruner]
            row[metric] = row.get(metric, 0.0) + count * sizes[cell.model.name].forward
            work[cell.model.name] += count / (1 + BACKWARD)
        storage[cell.pruner] += RECORD * len(wanted)
    together = with_ancestors(list(cells))
    chain: dict[str, int] = {}  # trainings that lead to each cell, its own included; parents come first
    for cell in together:
        before = cell.previous() or cell.dense()  # a round's dense network is that of the round before
        chain[cell.id] = 1 + (chain[before.id] if before else 0)
    return Plan(training, measuring, storage, work, sum(chain[cell.id] for cell in cells), len(together))


def rates(profile: Profile, images_per_second: float) -> dict[str, float]:
    """Training images a second by model, if the first one's are known: the others' in proportion to multiply-adds."""
    if not images_per_second > 0:
        raise SettingError(f"images a second must be above 0, got {images_per_second}")
    data = shape(profile.dataset)
    forward = {model.name: size(model, data).forward for model in profile.models}
    first = forward[profile.models[0].name]
    return {name: images_per_second * first / count for name, count in forward.items()}
