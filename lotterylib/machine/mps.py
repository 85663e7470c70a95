"""NVIDIA's MPS, which lets processes that share a GPU calculate at the same time; without it they take turns."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import SettingError, one_line

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
# where a daemon is that was started without a word on where
USUAL = Path("/tmp/nvidia-mps")
# seconds for the daemon to answer, and for a first process to find the GPU through it
PATIENCE = 60
_TRIAL = "import torch; torch.zeros(1, device='cuda').item()"


@contextlib.contextmanager
def mps() -> Iterator[dict[str, str]]:
    """Give the environment of processes that share GPUs by MPS, whose daemon ends with the block.

    Where one runs in the usual place, or the environment says where one is, that one is left as it is, and the environment
    given is empty.

    Raises:
        SettingError: Where there is none to be had, with the reason.
    """
    if PIPES in os.environ or _runs_one():
        yield {}
        return
    # not in the store: sockets need a short path, on this machine
    with tempfile.TemporaryDirectory(prefix="mps-") as folder, contextlib.ExitStack() as daemon:
        places = {PIPES: folder, LOGS: folder}
        try:
            control = shutil.which(CONTROL)
            if control is None:
                raise FileNotFoundError(f"there is no {CONTROL} here")
            _run([control, "-d"], places)
            daemon.callback(_quit, control, places)
            _run([sys.executable, "-c", _TRIAL], places)
        except (OSError, subprocess.SubprocessError) as error:
            raise SettingError(f"no MPS ({_reason(error)})") from None
        yield places


def _runs_one() -> bool:
    """Return whether a daemon is in the usual place, where every process finds it."""
    try:
        os.kill(int((USUAL / f"{CONTROL}.pid").read_text()), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    # another user's is one too
    except OSError:
        pass
    return True


def _quit(control: str, places: dict[str, str]) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _run([control], places, "quit\n")


def _run(command: list[str], places: dict[str, str], said: str = "") -> None:
    environment = os.environ | places
    subprocess.run(
        command, env=environment, input=said, capture_output=True, text=True, timeout=PATIENCE, check=True
    )


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    said = str(getattr(error, "stderr", None) or getattr(error, "stdout", None) or "").strip()
    return said.splitlines()[-1] if said else one_line(error)
