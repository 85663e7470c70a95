"""First dimension: does the network still get unseen images right, also those from elsewhere, corrupted or attacked?

And who pays: the classes and images that a ticket gets wrong and its dense twin does not.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import DataError
from ..machine.devices import pick_device
from ..training import predict
from .attacks import check_attack, fgsm, input_gradient, pgd, shifted
from .detection import max_softmax, ood_aupr, ood_auroc, ood_fpr95
from .subject import Measurement, Subject, of_images

__all__ = [
    "accuracy", "accuracy_on_test", "corruption_error", "fgsm", "identified_exemplars", "max_softmax", "mistakes", "ood_aupr",
    "ood_auroc", "ood_fpr95", "pgd", "recall", "recall_change", "uniform_corruption_error",
]  # fmt: skip

Errors = Mapping[str, Sequence[float]]  # corruption → error rate at each severity

_CURVE = (0, 1, 2, 4, 8, 16)  # attack strengths in 1/255


# Test accuracy


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the label's: in [0, 1], higher is better.

        accuracy = 1/N · Σᵢ [argmaxₖ zᵢₖ = yᵢ]

    ``logits``: [N, classes]; ``labels``: int [N]. A tie for the largest counts as a miss unless the label's logit is
    the first of the tie. Raises ``DataError`` for no images, shapes that do not fit, or a NaN, which no argmax can rank.
    """
    return _right(logits, labels).mean().item()


def accuracy_on_test(model: torch.nn.Module, data: Dataset) -> float:
    """``accuracy`` of a model on the test images of ``data``: in [0, 1], higher is better."""
    images, labels = data.test
    return accuracy(predict(model, images), labels)


def recall(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Accuracy within each class, in the order of the logits: in [0, 1], higher is better; None for a class that no
    label has, since there is nothing to recall.

        recall_c = Σᵢ [yᵢ = c][argmaxₖ zᵢₖ = c] / Σᵢ [yᵢ = c]

    Arguments and errors as ``accuracy``.
    """
    right, classes = _right(logits, labels), range(logits.shape[1])
    return [right[labels == c].mean().item() if (labels == c).any() else None for c in classes]


def measure_accuracy(subject: Subject) -> Measurement:
    """Top-1 test accuracy; the error is binomial, √(p(1−p)/N). ``extra`` has the recall of each class and, for
    ``mistakes``, what was predicted for each image."""
    logits, labels = subject.test_logits, subject.test_labels
    named = dict(zip(subject.data.class_names, recall(logits, labels), strict=True))
    extra = {
        "recall": {name: share if share is None else round(share, 6) for name, share in named.items()},
        "mistakes": _encoded(logits.argmax(dim=1) - labels, logits.shape[1]),
    }
    return _share(_right(logits, labels), extra=extra)


def mistakes(extra: Mapping[str, Any]) -> Tensor:
    """What an accuracy record says of each test image: int64 [N], 0 where the network is right, else how many classes
    its answer is off, (predicted − true) mod classes.

    So ``mistakes(extra) == 0`` are the images it gets right, two networks give the same answer where their mistakes are
    equal, and ``(labels + mistakes(extra)) % classes`` are the predictions. Raises ``DataError`` for a record without
    them.
    """
    if "mistakes" not in extra:
        raise DataError("the record has no per-image predictions: measure accuracy again with this version")
    steps = np.frombuffer(zlib.decompress(base64.b64decode(extra["mistakes"])), "<u2")
    return torch.from_numpy(steps.astype(np.int64))


def _encoded(off: Tensor, classes: int) -> str:
    """Most images are right, so most of these numbers are 0, and ten thousand of them pack into 2 KB of text."""
    steps = off.remainder(classes).numpy().astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


# Corruptions


def corruption_error(errors: Errors, baseline: Errors) -> float:
    """Mean corruption error relative to a baseline network: in per cent, lower is better, 100 = as bad as the baseline.

        CE_c = Σₛ Eₛ,c / Σₛ Eₛ,c(baseline),   mCE = 100 · mean_c CE_c

    A ratio of sums over severities, then a mean over corruptions. ``errors`` and ``baseline``: corruption → error rate
    in [0, 1] at each severity. Name the baseline wherever you show the number.

    Raises ``DataError`` for other corruptions or severities than the baseline's, no corruption at all, a rate outside
    [0, 1], or a baseline without any error on some corruption. Hendrycks & Dietterich (2019), section 4.
    """
    _check_errors(errors, baseline)
    ratios = [math.fsum(rates) / math.fsum(baseline[name]) for name, rates in errors.items()]
    return 100 * math.fsum(ratios) / len(ratios)


def uniform_corruption_error(errors: Errors) -> float:
    """Plain mean of the error rates over all corruptions and severities: in [0, 1], lower is better, relative to
    nothing. Arguments and errors as ``corruption_error``."""
    _check_errors(errors)
    return math.fsum(math.fsum(rates) / len(rates) for rates in errors.values()) / len(errors)


def measure_corruption_error(subject: Subject, images: int = 1000, held_out: bool = False) -> Measurement:
    """Corruption error over the 15 common corruptions, relative to the dense network of the same seed (dense = 100).

    The error is over images and paired: both networks see the same ones, so it is that of a ratio (delta method).
    ``held_out`` adds the 4 other corruptions as a variant.
    """
    measured, errors = _measure_relative(subject, images, held_out=False)
    variants = {"held-out": _measure_relative(subject, images, held_out=True)[0]} if held_out else {}
    extra = {"errors": errors, "baseline": "the dense network of the same seed", **subject.corruptions_from}
    return Measurement(measured.value, measured.error, measured.samples, variants, extra)


def measure_corrupted_accuracy(subject: Subject, images: int = 1000, held_out: bool = False) -> Measurement:
    """Share of right answers over all 15 corruptions and 5 severities, 1 − the uniform corruption error.

    An image counts once: the error is over images, each with the mean of its cells. ``held_out`` as above.
    """
    measured = _measure_corrupted(subject, images, held_out=False)
    variants = {"held-out": _measure_corrupted(subject, images, held_out=True)} if held_out else {}
    return replace(measured, variants=variants, extra=subject.corruptions_from)


def _measure_relative(
    subject: Subject, images: int, held_out: bool
) -> tuple[Measurement, dict[str, list[float]]]:
    wrong, base = (_wrong(s, images, held_out) for s in (subject, subject.baseline))
    errors, reference = ({n: w.mean(dim=1).tolist() for n, w in each.items()} for each in (wrong, base))
    value = corruption_error(errors, reference)
    pull = torch.zeros(len(next(iter(wrong.values()))[0]), dtype=torch.float64)
    for name in wrong:  # how far each image pulls the ratio r = Σw / Σb: (w − r b) / mean b
        w, b = wrong[name].sum(dim=0), base[name].sum(dim=0)
        pull += 100 * (w - w.mean() / b.mean() * b) / b.mean() / len(wrong)
    rounded = {name: [round(rate, 6) for rate in rates] for name, rates in errors.items()}
    return Measurement(value, _standard_error(pull), len(pull)), rounded


def _measure_corrupted(subject: Subject, images: int, held_out: bool) -> Measurement:
    wrong = _wrong(subject, images, held_out)
    error = uniform_corruption_error({name: cells.mean(dim=1).tolist() for name, cells in wrong.items()})
    each = torch.cat(list(wrong.values())).mean(dim=0)
    return Measurement(1 - error, _standard_error(each), len(each), draws=of_images(1 - each))


def _wrong(subject: Subject, images: int, held_out: bool) -> dict[str, Tensor]:
    """Corruption → float64 [5 severities, N]: 1 where the network is wrong."""
    labels = subject.sample(images)[1].cpu()
    cells = subject.corrupted_logits(images, held_out)
    return {n: torch.stack([1 - _right(z, labels) for z in logits]) for n, logits in cells.items()}


# Attacks


def measure_fgsm(subject: Subject, images: int = 1000, epsilon: float = 8 / 255) -> Measurement:
    """Accuracy under FGSM on the first ``images`` of the test set, class by class; the error is binomial.

    The variant ``2/255`` is the same at a strength where fewer networks have nothing left to lose. ``extra`` has the
    accuracy at 0, 1, 2, 4, 8 and 16/255, and the share of images whose gradient is 0 in every pixel, ``no_gradient``:
    these could not be attacked, whatever they look like.
    """
    pictures, labels = subject.sample(images)
    check_attack(pictures, labels, epsilon)
    direction = input_gradient(_at_home(subject), pictures, labels).sign()  # it serves every strength

    def at(strength: float) -> Tensor:
        return _right(subject.logits(shifted(pictures, direction, strength)), labels.cpu())

    curve = {strength: at(strength / 255) for strength in _CURVE}
    variants = {"2/255": _share(curve[2])}
    extra = {
        "epsilon_255ths": list(curve),
        "accuracy": [round(right.mean().item(), 6) for right in curve.values()],
        "no_gradient": (direction == 0).flatten(1).all(dim=1).double().mean().item(),
    }
    return _share(at(epsilon), variants=variants, extra=extra)


def measure_pgd(
    subject: Subject, images: int = 500, epsilon: float = 8 / 255, steps: int = 10
) -> Measurement:
    """Accuracy under PGD with a random start, the control of FGSM: where PGD finds far more, FGSM was fooled by a
    masked gradient. The error is binomial; the variant ``2/255`` as above."""
    pictures, labels = subject.sample(images)

    def at(strength: float) -> Measurement:
        moved = pgd(_at_home(subject), pictures, labels, strength, steps, seed=subject.seed)
        return _share(_right(subject.logits(moved), labels.cpu()))

    return replace(at(epsilon), variants={"2/255": at(2 / 255)})


def _at_home(subject: Subject) -> torch.nn.Module:
    return subject.model.to(pick_device(subject.device))


# Who pays


def recall_change(recalls: Sequence[float | None], dense: Sequence[float | None]) -> list[float | None]:
    """Recall of each class minus the dense network's: in [−1, 1], higher is better; None where either is.

    Raises ``DataError`` for unequal numbers of classes.
    """
    if len(recalls) != len(dense) or not recalls:
        raise DataError(f"want the recall of the same classes, got {len(recalls)} and {len(dense)}")
    pairs = zip(recalls, dense, strict=True)
    return [None if r is None or d is None else r - d for r, d in pairs]


def identified_exemplars(dense_predictions: Tensor, sparse_predictions: Tensor) -> Tensor:
    """Pruning-identified exemplars: places of the images for which the answer that most sparse networks give is not the
    one that most dense networks give. int64 [M], rising.

        i is one  ⇔  mode_k ŷ⁽ˢᵖᵃʳˢᵉ⁾ₖᵢ ≠ mode_r ŷ⁽ᵈᵉⁿˢᵉ⁾ᵣᵢ

    ``dense_predictions`` [R, N] and ``sparse_predictions`` [K, N]: int, a row a network. No label is asked: the dense
    majority may be wrong. Where classes tie for the most votes, the image counts only if no tied class is common to
    both sides, so neither the order of networks nor of classes matters.

    Raises ``DataError`` for no networks, no images, or unequal numbers of images. Hooker et al. (2019).
    """
    shapes = [list(p.shape) for p in (dense_predictions, sparse_predictions)]
    if any(len(s) != 2 or 0 in s for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise DataError(
            f"want predictions [networks, N] of the same N images, got {shapes[0]} and {shapes[1]}"
        )
    if min(dense_predictions.min(), sparse_predictions.min()) < 0:
        raise DataError("predictions must be classes, 0 or more")
    classes = int(max(dense_predictions.max(), sparse_predictions.max())) + 1
    agreed = _modes(dense_predictions, classes) & _modes(sparse_predictions, classes)
    return (~agreed.any(dim=0)).nonzero().squeeze(1)


def measure_recall_loss(subject: Subject) -> Measurement:
    """Recall that the worst-hit class has lost relative to the dense network of the same seed; dense itself has lost 0.

    ``extra`` has the change of each class and its standard error. Errors are paired: both networks see the same images.
    That of the value is the worst class's own; being the worst of many, it is biased upwards: for ten equal classes
    that have lost nothing, by 1.5 errors.
    """
    labels, names = subject.test_labels, subject.data.class_names
    logits, dense = subject.test_logits, subject.baseline.test_logits
    changes = dict(zip(names, recall_change(recall(logits, labels), recall(dense, labels)), strict=True))
    gain = _right(logits, labels) - _right(dense, labels)
    errors = {n: _standard_error(gain[labels == c]) for c, n in enumerate(names) if changes[n] is not None}
    worst = min(errors, key=changes.__getitem__)
    extra = {
        "worst": worst,
        "change": {n: None if c is None else round(c, 6) for n, c in changes.items()},
        "errors": {n: round(e, 6) for n, e in errors.items()},
    }
    return Measurement(
        0.0 - changes[worst], errors[worst], int((labels == names.index(worst)).sum()), {}, extra
    )


def _modes(predictions: Tensor, classes: int) -> Tensor:
    """bool [classes, N]: the classes with the most votes for each image."""
    votes = torch.zeros(classes, predictions.shape[1], dtype=torch.int16)
    votes.scatter_add_(0, predictions.long(), torch.ones_like(predictions, dtype=torch.int16))
    return votes == votes.amax(dim=0)


# What several of them share


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """float64 [N]: 1 where the largest logit is the label's. Raises what ``accuracy`` promises."""
    _check(logits, labels)
    return (logits.argmax(dim=1) == labels).double()


def _share(right: Tensor, **more: Any) -> Measurement:
    """The share of images that a network gets right, from 1 or 0 an image."""
    value, count = right.mean().item(), len(right)
    return Measurement(value, math.sqrt(value * (1 - value) / count), count, draws=of_images(right), **more)


def _standard_error(values: Tensor) -> float:
    """Of the mean of independent values, σ/√N with the plug-in σ."""
    return (values.std(correction=0) / math.sqrt(len(values))).item()


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"want logits [N, classes] and labels [N], got {list(logits.shape)} and {list(labels.shape)}"
        )
    if len(labels) == 0:
        raise DataError("no images to score")
    if logits.isnan().any():
        raise DataError("logits contain NaN: the network is broken, not inaccurate")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(f"labels must lie in 0..{logits.shape[1] - 1}, got {labels.min()} to {labels.max()}")


def _check_errors(errors: Errors, baseline: Errors | None = None) -> None:
    if not errors:
        raise DataError("no corruptions to score")
    if baseline is not None and set(errors) != set(baseline):
        ours, theirs = (
            ", ".join(sorted(s)) or "none" for s in (set(errors) - set(baseline), set(baseline) - set(errors))
        )
        raise DataError(
            f"want the same corruptions as the baseline; only here: {ours}; only in the baseline: {theirs}"
        )
    for name, rates in [*errors.items(), *(baseline or {}).items()]:
        if len(rates) != len(next(iter(errors.values()))) or not len(rates):
            counts = {len(r) for r in [*errors.values(), *(baseline or {}).values()]}
            raise DataError(f"want as many severities for every corruption, got {sorted(counts)} ({name})")
        if not all(0 <= rate <= 1 for rate in rates):
            raise DataError(f"error rates of {name} must lie in [0, 1], got {list(rates)}")
    for name, rates in (baseline or {}).items():
        if not any(rates):
            raise DataError(f"the baseline makes no error on {name}: nothing is relative to zero")
