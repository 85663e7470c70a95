"""How each pruner looks: one name, one colour (Okabe & Ito's palette, safe for colour-blind readers), one marker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib

from ..errors import UnknownNameError


class Look(NamedTuple):
    label: str
    colour: str
    marker: str


# In the order of every legend.
LOOKS = {
    "dense": Look("Dense", "#000000", ""),
    "lottery": Look("LTH", "#0072B2", "o"),
    "magnitude": Look("OMP", "#009E73", "s"),
    "random": Look("RP", "#E69F00", "v"),
    "snip": Look("SNIP", "#7F4A1E", "D"),
    "grasp": Look("GraSP", "#D62728", "^"),
    "synflow": Look("SynFlow", "#8A4FBF", "P"),
    "rigl": Look("RigL", "#CC79A7", "X"),
    "structured": Look("Structured", "#56B4E9", "h"),
    "small-dense": Look("Small dense", "#767676", "*"),
}

_SETTINGS = {
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "axes.axisbelow": True,
}


def look(pruner: str) -> Look:
    """Label, colour and marker of a pruner or of "dense"."""
    if pruner not in LOOKS:
        raise UnknownNameError("pruner in a figure", pruner, LOOKS)
    return LOOKS[pruner]


def in_order(pruners) -> list[str]:
    """Pruners sorted as legends list them."""
    order = list(LOOKS)
    return sorted(set(pruners), key=lambda p: order.index(p) if p in order else len(order))


@contextmanager
def styled() -> Iterator[None]:
    """The book's matplotlib settings for one figure; the caller's own settings come back afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield
