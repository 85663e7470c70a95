"""Facts about single metrics that the scorecard needs, until the metrics themselves answer for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import verdict
from ..datasets import Dataset

CORRUPTIBLE = 32  # pixels a side that the corruptions need
LARGE = 64  # pixels a side above which fewer images are looked at, in smaller pieces

_CALIBRATION = ("ece", "sce", "ace", "nll", "brier")
_CORRUPTED = ("corruption_error", "corrupted_accuracy")
_DISSECTION = ("explained_units", "unit_iou")
_CURVATURE = ("hessian_trace", "hessian_top", "input_trace", "input_top", "pac_bayes_sigma")
_WITH_CONCEPTS = ("digits", "fashion-mini", "fashion-mnist")
_DRAWN = {
    "hessian_trace": "random probes",
    "input_trace": "random probes",
    "pac_bayes_sigma": "random draws of noise",
}


def over(name: str) -> str | None:
    """Return what a metric's interval is over beside images, None for images alone."""
    return _DRAWN.get(name)


def by_fifths(name: str) -> bool:
    """Return whether a metric belongs to a whole set of images and is no mean over them."""
    return name in ("hessian_trace", "hessian_top", "pac_bayes_sigma")


def tolerance(name: str) -> verdict.Tolerance | None:
    """Return what counts as comparable, None for a metric that says nothing about it."""
    return verdict.TOLERANCES.get(name)


def settings(name: str, data: Dataset, images: int) -> dict[str, Any]:
    """Return a metric's settings for these data, of which it may corrupt, attack or explain so many ``images``."""
    if name in (*_CORRUPTED, *_CALIBRATION, "fgsm_accuracy"):
        return {"images": images}
    if name == "pgd_accuracy":
        return {"images": max(10, images // 2)}
    if name in ("fidelity", "fidelity_r2"):
        return {"images": min(50, images)}
    if name == "stability":
        return {"images": min(100, images)}
    if name in _DISSECTION:
        return {"images": min(2000, len(data.test[1]))}
    if name in _CURVATURE:
        return {"images": min(200 if data.size <= LARGE else 24, len(data.train[1]))}
    if name.startswith("ood"):
        return {"sets": _outliers(data)}
    return {}


def obstacle(name: str, data: Dataset, given: Mapping[str, Any]) -> str | None:
    """Return why a metric cannot be measured on these data with the settings ``given``, None if it can."""
    coloured = data.channels in (1, 3)
    if name.startswith("ood") and not coloured:
        return f"outliers come in 1 or 3 channels, the images have {data.channels}"
    if name in _CORRUPTED and data.size < CORRUPTIBLE:
        return f"corruptions need images of {CORRUPTIBLE} pixels a side, these have {data.size}"
    if name in _CORRUPTED and not coloured:
        return f"corruptions are defined for 1 or 3 channels, the images have {data.channels}"
    if name in _DISSECTION and data.name not in _WITH_CONCEPTS and not given.get("broden"):
        return (
            f"needs images whose concepts are known pixel by pixel: {', '.join(_WITH_CONCEPTS)}, or, in colour, a "
            "folder of Broden (setting broden)"
        )
    return None


def work(name: str, given: Mapping[str, Any], data: Dataset) -> dict[tuple, float]:
    """Return what a metric with the settings ``given`` asks of a network: question → forward passes of one image.

    Metrics that ask the same question share the work.
    """
    test: dict[tuple, float] = {("test",): len(data.test[1])}
    count = given.get("images", len(data.test[1]))
    if name in ("accuracy", "recall_loss"):
        return test
    if name.startswith("ood"):
        return {**test, ("outliers",): 1000 * len(given["sets"])}
    if name in (*_CORRUPTED, *_CALIBRATION):
        found = {**test, **_corrupted(count, data)}
        # Sorting into bins takes no passes, but as long as so many.
        return (
            found | {("bins", name): 0.15 * count * data.classes} if name in ("ece", "sce", "ace") else found
        )
    if name in _DISSECTION:
        return {("dissection", count): 8 * count}
    if name in ("fidelity", "fidelity_r2"):
        return {("lime", count): count * given.get("samples", 400)}
    passes = {
        "fgsm_accuracy": 10,
        "pgd_accuracy": 2 * (3 * given.get("steps", 10) + 1),
        "stability": 2 * given.get("samples", 100),
        "hessian_trace": 2 * 6 * 29,
        "hessian_top": 2 * 6 * 29,
        "input_trace": 6 * 19,
        "input_top": 6 * 19,
        "pac_bayes_sigma": 2 * 2 * 9 * given.get("draws", 12),
    }
    shared = name.rpartition("_")[0] if name.endswith(("_trace", "_top")) else name
    return {(shared,): passes[name] * count} if name in passes else {}


def _corrupted(count: int, data: Dataset) -> dict[tuple, float]:
    if data.size < CORRUPTIBLE:
        return {("sample", count): count}
    return {("corrupted", count): 75 * count}


def _outliers(data: Dataset) -> list[str]:
    family = data.name.partition("-")[0]
    sets = [name for name in ("digits", "gaussian", "uniform") if name != family]
    return ["fashion-mini", *sets] if data.name == "digits" and data.channels != 1 else sets
