"""From clean notebooks to a site: run (papermill), stage (what Jupyter Book reads), build (Jupyter Book).

::

    notebooks/*.ipynb ──run──► out/notebooks/ ──stage──► out/stage/ ──build──► out/site/index.html

``book`` does all three; it also loads the study, so it is imported on its own.
"""

from .errors import NotebookError, PublishError, SiteError, StageError
from .runner import Execution, run_notebooks
from .site import build_site
from .stage import run_card, stage_book
from .toc import notebooks_in_toc

__all__ = [
    "Execution",
    "NotebookError",
    "PublishError",
    "SiteError",
    "StageError",
    "build_site",
    "notebooks_in_toc",
    "run_card",
    "run_notebooks",
    "stage_book",
]
