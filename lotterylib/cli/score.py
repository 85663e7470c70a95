"""``lottery score``: judge a network of one's own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
import yaml

from ..errors import SettingError
from ..machine.devices import device_name
from ..machine.terminal import show
from ..score import scorecard
from ..score.report import check_folder

# options that are arguments of ``scorecard``
_SAME = ("arch", "mean", "std", "size", "resize", "limit", "images", "only", "seed", "device", "cache")


def score(options: argparse.Namespace) -> int:
    """Measure both networks; save the report before anything is printed, since a pipe may be closed by then."""
    device_name(options.device)
    if options.out:
        check_folder(options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    card = scorecard(
        options.pruned,
        options.dense,
        options.data,
        arch_settings=dict(map(_setting, options.set)),
        **{name: getattr(options, name) for name in _SAME},
        progress=not options.quiet and sys.stderr.isatty(),
        on_message=lambda line: show(line, sys.stderr),
    )
    try:
        for path in card.save(options.out) if options.out else []:
            show(path.resolve().as_uri(), sys.stderr)
    finally:
        show(card.to_json() if options.json else str(card))
    return 0


def _setting(text: str) -> tuple[str, Any]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise SettingError(f"--set wants KEY=VALUE, e.g. width=0.5, got {text!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingError(f"--set {key}: cannot read {value!r}") from None
