"""What the three modules of this folder share: a family's study, and how one notebook is run under it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from tests.families.engine import Shells
from tests.families.tiny import compute, write_profile
from tests.sources import NOTEBOOKS

FAMILIES = ("cifar10", "cifar100", "imagenet")


def notebooks_under(family: str) -> pytest.MarkDecorator:
    """With ``EVERY_FAMILY`` in the environment (`make families`) all notebooks; else, of the families of data, a third of
    them, another one for each, so that `make test` runs every notebook once."""
    whole = os.environ.get("EVERY_FAMILY") or family not in FAMILIES
    some = NOTEBOOKS if whole else NOTEBOOKS[FAMILIES.index(family) :: 3]
    return pytest.mark.parametrize("path", some, ids=[path.stem for path in some])


@dataclass(frozen=True)
class Family:
    """A tiny study of one family of data: its profile, its store, and where executed notebooks go."""

    profile: Path
    store: Path
    out: Path
    shells: Shells

    def run(self, path: Path) -> nbformat.NotebookNode:
        """The executed notebook. Fails with the cell and its error; or with a cell that should show something and does not."""
        out = self.out / path.name
        parameters = {"profile": str(self.profile), "store": str(self.store)}
        error = self.shells.execute(path, parameters, out)
        if error:
            pytest.fail(f"{path.stem} under {self.profile.stem}:\n{error}", pytrace=False)
        executed = nbformat.read(out, as_version=4)
        for cell in executed.cells:
            if cell.cell_type == "code" and "figures.show(" in cell.source:
                shown = [o for o in cell.outputs if "image/png" in o.get("data", ())]
                assert shown or any(o.output_type == "stream" for o in cell.outputs), cell.source
        return executed


def study_of(family: str, gpu: bool = False):
    """A fixture: the family's study, computed once for all notebooks; ``gpu``: these run on an emulated one."""

    @pytest.fixture(scope="module")
    def study(tmp_path_factory) -> Iterator[Family]:
        folder = tmp_path_factory.mktemp(family)
        with closing(Shells(gpu)) as shells:  # they get ready while the study is computed
            made = Family(write_profile(folder, family), folder / "store", folder, shells)
            compute(made.profile, made.store)
            yield made

    return study


def printed(executed: nbformat.NotebookNode) -> str:
    """All text that its cells printed."""
    outputs = [o for cell in executed.cells if cell.cell_type == "code" for o in cell.outputs]
    return "".join(o.text for o in outputs if o.output_type == "stream")
