"""Modules that others built: brought into the form that the library measures, never changed."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ... import models
from ...errors import DataError, SettingError, UnknownNameError, one_line
from ...masks import Mask

TORCHVISION, TIMM = "torchvision:", "timm:"


class Network(nn.Module):
    """A network that takes images in [0, 1], as the library wants it, around one that may want something else.

    Args:
        net: The network itself.
        mean: One number per channel that its inputs are normalised by; goes with ``std``.
        std: One number per channel.
        grey: Whether the images are grey and the network wants colour: it is shown three equal channels.
        batch: Images that go through the network at a time, which bounds its memory.
        chosen: The outputs that are the data's classes, in their order; None: all.
        probabilities: Whether the network gives probabilities: their logarithms are logits.
    """

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        grey: bool = False,
        batch: int | None = None,
        chosen: Sequence[int] | None = None,
        probabilities: bool = False,
    ):
        super().__init__()
        if (mean is None) != (std is None):
            raise SettingError("mean and std go together: give both, one number per channel each, or neither")
        self.normalize = (
            models.Normalize(mean, std) if mean is not None and std is not None else nn.Identity()
        )
        self.net, self.grey, self.batch, self.probabilities = net, grey, batch, probabilities
        self.chosen = None if chosen is None else list(chosen)

    @property
    def normalises(self) -> bool:
        """Return whether it was given a mean and a std."""
        return isinstance(self.normalize, models.Normalize)

    def bare(self) -> Network:
        """Return it without its mean and std."""
        return Network(self.net, None, None, self.grey, self.batch, self.chosen, self.probabilities).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, channels, H, W]; grey ones are shown as colour where the file wants that."""
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        if not self.batch or len(images) <= self.batch:
            return self._logits(images)
        return torch.cat([self._logits(part) for part in images.split(self.batch)])

    def _logits(self, images: Tensor) -> Tensor:
        outputs = self.net(self.normalize(images))
        if self.probabilities:
            outputs = outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log()
        return outputs if self.chosen is None else outputs[:, self.chosen]


def build(
    arch: str, classes: int, channels: int, size: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """Return an untrained network by name: one of ``models.names()`` with its settings, ``torchvision:NAME``, ``timm:NAME``,
    or ``package.module:function``, which is imported and called with the settings alone.

    Raises ``UnknownNameError`` for the name, ``SettingError`` for a setting that the network does not have.
    """
    settings = dict(settings or {})
    if arch.startswith(TIMM):
        return _from_timm(arch, classes, channels, settings)
    if ":" in arch and not arch.startswith(TORCHVISION):
        return _from_factory(arch, settings)
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


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise SettingError("networks of timm need `pip install timm`") from None


def _from_timm(arch: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    theirs, name = _timm(), arch.removeprefix(TIMM)
    known = theirs.list_models()
    if name not in known:
        raise UnknownNameError("timm network", name, difflib.get_close_matches(name, known, n=8) or known[:8])
    with torch.random.fork_rng(devices=[]):
        try:
            return theirs.create_model(
                name, pretrained=False, num_classes=classes, in_chans=channels, **settings
            )
        except (TypeError, ValueError, RuntimeError) as error:
            raise SettingError(f"{arch}: {one_line(error)}") from None


def _from_factory(arch: str, settings: dict[str, Any]) -> nn.Module:
    """Import what the user names, from the current folder too, and nothing else: files of networks are never imported."""
    module, _, name = arch.partition(":")
    with _current_folder(), torch.random.fork_rng(devices=[]):
        try:
            make = getattr(importlib.import_module(module), name)
        # a script does anything when it is imported, and may even exit
        except (Exception, SystemExit) as error:
            raise SettingError(f"arch {arch}: cannot be imported ({one_line(error, named=True)})") from None
        try:
            found = make(**settings)
        except Exception as error:
            raise SettingError(f"arch {arch}: {one_line(error, named=True)}") from None
    if not isinstance(found, nn.Module):
        raise SettingError(f"arch {arch} gives a {type(found).__name__}, want a network (nn.Module)")
    return found


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules be found in the current folder, after all other places."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def plain(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode, in float32, whose weights are plain parameters.

    Masks of ``torch.nn.utils.prune`` and parametrizations (weight and spectral norm, old and new; sparsifiers) are
    computed and baked in. The module itself is left as found.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingError(
            "a TorchScript network has no layers to look at: pass the module that it was made from"
        )
    copied = duplicate(model).eval()
    for module in copied.modules():
        _bake_hooks(module)
        _bake_parametrizations(module)
    return ready(copied)


def duplicate(model: nn.Module) -> nn.Module:
    """Return a copy of a network whose weights may be computed from others, which cannot be copied: the copy computes its own."""
    derived = {
        id(t): t.detach().clone()
        for m in model.modules()
        for t in vars(m).values()
        if isinstance(t, Tensor) and not isinstance(t, nn.Parameter) and t.requires_grad
    }
    return copy.deepcopy(model, derived)


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
    if (found := outputs(model, shape, name)) != classes:
        raise DataError(
            f"{name} gives {found} logits, but the data have {classes} classes: say which is which with --classes, a file "
            "with one line per output"
        )


def outputs(model: nn.Module, shape: Sequence[int], name: str) -> int:
    """Return how many logits a network gives for images of that shape; raise ``DataError`` if it does not take them."""
    weight = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *shape, device=weight.device, dtype=torch.float32))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{name} does not take images of {'×'.join(map(str, shape))} pixels ({lines[0]}): give the size and the channels that "
            "it was trained with; if its channels were pruned in a way that its code does not follow, export it with torch.export"
        ) from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape_of = list(getattr(logits, "shape", []))
        wrap = "" if isinstance(logits, Tensor) else " alone: wrap it in a module that returns them"
        raise DataError(f"{name} gives {type(logits).__name__} {shape_of}, want logits [N, classes]{wrap}")
    return logits.shape[1]


def usual_images(arch: str | nn.Module | None) -> tuple[list[float], list[float], int, int] | None:
    """Return mean, std, size and resize that a network of torchvision or timm is trained with; None for any other."""
    if not isinstance(arch, str):
        return None
    if arch.startswith(TORCHVISION):
        from torchvision import models as theirs

        try:
            preset: Any = theirs.get_model_weights(arch.removeprefix(TORCHVISION)).DEFAULT.transforms()
            return list(preset.mean), list(preset.std), preset.crop_size[0], preset.resize_size[0]
        except (ValueError, AttributeError, TypeError):
            return None
    if arch.startswith(TIMM):
        about = _timm().models.get_pretrained_cfg(arch.removeprefix(TIMM))
        if about is None:
            return None
        size = about.input_size[-1]
        return list(about.mean), list(about.std), size, round(size / about.crop_pct)
    return None
