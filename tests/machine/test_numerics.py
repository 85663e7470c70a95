"""Settings of arithmetic hold for a block, whichever of PyTorch's two ways the caller has set them in."""

import json
import subprocess
import sys

import pytest
import torch

from lotterylib import machine
from lotterylib.errors import SettingError
from lotterylib.machine import numerics as numerics_module
from lotterylib.machine.numerics import full_precision, numerics

MATMUL, CUDNN, CPU = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
new_way = pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="PyTorch before 2.9 has the old way alone")


def new_settings():
    return [part.fp32_precision for part in (MATMUL, CUDNN.conv, CUDNN.rnn, CPU.matmul, CPU.conv)]


SETTINGS = [
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.mkldnn.fp32_precision = 'bf16'",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cuda.matmul.allow_tf32 = True",
]
# forked from one that has imported PyTorch, which takes long, and done nothing with it
PROGRAM = """
import json, os, sys, traceback
import torch


def check(setting):
    exec(setting)
    from lotterylib.machine.numerics import numerics
    from tests.machine.test_numerics import new_settings
    before = new_settings()
    for tf32, word in ((True, "tf32"), (False, "ieee")):
        with numerics(tf32=tf32):
            assert new_settings() == [word, word, word, "ieee", "ieee"], new_settings()
        assert new_settings() == before, (before, new_settings())


for setting in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            check(setting)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        else:
            print("fine")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print("END")
"""


@pytest.fixture(scope="module")
def said():
    """What came of each setting."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(SETTINGS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    return dict(zip(SETTINGS, done.stdout.split("END\n"), strict=False))


@new_way
@pytest.mark.parametrize("setting", SETTINGS)
def test_callers_may_have_set_float32_either_way(setting, said):
    """In a process of its own, for the two ways cannot be told apart again once they were mixed."""
    assert said[setting] == "fine\n"


def test_a_processor_set_to_fewer_digits_measures_with_all_of_them():
    before = torch.get_float32_matmul_precision()
    images = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    expected = images @ images
    try:
        torch.set_float32_matmul_precision("medium")
        with full_precision():
            assert torch.equal(images @ images, expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_cublas_is_set_up_before_cuda_starts():
    program = "import os; import lotterylib.machine as m; print(os.environ[m.CUBLAS], m.CUBLAS_TOO_LATE)"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split()[1] == "False" and said.stdout.startswith(":4096:8")
    # what a caller does who has used a GPU already
    program = (
        f"import os, torch; os.environ.pop('{machine.CUBLAS}', 0); torch.cuda.is_initialized = lambda: True\n"
        + program
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split()[1] == "True"


def test_determinism_that_comes_too_late_is_refused(monkeypatch):
    monkeypatch.setattr(numerics_module, "CUBLAS_TOO_LATE", True)
    with (
        pytest.raises(SettingError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8 before CUDA starts"),
        numerics(tf32=False, deterministic=True),
    ):
        pass
    with full_precision():
        assert not torch.are_deterministic_algorithms_enabled()
