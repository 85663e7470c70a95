"""How many answers does pruning change, right or wrong?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import DataError
from ..base import About, Metric, Tolerance, register
from ..subject import Measurement, Subject
from .accuracy import decoded, encoded, right, share


def churn(predictions: Tensor, dense_predictions: Tensor) -> float:
    """Return the share of images that two networks answer differently: in [0, 1], lower is better.

        churn = 1/N · Σᵢ [ŷᵢ ≠ ŷᵢ⁽ᵈᵉⁿˢᵉ⁾]

    No label is asked: two networks of one accuracy may be right on other images. A retraining changes answers too; it is the
    yardstick. ``predictions`` and ``dense_predictions``: int [N]. Raises ``DataError`` for no images or unequal numbers of
    them. Milani Fard et al. (2016).

    Example:
        >>> import torch
        >>> churn(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))
        0.25
    """
    if predictions.ndim != 1 or predictions.shape != dense_predictions.shape or not len(predictions):
        shapes = f"{list(predictions.shape)} and {list(dense_predictions.shape)}"
        raise DataError(f"want predictions [N] of the same images, got {shapes}")
    return (predictions != dense_predictions).double().mean().item()


@register
class Churn(Metric):
    """Share of test answers that differ from those of the dense network of the same seed; dense itself has none.

    Hold it against the churn of a dense network trained anew (a control, or another ``--dense``), which is not 0 either.
    ``extra`` has the shares that were right and are wrong (``lost``), that were wrong and are right (``won``), and for
    ``changed_answers`` what changed on each image: where many tickets agree, these are pruning-identified exemplars (Hooker et
    al., 2019).
    """

    about = About(
        "churn", "Changed answers (churn)", "generalization", "lower", "fraction of images", Tolerance(0.1),
        "answers that differ from the dense network's (Milani Fard et al., 2016)", short="churn",
    )  # fmt: skip
    bulky = ("changed",)

    def measure(self, subject: Subject) -> Measurement:
        (ours, theirs), labels = (subject.test_logits, subject.baseline.test_logits), subject.test_labels
        hit, before = right(ours, labels), right(theirs, labels)
        off = ours.argmax(dim=1) - theirs.argmax(dim=1)
        extra = {
            "lost": round(((before - hit) > 0).double().mean().item(), 6),
            "won": round(((hit - before) > 0).double().mean().item(), 6),
            "changed": encoded(off, ours.shape[1]),
        }
        return share((off != 0).double(), extra=extra)


def changed_answers(extra: Mapping[str, Any]) -> Tensor:
    """Return what a churn record says of each test image: int64 [N], 0 where the answer is the dense network's, else how many
    classes it is off, (predicted − dense) mod classes. Raises ``DataError`` for a record without them.

    Example:
        >>> import torch
        >>> changed_answers({"changed": encoded(torch.tensor([0, -1]), classes=3)}).tolist()
        [0, 2]
    """
    if "changed" not in extra:
        raise DataError("the record has no answers of single images: measure churn again")
    return decoded(extra["changed"])
