"""A ticket: a trained sparse network, its mask, and the record of how it came to be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from . import models
from .errors import DamagedError, DataError, LotteryError
from .files import write_whole
from .masks import Mask
from .training import State

FORMAT = "lotterylib-ticket-1"


class TicketRecord(TypedDict, total=False):
    """The history of a ticket in plain JSON values; for one made elsewhere, as much as is known.

    ``sparsity``, ``kept`` and ``prunable`` count prunable weights, against the dense network's; ``settings`` are the
    pruner's. ``losses`` are each epoch's mean (nats). ``multiply_adds`` are those of one image's forward pass. ``cost`` is
    in dense trainings (see ``efficiency.macs``; None if it is not known), ``seconds`` are those of the training,
    ``mask_seconds`` those of scoring. ``updates`` says what each mask update moved. ``shapes`` (weight name → shape) and
    ``left_whole`` (layers that could not be cut) are those of a network made smaller.
    """

    pruner: str
    settings: dict[str, Any]
    requested_sparsity: float
    sparsity: float
    kept: int
    prunable: int
    parameters: int
    seed: int
    data: dict[str, Any]
    model: dict[str, Any]
    recipe: dict[str, Any]
    losses: list[float]
    images_seen: int
    multiply_adds: float
    multiply_adds_dense: float
    cost: float | None
    seconds: float
    mask_seconds: float
    precision: str
    processes: int
    device: str
    threads: int
    updates: list[dict[str, Any]]
    shapes: dict[str, list[int]]
    left_whole: list[str]


@dataclass
class Ticket:
    """``model`` (in eval mode, removed weights exactly 0), ``mask``, ``record``, and, for a dense network, ``rewind``: its
    parameters and buffers at the rewind step, from which pruners start again."""

    model: nn.Module
    mask: Mask
    record: TicketRecord = field(default_factory=TicketRecord)
    rewind: State | None = None

    @property
    def sparsity(self) -> float:
        """Share of the dense network's prunable weights removed, in [0, 1]. The mask alone does not say where the
        ticket's network is itself smaller than the dense one; the record does."""
        return self.record.get("sparsity", self.mask.sparsity)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: of pruned weights only the survivors and one bit per weight are stored.

        Raises:
            SettingError: if the mask is that of another network.
        """
        write_whole(Path(path), self.packed())

    def packed(self) -> bytes:
        """Return the bytes that ``save`` writes."""
        self.mask.check_matches({n: t.shape for n, t in self.model.state_dict().items()})
        tensors, twice = {}, _second_names(self.model)
        for name, tensor in self.model.state_dict().items():
            if name in twice:
                continue
            tensor = tensor.detach().cpu()
            if name in self.mask:
                keep = self.mask[name].cpu()
                tensors[f"kept/{name}"] = tensor[keep]
                tensors[f"mask/{name}"] = torch.from_numpy(np.packbits(keep.numpy()))
            else:
                tensors[f"state/{name}"] = tensor.contiguous()
        for name, tensor in (self.rewind or {}).items():
            tensors[f"rewind/{name}"] = tensor.detach().cpu().contiguous()
        about = {
            "format": FORMAT,
            "spec": json.dumps(getattr(self.model, "spec", None), sort_keys=True),
            "record": json.dumps(self.record, sort_keys=True),
        }
        return _in_order(to_bytes(tensors, metadata=about | {"checksum": _checksum(tensors, about)}))

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Ticket:
        """Read a ticket. ``model`` (any network of the same layers; its weights are overwritten, and it is cut to the
        ticket's size) is needed only for a network that ``models.build`` did not make.

        Raises:
            DataError: for a file that is missing, truncated, of another format, or does not fit the model.
        """
        path = Path(path)
        tensors, about = _read(path)
        # tickets of before there were any have none
        if about.pop("checksum", None) not in (None, _checksum(tensors, about)):
            raise DamagedError(f"{path} is damaged: its checksum does not fit; delete it and run again")
        if about.get("format") != FORMAT:
            raise DataError(
                f"{path} is not a ticket of this version: format {about.get('format')!r}, want {FORMAT!r}"
            )
        try:
            spec, record = json.loads(about["spec"]), json.loads(about["record"])
        except (KeyError, ValueError):
            raise DamagedError(
                f"{path} is damaged: its description is no JSON; delete it and run again"
            ) from None
        if model is None:
            if spec is None:
                raise DataError(
                    f"{path} holds no model description: pass the model as Ticket.load(path, model=…)"
                )
            try:
                model = models.build(**spec)
            except (LotteryError, TypeError) as error:
                raise DataError(f"{path} describes a model that this version cannot build: {error}") from None
        try:
            models.resize_(model, record.get("shapes", {}))
            state, tensors_of_mask = _unpack(tensors, model)
            mask = Mask(tensors_of_mask)
            state |= {name: state[first] for name, first in _second_names(model).items() if name not in state}
            model.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = error.args[0] if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path} does not fit the model: {reason.splitlines()[-1].strip()}") from None
        rewind = {n.removeprefix("rewind/"): t for n, t in tensors.items() if n.startswith("rewind/")}
        return cls(model.eval(), mask, record, rewind or None)


def is_whole(path: Path) -> bool:
    """Return whether there is a ticket file of full length. Only its header is read, so this is cheap."""
    try:
        with safetensors.safe_open(path, framework="pt"):
            return True
    except (safetensors.SafetensorError, OSError):
        return False


def _second_names(model: nn.Module) -> dict[str, str]:
    """Return other names of a layer that the model holds under several → the first one."""
    first: dict[int, str] = {}
    tensors = model.state_dict(keep_vars=True)
    return {name: seen for name, t in tensors.items() if (seen := first.setdefault(id(t), name)) != name}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"no ticket at {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedError(
            f"{path} is truncated or no safetensors file ({error}); delete it and run again"
        ) from None


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file whose header is in order: the library writes metadata in another one each time, and equal
    tickets are to be equal files."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    # tensors begin at a multiple of 8
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _checksum(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """Return the SHA-256 of everything in a ticket file."""
    whole = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _unpack(tensors: dict[str, Tensor], model: nn.Module) -> tuple[State, dict[str, Tensor]]:
    state = {n.removeprefix("state/"): t for n, t in tensors.items() if n.startswith("state/")}
    mask, target = {}, model.state_dict()
    for packed in (n for n in tensors if n.startswith("mask/")):
        name = packed.removeprefix("mask/")
        if name not in target:
            raise KeyError(f"it has no {name}")
        shape, kept = target[name].shape, tensors[f"kept/{name}"]
        if tensors[packed].numel() != -(-shape.numel() // 8):
            raise ValueError(f"{name} is of another size")
        bits = np.unpackbits(tensors[packed].numpy(), count=shape.numel()).astype(bool)
        mask[name] = torch.from_numpy(bits).view(shape)
        state[name] = torch.zeros(shape, dtype=kept.dtype)
        state[name][mask[name]] = kept
    # the model's own layer order, not the file's: figures and rankings go by it
    return state, {name: mask[name] for name in target if name in mask}
