"""Execute one notebook in a process of its own, which runs ``main(job)`` and exits with what it returns.

The job has ``parameters``, ``root`` and ``timeout``. The working directory holds ``source.ipynb``
and receives ``executed.ipynb``, on success in its canonical form. Exit code 0 alone means success; on
failure the last line on stdout is JSON with ``cell``, ``line`` and ``reason``.

The process boundary is what makes Ctrl-C, a crash or a changed directory the affair of one notebook only.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

SOURCE, EXECUTED = "source.ipynb", "executed.ipynb"
KERNEL = "publish"
ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
# characters that a cell may print
LONGEST = 200_000
# characters of a picture, table or page that an output may show
LARGEST = 5_000_000
STARTUP = """\
from lotterylib.publish.execute import limit_printing
limit_printing(get_ipython())
del limit_printing
"""


class UnfinishedError(Exception):
    """A notebook that stopped before its end without raising."""


def main(job: dict[str, Any]) -> int:
    """Run one job; return the exit code."""
    # ignored, if a shell started us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
    try:
        notebook = execute(**job)
        Path(EXECUTED).write_text(canonical(notebook), encoding="utf-8")
    # the boundary: whatever it is, the caller gets it as one line
    except Exception as error:
        print(json.dumps(where() | {"reason": explain(error, job["timeout"])}))
        return 1
    return 0


def follow(parent: int) -> None:
    """End this process, and so its kernel, when the one that started it is gone (killed, say)."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)


def execute(parameters: dict[str, Any], root: str, timeout: int):
    """Return the executed notebook; raise whatever papermill, nbclient or the kernel raise."""
    import papermill

    notebook = papermill.execute_notebook(
        SOURCE,
        EXECUTED,
        parameters=parameters,
        kernel_name=KERNEL,
        language="python",
        progress_bar=False,
        execution_timeout=timeout,
        # the kernel's directory; papermill's `cwd` moves this process
        resources={"metadata": {"path": root}},
        record_timing=False,
    )
    check_finished(notebook)
    return notebook


def check_finished(notebook) -> None:
    """Refuse what papermill lets pass: a cell that ended by ``sys.exit()`` and those it left out."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                raise UnfinishedError(f"{output.ename} ended the notebook early")
        if cell.execution_count is None:
            raise UnfinishedError("a cell was not executed")


def where() -> dict[str, Any]:
    """Return number (from 1, as in the source) and first line of the last cell that started."""
    import nbformat

    place = {"cell": 0, "line": ""}
    try:
        cells = nbformat.read(EXECUTED, as_version=4).cells
    except (OSError, ValueError):
        return place
    own = [cell for cell in cells if not ADDED_TAGS & set(cell.metadata.get("tags", ()))]
    for number, cell in enumerate(own, start=1):
        if cell.metadata.get("papermill", {}).get("start_time"):
            place = {"cell": number, "line": cell.source.strip().partition("\n")[0]}
    return place


def explain(error: Exception, timeout: int) -> str:
    """Return one line on why a notebook failed."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if isinstance(error, CellTimeoutError):
        return f"took longer than the {timeout} s that a cell may take"
    if isinstance(error, DeadKernelError):
        return "the kernel died: out of memory, or the cell ended its own process"
    if isinstance(error, UnfinishedError):
        return str(error)
    # papermill's error carries the name and the message of the kernel's
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return f"{name}: {text.strip()}".partition("\n")[0]


def merge_streams(outputs: list) -> list:
    """Join neighbouring texts of one stream: how print's text is cut into messages depends on the clock."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def limit_printing(shell) -> None:
    """Cut what a cell of this kernel prints beyond the limit, with a note; the kernel runs it before the first cell."""
    printed, write = 0, sys.stdout.write

    def limited(text: str) -> int:
        nonlocal printed
        shown = text[: max(0, LONGEST - printed)]
        printed += len(text)
        if shown:
            write(shown)
        return len(text)

    def note(*_) -> None:
        nonlocal printed
        if printed > LONGEST:
            write(f"\n… cut here: {printed:,} characters were printed\n")
        printed = 0

    sys.stdout.write = limited
    shell.events.register("post_run_cell", note)


def leave_out(output) -> None:
    """Replace an output that no page could show by a note, in place."""
    data = output.get("data", {})
    size = sum(len(str(content)) for content in data.values())
    if size > LARGEST:
        data.clear()
        data["text/plain"] = f"… left out: an output of {size:,} characters is too large for a page"


def canonical(notebook) -> str:
    """Return the notebook as JSON text without times, paths, process ids and random ids: same input, same bytes."""
    import nbformat

    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                leave_out(output)
    text = re.sub(r"ipykernel_\d+", "ipykernel", nbformat.writes(notebook))
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    # in the order of creation; the text has them sorted by random id
    for number, model in enumerate(models):
        text = text.replace(model, f"{number:032x}")
    return nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"
