"""The runner: what it refuses, what it reports, what it leaves on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from lotterylib.errors import SettingError
from lotterylib.files import MARKER, claim
from lotterylib.publish import NotebookError, PublishError, notebooks_in_toc, run_notebooks
from lotterylib.publish.book import build_book
from lotterylib.publish.runner import inspect_notebook
from tests.publish.sample_book import cell, write_notebook

REPOSITORY = Path(__file__).resolve().parents[2]


def run(root, *sources, out="out", **settings):
    settings = {"timeout": 60, "progress": False} | settings
    parameters = settings.pop("parameters", {"top": 1})
    return run_notebooks(sources, root / out, parameters, root=root, **settings)


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(path):
    return "".join(out.get("text", "") for c in read(path).cells for out in c.get("outputs", ()))


def gone(pid, seconds=10.0):
    """Whether the process ends within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """One good notebook and one for each way to fail, run together; pages of an earlier run lie about."""
    root = tmp_path_factory.mktemp("batch")
    facts = "import os, sys; print(top, sys.executable, os.getcwd(), os.environ['TQDM_DISABLE'])"
    code = {
        "good": [facts, "from tqdm import tqdm; [None for _ in tqdm(range(3))]; print({'a', 'b', 'c'})"],
        "raises": [new_markdown_cell("text"), "fine = 1", "# compute\nfine / 0", "1"],
        "slow": ["import time\ntime.sleep(30)"],
        "dead": ["import os; os._exit(1)"],
        "rude": ["raise ValueError('\\x1b[31mred\\x07')"],
        "leaves": ["import sys; sys.exit()", "print('never')"],
    }
    sources = [write_notebook(root / "notebooks" / f"{name}.ipynb", *cells) for name, cells in code.items()]
    claim(root / "out")
    for name in code:
        stale = root / "out" / "notebooks" / f"{name}.ipynb"
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.write_text("stale")
    executions = run(root, *sources, timeout=3, facts={"revision": "abc"})
    return root, dict(zip(code, executions, strict=True))


def test_good_notebook_gets_parameters_this_interpreter_and_the_root(batch):
    root, executions = batch
    good = executions["good"]
    assert good.ok and not good.cached and not good.error
    assert good.output == root / "out" / "notebooks" / "good.ipynb"
    assert outputs(good.output).startswith(f"1 {sys.executable} {root} 1\n{{")
    assert "it/s" not in good.output.read_text()


def test_sidecar_says_what_the_page_was_made_from(batch):
    _, executions = batch
    facts = executions["good"].facts
    assert facts["parameters"] == {"top": 1} and facts["revision"] == "abc" and facts["seconds"] > 0
    assert facts["versions"]["python"] and len(facts["source"]) == 64


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises", "cell 5 (# compute): ZeroDivisionError: division by zero"),
        ("slow", "cell 3 (import time): took longer than the 3 s that a cell may take"),
        ("dead", "cell 3 (import os; os._exit(1)): the kernel died"),
        ("rude", "cell 3 (raise ValueError('\\x1b[31mred\\x07')): ValueError: red"),
        ("leaves", "cell 3 (import sys; sys.exit()): SystemExit ended the notebook early"),
    ],
)
def test_failure_names_notebook_cell_and_reason_and_leaves_no_page(batch, name, error):
    _, executions = batch
    execution = executions[name]
    assert not execution.ok
    assert execution.error.startswith(f"notebooks/{name}.ipynb, {error}") and "\n" not in execution.error
    assert not execution.output.exists() and not execution.sidecar.exists()
    assert execution.output.with_name(f"{name}.failed.ipynb").exists()


def test_nothing_half_written_remains(batch):
    root, _ = batch
    assert not [
        path for path in root.rglob("*") if path.name.startswith(".run-") or path.suffix == ".partial"
    ]


def test_two_runs_give_the_same_bytes_and_a_cached_run_is_instant(tmp_path):
    code = "import numpy as np\nprint(np.random.default_rng(0).normal(size=3), {'x', 'y', 'z'})"
    code += "\ndisplay('between')\nprint('after')"
    source = write_notebook(
        tmp_path / "a.ipynb", code, "import time\nfor i in range(3):\n    print(i); time.sleep(0.1)"
    )
    first, second = run(tmp_path, source)[0], run(tmp_path, source, out="other")[0]
    assert first.output.read_bytes() == second.output.read_bytes()
    kinds = [[out.output_type for out in c.get("outputs", ())] for c in read(first.output).cells]
    assert kinds[-2:] == [["stream", "display_data", "stream"], ["stream"]]
    assert str(tmp_path) not in first.output.read_text()

    written = first.output.stat().st_mtime_ns
    again = run(tmp_path, source)[0]
    assert again.ok and again.cached and again.seconds == first.seconds
    assert first.output.stat().st_mtime_ns == written


def test_cache_misses_when_anything_it_depends_on_changes(tmp_path):
    """One change after the other; between them it is found, so that each miss is of one change."""
    source, settings = write_notebook(tmp_path / "a.ipynb"), {}
    first = run(tmp_path, source)[0]
    for change in ("source", "output", "sidecar", "parameters", "reads"):
        assert run(tmp_path, source, **settings)[0].cached, f"before {change} changed"
        if change == "source":
            write_notebook(source, "2")
        elif change == "output":
            first.output.write_text(first.output.read_text() + " ")
        elif change == "sidecar":
            first.sidecar.write_text('{"source"')
        elif change == "parameters":
            settings["parameters"] = {"top": 2}
        else:
            settings["reads"] = lambda notebook: "new"
        assert not run(tmp_path, source, **settings)[0].cached, change


def test_notebooks_run_side_by_side(tmp_path):
    meet = """\
import pathlib, time
pathlib.Path({0!r}).touch()
while not pathlib.Path({1!r}).exists():
    time.sleep(0.1)"""
    a = write_notebook(tmp_path / "a.ipynb", meet.format("a", "b"))
    b = write_notebook(tmp_path / "b.ipynb", meet.format("b", "a"))
    assert [e.ok for e in run(tmp_path, a, b, workers=2, timeout=20)] == [True, True]


def test_what_is_imported_beforehand_shows_as_ever_and_is_shared_by_no_two(tmp_path):
    wide = "import pandas, sys\nprint(pandas.DataFrame([['x' * 12] * 9]))"
    sources = [
        write_notebook(tmp_path / f"{name}.ipynb", "import sys; early = 'pandas' in sys.modules", wide, last)
        for name, last in {
            "a": "pandas.seen = 1\nprint(early)",
            "b": "print(early, hasattr(pandas, 'seen'))",
        }.items()
    ]
    plain = [outputs(e.output).splitlines() for e in run(tmp_path, *sources, out="plain", workers=1)]
    early = [
        outputs(e.output).splitlines()
        for e in run(tmp_path, *sources, out="early", workers=1, preload=["pandas"])
    ]
    assert [shown[:-1] for shown in early] == [shown[:-1] for shown in plain]
    assert [shown[-1] for shown in plain + early] == ["False", "False False", "True", "True False"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupt_or_kill_ends_kernels_and_leaves_no_page(tmp_path, how):
    source = write_notebook(
        tmp_path / "a.ipynb",
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)",
    )
    program = (
        "from pathlib import Path; from lotterylib.publish import run_notebooks; "
        f"run_notebooks([Path({str(source)!r})], Path('out'), {{}}, root=Path('.'), progress=False)"
    )
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored, if the tests run in the background
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    kernel = int((tmp_path / "pid").read_text())
    process.send_signal(how)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode != 0 and ("KeyboardInterrupt" in stderr) == (how == signal.SIGINT)
    assert gone(kernel)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {MARKER} or how == signal.SIGKILL
    assert all(name == MARKER or name.startswith(".run-") for name in left)


REFUSALS = [
    ([], {}, None, "0 cells tagged parameters; there must be exactly one, a code cell"),
    ([cell("b = 1", "parameters")], {}, "top = 1", "2 cells tagged parameters"),
    ([], {"tpo": 1}, "top = 1", "the cell tagged parameters does not set tpo"),
    ([], {"top": 1}, "import top.other\nif True:\n    top = 1", "does not set top"),
    ([], {}, "%matplotlib inline", "the cell tagged parameters is not plain Python"),
    ([cell("1/0", "raises-exception")], {}, "top = 1", "cell 3 is tagged raises-exception; papermill fails"),
    ([cell("1", "skip-execution")], {}, "top = 1", "cell 3 is tagged skip-execution"),
    ([cell("top = 2", "injected-parameters")], {}, "top = 1", "cell 3 is tagged injected-parameters"),
]


@pytest.mark.parametrize(("cells", "parameters", "defaults", "message"), REFUSALS)
def test_refuses_what_papermill_would_only_warn_of(tmp_path, cells, parameters, defaults, message):
    source = write_notebook(tmp_path / "a.ipynb", *cells, parameters=defaults or "")
    if defaults is None:
        notebook = read(source)
        notebook.cells[1].metadata.pop("tags")
        nbformat.write(notebook, source)
    with pytest.raises(NotebookError, match=message) as caught:
        run(tmp_path, source, parameters=parameters)
    assert str(caught.value).startswith("a.ipynb: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_accepts_annotated_parameters_and_old_outputs(tmp_path):
    source = write_notebook(tmp_path / "a.ipynb", parameters="top: int = 1\nother = 2")
    notebook = read(source)
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, source)
    inspect_notebook(source, {"top": 3, "other": 4})


@pytest.mark.parametrize("text", ["{not json", "[]", '{"cells": 1, "nbformat": 4, "nbformat_minor": 5}'])
def test_refuses_a_file_that_is_no_notebook(tmp_path, text):
    source = tmp_path / "a.ipynb"
    source.write_text(text)
    with pytest.raises(NotebookError, match="a.ipynb: not a valid notebook"):
        run(tmp_path, source)


def test_refuses_settings_that_cannot_work(tmp_path):
    source = write_notebook(tmp_path / "a.ipynb")
    with pytest.raises(NotebookError, match="output folder is the repository itself"):
        run(tmp_path, source, out=".")
    with pytest.raises(NotebookError, match="must be text, numbers, lists or null"):
        run(tmp_path, source, parameters={"top": Path("x")})
    with pytest.raises(NotebookError, match="workers is 0"):
        run(tmp_path, source, workers=0)
    with pytest.raises(NotebookError, match="b.ipynb: no such file"):
        run(tmp_path, source, tmp_path / "b.ipynb")


def toc(root, *pages):
    lines = [f"  - file: {page}" for page in pages]
    (root / "_toc.yml").write_text("\n".join(["format: jb-book", "root: book/index", "chapters:", *lines]))
    (root / "book").mkdir(exist_ok=True)
    (root / "book" / "index.md").write_text("# Title\n")


def test_toc_gives_the_order_and_must_match_the_folder(tmp_path):
    a, b = (write_notebook(tmp_path / "notebooks" / name) for name in ("a.ipynb", "b.ipynb"))
    toc(tmp_path, "notebooks/b", "notebooks/a")
    assert notebooks_in_toc(tmp_path, tmp_path / "notebooks") == [b, a]
    toc(tmp_path, "notebooks/b")
    with pytest.raises(PublishError, match="does not list notebooks/a.ipynb"):
        notebooks_in_toc(tmp_path, tmp_path / "notebooks")
    toc(tmp_path, "notebooks/a", "notebooks/b", "notebooks/c", "book/none")
    with pytest.raises(PublishError, match="lists notebooks/c, book/none, for which there is no"):
        notebooks_in_toc(tmp_path, tmp_path / "notebooks")


def test_publish_names_each_failed_notebook_and_builds_nothing(tmp_path):
    write_notebook(tmp_path / "notebooks" / "a.ipynb", "1/0")
    write_notebook(tmp_path / "notebooks" / "b.ipynb", "unknown")
    toc(tmp_path, "notebooks/a", "notebooks/b")
    with pytest.raises(PublishError) as caught:
        build_book(tmp_path, tmp_path / "out", {}, {})
    assert str(caught.value) == (
        "2 of 2 notebooks failed: notebooks/a.ipynb, cell 3 (1/0): ZeroDivisionError: division by zero; "
        "notebooks/b.ipynb, cell 3 (unknown): NameError: name 'unknown' is not defined"
    )
    assert not (tmp_path / "out" / "stage").exists() and not (tmp_path / "out" / "site").exists()


def test_a_huge_output_is_cut_with_a_note(tmp_path):
    source = write_notebook(
        tmp_path / "a.ipynb",
        "print('x' * 200_000_000)\nprint('more')",
        "from IPython.display import HTML, display\ndisplay(HTML('y' * 6_000_000))",
        "print('short')",
    )
    execution = run(tmp_path, source)[0]
    assert execution.ok, execution.error
    long, large, short = [c.outputs[0] for c in read(execution.output).cells[-3:]]
    assert len(long.text) < 300_000 and long.text.endswith("cut here: 200,000,006 characters were printed\n")
    assert set(large.data) == {"text/plain"} and "6,000,0" in large.data["text/plain"]
    assert short.text == "short\n"


def test_a_notebook_sees_the_listed_part_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.setenv("LC_MEASUREMENT", "C")
    source = write_notebook(tmp_path / "a.ipynb", "import os\nprint(sorted(os.environ.items()))")
    seen = outputs(run(tmp_path, source)[0].output)
    assert "LC_MEASUREMENT" in seen and "'PATH'" in seen and "secret" not in seen
    monkeypatch.setenv("LOTTERY_BOOK_ENV", "OTHER, MY_TOKEN")
    assert "('MY_TOKEN', 'secret')" in outputs(run(tmp_path, source, out="again")[0].output)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    source = write_notebook(tmp_path / "notebooks" / "a.ipynb")
    theirs = tmp_path / "out" / "notebooks" / "a.ipynb"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    with pytest.raises(SettingError, match="out was not made by `lottery`, so it is left alone"):
        run(tmp_path, source)
    assert theirs.read_text() == "years of work"


def test_importing_publish_is_cheap():
    program = (
        "import sys, lotterylib.publish; "
        "print([m for m in ('torch', 'papermill', 'nbformat', 'yaml', 'sphinx') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert json.loads(found.stdout.replace("'", '"')) == [], found.stderr
