"""What makes the numbers of a scorecard untrustworthy: inputs that were prepared in another way than in training, outputs
that are no logits, a dense network that guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import verdict
from ..metrics import Subject
from ..metrics.generalization.accuracy import right
from ..training import predict

# mean KL divergence per channel above which the first BatchNorm sees something else than in training; with the right
# constants it is .04 to .07, with .5/.5 in place of ImageNet's about .5, with none about 1
STRANGE = 0.25
# constants that networks are trained with: name → mean, std
CONSTANTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((0.0,), (1.0,)),
    "0.5 / 0.5": ((0.5,), (0.5,)),
    "ImageNet's (0.485 0.456 0.406 / 0.229 0.224 0.225)": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's (0.4914 0.4822 0.4465 / 0.2470 0.2435 0.2616)": (
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
    ),
    "MNIST's (0.1307 / 0.3081)": ((0.1307,), (0.3081,)),
}


def are_probabilities(outputs: Tensor, some: bool = False) -> bool:
    """Return whether outputs [N, classes] are probabilities: none negative, rows that sum to 1, or less if only ``some`` of a
    network's outputs are there.

    Example:
        >>> are_probabilities(torch.tensor([[0.25, 0.75]])), are_probabilities(torch.tensor([[0.25, 7.0]]))
        (True, False)
    """
    beyond = outputs.double().sum(dim=1) - 1
    return bool((outputs >= 0).all() and (beyond if some else beyond.abs()).max() < 1e-3)


def guessing(logits: Tensor, labels: Tensor) -> bool:
    """Return whether a network may be no better than guessing: Wilson's interval of its accuracy reaches down to 1/classes.

    Example:
        >>> guessing(torch.eye(2).repeat(40, 1), torch.tensor([0, 1]).repeat(40))
        False
    """
    found = right(logits, labels)
    return verdict.proportion(int(found.sum()), len(found)).low <= 1 / logits.shape[1]


def constant(logits: Tensor) -> bool:
    """Return whether a network answers every image alike.

    Example:
        >>> constant(torch.ones(3, 2)), constant(torch.eye(2))
        (True, False)
    """
    return len(logits) > 1 and torch.allclose(logits, logits[:1].expand_as(logits), rtol=1e-5, atol=1e-7)


def alike(logits: Tensor, others: Tensor) -> bool:
    """Return whether two networks give the same outputs, to rounding."""
    scale = others.abs().max().item()
    return torch.allclose(logits, others, rtol=1e-5, atol=1e-5 * scale)


def one_network(ticket: Subject, dense: Subject) -> bool:
    """Return whether two networks are one: the same layers with the same numbers, to the bit, and the same answers."""
    ours, theirs = ticket.model.state_dict(), dense.model.state_dict()
    return (
        repr(ticket.model) == repr(dense.model)
        and ours.keys() == theirs.keys()
        and all(torch.equal(tensor.cpu(), theirs[name].cpu()) for name, tensor in ours.items())
        and alike(ticket.test_logits, dense.test_logits)
    )


def against_expected(name: str, logits: Tensor, labels: Tensor, expected: float) -> str:
    """Return a complaint if an accuracy is not the one ``expected`` of it, in [0, 1], by its 95% interval; else nothing."""
    found = right(logits, labels)
    interval = verdict.proportion(int(found.sum()), len(found))
    # printed digits are rounded
    if interval.low - 5e-4 <= expected <= interval.high + 5e-4:
        return ""
    return (
        f"{name} is right on {interval.mean:.1%} of {interval.size:,} images (95% interval {interval.low:.1%} to "
        f"{interval.high:.1%}), where {expected:.2%} was expected: check mean, std, size and the order of classes"
    )


def renumbered(name: str, logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> str:
    """Return a complaint if a network would be right far more often were its outputs numbered otherwise, else nothing.

    Of all numberings the best one is taken (an assignment problem). It has to be right on more than half of the images, ten
    or more for each class, and on certainly more than the given one: 5 points, by the ends of both 95% intervals.

    Example:
        >>> labels = torch.arange(60) % 3
        >>> renumbered("it", torch.eye(3)[(labels + 1) % 3], labels, "abc")[:68]
        'it answers as if its classes were numbered otherwise (a stands for c'
    """
    from scipy.optimize import linear_sum_assignment

    classes = logits.shape[1]
    if len(labels) < 10 * classes:
        return ""
    pairs = torch.bincount(logits.argmax(dim=1) * classes + labels, minlength=classes**2).view(
        classes, classes
    )
    _, best = linear_sum_assignment(-pairs.numpy())
    given, other = (
        verdict.proportion(int(pairs[range(classes), to].sum()), len(labels)) for to in (range(classes), best)
    )
    if other.low < 0.5 or other.low < given.high + 0.05:
        return ""
    moved = [f"{class_names[i]} stands for {class_names[c]}" for i, c in enumerate(best) if i != c]
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return (
        f"{name} answers as if its classes were numbered otherwise ({', '.join(moved[:3])}{more}): so it would be right on "
        f"{other.mean:.1%} of {other.size:,} images, not on {given.mean:.1%}; say which output is which with classes"
    )


def strangeness(network: nn.Module, images: Tensor, device: torch.device) -> float | None:
    """Return how far what the first BatchNorm sees is from what it remembers of training, as a mean over channels of

        KL(seen ‖ remembered) = log σᵣ/σₛ + (σₛ² + (μₛ − μᵣ)²) / 2σᵣ² − ½

    in nats; None without a BatchNorm that has seen any training.
    """
    found: list[float] = []

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not found and isinstance(layer, nn.BatchNorm2d):
            found.append(_divergence(layer, given[0]))

    handles = [
        module.register_forward_pre_hook(look)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and _trained(module)
    ]
    try:
        predict(network, images, batch_size=len(images), device=device)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def preprocessing(
    network: nn.Module, stem: nn.Module, images: Tensor, shown: Tensor, device: torch.device
) -> str:
    """Return what to do about the ``strangeness`` of a network's inputs; nothing where it is small.

    Args:
        stem: The network that takes normalised pixels, for trying other constants on the images ``shown`` to it.
    """
    value = strangeness(network, images, device)
    if value is None or not value > STRANGE:
        return ""
    channels, tried = shown.shape[1], {}
    for name, (mean, std) in CONSTANTS.items():
        if len(mean) in (1, channels):
            shift, scale = (torch.tensor(each).view(1, -1, 1, 1) for each in (mean, std))
            other = strangeness(stem, (shown - shift) / scale, device)
            tried[name] = math.inf if other is None else other
    best = min(tried, key=tried.__getitem__)
    better = tried[best] < min(STRANGE, value / 2)
    advice = f"mean and std {best} would give {tried[best]:.2f}" if better else "check mean, std and size"
    return (
        f"the first BatchNorm of the dense network sees other numbers than in training (divergence {value:.2f}; rightly "
        f"prepared images give less than {STRANGE}): {advice}"
    )


def twice(network: nn.Module, bare: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> str:
    """Return what to do where pixels are normalised twice, nothing where they seem not to be.

    Args:
        bare: The network without the normalisation that it was given: it has one of its own, or is right on more images so.
    """
    value = strangeness(network, images, device)
    if value is not None and value <= STRANGE:
        return ""
    if (own := next((name for name, each in bare.named_modules() if _normalises(each)), None)) is not None:
        name = own.removeprefix("net.")
        return f"the dense network normalises its images by itself (in {name}): leave out mean and std"
    given, without = (right(predict(each, images, device=device), labels) for each in (network, bare))
    both, alone, other = (without * given).sum(), (without * (1 - given)).sum(), ((1 - without) * given).sum()
    counts = int(both), int(alone), int(other)
    if verdict.paired_proportions(*counts, len(labels) - sum(counts)).low <= 0:
        return ""
    return (
        f"the dense network is right on {given.mean():.1%} of {len(labels)} images as mean and std prepare them and on "
        f"{without.mean():.1%} without: does it normalise its images by itself? Then leave them out"
    )


def _normalises(layer: nn.Module) -> bool:
    """Return whether a layer does nothing but subtract a mean and divide by a std, as this library's and torchvision's do."""
    held = [getattr(layer, name, None) for name in ("mean", "std")]
    if list(layer.parameters()) or not all(isinstance(each, (Tensor, list, tuple)) for each in held):
        return False
    mean, std = (torch.as_tensor(each) for each in held)
    return bool((mean != 0).any() or (std != 1).any())


def _trained(layer: nn.BatchNorm2d) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    return mean is not None and variance is not None and bool((mean != 0).any() or (variance != 1).any())


def _divergence(layer: nn.BatchNorm2d, seen: Tensor) -> float:
    channels = seen.double().transpose(0, 1).flatten(1)
    assert layer.running_mean is not None and layer.running_var is not None
    remembered, variance = layer.running_mean.double(), layer.running_var.double()
    # dead channels remember nothing
    alive = variance > 1e-8 * variance.max()
    now, spread = channels.mean(dim=1), channels.var(dim=1).clamp_min(1e-12 * variance.max())
    terms = 0.5 * (variance / spread).log() + (spread + (now - remembered) ** 2) / (2 * variance) - 0.5
    return terms[alive].mean().item()


def doubts_of(
    name: str, logits: Tensor, labels: Tensor, expected: float | None, class_names: Sequence[str]
) -> list[str]:
    """Return why nothing can be judged by a dense network: it answers all alike, has its classes in another order, is not as
    accurate as ``expected``, or may be guessing."""
    if constant(logits):
        return [f"{name} gives the same answer for every image"]
    if order := renumbered(name, logits, labels, class_names):
        return [order]
    if expected is not None and (wrong := against_expected(name, logits, labels, expected)):
        return [wrong]
    if not guessing(logits, labels):
        return []
    share = right(logits, labels).mean().item()
    return [
        f"{name} is right on {share:.1%} of {len(labels):,} images, not measurably more than guessing: check mean "
        "and std, and that the classes are numbered as in training (folders: sorted by name)"
    ]


def named_constants(mean: Sequence[float] | None, std: Sequence[float] | None) -> str:
    """Return in words how pixels are normalised.

    Example:
        >>> named_constants(None, None), named_constants([0.5], [0.25])
        ('pixels in [0, 1]', 'pixels in [0, 1], less mean 0.5, over std 0.25')
    """
    if mean is None or std is None:
        return "pixels in [0, 1]"
    listed = (" ".join(f"{value:.4g}" for value in each) for each in (mean, std))
    return "pixels in [0, 1], less mean {}, over std {}".format(*listed)
