"""From what the user gives to two networks, their masks and the data to judge them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..datasets import Dataset
from ..errors import DataError, SettingError
from ..masks import Mask
from ..ticket import Ticket
from .estimate import LARGE
from .foreign import modules, state_dicts
from .foreign.modules import TORCHVISION, Network
from .foreign.programs import Program
from .foreign.state_dicts import Checkpoint
from .sources import dataset

Given = nn.Module | Ticket | str | Path


@dataclass
class Case:
    """``networks``: "dense" and "ticket" → theirs; ``mask``: of the ticket's surviving weights; ``notes``: what a reader
    should know about data and networks."""

    data: Dataset
    networks: dict[str, nn.Module]
    mask: Mask
    notes: list[str]

    @property
    def shape(self) -> Sequence[int]:
        """Return an image's [C, H, W]."""
        return self.data.train[0].shape[1:]


def prepare(
    model: Given, dense: Given, source: Any, arch: str | nn.Module | None, arch_settings: Mapping[str, Any] | None,
    mean: Sequence[float] | None, std: Sequence[float] | None, size: int | None, resize: int | None,
    limit: int | None, seed: int,
) -> Case:  # fmt: skip
    """Open networks and data, and try them on one another. The arguments are those of ``scorecard``.

    Raises ``DataError`` or ``SettingError``, in one line, for what does not fit.
    """
    given = {"ticket": model, "dense": dense}
    found = {which: _opened(each, arch) for which, each in given.items()}
    channels, side = _takes(found.values(), arch)
    foreign = isinstance(arch, str) and arch.startswith(TORCHVISION)
    size = size or side or (224 if foreign else 32)
    resize = resize or (round(size * 256 / 224) if size > LARGE else size)
    data, notes = dataset(source, size=size, resize=resize, channels=channels or 3, limit=limit, seed=seed)
    grey = data.channels == 1 and channels == 3
    if channels not in (None, data.channels) and not grey:
        raise DataError(
            f"the network takes {channels} channel(s), the images of {data.name} have {data.channels}"
        )
    if grey:
        notes.append("the images are grey: the networks are shown three equal channels")
    networks, masks = {}, {}
    for which, each in found.items():
        name = called(given[which])
        network, mask = _network(each, arch, arch_settings, channels or data.channels, data)
        notes += [*each.notes, *_slow(network, name)]
        if grey or mean is not None or std is not None or data.size > LARGE:
            network = Network(network, mean, std, grey, 32 if data.size > LARGE else None).eval()
            mask = Mask({f"net.{n}": kept for n, kept in mask.items()})
        modules.try_out(network, data.train[0].shape[1:], data.classes, name)
        networks[which], masks[which] = network, mask
    if masks["dense"].kept < masks["ticket"].kept:
        notes.append(
            f"the dense network keeps fewer weights ({masks['dense'].kept:,}) than the pruned one "
            f"({masks['ticket'].kept:,}): are they in the wrong order?"
        )
    return Case(data, networks, masks["ticket"], notes)


def called(given: Given) -> str:
    """Return a short name of a network: its file's, its pruner's, or its class's."""
    if isinstance(given, (str, Path)):
        return Path(given).name
    return str(given.record.get("pruner", "ticket")) if isinstance(given, Ticket) else type(given).__name__


def _opened(given: Given, arch: str | nn.Module | None) -> Checkpoint:
    if isinstance(given, (str, Path)):
        found = state_dicts.read(given)
        if found.model is None and arch is None:
            raise SettingError(
                f"{called(given)} is a state dict, which does not say what network it is of: give arch, e.g. "
                f"{TORCHVISION}resnet18, or export the network with torch.export"
            )
        return found
    if isinstance(given, Ticket):
        return Checkpoint(Path(), masks=dict(given.mask), model=modules.plain(given.model))
    if isinstance(given, nn.Module):
        _, masks = state_dicts.merged(given.state_dict())
        return Checkpoint(Path(), masks=masks, model=modules.plain(given))
    raise SettingError(f"want a module, a ticket or the path of a file, got {type(given).__name__}")


def _takes(found: Iterable[Checkpoint], arch: str | nn.Module | None) -> tuple[int | None, int | None]:
    """Return channels, and pixels a side where they are fixed, that the networks take; None where nothing says so."""
    channels = size = None
    for each in found:
        network = arch if each.model is None and isinstance(arch, nn.Module) else each.model
        if network is not None:
            channels = channels or _channels(network)
        else:
            channels = channels or next((t.shape[1] for t in each.state.values() if t.dim() == 4), None)
        if each.model is not None:
            size = size or _side(each.model)
    return channels, size


def _channels(network: nn.Module) -> int | None:
    if isinstance(network, Program):
        return network.input_shape[1]
    return next((m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)), None)


def _side(network: nn.Module) -> int | None:
    if isinstance(network, Program):
        return network.input_shape[3]
    spec = getattr(network, "spec", None)
    return spec.get("size") if isinstance(spec, dict) else None


def _network(
    found: Checkpoint,
    arch: str | nn.Module | None,
    settings: Mapping[str, Any] | None,
    channels: int,
    data: Dataset,
) -> tuple[nn.Module, Mask]:
    if found.model is not None:
        return found.model, modules.mask_of(found.model, found.masks)
    if isinstance(arch, nn.Module):
        return state_dicts.fit(found, arch)
    built = modules.build(str(arch), data.classes, channels, data.size, settings)
    return state_dicts.fit(found, built, data.classes)


def _slow(network: nn.Module, name: str) -> list[str]:
    fixed = network.input_shape[0] if isinstance(network, Program) else None
    if fixed is None or fixed >= 32:
        return []
    return [
        f"{name} was exported for {fixed} image(s) at a time, which takes long: torch.export.export(…, "
        "dynamic_shapes=({0: torch.export.Dim('batch')},)) lets it take any number"
    ]
