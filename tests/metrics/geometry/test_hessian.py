"""Curvature against matrices small enough to be formed whole, and against curvlinops."""

import math
import statistics
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lotterylib import metrics
from lotterylib.errors import DataError, SettingError
from lotterylib.masks import Mask, prunable
from lotterylib.metrics import Subject
from lotterylib.metrics.geometry import Estimate, hessian_trace, spectral_density, top_eigenvalue
from lotterylib.metrics.geometry.hessian import Hessian, deflated_trace, image_losses, lanczos, signs
from tests.conftest import toy_data, toy_network, untouched_rng

PRUNED = 0.6


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def tanh_network():
    """45 weights, float64."""
    random = dice()
    network = nn.Sequential(
        nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3, bias=False)
    )
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=random))
    return network.double()


def batch():
    """24 images of 6 pixels, two thirds of them labelled as the network does: eigenvalues of both signs, trace 4.3."""
    images = torch.randn(24, 6, generator=dice(1)).double()
    with torch.no_grad():
        said = tanh_network()(images).argmax(1)
    each = torch.arange(24)
    return images, torch.where(each % 3 > 0, said, each % 3)


def negated(logits, labels):
    return -image_losses(logits, labels)


def masked(network, density=1 - PRUNED):
    return Mask.top(
        {n: torch.rand(p.shape, generator=dice(2)) for n, p in prunable(network).items()}, density
    )


def full_hessian(network, images, labels, loss=cross_entropy):
    """[n, n] over all prunable weights, by torch.func."""
    names = list(prunable(network))
    shapes = [network.get_parameter(n).shape for n in names]
    flat = torch.cat([network.get_parameter(n).detach().flatten() for n in names])

    def value(vector):
        parts = vector.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return loss(functional_call(network, weights, (images,)), labels)

    return torch.func.hessian(value)(flat).detach()


def image_hessians(network, images, labels):
    """[N, pixels, pixels], one image at a time."""
    return torch.stack(
        [
            torch.func.hessian(lambda x, y=y: cross_entropy(network(x[None]), y[None]))(image).detach()
            for image, y in zip(images, labels, strict=True)
        ]
    )


def known(matrix):
    """A ``Hessian`` of one row that is this matrix."""
    size = len(matrix)
    return Hessian(1, size, lambda v: v @ matrix, lambda draw, dice: draw((1, size), generator=dice).double())


# --- products


@pytest.mark.parametrize("batch_size", [256, 7])
def test_products_are_those_of_the_full_matrix(batch_size):
    network, data = tanh_network(), batch()
    matrix = full_hessian(network, *data)
    hessian = Hessian.of(network, *data, batch_size=batch_size)
    assert (hessian.rows, hessian.size) == (1, 45)
    for seed in range(3):
        v = torch.randn(1, 45, generator=dice(seed)).double()
        assert (hessian.product(v) - v @ matrix).abs().max() < 1e-8


@pytest.mark.parametrize("batch_size", [256, 7])
def test_products_in_the_inputs_are_those_of_each_image(batch_size):
    network, data = tanh_network(), batch()
    matrices = image_hessians(network, *data)
    hessian = Hessian.of(network, *data, wrt="inputs", batch_size=batch_size)
    assert (hessian.rows, hessian.size) == (24, 6)
    v = torch.randn(24, 6, generator=dice()).double()
    assert (hessian.product(v) - torch.einsum("rij,rj->ri", matrices, v)).abs().max() < 1e-8


@pytest.mark.parametrize("form", ["zeros", "mask"])
def test_the_masked_hessian_is_the_submatrix_however_the_ticket_is_stored(form):
    network, data = tanh_network(), batch()
    mask = masked(network)
    ticket = mask.apply_(tanh_network())
    chosen = torch.cat([mask[n].flatten() for n in mask])
    matrix = full_hessian(ticket, *data)[chosen][:, chosen]
    stored = ticket if form == "zeros" else network  # the second still holds what the mask removes
    hessian = Hessian.of(stored, *data, mask=mask)
    assert hessian.size == mask.kept == len(matrix)
    v = torch.randn(1, hessian.size, generator=dice()).double()
    assert (hessian.product(v) - v @ matrix).abs().max() < 1e-8
    assert hessian_trace(stored, *data, mask=mask, steps=99) == pytest.approx(matrix.trace().item(), abs=1e-8)
    assert top_eigenvalue(stored, *data, mask=mask) == pytest.approx(
        torch.linalg.eigvalsh(matrix)[-1].item(), abs=1e-8
    )
    assert (
        abs(hessian_trace(ticket, *data, steps=99) - matrix.trace()) > 1e-3
    )  # what forgetting the mask costs


def test_a_layer_that_the_mask_does_not_name_is_whole():
    network, data = tanh_network(), batch()
    part = Mask({"0.weight": masked(network)["0.weight"]})
    assert Hessian.of(network, *data, mask=part).size == part.kept + 12 + 9


def test_curvlinops_agrees_on_a_convolutional_network_in_eval_mode():
    curvlinops = pytest.importorskip("curvlinops")
    from scipy.sparse.linalg import eigsh

    network, data = toy_network().double().train(), toy_data(count=24)
    images, labels = data.train[0].double(), data.train[1]
    ours = Hessian.of(network, images, labels)
    twin = toy_network().double().eval()
    theirs = curvlinops.HessianLinearOperator(
        twin, nn.CrossEntropyLoss(), list(prunable(twin).values()), [(images, labels)]
    )
    v = torch.randn(ours.size, generator=dice()).double()
    assert torch.allclose(ours.product(v[None])[0], (theirs @ v).detach(), atol=1e-9)
    reference = eigsh(theirs.to_scipy(), k=1, which="LA", return_eigenvectors=False)[0]
    top = top_eigenvalue(network, images, labels)
    assert top == pytest.approx(reference, rel=1e-3) and top.converged


# --- trace


@pytest.mark.parametrize("loss", [image_losses, negated])
@pytest.mark.parametrize("steps", [1, 6])
def test_the_trace_lies_within_three_standard_errors(steps, loss):
    network, data = tanh_network(), batch()
    exact = full_hessian(network, *data).trace().item() * (1 if loss is image_losses else -1)
    trace = hessian_trace(network, *data, steps=steps, relative_error=0.05, max_probes=400, loss=loss)
    assert abs(trace - exact) < 3 * trace.error
    assert trace.converged and trace.error <= 0.05 * abs(trace)
    assert trace.samples > 4, "a negative trace must not stop the probes at once"


def test_negative_traces_stop_by_their_size():
    """Eigenvalues 5, −1 … −30: the signed mean is below 0, and any positive bound would be met at the first look."""
    values = -torch.arange(1.0, 31).double()
    values[0] = 5
    basis = torch.linalg.qr(torch.randn(30, 30, generator=dice()).double()).Q
    hessian = known(basis @ values.diag() @ basis.T)
    krylov = lanczos(hessian, 2, seed=0)
    found = deflated_trace(hessian, krylov, 0.01, 0.0, 500, seed=0)
    assert found.error <= 0.01 * abs(found) and abs(found - values.sum()) < 3 * found.error
    loose = deflated_trace(hessian, krylov, 0.2, 0.0, 500, seed=0)
    assert loose.samples < found.samples


def test_the_standard_error_is_honest():
    """Over many seeds: the mean is the trace, the spread is what each run says of itself."""
    matrix = full_hessian(tanh_network(), *batch())
    runs = []
    for seed in range(200):
        hessian = known(matrix)
        runs.append(deflated_trace(hessian, lanczos(hessian, 4, seed), 0.0, 0.0, 12, seed))
    assert not any(r.converged for r in runs) and {r.samples for r in runs} == {12}
    spread = statistics.stdev(runs)
    assert abs(statistics.mean(runs) - matrix.trace()) < 3 * spread / math.sqrt(200)
    assert statistics.mean(r.error**2 for r in runs) == pytest.approx(spread**2, rel=0.35)


def test_deflation_pays_where_few_eigenvalues_are_large():
    values = torch.cat([torch.tensor([50.0, 30, 20]), 0.01 * torch.ones(97)]).double()
    basis = torch.linalg.qr(torch.randn(100, 100, generator=dice()).double()).Q
    hessian = known(basis @ values.diag() @ basis.T)
    few, more = (
        deflated_trace(hessian, lanczos(hessian, steps, 0), 0.0, 0.0, 10, seed=0).error for steps in (1, 5)
    )
    assert more < few / 100


def test_a_relu_network_has_the_trace_of_its_fisher_matrix():
    """Between its kinks such a network is linear in each weight, so the Hessian's diagonal is the Fisher matrix's:
    tr H = mean over images of Σₖ p(k) ‖∇ log p(k)‖². Nothing of ours is in that sum."""
    network, data = toy_network().double().eval(), toy_data(count=12)
    images, labels = data.train[0].double(), data.train[1]
    weights = list(prunable(network).values())
    total = 0.0
    for image in images:
        logs = network(image[None]).log_softmax(1)[0]
        for log in logs:
            found = torch.autograd.grad(log, weights, retain_graph=True)
            total += log.exp().item() * sum(g.square().sum().item() for g in found)
    trace = hessian_trace(network, images, labels, relative_error=0.01, max_probes=1000)
    assert abs(trace - total / 12) < 3 * trace.error


def test_more_images_of_the_same_kind_change_nothing():
    network, (images, labels) = tanh_network(), batch()
    twice = torch.cat([images, images]), torch.cat([labels, labels])
    for wrt in ("weights", "inputs"):
        for question in (hessian_trace, top_eigenvalue):
            once = question(network, images, labels, wrt, steps=3)
            assert question(network, *twice, wrt, steps=3) == pytest.approx(once, rel=1e-9)
            assert question(network, *twice, wrt, steps=3, batch_size=5) == pytest.approx(once, rel=1e-9)


def test_the_input_trace_is_the_mean_over_images():
    network, data = tanh_network(), batch()
    matrices = image_hessians(network, *data)
    exact = matrices.diagonal(dim1=1, dim2=2).sum(1).mean().item()
    assert hessian_trace(network, *data, wrt="inputs", steps=6) == pytest.approx(exact, abs=1e-9)
    trace = hessian_trace(network, *data, wrt="inputs", steps=1, max_probes=300)
    assert abs(trace - exact) < 3 * trace.error
    top = top_eigenvalue(network, *data, wrt="inputs")
    assert top == pytest.approx(torch.linalg.eigvalsh(matrices)[:, -1].mean().item(), abs=1e-9)
    alone = [hessian_trace(network, x[None], y[None], "inputs", steps=6) for x, y in zip(*data, strict=True)]
    assert statistics.mean(alone) == pytest.approx(exact, abs=1e-9)


# --- ends of the spectrum


def test_ends_of_the_spectrum_are_named_apart():
    network, data = tanh_network(), batch()
    for loss, sign in ((image_losses, 1), (negated, -1)):
        values = torch.linalg.eigvalsh(sign * full_hessian(network, *data))
        largest, smallest, magnitude = (
            top_eigenvalue(network, *data, which=which, loss=loss)
            for which in ("largest", "smallest", "magnitude")
        )
        assert largest == pytest.approx(values[-1].item(), rel=1e-3) and largest.converged
        assert smallest == pytest.approx(values[0].item(), rel=1e-3)
        assert magnitude == pytest.approx((values[-1] if sign == 1 else values[0]).item(), rel=1e-3)
        assert values[0] < 0 < values[-1] and abs(values[0]) != abs(values[-1])


def test_the_residual_bounds_the_distance_to_an_eigenvalue():
    matrix = full_hessian(tanh_network(), *batch())
    values = torch.linalg.eigvalsh(matrix)
    for steps in range(1, 12):
        [value], [residual] = lanczos(known(matrix), steps, seed=0).end("largest")
        assert (values - value).abs().min() <= residual + 1e-12


def test_lanczos_keeps_its_basis_orthogonal_and_t_is_the_projection():
    matrix = torch.diag(torch.cat([torch.tensor([1e4, 1e3]), torch.linspace(0, 1, 78)]).double())
    krylov = lanczos(known(matrix), 80, seed=0)
    q = krylov.basis[0]
    assert (q @ q.T - torch.eye(80)).abs().max() < 1e-10
    values, _ = krylov.eigen()
    assert torch.allclose(
        values[0], torch.linalg.eigvalsh(matrix), atol=1e-7
    )  # each once: no ghosts of the large ones


@pytest.mark.parametrize(
    "matrix", [torch.eye(9), torch.zeros(9, 9), torch.diag(torch.tensor([3.0] + [0.0] * 8))]
)
def test_lanczos_goes_on_where_the_start_is_spent(matrix):
    """With one or two distinct eigenvalues the start spans them at once; the count of each must come out still."""
    krylov = lanczos(known(matrix.double()), 20, seed=0)
    values, weights = krylov.ritz()
    assert torch.allclose(values[0], matrix.diagonal().double().sort().values, atol=1e-12)
    assert weights.sum() == pytest.approx(1)


def test_a_negative_definite_matrix_has_a_negative_top():
    values = -torch.arange(1.0, 8).double()
    [top], _ = lanczos(known(values.diag()), 30, seed=0).end("largest")
    assert top == pytest.approx(-1, abs=1e-9)


# --- density


@pytest.mark.parametrize("wrt", ["weights", "inputs"])
def test_the_density_integrates_to_one_and_its_mean_is_the_trace(wrt):
    network, data = tanh_network(), batch()
    size = 45 if wrt == "weights" else 6
    exact = hessian_trace(network, *data, wrt, steps=45)
    for steps, runs, tolerance in ((45, 1, 1e-6), (3, 100, 0.1)):
        found = spectral_density(network, *data, wrt, steps=steps, runs=runs)
        assert torch.trapezoid(found.density, found.eigenvalues) == pytest.approx(1, abs=1e-6)
        assert (found.density >= 0).all()
        mean = torch.trapezoid(found.density * found.eigenvalues, found.eigenvalues).item()
        assert mean * size == pytest.approx(exact, rel=tolerance)


def test_the_mean_of_the_density_is_the_quadratic_form_of_its_starts():
    """To rounding, not just on average: Σₖ τₖθₖ = vᵀHv / n."""
    matrix = full_hessian(tanh_network(), *batch())
    krylov = lanczos(known(matrix), 10, seed=3)
    (values, weights), start = krylov.ritz(), krylov.basis[0, 0]
    assert (values * weights).sum() == pytest.approx((start @ matrix @ start).item(), abs=1e-10)


def test_the_density_counts_eigenvalues():
    """Share of eigenvalues above a gap in the spectrum, against the matrix's own."""
    network, data = tanh_network(), batch()
    values = torch.linalg.eigvalsh(full_hessian(network, *data))
    edge = (values[-4] + values[-5]).item() / 2  # between the fourth largest and the fifth
    x, y = spectral_density(network, *data, steps=20, runs=40, width=0.01)
    above = torch.trapezoid(y * (x > edge), x)
    assert above == pytest.approx(4 / 45, rel=0.25)


# --- manners


def test_the_model_is_left_as_found_also_when_it_raises():
    network, data = toy_network().train(), toy_data(count=12)
    network[1].weight.requires_grad_(False)
    cross_entropy(network(data.train[0]), data.train[1]).backward()
    state = {n: t.clone() for n, t in network.state_dict().items()}
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    def check():
        assert network.training and all(m.training for m in network.modules())
        assert all(torch.equal(t, state[n]) for n, t in network.state_dict().items())
        for n, p in network.named_parameters():
            assert p.requires_grad == (n != "1.weight") and torch.is_grad_enabled()
            assert (p.grad is None) == (n not in gradients)
            assert p.grad is None or torch.equal(p.grad, gradients[n])

    def broken(logits, labels):
        if logits.requires_grad:
            raise RuntimeError("out of memory, say")
        return image_losses(logits, labels)

    for wrt in ("weights", "inputs"):
        with untouched_rng(), torch.no_grad():
            hessian_trace(network, *data.train, wrt, masked(network), max_probes=4)
            top_eigenvalue(network, *data.train, wrt)
        check()
        with pytest.raises(RuntimeError, match="out of memory"):
            hessian_trace(network, *data.train, wrt, loss=broken)
        check()


def test_the_seed_decides_and_masks_share_their_probes():
    network, data = tanh_network(), batch()
    first, again, other = (hessian_trace(network, *data, steps=2, seed=s, max_probes=5) for s in (0, 0, 1))
    assert (first, first.error) == (again, again.error) and first != other
    mask = masked(network)
    chosen = torch.cat([mask[n].flatten() for n in mask])
    whole, part = Hessian.of(network, *data), Hessian.of(network, *data, mask=mask)
    assert torch.equal(whole.random(signs, dice())[:, chosen], part.random(signs, dice()))


def test_an_estimate_is_a_number():
    found = Estimate(2.5, 0.1, 7)
    assert (
        found == 2.5 and found + 1 == 3.5 and (found.error, found.samples, found.converged) == (0.1, 7, True)
    )
    assert repr(found) == "2.5 ± 0.1" and repr(Estimate(2.5)) == "2.5"
    assert repr(Estimate(2, None, 3, converged=False)) == "2 (not converged)"


def test_bad_input_is_refused():
    network, (images, labels) = tanh_network(), batch()
    with pytest.raises(DataError, match="want images"):
        hessian_trace(network, images[:0], labels[:0])
    with pytest.raises(DataError, match="want images"):
        hessian_trace(network, images, labels[:5])
    with pytest.raises(DataError, match=r"0\.\.2"):
        top_eigenvalue(network, images, labels + 1)
    with pytest.raises(DataError, match="not finite"):
        top_eigenvalue(network, images * torch.nan, labels)
    with pytest.raises(DataError, match="keeps no weight"):
        hessian_trace(network, images, labels, mask=Mask.top(dict(prunable(network)), 0.0))
    with pytest.raises(SettingError, match="weights.*inputs"):
        hessian_trace(network, images, labels, wrt="pixels")
    with pytest.raises(SettingError, match="largest"):
        top_eigenvalue(network, images, labels, which="biggest")
    with pytest.raises(SettingError, match="not there"):
        hessian_trace(network, images, labels, mask=Mask({"7.weight": torch.ones(2, 2, dtype=torch.bool)}))
    for settings in (dict(steps=0), dict(max_probes=3), dict(relative_error=-1), dict(batch_size=0)):
        with pytest.raises(SettingError, match="or more"):
            hessian_trace(network, images, labels, **settings)
    for settings in (dict(runs=0), dict(width=0)):
        with pytest.raises(SettingError, match="want runs"):
            spectral_density(network, images, labels, **settings)


# --- measured on a ticket


def subject(form="zeros"):
    network = toy_network()
    mask = masked(network)
    return Subject(mask.apply_(network) if form == "zeros" else network, toy_data(), mask, 3, "cpu")


def test_what_is_measured_is_what_the_functions_say():
    ticket = subject()
    images, labels = ticket.sample(30, "train")
    trace = metrics.evaluate(ticket, "hessian_trace", dict(images=30, steps=5, max_probes=6))
    expected = hessian_trace(
        ticket.model, images, labels, mask=ticket.mask, steps=5, max_probes=6, relative_error=0.03
    )
    assert (trace.value, trace.error, trace.samples) == (expected, expected.error, expected.samples)
    assert trace.variants["per weight"].value == pytest.approx(expected / ticket.mask.kept)
    top = metrics.evaluate(ticket, "hessian_top", dict(images=30, steps=5))
    assert top.value == top_eigenvalue(ticket.model, images, labels, mask=ticket.mask, steps=5)
    assert top.error is None and top.extra["smallest"] < top.value
    trace = metrics.evaluate(ticket, "input_trace", dict(images=30, steps=3, max_probes=4))
    each = image_hessians(ticket.model.eval(), images, labels.long())
    traces = each.flatten(1, 3).flatten(2).diagonal(dim1=1, dim2=2).sum(1)
    assert trace.value == pytest.approx(traces.mean().item(), rel=1e-3) and trace.samples == 30
    assert trace.error == pytest.approx(traces.std().item() / math.sqrt(30), rel=1e-2)
    top = metrics.evaluate(ticket, "input_top", dict(images=30, steps=3))
    tops = torch.linalg.eigvalsh(each.flatten(1, 3).flatten(2))[:, -1]
    assert top.value == pytest.approx(tops.mean().item(), rel=1e-3)
    assert top.error == pytest.approx(tops.std().item() / math.sqrt(30), rel=1e-2)


def test_zeros_and_masks_measure_alike():
    for name in ("hessian_trace", "hessian_top", "input_trace", "input_top"):
        zeros, mask = (
            metrics.evaluate(subject(form), name, dict(images=12, steps=4)) for form in ("zeros", "mask")
        )
        assert zeros.value == pytest.approx(mask.value, rel=1e-6)


def test_trace_and_top_share_one_run_of_lanczos(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "lotterylib.metrics.geometry.hessian.lanczos", lambda *a, **k: calls.append(1) or lanczos(*a, **k)
    )
    ticket = subject()
    for name in ("hessian_top", "hessian_trace", "input_trace", "input_top"):
        metrics.evaluate(ticket, name, dict(images=12, steps=4))
    assert len(calls) == 2


def test_the_dense_network_is_looked_at_over_the_tickets_weights_too():
    """Its exact Hessian's block for the weights that the ticket keeps, with none of its own weights removed."""
    images, labels = batch()
    whole, ticket = (nn.Sequential(nn.Flatten(), tanh_network()).float() for _ in range(2))
    mask = masked(ticket)
    with torch.no_grad():
        for weight in ticket.parameters():
            weight.mul_(1.5)
    mask.apply_(ticket)
    data = replace(toy_data(), train=(images.float().sigmoid().view(-1, 1, 2, 3), labels.long()))
    dense = Subject(whole, data, device="cpu")
    settings = dict(images=len(labels), steps=3, max_probes=60, relative_error=0.0)
    sparse = Subject(ticket, data, mask, device="cpu", dense=dense)
    measured = metrics.evaluate(sparse, "hessian_trace", settings)
    seen = dense.sample(len(labels), "train")
    chosen = torch.cat([kept.flatten() for kept in mask.values()])
    block = full_hessian(whole, *seen)[chosen][:, chosen]
    control, gap = (measured.variants[name] for name in ("control", "gap"))
    assert control.value == pytest.approx(block.trace().item(), abs=3.5 * control.error + 1e-5)
    assert gap.value == pytest.approx(measured.value - control.value)
    assert gap.error == pytest.approx(math.hypot(measured.error, control.error))
    top = metrics.evaluate(sparse, "hessian_top", dict(images=len(labels), steps=40))
    largest = torch.linalg.eigvalsh(block.double())[-1].item()
    assert top.variants["control"].value == pytest.approx(largest, rel=1e-3)
    own = metrics.evaluate(dense, "hessian_trace", settings)
    assert own.variants["control"].value == own.value and own.variants["gap"].value == 0


def test_networks_of_another_form_have_no_weights_in_common():
    data = toy_data()
    other = nn.Sequential(nn.Flatten(), nn.Linear(data.train[0][0].numel(), 3))
    narrow = Subject(toy_network(), data, device="cpu", dense=Subject(other, data, device="cpu"))
    measured = metrics.evaluate(narrow, "hessian_trace", dict(images=12, steps=3, max_probes=4))
    assert set(measured.variants) == {"per weight"}
