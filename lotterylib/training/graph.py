"""A step on a GPU as one CUDA graph: launched at once, where small networks wait for the launches of hundreds of kernels.

What the step computes stays the same; only what Python decides is decided once. So the learning rate, the mask and the
scale of float16 are tensors, and steps that move a mask run outside the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import SettingError, one_line

# steps before the capture: they make the optimizer's memory and let cuDNN choose its algorithms
WARM_UP = 3

Step = Callable[[Tensor, Tensor], Tensor]


class CapturedStep:
    """Takes ``step(images, labels) -> loss`` a few times as it is, then replays it; batches have one shape.

    Raises:
        SettingError: For a network that cannot be captured, such as one that reads a number from the device.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, device: torch.device):
        self._step, self._optimizer, self._left = step, optimizer, WARM_UP
        self._graph: torch.cuda.CUDAGraph | None = None
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        if self._left:
            self._left -= 1
            return self._step(images, labels)
        if self._graph is None:
            self._graph = self._capture(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        # the next replay writes over it
        return self._loss.clone()

    def _capture(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Record the step, without taking it."""
        self._images, self._labels = images.clone(), labels.clone()
        # gradients are made within the graph's own memory
        self._optimizer.zero_grad()
        for group in self._optimizer.param_groups:
            # Adam asks
            group["capturable"] = True
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream(images.device)
        try:
            # threads that pin memory for the next batches go on meanwhile
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._loss = self._step(self._images, self._labels)
        except RuntimeError as error:
            raise SettingError(
                f"this network's step cannot be captured in a CUDA graph ({one_line(error)}): train it without"
            ) from error
        return graph


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run the block on a stream of its own: what runs on the default one cannot be captured later."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)
