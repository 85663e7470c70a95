"""The environment that notebooks see: a published page must not be able to print a token that happens to be set.

``PASSED`` is all that reaches a kernel from outside. A store in the cloud may need more:
``LOTTERY_BOOK_ENV="AWS_PROFILE AWS_REGION"`` names further variables to pass on.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

PASSED = (
    # programs, folders and language
    "PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_CACHE_HOME",
    # libraries that are loaded
    "LD_LIBRARY_PATH", "DYLD_*", "VIRTUAL_ENV", "CONDA_PREFIX",
    # the machine's devices
    "CUDA_*", "CUBLAS_*", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
)  # fmt: skip
MORE = "LOTTERY_BOOK_ENV"
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def environment(**own: str) -> dict[str, str]:
    """Return the environment of a process that makes pages: what is on the list, and ``own``. It imports the library
    that started it."""
    names = (*PASSED, *os.environ.get(MORE, "").replace(",", " ").split())
    passed = {k: v for k, v in os.environ.items() if any(fnmatchcase(k, name) for name in names)}
    paths = [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    return passed | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | own
