"""Which weights stay: a mask is one boolean tensor per prunable weight, True = kept."""

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
    """The weights that pruning may remove, by their name in the state dict.

    ``scope="all"``: the weight of every Conv2d and Linear; ``"conv"``: of every Conv2d alone (as in the paper's
    released code). Biases and normalisation are never pruned. A weight shared by two layers is listed once.

    Raises ``SettingError`` for another scope or a model that has no such layer.
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
    """Name of a layer worth a picture in any network, given masks, scores or weights by name: the first spatial convolution
    with more channels than the first layer (in a ResNet it opens the second stage), else the layer in the middle."""
    names = list(layers)
    for name in names:
        shape = layers[name].shape
        if len(shape) == 4 and shape[2] * shape[3] > 1 and shape[0] > layers[names[0]].shape[0]:
            return name
    return names[len(names) // 2]


class Mask(Mapping[str, Tensor]):
    """A mapping from weight name to a boolean tensor of the weight's shape; True = kept.

    Raises ``SettingError`` for tensors that are not boolean.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
                raise SettingError(
                    f"mask of {name} must be a boolean tensor, got {getattr(tensor, 'dtype', tensor)}"
                )
        if not tensors:
            raise SettingError("a mask needs at least one weight")
        self._tensors = dict(tensors)

    @classmethod
    def ones(cls, model: nn.Module, scope: Scope = "all") -> Mask:
        """Keeps everything."""
        return cls({n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model, scope).items()})

    @classmethod
    def of(cls, model: nn.Module, scope: Scope = "all") -> Mask:
        """Read off the model's zeros: a weight that is exactly 0 counts as removed."""
        return cls({n: p.detach() != 0 for n, p in prunable(model, scope).items()})

    @classmethod
    def top(cls, scores: Mapping[str, Tensor], density: float, within: Mask | None = None) -> Mask:
        """Keeps exactly ``round(density · n)`` weights of the highest score, n counting all layers together.

        Equal scores are ranked by position (earlier layer, then earlier weight, first), so that ties never change the
        count. With ``within`` (a mask), no weight outside it comes back; n still counts all weights.

        Raises ``SettingError`` for a density outside [0, 1], a score that is NaN, scores of other shapes than
        ``within``, or more weights asked for than ``within`` holds.
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
        return (
            f"Mask({len(self)} weights, {self.kept:,} of {self.total:,} kept, sparsity {self.sparsity:.2%})"
        )

    def equals(self, other: Mask) -> bool:
        """Same names, same tensors."""
        return self.keys() == other.keys() and all(torch.equal(self[n].cpu(), other[n].cpu()) for n in self)

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
        """Share kept, a layer."""
        return {n: t.double().mean().item() for n, t in self.items()}

    def to(self, device: str | torch.device) -> Mask:
        """The same mask on a device."""
        return Mask({n: t.to(device) for n, t in self.items()})

    def check_matches(self, shapes: Mapping[str, torch.Size]) -> None:
        """Raises ``SettingError`` unless every weight of the mask is there with the same shape."""
        for name, tensor in self.items():
            if name not in shapes:
                raise SettingError(f"the mask names {name}, which is not there")
            if tensor.shape != shapes[name]:
                raise SettingError(
                    f"mask of {name} has shape {list(tensor.shape)}, want {list(shapes[name])}"
                )

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> nn.Module:
        """Sets removed weights to 0, in place; returns the model.

        Raises ``SettingError``, before anything is changed, if a name or shape does not match.
        """
        weights = dict(model.named_parameters())
        self.check_matches({n: w.shape for n, w in weights.items()})
        for name, tensor in self.items():
            weights[name].masked_fill_(~tensor.to(weights[name].device), 0)
        return model
