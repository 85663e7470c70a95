"""Records → one tidy table: one row per metric of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .datasets.base import BUILDERS
from .errors import DataError
from .models import title

if TYPE_CHECKING:
    import pandas as pd

_NETWORK = ("dataset", "model", "pruner", "sparsity", "seed")
_ABOUT = ("chance", "revision")
COLUMNS = [
    *_NETWORK, "metric", "value", "error", "samples", "difference", "difference_error", *_ABOUT,
]  # fmt: skip


def tidy(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per (dataset, model, pruner, sparsity, seed, metric).

    Returns:
        ``value`` with its standard ``error`` over ``samples``; ``difference`` to the dense network of the same seed with its
        paired ``difference_error`` (both NaN for dense); ``sparsity`` as asked for, in [0, 1], 0 for dense. A record's
        variants are rows of their own, ``metric:variant``.

    Raises:
        DataError: without records, since an empty figure looks like a result.

    Example:
        >>> record = dict(dataset="digits", model="lenet", pruner="dense", sparsity=0.0, seed=0, metric="ece", value=0.02)
        >>> tidy([record | {"variants": {"scaled": {"value": 0.01}}}])[["metric", "value"]].values.tolist()
        [['ece', 0.02], ['ece:scaled', 0.01]]
    """
    # a study is planned and run without pandas
    import pandas as pd

    rows = []
    # a large study keeps apart what tables need
    slim = getattr(records, "slim", None)
    for record in slim() if slim else records:
        if "metric" in record:
            # tuples: a large study has hundreds of thousands of rows
            network, name = tuple(map(record.get, _NETWORK)), record["metric"]
            about = tuple(map(record.get, _ABOUT))
            rows.append((*network, name, *_numbers(record, record), *about))
            for variant, measured in record.get("variants", {}).items():
                rows.append((*network, f"{name}:{variant}", *_numbers(measured, record), *about))
    if not rows:
        raise DataError("no records: run `lottery run` first, or name a profile that has some (e.g. laptop)")
    table = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    numbers = ["value", "error", "difference", "difference_error"]
    table[numbers] = table[numbers].astype(float)
    return table.sort_values(["dataset", "model", "metric", "pruner", "sparsity", "seed"], ignore_index=True)


def slim(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``tidy`` needs of a record, a small part of it.

    Example:
        >>> slim({"metric": "ece", "value": 0.02, "extra": {"reliability": []}})
        {'metric': 'ece', 'value': 0.02}
    """
    return {key: record[key] for key in (*COLUMNS, "difference", "variants") if key in record}


def _numbers(measured: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return value, error, samples, difference and its error; what a variant does not say is as in its record."""
    found = measured.get("difference") or {}
    own = (measured.get(key, record.get(key)) for key in ("value", "error", "samples"))
    return *own, found.get("value"), found.get("error")


def setting_name(model: str, dataset: str) -> str:
    """Return what readers call a network on a data set; what is not known goes by its name.

    Example:
        >>> setting_name("resnet8", "fashion-mini"), setting_name("mine", "digits")
        ('ResNet-8 on a sample of Fashion-MNIST', "mine on scikit-learn's digits")
    """
    data = BUILDERS[dataset].title if dataset in BUILDERS else ""
    return f"{title(model)} on {data or dataset}"


def example() -> pd.DataFrame:
    """Return the tidy table of a made-up study, for examples: two seeds of dense and of three tickets, two metrics.

    Example:
        >>> len(example())
        16
    """
    accuracies = {("dense", 0.0): 0.9, ("lottery", 0.5): 0.898, ("lottery", 0.8): 0.85, ("random", 0.5): 0.4}
    shown = {"dataset": "digits", "model": "lenet", "chance": 0.1, "error": 0.001, "samples": 1000}
    records = []
    for (pruner, sparsity), accuracy in accuracies.items():
        for seed in (0, 1):
            for metric, share in (("accuracy", 1.0), ("ece", -0.1)):
                gap = share * (accuracy - 0.9 + 0.0005 * seed)
                about = {
                    "pruner": pruner,
                    "sparsity": sparsity,
                    "seed": seed,
                    "metric": metric,
                    "value": abs(share) * 0.9 + gap,
                }
                paired = {} if pruner == "dense" else {"difference": {"value": gap, "error": 0.001}}
                records.append(shown | about | paired)
    return tidy(records)
