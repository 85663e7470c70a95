"""The cost of a study before any of it is computed: trainings, multiply-adds, storage and hours.

Known from shapes alone, so that a study of ImageNet can be planned on a machine that has no ImageNet. The numbers are of
networks that are computed in full: no processor in the plan gains from a weight that is zero. Small-dense and structured
networks, which are smaller in fact, cost less than is said here. What measuring costs is a count of passes (``passes``),
which each metric knows, good to a fifth or so where nothing is searched for.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from .. import masks, metrics, models
from ..datasets import Shape
from ..efficiency import macs
from ..errors import SettingError
from .cells import DENSE, Cell, everything
from .profile import DataSource, ModelSpec, Profile
from .store import Record

# forward passes that a backward pass to weights and inputs takes
BACKWARD = 2
# bytes of a record, about
RECORD = 6_000


@functools.lru_cache(maxsize=8)
def shape(source: DataSource) -> Shape:
    """Return the data set's shape: of large ones known, of others looked at."""
    return source.builder.shape(source.root).limited(source.limit)


@dataclass(frozen=True)
class Size:
    """Multiply-adds of one image's forward pass, parameters and prunable weights of a network."""

    forward: int
    parameters: int
    prunable: int


def size(model: ModelSpec, data: Shape) -> Size:
    """Return the size, counted as a blank image passes the network."""
    # on the device "meta" it would need no memory, but its initialisers load PyTorch's compiler, which takes more of it
    network = models.build(model.name, data.classes, data.channels, model.width, data.size, **model.settings)
    counts = macs.multiply_adds(network, (data.channels, data.size, data.size))
    prunable = sum(p.numel() for p in masks.prunable(network).values())
    return Size(sum(counts.values()), sum(p.numel() for p in network.parameters()), prunable)


def training_images(cell: Cell, images: int) -> int:
    """Return how many images the cell's own training sees: a pruner that starts from the dense network resumes at its rewind step."""
    steps = cell.recipe.total_steps(images)
    if cell.dense():
        steps -= cell.recipe.rewind_step(images)
    return steps * min(cell.recipe.batch_size, images)


def passes(wanted: dict[str, Record], data: Shape) -> dict[str, float]:
    """Return the forward passes of one image that measuring takes, metric → count, for metrics with these settings.

    Passes that metrics share (logits of the test set, say) are counted at the first of them. The dense network's answers to
    a ticket's questions serve all tickets of its seed and are left out, and so is all that is no pass of a network
    (superpixels, corruptions, formulas).
    """
    asked: set[metrics.Question] = set()
    found: dict[str, float] = {}
    for name, settings in wanted.items():
        questions = metrics.build(name, **settings).asks(data)
        found[name] = float(sum(count for question, count in questions.items() if question not in asked))
        asked |= questions.keys()
    return found


def images_to_corrupt(todo: list[tuple[Cell, dict[str, Record]]], data: Shape) -> int:
    """Return how many test images measuring needs under all corruptions."""
    settings = {metric: own for _, wanted in todo for metric, own in wanted.items()}
    asked = {q for metric, own in settings.items() for q in metrics.build(metric, **own).asks(data)}
    return sum(min(q.of[0], data.test) for q in asked if q.kind == "corrupted")


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
    """Return the cost of ``trainings`` and the measurements of ``todo`` (as ``lookup.missing`` lists them); ``cells``: all of the
    profile's."""
    data = shape(profile.dataset)
    sizes = {model.label: size(model, data) for model in profile.models}
    names = list(dict.fromkeys([DENSE, *profile.pruners, *(cell.pruner for cell in cells)]))
    training, storage = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    measuring: dict[str, dict[str, float]] = {name: {} for name in names}
    work = dict.fromkeys(sizes, 0.0)
    for cell in trainings:
        network, images = sizes[cell.model.label], training_images(cell, data.train)
        training[cell.pruner] += (1 + BACKWARD) * network.forward * images
        work[cell.model.label] += images
        kept = network.parameters - cell.sparsity * network.prunable
        # float32 weights and one bit per weight for the mask; of dense networks also the weights of the rewind step
        storage[cell.pruner] += 4 * kept * (2 if cell.unpruned else 1) + network.prunable / 8
    # most cells lack the same metrics, of the profile's settings
    known: dict[tuple[str, ...], dict[str, float]] = {}
    for cell, wanted in todo:
        if (names_of := tuple(wanted)) not in known:
            known[names_of] = passes(wanted, data)
        for metric, count in known[names_of].items():
            row = measuring[cell.pruner]
            row[metric] = row.get(metric, 0.0) + count * sizes[cell.model.label].forward
            work[cell.model.label] += count / (1 + BACKWARD)
        storage[cell.pruner] += RECORD * len(wanted)
    together = everything(profile)
    # trainings that lead to each cell, its own included; parents come first
    chain: dict[str, int] = {}
    for cell in together:
        # a round's dense network is that of the round before
        before = cell.previous() or cell.dense()
        chain[cell.id] = 1 + (chain[before.id] if before else 0)
    return Plan(training, measuring, storage, work, sum(chain[cell.id] for cell in cells), len(together))


def rates(profile: Profile, images_per_second: float) -> dict[str, float]:
    """Return training images per second by model, if the first one's are known: the others' in proportion to multiply-adds."""
    if not images_per_second > 0:
        raise SettingError(f"images a second must be above 0, got {images_per_second}")
    data = shape(profile.dataset)
    forward = {model.label: size(model, data).forward for model in profile.models}
    first = forward[profile.models[0].label]
    return {name: images_per_second * first / count for name, count in forward.items()}
