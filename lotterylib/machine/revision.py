"""The code that made a number."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from ..files import sha256

PACKAGES = ("lotterylib", "torch", "torchvision", "numpy", "scikit-learn")


@functools.cache
def revision() -> str:
    """Return the commit of the checkout that this package is imported from ("…-dirty-" and a digest of the
    difference, with uncommitted changes to it), or the installed version."""
    package = Path(__file__).parents[1]
    if (package.parent / ".git").exists():
        try:
            commit = _git(package, "rev-parse", "--short=10", "HEAD")
            # records of a run do not make the code that wrote them another one
            where = ("--", ".", ":(exclude)reference")
            changed = _git(package, "diff", "HEAD", "--binary", "--no-ext-diff", *where)
            new = _git(package, "ls-files", "--others", "--exclude-standard", *where).splitlines()
            if changed or new:
                parts = [changed.encode(), *(name.encode() + (package / name).read_bytes() for name in new)]
                commit += f"-dirty-{sha256(b''.join(parts))[:8]}"
            return commit
        except (OSError, subprocess.SubprocessError):
            pass
    version = versions().get("lotterylib")
    return f"v{version}" if version else "unknown"


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of what numbers depend on, package → version."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
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
