"""The machine that all runs on: its devices, how exactly they calculate, and which code runs.

Importing this package sets what cuBLAS needs for deterministic products: it reads the variable once, when CUDA starts.
"""

import os
import sys

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def _cuda_started() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


# whether cuBLAS may have started without the setting: then no later one helps
CUBLAS_TOO_LATE = CUBLAS not in os.environ and _cuda_started()
os.environ.setdefault(CUBLAS, ":4096:8")
