"""Networks whose channels were cut: the same layers, smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from ..errors import SettingError


def resize_(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """Cut parameters and buffers (name → new shape) to their leading entries, in place, give Conv2d, Linear and BatchNorm
    layers their new sizes, and return the model. Shapes that are as before change nothing.

    Raises:
        SettingError: for a name that is not there or a shape that does not fit into the old one.

    Example:
        >>> resize_(nn.Linear(4, 3), {"weight": [2, 4], "bias": [2]})
        Linear(in_features=4, out_features=2, bias=True)
    """
    present = model.state_dict()
    for name, shape in shapes.items():
        old = present.get(name)
        fits = old is not None and old.dim() == len(shape)
        if old is None or not fits or any(new > s for new, s in zip(shape, old.shape, strict=True)):
            where = "no such tensor" if old is None else f"it has shape {list(old.shape)}"
            raise SettingError(f"{name} cannot be cut to shape {list(shape)}: {where}")
    for name, shape in shapes.items():
        if tuple(shape) == tuple(present[name].shape):
            continue
        path, _, leaf = name.rpartition(".")
        layer = model.get_submodule(path)
        kept = present[name].detach()[tuple(slice(size) for size in shape)].clone()
        setattr(layer, leaf, nn.Parameter(kept) if leaf in layer._parameters else kept)
        if leaf == "weight" or leaf == "running_mean":
            _set_size(layer, kept.shape)
    return model


def _set_size(layer: nn.Module, shape: Sequence[int]) -> None:
    if isinstance(layer, nn.Conv2d):
        # depthwise: one group per channel
        if layer.groups == layer.in_channels == layer.out_channels:
            layer.groups = shape[0]
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = shape[0]
