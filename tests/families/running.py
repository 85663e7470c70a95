"""What the three modules of this folder share: a family's study, and how one notebook is run under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from tests.families.engine import Shells
from tests.families.tiny import compute, write_profile
from tests.sources import NOTEBOOKS

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
# on an emulated GPU, which is slow: some in every run of the tests, the others in the long one
QUICK = ("lth_pass", "rigl")
quick_or_long = pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.long] * (p.stem not in QUICK)) for p in NOTEBOOKS]
)


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
