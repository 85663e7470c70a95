"""Measure the cost of judging a ticket: seconds per metric at the laptop settings, then reference libraries on the same work.

    python -m benchmarks.metrics [--ticket lottery] [--repeats 3]

Minutes long, on one thread. Passes that several metrics share have lines of their own, and what else they share stands
with the first that needs it. The dense network comes first, as in a study: what is kept of it serves every ticket.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.table import Row, span
from lotterylib import datasets, masks, metrics, study
from lotterylib.datasets.corrupted import CORRUPTIONS, corrupted
from lotterylib.metrics import Subject, calibration, generalization, interpretability
from lotterylib.metrics.geometry import hessian as curvature

BUDGET = 45  # seconds a ticket on one core
SPARSITY = 0.79
Work = Callable[[], object]


# --- the same work, ours and a library's. Each returns both, and raises ImportError if the library is not there.


def ece(subject: Subject) -> tuple[Work, Work]:
    from netcal.metrics import ECE

    probabilities, labels = subject.test_logits.double().softmax(dim=1), subject.test_labels
    return (
        lambda: calibration.expected_calibration_error(probabilities, labels),
        lambda: ECE(15).measure(probabilities.numpy(), labels.numpy()),
    )


def ece_on_tensors(subject: Subject) -> tuple[Work, Work]:
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, labels = subject.test_logits.double().softmax(dim=1), subject.test_labels
    return (
        lambda: calibration.expected_calibration_error(probabilities, labels),
        lambda: multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=15),
    )


def nll(subject: Subject) -> tuple[Work, Work]:
    from sklearn.metrics import log_loss

    logits, labels = subject.test_logits, subject.test_labels
    return (
        lambda: calibration.negative_log_likelihood(logits, labels),
        lambda: log_loss(
            labels.numpy(), logits.double().softmax(dim=1).numpy(), labels=range(logits.shape[1])
        ),
    )


def auroc(subject: Subject) -> tuple[Work, Work]:
    from sklearn.metrics import roc_auc_score

    inside, outside, truth = confidences(subject)
    return (
        lambda: generalization.ood_auroc(inside, outside),
        lambda: roc_auc_score(truth.numpy(), torch.cat([inside, outside]).numpy()),
    )


def auroc_on_tensors(subject: Subject) -> tuple[Work, Work]:
    from torchmetrics.functional.classification import binary_auroc

    inside, outside, truth = confidences(subject)
    return (
        lambda: generalization.ood_auroc(inside, outside),
        lambda: binary_auroc(torch.cat([inside, outside]), truth),
    )


def confidences(subject: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Return those of test images and of digits, and 1 for each of the first, 0 for each of the others."""
    inside, outside = (
        generalization.max_softmax(z) for z in (subject.test_logits, subject.outlier_logits("digits"))
    )
    return inside, outside, torch.tensor([1] * len(inside) + [0] * len(outside))


def fgsm(subject: Subject) -> tuple[Work, Work]:
    import foolbox

    images, labels = subject.sample(250)
    theirs = foolbox.PyTorchModel(subject.model.eval(), bounds=(0, 1), device="cpu")
    return (
        lambda: generalization.fgsm(subject.model, images, labels, 8 / 255),
        lambda: foolbox.attacks.LinfFastGradientAttack().run(theirs, images, labels, epsilon=8 / 255),
    )


def pgd(subject: Subject) -> tuple[Work, Work]:
    import foolbox

    images, labels = subject.sample(250)
    theirs = foolbox.PyTorchModel(subject.model.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=10, rel_stepsize=0.25)
    return (
        lambda: generalization.pgd(subject.model, images, labels, 8 / 255, steps=10),
        lambda: attack.run(theirs, images, labels, epsilon=8 / 255),
    )


def corruption(name: str) -> Callable[[Subject], tuple[Work, Work]]:
    def pair(subject: Subject) -> tuple[Work, Work]:
        from imagecorruptions import corrupt

        images = subject.sample(100)[0]
        pixels = (images[:, 0] * 255).round().byte().numpy()
        return (
            lambda: datasets.corrupt(images, name, 3, scale="imagenet-c"),
            lambda: [corrupt(picture, corruption_name=name, severity=3) for picture in pixels],
        )

    return pair


def lime(subject: Subject) -> tuple[Work, Work]:
    from lime.lime_image import LimeImageExplainer

    image = subject.sample(1)[0][0]
    block = torch.arange(image.shape[-1]) // 4
    segments = block[:, None] * (int(block[-1]) + 1) + block

    def answers(pictures: np.ndarray) -> np.ndarray:  # lime makes grey pictures RGB
        return subject.logits(torch.from_numpy(pictures).movedim(-1, 1)[:, :1].float()).softmax(dim=1).numpy()

    def theirs() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            LimeImageExplainer(random_state=0).explain_instance(
                image[0].double().numpy(), answers, top_labels=1, hide_color=0, num_samples=1000, batch_size=500,
                segmentation_fn=lambda _: segments.numpy(),
            )  # fmt: skip

    return lambda: interpretability.explain(subject.model, image, segments, samples=1000), theirs


def products(subject: Subject) -> tuple[Work, Work]:
    from curvlinops import HessianLinearOperator

    images, labels = subject.sample(200, "train")
    model, weights = subject.model.eval(), list(masks.prunable(subject.model).values())
    vectors = torch.randn(5, sum(w.numel() for w in weights), generator=torch.Generator().manual_seed(0))

    def ours() -> None:
        hessian = curvature.Hessian.of(model, images, labels)
        for vector in vectors:
            hessian.product(vector[None])

    def theirs() -> None:
        hessian = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, [(images, labels)])
        for vector in vectors:
            hessian @ vector

    return ours, theirs


REFERENCES: dict[tuple[str, str], Callable[[Subject], tuple[Work, Work]]] = {
    ("ECE of the test set", "netcal"): ece,
    ("ECE of the test set", "torchmetrics"): ece_on_tensors,
    ("NLL of the test set", "scikit-learn"): nll,
    ("ROC-AUC, test set against digits", "scikit-learn"): auroc,
    ("ROC-AUC, test set against digits", "torchmetrics"): auroc_on_tensors,
    ("FGSM, 250 images", "foolbox"): fgsm,
    ("PGD, 10 steps, 250 images", "foolbox"): pgd,
    ("100 images behind frosted glass", "imagecorruptions"): corruption("glass_blur"),
    ("100 images under frost", "imagecorruptions"): corruption("frost"),
    ("100 images as JPEG", "imagecorruptions"): corruption("jpeg_compression"),
    ("LIME of one image, 1,000 samples", "lime"): lime,
    ("5 Hessian-vector products, 200 images", "curvlinops"): products,
}


# --- measuring


def seconds(work: Work, times: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def passes(images: int) -> dict[str, Callable[[Subject], object]]:
    """Forward passes that metrics share."""
    return {
        "pass over the test set": lambda s: s.test_logits,
        "pass over the validation set": lambda s: s.val_logits,
        f"pass over {images:,} images × 15 corruptions × 5": lambda s: s.corrupted_logits(images),
    }


def judge(profile: study.Profile, dense: Subject, ticket: Subject) -> None:
    """Prints what each pass and each metric takes on the dense network and on a ticket of its seed."""
    settings = {name: profile.metrics.get(name, {}) for name in metrics.names()}
    images = settings["corrupted_accuracy"].get("images", 1000)
    kinds = CORRUPTIONS if any(s.get("held_out") for s in settings.values()) else CORRUPTIONS[:15]
    clean = dense.sample(images)[0]
    made = seconds(lambda: [corrupted(clean, name, folder=dense.cache) for name in kinds])
    lines = passes(images) | {
        name: lambda s, name=name: metrics.evaluate(s, name, settings[name]) for name in settings
    }
    print(f"{'once a data set: corrupted images':48}{made:>8.2f}")
    print(f"\n{'seconds':48}{'dense':>8}{'ticket':>8}")
    totals = [0.0, 0.0]
    for label, work in lines.items():
        taken = [seconds(lambda s=s, work=work: work(s)) for s in (dense, ticket)]
        totals = [a + b for a, b in zip(totals, taken, strict=True)]
        print(f"{label:48}{taken[0]:>8.2f}{taken[1]:>8.2f}", flush=True)
    verdict = "within" if totals[1] <= BUDGET else "over"
    print(f"{'all':48}{totals[0]:>8.2f}{totals[1]:>8.2f}   {verdict} the budget of {BUDGET} s a ticket")


def compare(subject: Subject, repeats: int) -> list[Row]:
    """Prints our seconds beside the library's, and returns them; they take turns, after a turn to warm up."""
    rows = []
    print(f"\n{'the same work':40}{'ours':>9}{'library':>9}   library ÷ ours, median (min to max)")
    for (work, library), pair in REFERENCES.items():
        try:
            both = pair(subject)
        except ImportError:
            print(f"{work:40}{'':>18}   {library} is not installed: skipped")
            continue
        # what takes a millisecond is done many times a turn
        many = [(each, 1 + int(0.1 / seconds(each))) for each in both]
        ours, theirs = zip(*[[seconds(*each) for each in many] for _ in range(repeats)], strict=True)
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        here, beside = (f"{statistics.median(taken):.4f}" for taken in (ours, theirs))
        print(f"{work:40}{here:>9}{beside:>9}   {span(ratios, 1)}  {library}", flush=True)
        rows.append(Row(work, f"{here} s", f"{library}: {beside} s", ratios))
    return rows


def measure(repeats: int = 3, ticket: str = "lottery", judging: bool = True) -> list[Row]:
    """Judge a ticket of the laptop's study (unless told not to), then compare with libraries, and return that."""
    torch.set_num_threads(1)
    profile = study.load_profile("laptop")
    data = profile.dataset.load()
    level = min(profile.levels, key=lambda s: abs(s - SPARSITY))
    trained, found = study.ticket(profile, "dense", 0.0), study.ticket(profile, ticket, level)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1), warnings.catch_warnings():
        # what libraries say of each other is no result
        warnings.simplefilter("ignore")
        dense = Subject(trained.model, data, device="cpu", cache=Path(folder))
        subject = Subject(found.model, data, found.mask, 0, "cpu", dense, Path(folder))
        print(f"\n{ticket} at {level:.1%} sparsity, {profile.title}, 1 thread, torch {torch.__version__}")
        if judging:
            judge(profile, dense, subject)
        return compare(subject, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--ticket", metavar="PRUNER", default="lottery", help="whose ticket (default: lottery)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns beside the libraries (default: 3)")
    options = parser.parse_args()
    measure(options.repeats, options.ticket)


if __name__ == "__main__":
    main()
