"""The examples in docstrings: they run, alone and without a network, and each exported function has one."""

import doctest
import importlib
import inspect
import io
import pkgutil
import socket
from contextlib import redirect_stdout

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import lotterylib

FOUND = [m.name for m in pkgutil.walk_packages(lotterylib.__path__, "lotterylib.")]
# importing a ``__main__`` runs its program
MODULES = ["lotterylib", *(name for name in FOUND if not name.endswith("__main__"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError("an example must not need a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    np.random.seed(0)
    said = io.StringIO()
    with redirect_stdout(said):
        failed, _ = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    plt.close("all")
    assert not failed, said.getvalue()


def exported() -> dict[str, object]:
    """The functions that packages name in ``__all__``, by where they are defined; publishing has its own tests."""
    found = {}
    packages = {m.name for m in pkgutil.walk_packages(lotterylib.__path__, "lotterylib.") if m.ispkg}
    for name in sorted(packages - {"lotterylib.publish", "lotterylib.cli"}):
        module = importlib.import_module(name)
        for export in getattr(module, "__all__", ()):
            value = getattr(module, export)
            if inspect.isfunction(value) and value.__module__.startswith("lotterylib."):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def test_exported_functions_have_an_example():
    without = sorted(name for name, function in exported().items() if ">>> " not in (function.__doc__ or ""))
    assert not without, "give these an Example:\n" + "\n".join(without)
