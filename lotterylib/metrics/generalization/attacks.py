"""Does the network get images right that were changed on purpose, by the smallest steps that raise its loss the most?

Both attacks are bounded in the maximum norm, act on pixels in [0, 1] (normalisation is the model's first layer) and see
the network as it is used: in eval mode.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...datasets import Dataset
from ...errors import DataError, SettingError
from ...machine.devices import device_of
from ...rng import generator
from ...training.prediction import in_mode
from ..base import About, Metric, Question, Shape, Tolerance, register
from ..checks import CUT, NEARLY_ALL, answers_in_steps, at_once, check_labels, check_pixels
from ..resampling import DRAWS
from ..subject import Measurement, Subject
from .accuracy import right, share

# images whose activations are in memory at a time
_BATCH = 250
# attack strengths of a curve, in 1/255
_CURVE = (0, 1, 2, 4, 8, 16)
_UNSEEN = f"no gradient reaches the images, which would pass for robust: {CUT}"

# the largest change of a pixel
Epsilon = Annotated[float, Field(ge=0, le=1)]


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Attack by the fast gradient sign method: one step, from the image itself.

        x′ = clip(x + ε · sign ∇ₓ L(f(x), y), 0, 1)

    ``images``: float32 [N, C, H, W] in [0, 1]; ``labels``: the true ones, int [N]; ``epsilon``: largest change of a
    pixel, in [0, 1]. Returns images of the same form, on the same device; exactly the same ones at ε = 0. A pixel
    whose gradient is exactly 0 stays. The model, its gradients and the global random state are left as found.

    Raises ``DataError`` for no images, pixels outside [0, 1], labels that do not fit, or a gradient that is not finite,
    is cut off, or is 0 in nearly all images though the answers change with them; ``SettingError`` for an ``epsilon``
    outside [0, 1]. Goodfellow et al. (2015), section 4.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> images, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 1])
        >>> (fgsm(network, images, labels, epsilon=0.25) - images).abs().unique().tolist()
        [0.25]
    """
    check_attack(images, labels, epsilon)
    return shifted(images, input_gradient(model, images, labels).sign(), epsilon)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    seed: int | None = 0,
) -> Tensor:
    """Attack by projected gradient descent on the negative loss: ``steps`` small FGSM steps, each brought back into the ball.

        x₀ = clip(x + u, 0, 1), u uniform in [−ε, ε];   xₜ₊₁ = clip(Π(xₜ + α · sign ∇ₓ L(f(xₜ), y)), 0, 1)

    Π clips to [x − ε, x + ε]. ``step_size`` α defaults to 2.5 ε / steps, so that the border is in reach from every
    start; ``seed`` draws the start, None starts from the image itself. Arguments, result and errors else as ``fgsm``.
    Madry et al. (2018), section 2.1.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> images, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 1])
        >>> bool(((pgd(network, images, labels, epsilon=0.25) - images).abs() <= 0.25).all())
        True
    """
    check_attack(images, labels, epsilon)
    if steps < 1:
        raise SettingError(f"pgd needs at least 1 step, got {steps}")
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    if not (math.isfinite(step_size) and step_size >= 0):
        raise SettingError(f"step_size must be a number from 0 on, got {step_size}")
    given, device = images, device_of(model)
    images, labels = images.to(device), labels.to(device)
    moved = images
    if seed is not None:
        start = torch.rand(images.shape, generator=generator(seed, "pgd")).to(images)
        moved = shifted(images, 2 * start - 1, epsilon)
    # read once at the end, for reading makes a GPU wait
    finite = torch.ones((), dtype=torch.bool, device=device)
    for step in range(steps):
        gradient = _input_gradient(model, moved, labels, check=step == 0)
        finite &= gradient.isfinite().all()
        moved = moved + step_size * gradient.sign()
        moved = moved.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    _check_finite(finite)
    return moved.to(given)


@register
class FgsmAccuracy(Metric):
    """Accuracy under FGSM on the first ``images`` of the test set, class by class; the error is binomial.

    The variant ``2/255`` is the same at a strength where fewer networks have nothing left to lose. ``extra`` has the
    accuracy at 0, 1, 2, 4, 8 and 16/255, and the share of images whose gradient is 0 in every pixel, ``no_gradient``:
    these could not be attacked, whatever they look like.
    """

    about = About(
        "fgsm_accuracy", "Accuracy under FGSM", "generalization", "higher", "fraction of images", Tolerance(0.02),
        "one step of the gradient's sign (Goodfellow et al., 2015, section 4)", short="FGSM",
        words=("harder to fool", "easier to fool"), floor="chance",
    )  # fmt: skip

    images: PositiveInt = 1000
    epsilon: Epsilon = 8 / 255

    def asks(self, data: Shape) -> dict[Question, float]:
        # one gradient serves all strengths: those of the curve and epsilon
        return {Question("fgsm"): min(self.images, data.test) * (2 + len(_CURVE) + 1)}

    def measure(self, subject: Subject) -> Measurement:
        pictures, labels = subject.sample(self.images)
        check_attack(pictures, labels, self.epsilon)
        direction = input_gradient(subject.placed, pictures, labels).sign()

        def hits(epsilon: float) -> Tensor:
            return right(subject.logits(shifted(pictures, direction, epsilon)), labels.cpu())

        curve = {strength: hits(strength / 255) for strength in _CURVE}
        extra = {
            "epsilon_255ths": list(curve),
            "accuracy": [round(found.mean().item(), 6) for found in curve.values()],
            "no_gradient": (direction == 0).flatten(1).all(dim=1).double().mean().item(),
        }
        return share(hits(self.epsilon), variants={"2/255": share(curve[2])}, extra=extra)


@register
class PgdAccuracy(Metric):
    """Accuracy under PGD with a random start, the control of FGSM: where PGD finds far more, FGSM was fooled by a
    masked gradient. The error is binomial; the variant ``2/255`` as for FGSM."""

    about = About(
        "pgd_accuracy", "Accuracy under PGD", "generalization", "higher", "fraction of images", Tolerance(0.02),
        "projected steps from a random start (Madry et al., 2018, section 2.1)", short="PGD",
        words=FgsmAccuracy.about.words, version=2, floor="chance",
    )  # fmt: skip

    images: PositiveInt = 500
    epsilon: Epsilon = 8 / 255
    steps: PositiveInt = 10

    def asks(self, data: Shape) -> dict[Question, float]:
        # at two strengths
        return {Question("pgd"): min(self.images, data.test) * 2 * (2 * self.steps + 1)}

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, int]:
        return {"images": max(10, images // 2)}

    def measure(self, subject: Subject) -> Measurement:
        pictures, labels = subject.sample(self.images)

        def at(epsilon: float) -> Measurement:
            moved = pgd(subject.placed, pictures, labels, epsilon, self.steps, seed=DRAWS)
            return share(right(subject.logits(moved), labels.cpu()))

        return replace(at(self.epsilon), variants={"2/255": at(2 / 255)})


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each image's own cross-entropy with respect to its pixels: [N, C, H, W], in eval mode.

    The losses are summed, not averaged: an image's gradient does not depend on the others. Raises ``DataError``
    for labels that the network has no logit for, or a gradient that is not finite.
    """
    gradient = _input_gradient(model, images, labels, check=True)
    _check_finite(gradient.isfinite().all())
    return gradient.to(images)


def _input_gradient(model: nn.Module, images: Tensor, labels: Tensor, check: bool) -> Tensor:
    """Return the gradient on the model's device; ``check`` looks at the labels."""
    device, size = device_of(model), at_once(_BATCH, images)
    gradients = []
    with in_mode(model, training=False), torch.inference_mode(False), torch.enable_grad():
        for pixels, truth in zip(images.split(size), labels.split(size), strict=True):
            # made in inference mode, they would know no gradient
            pixels = pixels.clone() if pixels.is_inference() else pixels
            pixels = pixels.detach().to(device).requires_grad_()
            # a network may normalise in place
            logits = model(pixels.clone()).float()
            if check:
                check_labels(truth, logits.shape[1])
            truth = truth.clone() if truth.is_inference() else truth
            loss = cross_entropy(logits, truth.to(device), reduction="sum")
            # with respect to the pixels alone: no parameter's .grad is written
            [found] = torch.autograd.grad(loss, [pixels], allow_unused=True) if loss.requires_grad else [None]
            if found is None:
                raise DataError(_UNSEEN)
            gradients.append(found)
        gradient = torch.cat(gradients)
        # of a confident network, the gradient of the loss may be 0 though that of the answers is not
        flat = (gradient == 0).flatten(1).all(dim=1).to(images.device) if check else torch.zeros(1)
        if flat.double().mean() >= NEARLY_ALL and answers_in_steps(model, images[flat].to(device)):
            raise DataError(_UNSEEN)
    return gradient


def _check_finite(finite: Tensor) -> None:
    if not finite:
        raise DataError("the gradient of the loss is not finite: the network is broken, not robust")


def shifted(images: Tensor, direction: Tensor, epsilon: float) -> Tensor:
    """Return clip(x + ε · d, 0, 1)."""
    return (images + epsilon * direction).clamp(0, 1)


def check_attack(images: Tensor, labels: Tensor, epsilon: float) -> None:
    """Raise what ``fgsm`` promises for images, labels or an epsilon that it cannot use."""
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        shapes = f"{list(images.shape)} and {list(labels.shape)}"
        raise DataError(f"want images [N, C, H, W] and labels [N], got {shapes}")
    if len(images) == 0:
        raise DataError("no images to attack")
    check_pixels(images)
    if not 0 <= epsilon <= 1:
        raise SettingError(f"epsilon must lie in [0, 1], pixels' own range (8/255 = 0.0314), got {epsilon}")
