"""Do the notebooks run with what Google Colab has? Heavy, so not part of the tests: `make colab`.

    python3.13 -m tests.colab.contract [NOTEBOOK …] [--versions freeze.txt] [--keep FOLDER]
    python3.13 -m tests.colab.contract --drift freeze.txt

The first makes a fresh environment with Colab's versions and nothing of the book's tools, puts a stand-in for
`google.colab` there, builds the wheel of this checkout, and runs every notebook from top to bottom in a foreign folder.
The set-up cell of the first one installs the library, from the wheel where Colab takes the release.
The second compares `versions.txt` with the list that Colab publishes. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = Path(__file__).with_name("versions.txt")
SECONDS = 900  # that a notebook may take
# On Colab, google.colab is loaded before the first cell; and there the release, here the wheel, is what is installed.
STAND_IN = """\
import os, subprocess, sys, types

sys.modules["google"] = types.ModuleType("google")
sys.modules["google.colab"] = sys.modules["google"].colab = types.ModuleType("google.colab")
run = subprocess.run

def from_wheel(command, *more, **settings):
    if isinstance(command, list):
        wheel = os.environ["LOTTERY_WHEEL"]
        command = [wheel if str(word).startswith("lotterylib @") else word for word in command]
    return run(command, *more, **settings)

subprocess.run = from_wheel
"""


def pinned(text: str) -> dict[str, str]:
    """Name → version of each line like ``torch==2.11.0`` or ``torch @ https://…/torch-2.11.0%2Bcu128-….whl``."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([\w.-]+)\s*(?:==\s*|@\s*\S*/[\w.]+-)(\d[\w.]*)", line)
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def drift(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """What differs in the first two parts of the version; a third is a repair and may differ."""
    lines = []
    for package, version in ours.items():
        now = theirs.get(package, "missing")
        if now.split(".")[:2] != version.split(".")[:2]:
            lines.append(f"{package}: checked with {version}, Colab has {now}")
    return lines


def environment(folder: Path, versions: dict[str, str]) -> Path:
    """Python of a new environment with ``versions`` and the stand-in for ``google.colab``."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = [f"{package}=={version}" for package, version in versions.items()]
    pip(python, "install", "setuptools>=77", *wanted)
    where = "import site; print(site.getsitepackages()[0])"
    packages = subprocess.run(
        [python, "-c", where], capture_output=True, text=True, check=True
    ).stdout.strip()
    (Path(packages) / "sitecustomize.py").write_text(STAND_IN)
    return python


def build_wheel(python: Path, folder: Path) -> Path:
    pip(python, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("lotterylib-*.whl")
    return wheel


def pip(python: Path, *words: str) -> None:
    options = {"LOTTERY_WHEEL": "", **os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([python, "-m", "pip", "--quiet", *words], check=True, env=options)


def run(python: Path, notebook: Path, folder: Path, wheel: Path) -> str:
    """Runs a notebook in ``folder``, far from the checkout; empty, or the end of what it printed before it failed."""
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    settings |= {"LOTTERY_WHEEL": str(wheel), "MPLBACKEND": "agg", "IPYTHONDIR": str(folder / "ipython")}
    folder.mkdir()
    command = [python, "-m", "IPython", "--no-banner", "--colors=NoColor", str(notebook)]
    try:
        done = subprocess.run(
            command, cwd=folder, env=settings, stdin=subprocess.DEVNULL, timeout=SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"took longer than {SECONDS} s"
    return (
        done.stdout[-2000:] if done.returncode or "Traceback (most recent call last)" in done.stdout else ""
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.colab.contract", description=__doc__.splitlines()[0]
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to run (default: all)")
    parser.add_argument("--versions", type=Path, help="take versions from this list of Colab's")
    parser.add_argument("--drift", type=Path, help="only compare with this list of Colab's")
    parser.add_argument("--keep", type=Path, help="folder for the environment, used again next time")
    options = parser.parse_args()
    versions = pinned(VERSIONS.read_text())
    if options.drift:
        lines = drift(versions, pinned(options.drift.read_text()))
        print("\n".join(lines) or "no drift: Colab has the versions that the notebooks were checked with")
        return int(bool(lines))
    if options.versions:
        theirs = pinned(options.versions.read_text())
        versions = {package: theirs.get(package, version) for package, version in versions.items()}
    notebooks = [path.resolve() for path in options.notebooks] or sorted(
        (ROOT / "notebooks").rglob("*.ipynb")
    )
    print(
        f"Python {sys.version.split()[0]}, torch {versions['torch']}, numpy {versions['numpy']}", flush=True
    )
    failed = 0
    with tempfile.TemporaryDirectory(prefix="colab-") as scratch:
        work = Path(scratch)
        folder = options.keep or work / "environment"
        python = folder / "bin" / "python"
        if not python.is_file():
            python = environment(folder.absolute(), versions)
        pip(python, "uninstall", "--yes", "lotterylib")
        wheel = build_wheel(python, work / "wheel")
        for number, notebook in enumerate(notebooks):
            start = time.perf_counter()
            problem = run(python.absolute(), notebook, work / f"content-{number}", wheel)
            failed += bool(problem)
            state = f"FAILED\n{problem}" if problem else "ok"
            print(f"{notebook.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s, {state}", flush=True)
    print(f"{len(notebooks) - failed} of {len(notebooks)} notebooks ran")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
