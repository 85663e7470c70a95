"""A ticket: a trained sparse network, its mask, and the record of how it came to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from . import models
from .errors import DataError
from .files import write_whole
from .masks import Mask
from .training import State

FORMAT = "lotterylib-ticket-1"


@dataclass
class Ticket:
    """``model`` (in eval mode, removed weights exactly 0), ``mask``, ``record`` (plain JSON values), and, for a dense
    network, ``rewind``: its parameters and buffers at the rewind step, from which pruners start again."""

    model: nn.Module
    mask: Mask
    record: dict[str, Any] = field(default_factory=dict)
    rewind: State | None = None

    @property
    def sparsity(self) -> float:
        """Share of prunable weights removed, in [0, 1]."""
        return self.mask.sparsity

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file: of pruned weights only the survivors and a bit a weight are stored."""
        tensors = {}
        for name, tensor in self.model.state_dict().items():
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
        write_whole(Path(path), to_bytes(tensors, metadata=about))

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Ticket:
        """Reads a ticket. ``model`` (any network of the same layers; its weights are overwritten) is needed only for a
        network that ``models.build`` did not make.

        Raises ``DataError`` for a file that is missing, truncated, of another format, or does not fit the model.
        """
        path = Path(path)
        tensors, about = _read(path)
        if about.get("format") != FORMAT:
            raise DataError(
                f"{path} is not a ticket of this version: format {about.get('format')!r}, want {FORMAT!r}"
            )
        spec = json.loads(about["spec"])
        if model is None:
            if spec is None:
                raise DataError(
                    f"{path} holds no model description: pass the model as Ticket.load(path, model=…)"
                )
            model = models.build(**spec)
        try:
            state, mask = _unpack(tensors, model)
            model.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(f"{path} does not fit the model: {str(error).splitlines()[-1].strip()}") from None
        rewind = {n.removeprefix("rewind/"): t for n, t in tensors.items() if n.startswith("rewind/")}
        return cls(model.eval(), Mask(mask), json.loads(about["record"]), rewind or None)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"no ticket at {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is truncated or no safetensors file ({error}); delete it and run again"
        ) from None


def _unpack(tensors: dict[str, Tensor], model: nn.Module) -> tuple[State, dict[str, Tensor]]:
    state = {n.removeprefix("state/"): t for n, t in tensors.items() if n.startswith("state/")}
    mask, target = {}, model.state_dict()
    for packed in (n for n in tensors if n.startswith("mask/")):
        name = packed.removeprefix("mask/")
        shape = target[name].shape
        bits = np.unpackbits(tensors[packed].numpy(), count=shape.numel()).astype(bool)
        mask[name] = torch.from_numpy(bits).view(shape)
        state[name] = torch.zeros(shape)
        state[name][mask[name]] = tensors[f"kept/{name}"]
    # the model's own layer order, not the file's: figures and rankings go by it
    return state, {name: mask[name] for name in target if name in mask}
