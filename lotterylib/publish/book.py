"""The book of one profile, from its notebooks to its site and its PDF."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..machine.devices import describe_device, pick_device
from ..machine.revision import revision
from ..results import setting_name
from ..study import Profile, Store, records
from ..study.versions import Made, outdated
from .errors import PublishError
from .folders import building
from .pdf import build_pdf
from .reads import PACKAGE, Reads
from .runner import run_notebooks
from .site import build_site, heavy_pages
from .stage import stage_book
from .toc import notebooks_in_toc

# what notebooks import. Elsewhere than on Linux a process that has loaded such libraries does not fork safely
PRELOAD = (
    (
        "ipywidgets",
        "skimage.segmentation",
        "sklearn.linear_model",
        "torch._dynamo",
        "lotterylib.figures",
        "lotterylib.score",
    )
    if sys.platform == "linux"
    else ()
)


def make_book(
    profile: Profile, name: str, store: Store, out: Path, workers: int, progress: bool = True
) -> Path:
    """Make the book of a profile below ``out``; return its ``index.html``.

    What has not changed since the last call is not done again.

    Args:
        profile: The study.
        name: The profile's name or file, as the user gave it.
        store: Where its records and tickets lie.
        out: The folder that gets one of this profile.
        workers: Notebooks that run at once.
        progress: Show a bar.

    Raises:
        PublishError: with all that failed, a line for each.
    """
    card = {
        "profile": profile.name,
        "seeds": profile.seeds,
        "device": describe_device(pick_device()),
        "revision": revision(),
        "outdated": outdated((r["metric"], r["pruner"], Made.of(r)) for r in records(profile, store)),
        "smoke": profile.smoke,
    }
    if profile.beside:
        card["study"] = setting_name(profile.models[0].label, profile.dataset.name)
    is_file = Path(name).suffix in (".yaml", ".yml")
    parameters = {
        "profile": str(Path(name).resolve()) if is_file else name,
        "store": str(store.root.resolve()),
    }
    reads = Reads(profile, store)
    return build_book(find_root(), out / profile.name, parameters, card, reads, workers, progress, PRELOAD)


def build_book(
    root: Path,
    out: Path,
    parameters: Mapping[str, Any],
    card: Mapping[str, Any],
    reads: Callable[[Path], str] = lambda notebook: "",
    workers: int = 2,
    progress: bool = True,
    preload: Sequence[str] = (),
) -> Path:
    """Run, stage and build the book that ``root/_toc.yml`` lists; return the site's ``index.html``.

    ``card`` is what every page says about its run (see ``stage.run_card``); for the others see ``run_notebooks``.
    """
    root, out = root.resolve(), out.resolve()
    sources = notebooks_in_toc(root, root / "notebooks")
    facts = {key: card[key] for key in ("device", "revision") if key in card}
    with building(out):
        executions = run_notebooks(
            sources,
            out,
            parameters,
            root=root,
            workers=workers,
            reads=reads,
            facts=facts,
            preload=preload,
            progress=progress,
        )
        failed = [execution.error for execution in executions if not execution.ok]
        if failed:
            raise PublishError(f"{len(failed)} of {len(executions)} notebooks failed: " + "; ".join(failed))
        stage = stage_book(executions, root, out / "stage", card)
        index = build_site(stage, out / "site")
        for page, weight in heavy_pages(index.parent).items():
            print(f"note: {page} weighs {weight / 1e6:.1f} MB with its images", file=sys.stderr)
        return index


def print_book(index: Path) -> Path:
    """Print the book whose site ``make_book`` has built to ``book.pdf`` beside the site's folder; return that file."""
    made = index.resolve().parents[1]
    return build_pdf(made / "stage", made / "book.pdf")


def find_root() -> Path:
    """Return the checkout that holds the book's sources: here or above, else the one that the package lies in."""
    for folder in (Path.cwd(), *Path.cwd().parents, PACKAGE.parent):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise PublishError(
        "no _toc.yml and notebooks/ here: run `lottery book` in a clone of the book's repository"
    )
