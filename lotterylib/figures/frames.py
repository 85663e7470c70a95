"""A slider over pictures that were drawn before, alive on a page without a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import SettingError
from .drawing import Drawn
from .explorer import picture


def frames(drawn: Mapping[str, Drawn], description: str) -> Any:
    """Return a slider whose steps are the keys of ``drawn`` above the figure of each; the figures are closed.

    The two are linked in the browser. Where ipywidgets has no ``Stack`` (version 7, as on Colab), the kernel moves them.

    Args:
        drawn: Two steps or more.
        description: What the slider moves, in a word.

    Raises:
        SettingError: for fewer than two steps.

    Example:
        >>> from lotterylib.figures import diagrams
        >>> box = frames({"one": diagrams.mask_grid(), "two": diagrams.flow()}, "picture")
        >>> box.children[0].options
        ('one', 'two')
    """
    import ipywidgets

    if len(drawn) < 2:
        raise SettingError(f"a slider needs two pictures or more, got {len(drawn)}")
    # finer than a frame of the explorer: where tints of one colour say how much, none may take on another hue
    pictures = {step: picture(*one, step=3) for step, one in drawn.items()}
    # wide enough for a step in words
    style = {"description_width": "initial"}
    if not hasattr(ipywidgets, "Stack"):

        def show(step: str) -> None:
            from IPython.display import HTML, display

            display(HTML(pictures[step]))

        return ipywidgets.interactive(
            show,
            step=ipywidgets.SelectionSlider(options=list(pictures), description=description, style=style),
        )
    # in the middle of the page, as figures are
    middle = {"margin": "2px auto"}
    chosen = ipywidgets.SelectionSlider(
        options=list(pictures), description=description, style=style, layout=middle
    )
    shown = [ipywidgets.HTML(p, layout=middle) for p in pictures.values()]
    stack = ipywidgets.Stack(shown, selected_index=0)
    ipywidgets.jslink((chosen, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([chosen, stack])
