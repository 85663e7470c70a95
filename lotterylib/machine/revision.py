"""Which code made a number."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path


@functools.cache
def revision() -> str:
    """The commit of the checkout that this package is imported from ("…-dirty" with uncommitted changes to it), or the
    installed version."""
    folder = Path(__file__).parent
    if (folder.parent / ".git").exists():
        try:
            commit = _git(folder, "rev-parse", "--short=10", "HEAD")
            # records of a run do not make the code that wrote them another one
            changed = _git(folder, "status", "--porcelain", "--", ".", ":(exclude)reference")
            return commit + ("-dirty" if changed else "")
        except (OSError, subprocess.CalledProcessError):
            pass
    try:
        return "v" + metadata.version("lotterylib")
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("lotterylib", "torch", "torchvision", "numpy", "scikit-learn"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
