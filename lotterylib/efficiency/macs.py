"""The cost of finding a ticket: multiply-adds of training, one dense training = 1.

With f the multiply-adds of one image's forward pass through all Conv2d and Linear layers, each layer's counted by its
density d (hardware that skips zeros reaches it at best: a theoretical number),

    f = Σ_l d_l · f_l
    backward = 2 · forward: one pass for the inputs, one for the weights

    cost = [3·f·N + (f_dense − f)·U + f_dense·P] / (3·f_dense·N_dense) + cost of the tickets that it started from

N: images seen in training; U: those of them seen at mask updates, where the gradient of every weight is wanted, also of
the removed ones (so 2·f + f_dense instead of 3·f; Evci et al., 2020, arXiv:1911.11134); P: dense forward passes that
scoring took; N_dense: images that one dense training sees. Normalisation, activations and biases are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..masks import Mask
from ..training.prediction import in_mode


@torch.no_grad()
def multiply_adds(model: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """Return the multiply-adds of one image's forward pass, weight name → count, zeros counted like any other weight.

    ``input_shape``: [C, H, W]. A layer that is called twice counts twice; one that is never called is not listed. The
    model is left as found.

    >>> multiply_adds(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 10)), (3, 4, 4))
    {'0.weight': 864, '2.weight': 320}
    """
    counts: dict[str, int] = {}
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    # one name for a weight that two layers share, as in ``masks.prunable``
    first: dict[int, str] = {}
    for name, module in layers.items():
        first.setdefault(id(module.weight), f"{name}.weight" if name else "weight")

    def count(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = first[id(module.weight)]
        # every number of the output is a sum over one filter
        counts[name] = counts.get(name, 0) + output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in layers.values()]
    weight = next(model.parameters())
    try:
        # eval mode: nothing is drawn at random and no running mean moves
        with in_mode(model, training=False):
            model(torch.zeros(1, *input_shape, device=weight.device, dtype=weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def forward(counts: dict[str, int], mask: Mask | None = None) -> float:
    """Return the multiply-adds f of one image's forward pass, each layer's counted by its density under ``mask``.

    >>> forward({"a": 100, "b": 10}, Mask({"a": torch.tensor([True, False])}))
    60.0
    """
    densities = mask.layer_densities() if mask else {}
    return sum(count * densities.get(name, 1.0) for name, count in counts.items())


def relative(
    f: float, f_dense: float, images: int, images_dense: int, update_images: int = 0, passes: float = 0.0
) -> float:
    """Return the cost of the formula above, without earlier tickets; ``images`` N, ``update_images`` U, ``passes`` P.

    >>> relative(f=20, f_dense=100, images=1000, images_dense=1000)
    0.2
    """
    cost = 3 * f * images + (f_dense - f) * update_images + f_dense * passes
    return cost / (3 * f_dense * images_dense)
