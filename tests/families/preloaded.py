"""Imported once, by the process that notebooks are forked from: it must start no thread."""

import os

os.environ.update(
    OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", TQDM_DISABLE="1",
    MPLBACKEND="module://matplotlib_inline.backend_inline",
)  # fmt: skip

import IPython  # noqa: F401
import ipywidgets  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import nbformat  # noqa: F401
import pandas  # noqa: F401
import papermill  # noqa: F401
import scipy.stats  # noqa: F401
import seaborn  # noqa: F401
import skimage.segmentation  # noqa: F401
import sklearn.datasets
import sklearn.linear_model  # noqa: F401
import torch
import torch._dynamo  # noqa: F401
import torchvision.transforms.v2  # noqa: F401

from lotterylib import figures, pruners, results, scorecard, study  # noqa: F401
