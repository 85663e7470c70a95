import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from lotterylib import datasets, metrics, models
from lotterylib.datasets.ood import against
from lotterylib.errors import DataError, SettingError
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import max_softmax, ood_aupr, ood_auroc, ood_fpr95
from tests.conftest import toy_data, toy_network, untouched_rng

METRICS = {"ood_auroc": ood_auroc, "ood_fpr95": ood_fpr95, "ood_aupr": ood_aupr}


def scores(inside=400, outside=250, levels=None, seed=0):
    """Overlapping scores; ``levels`` rounds them, so that there are ties."""
    dice = torch.Generator().manual_seed(seed)
    both = [torch.randn(inside, generator=dice) + 1, torch.randn(outside, generator=dice)]
    return [(s * levels).round() / levels if levels else s for s in both]


def for_sklearn(inside, outside):
    truth = torch.cat([torch.ones(len(inside)), torch.zeros(len(outside))])
    return truth.numpy(), torch.cat([inside, outside]).numpy()


@pytest.mark.parametrize("sizes", [(400, 250), (100, 700), (1, 30), (60, 1)])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_as_scikit_learn_has_it(sizes, levels):
    inside, outside = scores(*sizes, levels)
    truth, pooled = for_sklearn(inside, outside)
    assert ood_auroc(inside, outside) == pytest.approx(roc_auc_score(truth, pooled), abs=1e-12)
    assert ood_aupr(inside, outside) == pytest.approx(average_precision_score(truth, pooled), abs=1e-12)
    false, true, _ = roc_curve(truth, pooled, drop_intermediate=False)
    assert ood_fpr95(inside, outside) == pytest.approx(false[(true >= 0.95).argmax()], abs=1e-12)


def test_auroc_counts_pairs():
    inside, outside = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([2.0, 0.0])
    assert ood_auroc(inside, outside) == (2 + 1.5 + 1) / 6


@pytest.mark.parametrize("levels", [None, 2])
def test_swapped_sets_give_the_rest_to_one(levels):
    inside, outside = scores(levels=levels)
    assert ood_auroc(outside, inside) == pytest.approx(1 - ood_auroc(inside, outside), abs=1e-15)


def test_only_the_order_counts():
    inside, outside = scores()
    for f in METRICS.values():
        assert f(inside.exp(), outside.exp()) == f(inside, outside)


def test_separated_and_tied_sets():
    high, low = torch.tensor([0.9, 0.95]), torch.tensor([0.1, 0.2, 0.3])
    assert (ood_auroc(high, low), ood_fpr95(high, low), ood_aupr(high, low)) == (1, 0, 1)
    assert (ood_auroc(low, high), ood_fpr95(low, high)) == (0, 1)
    same = torch.ones(40)  # a saturated network: every score is 1
    assert (ood_auroc(same, same), ood_fpr95(same, same), ood_aupr(same, same)) == (0.5, 1, 0.5)
    assert ood_aupr(same, torch.ones(120)) == 0.25  # chance is the share of the distribution's own


def test_fpr95_at_the_edge():
    """Of 20 the lowest may go, of 19 none may; a tie at the threshold is let in."""
    twenty = torch.arange(1.0, 21)
    assert ood_fpr95(twenty, torch.tensor([1.5])) == 0 and ood_fpr95(twenty, torch.tensor([2.0])) == 1
    assert (
        ood_fpr95(twenty[:19], torch.tensor([1.0])) == 1 and ood_fpr95(twenty[:19], torch.tensor([0.9])) == 0
    )


def test_infinite_scores_have_a_rank():
    inside, outside = torch.tensor([math.inf, math.inf, 0.0]), torch.tensor([-math.inf, math.inf])
    assert ood_auroc(inside, outside) == (1.5 + 1.5 + 1) / 6
    assert ood_aupr(inside, outside) == pytest.approx(2 / 3 * 2 / 3 + 1 / 3 * 3 / 4)


def test_single_and_double_precision_compare():
    inside, outside = scores()
    for f in METRICS.values():
        assert f(inside.double(), outside) == f(inside, outside)


@pytest.mark.parametrize("f", METRICS.values())
def test_bad_scores_are_refused(f):
    good = torch.rand(5)
    for bad, words in [
        (good[:0], "one image or more"),
        (good.view(5, 1), "one score"),
        (good * torch.nan, "NaN"),
    ]:
        with pytest.raises(DataError, match=words):
            f(bad, good)
        with pytest.raises(DataError, match=words):
            f(good, bad)


def test_max_softmax():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(6), 0.0, 0.0, 0.0], [1000.0, -1000.0, 0.0, 0.0]])
    assert max_softmax(logits).tolist() == pytest.approx([0.25, 6 / 9, 1])
    close = torch.tensor([[20.0, 0.0], [21.0, 0.0]])
    assert max_softmax(close)[0] < max_softmax(close)[1] < 1  # single precision would tie both at 1
    for bad in (
        torch.zeros(0, 3),
        torch.zeros(3),
        torch.tensor([[0.0, math.inf]]),
        torch.tensor([[math.nan, 0.0]]),
    ):
        with pytest.raises(DataError):
            max_softmax(bad)


@dataclass
class Canned(Subject):
    """A subject whose confidences are given: two-class logits (s, 0) have a maximum that rises with s > 0."""

    inside: Tensor = None
    outside: dict[str, Tensor] = None

    @property
    def test_logits(self):
        return self.as_logits(self.inside)

    def outlier_logits(self, name, images):
        return self.as_logits(self.outside[name])

    @staticmethod
    def as_logits(scores):
        return torch.stack([scores, torch.zeros_like(scores)], dim=1)


def canned(inside, **outside):
    return Canned(toy_network(), toy_data(), inside=inside, outside=outside)


@pytest.mark.parametrize("name", METRICS)
def test_the_value_is_the_mean_and_the_sets_are_variants(name):
    near, far = torch.rand(50) + 0.5, torch.rand(50) + 0.2
    inside = torch.rand(50) + 1
    with untouched_rng():
        measured = metrics.evaluate(
            canned(inside, digits=near, uniform=far), name, {"sets": ["digits", "uniform"]}
        )
    expected = {"digits": METRICS[name](inside, near), "uniform": METRICS[name](inside, far)}
    assert {n: m.value for n, m in measured.variants.items()} == pytest.approx(expected)
    assert measured.value == pytest.approx((expected["digits"] + expected["uniform"]) / 2)
    assert measured.samples == 150 and measured.variants["uniform"].samples == 100
    assert (
        metrics.evaluate(canned(inside, digits=near, uniform=far), name, {"sets": ["digits", "uniform"]})
        == measured
    )
    json.dumps(measured.extra)


def test_average_precision_is_measured_on_sets_of_one_size():
    """Chance is .5 whatever the sizes, and all of a larger set is drawn on."""
    coin = torch.arange(600) % 2 + 1.0
    measured = metrics.evaluate(
        canned(coin, digits=coin[:200], uniform=coin[:100]), "ood_aupr", {"sets": ["digits", "uniform"]}
    )
    assert measured.value == pytest.approx(0.5) and measured.samples == 300
    rising = torch.linspace(1, 2, 600)
    assert (
        metrics.evaluate(canned(rising, digits=rising[:60]), "ood_aupr", {"sets": ["digits"]}).samples == 120
    )


@pytest.mark.parametrize("name", METRICS)
def test_errors_are_what_new_images_would_show(name):
    """The reported error beside the spread of values over 150 new draws of all images."""

    def subject(seed):
        inside, near = scores(120, 90, seed=seed)
        return canned(inside + 6, digits=near + 6, uniform=scores(120, 90, seed=seed + 1000)[1] + 5.5)

    drawn = [
        metrics.evaluate(subject(seed), name, {"sets": ["digits", "uniform"]})
        for seed in range(150 if name == "ood_auroc" else 60)
    ]
    for pick in (lambda m: m, lambda m: m.variants["digits"]):
        spread = torch.tensor([pick(m).value for m in drawn]).std().item()
        reported = torch.tensor([pick(m).error for m in drawn]).mean().item()
        assert reported == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("name", METRICS)
def test_noise_is_a_variant_and_no_part_of_the_mean(name):
    inside, sets = torch.rand(50) + 1, {"gaussian": torch.rand(50), "uniform": torch.rand(50)}
    digits = torch.rand(50) + 0.8
    subject = canned(inside, **{"mnist-mini": digits}, **sets)
    measured = metrics.evaluate(subject, name)
    assert measured.value == pytest.approx(METRICS[name](inside, digits))
    assert list(measured.variants) == ["mnist-mini", *sets] and measured.extra == {"sets": ["mnist-mini"]}
    alone = metrics.evaluate(canned(inside, **{"mnist-mini": digits}), name, {"sets": ["mnist-mini"]})
    assert measured.error == pytest.approx(alone.error, rel=0.3)
    asked = metrics.build(name).reads(datasets.build("fashion-mini")).outliers
    assert asked == ("mnist-mini", *sets)


@pytest.mark.parametrize("name", METRICS)
def test_no_sets_are_refused(name):
    with pytest.raises(SettingError, match="sets"):
        metrics.evaluate(canned(torch.rand(5)), name, {"sets": []})


def over_some_classes(tmp_path, count=60):
    """Twelve classes; ImageNet-O has folders of five of them and of a stranger. Logits are drawn."""
    names = tuple(f"n{c:08d}" for c in range(12))
    for wnid in (*names[3:8], "n99999999"):
        (tmp_path / "imagenet-o" / wnid).mkdir(parents=True)
        (tmp_path / "imagenet-o" / wnid / "0.JPEG").touch()
    data = replace(toy_data(), class_names=names, root=tmp_path)
    dice = torch.Generator().manual_seed(5)
    labels = torch.arange(12 * count) % 12
    inside = torch.randn(len(labels), 12, generator=dice)
    inside[torch.arange(len(labels)), labels] += 1.5
    outside = {name: torch.randn(200, 12, generator=dice) for name in ("imagenet-o", "uniform")}

    class Drawn(Subject):
        test_logits, test_labels = inside, labels

        def outlier_logits(self, name, images):
            return outside[name]

    return Drawn(toy_network(), data), inside, outside, torch.arange(3, 8)


@pytest.mark.parametrize("name", METRICS)
def test_imagenet_o_is_told_from_its_own_classes(tmp_path, name):
    subject, inside, outside, classes = over_some_classes(tmp_path)
    both = metrics.evaluate(subject, name, {"sets": ["imagenet-o", "uniform"]})
    own = torch.isin(subject.test_labels, classes)
    expected = [
        (inside[own][:, classes], outside["imagenet-o"][:, classes]),
        (inside, outside["uniform"]),
    ]
    scored = [[z.double().softmax(1).amax(1) for z in pair] for pair in expected]
    if name == "ood_aupr":  # of one size: 200, evenly spread
        scored = [[s[torch.arange(200) * len(s) // 200] for s in pair] for pair in scored]
    values = [METRICS[name](*pair) for pair in scored]
    found = both.variants["imagenet-o"], both.variants["uniform"]
    assert [m.value for m in found] == pytest.approx(values, abs=1e-12)
    assert both.value == pytest.approx(sum(values) / 2)
    assert found[0].samples == 200 + (200 if name == "ood_aupr" else 300)
    if name == "ood_auroc":  # DeLong's error, by hand
        i, o = scored[0]
        greater = (i[:, None] > o).double()
        by_hand = greater.mean(1).var() / len(i) + greater.mean(0).var() / len(o)
        assert found[0].error == pytest.approx(by_hand.sqrt().item(), rel=0.01)
        assert found[0].draws.std().item() == pytest.approx(found[0].error, rel=0.01)
    alone = metrics.evaluate(subject, name, {"sets": ["imagenet-o"]})
    assert alone.value == pytest.approx(values[0])
    assert alone.error == pytest.approx(found[0].error, rel=0.25 if name != "ood_auroc" else 1e-9)


def test_data_without_imagenet_os_classes_are_compared_in_all_of_theirs(tmp_path):
    subject, *_ = over_some_classes(tmp_path)
    assert against("imagenet-o", subject.data) == [3, 4, 5, 6, 7]
    assert against("uniform", subject.data) is None
    others = replace(subject.data, class_names=("a", "b", "n00000003"))
    assert against("imagenet-o", others) is None


def test_a_real_network_and_real_outliers():
    data = datasets.load("fashion-mini", limit=40)
    network = models.build("resnet8", 10, 1, width=0.25).train()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    subject = Subject(network, data, device="cpu")
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    with untouched_rng():
        found = {name: metrics.evaluate(subject, name) for name in METRICS}
    once = len(calls)
    assert all(0 <= m.value <= 1 and m.error >= 0 and len(m.variants) == 3 for m in found.values())
    metrics.evaluate(subject, "ood_auroc")
    assert len(calls) == once  # the passes are shared
    assert network.training and all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
