"""Pruned networks from files; nothing that a file brings along is executed.

A file is a state dict (``torch.save`` or safetensors; masks of ``torch.nn.utils.prune`` or zeros baked in; channels cut
away), one of this library's tickets, or a ``torch.export`` archive. Which it is, its content says, not its name.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from ... import models
from ...errors import DataError, LotteryError
from ...masks import Mask
from ...ticket import FORMAT, Ticket
from .cuts import check_broadcasts, check_cuts
from .modules import duplicate, mask_of, plain
from .programs import check_honest, is_program, load_program

# Where training scripts keep the state dict; a moving average of it is taken only where there is no other.
_NESTED = tuple("state_dict model_state_dict model_state model net network module weights params".split())  # noqa: SIM905
_AVERAGED = (
    "ema", "model_ema", "ema_model", "net_ema", "state_dict_ema", "ema_state_dict", "params_ema", "averaged_model"
)  # fmt: skip
# What DataParallel, torch.compile, Lightning and the like put before every name, and what stands within names.
_WRAPPERS = ("module", "model", "net", "network", *_AVERAGED)
_INNER = ("_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# AveragedModel's own
_COUNT = "n_averaged"
# what weight and spectral norm, new and old, keep in place of a weight
_COMPUTED = re.compile(r"(^|\.)parametrizations\.|_(orig|[guv])$")


class NoKeyError(DataError):
    """A file in which the key that was given is not to be found."""


@dataclass(frozen=True)
class Checkpoint:
    """A file's content: the ``state`` of a network with the masks applied and the ``masks`` that it names, or a whole
    ``model``. ``notes`` say what was left aside."""

    path: Path
    state: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    model: nn.Module | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        """Return the rows of the last weight, which are a classifier's outputs."""
        last = next(
            (t for n, t in reversed(self.state.items()) if n.endswith("weight") and t.dim() > 1), None
        )
        return 0 if last is None else len(last)


def read(path: str | Path, key: str | None = None) -> Checkpoint:
    """Read a file, or a folder of a Hugging Face model. Raises ``DataError``, in one line, for one that is missing, damaged, or
    holds pickled code.

    ``key``: where in the file the state dict lies, e.g. ``ema`` or ``model.state``, for one that is not found by itself.
    """
    path = Path(path)
    if path.is_dir():
        path = _weights_of(path)
    if not path.is_file():
        raise DataError(f"no file {path}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; copy or save it again")
    try:
        return _read(path, key)
    except LotteryError:
        raise
    except Exception as error:
        # Damaged bytes make their readers stumble in any way.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is damaged or no checkpoint ({reason}); copy or save it again") from None


def fit(
    found: Checkpoint, arch: nn.Module, classes: int | None = None, shape: Sequence[int] | None = None
) -> tuple[nn.Module, Mask]:
    """Put a state dict into a copy of ``arch``, cut to the state's shapes where channels were pruned away.

    Args:
        found: The state dict; what wrappers put before its names is taken off.
        arch: Any network of the same layers.
        classes: Of the data that ``arch`` was built for, so that an output layer for another number is named as such.
        shape: Of an image [C, H, W], to follow what was cut away through the network.

    Returns:
        The network in eval mode and the mask of its surviving weights.

    Raises:
        DataError: In one line that names the keys that are missing or unexpected, or the tensor of a wrong shape.
    """
    model = plain(arch)
    wanted = model.state_dict()
    if (filled := _parametrized(found, arch, wanted)) is not None:
        return filled, mask_of(filled)
    names = _matched(found, wanted)
    state = {name: found.state[theirs] for name, theirs in names.items()}
    masks = {name: found.masks[theirs] for name, theirs in names.items() if theirs in found.masks}
    _check_kinds(found.path, state, wanted)
    cut = {n: list(t.shape) for n, t in state.items() if t.shape != wanted[n].shape}
    check_cuts(found.path, model, cut, classes)
    models.resize_(model, cut)
    model.load_state_dict(state, strict=False)
    if cut and shape:
        check_broadcasts(found.path, model, plain(arch), shape)
    return model, mask_of(model, masks)


def _parametrized(found: Checkpoint, arch: nn.Module, plainly: Iterable[str]) -> nn.Module | None:
    """Return ``arch`` with what weight norm and the like compute from the state, None for a state of ``plainly`` named weights."""
    raw = duplicate(arch)
    wanted = raw.state_dict()
    own = wanted.keys() - set(plainly)
    if not own or not any(name.endswith(tuple(own)) for name in found.state):
        return None
    state = {name: found.state[theirs] for name, theirs in _matched(found, wanted).items()}
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{list(tensor.shape)}, want {list(wanted[name].shape)}"
            raise DataError(
                f"{found.path}: {name} is {shapes}: channels of a parametrized layer cannot be fewer"
            )
    raw.load_state_dict(state, strict=False)
    return plain(raw)


# --- names


def _matched(found: Checkpoint, wanted: Iterable[str]) -> dict[str, str]:
    """Return the network's name → the file's name, whatever wrappers stand before either."""
    ours, best = _unwrapped(wanted), {}
    held = [name for name in found.state if name.rpartition(".")[2] != _COUNT]
    for prefix in _prefixes(held):
        theirs = _unwrapped(name for name in held if _inner(name).startswith(prefix))
        match = {name: theirs[key] for key, name in ours.items() if key in theirs}
        if len(match) > len(best):
            best = match
    used = set(best.values())
    missing = [n for n in wanted if n not in best and not n.endswith("num_batches_tracked")]
    rest = [n for n in held if n not in used]
    averaged = {part: None for n in rest for part in n.split(".") if part in _AVERAGED}
    unexpected = [n for n in rest if missing or not averaged.keys() & set(n.split("."))]
    if missing or unexpected:
        parts = [("missing", missing), ("unexpected", unexpected)]
        words = "; ".join(f"{word} {_some(names)}" for word, names in parts if names)
        if not best or not missing:
            words += "; key names the part of a file that is the network"
        if any(_COMPUTED.search(name) for name in unexpected):
            words += (
                " (weights are computed from these: give the network that has this weight or spectral norm)"
            )
        raise DataError(f"{found.path} does not fit the network: {words}")
    found.notes.extend(_left_aside(found.path, part) for part in averaged)
    return best


def _inner(name: str) -> str:
    """Return a name without what compilers put between layers."""
    return ".".join(part for part in name.split(".") if part not in _INNER)


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Return names without the wrappers that stand before all of them → the names themselves."""
    found = {_inner(name): name for name in names}
    while len(first := {key.partition(".")[0] for key in found}) == 1 and first <= set(_WRAPPERS):
        if not all("." in key for key in found):
            break
        found = {key.partition(".")[2]: name for key, name in found.items()}
    return found


def _prefixes(names: Iterable[str]) -> list[str]:
    """Return all wrappers that stand before some of the names, the shortest first and moving averages last."""
    found = {""}
    for name in names:
        prefix = ""
        for part in _inner(name).split(".")[:-1]:
            if part not in _WRAPPERS:
                break
            prefix += f"{part}."
            found.add(prefix)
    return sorted(found, key=lambda prefix: (not set(_AVERAGED).isdisjoint(prefix.split(".")), len(prefix)))


def _left_aside(path: Path, key: str) -> str:
    return f"{path.name} also holds a moving average of the network ({key}), which was left aside"


# --- shapes


def _check_kinds(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if wanted[name].is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DataError(f"{path}: {name} holds {kind}, want floating-point numbers: save it dequantized")


# --- content


# words of formats that are recognised and not read → what to do instead
_REMEDIES = {
    ".onnx": "an ONNX graph: load it into the PyTorch module that it came from and save its state dict, or torch.export that",
    ".tflite": "a TensorFlow Lite program: score the PyTorch network that it came from",
    ".h5": "a Keras file: score a PyTorch network",
    ".pte": "an ExecuTorch program: save the torch.export archive (.pt2) that it was made from",
}


def _weights_of(folder: Path) -> Path:
    """Return the file of a folder's weights: the index of sharded safetensors, or the one file."""
    usual = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin")
    found = next((folder / name for name in usual if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"{folder} holds none of {', '.join(usual)}: name the file of the network itself")
    return found


def _shards(path: Path) -> dict[str, Tensor]:
    """Return the tensors of sharded safetensors by their index; a shard lies beside it."""
    tensors: dict[str, Tensor] = {}
    wanted = json.loads(path.read_text())["weight_map"]
    for name in sorted(set(wanted.values())):
        shard = path.parent / Path(name).name
        if not shard.is_file():
            raise DataError(f"{path} names {name}, which is not there: copy all of its files")
        found = _safetensors(shard)
        tensors |= found[1] if found else {}
    if missing := [name for name in wanted if name not in tensors]:
        raise DataError(f"{path} names {_some(missing)}, which no shard holds: copy all of its files again")
    return tensors


def _read(path: Path, key: str | None) -> Checkpoint:
    if remedy := _REMEDIES.get(path.suffix.lower()):
        raise DataError(f"{path} is {remedy}")
    if path.name.endswith(".index.json"):
        return _resolved(path, _shards(path), key)
    if (file := _safetensors(path)) is not None:
        about, tensors = file
        if about.get("format") != FORMAT:
            return _resolved(path, tensors, key)
        ticket = Ticket.load(path)
        return Checkpoint(path, masks=dict(ticket.mask), model=ticket.model)
    if is_program(path):
        return Checkpoint(path, model=load_program(path))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_honest(path, archive)
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise DataError(
                    f"{path} is a TorchScript program, which is code: save its state dict or torch.export it"
                )
    return _resolved(path, _unpickled(path), key)


def _safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]] | None:
    """Return metadata and tensors, None for a file of another kind."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        if path.suffix == ".safetensors":
            raise DataError(
                f"{path} is truncated or no safetensors file ({error}); copy or save it again"
            ) from None
        return None


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        # what it warns of ends well, or in the one line of an error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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


def _resolved(path: Path, found: Mapping[str, Any], key: str | None = None) -> Checkpoint:
    """Return a state dict without what training scripts keep beside it, and without masks."""
    notes = []
    for part in key.split(".") if key else []:
        inner = found.get(part)
        if not isinstance(inner, Mapping):
            # flattened: the key stands before the names
            inner = {str(n)[len(part) + 1 :]: t for n, t in found.items() if str(n).startswith(f"{part}.")}
        if not inner:
            raise NoKeyError(f"{path} has no key {key!r}; its keys are {_some([str(k) for k in found])}")
        found = inner
    while held := [key for key in (*_NESTED, *_AVERAGED) if isinstance(found.get(key), Mapping)]:
        if held[0] not in _AVERAGED:
            notes += [_left_aside(path, key) for key in held if key in _AVERAGED]
        found = found[held[0]]
    state = {n: t for n, t in found.items() if isinstance(n, str) and isinstance(t, Tensor)}
    if not state:
        raise DataError(f"{path} holds no tensors; its keys are {_some([str(k) for k in found]) or 'none'}")
    state = {n: t if t.layout == torch.strided else t.to_dense() for n, t in state.items()}
    return Checkpoint(path, *merged(state), notes=notes)


def merged(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dict in which every weight that is stored beside a mask is multiplied by it, and the masks by the
    weights' names.

    Example:
        >>> state, masks = merged({"weight_orig": torch.ones(2), "weight_mask": torch.tensor([0.0, 0.5])})
        >>> state["weight"], list(masks)
        (tensor([0.0000, 0.5000]), ['weight'])
    """
    pairs = {name: pair for name in state if (pair := _of_prune(name) or _of_parametrize(name))}
    pairs = {name: pair for name, pair in pairs.items() if pair[1] in state}
    used = {mask for _, mask in pairs.values()}
    found, masks = {}, {}
    for name, tensor in state.items():
        if name in pairs:
            weight, mask = pairs[name][0], state[pairs[name][1]]
            product = tensor.detach() * mask.to(tensor.dtype)
            found[weight], masks[weight] = product.masked_fill(mask == 0, 0), mask
        elif name not in used:
            found[name] = tensor
    return found, masks


def _of_prune(name: str) -> tuple[str, str] | None:
    """``0.weight_orig`` → the weight's name ``0.weight`` and its mask's, ``0.weight_mask``."""
    weight = name.removesuffix("_orig")
    return None if weight == name else (weight, f"{weight}_mask")


def _of_parametrize(name: str) -> tuple[str, str] | None:
    """``0.parametrizations.weight.original`` → ``0.weight`` and its mask's name, ``0.parametrizations.weight.0.mask``."""
    layer, mark, rest = name.rpartition("parametrizations.")
    leaf = rest.removesuffix(".original")
    return None if not mark or leaf == rest else (layer + leaf, f"{layer}{mark}{leaf}.0.mask")


def _some(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
