"""What a network is judged by. A new metric is one function in its dimension's file and one line in ``_METRICS``.

Each metric is a pure function first (arrays in, number out); ``evaluate`` feeds it a trained network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UnknownNameError
from ..machine.numerics import full_precision
from . import calibration, detection, dissection, generalization, geometry, interpretability
from .subject import Measurement, Subject, paired

__all__ = [
    "Measurement", "Metric", "Subject", "calibration", "describe", "dissection", "evaluate",
    "generalization", "geometry", "interpretability", "names", "paired",
]  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """``dimension``: one of the four; ``direction``: which way is better; ``unit``: of the value; ``source``: where
    the definition comes from; ``label``: how figures call it."""

    label: str
    dimension: Literal["generalization", "calibration", "interpretability", "geometry"]
    direction: Literal["higher", "lower"]
    unit: str
    source: str
    measure: Callable[..., Measurement]

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return "↑" if self.direction == "higher" else "↓"


_METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "Test accuracy",
        "generalization",
        "higher",
        "fraction of images",
        "top-1 on the test set (Chen et al., 2022, section 4.1)",
        generalization.measure_accuracy,
    ),
    "recall_loss": Metric(
        "Largest loss of recall of a class",
        "generalization",
        "lower",
        "fraction of images",
        "recall of each class against the dense network's (Hooker et al., 2019)",
        generalization.measure_recall_loss,
    ),
    "ood_auroc": Metric(
        "Outlier detection, ROC-AUC",
        "generalization",
        "higher",
        "probability, chance .5",
        "maximum softmax probability, positive = in-distribution (Hendrycks & Gimpel, 2017, section 3)",
        detection.measure_auroc,
    ),
    "ood_fpr95": Metric(
        "Outliers let in at 95 % TPR",
        "generalization",
        "lower",
        "fraction of outliers",
        "maximum softmax probability (Liang et al., 2018)",
        detection.measure_fpr95,
    ),
    "ood_aupr": Metric(
        "Outlier detection, average precision",
        "generalization",
        "higher",
        "area, chance .5",
        "maximum softmax probability, positive = in-distribution (Hendrycks & Gimpel, 2017, section 3)",
        detection.measure_aupr,
    ),
    "corruption_error": Metric(
        "Corruption error",
        "generalization",
        "lower",
        "% of the dense network's error",
        "15 corruptions, ratio of sums over severities (Hendrycks & Dietterich, 2019, section 4)",
        generalization.measure_corruption_error,
    ),
    "corrupted_accuracy": Metric(
        "Accuracy on corrupted images",
        "generalization",
        "higher",
        "fraction of images",
        "plain mean over 15 corruptions and 5 severities (Hendrycks & Dietterich, 2019)",
        generalization.measure_corrupted_accuracy,
    ),
    "fgsm_accuracy": Metric(
        "Accuracy under FGSM",
        "generalization",
        "higher",
        "fraction of images",
        "one step of the gradient's sign (Goodfellow et al., 2015, section 4)",
        generalization.measure_fgsm,
    ),
    "pgd_accuracy": Metric(
        "Accuracy under PGD",
        "generalization",
        "higher",
        "fraction of images",
        "projected steps from a random start (Madry et al., 2018, section 2.1)",
        generalization.measure_pgd,
    ),
    "ece": Metric(
        "ECE",
        "calibration",
        "lower",
        "probability",
        "top label, equal-width bins (Guo et al., 2017, equation 3)",
        calibration.measure_ece,
    ),
    "sce": Metric(
        "SCE",
        "calibration",
        "lower",
        "probability",
        "every class, equal-width bins (Nixon et al., 2019)",
        calibration.measure_sce,
    ),
    "ace": Metric(
        "ACE",
        "calibration",
        "lower",
        "probability",
        "every class, bins of equal mass (Nixon et al., 2019)",
        calibration.measure_ace,
    ),
    "nll": Metric(
        "NLL (nats)",
        "calibration",
        "lower",
        "nats",
        "mean cross-entropy on the test set (Guo et al., 2017, section 2)",
        calibration.measure_nll,
    ),
    "brier": Metric(
        "Brier score",
        "calibration",
        "lower",
        "squared probability, 0 to 2",
        "sum over classes of squared errors (Brier, 1950)",
        calibration.measure_brier,
    ),
    "fidelity": Metric(
        "Fidelity (LIME residual)",
        "interpretability",
        "lower",
        "squared probability",
        "linear model of superpixels (Ribeiro et al., 2016; Chen et al., 2022)",
        interpretability.measure_fidelity,
    ),
    "fidelity_r2": Metric(
        "Fidelity as R² (LIME)",
        "interpretability",
        "higher",
        "share of variance, at most 1",
        "weighted R² of the linear model, lime's score (Ribeiro et al., 2016)",
        interpretability.measure_fidelity_r2,
    ),
    "stability": Metric(
        "Stability (change of LIME)",
        "interpretability",
        "lower",
        "squared probability",
        "change of the coefficients under noise (Alvarez-Melis & Jaakkola, 2018; Plumb et al., 2020)",
        interpretability.measure_stability,
    ),
    "explained_units": Metric(
        "Units with an explanation",
        "interpretability",
        "higher",
        "fraction of the dense network's units",
        "IoU with formulas of concepts (Bau et al., 2017; Mu & Andreas, 2020, section 2)",
        dissection.measure_explained_units,
    ),
    "unit_iou": Metric(
        "Mean IoU of units",
        "interpretability",
        "higher",
        "IoU, 0 to 1",
        "IoU with formulas of concepts (Mu & Andreas, 2020, section 2)",
        dissection.measure_unit_iou,
    ),
    "hessian_trace": Metric(
        "Hessian trace, weights (nats)",
        "geometry",
        "lower",
        "nats",
        "curvature of the training loss in the surviving weights (Yao et al., 2020; Chen et al., 2022)",
        geometry.measure_hessian_trace,
    ),
    "hessian_top": Metric(
        "Top Hessian eigenvalue, weights (nats)",
        "geometry",
        "lower",
        "nats",
        "largest curvature along a direction of the surviving weights, by Lanczos (Yao et al., 2020)",
        geometry.measure_hessian_top,
    ),
    "input_trace": Metric(
        "Hessian trace, inputs (nats)",
        "geometry",
        "lower",
        "nats a squared unit of pixel",
        "curvature of an image's loss in its pixels, mean over images (Moosavi-Dezfooli et al., 2019)",
        geometry.measure_input_trace,
    ),
    "input_top": Metric(
        "Top Hessian eigenvalue, inputs (nats)",
        "geometry",
        "lower",
        "nats a squared unit of pixel",
        "largest curvature along a direction of the pixels, mean over images (Moosavi-Dezfooli et al., 2019)",
        geometry.measure_input_top,
    ),
    "pac_bayes_sigma": Metric(
        "PAC-Bayes σ",
        "geometry",
        "higher",
        "noise as a share of each weight",
        "noise that raises the training loss by a tenth (Jiang et al., 2020; Chen et al., 2022)",
        geometry.measure_pac_bayes_sigma,
    ),
}


def names() -> list[str]:
    """Names that ``describe`` and ``evaluate`` know."""
    return list(_METRICS)


def describe(name: str) -> Metric:
    """Dimension, direction, unit and source of a metric. A variant goes by ``metric:variant`` (``ece:corrupted``) and
    differs in its label alone. Raises ``UnknownNameError`` for a name not in ``names()``."""
    base, _, variant = name.partition(":")
    if base not in _METRICS:
        raise UnknownNameError("metric", base, _METRICS)
    about = _METRICS[base]
    return replace(about, label=f"{about.label}, {variant}") if variant else about


def evaluate(subject: Subject, name: str, settings: Mapping[str, Any] | None = None) -> Measurement:
    """Measures one metric on a network. Work that metrics share (a forward pass over the test set) is done once a
    ``subject``. Raises ``UnknownNameError`` for the metric, ``TypeError`` for a setting that it does not have."""
    with full_precision():
        return describe(name).measure(subject, **(settings or {}))
