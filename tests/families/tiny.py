"""A tiny study of each family of data: files in the published formats, a profile that extends the shipped one, and its
tickets and records. The numbers mean nothing; shapes, names, pruners and metrics are those of the large study."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from lotterylib.study import Store, expand, load_profile
from lotterylib.study.cells import with_ancestors
from lotterylib.study.work import Worker
from tests.datasets.formats import write_cifar, write_cifar_c, write_imagenet_o, write_svhn
from tests.families.hurry import hurrying

RECIPE = {"epochs": 2, "batch_size": 15, "warmup": 0.5, "rewind": 0.5}
FEW, PASSES = {"images": 12}, {"images": 10, "steps": 2}
METRICS = {
    **dict.fromkeys(("ood_auroc", "ood_fpr95", "ood_aupr"), {"images": 20}),
    **dict.fromkeys(("corruption_error", "corrupted_accuracy", "ece", "sce", "ace", "nll", "brier"), FEW),
    "fgsm_accuracy": FEW,
    "pgd_accuracy": FEW | {"steps": 2},
    **dict.fromkeys(("fidelity", "fidelity_r2", "stability"), {"images": 3, "samples": 60}),
    **dict.fromkeys(("explained_units", "unit_iou"), {"images": 30}),
    **dict.fromkeys(("hessian_trace", "input_trace"), PASSES | {"max_probes": 4}),
    **dict.fromkeys(("hessian_top", "input_top"), PASSES),
    "pac_bayes_sigma": {"images": 10, "draws": 2},
}


def cifar10(root: Path) -> dict:
    arrays = write_cifar(root, "cifar10", train=50, test=40)
    write_cifar_c(root, "cifar10", arrays["test"])
    write_cifar(root, "cifar100", train=100, test=100)
    write_svhn(root)
    return {"models": [{"name": "resnet8", "width": 0.25}], "seeds": [0, 1], "metric_seeds": [0]}


def cifar100(root: Path) -> dict:
    write_cifar(root, "cifar100", train=200, test=200)
    write_cifar(root, "cifar10", train=40, test=20)
    write_svhn(root)
    return {
        "models": [{"name": "resnet8", "width": 0.25}],
        "seeds": [0],
        "smoke": True,
        "live": {"limit": 30},
    }


def imagenet(root: Path) -> dict:
    """Photographs of ten classes at 48 × 40 pixels, of which the central 32 × 32 are kept."""
    dice = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for c in range(10):
            folder = root / part / f"n{c + 1:08}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = dice.integers(0, 150, (40, 48, 3), dtype=np.uint8)
                pixels[4 * c : 4 * c + 4, :, c % 3] = 250
                Image.fromarray(pixels).save(folder / f"{part}_{i:03}.JPEG", quality=95)
    write_imagenet_o(root, classes=5, per_class=4)
    settings = {"size": 32, "resize": 36, "validation": 4}
    return {
        "dataset": {"name": "imagenet", "settings": settings},
        "models": [{"name": "resnet8", "width": 0.25}],  # the tests of studies have a small ResNet-50
        "recipe": {
            "epochs": 4,
            "batch_size": 12,
            "lr": 0.005,
            "warmup": 0,
            "rewind": 0.5,
        },  # else it is a constant
        "live": {"recipe": {"epochs": 2, "crop_padding": 4}},
    }


def few(root: Path) -> dict:
    """One pruner of the eleven, at one sparsity, as in the profile of somebody who tries out one of their own."""
    return {
        "extends": "smoke",
        "dataset": {"name": "fashion-mini"},
        "pruners": ["synflow"],
        "rounds": [3],
        "seeds": [0, 1],
        "metric_seeds": [0],
    }


STUDIES = {make.__name__: make for make in (cifar10, cifar100, imagenet, few)}


def write_profile(folder: Path, family: str) -> Path:
    """Data in ``folder``, and the profile that reads them."""
    special = STUDIES[family](folder / "data")
    profile = {
        "extends": family,
        "name": f"tiny-{family}",
        "title": f"a tiny {family}",
        "rounds": [1, 3],
        "recipe": RECIPE,
        "metrics": METRICS,
    } | special
    profile["dataset"] = {
        "name": family,
        "root": str(folder / "data"),
        "limit": 50,
        **special.get("dataset", {}),
    }
    profile["live"] = {"limit": 20, "recipe": {"epochs": 2, "batch_size": 10}} | special.get("live", {})
    path = folder / f"{profile['name']}.yaml"
    path.write_text(yaml.safe_dump(profile))
    return path


def compute(path: Path, store: Path) -> None:
    """Every ticket and record of the profile, in this process."""
    profile, kept = load_profile(path), Store(store).open_for_writing()
    cells = expand(profile)
    with ExitStack() as stack:
        for patch in hurrying():
            stack.enter_context(patch)
        for cell in with_ancestors(cells):
            outcome = Worker(kept, 1, "cpu").find(cell)
            assert outcome.what == "found", outcome.reasons
        for cell in cells:
            outcome = Worker(kept, 1, "cpu").measure(cell, profile.metrics_at(cell.seed))
            assert outcome.what == "found", outcome.reasons
