import json
import math
from dataclasses import dataclass

import pytest
import torch

from lotterylib import datasets, metrics, models
from lotterylib.errors import DataError
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import corruption_error, uniform_corruption_error
from tests.conftest import toy_data, toy_network, untouched_rng

ERRORS = {"fog": [0.1, 0.2, 0.3], "snow": [0.5, 0.5, 0.8]}
BASE = {"fog": [0.1, 0.1, 0.1], "snow": [0.2, 0.4, 0.6]}


def test_by_hand():
    """fog: .6 / .3 = 2; snow: 1.8 / 1.2 = 1.5."""
    assert corruption_error(ERRORS, BASE) == pytest.approx(175)
    assert uniform_corruption_error(ERRORS) == pytest.approx((0.2 + 0.6) / 2)


def test_a_ratio_of_sums_and_not_a_mean_of_ratios():
    errors, base = {"fog": [0.1, 0.9]}, {"fog": [0.01, 0.89]}
    assert corruption_error(errors, base) == pytest.approx(100 * 1.0 / 0.9)
    assert corruption_error(errors, base) != pytest.approx(100 * (10 + 0.9 / 0.89) / 2)


def test_a_mean_over_corruptions_and_not_one_ratio():
    assert corruption_error(ERRORS, BASE) != pytest.approx(100 * (0.6 + 1.8) / (0.3 + 1.2))


def test_relative_to_itself_it_is_100_exactly():
    assert corruption_error(ERRORS, ERRORS) == 100
    awkward = {"a": [0.1, 1 / 3, 0.7], "b": [1e-9, 0.2, 1.0], "c": [0.3, 0.3, 0.3]}
    assert corruption_error(awkward, awkward) == 100


def test_a_perfect_network_has_none_and_one_severity_may_be_free_of_errors():
    nothing = {name: [0.0] * 3 for name in BASE}
    assert corruption_error(nothing, BASE) == 0
    assert corruption_error(BASE, {**BASE, "fog": [0.0, 0.0, 0.3]}) == pytest.approx(100)


@pytest.mark.parametrize(
    "errors, baseline, words",
    [
        (ERRORS, {**BASE, "fog": [0.0, 0.0, 0.0]}, "no error on fog"),
        (ERRORS, {"fog": BASE["fog"]}, "only here: snow; only in the baseline: none"),
        ({"fog": [0.1] * 3}, BASE, "only here: none; only in the baseline: snow"),
        ({**ERRORS, "fog": [0.1]}, BASE, r"as many severities.*\[1, 3\]"),
        (ERRORS, {**BASE, "snow": [0.1, 0.2]}, "as many severities"),
        ({"fog": []}, {"fog": []}, "as many severities"),
        ({}, {}, "no corruptions"),
        ({**ERRORS, "fog": [10.0, 20.0, 30.0]}, BASE, r"fog must lie in \[0, 1\]"),
        ({**ERRORS, "snow": [0.1, math.nan, 0.2]}, BASE, "snow must lie"),
        (ERRORS, {**BASE, "snow": [0.1, -0.1, 0.2]}, "snow must lie"),
    ],
)
def test_bad_input_is_refused(errors, baseline, words):
    with pytest.raises(DataError, match=words):
        corruption_error(errors, baseline)


@dataclass
class Canned(Subject):
    """A subject that is wrong where ``wrong`` (corruption → bool [5, N]) says so."""

    wrong: dict[str, torch.Tensor] = None

    def corrupted_logits(self, images, held_out=False):
        labels = self.sample(images)[1]
        answers = {
            n: torch.where(w[:, : len(labels)], (labels + 1) % 3, labels) for n, w in self.wrong.items()
        }
        return {n: torch.nn.functional.one_hot(a, 3).float() for n, a in answers.items()}


def mistakes(rate, count=60, seed=0):
    """Images are hard or easy, so that the cells of one image go together."""
    dice = torch.Generator().manual_seed(seed)
    hard = torch.rand(count, generator=dice)
    return {
        name: (torch.rand(5, count, generator=dice) + hard) / 2 < rate + 0.02 * k
        for k, name in enumerate(["fog", "snow", "frost"])
    }


def pair(count=60, seed=0):
    data = toy_data(count)
    base = mistakes(0.4, count, seed)
    worse = {n: w | (mistakes(0.3, count, seed + 1000)[n]) for n, w in base.items()}
    dense = Canned(toy_network(), data, wrong=base)
    return dense, Canned(toy_network(), data, dense=dense, wrong=worse)


def rates(wrong):
    return {name: w.double().mean(1).tolist() for name, w in wrong.items()}


def test_measuring_divides_by_the_dense_network():
    dense, ticket = pair()
    measured = metrics.evaluate(ticket, "corruption_error", {"images": 60})
    assert measured.value == pytest.approx(corruption_error(rates(ticket.wrong), rates(dense.wrong)))
    assert measured.value > 100 and measured.samples == 60
    assert measured.extra["baseline"] == "the dense network of the same seed"
    for name, row in measured.extra["errors"].items():
        assert row == pytest.approx(rates(ticket.wrong)[name], abs=1e-6)
    json.dumps(measured.extra)


def test_dense_is_100_without_error():
    """Relative to itself there is nothing to be unsure of."""
    measured = metrics.evaluate(pair()[0], "corruption_error", {"images": 60})
    assert (measured.value, measured.error) == (100, 0)


def test_the_relative_error_is_that_of_a_paired_bootstrap():
    dense, ticket = pair()
    measured = metrics.evaluate(ticket, "corruption_error", {"images": 60})
    dice = torch.Generator().manual_seed(1)
    found = []
    for _ in range(600):
        chosen = torch.randint(60, (60,), generator=dice)
        again = [rates({n: w[:, chosen] for n, w in s.wrong.items()}) for s in (ticket, dense)]
        found.append(corruption_error(*again))
    assert measured.error == pytest.approx(torch.tensor(found).std().item(), rel=0.15)


def test_accuracy_on_corrupted_images_and_its_clustered_error():
    _, ticket = pair()
    measured = metrics.evaluate(ticket, "corrupted_accuracy", {"images": 60})
    right = ~torch.cat(list(ticket.wrong.values()))
    assert measured.value == pytest.approx(right.double().mean().item())
    assert measured.value == pytest.approx(1 - uniform_corruption_error(rates(ticket.wrong)))
    each = right.double().mean(0)
    assert measured.error == pytest.approx(each.std(correction=0).item() / math.sqrt(60))
    naive = math.sqrt(measured.value * (1 - measured.value) / right.numel())
    assert measured.error > 1.5 * naive  # 15 cells of one image are not 15 images


def test_a_broken_network_has_no_score():
    dense, ticket = pair()
    ticket.corrupted_logits = lambda images, held_out: {"fog": torch.full((5, 60, 3), torch.nan)}
    for name in ("corruption_error", "corrupted_accuracy"):
        with pytest.raises(DataError, match="NaN"):
            metrics.evaluate(ticket, name, {"images": 60})


def test_images_limits_the_sample():
    _, ticket = pair()
    assert metrics.evaluate(ticket, "corrupted_accuracy", {"images": 12}).samples == 12


def test_real_corruptions_of_a_real_network(tmp_path):
    data = datasets.load("fashion-mini", limit=10)
    dense, ticket = (models.build("resnet8", 10, 1, width=0.25, seed=s).train() for s in (0, 1))
    before = {n: t.clone() for n, t in ticket.state_dict().items()}
    twin = Subject(dense, data, device="cpu", cache=tmp_path)
    subject = Subject(ticket, data, dense=twin, device="cpu", cache=tmp_path)
    calls = []
    ticket.register_forward_hook(lambda *_: calls.append(1))
    with untouched_rng():
        relative = metrics.evaluate(subject, "corruption_error", {"images": 10, "held_out": True})
    once = len(calls)
    plain = metrics.evaluate(subject, "corrupted_accuracy", {"images": 10, "held_out": True})
    assert len(calls) == once  # one pass serves both
    assert len(relative.extra["errors"]) == 15 and all(len(r) == 5 for r in relative.extra["errors"].values())
    errors = relative.extra["errors"]
    assert plain.value == pytest.approx(1 - uniform_corruption_error(errors), abs=1e-5)
    assert set(relative.variants) == set(plain.variants) == {"held-out"}
    assert ticket.training and all(torch.equal(t, before[n]) for n, t in ticket.state_dict().items())
