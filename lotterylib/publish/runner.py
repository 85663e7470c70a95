"""Run notebooks with papermill, several at a time, and never show a page whose run failed.

Each notebook becomes ``out/<its path below root>`` with a sidecar ``<name>.run.json`` that says what it was
made from and how long it took; where the sidecar still fits, the notebook is not run again.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..files import claim, sha256, write_whole
from ..machine.revision import versions
from .environment import environment
from .errors import NotebookError
from .execute import EXECUTED, KERNEL, SOURCE, STARTUP

if TYPE_CHECKING:
    from .nursery import Child, Nursery

# seconds that an interrupted notebook has to shut its kernel down
GRACE = 10
# seconds that a kernel may take to start and to end
START = 120
CONTROL = re.compile(r"\x1b\[[\d;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")
REFUSED_TAGS = {
    "raises-exception": "papermill fails on it all the same: catch the exception in the cell and print it",
    "skip-execution": "a page shows no cell that did not run: delete the cell",
    "injected-parameters": "this is an executed notebook: put the clean source here",
}


@dataclass(frozen=True)
class Execution:
    """The outcome of one notebook; ``error`` is one line that names notebook, cell and reason."""

    source: Path
    output: Path
    ok: bool
    seconds: float
    cached: bool = False
    error: str = ""

    @property
    def sidecar(self) -> Path:
        """Return the file beside the output that says how it came to be."""
        return self.output.with_suffix(".run.json")

    @property
    def facts(self) -> dict[str, Any]:
        """Return the sidecar's content: hashes, parameters, seconds, versions and the caller's own facts."""
        return _read_json(self.sidecar)


def run_notebooks(
    notebooks: Sequence[Path],
    out: Path,
    parameters: Mapping[str, Any],
    *,
    root: Path,
    workers: int = 2,
    timeout: int = 600,
    reads: Callable[[Path], str] = lambda notebook: "",
    facts: Mapping[str, Any] | None = None,
    preload: Sequence[str] = (),
    progress: bool = True,
) -> list[Execution]:
    """Execute each notebook, with ``root`` as its working directory; return one ``Execution`` each, in order.

    Args:
        notebooks: Clean sources below ``root``.
        out: Where the executed ones go: a folder of its own.
        parameters: Values for the cell tagged ``parameters`` of each.
        root: The book's repository.
        workers: Notebooks that run at once.
        timeout: Seconds that a cell may take.
        reads: Gives a hash of what a notebook's result depends on beside its text and parameters.
        facts: Copied to the sidecars, like ``device`` and ``revision``.
        preload: Modules that most notebooks import: imported once for all.
        progress: Show a bar.

    Raises:
        NotebookError: before anything runs. A notebook that fails later is reported, not raised, and leaves
            ``<name>.failed.ipynb`` in place of ``<name>.ipynb``.
    """
    from tqdm import tqdm

    root, out = Path(root).resolve(), Path(out).resolve()
    sources = [Path(notebook).resolve() for notebook in notebooks]
    _check(sources, dict(parameters), root, out, workers)
    claim(out)
    with TemporaryDirectory(prefix=".run-", dir=out, ignore_cleanup_errors=True) as work:
        key = {"parameters": json.loads(json.dumps(dict(parameters)))}
        session = _Session(root, out, Path(work), key, dict(facts or {}), workers, timeout, preload)
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(total=len(sources), desc="notebooks", unit="notebook", disable=not progress) as bar,
        ):
            futures = [pool.submit(session.run, source, reads(source)) for source in sources]
            try:
                for future in as_completed(futures):
                    bar.set_postfix_str(future.result().source.stem, refresh=False)
                    bar.update()
            # Ctrl-C above all: no kernel may outlive this call
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                session.stop()
                raise
            finally:
                session.close()
    return [future.result() for future in futures]


def inspect_notebook(source: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse what papermill would only warn of, or silently run in another way than it reads."""
    import nbformat

    try:
        notebook = nbformat.read(source, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise NotebookError("no such file") from None
    # nbformat raises its own kinds beside ValueError and KeyError
    except Exception as error:
        raise NotebookError(f"not a valid notebook: {str(error).partition(chr(10))[0]}") from None
    tagged = []
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags", [])
        for tag in REFUSED_TAGS.keys() & set(tags):
            raise NotebookError(f"cell {number} is tagged {tag}; {REFUSED_TAGS[tag]}")
        if "parameters" in tags:
            tagged.append(cell)
    if [cell.cell_type for cell in tagged] != ["code"]:
        raise NotebookError(f"{len(tagged)} cells tagged parameters; there must be exactly one, a code cell")
    unknown = sorted(parameters.keys() - _assigned(tagged[0].source))
    if unknown:
        raise NotebookError(f"the cell tagged parameters does not set {', '.join(unknown)}")


def _check(sources: list[Path], parameters: dict, root: Path, out: Path, workers: int) -> None:
    """Raise one ``NotebookError`` with a line for each fault found in any notebook."""
    if workers < 1:
        raise NotebookError(f"workers is {workers}; it must be at least 1")
    if out == root:
        raise NotebookError(
            f"the output folder is the repository itself ({root}): give it a folder of its own"
        )
    try:
        json.dumps(parameters)
    except TypeError as error:
        raise NotebookError(f"notebook parameters must be text, numbers, lists or null: {error}") from None
    faults = []
    for source in sources:
        if not source.is_relative_to(root):
            faults.append(f"{source} is not below {root}")
            continue
        try:
            inspect_notebook(source, parameters)
        except NotebookError as error:
            faults.append(f"{source.relative_to(root).as_posix()}: {error}")
    if faults:
        raise NotebookError("\n".join(faults))


def _assigned(code: str) -> set[str]:
    """Return the names that the code assigns at its top level."""
    try:
        body = ast.parse(code).body
    except SyntaxError as error:
        raise NotebookError(f"the cell tagged parameters is not plain Python: {error.msg}") from None
    targets = []
    for statement in body:
        targets += getattr(statement, "targets", [getattr(statement, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}


@dataclass
class _Session:
    """The common part of all notebooks of one call: settings, the scratch folder and the processes now running."""

    root: Path
    out: Path
    work: Path
    key: dict[str, Any]
    facts: dict[str, Any]
    workers: int
    timeout: int
    preload: Sequence[str]
    running: set[Child] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    nursery: Nursery | None = None

    def run(self, source: Path, read: str) -> Execution:
        """Run one notebook, unless its page is there and still fits."""
        name = source.relative_to(self.root)
        output = self.out / name
        code = source.read_bytes()
        key = self.key | {"source": sha256(code), "reads": read}
        done = _cached(source, output, key)
        if done:
            return done
        folder = self.work / "jobs" / name
        folder.mkdir(parents=True)
        (folder / SOURCE).write_bytes(code)
        startup = folder / "ipython" / "profile_default" / "startup" / "limits.py"
        startup.parent.mkdir(parents=True)
        startup.write_text(STARTUP)
        output.parent.mkdir(parents=True, exist_ok=True)
        for stale in (output, output.with_suffix(".run.json"), output.with_suffix(".failed.ipynb")):
            stale.unlink(missing_ok=True)
        start = time.perf_counter()
        error = self._execute(folder, limit=START + self.timeout * len(json.loads(code)["cells"]))
        seconds = round(time.perf_counter() - start, 2)
        if error:
            # an interrupted notebook has not failed
            if not self.stopped.is_set():
                _keep(folder / EXECUTED, output.with_suffix(".failed.ipynb"))
            return Execution(source, output, False, seconds, error=CONTROL.sub("", name.as_posix() + error))
        _keep(folder / EXECUTED, output)
        execution = Execution(source, output, True, seconds)
        run = {"output": sha256(output.read_bytes()), "seconds": seconds, "versions": versions()}
        sidecar = json.dumps(self.facts | key | run, indent=1, sort_keys=True)
        write_whole(execution.sidecar, f"{sidecar}\n".encode())
        return execution

    def _execute(self, folder: Path, limit: float) -> str:
        """Run the job in ``folder`` for at most ``limit`` seconds; an empty text, or what went wrong where."""
        job = {"parameters": self.key["parameters"], "root": str(self.root), "timeout": self.timeout}
        own = {"JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "IPYTHONDIR": str(folder / "ipython")}
        child = self._nursery().start(job, folder, own)
        self.running.add(child)
        if self.stopped.is_set():
            child.send(signal.SIGINT)
        ended = child.wait(limit)
        if not ended:
            # its kernel notices within a second that its parent is gone, and ends
            child.send(signal.SIGKILL)
            child.wait()
        self.running.discard(child)
        if not ended:
            return f": did not end within {limit:.0f} s"
        return _verdict(child.code, _read(folder / "stdout"), _read(folder / "stderr"))

    def _nursery(self) -> Nursery:
        """Return the process that forks, begun with the first notebook that has to run."""
        with self.lock:
            if self.nursery is None:
                from .nursery import PROVISIONER, Nursery

                _write_kernelspec(self.work / "jupyter", PROVISIONER)
                self.nursery = Nursery(self._environment(), self.preload)
            return self.nursery

    def _environment(self) -> dict[str, str]:
        """Return the environment of all processes and kernels: nothing of the user's own set-up leaks in. Each has a folder
        of its own for IPython, with our start-up file and none of the user's."""
        # PyTorch takes seconds to import, and a cached run does without
        from ..machine.devices import processors

        threads = str(max(1, processors() // self.workers))
        return environment(
            # sets print in the same order each time
            PYTHONHASHSEED="0",
            JUPYTER_PATH=str(self.work / "jupyter"),
            MPLBACKEND="module://matplotlib_inline.backend_inline",
            OMP_NUM_THREADS=threads,
            MKL_NUM_THREADS=threads,
            TQDM_DISABLE="1",
        )

    def stop(self) -> None:
        """Interrupt what runs, so that each process shuts its kernel down; kill what does not obey."""
        self.stopped.set()
        deadline = time.monotonic() + GRACE
        running = list(self.running)
        for child in running:
            child.send(signal.SIGINT)
        for child in running:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                child.send(signal.SIGKILL)

    def close(self) -> None:
        """End the process that forks."""
        if self.nursery:
            self.nursery.close()


def _verdict(code: int | None, stdout: str, stderr: str) -> str:
    """Return what the exit code and the last lines of a job say: empty, or ``, cell N (first line): reason``."""
    if code == 0:
        return ""
    try:
        said = json.loads(stdout.strip().splitlines()[-1])
        place = f", cell {said['cell']} ({said['line']})" if said["cell"] else ""
        return f"{place}: {said['reason']}"
    except (IndexError, KeyError, TypeError, ValueError):
        last = (stderr.strip().splitlines() or ["no message"])[-1]
        return f": its process ended with code {code}: {last}"


def _write_kernelspec(folder: Path, provisioner: str) -> None:
    """Register a kernel that is this very interpreter, whatever kernels are registered under whatever name."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    path = folder / "kernels" / KERNEL / "kernel.json"
    path.parent.mkdir(parents=True)
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps(spec | {"metadata": {"kernel_provisioner": {"provisioner_name": provisioner}}})
    )


def _cached(source: Path, output: Path, key: dict[str, Any]) -> Execution | None:
    """Return the execution that stands at ``output``, if it came from ``key`` and nobody touched it since."""
    run = _read_json(output.with_suffix(".run.json"))
    if not output.is_file() or any(run.get(name) != value for name, value in key.items()):
        return None
    if run.get("output") != sha256(output.read_bytes()):
        return None
    return Execution(source, output, True, run.get("seconds", 0.0), cached=True)


def _keep(executed: Path, target: Path) -> None:
    """Move to its place in one step; a run that failed before it wrote anything leaves nothing."""
    if executed.is_file():
        os.replace(executed, target)
    shutil.rmtree(executed.parent, ignore_errors=True)


def _read(path: Path) -> str:
    """Return what a process wrote, nothing where it came to no word."""
    return path.read_text(errors="replace") if path.exists() else ""


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
