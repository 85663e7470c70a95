"""From clean notebooks to a site: run (papermill), stage (what Jupyter Book reads), build (Jupyter Book).

```
notebooks/*.ipynb ──run──► out/notebooks/ ──stage──► out/stage/ ──build──► out/site/index.html
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    "publish",
    "run_card",
    "run_notebooks",
    "stage_book",
]


def publish(
    profile_card: Mapping[str, Any],
    notebooks: Path,
    root: Path,
    out: Path,
    parameters: Mapping[str, Any],
    fingerprint: str,
    workers: int = 2,
    timeout: int = 600,
    progress: bool = True,
) -> Path:
    """Run, stage and build the book that ``root/_toc.yml`` lists; returns the site's ``index.html``.

    ``profile_card`` is what every page says about its run (see ``stage.run_card``), ``parameters`` goes into
    every notebook, ``fingerprint`` is a hash of all that the notebooks' results depend on beside their own
    text (library, records), ``timeout`` is seconds a cell, ``progress`` shows a bar. Raises ``PublishError``.
    """
    sources = notebooks_in_toc(root, notebooks)
    facts = {key: profile_card[key] for key in ("device", "revision") if key in profile_card}
    executions = run_notebooks(
        sources,
        out,
        parameters,
        root=root,
        workers=workers,
        timeout=timeout,
        fingerprint=fingerprint,
        facts=facts,
        progress=progress,
    )
    failed = [execution.error for execution in executions if not execution.ok]
    if failed:
        raise PublishError(f"{len(failed)} of {len(executions)} notebooks failed: " + "; ".join(failed))
    stage = stage_book(executions, root, Path(out) / "stage", profile_card)
    return build_site(stage, Path(out) / "site")
