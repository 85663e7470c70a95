"""What importing costs, and the names that the book and its readers rely on."""

import subprocess
import sys

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import lotterylib
from tests.sources import ROOT

HEAVY = (
    "torch",
    "torchvision",
    "scipy.ndimage",
    "scipy.optimize",
    "sklearn",
    "pandas",
    "matplotlib",
    "dask",
    "distributed",
    "papermill",
    "jupyter_book",
)


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after some code."""
    script = f"{code}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_light():
    assert loaded_after("import lotterylib, lotterylib.cli") == set()


def test_asking_a_study_loads_pytorch_and_nothing_else_that_is_heavy(tmp_path):
    code = f"""
import contextlib, io
from lotterylib.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["status", "--profile", "laptop", "--store", {str(tmp_path)!r}]) == 0
"""
    assert loaded_after(code) == {"torch"}


def test_what_a_notebook_uses_needs_neither_dask_nor_the_books_tools():
    code = """
from lotterylib import Recipe, Ticket, check_environment, datasets, figures, masks, metrics, models, pruners, results, study, train, verdict
data = datasets.load("fashion-mini", limit=20)
model = models.build("lenet", data.classes, data.channels)
study.records("smoke")
check_environment()
"""
    assert not loaded_after(code) & {"dask", "distributed", "papermill", "jupyter_book"}


@pytest.mark.parametrize(
    "name",
    ["datasets", "models", "masks", "pruners", "metrics", "figures", "verdict", "results", "study", "Recipe", "train",
     "Ticket", "Mask", "check_environment"],
)  # fmt: skip
def test_public_names(name):
    assert getattr(lotterylib, name) is getattr(lotterylib, name)
    assert name in dir(lotterylib) and name in lotterylib.__all__


def test_imports_go_down_the_floors(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_type_checkers_are_told_that_there_are_types():
    assert (ROOT / "lotterylib/py.typed").is_file()


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="lotterylib.*'tickets'"):
        _ = lotterylib.tickets


def test_the_example_of_the_docstring_runs():
    from lotterylib import Recipe, datasets, models, pruners

    data = datasets.load("digits", limit=40)
    model = models.build("lenet", data.classes, data.channels, mean=data.mean, std=data.std)
    recipe = Recipe(epochs=1, batch_size=20, rewind=0)
    ticket = pruners.build("lottery").find(model, data, sparsity=0.36, recipe=recipe, seed=0, progress=False)
    assert ticket.sparsity == pytest.approx(0.36, abs=1e-4)


def test_check_environment_is_one_line_and_names_what_is_missing(monkeypatch):
    from importlib import metadata

    from lotterylib import check_environment

    line = check_environment()
    assert "torch" in line and "cores" in line and "\n" not in line

    def version(package):
        if package == "seaborn":
            raise metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(ImportError, match="pip install seaborn"):
        check_environment()
