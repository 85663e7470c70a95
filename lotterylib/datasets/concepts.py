"""Concept masks, which say where an image shows what, made from the images and their classes by the rules below; no
human labelled pixels.

Network dissection asks which pixels a unit fires on, and compares them with the pixels of named concepts. Broden (see
``broden``) has such names from people; small data sets have none, so a rule stands in for each: "collar" is the top of
the middle of a top's bounding box, and nothing more. Each rule is a function whose docstring is the rule.

Brightness, texture and gradients exist for all images, colours for those in colour. The class is a concept too: its
silhouette where images are grey on black, as all grey data sets here are, else the whole image, as Broden's scenes are.
Parts of garments exist for Fashion-MNIST alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import scipy
from torch import Tensor

from ..errors import DataError

# a pixel above this belongs to the garment or digit, the rest is background
FOREGROUND = 0.1
# the classes of Fashion-MNIST, whose numbers the rules for parts name
GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# kinds of rules that hold for all images, and those that need an object on black
GENERAL = frozenset({"scene", "edge", "tone", "texture", "colour"})
SILHOUETTE = frozenset({"class", "place", "part"})
# more classes than these are no concepts of whole images: the search for formulas would take hours
MOST_SCENES = 100

# bool [N, H, W]
Masks = np.ndarray


class Concepts(Mapping[str, Masks]):
    """Concept name → bool [N, H, W], True where the image shows it. A mask is made when first asked for, then kept.

    ``category`` and ``rule`` (name → text) say what kind of concept it is and how it was made.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], Masks]], category: dict[str, str], rule: dict[str, str]
    ):
        self._makers, self._masks = dict(makers), {}
        self.category, self.rule = category, rule

    def __getitem__(self, name: str) -> Masks:
        if name not in self._masks:
            self._masks[name] = self._makers[name]()
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def concepts(
    images: Tensor, labels: Tensor, class_names: Sequence[str], kinds: Collection[str] | None = None
) -> Concepts:
    """Return the concepts of a set of images: float32 [N, C, H, W] in [0, 1], with int64 labels [N].

    Args:
        kinds: The kinds of rules that hold for the images; None takes grey images for objects on black. Classes are
            silhouettes ("class") or else, up to a hundred of them, whole images ("scene").

    Raises:
        DataError: for no images, or for labels that do not fit images or names.
    """
    if images.ndim != 4 or not len(images) or labels.shape != images.shape[:1]:
        raise DataError(
            f"want images [N, C, H, W] and labels [N], N at least 1; got {list(images.shape)} and {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise DataError(f"labels must lie in 0..{len(class_names) - 1}, got {labels.min()} to {labels.max()}")
    grey = images.shape[1] == 1
    if kinds is None:
        kinds = GENERAL | (SILHOUETTE if grey else set())
    kinds = set(kinds) - ({"colour"} if grey else set())
    if tuple(class_names) != GARMENTS:
        kinds -= {"part"}
    view = View(images.cpu().numpy(), labels.cpu().numpy(), on_black="class" in kinds)
    scenes = "scene" in kinds and not view.on_black and len(class_names) <= MOST_SCENES
    makers, category, rule = {}, {}, {}

    def add(name: str, kind: str, make: Callable[[View], Masks], about: str) -> None:
        # orange is a class of CIFAR-100
        name = f"{name} ({kind})" if name in makers else name
        makers[name], category[name], rule[name] = partial(make, view), kind, about

    for index, name in enumerate(class_names if view.on_black or scenes else ()):
        kind, what = ("scene", "All") if scenes else ("class", "Foreground")
        add(
            name.lower(),
            kind,
            lambda v, i=index: v.foreground & v.of(i),
            f"{what} of images labelled {name}.",
        )
    for kind, make in _RULES:
        if kind in kinds:
            add(make.__name__.replace("_", " "), kind, make, make.__doc__ or "")
    return Concepts(makers, category, rule)


@dataclass(frozen=True)
class View:
    """Images as the rules see them: ``pixels`` float32 [N, C, H, W] and ``labels`` [N].

    ``on_black``: the background is black, as in all grey data sets here, so that what is not black is the object.
    """

    pixels: np.ndarray
    labels: np.ndarray
    on_black: bool

    @cached_property
    def grey(self) -> np.ndarray:
        """Return the mean of the colours: float32 [N, H, W]."""
        return self.pixels.mean(axis=1)

    @cached_property
    def hsv(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return hue in degrees (0 red, 120 green, 240 blue), saturation and value in [0, 1]: each [N, H, W]."""
        # slow to import, and for images in colour alone
        from skimage.color import rgb2hsv

        hue, saturation, value = np.moveaxis(rgb2hsv(self.pixels, channel_axis=1), 1, 0)
        return 360 * hue, saturation, value

    @cached_property
    def foreground(self) -> Masks:
        """Return where the object is; all of the image where the background is not black."""
        return self.grey > FOREGROUND if self.on_black else np.ones(self.grey.shape, bool)

    @cached_property
    def inside(self) -> Masks:
        """Return the foreground whose 5×5 surroundings are foreground too: texture seen there is not the outline."""
        return scipy.ndimage.minimum_filter(self.foreground, size=(1, 5, 5), mode="nearest")

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the place of each pixel in the bounding box of its image's foreground: rows and columns, float [N, H, W]; 0 at
        its top (left), 1 at its bottom (right), outside of [0, 1] elsewhere."""
        return self._along(1), self._along(2)

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the slope down and to the right (Sobel), in grey levels per pixel: each [N, H, W]."""
        down, right = (scipy.ndimage.correlate1d(self.grey, [-0.5, 0, 0.5], axis) for axis in (1, 2))
        smooth = [0.25, 0.5, 0.25]
        return scipy.ndimage.correlate1d(down, smooth, 2), scipy.ndimage.correlate1d(right, smooth, 1)

    @cached_property
    def spread(self) -> np.ndarray:
        """Return the standard deviation of grey levels in the 5×5 pixels around: [N, H, W]."""
        mean, square = (
            scipy.ndimage.uniform_filter(g.astype(np.float64), (1, 5, 5)) for g in (self.grey, self.grey**2)
        )
        return np.sqrt((square - mean**2).clip(0))

    def of(self, *classes: int) -> np.ndarray:
        """Return whether an image is of one of the classes: bool [N, 1, 1]."""
        return np.isin(self.labels, classes)[:, None, None]

    def _along(self, axis: int) -> np.ndarray:
        """Return the place along one axis of the bounding box. An empty image has none: its pixels lie at infinity."""
        filled: np.ndarray = np.any(self.foreground, axis=3 - axis)
        size = filled.shape[1]
        first, last = filled.argmax(axis=1), size - 1 - filled[:, ::-1].argmax(axis=1)
        place = (np.arange(size) + 0.5 - first[:, None]) / (last - first + 1)[:, None]
        place[~filled.any(axis=1)] = np.inf
        return np.broadcast_to(np.expand_dims(place, 3 - axis), self.grey.shape)


_RULES: list[tuple[str, Callable[[View], Masks]]] = []


def _rule(kind: str) -> Callable:
    def note(make: Callable[[View], Masks]) -> Callable[[View], Masks]:
        _RULES.append((kind, make))
        return make

    return note


# --- parts of garments, by their place in the bounding box: classes 0 T-shirt/top, 1 trouser, 2 pullover, 3 dress,
# 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot; shoes point to the left in all of Fashion-MNIST


@_rule("part")
def collar(view: View) -> Masks:
    """Foreground of tops, coats and dresses: top 15% of the bounding box, middle third of its width."""
    rows, columns = view.box
    return view.foreground & view.of(0, 2, 3, 4, 6) & (rows < 0.15) & (abs(columns - 0.5) < 1 / 6)


@_rule("part")
def shoulder(view: View) -> Masks:
    """Foreground of tops, coats and dresses: top 20% of the bounding box, outside of the middle third of its width."""
    rows, columns = view.box
    return view.foreground & view.of(0, 2, 3, 4, 6) & (rows < 0.2) & (abs(columns - 0.5) >= 1 / 6)


@_rule("part")
def sleeve(view: View) -> Masks:
    """Foreground of tops and coats: the outer fifths of the bounding box's width."""
    return view.foreground & view.of(0, 2, 4, 6) & (abs(view.box[1] - 0.5) > 0.3)


@_rule("part")
def chest(view: View) -> Masks:
    """Foreground of tops and coats: middle half of the bounding box's width, 20 to 60% of its height."""
    rows, columns = view.box
    return view.foreground & view.of(0, 2, 4, 6) & (abs(columns - 0.5) < 0.25) & (abs(rows - 0.4) < 0.2)


@_rule("part")
def hem(view: View) -> Masks:
    """Foreground of tops, coats and dresses: bottom 12% of the bounding box, middle half of its width."""
    rows, columns = view.box
    return view.foreground & view.of(0, 2, 3, 4, 6) & (rows > 0.88) & (abs(columns - 0.5) < 0.25)


@_rule("part")
def waist(view: View) -> Masks:
    """Foreground of trousers: top 20% of the bounding box."""
    return view.foreground & view.of(1) & (view.box[0] < 0.2)


@_rule("part")
def leg(view: View) -> Masks:
    """Foreground of trousers: lower half of the bounding box."""
    return view.foreground & view.of(1) & (view.box[0] > 0.5)


@_rule("part")
def toe(view: View) -> Masks:
    """Foreground of shoes: left 30% of the bounding box."""
    return view.foreground & view.of(5, 7, 9) & (view.box[1] < 0.3)


@_rule("part")
def heel(view: View) -> Masks:
    """Foreground of shoes: right quarter of the bounding box, lower half of its height."""
    rows, columns = view.box
    return view.foreground & view.of(5, 7, 9) & (columns > 0.75) & (rows > 0.5)


@_rule("part")
def sole(view: View) -> Masks:
    """Foreground of shoes: bottom fifth of the bounding box."""
    return view.foreground & view.of(5, 7, 9) & (view.box[0] > 0.8)


@_rule("part")
def shaft(view: View) -> Masks:
    """Foreground of ankle boots: upper half of the bounding box."""
    return view.foreground & view.of(9) & (view.box[0] < 0.5)


@_rule("part")
def handle(view: View) -> Masks:
    """Foreground of bags, upper half of the bounding box, in rows with a gap: one sees through under a handle or strap."""
    return view.foreground & view.of(8) & (view.box[0] < 0.5) & gap(view).any(axis=2, keepdims=True)


# --- what all images on black have


@_rule("place")
def outline(view: View) -> Masks:
    """Foreground with background among its eight neighbours."""
    return view.foreground & ~scipy.ndimage.minimum_filter(view.foreground, size=(1, 3, 3), mode="nearest")


@_rule("place")
def gap(view: View) -> Masks:
    """Background with foreground to its left and to its right in the same row."""
    seen = np.logical_or.accumulate(view.foreground, axis=2)
    ahead = np.logical_or.accumulate(view.foreground[:, :, ::-1], axis=2)[:, :, ::-1]
    return ~view.foreground & seen & ahead


@_rule("place")
def background(view: View) -> Masks:
    """Pixels that are black or nearly so (grey level 0.1 and below)."""
    return ~view.foreground


# --- what all images have


def _edge(view: View, angle: float) -> Masks:
    """Return where the slope is above 0.15 grey levels per pixel, within 22.5° of ``angle`` (0° rises to the right, 90° downwards)."""
    down, right = view.gradient
    turn = (np.degrees(np.arctan2(down, right)) - angle + 90) % 180 - 90
    return (np.hypot(down, right) > 0.15) & (turn >= -22.5) & (turn < 22.5)


@_rule("edge")
def vertical_edge(view: View) -> Masks:
    """Grey levels change by more than 0.15 per pixel, across a vertical line (within 22.5°)."""
    return _edge(view, 0)


@_rule("edge")
def rising_edge(view: View) -> Masks:
    """Grey levels change by more than 0.15 per pixel, across a diagonal like / (within 22.5°)."""
    return _edge(view, 45)


@_rule("edge")
def horizontal_edge(view: View) -> Masks:
    """Grey levels change by more than 0.15 per pixel, across a horizontal line (within 22.5°)."""
    return _edge(view, 90)


@_rule("edge")
def falling_edge(view: View) -> Masks:
    """Grey levels change by more than 0.15 per pixel, across a diagonal like \\ (within 22.5°)."""
    return _edge(view, 135)


@_rule("tone")
def bright(view: View) -> Masks:
    """Foreground with a grey level above 0.8."""
    return view.foreground & (view.grey > 0.8)


@_rule("tone")
def dark(view: View) -> Masks:
    """Foreground with a grey level below 0.4."""
    return view.foreground & (view.grey < 0.4)


@_rule("texture")
def plain(view: View) -> Masks:
    """Grey levels differ by less than 0.04 (standard deviation) in the 5×5 pixels around, all of them foreground."""
    return view.inside & (view.spread < 0.04)


@_rule("texture")
def patterned(view: View) -> Masks:
    """Grey levels differ by more than 0.1 (standard deviation) in the 5×5 pixels around, all of them foreground."""
    return view.inside & (view.spread > 0.1)


# --- what images in colour have

# hues in degrees; brown is dark orange
_HUES = {
    "red": (330, 380),
    "orange": (20, 45),
    "yellow": (45, 70),
    "green": (70, 170),
    "blue": (170, 260),
    "violet": (260, 330),
}


def _hue(name: str, first: int, last: int) -> Callable[[View], Masks]:
    """Return the rule for a colour: its hues, of pixels neither pale nor black."""

    def colour(view: View) -> Masks:
        hue, saturation, value = view.hsv
        return (saturation > 0.25) & (value > 0.2) & ((hue - first) % 360 < last - first)

    colour.__name__ = name
    colour.__doc__ = f"Hue from {first}° to {last % 360}°, saturation above 0.25 and value above 0.2."
    return colour


for _colour, _range in _HUES.items():
    _rule("colour")(_hue(_colour, *_range))


@_rule("colour")
def colourless(view: View) -> Masks:
    """Saturation below 0.08: black, grey or white."""
    return view.hsv[1] < 0.08
