"""A second device on a machine that has none: its tensors say ``cuda:0``, are computed on the processor, and refuse what CUDA
refuses. It counts what makes a GPU wait for the processor, and what travels between the two.

Below are plain tensors of the processor whose storage carries a mark. One mode sees what Python calls (``.device``,
``.to``, ``.numpy``, ``device=…``); the other sees every operation, those of C++ and of backward passes too, checks that
its tensors are of one device and marks what it makes. Modes belong to a thread: other threads see the processor alone.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._C import _functorch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
# these take no single number of the processor beside the device's tensors either
JOIN = {"aten::cat", "aten::stack"}
# the processor may hold the indices, but not the tensor
INDEX = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
# their result's size, or the result itself, has to reach the processor
WAIT = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2",
    "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::_linalg_eigh", "aten::linalg_lstsq",
    "aten::is_nonzero",
}  # fmt: skip


def tensors_in(values: Any) -> Iterator[Tensor]:
    """All tensors in arguments or results, however nested in lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def _storage(tensor: Tensor) -> Any:
    """The tensor's storage, or None for one that has none of the processor's."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return tensor.untyped_storage() if plain else None


def on_device(tensor: Tensor) -> bool:
    """Whether a tensor is one of the emulated device."""
    with torch._C.DisableTorchFunction():
        return getattr(_storage(tensor), "emulated", False)


def _mark(values: Any, on: bool) -> Any:
    """Mark what has no mark yet."""
    for tensor in tensors_in(values):
        storage = _storage(tensor)
        if storage is not None and not hasattr(storage, "emulated"):
            storage.emulated = on
    return values


def _set(tensor: Tensor, on: bool) -> Tensor:
    _storage(tensor).emulated = on
    return tensor


class _Carried(torch.autograd.Function):
    """A copy on the other side, whose gradient comes back."""

    @staticmethod
    def forward(ctx, tensor, to_device, how):
        ctx.to_device, ctx.dtype = to_device, tensor.dtype
        return _set(how(), to_device)

    @staticmethod
    def backward(ctx, gradient):
        return _set(gradient.to(ctx.dtype, copy=True), not ctx.to_device), None, None


def _is_cuda(device: Any) -> bool:
    return isinstance(device, (str, torch.device)) and torch.device(device).type == "cuda"


def _stream(*_: Any) -> Any:
    return SimpleNamespace(wait_stream=lambda other: None)


class Device:
    """The device while its block runs (``emulated()``). ``counts``: "waits" of the processor for the device, "to device" and
    "to processor" transfers, "pickled" tensors of the device, "captures" of CUDA graphs."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.ambient = False
        # the stream in use, at first the default one; a graph that is being captured
        self.default = self.stream = _stream()
        self.captures: _Graph | None = None

    def wait(self, *_: Any, **__: Any) -> None:
        self.forbid_in_captures()
        self.counts["waits"] += 1

    def forbid_in_captures(self) -> None:
        if self.captures is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    @contextlib.contextmanager
    def on_stream(self, stream: Any) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextlib.contextmanager
    def capture(
        self, graph: _Graph, stream: Any = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        """``torch.cuda.graph``: what the block does is recorded, and undone at its end, since CUDA does not do it."""
        if stream is not self.stream or stream is self.default:
            raise RuntimeError("what ran on the default stream cannot be captured")
        self.wait()
        self.captures, random = graph, torch.default_generator.get_state()
        try:
            yield
        finally:
            self.captures = None
            torch.default_generator.set_state(random)
            with torch._C.DisableTorchFunction():
                for storage, content in graph.found:
                    storage.copy_(content)
        self.counts["captures"] += 1

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """What a block adds to the counts."""
        before, found = self.counts.copy(), Counter()
        yield found
        found.update({what: n - before[what] for what, n in self.counts.items() if n != before[what]})

    def moved(self, tensor: Tensor, to_device: bool, how: Callable[[], Tensor]) -> Tensor:
        """A copy on the other side, in front of which a copy to the processor waits."""
        self.forbid_in_captures()
        self.counts["to device" if to_device else "to processor"] += 1
        if not to_device:
            self.wait()
        if tensor.requires_grad and not _functorch.is_functorch_wrapped_tensor(tensor):
            return _Carried.apply(tensor, to_device, how)
        return _set(how(), to_device)


class _Graph:
    """``torch.cuda.CUDAGraph``: operations with the tensors that they read and write, which a replay does again. ``found``:
    the storages that were there before, and what they held."""

    def __init__(self):
        self.tape: list[tuple[Any, tuple, dict, Any]] = []
        self.found: list[tuple[Any, Any]] = []
        self._known: set[int] = set()

    def before(self, given: list[Tensor]) -> None:
        """Note what an operation is about to see, or to write to."""
        for storage in filter(None, map(_storage, given)):
            if storage.data_ptr() not in self._known:
                self._known.add(storage.data_ptr())
                self.found.append((storage, storage.clone()))

    def after(self, func: Any, args: tuple, kwargs: dict, made: Any) -> None:
        self._known |= {storage.data_ptr() for storage in filter(None, map(_storage, tensors_in(made)))}
        self.tape.append((func, args, kwargs, made))

    def replay(self) -> None:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for func, args, kwargs, made in self.tape:
                for old, new in zip(tensors_in(made), tensors_in(func(*args, **kwargs)), strict=True):
                    if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                        old.copy_(new)


class _Operations(TorchDispatchMode):
    """Sees every operation, and lets those alone through that CUDA would."""

    def __init__(self, device: Device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            name, given = func._schema.name, list(tensors_in((args, kwargs)))
            marks = [getattr(_storage(tensor), "emulated", False) for tensor in given]
            on = any(marks) if given else self.device.ambient
            if name == "aten::copy_":
                self._copies(marks)
                on = marks[0]
            elif on:
                self._check(func, name, args, given, marks)
                if kwargs.get("generator") is not None:
                    raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
                if name in WAIT or (name in INDEX and any(t.dtype == torch.bool for t in given[1:])):
                    self.device.wait()
            if self.device.captures is None:
                return _mark(func(*args, **kwargs), on)
            self.device.captures.before(given)
            made = _mark(func(*args, **kwargs), on)
            self.device.captures.after(func, args, kwargs, made)
            return made

    def _copies(self, marks: list[bool]) -> None:
        to, source = marks[0], marks[-1]
        if to != source:
            self.device.forbid_in_captures()
            self.device.counts["to device" if to else "to processor"] += 1
            if not to:
                self.device.wait()

    def _check(self, func: Any, name: str, args: Any, given: list[Tensor], marks: list[bool]) -> None:
        if not given or all(marks):
            return
        strangers = [t for t, mark in zip(given, marks, strict=True) if not mark and t.device.type == "cpu"]
        if name in INDEX:
            if marks[0]:
                self.device.counts["to device"] += len([t for t in strangers if t.ndim])
                return
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        first = func._schema.arguments[0] if func._schema.arguments else None
        written = first is not None and first.alias_info is not None and first.alias_info.is_write
        if name in JOIN or (written and not all(map(on_device, tensors_in(args[0])))):
            raise RuntimeError(f"{MIXED} (in {name})")
        if any(t.ndim for t in strangers):
            raise RuntimeError(f"{MIXED} (in {name})")


class _Calls(TorchFunctionMode):
    """Sees what Python calls, and answers for the device."""

    def __init__(self, device: Device):
        super().__init__()
        self.device = device
        self.own: dict[Any, Callable] = {
            Tensor.device.__get__: lambda t: CUDA if on_device(t) else t.device,
            Tensor.is_cuda.__get__: lambda t: on_device(t) or t.is_cuda,
            Tensor.is_cpu.__get__: lambda t: t.is_cpu and not on_device(t),
            Tensor.get_device: lambda t: 0 if on_device(t) else t.get_device(),
            Tensor.to: self._to,
            Tensor.cpu: lambda t, **how: self._to(t, "cpu", **how),
            Tensor.cuda: lambda t, device=CUDA, **how: self._to(t, CUDA, **how),
            Tensor.numpy: self._numpy(Tensor.numpy),
            Tensor.__array__: self._numpy(Tensor.__array__),
            Tensor.tolist: self._tolist,
            Tensor.pin_memory: lambda t, *_: t,
            torch.as_tensor: self._as_tensor(torch.as_tensor),
            torch.asarray: self._as_tensor(torch.asarray),
        }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in self.own:
            return self.own[func](*args, **kwargs)
        asked = kwargs.get("device")
        if _is_cuda(asked):
            kwargs["device"] = "cpu"
        elsewhere = asked is not None and not _is_cuda(asked)
        on = _is_cuda(asked) or (not elsewhere and any(map(on_device, tensors_in((args, kwargs)))))
        before, self.device.ambient = self.device.ambient, on
        try:
            made = func(*args, **kwargs)
        finally:
            self.device.ambient = before
        if asked is not None:
            for tensor in tensors_in(made):
                if (storage := _storage(tensor)) is not None:
                    storage.emulated = on
        return _mark(made, on) if on else made

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        now, wanted, rest = on_device(tensor), None, []
        for value in (*args, *(kwargs.pop(k) for k in ("device", "other") if k in kwargs)):
            if isinstance(value, (str, torch.device)):
                wanted = _is_cuda(value)
                if not wanted and torch.device(value).type != "cpu":
                    rest.append(value)
            elif isinstance(value, Tensor):
                wanted = on_device(value)
                rest.append(value.dtype)
            elif value is not None:
                rest.append(value)
        # after ``device`` and ``dtype`` come non_blocking and copy, which nobody gives by place but modules
        flags = [value for value in rest if isinstance(value, bool)]
        rest = [value for value in rest if not isinstance(value, bool)]
        if len(flags) > 1:
            kwargs["copy"] = flags[1]
        if wanted is None or wanted == now:
            return tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        kwargs["copy"] = True
        return self.device.moved(tensor, wanted, lambda: tensor.to(*(rest or [tensor.dtype]), **kwargs))

    def _numpy(self, ask: Callable) -> Callable:
        def answer(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if on_device(tensor):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
                )
            return ask(tensor, *args, **kwargs)

        return answer

    def _tolist(self, tensor: Tensor) -> Any:
        if on_device(tensor):
            self.device.wait()
        return tensor.tolist()

    def _as_tensor(self, make: Callable) -> Callable:
        def answer(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
            on = isinstance(data, Tensor) and on_device(data)
            made = make(data, *args, **kwargs)
            _mark(made, on)
            return made if device is None else self._to(made, device)

        return answer


def _patches(device: Device) -> Iterable[Any]:
    answers: dict[str, Callable] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda index: None,
        "get_device_name": lambda *_: "emulated",
        "is_bf16_supported": lambda including_emulation=True: including_emulation,
        "synchronize": device.wait,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda *_: None,
        "max_memory_allocated": lambda *_: 1 << 20,
        "memory_allocated": lambda *_: 0,
        "set_sync_debug_mode": lambda mode: None,
        "Stream": _stream,
        "current_stream": lambda *_: device.stream,
        "stream": device.on_stream,
        "CUDAGraph": _Graph,
        "graph": device.capture,
    }
    packed = Tensor._reduce_ex_internal

    def pickled(tensor: Tensor, protocol: Any) -> Any:
        device.counts["pickled"] += on_device(tensor)
        return packed(tensor, protocol)

    grouped = torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def by_device(lists: Any, with_indices: bool = False) -> Any:
        """Fused optimizers fetch what scales gradients to the device of each group."""
        groups = grouped(lists, with_indices)
        return {
            (CUDA if any(map(on_device, tensors_in(found[0]))) else at, kind): found
            for (at, kind), found in groups.items()
        }

    patches = [patch.object(torch.cuda, name, answer) for name, answer in answers.items()]
    patches.append(
        patch.object(torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(by_device))
    )
    patches.append(patch.object(torch.cuda, "default_generators", (torch.Generator(),)))
    # it asks the driver
    check = "_accelerator_graph_capture_health_check"
    patches.append(patch.object(torch.optim.Optimizer, check, lambda optimizer: None, create=True))
    return [*patches, patch.object(Tensor, "_reduce_ex_internal", pickled)]


@contextlib.contextmanager
def emulated() -> Iterator[Device]:
    """Run a block on a machine that has one GPU, as far as this thread can tell."""
    device = Device()
    with contextlib.ExitStack() as stack:
        for each in _patches(device):
            stack.enter_context(each)
        stack.enter_context(_Operations(device))
        stack.enter_context(_Calls(device))
        yield device
