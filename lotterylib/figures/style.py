"""How each pruner looks: one name, one colour (Okabe & Ito's palette, safe for colour-blind readers), one marker."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

from ..pruners import PRUNERS
from ..pruners.base import Look

DENSE = Look("Dense", "#000000", "")
CONTROL = Look("Dense anew", "#777777", "")

_SPARE_COLOURS = ("#332288", "#999933", "#661100", "#44AA99", "#AA4499")
_SPARE_MARKERS = ("<", ">", "H", "8", "1")

_SETTINGS: dict[Any, Any] = {
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
    """Return label, colour and marker of a pruner, of "dense", or of "control" (the dense network trained anew). A pruner
    that brings no look goes by its name, in a colour and with a marker that its name decides.

    Example:
        >>> look("dense").colour, look("mine").label
        ('#000000', 'mine')
    """
    if pruner in ("dense", "control"):
        return DENSE if pruner == "dense" else CONTROL
    own = PRUNERS[pruner].look if pruner in PRUNERS else None
    number = zlib.crc32(pruner.encode())
    return own or Look(
        pruner, _SPARE_COLOURS[number % len(_SPARE_COLOURS)], _SPARE_MARKERS[number % len(_SPARE_MARKERS)]
    )


def called(pruner: str) -> str:
    """Return the name of a pruner in a sentence.

    Example:
        >>> called("lottery"), called("snip"), called("mine")
        ('lottery tickets', 'SNIP', 'mine')
    """
    own = PRUNERS[pruner].called if pruner in PRUNERS else ""
    return own or look(pruner).label


def in_order(pruners: Iterable[str]) -> list[str]:
    """Return pruners, each once, as legends list them: dense and controls first, then by their rank and in the order of
    ``pruners.names()``, then those that are not known.

    Example:
        >>> in_order(["mine", "random", "dense"])
        ['dense', 'random', 'mine']
    """
    order = ["dense", "control", *sorted(PRUNERS.names(), key=lambda name: PRUNERS[name].rank)]
    return sorted(set(pruners), key=lambda p: (order.index(p) if p in order else len(order), p))


@contextmanager
def styled() -> Iterator[None]:
    """Give the book's matplotlib settings for one figure; the caller's own settings come back afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield
