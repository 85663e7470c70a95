"""The paper's own curves, read off its figures (Chen et al., 2022, CC BY 4.0): to be shown next to ours, never as ours."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FILE = Path(__file__).parent / "digitised.csv"

PRUNERS = {
    "LTH": "lottery", "OMP": "magnitude", "RP": "random", "SNIP": "snip", "GraSP": "grasp",
    "SynFlow": "synflow", "dense": "dense",
}  # fmt: skip
# Our name, and our unit for one of theirs.
_METRICS = {
    "accuracy_percent": ("accuracy", 0.01),
    "fgsm_accuracy_percent": ("fgsm_accuracy", 0.01),
    "ood_auroc": ("ood_auroc", 1.0),
    "ood_aupr": ("ood_aupr", 1.0),
    "mce_dense_percent": ("corruption_error", 1.0),
    "ece": ("ece", 1.0),
    "sce": ("sce", 1.0),
    "nll": ("nll", 1.0),
    "fidelity": ("fidelity", 1.0),
    "stability": ("stability", 1.0),
    "hessian_trace_weight": ("hessian_trace", 1.0),
    "hessian_trace_input": ("input_trace", 1.0),
}


def digitised() -> pd.DataFrame:
    """Return the paper's curves under this library's names and in its units.

    Accuracy is within 0.2 points of what was printed, corruption error within 1, the others within 2%. A metric means what
    the paper defines, which differs from ours where a notebook says so (its stability never asks the network again).

    Returns:
        One row per point of a curve: ``dataset``, ``model``, ``pruner``, ``sparsity`` (in [0, 1]), ``metric``, ``value``.
    """
    table = pd.read_csv(FILE)
    found = table.assign(
        pruner=table.pruner.map(PRUNERS),
        sparsity=table.sparsity_percent / 100,
        value=table.value * table.metric.map({name: unit for name, (_, unit) in _METRICS.items()}),
        metric=table.metric.map({name: ours for name, (ours, _) in _METRICS.items()}),
    )
    columns = ["dataset", "model", "pruner", "sparsity", "metric", "value"]
    return found.loc[:, columns].reset_index(drop=True)
