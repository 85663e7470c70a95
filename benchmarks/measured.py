"""Do the metrics' own 95% intervals hold? Samples drawn from images whose measure as a whole is known.

The test set and the outliers, as a dense network and one of its tickets answer them, are taken for all the images that there
are: their mean is the truth. Each draw measures the metric on a sample of them, drawn with replacement, by the metric's own
object, and asks whether ticket − dense ± 1.96 errors holds the truth. Metrics whose error is that of random probes or of
noise are asked about a small network, the truth being the mean of very many.

Not simulated, since one draw takes minutes: units (dissection), whose error is over images too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lotterylib import metrics, study
from lotterylib.datasets import Dataset, ood
from lotterylib.metrics import Measurement, Subject, paired
from lotterylib.metrics.generalization.accuracy import right, share
from lotterylib.metrics.generalization.attacks import fgsm
from lotterylib.metrics.geometry.hessian import hessian_trace
from lotterylib.metrics.geometry.noise import pac_bayes_sigma
from lotterylib.metrics.interpretability.lime import Explanation, explain
from lotterylib.training import predict

Random = np.random.Generator
Case = Callable[[Random], list[bool]]

# images of a sample, and how many are attacked, corrupted or explained once, as a population
SAMPLE, ATTACKED, EXPLAINED = 1000, 2000, 400
PROFILE = "laptop"


@dataclass
class Known(Subject):
    """A network whose answers are known: those to the ``rows`` of the test set and to the ``strangers`` among the outliers."""

    answers: Tensor | None = None
    labels: Tensor | None = None
    outside: Tensor | None = None

    @property
    def test_logits(self) -> Tensor:
        assert self.answers is not None
        return self.answers

    @property
    def test_labels(self) -> Tensor:
        assert self.labels is not None
        return self.labels

    @property
    def val_logits(self) -> Tensor:
        return _of_validation(self.model)

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Fit the temperature once for all draws, which share the validation images."""
        return _temperature(self.model, make) if key == "temperature" else super().once(key, make)

    def corrupted_logits(self, images: int, held_out: bool = False) -> dict[str, Tensor]:
        # a variant that nobody asks for here
        return {"none": self.test_logits[None]}

    def corrupted_labels(self, images: int) -> Tensor:
        return self.test_labels

    def outlier_logits(self, name: str, images: int = ood.COUNT) -> Tensor:
        assert self.outside is not None
        return self.outside


@dataclass(frozen=True)
class Population:
    """Two networks' answers to all images: logits [2, N, classes] and [2, M, classes] of outliers, and scores of single images."""

    data: Dataset
    networks: tuple[nn.Module, nn.Module]
    labels: Tensor
    logits: Tensor
    outside: Tensor
    # name → [2, images]
    scores: dict[str, Tensor]

    def pair(self, rows: Tensor, strangers: Tensor) -> Subject:
        """Return the ticket, with its dense network, on these images."""
        dense, ticket = (
            Known(
                model,
                self.data,
                answers=self.logits[k][rows],
                labels=self.labels[rows],
                outside=self.outside[k][strangers],
            )
            for k, model in enumerate(self.networks)
        )
        return replace(ticket, dense=dense)


@cache
def _of_validation(model: nn.Module) -> Tensor:
    return predict(model, study.load_profile(PROFILE).dataset.load().val[0])


_temperatures: dict[nn.Module, Any] = {}


def _temperature(model: nn.Module, make: Callable[[], Any]) -> Any:
    if model not in _temperatures:
        _temperatures[model] = make()
    return _temperatures[model]


@cache
def population() -> Population:
    """Return the committed dense network of seed 0 and its lottery ticket, on the bundled test set."""
    profile = study.load_profile(PROFILE)
    data, level = profile.dataset.load(), min(profile.levels, key=lambda s: abs(s - 0.89))
    dense, ticket = (
        study.ticket(profile, pruner, s, seed=0).model for pruner, s in (("dense", 0.0), ("lottery", level))
    )
    images, labels = data.test[0][:], data.test[1]
    strangers = ood.outliers("mnist-mini", data, 5000)
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    attacked, few = chosen[:ATTACKED], chosen[:EXPLAINED]
    scores: dict[str, list[Tensor]] = {"fgsm_accuracy": [], "fidelity": [], "fidelity_r2": []}
    for model in (dense, ticket):
        fooled = torch.cat([fgsm(model, images[i], labels[i], 4 / 255) for i in attacked.split(500)])
        scores["fgsm_accuracy"].append(right(predict(model, fooled), labels[attacked]))
        found = cast(list[Explanation], explain(model, images[few], samples=100))
        scores["fidelity"].append(torch.tensor([each.mse for each in found]))
        scores["fidelity_r2"].append(torch.tensor([each.r2 for each in found]).nan_to_num())
    return Population(
        data,
        (dense, ticket),
        labels,
        torch.stack([predict(m, images) for m in (dense, ticket)]),
        torch.stack([predict(m, strangers) for m in (dense, ticket)]),
        {name: torch.stack(both) for name, both in scores.items()},
    )


def _difference(metric: metrics.Metric, subject: Subject) -> Measurement:
    assert subject.dense is not None
    return paired(metric.measure(subject), metric.measure(subject.dense))


def _holds(found: Measurement, truth: float) -> bool:
    assert found.error is not None
    return abs(found.value - truth) <= 1.96 * found.error


def by_answers(name: str) -> Case:
    """A metric that is read off logits."""

    @cache
    def truth() -> float:
        whole = population()
        everyone = whole.pair(torch.arange(len(whole.labels)), torch.arange(whole.outside.shape[1]))
        assert everyone.dense is not None
        one, two = (metrics.build(name).measure(s) for s in (everyone, everyone.dense))
        return one.value - two.value

    def draw(random: Random) -> list[bool]:
        whole = population()
        rows = torch.from_numpy(random.integers(len(whole.labels), size=SAMPLE))
        strangers = torch.from_numpy(random.integers(whole.outside.shape[1], size=SAMPLE))
        return [_holds(_difference(metrics.build(name), whole.pair(rows, strangers)), truth())]

    return draw


def by_image(name: str, sample: int) -> Case:
    """A metric that is the mean of what single images say, right or wrong or a score."""

    def draw(random: Random) -> list[bool]:
        scores = population().scores[name]
        rows = torch.from_numpy(random.integers(scores.shape[1], size=sample))
        measure = share if name.endswith("accuracy") else Measurement.mean_of
        dense, ticket = (measure(each[rows]) for each in scores.double())
        truth = (scores[1].double().mean() - scores[0].double().mean()).item()
        return [_holds(paired(ticket, dense), truth)]

    return draw


def by_probes(estimate: Callable[[int], tuple[float, float]], truth: Callable[[], float]) -> Case:
    """A metric of which random probes or noise are the only doubt; ``estimate`` returns value and error for a seed."""

    def draw(random: Random) -> list[bool]:
        value, error = estimate(int(random.integers(2**31)))
        return [abs(value - truth()) <= 1.96 * error]

    return draw


@cache
def _small() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a small network that is nearly trained, with its images."""
    random = torch.Generator().manual_seed(0)
    images, labels = (
        torch.rand(40, 1, 4, 4, generator=random),
        torch.randint(3, (40,), generator=random),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.Tanh(), nn.Linear(20, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval(), images, labels


def _trace(seed: int) -> tuple[float, float]:
    found = hessian_trace(
        *_small(), steps=4, relative_error=0.0, absolute_error=0.0, max_probes=16, seed=seed
    )
    return float(found), float(found.error or 0.0)


def _sigma(seed: int) -> tuple[float, float]:
    found = pac_bayes_sigma(*_small(), draws=24, seed=seed)
    return float(found), float(found.error or 0.0)


@cache
def _long_run(estimate: Callable[[int], tuple[float, float]], runs: int = 400) -> float:
    return float(np.mean([estimate(10**6 + k)[0] for k in range(runs)]))


def cases() -> Iterator[tuple[str, str, Case]]:
    """Yield metric, setting and case."""
    for name in ("accuracy", "churn", "nll", "brier", "ood_auroc", "ood_fpr95", "ood_aupr"):
        setting = f"ticket − dense on {SAMPLE:,} images" + (" and as many outliers" * name.startswith("ood"))
        yield metrics.describe(name).label, setting, by_answers(name)
    for name, sample in (("fgsm_accuracy", 500), ("fidelity", 100), ("fidelity_r2", 100)):
        yield metrics.describe(name).label, f"ticket − dense on {sample} images", by_image(name, sample)
    for name, estimate, how in (
        ("hessian_trace", _trace, "16 random probes"),
        ("pac_bayes_sigma", _sigma, "24 draws of noise"),
    ):
        case = by_probes(estimate, lambda estimate=estimate: _long_run(estimate))
        yield metrics.describe(name).label, f"{how}, a small network", case
