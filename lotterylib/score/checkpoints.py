"""Pruned networks from files, as engineers have them; nothing that a file brings along is executed.

A file is one of: a state dict (``torch.save`` or safetensors; masks of ``torch.nn.utils.prune`` or zeros baked in; channels
cut away), one of this library's tickets, or a ``torch.export`` archive. What it is, its content says, not its name.
"""

from __future__ import annotations

import copy
import difflib
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from .. import models
from ..errors import DataError, LotteryError, SettingError, UnknownNameError
from ..masks import Mask
from ..ticket import FORMAT, Ticket
from .programs import Program, is_program, load_program

TORCHVISION = "torchvision:"
_NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep the state dict
_WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
_MASKED = (("{}_orig", "{}_mask"), ("parametrizations.{}.original", "parametrizations.{}.0.mask"))


class Network(nn.Module):
    """A network as the library wants it: takes images in [0, 1]; normalises them first, if told how.

    ``mean`` and ``std``: one number a channel. ``grey``: the images are grey and the network wants colour: it is shown
    three equal channels. ``batch``: images that go through the network at a time, which bounds its memory.
    """

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        grey: bool = False,
        batch: int | None = None,
    ):
        super().__init__()
        if (mean is None) != (std is None):
            raise SettingError("mean and std go together: give both, one number a channel each, or neither")
        self.normalize = nn.Identity() if mean is None else models.Normalize(mean, std)
        self.net, self.grey, self.batch = net, grey, batch

    def forward(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        parts = images.split(self.batch) if self.batch else [images]
        return torch.cat([self.net(self.normalize(part)) for part in parts])


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the ``state`` of a network with the masks applied, the ``masks`` that it names, or a whole
    ``model``."""

    path: Path
    state: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    model: nn.Module | None = None


def read(path: str | Path) -> Checkpoint:
    """Reads a file. Raises ``DataError``, in one line, for one that is missing, damaged, or holds pickled code."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file {path}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; copy or save it again")
    try:
        return _read(path)
    except LotteryError:
        raise
    except Exception as error:  # damaged bytes make their readers stumble in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is damaged or no checkpoint ({reason}); copy or save it again") from None


def _read(path: Path) -> Checkpoint:
    if (tensors := _safetensors(path)) is not None:
        if tensors == "ticket":
            ticket = Ticket.load(path)
            return Checkpoint(path, masks=dict(ticket.mask), model=ticket.model)
        return _resolved(path, tensors)
    if is_program(path):
        return Checkpoint(path, model=load_program(path))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise DataError(
                    f"{path} is a TorchScript program, which is code: save its state dict or torch.export it"
                )
    return _resolved(path, _unpickled(path))


def fit(found: Checkpoint, arch: nn.Module, classes: int | None = None) -> tuple[nn.Module, Mask]:
    """Puts a state dict into a copy of ``arch``, whose layers are cut to the state's shapes where channels were pruned
    away; the network in eval mode and the mask of its surviving weights. ``classes``: of the data that ``arch`` was built
    for, where it was, so that an output layer for another number is named as such.

    Raises ``DataError`` in one line that names the keys that are missing or unexpected, or the tensor of a wrong shape.
    """
    model = copy.deepcopy(arch)
    wanted, state = model.state_dict(), found.state
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in wanted]
    if missing or unexpected:
        parts = [
            f"{word} {_some(names)}"
            for word, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise DataError(f"{found.path} does not fit the network: {'; '.join(parts)}")
    cut = {n: list(t.shape) for n, t in state.items() if t.shape != wanted[n].shape}
    for name, shape in cut.items():
        if len(shape) != wanted[name].dim() or any(
            s > w for s, w in zip(shape, wanted[name].shape, strict=True)
        ):
            last = next(n for n in reversed(wanted) if n.endswith("weight"))
            if name == last and shape and wanted[name].shape[0] == classes != shape[0]:
                raise DataError(
                    f"{found.path} is a network of {shape[0]} classes ({name} has shape {shape}), but the data have {classes}"
                )
            raise DataError(
                f"{found.path} does not fit the network: {name} has shape {shape}, the network's is "
                f"{list(wanted[name].shape)}"
            )
    models.resize_(model, cut)
    model.load_state_dict(state, strict=False)
    return _ready(model), mask_of(model, found.masks)


def build(
    arch: str, classes: int, channels: int, size: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """An untrained network by name: one of ``models.names()`` with its settings, or ``torchvision:NAME``.

    Raises ``UnknownNameError`` for the name, ``SettingError`` for a setting that the network does not have.
    """
    settings = dict(settings or {})
    if not arch.startswith(TORCHVISION):
        try:
            return models.build(arch, classes, channels, size=size, **settings)
        except UnknownNameError as error:
            raise UnknownNameError("network", arch, [*error.known, f"{TORCHVISION}resnet18"]) from None
    import torchvision

    name, known = arch.removeprefix(TORCHVISION), torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=8, cutoff=0.3)  # of a hundred names
        raise UnknownNameError("torchvision network", name, near or known)
    with torch.random.fork_rng(devices=[]):
        try:
            if name in ("googlenet", "inception_v3"):
                settings = {"aux_logits": False, "init_weights": False} | settings
            return torchvision.models.get_model(name, weights=None, num_classes=classes, **settings)
        except (TypeError, ValueError) as error:
            raise SettingError(f"{arch}: {error}") from None


def mask_of(model: nn.Module, named: Mapping[str, Tensor] | None = None) -> Mask:
    """The surviving weights of a network: where the checkpoint names a mask, that; elsewhere all that are not exactly
    0."""
    kept = dict(Mask.of(model))
    for name, tensor in (named or {}).items():
        if name in kept and kept[name].shape == tensor.shape:
            kept[name] = tensor.to(kept[name].device) != 0
    return Mask(kept)


def plain(model: nn.Module) -> nn.Module:
    """A copy of a network in eval mode in which the masks of ``torch.nn.utils.prune`` are baked into the weights."""
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingError(
            "a TorchScript network has no layers to look at: pass the module that it was made from"
        )
    derived = {  # weights computed from others cannot be copied; the copy computes its own
        id(t): t.detach().clone()
        for m in model.modules()
        for t in vars(m).values()
        if isinstance(t, Tensor) and not isinstance(t, nn.Parameter) and t.requires_grad
    }
    twin = copy.deepcopy(model, derived)
    for module in twin.modules():
        for hook in [h for h in module._forward_pre_hooks.values() if isinstance(h, prune.BasePruningMethod)]:
            prune.remove(module, hook._tensor_name)
        if torch.nn.utils.parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                torch.nn.utils.parametrize.remove_parametrizations(module, name)
    return _ready(twin)


def _ready(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return model.eval()


def masks_in(model: nn.Module) -> dict[str, Tensor]:
    """The masks of ``torch.nn.utils.prune`` that a module carries: weight's name → mask."""
    return _merge(dict(model.state_dict()))[1]


def input_channels(model: nn.Module) -> int | None:
    """Channels that the first convolution reads; None without one."""
    if isinstance(model, Program):
        return model.input_shape[1]
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), None)


def try_out(model: nn.Module, shape: Sequence[int], classes: int, name: str) -> None:
    """One image of zeros through the network. Raises ``DataError`` if it does not take images of that shape [C, H, W] or
    does not give a logit for each of ``classes``."""
    weight = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *shape, device=weight.device, dtype=torch.float32))
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name} does not take images of {'×'.join(map(str, shape))} pixels ({reason}); if its channels were pruned in a "
            "way that its code does not follow, export it with torch.export and pass the .pt2 file"
        ) from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise DataError(
            f"{name} gives {type(logits).__name__} {list(getattr(logits, 'shape', []))}, want logits [N, classes]"
        )
    if logits.shape[1] != classes:
        raise DataError(f"{name} gives {logits.shape[1]} logits, but the data have {classes} classes")


def _safetensors(path: Path) -> dict[str, Tensor] | str | None:
    """The tensors, "ticket" for one of ours, None for a file of another kind."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                return "ticket"
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        if path.suffix == ".safetensors":
            raise DataError(
                f"{path} is truncated or no safetensors file ({error}); copy or save it again"
            ) from None
        return None


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        held = re.search(r"GLOBAL ([\w.]+)", str(error))
        if held is None:
            raise DataError(
                f"{path} is no checkpoint: neither safetensors, nor torch.save, nor torch.export"
            ) from None
        raise DataError(
            f"{path} holds code ({held[1]}), which is never run: where it was made, save the state dict alone with "
            "torch.save(model.state_dict(), …)"
        ) from None
    if not isinstance(found, Mapping):
        raise DataError(f"{path} holds a {type(found).__name__}, want a state dict: name → tensor")
    return found


def _resolved(path: Path, found: Mapping[str, Any]) -> Checkpoint:
    """A state dict with plain names and without masks."""
    for key in _NESTED:
        if isinstance(found.get(key), Mapping):
            found = found[key]
    state = {
        name: tensor for name, tensor in found.items() if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    if not state:
        raise DataError(f"{path} holds no tensors; its keys are {_some([str(k) for k in found]) or 'none'}")
    for prefix in _WRAPPED:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    state = {
        name: tensor.to_dense() if tensor.layout != torch.strided else tensor
        for name, tensor in state.items()
    }
    return Checkpoint(path, *_merge(state))


def _merge(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """``weight_orig`` times ``weight_mask`` is ``weight``: the state with them multiplied, and the masks by the weights'
    names."""
    found, masks = {}, {}
    partners = {}
    for original, mask in _MASKED:
        before, after = original.split("{}")
        pattern = re.compile(rf"(.*?){re.escape(before)}(\w+){re.escape(after)}")
        for match in filter(None, map(pattern.fullmatch, state)):
            layer, leaf = match.groups()
            if (partner := layer + mask.format(leaf)) in state:
                partners[match[0]] = layer + leaf, partner
    gone = {partner for _, partner in partners.values()}
    for name, tensor in state.items():  # in the order of the layers
        if name in partners:
            name, partner = partners[name]
            masks[name] = state[partner]
            found[name] = torch.where(masks[name] != 0, tensor.detach(), torch.zeros_like(tensor))
        elif name not in gone:
            found[name] = tensor
    return found, masks


def _some(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


__all__ = [
    "Checkpoint", "Network", "build", "fit", "input_channels", "mask_of", "masks_in", "plain", "read", "try_out",
]  # fmt: skip
