"""Networks from ``torch.export`` archives, without running anything that the archive brings along.

``torch.export.load`` unpickles, evaluates expressions and follows any ``torch.…`` name that the file gives. Here the
graph is read as the JSON that it is: its operations have to be on a list of harmless ones, its tensors are raw bytes, and
what else there is (pickled objects, compiled libraries) is refused. Convolutions, linear and BatchNorm layers become the
modules that they were before the export, under their old names, so all that works on layers works here.
"""

from __future__ import annotations

import io
import json
import operator
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DataError
from ...text import amount

# major version of the archive's graph format
_SCHEMA = 8
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_PURE = """
    abs adaptive_avg_pool2d adaptive_max_pool2d add addmm alias amax amin arange argmax avg_pool2d batch_norm bitwise_not bmm cat celu
    channel_shuffle chunk clamp clamp_min clamp_max clone constant_pad_nd contiguous conv2d cumsum detach div dropout elu
    eq erf exp expand expand_as flatten flip floor_divide full full_like ge gelu glu group_norm gt hardsigmoid hardswish
    hardtanh index instance_norm layer_norm le leaky_relu lift_fresh_copy linear log log_softmax logical_and logical_not lt
    masked_fill matmul max max_pool2d maximum mean min minimum mish mm movedim mul narrow ne neg ones ones_like pad
    permute pixel_shuffle pixel_unshuffle pow prelu reciprocal relu relu6 repeat reshape reshape_as rms_norm roll rsqrt rsub
    scaled_dot_product_attention select selu sigmoid silu slice softmax softplus split split_with_sizes sqrt squeeze stack
    sub sum sym_size t tanh tile to transpose unbind unflatten unsqueeze upsample_bilinear2d upsample_nearest2d view
    view_as where zeros zeros_like _softmax _log_softmax _to_copy _unsafe_view
""".split()  # noqa: SIM905
_IN_PLACE = "add div dropout elu hardsigmoid hardswish hardtanh leaky_relu mish mul relu relu6 sigmoid silu sub tanh detach"
_KNOWN = {*_PURE, *(f"{name}_" for name in _IN_PLACE.split())}
_CHECKS = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size"}
_ARITHMETIC = {n: getattr(operator, n) for n in ("add", "floordiv", "mod", "mul", "neg", "sub")}
_LAYER_TENSORS = {
    "conv2d": ("weight", "bias"),
    "linear": ("weight", "bias"),
    "batch_norm": ("weight", "bias", "running_mean", "running_var"),
}
_NAME = re.compile(r"[^.]+(\.[^.]+)*")


def is_program(path: Path) -> bool:
    """Return whether a file is an archive of ``torch.export.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(_inner(name).startswith("models/") for name in archive.namelist())


def check_honest(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise ``DataError`` for an archive that unpacks to more than it holds: PyTorch does not compress."""
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > 2 * path.stat().st_size + 10**6:
        raise DataError(
            f"{path} would unpack to {amount(unpacked, 'B')}, which PyTorch never writes: not read"
        )


def load_program(path: Path) -> Program:
    """Read an archive. Raises ``DataError``, in one line, for whatever is damaged, unknown, or would have to be executed.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 2, 2),)), "network.pt2")
        >>> load_program(Path("network.pt2")).input_shape
        [1, 1, 2, 2]
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_honest(path, archive)
            files = {_inner(name): name for name in archive.namelist()}
            for name in files:
                if name.startswith("data/aotinductor/"):
                    raise DataError(
                        f"{path} holds a compiled library, which is never run: export the network again"
                    )
            models = [name for name in files if name.startswith("models/")]
            if models != ["models/model.json"]:
                raise DataError(
                    f"{path} holds the programs {', '.join(models)}; want one, saved by torch.export.save"
                )
            about = json.loads(archive.read(files["models/model.json"]))
            if about["schema_version"]["major"] != _SCHEMA:
                found = f"{about['schema_version']['major']}, written by PyTorch {about.get('torch_version', '?')}"
                raise DataError(
                    f"{path} has the format {found}; this version reads {_SCHEMA}: export the network again"
                )
            tensors = {}
            for kind in ("weights", "constants"):
                config = json.loads(archive.read(files[f"data/{kind}/model_{kind}_config.json"]))["config"]
                for name, entry in config.items():
                    where = files[f"data/{kind}/{entry['path_name']}"]
                    tensors[name] = _tensor(path, name, entry, archive.read(where)), bool(entry["is_param"])
        return Program(about["graph_module"], tensors, path)
    except DataError:
        raise
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is damaged ({error}); copy or export it again") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is no program that this version can read: {_words(error)}") from None


class Program(nn.Module):
    """An exported network: takes images, gives logits, always in eval mode as it was exported. ``input_shape``: [N, C, H,
    W] with N None where any number of images will do; a program exported for a fixed number is given the images in
    pieces of so many, the last filled up with copies."""

    def __init__(self, graph_module: dict[str, Any], tensors: dict[str, tuple[Tensor, bool]], path: Path):
        super().__init__()
        graph = graph_module["graph"]
        self._path, self._steps, self._names = path, [], {}
        for spec in graph_module["signature"]["input_specs"]:
            [(kind, entry)] = spec.items()
            if kind == "user_input":
                self._input = _only(entry["arg"], "as_tensor", path)["name"]
            else:
                name = entry[
                    {"parameter": "parameter_name", "buffer": "buffer_name"}.get(kind, "tensor_constant_name")
                ]
                self._names[entry["arg"]["name"]] = name
        self.input_shape = [s.get("as_int") for s in graph["tensor_values"][self._input]["sizes"]]
        if len(self.input_shape) != 4:
            raise DataError(f"{path} takes {len(self.input_shape)} dimensions, want images [N, C, H, W]")
        for name, (tensor, trained) in tensors.items():
            if not _NAME.fullmatch(name):
                raise DataError(f"{path}: {name!r} is no name of a tensor")
            layer, leaf = self._layer(name)
            if trained:
                layer.register_parameter(leaf, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))
            else:
                layer.register_buffer(leaf, tensor)
        for node in graph["nodes"]:
            self._add(node)
        outputs = graph["outputs"]
        if len(outputs) != 1:
            raise DataError(f"{path} gives {len(outputs)} outputs, want the logits alone")
        self._output = _only(outputs[0], "as_tensor", path)["name"]
        self._spent = _last_uses([(a, o) for _, a, o, _ in self._steps], keep=self._output)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, channels, H, W]."""
        fixed = self.input_shape[0]
        if fixed is None:
            return self._run(images)
        full = torch.cat([images, images[-1:].expand(-len(images) % fixed, -1, -1, -1)])
        return torch.cat([self._run(part) for part in full.split(fixed)])[: len(images)]

    def _run(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {self._input: images}

        def value(name: str) -> Any:
            if name not in values:
                path, _, leaf = self._names[name].rpartition(".")
                values[name] = getattr(self.get_submodule(path), leaf)
            return values[name]

        for (call, arguments, options, outputs), spent in zip(self._steps, self._spent, strict=True):
            if isinstance(call, str):
                call = self.get_submodule(call)
            found = call(
                *(_filled(a, value) for a in arguments), **{k: _filled(a, value) for k, a in options.items()}
            )
            values |= zip(outputs, found if isinstance(found, (list, tuple)) else [found], strict=True)
            del found
            # nobody asks for it any more: its memory is free
            for name in spent:
                values.pop(name, None)
        return values[self._output]

    def _add(self, node: dict[str, Any]) -> None:
        """Add one step of the program, a module where it was one."""
        target, inputs = node["target"], [(i["name"], i["arg"], i.get("kind")) for i in node["inputs"]]
        module, _, rest = target.rpartition("torch.ops.aten.")
        name, _, overload = rest.partition(".")
        outputs = [n for out in node["outputs"] for n in _names_of(out, self._path)]
        given = {key: _argument(arg, self._path) for key, arg, _ in inputs}
        if target.startswith("_operator.") and target[10:] in _ARITHMETIC:
            self._steps.append((_ARITHMETIC[target[10:]], list(given.values()), {}, outputs))
            return
        if not module and name in _CHECKS:
            return
        if module or name not in _KNOWN or not hasattr(getattr(torch.ops.aten, name), overload):
            raise DataError(
                f"{self._path} calls {target}, which is not on the list of operations that are run"
            )
        if given.get("training") is True or name.startswith("dropout") and given.get("train") is True:
            raise DataError(
                f"{self._path} was exported in training mode: call model.eval() before torch.export.export"
            )
        if layer := self._as_module(name, given):
            self._steps.append((layer, [given["input"]], {}, outputs))
            return
        positional = [given[key] for key, _, kind in inputs if kind != 2]
        options = {key: given[key] for key, _, kind in inputs if kind == 2}
        self._steps.append((getattr(getattr(torch.ops.aten, name), overload), positional, options, outputs))

    def _as_module(self, name: str, given: dict[str, Any]) -> str | None:
        """Make the layer whose weight the operation uses a real one; its path, or None if there is no such layer."""
        path = self._owner(name, given)
        if path is None:
            return None
        old = self.get_submodule(path)
        tensors = dict(old.named_parameters(recurse=False)) | dict(old.named_buffers(recurse=False))
        new = _new_layer(name, given, tensors["weight"].shape)
        if type(old) is not nn.Module:
            # An earlier call of the same layer made it.
            return path if repr(old) == repr(new) else None
        for leaf, tensor in tensors.items():
            setattr(new, leaf, tensor) if leaf in new._parameters else new.register_buffer(leaf, tensor)
        if name == "batch_norm" and "num_batches_tracked" not in tensors:
            new._buffers["num_batches_tracked"] = None
        parent, _, leaf = path.rpartition(".")
        setattr(self.get_submodule(parent), leaf, new)
        return path

    def _owner(self, name: str, given: dict[str, Any]) -> str | None:
        """Return the path whose tensors, and no others, an operation uses as a layer of its kind does."""
        if name not in _LAYER_TENSORS:
            return None
        held = {key: self._tensor_name(given.get(key)) for key in _LAYER_TENSORS[name]}
        path, dot, leaf = (held["weight"] or "").rpartition(".")
        if not dot or leaf != "weight":
            return None
        without_bias = given.get("bias") is None
        for key, found in held.items():
            if found != (None if key == "bias" and without_bias else f"{path}.{key}"):
                return None
        return path

    def _tensor_name(self, argument: Any) -> str | None:
        return self._names.get(argument.name) if isinstance(argument, _Value) else None

    def _layer(self, name: str) -> tuple[nn.Module, str]:
        """Return the (new or old) module that holds a tensor, and the tensor's own name."""
        *path, leaf = name.split(".")
        layer: nn.Module = self
        for part in path:
            if part not in layer._modules:
                layer.add_module(part, nn.Module())
            layer = layer.get_submodule(part)
        return layer, leaf


def _new_layer(name: str, given: dict[str, Any], shape: torch.Size) -> nn.Module:
    """Return a layer without numbers that computes what an operation does."""
    bias = given.get("bias") is not None
    if name == "linear":
        return nn.Linear(shape[1], shape[0], bias, device="meta")
    if name == "batch_norm":
        return nn.BatchNorm2d(shape[0], given["eps"], given["momentum"], device="meta")
    groups, padding = given.get("groups", 1), given.get("padding", (0, 0))
    return nn.Conv2d(
        shape[1] * groups,
        shape[0],
        (shape[2], shape[3]),
        stride=tuple(given.get("stride", (1, 1))),
        padding=padding if isinstance(padding, str) else tuple(padding),
        dilation=tuple(given.get("dilation", (1, 1))),
        groups=groups,
        bias=bias,
        device="meta",
    )


class _Value:
    """A value that an earlier step gives."""

    def __init__(self, name: str):
        self.name = name


def _last_uses(steps: list[tuple[list, dict]], keep: str) -> list[set[str]]:
    """Return for each step the values that no later one uses."""
    seen, spent = {keep}, []
    for arguments, options in reversed(steps):
        used = {a.name for a in _flat([*arguments, *options.values()]) if isinstance(a, _Value)}
        spent.append(used - seen)
        seen |= used
    return spent[::-1]


def _flat(values: list) -> Iterator[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, list) else [value]


def _filled(argument: Any, value: Any) -> Any:
    if isinstance(argument, _Value):
        return value(argument.name)
    return [_filled(a, value) for a in argument] if isinstance(argument, list) else argument


def _argument(given: dict[str, Any], path: Path) -> Any:
    [(kind, value)] = given.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return _Value(value["name"])
    if kind == "as_tensors":
        return [_Value(v["name"]) for v in value]
    if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"):
        return value
    if kind in ("as_sym_int", "as_sym_bool", "as_optional_tensor"):
        return _one(value)
    if kind in ("as_sym_ints", "as_optional_tensors"):
        return [_one(v) for v in value]
    if kind == "as_scalar_type":
        return _DTYPES[value]
    if kind == "as_device":
        # wherever the network is
        return None
    if kind in ("as_layout", "as_memory_format"):
        return torch.strided if kind == "as_layout" else torch.contiguous_format
    raise DataError(f"{path} has an argument of the kind {kind}, which is not read")


def _one(value: dict[str, Any]) -> Any:
    """Return a number or the name of one; a tensor or none."""
    [(kind, found)] = value.items()
    if kind == "as_tensor":
        return _Value(found["name"])
    return _Value(found) if kind == "as_name" else None if kind == "as_none" else found


def _names_of(output: dict[str, Any], path: Path) -> list[str]:
    [(kind, value)] = output.items()
    if kind == "as_tensors":
        return [v["name"] for v in value]
    if kind in ("as_sym_int", "as_sym_bool"):
        return [value["as_name"]]
    return [] if kind == "as_none" else [_only(output, "as_tensor", path)["name"]]


def _only(given: dict[str, Any], kind: str, path: Path) -> Any:
    if kind not in given:
        raise DataError(f"{path} takes or gives {', '.join(given)}; want images in and logits out")
    return given[kind]


def _tensor(path: Path, name: str, entry: dict[str, Any], content: bytes) -> Tensor:
    if entry["use_pickle"]:
        try:
            found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except Exception:
            found = None
        if not isinstance(found, Tensor):
            raise DataError(
                f"{path}: {name} is a pickled object, which is never read: export a network of plain tensors"
            )
        return found.clone()
    meta = entry["tensor_meta"]
    sizes, strides = ([s["as_int"] for s in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(bytearray(content), dtype=_DTYPES[meta["dtype"]]) if content else torch.empty(0)
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()


def _inner(name: str) -> str:
    """Return a name without the archive's own folder."""
    return str(PurePosixPath(*PurePosixPath(name).parts[1:]))


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {str(error).splitlines()[0] if str(error) else ''}".strip()
