"""A check that everything is here that a notebook needs."""

from __future__ import annotations

from importlib import metadata

from .revision import revision

NEEDED = (
    "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "pydantic", "pyyaml",
    "safetensors", "tqdm",
)  # fmt: skip


def check_environment() -> str:
    """Return one line on what notebooks will run on: versions, device, cores.

    Raises:
        ImportError: Naming what is missing and the command that installs it.
    """
    found, missing = {}, []
    for package in NEEDED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        raise ImportError(f"missing: {', '.join(missing)}; install with: pip install {' '.join(missing)}")
    from .devices import describe_device, pick_device, processors

    return (
        f"lotterylib {revision()} · torch {found['torch']} · numpy {found['numpy']} · "
        f"{describe_device(pick_device())}, {processors()} cores"
    )
