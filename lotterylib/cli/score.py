"""``lottery score``: judge networks of one's own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
import yaml

from ..errors import SettingError
from ..machine.devices import device_name
from ..machine.terminal import show
from ..score import compare, scorecard
from ..score.report import check_folder

# exit status where --fail-on does not let a card pass
CLOSED = 3
# options that are arguments of ``scorecard``
_SAME = (
    "arch", "key", "mean", "std", "size", "resize", "limit", "batch", "memory", "classes", "outputs", "outliers", "corrupted", "expect", "images", "only",
    "variants", "seed", "device", "cache",
)  # fmt: skip


# options of pairs, as they are typed
_FORMS = {
    "--set": "KEY=VALUE, e.g. width=0.5",
    "--setting": "METRIC.KEY=VALUE, e.g. ece.bins=10",
    "--tolerance": "METRIC=AMOUNT, e.g. accuracy=0.005",
}


def score(options: argparse.Namespace) -> int:
    """Measure the networks; save the report before anything is printed, since a pipe may be closed by then."""
    device_name(options.device)
    if options.out:
        check_folder(options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    several = len(options.pruned) > 1
    given = {name: value for name in _SAME if (value := getattr(options, name)) is not None}
    card = (compare if several else scorecard)(
        options.pruned if several else options.pruned[0],
        options.dense,
        options.data or "fashion-mini",
        arch_settings=_pairs("--set", options.set),
        settings=_nested(_pairs("--setting", options.setting)),
        tolerances=_pairs("--tolerance", options.tolerance),
        **given,
        speed=not options.no_speed,
        progress=not options.quiet and sys.stderr.isatty(),
        on_message=lambda line: show(line, sys.stderr),
    )
    try:
        for path in card.save(options.out, options.fail_on or "worse") if options.out else []:
            show(path.resolve().as_uri(), sys.stderr)
    finally:
        show(card.to_json() if options.json else str(card))
    return CLOSED if options.fail_on and card.fails(options.fail_on) else 0


def _pairs(option: str, texts: list[str] | None) -> dict[str, Any]:
    return dict(_pair(option, text) for text in texts or ())


def _pair(option: str, text: str) -> tuple[str, Any]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise SettingError(f"{option} wants {_FORMS[option]}, got {text!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingError(f"{option} {key}: cannot read {value!r}") from None


def _nested(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return metric → settings from ``metric.key`` → value."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        metric, mark, key = name.partition(".")
        if not mark:
            raise SettingError(f"--setting wants {_FORMS['--setting']}, got {name!r}")
        found.setdefault(metric, {})[key] = value
    return found
