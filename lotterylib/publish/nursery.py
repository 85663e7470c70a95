"""Processes for notebooks, forked from one that has imported what notebooks import: PyTorch takes seconds to import, a fork
none.

    runner: Nursery ──► serve ──fork──► papermill, one process per notebook ──fork──► the notebook's kernel

A process with threads must not fork, so the kernel's is forked before papermill starts, and waits for its command.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import IO, Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

PROGRAM = "import sys; from lotterylib.publish.nursery import serve; serve(sys.argv[1])"
# the class that starts a kernel in a forked process, as its specification names it
PROVISIONER = "lottery-forked"
# seconds between two looks at who has ended
PAUSE = 0.05


@dataclass(eq=False)
class Child:
    """A forked process, seen from the runner, which is not its parent."""

    pid: int = 0
    code: int | None = None
    born: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether the process ended within ``seconds``; ``code`` then says how."""
        return self.ended.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self.born.wait()
        if not self.ended.is_set():
            os.kill(self.pid, number)

    def end(self, code: int) -> None:
        """Note that the process is gone."""
        self.code = code
        self.born.set()
        self.ended.set()


class Nursery:
    """The process that forks, and its children by number.

    Args:
        environment: Of the process and of all that it forks.
        preload: Modules that it imports beforehand.
    """

    def __init__(self, environment: Mapping[str, str], preload: Sequence[str] = ()):
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(list(preload))],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # the terminal's Ctrl-C reaches the runner alone, which passes it on
            start_new_session=True,
        )
        self._children: list[Child] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, job: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> Child:
        """Fork a process that runs ``job`` in ``folder``, with more environment; its output goes to files there."""
        child = Child()
        with self._lock:
            order = [len(self._children), dict(job), str(folder), dict(environment)]
            self._children.append(child)
            try:
                print(json.dumps(order), file=self._process.stdin, flush=True)
            # it is gone
            except OSError:
                child.end(1)
        return child

    def close(self) -> None:
        """End the process, and with it what still runs."""
        pipe(self._process.stdin).close()
        self._process.wait()

    def _listen(self) -> None:
        for line in pipe(self._process.stdout):
            number, pid, code = json.loads(line)
            child = self._children[number]
            if code is None:
                child.pid = pid
                child.born.set()
            else:
                child.end(code)
        with self._lock:
            for child in self._children:
                if not child.ended.is_set():
                    child.end(1)


def pipe(stream: IO[str] | None) -> IO[str]:
    """Return a pipe that was asked for."""
    assert stream is not None
    return stream


def serve(preload: str) -> None:
    """Fork a process for each order on stdin, and say on stdout when it begins and ends. It starts no thread."""
    from .execute import main

    for name in json.loads(preload):
        importlib.import_module(name)
    # what is shared stays shared: no child's collector writes into it
    gc.freeze()
    running: dict[int, int] = {}
    unread = b""
    while True:
        if select.select([0], [], [], PAUSE if running else None)[0]:
            read = os.read(0, 1 << 16)
            if not read:
                break
            *orders, unread = (unread + read).split(b"\n")
            for order in orders:
                number, job, folder, environment = json.loads(order)
                pid = os.fork()
                if not pid:
                    sys.exit(_run(main, job, folder, environment))
                running[pid] = number
                print(json.dumps([number, pid, None]), flush=True)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            print(
                json.dumps([running.pop(ended[0]), ended[0], os.waitstatus_to_exitcode(ended[1])]), flush=True
            )
    for pid in running:
        os.kill(pid, signal.SIGINT)


def _run(main: Callable[[dict], int], job: dict, folder: str, environment: Mapping[str, str]) -> int:
    """Run one job in the forked process; return its exit code."""
    os.chdir(folder)
    os.environ.update(environment)
    for name, stream, flags in (
        (os.devnull, 0, os.O_RDONLY),
        ("stdout", 1, os.O_WRONLY | os.O_CREAT),
        ("stderr", 2, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    Waiting.kernel = Waiting()
    own = EntryPoint(PROVISIONER, f"{__name__}:{Forked.__name__}", KernelProvisionerFactory.GROUP_NAME)
    KernelProvisionerFactory.instance().provisioners[PROVISIONER] = own
    return main(job)


class Waiting:
    """A forked process that becomes a kernel when it is told which. It stands in for the ``Popen`` of Jupyter's client."""

    kernel: Waiting
    stdin = stdout = stderr = None

    def __init__(self):
        commands, self._command = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os.close(self._command)
            sys.exit(_become_kernel(commands))
        os.close(commands)

    def start(self, command: list[str], cwd: str, env: Mapping[str, str]) -> None:
        """Begin the kernel of this command."""
        with os.fdopen(self._command, "w") as pipe:
            json.dump([command, cwd, dict(env)], pipe)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Return the exit code, once it has ended."""
        return self._wait(0)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _wait(self, flags: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _become_kernel(commands: int) -> None:
    os.setsid()
    with os.fdopen(commands) as pipe:
        text = pipe.read()
    # papermill ended before it came to the kernel
    if not text:
        return
    command, cwd, environment = json.loads(text)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # asked when it is imported: is this a terminal or a notebook?
    if "pandas" in sys.modules:
        sys.modules["pandas"].set_option("display.max_columns", 20)
    sys.argv = command[2:]
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance(argv=command[3:])


class Forked(LocalProvisioner):
    """Starts a kernel in the process that waits for it; the kernel's specification names it."""

    async def launch_kernel(self, cmd, **kwargs):
        """Begin the waiting kernel; return how it is reached."""
        self.process = Waiting.kernel
        Waiting.kernel.start(cmd, str(kwargs["cwd"]), kwargs["env"])
        self.pid = self.pgid = Waiting.kernel.pid
        self.cwd = kwargs["cwd"]
        return self.connection_info
