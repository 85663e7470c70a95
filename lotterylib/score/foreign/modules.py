"""Modules that others built: brought into the form that the library measures, never changed."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ... import models
from ...errors import DataError, SettingError, UnknownNameError
from ...masks import Mask

TORCHVISION = "torchvision:"


class Network(nn.Module):
    """A network that takes images in [0, 1], as the library wants it, around one that may want something else.

    Args:
        net: The network itself.
        mean: One number per channel that its inputs are normalised by; goes with ``std``.
        std: One number per channel.
        grey: Whether the images are grey and the network wants colour: it is shown three equal channels.
        batch: Images that go through the network at a time, which bounds its memory.
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
            raise SettingError("mean and std go together: give both, one number per channel each, or neither")
        self.normalize = (
            models.Normalize(mean, std) if mean is not None and std is not None else nn.Identity()
        )
        self.net, self.grey, self.batch = net, grey, batch

    def forward(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        if not self.batch or len(images) <= self.batch:
            return self.net(self.normalize(images))
        return torch.cat([self.net(self.normalize(part)) for part in images.split(self.batch)])


def build(
    arch: str, classes: int, channels: int, size: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """Return an untrained network by name: one of ``models.names()`` with its settings, or ``torchvision:NAME``.

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
        near = difflib.get_close_matches(name, known, n=8, cutoff=0.3)
        raise UnknownNameError("torchvision network", name, near or known)
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": False} | settings
    with torch.random.fork_rng(devices=[]):
        try:
            return torchvision.models.get_model(name, weights=None, num_classes=classes, **settings)
        except (TypeError, ValueError) as error:
            raise SettingError(f"{arch}: {error}") from None


def plain(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode, in float32, whose weights are plain parameters.

    Masks of ``torch.nn.utils.prune`` and parametrizations (weight and spectral norm, old and new; sparsifiers) are
    computed and baked in. The module itself is left as found.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingError(
            "a TorchScript network has no layers to look at: pass the module that it was made from"
        )
    # Weights computed from others cannot be copied; the copy computes its own.
    derived = {
        id(t): t.detach().clone()
        for m in model.modules()
        for t in vars(m).values()
        if isinstance(t, Tensor) and not isinstance(t, nn.Parameter) and t.requires_grad
    }
    copied = copy.deepcopy(model, derived).eval()
    for module in copied.modules():
        _bake_hooks(module)
        _bake_parametrizations(module)
    return ready(copied)


def ready(model: nn.Module) -> nn.Module:
    """Return the model itself in eval mode, in float32, with a gradient for every parameter."""
    model.float().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return model


def _bake_hooks(module: nn.Module) -> None:
    """Replace weights that a hook computes before each forward pass."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)
        elif isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)


def _bake_parametrizations(module: nn.Module) -> None:
    """Replace parametrized tensors by their values.

    A copy shares its class with the original, and PyTorch's ``remove_parametrizations`` takes the tensors' properties off
    that class: the original would be broken. Here the copy alone goes back to its class before parametrization.
    """
    if not parametrize.is_parametrized(module):
        return
    # a chain holds what was a parameter before as its own
    values = {
        name: (getattr(module, name).detach().clone(), bool(list(chain.parameters(recurse=False))))
        for name, chain in module.get_submodule("parametrizations").named_children()
    }
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, (value, trained) in values.items():
        if trained:
            module.register_parameter(name, nn.Parameter(value, value.is_floating_point()))
        else:
            module.register_buffer(name, value)


def mask_of(model: nn.Module, named: Mapping[str, Tensor] | None = None) -> Mask:
    """Return the surviving weights of a network: the mask where one is ``named``, elsewhere all that are not exactly 0."""
    kept = dict(Mask.of(model))
    for name, tensor in (named or {}).items():
        if name in kept and kept[name].shape == tensor.shape:
            kept[name] = tensor.to(kept[name].device) != 0
    return Mask(kept)


def try_out(model: nn.Module, shape: Sequence[int], classes: int, name: str) -> None:
    """Put two images of zeros through a network.

    Raises ``DataError`` if it does not take images of that shape [C, H, W] or does not give a logit for each of
    ``classes``.
    """
    weight = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *shape, device=weight.device, dtype=torch.float32))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{name} does not take images of {'×'.join(map(str, shape))} pixels ({lines[0]}); if its channels were pruned "
            "in a way that its code does not follow, export it with torch.export and pass the .pt2 file"
        ) from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape_of = list(getattr(logits, "shape", []))
        wrap = "" if isinstance(logits, Tensor) else " alone: wrap it in a module that returns them"
        raise DataError(f"{name} gives {type(logits).__name__} {shape_of}, want logits [N, classes]{wrap}")
    if logits.shape[1] != classes:
        raise DataError(f"{name} gives {logits.shape[1]} logits, but the data have {classes} classes")
