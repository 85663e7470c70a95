"""What a study costs before any of it is computed: trainings, multiply-adds, storage and hours.

Known from shapes alone, so that a study of ImageNet can be planned on a machine that has no ImageNet. The numbers are of
networks that are computed in full: no processor in the plan gains from a weight that is zero. Small-dense and structured
networks, which are smaller in fact, cost less than is said here. What measuring costs is a count of passes (``passes``),
good to perhaps a factor of two.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .. import cost, masks, metrics, models
from ..datasets import ood
from ..errors import SettingError
from .cells import DENSE, Cell, with_ancestors
from .needs import CORRUPTED, OUTLIERS
from .profile import DataSource, ModelSpec, Profile
from .store import Record

BACKWARD = 2  # a backward pass, in forward passes
RECORD = 6_000  # bytes of a record, about


@dataclass(frozen=True)
class Shape:
    """Of a data set: channels, side in pixels, classes, images in the training and the test split."""

    channels: int
    size: int
    classes: int
    train: int
    test: int


# data that may not be there; the others come with the package
SHAPES = {
    "cifar10": Shape(3, 32, 10, 45_000, 10_000),
    "cifar100": Shape(3, 32, 100, 45_000, 10_000),
    "imagenet": Shape(3, 224, 1000, 1_281_167 - 25 * 1000, 50_000),
}


@functools.lru_cache(maxsize=8)
def shape(source: DataSource) -> Shape:
    """The data set's shape: of large ones known, of small ones looked at."""
    if source.name in SHAPES:
        s = SHAPES[source.name]
        limit = source.limit or s.train
        return Shape(s.channels, s.size, s.classes, min(s.train, limit), min(s.test, limit))
    data = source.load()
    return Shape(data.channels, data.size, data.classes, len(data.train[1]), len(data.test[1]))


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
        counts = cost.multiply_adds(network, (data.channels, data.size, data.size))
    prunable = sum(p.numel() for p in masks.prunable(network).values())
    return Size(sum(counts.values()), sum(p.numel() for p in network.parameters()), prunable)


def training_images(cell: Cell, images: int) -> int:
    """Images that the cell's own training sees: a pruner that starts from the dense network resumes at its rewind step."""
    steps = cell.recipe.total_steps(images)
    if cell.pruner != DENSE and cell.build_pruner().needs_dense:
        steps -= cell.recipe.rewind_step(images)
    return steps * min(cell.recipe.batch_size, images)


def passes(wanted: dict[str, Record], data: Shape, name: str) -> dict[str, float]:
    """Forward passes of one image that measuring takes, metric → count; a backward pass counts two, a product with the
    Hessian six. What metrics share is counted at the first of them.

    ``wanted``: metric → settings, ``name``: of the data set.
    """
    found: dict[str, float] = {}
    shared: set[tuple] = set()
    for metric, own in wanted.items():
        known = inspect.signature(metrics.describe(metric).measure).parameters
        s = {k: p.default for k, p in list(known.items())[1:]} | own
        images = min(s.get("images") or data.test, data.test)
        group, count = (metric,), float(images)
        if metric in ("accuracy", "recall_loss"):
            group = ("test",)
        elif metric in OUTLIERS:
            sets = s["sets"] or ood.usual(name)
            group, count = ("outliers", images), images * (1 + len([sets] if isinstance(sets, str) else sets))
        elif metric in CORRUPTED:
            group, count = ("corrupted", images), images * 15 * 5
        elif metric == "fgsm_accuracy":
            count = images * (2 + BACKWARD)
        elif metric == "pgd_accuracy":
            count = images * (s["steps"] * (1 + BACKWARD) + 1)
        elif metric in ("fidelity", "fidelity_r2"):
            group, count = ("lime", images, s["samples"]), images * s["samples"]
        elif metric == "stability":
            count = images * s["samples"] * (1 + s["draws"])
        elif metric in ("explained_units", "unit_iou"):
            group = ("units", images)
        elif "max_probes" in s:  # traces: at most so many probes after a few steps of Lanczos
            count = images * (s["max_probes"] + s["steps"]) * 2 * (1 + BACKWARD)
        elif "steps" in s:  # top eigenvalues
            count = images * s["steps"] * 2 * (1 + BACKWARD)
        elif metric == "pac_bayes_sigma":
            count = images * s["draws"] * 20  # steps of the bisections
        found[metric] = 0.0 if group in shared else count
        shared.add(group)
    return found


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
