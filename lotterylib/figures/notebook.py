"""From a figure or a number to the page: what a notebook displays carries its alt text, caption and name."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ..errors import SettingError
from ..files import write_whole

# within a word, where it is no quotation mark
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")


def show(figure: Figure, alt: str, caption: str = "", name: str = "", *, window: str = "") -> None:
    """Display a figure as PNG, with an alt text that says what there is to see and a caption below it, and close it.

    ``name`` (lower-case letters, digits and dashes) lets other pages show the same picture. ``window``: "wide" or "narrow", where
    a page of the book has another picture for the other windows. Raises ``SettingError`` without
    an alt text, or for a name that is no file name.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> show(plt.figure(), "An empty figure.")
        {'image/png': '...', 'text/plain': 'An empty figure.'}
    """
    from IPython.display import display

    if not alt.strip():
        raise SettingError("a figure needs an alt text: say in a sentence what there is to see")
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise SettingError(f"figure name {name!r}: use lower-case letters, digits and dashes")
    # a hyphen is not read out
    alt = re.sub(r"(?<![\w.)\]–-])-(?=\d)", "−", alt)
    # must not be turned to a negative where a page is dark
    photograph = _holds_photograph(figure)
    bundle = {"image/png": base64.b64encode(png(figure)).decode(), "text/plain": alt}
    about: dict[str, Any] = {
        "alt": alt,
        "caption": caption,
        "name": name,
        "letters": smallest_letters(figure),
    }
    if window:
        about["window"] = window
    if photograph:
        about["photograph"] = True
    display(bundle, raw=True, metadata={"lotterylib": about})


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes as ``show`` displays.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> save(plt.figure(), Path("picture.png"))
        >>> Path("picture.png").exists()
        True
    """
    write_whole(path, png(figure))


def png(figure: Figure) -> bytes:
    """Return the bytes of a figure as PNG, and close it."""
    import matplotlib.pyplot as plt

    # apostrophes as the page around the picture has them
    texts: list[Any] = figure.findobj(_has_apostrophe)
    for words in texts:
        words.set_text(_APOSTROPHE.sub("’", words.get_text()))
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    # laid out and measured once: told to find a tight box, matplotlib does both twice
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches=box, pil_kwargs={"compress_level": 0})
    picture = Image.open(drawn)
    # No version of matplotlib in the file: the same figure is the same bytes.
    fewer = picture if _holds_photograph(figure) else _fewer_colours(picture)
    fewer.save(packed, format="png", dpi=picture.info["dpi"])
    plt.close(figure)
    return packed.getvalue()


def _has_apostrophe(part: Any) -> bool:
    return isinstance(part, Text) and "$" not in part.get_text() and bool(_APOSTROPHE.search(part.get_text()))


def _holds_photograph(figure: Figure) -> bool:
    """Tell whether a figure shows photographs, in colour or in grey as their pixels are."""
    return any(
        np.ndim(np.asarray(image.get_array())) == 3 or image.get_cmap().name == "gray"
        for axis in figure.axes
        for image in axis.images
    )


def _fewer_colours(picture: Image.Image) -> Image.Image:
    """Return an opaque picture with 32 levels per channel, which look like 256 and weigh less; with a palette, which weighs
    a third, where that has room for its colours."""
    levels = np.rint(np.asarray(picture.convert("RGB")) * np.float32(31 / 255)) * np.float32(255 / 31)
    fewer = Image.fromarray(np.rint(levels).astype(np.uint8))
    return fewer.quantize(256, dither=Image.Dither.NONE) if fewer.getcolors(256) else fewer


def smallest_letters(figure: Figure) -> float:
    """Return the size in points of the smallest letters that a drawn figure shows; 0 if it has none.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> smallest_letters(plt.figure())
        0.0
    """
    off = {
        id(text)
        for axis in figure.axes
        if not axis.axison
        for side in (axis.xaxis, axis.yaxis)
        for text in side.findobj(Text)
    }
    every: list[Any] = figure.findobj(lambda part: isinstance(part, Text) and id(part) not in off)
    shown = [text for text in every if text.get_visible() and text.get_text().strip()]
    return float(min((text.get_fontsize() for text in shown), default=0))


def record(name: str, value: Any) -> None:
    """Note a number under a name without showing it, so that a page of the book can quote it with ``{glue:text}``.

    Example:
        >>> record("points", 2.5)
        {'application/papermill.record/text/plain': '2.5'}
    """
    from IPython.display import display

    # NumPy's and PyTorch's scalars do not print as plain numbers.
    if hasattr(value, "item"):
        value = value.item()
    prefix = "application/papermill.record/"
    about = {"scrapbook": {"name": name, "mime_prefix": prefix}}
    display({prefix + "text/plain": repr(value)}, raw=True, metadata=about)
