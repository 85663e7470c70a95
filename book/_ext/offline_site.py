"""Sphinx extension: a site that is complete without a network, and no heavier than it has to be.

MathJax comes from the PyPI package ``sphinx-mathjax-offline`` (``mathjax_path`` in ``_config.yml`` points to
the copy). The scripts of Thebe, which Jupyter Book puts on each page with the address of a CDN, are left out.
The scripts of widgets (``nb_ipywidgets_js``), which MyST-NB adds to pages whose notebook carries widget state, are staged by
``lotterylib.publish.widgets``. The theme has its icons twice, as fonts and as a script of 1.5 MB: the script is left out.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
PARTS = (
    "tex-mml-chtml.js",
    "input",
    "output/chtml",
    "a11y",
    "sre",
)  # 8 MB of 24: no SVG output, no duplicates


def find_mathjax(app) -> None:
    """Fail before the build, not after it."""
    spec = find_spec(PACKAGE)
    if spec is None:
        raise ExtensionError(f"formulas need MathJax: pip install {PACKAGE}")
    app.mathjax_source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def copy_mathjax(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        source = app.mathjax_source / part
        if source.is_dir():
            shutil.copytree(source, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / part)


ICONS = re.compile(r"\s*<script[^>]*/fontawesome\.js\b[^>]*></script>")


def drop_icon_script(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        if (lighter := ICONS.sub("", text)) != text:
            page.write_text(lighter, "utf-8")
    for script in (Path(app.outdir) / "_static" / "scripts").glob("fontawesome.js*"):
        script.unlink()


def drop_thebe(app, pagename, templatename, context, doctree) -> None:
    for files in ("script_files", "css_files"):
        context[files] = [file for file in context[files] if not _is_thebe(file)]


def _is_thebe(file) -> bool:
    return "thebe" in f"{file.filename} {file.attributes.get('body', '')}".lower()


def setup(app):
    app.connect("builder-inited", find_mathjax)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", drop_icon_script)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the extensions that add the files
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
