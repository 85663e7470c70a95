"""Papermill without kernels: parameters are injected and cells run as papermill has it, but in an IPython shell, each notebook
in a process of its own that is forked from one which has imported what notebooks import. Starting a kernel takes
seconds, a fork none, and no state leaks from one notebook into another.

``Shells`` is the caller's side; run as a module, this is the process that forks. It must start no thread.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.sources import ROOT

ENGINE = "shell"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}  # fmt: skip


class Shells:
    """Executes notebooks one after the other, in the repository's folder, until it is closed; with ``gpu`` on a machine that has
    one, as far as they can tell (``tests.device``)."""

    def __init__(self, gpu: bool = False):
        self._gpu = gpu
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.families.engine"], cwd=ROOT, env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def execute(self, source: Path, parameters: dict[str, Any], out: Path, seconds: int = 300) -> str:
        """Runs a notebook and writes it to ``out``; an empty text, or the cell that failed and why."""
        failed = out.with_suffix(".error.txt")
        job = [str(source), str(out), parameters, str(failed), seconds, self._gpu]
        print(json.dumps(job), file=self._process.stdin, flush=True)
        code = self._process.stdout.readline().strip()
        if code == "0":
            return ""
        if code == str(-signal.SIGALRM):
            return f"took longer than {seconds} s"
        return failed.read_text() if failed.exists() else f"its process ended with code {code}"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def main() -> None:
    import ipywidgets  # noqa: F401
    import papermill  # noqa: F401
    import skimage.segmentation  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch._dynamo  # noqa: F401

    from lotterylib import figures, scorecard  # noqa: F401
    from tests.device import emulated  # noqa: F401
    from tests.families.hurry import hurrying

    for patch in hurrying():
        patch.start()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(2, 1)  # what a notebook writes past its shell is no answer
            _execute(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _execute(source: str, out: str, parameters: dict[str, Any], failed: str, seconds: int, gpu: bool) -> None:
    """In the child, which ends here."""
    import papermill
    from papermill.engines import papermill_engines

    from tests.device.emulated import emulated

    signal.alarm(seconds)
    papermill_engines.register(ENGINE, _engine())
    code = 0
    try:
        with emulated() if gpu else nullcontext():
            papermill.execute_notebook(
                source, out, parameters, engine_name=ENGINE, kernel_name="python3", language="python",
                progress_bar=False, autosave_cell_every=0, request_save_on_cell_execute=False,
            )  # fmt: skip
    except BaseException:
        Path(failed).write_text(traceback.format_exc())
        code = 1
    sys.stderr.flush()
    os._exit(code)


def _engine() -> type:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from matplotlib_inline.backend_inline import flush_figures
    from nbformat.v4 import new_output
    from papermill.engines import Engine

    class Shell(Engine):
        """Cell by cell in one shell; stops at the first error, as a kernel's clients do."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            shell = InteractiveShell.instance(colors="NoColor")
            shell.events.register("post_execute", flush_figures)
            for index, cell in enumerate(nb_man.nb.cells):
                if cell.cell_type != "code":
                    continue
                nb_man.cell_start(cell, index)
                with capture_output() as said:
                    result = shell.run_cell(cell.source, store_history=True)
                cell.execution_count = shell.execution_count - 1
                streams = {"stdout": said.stdout, "stderr": said.stderr}
                cell.outputs = [new_output("stream", name=n, text=t) for n, t in streams.items() if t]
                cell.outputs += [
                    new_output("display_data", shown.data, metadata=shown.metadata or {})
                    for shown in said.outputs
                ]
                if error := result.error_before_exec or result.error_in_exec:
                    frames = [cell.source, "\n\n", *traceback.format_exception(error)]
                    about = {"ename": type(error).__name__, "evalue": str(error), "traceback": frames}
                    cell.outputs.append(new_output("error", **about))
                    nb_man.cell_exception(cell, index)
                    break
                nb_man.cell_complete(cell, index)

    return Shell


if __name__ == "__main__":
    main()
