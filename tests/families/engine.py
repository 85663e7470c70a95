"""Papermill without a kernel: parameters are injected and cells run as papermill has it, each notebook in an IPython shell in
a process of its own, forked from one that has imported what notebooks import. Starting a kernel takes seconds, a fork
none, and no state leaks from one notebook into another."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from pathlib import Path
from typing import Any

ENGINE = "in-process"


def execute(source: Path, parameters: dict[str, Any], root: Path, out: Path, seconds: float) -> str:
    """Runs the notebook in the folder ``root`` and writes it to ``out``; an empty text, or the cell that failed and why."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.families.preloaded"])
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(
        target=_run, args=(there, str(source), parameters, str(root), str(out)), daemon=True
    )
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            return f"took longer than {seconds:g} s"
        return here.recv()
    except EOFError:
        process.join()
        return f"its process ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _run(pipe, source: str, parameters: dict[str, Any], root: str, out: str) -> None:
    import papermill
    import torch
    from papermill.engines import papermill_engines

    torch.set_num_threads(1)
    os.chdir(root)
    papermill_engines.register(ENGINE, _engine())
    try:
        papermill.execute_notebook(
            source, out, parameters, engine_name=ENGINE, kernel_name="python3", language="python",
            progress_bar=False, autosave_cell_every=0, request_save_on_cell_execute=False,
        )  # fmt: skip
        pipe.send("")
    except Exception:
        pipe.send(traceback.format_exc())
    pipe.close()
    sys.stdout.flush()


def _engine() -> type:
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from matplotlib_inline.backend_inline import flush_figures
    from papermill.engines import Engine

    class InProcess(Engine):
        """Cell by cell in one shell; stops at the first error, as a kernel's clients do."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            shell = InteractiveShell.instance(colors="NoColor", xmode="Plain")
            shell.events.register("post_execute", flush_figures)
            for index, cell in enumerate(nb_man.nb.cells):
                if cell.cell_type != "code":
                    continue
                nb_man.cell_start(cell, index)
                with capture_output() as said:
                    result = shell.run_cell(cell.source, store_history=True)
                cell.execution_count = shell.execution_count - 1
                for name, text in (("stdout", said.stdout), ("stderr", said.stderr)):
                    if text:
                        cell.outputs.append(nbformat.v4.new_output("stream", name=name, text=text))
                for shown in said.outputs:
                    data, metadata = shown.data, shown.metadata or {}
                    cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
                error = result.error_before_exec or result.error_in_exec
                if error:
                    frames = traceback.format_exception(error)
                    cell.outputs.append(
                        nbformat.v4.new_output(
                            "error", ename=type(error).__name__, evalue=str(error), traceback=frames
                        )
                    )
                    nb_man.cell_exception(cell, index)
                    break
                nb_man.cell_complete(cell, index)

    return InProcess
