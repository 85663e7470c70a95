"""From what the user gives to networks, their masks and the data to judge them on."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, bfloat16, float16, nn

from ..datasets import Dataset
from ..errors import DataError, SettingError
from ..files import sha256
from ..masks import Mask
from ..ticket import Ticket
from . import classes
from .checks import named_constants
from .estimate import LARGE
from .foreign import modules, state_dicts
from .foreign.modules import TIMM, TORCHVISION, Network, usual_images
from .foreign.programs import Program
from .foreign.state_dicts import Checkpoint
from .memory import as_bytes
from .own import own_images
from .sources import dataset

Given = nn.Module | Ticket | str | Path


@dataclass(frozen=True)
class Reading:
    """How networks and images are read; the fields are arguments of ``scorecard``."""

    arch: str | nn.Module | None = None
    arch_settings: Mapping[str, Any] | None = None
    key: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: int | None = None
    resize: int | None = None
    limit: int | None = None
    batch: int | None = None
    memory: str | int | None = None
    classes: str | Path | None = None
    outputs: Literal["logits", "probabilities"] | None = None
    outliers: Any = None
    corrupted: Any = None
    seed: int = 0


@dataclass
class Judged:
    """A network under judgement: ``name`` is its file's, ``mask`` that of its surviving weights, ``digest`` the beginning of its
    file's SHA-256 (empty without a file)."""

    name: str
    model: nn.Module
    mask: Mask
    digest: str = ""


@dataclass
class Case:
    """Networks and data. ``notes``: what a reader should know about them; ``preprocessing``: what is done to pixels. ``memory``:
    bytes that measuring may take; ``batch``: images at a time that the user allows."""

    data: Dataset
    tickets: list[Judged]
    denses: list[Judged]
    notes: list[str] = field(default_factory=list)
    preprocessing: str = ""
    memory: int | None = None
    batch: int | None = None

    @property
    def shape(self) -> Sequence[int]:
        """Return an image's [C, H, W]."""
        return self.data.train[0].shape[1:]


def prepare(tickets: Sequence[Given], denses: Sequence[Given], source: Any, how: Reading) -> Case:
    """Open networks and data, and try them on one another.

    Raises ``DataError`` or ``SettingError``, in one line, for what does not fit.
    """
    given = [*tickets, *denses]
    found = _all_opened(given, how)
    channels, side = _takes(found, how, source)
    # a network that is found in the file, or built here, may bring its own normalisation
    usual = usual_images(how.arch)
    if usual:
        mean, std, size, resize = usual
        own = how.mean is None and how.std is None and (channels or 3) == len(mean)
        how = replace(
            how,
            mean=mean if own else how.mean,
            std=std if own else how.std,
            size=how.size or size,
            resize=how.resize or (resize if how.size in (None, size) else None),
        )
    size = how.size or side or 32
    resize = how.resize or (round(size * 256 / 224) if size > LARGE else size)
    memory, limit = None if how.memory is None else as_bytes(how.memory), how.limit
    if memory and not isinstance(source, Dataset):
        # a quarter of it for images, in three splits
        fitting = max(10, memory // (4 * 3 * 4 * (channels or 3) * size**2))
        limit = min(limit or fitting, fitting)
    data, notes = dataset(
        source, size=size, resize=resize, channels=channels or 3, limit=limit, seed=how.seed
    )
    data, more = own_images(
        data, how.outliers, how.corrupted, resize if size == data.size else None, how.seed
    )
    notes += more
    grey = data.channels == 1 and channels == 3
    if channels not in (None, data.channels) and not grey:
        raise DataError(
            f"the network takes {channels} channel(s), the images of {data.title} have {data.channels}"
        )
    _check_constants(how, 3 if grey else data.channels)
    if grey:
        notes.append("the images are grey: the networks are shown three equal channels")
    known = classes.read_classes(how.classes) if how.classes else None
    judged = []
    for each, theirs, name in zip(found, given, names(given), strict=True):
        ready = _judged(each, name, how, channels or data.channels, grey, data, known)
        notes += [*each.notes, *_slow(ready.model, ready.name)]
        judged.append(replace(ready, digest=_digest(theirs)))
    ours, dense = judged[: len(tickets)], judged[len(tickets) :]
    for ticket in ours:
        if dense and dense[0].mask.kept < ticket.mask.kept:
            notes.append(
                f"the dense network keeps fewer weights ({dense[0].mask.kept:,}) than the pruned one "
                f"({ticket.mask.kept:,}): are they in the wrong order?"
            )
    said = named_constants(how.mean, how.std)
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        said = f"shorter side to {resize}, central {size} × {size}; {said}"
    return Case(data, ours, dense, list(dict.fromkeys(notes)), said, memory, how.batch)


def _check_constants(how: Reading, channels: int) -> None:
    """Raise ``SettingError`` for a mean and a std that are not of such images with pixels in [0, 1]."""
    for name, given in (("mean", how.mean), ("std", how.std)):
        if given is not None and len(given) not in (1, channels):
            raise SettingError(f"{name} wants one number per channel, {channels}, got {len(given)}")
        if given is not None and not all(map(math.isfinite, given)):
            raise SettingError(f"{name} wants numbers, got {' '.join(map(str, given))}")
    if how.mean is not None and max(how.mean) > 1:
        raise SettingError(
            f"mean {max(how.mean):g} is of pixels from 0 to 255, which lie in [0, 1] here: divide mean and std by 255"
        )


def called(given: Given) -> str:
    """Return a short name of a network: its file's, its pruner's in words, or its class's."""
    if isinstance(given, (str, Path)):
        return Path(given).name
    if isinstance(given, Ticket):
        # matplotlib, which figures need, takes long to import
        from .. import figures

        pruner = str(given.record.get("pruner", "ticket"))
        return figures.called(pruner) if pruner != "dense" else pruner
    return type(given).__name__


def names(given: Sequence[Given]) -> list[str]:
    """Return a short name of each network: different files of one name get as much of their folders as tells them apart."""
    found = [called(each) for each in given]
    paths = [Path(os.path.abspath(each)) if isinstance(each, (str, Path)) else None for each in given]
    for i, path in enumerate(paths):
        others = [p for p in paths if p and path and p != path and p.name == path.name]
        if path and others:
            depth = next(
                d for d in itertools.count(2) if all(p.parts[-d:] != path.parts[-d:] for p in others)
            )
            found[i] = "/".join(path.parts[-depth:])
    return found


def _digest(given: Given) -> str:
    if not isinstance(given, (str, Path)) or not Path(given).is_file():
        return ""
    return sha256(Path(given).read_bytes())[:16]


def _all_opened(given: Sequence[Given], how: Reading) -> list[Checkpoint]:
    """Return what is in all files. A key that some have is not asked of the others, which say so in a note."""
    found: list[Checkpoint | None] = []
    for each in given:
        try:
            found.append(_opened(each, how))
        except state_dicts.NoKeyError:
            found.append(None)
    with_key = [c for c in found if c and c.model is None]
    return [
        known or _without_key(each, how, bool(with_key)) for known, each in zip(found, given, strict=True)
    ]


def _without_key(given: Given, how: Reading, others: bool) -> Checkpoint:
    if not others:
        # the error, once more
        return _opened(given, how)
    found = _opened(given, replace(how, key=None))
    found.notes.append(f"{called(given)} has no key {how.key!r}, and was read without it")
    return found


def _opened(given: Given, how: Reading) -> Checkpoint:
    if isinstance(given, (str, Path)):
        found = state_dicts.read(given, how.key)
        if found.model is None and how.arch is None:
            raise SettingError(
                f"{called(given)} is a state dict, which does not say what network it is of: give arch, e.g. "
                f"{TORCHVISION}resnet18, or export the network with torch.export"
            )
        half = isinstance(found.model, Program) and any(
            p.dtype in (float16, bfloat16) for p in found.model.parameters()
        )
        if half:
            raise DataError(f"{called(given)} was exported in half precision: export model.float() instead")
        return found
    if isinstance(given, Ticket):
        return Checkpoint(Path(), masks=dict(given.mask), model=modules.plain(given.model))
    if isinstance(given, nn.Module):
        _, masks = state_dicts.merged(given.state_dict())
        return Checkpoint(Path(), masks=masks, model=modules.plain(given))
    raise SettingError(f"want a module, a ticket or the path of a file, got {type(given).__name__}")


def _takes(found: Iterable[Checkpoint], how: Reading, source: Any) -> tuple[int | None, int | None]:
    """Return channels, and pixels a side where they are fixed, that the networks take; None where nothing says so."""
    channels = size = None
    for each in found:
        network = how.arch if each.model is None and isinstance(how.arch, nn.Module) else each.model
        if network is not None:
            channels = channels or _channels(network, how, source)
        else:
            channels = channels or next((t.shape[1] for t in each.state.values() if t.dim() == 4), None)
        if each.model is not None:
            size = size or _side(each.model)
    return channels, size


def _channels(network: nn.Module, how: Reading, source: Any) -> int | None:
    """Return the channels with which a network runs; where no size is known with which it does, those of the layer that was
    registered first and could take images."""
    if isinstance(network, Program):
        return network.input_shape[1]
    found = [m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    likely = list(dict.fromkeys([count for count in found if count in (1, 3)] + [3, 1]))
    side, copied = _side(network) or how.size or _pixels(source) or 32, modules.plain(network)
    for count in likely:
        with contextlib.suppress(DataError):
            modules.outputs(copied, (count, side, side), "it")
            return count
    return likely[0] if found and found[0] == likely[0] else None


def _pixels(source: Any) -> int | None:
    """Return the side of images that are in memory already."""
    if isinstance(source, Dataset):
        return source.size
    images = source[0] if isinstance(source, tuple) and source else None
    return images.shape[-1] if isinstance(images, Tensor) and images.ndim == 4 else None


def _side(network: nn.Module) -> int | None:
    if isinstance(network, Program):
        return network.input_shape[3]
    spec = getattr(network, "spec", None)
    return spec.get("size") if isinstance(spec, dict) else None


def _judged(
    found: Checkpoint, name: str, how: Reading, channels: int, grey: bool, data: Dataset, known: classes.Names | None
) -> Judged:  # fmt: skip
    """Return a network that takes the data's images and gives a logit for each of their classes."""
    shape = (3, *data.train[0].shape[2:]) if grey else data.train[0].shape[1:]
    if found.model is not None:
        network, mask = found.model, modules.mask_of(found.model, found.masks)
    elif isinstance(how.arch, nn.Module):
        network, mask = state_dicts.fit(found, how.arch, shape=shape)
    else:
        arch, count = str(how.arch), len(known) if known else data.classes
        if not known and arch.startswith((TORCHVISION, TIMM)) and found.outputs != count:
            # a network of all of ImageNet's classes, and data of some
            known = classes.imagenet_classes(found.outputs)
            count = len(known) if known else count
        built = modules.build(arch, count, channels, data.size, how.arch_settings)
        network, mask = state_dicts.fit(found, built, count, shape)
    wrap = {"mean": how.mean, "std": how.std, "grey": grey, "probabilities": how.outputs == "probabilities"}
    if how.batch or how.memory or data.size > LARGE:
        wrap["batch"] = how.batch or (32 if data.size > LARGE else 100)
    shape = (3, *data.train[0].shape[2:]) if grey else data.train[0].shape[1:]
    if not known and classes.are_wnids(data.class_names) and data.classes < 1000:
        known = classes.imagenet_classes(modules.outputs(network, shape, name))
    if known:
        if (count := modules.outputs(network, shape, name)) != len(known):
            raise DataError(f"{name} gives {count} logits, but {len(known)} classes are listed")
        wrap["chosen"] = classes.outputs_of(data.class_names, known, str(how.classes or "ImageNet"))
    if any(value is not None and value is not False for value in wrap.values()):
        network = Network(network, **wrap).eval()
        mask = Mask({f"net.{n}": kept for n, kept in mask.items()})
    modules.try_out(network, data.train[0].shape[1:], data.classes, name)
    return Judged(name, network, mask)


def _slow(network: nn.Module, name: str) -> list[str]:
    fixed = network.input_shape[0] if isinstance(network, Program) else None
    if fixed is None or fixed >= 32:
        return []
    return [
        f"{name} was exported for {fixed} image(s) at a time, which takes long: torch.export.export(…, "
        "dynamic_shapes=({0: torch.export.Dim('batch')},)) lets it take any number"
    ]
