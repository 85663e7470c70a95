"""Masks say which weights stay: a mask is one boolean tensor per prunable weight, True = kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ..errors import SettingError

Scope = Literal["all", "conv"]
_LAYERS = {"all": (nn.Conv2d, nn.Linear), "conv": (nn.Conv2d,)}


def prunable(model: nn.Module, scope: Scope = "all") -> dict[str, Parameter]:
    """Return the weights that pruning may remove, by their name in the state dict.

    Biases and normalisation are never pruned. A weight shared by two layers is listed once.

    Args:
        scope: "all": the weight of every Conv2d and Linear; "conv": of every Conv2d alone (as in the paper's code).

    Raises:
        SettingError: for another scope or a model that has no such layer.

    Example:
        >>> list(prunable(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))))
        ['0.weight', '2.weight']
    """
    if scope not in _LAYERS:
        raise SettingError(f"scope must be 'all' or 'conv', got {scope!r}")
    found, seen = {}, set()
    for name, module in model.named_modules():
        if isinstance(module, _LAYERS[scope]) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            found[f"{name}.weight" if name else "weight"] = module.weight
    if not found:
        raise SettingError(
            f"the model has no {' or '.join(t.__name__ for t in _LAYERS[scope])} layer to prune"
        )
    return found


def inner_layer(layers: Mapping[str, Tensor]) -> str:
    """Return the name of a layer worth a picture in any network, given masks, scores or weights by name: the first spatial
    convolution with more channels than the first layer (in a ResNet it opens the second stage), else the middle layer.

    Example:
        >>> inner_layer({"a": torch.ones(8, 3, 3, 3), "b": torch.ones(16, 8, 3, 3), "c": torch.ones(10, 16)})
        'b'
    """
    names = list(layers)
    for name in names:
        shape = layers[name].shape
        if len(shape) == 4 and shape[2] * shape[3] > 1 and shape[0] > layers[names[0]].shape[0]:
            return name
    return names[len(names) // 2]


class Mask(Mapping[str, Tensor]):
    """A mapping from weight name to a boolean tensor of the weight's shape; True = kept. It lives on the processor, wherever
    the tensors were made that it is given. ``SettingError`` for tensors that are not boolean."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
                raise SettingError(
                    f"mask of {name} must be a boolean tensor, got {getattr(tensor, 'dtype', tensor)}"
                )
        if not tensors:
            raise SettingError("a mask needs at least one weight")
        self._tensors = {name: tensor.cpu() for name, tensor in tensors.items()}

    @classmethod
    def ones(cls, model: nn.Module, scope: Scope = "all") -> Mask:
        """Keep everything."""
        return cls({n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model, scope).items()})

    @classmethod
    def of(cls, model: nn.Module, scope: Scope = "all") -> Mask:
        """Read off the model's zeros: a weight that is exactly 0 counts as removed."""
        return cls({n: p.detach() != 0 for n, p in prunable(model, scope).items()})

    @classmethod
    def top(cls, scores: Mapping[str, Tensor], density: float, within: Mask | None = None) -> Mask:
        """Keep exactly ``round(density · n)`` weights of the highest score, n counting all layers together.

        Equal scores are ranked by position (earlier layer, then earlier weight, first), so that ties never change the
        count. With ``within`` (a mask), no weight outside it comes back; n still counts all weights.

        Raises:
            SettingError: for a density outside [0, 1], NaN, other shapes than ``within``, or more weights than it holds.
        """
        if not 0 <= density <= 1:
            raise SettingError(f"density must lie in [0, 1], got {density}")
        flat = torch.cat([s.detach().flatten() for s in scores.values()])
        if not flat.is_floating_point():
            flat = flat.double()
        if flat.isnan().any():
            bad = next(n for n, s in scores.items() if s.isnan().any())
            raise SettingError(f"scores of {bad} contain NaN; a mask needs comparable numbers")
        keep, total = round(density * flat.numel()), flat.numel()
        order = torch.argsort(flat, descending=True, stable=True)
        if within is not None:
            within.check_matches({n: s.shape for n, s in scores.items()})
            allowed = torch.cat([within[n].flatten() for n in scores]).to(flat.device)
            if keep > int(allowed.sum()):
                raise SettingError(
                    f"{keep} of {total} weights asked for, but only {int(allowed.sum())} are left"
                )
            order = order[allowed[order]]
        kept = torch.zeros(total, dtype=torch.bool, device=flat.device)
        kept[order[:keep]] = True
        parts = kept.split([s.numel() for s in scores.values()])
        return cls({n: part.view(s.shape) for (n, s), part in zip(scores.items(), parts, strict=True)})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Mask({len(self)} layers, {self.kept:,} of {self.total:,} kept, sparsity {self.sparsity:.2%})"

    def equals(self, other: Mask) -> bool:
        """Same names, same tensors."""
        return self.keys() == other.keys() and all(torch.equal(self[n], other[n]) for n in self)

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(t.numel() for t in self.values())

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(int(t.sum()) for t in self.values())

    @property
    def density(self) -> float:
        """Share of prunable weights kept, in [0, 1]."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Share of prunable weights removed, in [0, 1]."""
        return 1 - self.density

    def layer_densities(self) -> dict[str, float]:
        """Return the share kept, per layer."""
        return {n: t.double().mean().item() for n, t in self.items()}

    def check_matches(self, shapes: Mapping[str, torch.Size]) -> None:
        """Raise ``SettingError`` unless every weight of the mask is there with the same shape."""
        for name, tensor in self.items():
            if name not in shapes:
                raise SettingError(f"the mask names {name}, which is not there")
            if tensor.shape != shapes[name]:
                raise SettingError(
                    f"mask of {name} has shape {list(tensor.shape)}, want {list(shapes[name])}"
                )

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> nn.Module:
        """Set removed weights to 0, in place; return the model. Names and shapes are checked before anything is changed."""
        weights = dict(model.named_parameters())
        self.check_matches({n: w.shape for n, w in weights.items()})
        for name, tensor in self.items():
            weights[name].masked_fill_(~tensor.to(weights[name].device), 0)
        return model
