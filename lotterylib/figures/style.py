"""How each pruner looks: one name, one colour (Okabe & Ito's palette, safe for colour-blind readers), one marker."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from ..pruners import PRUNERS
from ..pruners.base import Look

DENSE = Look("Dense", "#000000", "")
CONTROL = Look("Dense anew", "#777777", "")

_SPARE_COLOURS = ("#332288", "#117733", "#661100", "#44AA99", "#AA4499")
# filled, so that one shows on a line of its colour; none that is nearly a circle, as that of lottery tickets is
_SPARE_MARKERS = ("<", ">")

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
    that brings no look goes by its name, in a colour and with a marker that its name decides; so does one that a profile holds
    with other settings ("random-erk").

    Example:
        >>> look("dense").colour, look("mine").label, look("random-erk").label
        ('#000000', 'mine', 'RP (ERK)')
    """
    if pruner in ("dense", "control"):
        return DENSE if pruner == "dense" else CONTROL
    own = PRUNERS[pruner].look if pruner in PRUNERS else None
    number = zlib.crc32(pruner.encode())
    base, kind = _kind(pruner)
    label = f"{look(base).label} ({kind})" if kind else pruner
    # the quotient and the rest, so that the one says nothing of the other
    rest, colour = divmod(number, len(_SPARE_COLOURS))
    return own or Look(label, _SPARE_COLOURS[colour], _SPARE_MARKERS[rest % len(_SPARE_MARKERS)])


def _kind(pruner: str) -> tuple[str, str]:
    """Return the method of a pruner's label in a profile and what sets it apart: ("random", "ERK"); or the label and ""."""
    base, _, kind = pruner.partition("-")
    if pruner in PRUNERS or base not in PRUNERS or not kind:
        return pruner, ""
    return base, kind.upper() if len(kind) < 5 else kind


def called(pruner: str) -> str:
    """Return the name of a pruner in a sentence.

    Example:
        >>> called("lottery"), called("snip"), called("mine"), called("random-erk")
        ('lottery tickets', 'SNIP', 'mine', 'random pruning (ERK)')
    """
    base, kind = _kind(pruner)
    own = PRUNERS[base].called if base in PRUNERS else ""
    return (f"{own} ({kind})" if kind else own) if own else look(pruner).label


def legible(colour: str) -> tuple[float, float, float]:
    """Return a colour for letters on white: the same, as dark as 4.5:1 of contrast needs (WCAG 2.2, 1.4.3).

    Example:
        >>> from matplotlib.colors import to_hex
        >>> to_hex(legible("#000080")), to_hex(legible("#ffff00"))
        ('#000080', '#797900')
    """
    rgb = np.array(to_rgb(colour))
    while _luminance(rgb) > 1.05 / 4.5 - 0.05:
        rgb = 0.98 * rgb
    return tuple(rgb.tolist())


def _luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def ink_on(face: Any) -> str:
    """Return black or white: what can be read better on a colour, on a light page and on a dark one.

    Example:
        >>> ink_on("#7ab4d8"), ink_on("#0072B2")
        ('black', 'white')
    """
    rgb = np.array(to_rgb(face))

    def least(ink: float) -> float:
        pairs = ((rgb, np.full(3, ink)), (_in_the_dark(rgb), _in_the_dark(np.full(3, ink))))
        return min(contrast(*pair) for pair in pairs)

    return "black" if least(0.0) > least(1.0) else "white"


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Return the contrast of two colours (WCAG 2.2), from 1 to 21.

    Example:
        >>> contrast(np.zeros(3), np.ones(3))
        21.0
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _in_the_dark(rgb: np.ndarray) -> np.ndarray:
    """Return a colour of a figure as a dark page shows it: the filter of book.css."""
    turned = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
    return (1.2 * (turned @ (0.93 - 0.86 * rgb)).clip(0, 1)).clip(0, 1)


def in_order(pruners: Iterable[str]) -> list[str]:
    """Return pruners, each once, as legends list them: dense and controls first, then by their rank and in the order of
    ``pruners.names()``, those with other settings behind their method, then those that are not known.

    Example:
        >>> in_order(["mine", "snip", "random-erk", "random", "dense"])
        ['dense', 'random', 'random-erk', 'snip', 'mine']
    """
    order = ["dense", "control", *sorted(PRUNERS.names(), key=lambda name: PRUNERS[name].rank)]
    places = {name: place for place, name in enumerate(order)}
    return sorted(set(pruners), key=lambda p: (places.get(_kind(p)[0], len(order)), p))


@contextmanager
def styled() -> Iterator[None]:
    """Give the book's matplotlib settings for one figure; the caller's own settings come back afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield
