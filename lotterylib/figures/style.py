"""How each pruner looks: one name, one colour (Okabe & Ito's palette, safe for colour-blind readers), one marker."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib


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

_SPARE_COLOURS = ("#117733", "#882255", "#332288", "#999933", "#661100")
_SPARE_MARKERS = ("<", ">", "p", "d", "H", "8", "1")

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
    """Label, colour and marker of a pruner or of "dense". A pruner that is not listed above (a reader's own) goes by its
    name, in a colour and with a marker that its name decides."""
    if pruner in LOOKS:
        return LOOKS[pruner]
    number = zlib.crc32(pruner.encode())
    return Look(
        pruner, _SPARE_COLOURS[number % len(_SPARE_COLOURS)], _SPARE_MARKERS[number % len(_SPARE_MARKERS)]
    )


def in_order(pruners) -> list[str]:
    """Pruners sorted as legends list them."""
    order = list(LOOKS)
    return sorted(set(pruners), key=lambda p: order.index(p) if p in order else len(order))


@contextmanager
def styled() -> Iterator[None]:
    """The book's matplotlib settings for one figure; the caller's own settings come back afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield
