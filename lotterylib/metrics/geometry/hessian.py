"""The Hessian of the loss, in the weights or in the pixels, known only by its products with vectors.

One product costs two gradients (Pearlmutter, 1994); the matrix itself, with its billions of entries, is never formed.
Lanczos gives the ends of the spectrum, Hutchinson's probes the trace, both together the whole density of eigenvalues.

In the weights there is one matrix; in the pixels there is one per image. So all that follows works on a stack of
``rows`` matrices at once: vectors are [rows, size].
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ...datasets import Dataset
from ...errors import DataError, SettingError
from ...masks import Mask, prunable
from ...rng import generator
from ..base import About, Metric, Question, Shape, Tolerance, register
from ..checks import CUT, answers_in_steps, at_once, check_labels, differ, have_slope
from ..resampling import DRAWS, of_images, standard_error
from ..subject import Measurement, Subject, paired

Draw = Callable[..., Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
# images and their labels
Part = tuple[Tensor, Tensor]
Wrt = Literal["weights", "inputs"]
# before the stopping rule may speak: a spread of fewer is a guess
LEAST_PROBES = 4
# what less, more and equal curvature makes of a network
_BENT = ("flatter", "sharper", "flat")
# forward passes that a product with the Hessian takes
PRODUCT: dict[Wrt, int] = {"weights": 7, "inputs": 4}


class Estimate(float):
    """A number with the ``error`` of its estimate, the ``samples`` (probes, draws, steps) behind it, and whether it
    ``converged`` to what was asked for; ``draws``, where all networks share them, are those of ``Measurement``."""

    error: float | None
    samples: int
    converged: bool
    draws: Tensor | None = None

    def __new__(cls, value: float, error: float | None = None, samples: int = 0, converged: bool = True):
        self = super().__new__(cls, value)
        self.error, self.samples, self.converged = error, samples, converged
        return self

    def __repr__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{float(self):.4g}{error}{'' if self.converged else ' (not converged)'}"


class Density(NamedTuple):
    """``density`` [points] of eigenvalues over the grid ``eigenvalues`` [points]; it integrates to 1."""

    eigenvalues: Tensor
    density: Tensor


def image_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image, in nats: [N]."""
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    return F.cross_entropy(logits, labels, reduction="none")


# --- the three questions


def hessian_trace(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    wrt: Wrt = "weights",
    mask: Mask | None = None,
    *,
    steps: int = 10,
    relative_error: float = 0.02,
    absolute_error: float = 1e-6,
    max_probes: int = 100,
    seed: int = 0,
    batch_size: int = 256,
    loss: Loss = image_losses,
) -> Estimate:
    """Estimate the sum of the Hessian's eigenvalues: total curvature of the mean loss, in nats; lower is flatter. It may be negative.

    ``wrt="weights"``: H = ∂²L/∂θ² over the surviving prunable weights (those of convolutions and linear layers that
    ``mask`` keeps; all of them without a mask), L being the mean loss of the batch in eval mode. Weights that the mask
    removes count as 0, so it is H[mask][:, mask] of the ticket, however the ticket is stored.
    ``wrt="inputs"``: the mean over images of tr ∂²ℓ/∂x², each image by itself: it depends on no batch size.

        tr H = tr QᵀHQ + tr PHP,  P = I − QQᵀ          E[zᵀPHPz] = tr PHP,  z random signs

    Q spans what ``steps`` products of Lanczos reach, which holds the few large eigenvalues; its part of the trace is
    exact. The rest is estimated by probes (Hutchinson, 1990; deflated like Hutch++, Meyer et al., 2021), the same ones for
    every mask of one network and every image, until their standard error is at most ``relative_error`` · |trace| or
    ``absolute_error``; after ``max_probes`` the ``Estimate`` says that it has not converged.

    ``images`` [N, C, H, W] in [0, 1], ``labels`` [N], at most ``batch_size`` in memory at once; ``loss`` maps logits and
    labels to one loss per image. The model is left as found. Raises ``DataError`` for no images, labels that do not fit, a
    mask that keeps nothing, or a loss that is not finite; ``SettingError`` for a setting outside its range.

    Example:
        >>> network = torch.nn.Linear(2, 1, bias=False).double()
        >>> images, labels = torch.eye(2).double(), torch.zeros(2).long()
        >>> round(hessian_trace(network, images, labels, loss=lambda z, y: z[:, 0] ** 2), 6)
        2.0
    """
    with torch.inference_mode(False):
        hessian = Hessian.of(model, images, labels, wrt, mask, batch_size, loss)
        krylov = lanczos(hessian, steps, seed)
        return deflated_trace(hessian, krylov, relative_error, absolute_error, max_probes, seed)


def top_eigenvalue(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    wrt: Wrt = "weights",
    mask: Mask | None = None,
    *,
    which: Literal["largest", "smallest", "magnitude"] = "largest",
    steps: int = 30,
    seed: int = 0,
    batch_size: int = 256,
    loss: Loss = image_losses,
) -> Estimate:
    """Find the end of the spectrum by Lanczos with full re-orthogonalisation: the sharpest direction; lower is flatter.

    ``which``: ``largest`` and ``smallest`` in the algebraic sense (−3 < 1), or the one of largest ``magnitude``, with
    its sign. In the inputs: the mean over images of each image's own. ``error`` is the residual ‖Hu − λu‖, which bounds
    the distance to the nearest eigenvalue; converged means at most 1% of it. The rest is as in ``hessian_trace``.

    Example:
        >>> network = torch.nn.Linear(2, 1, bias=False).double()
        >>> images, labels = torch.eye(2).double(), torch.zeros(2).long()
        >>> round(top_eigenvalue(network, images, labels, loss=lambda z, y: z[:, 0] ** 2), 6)
        1.0
    """
    with torch.inference_mode(False):
        hessian = Hessian.of(model, images, labels, wrt, mask, batch_size, loss)
        krylov = lanczos(hessian, steps, seed)
    value, residual = (part.mean().item() for part in krylov.end(which))
    return Estimate(value, residual, krylov.diagonal.shape[1], residual <= 0.01 * abs(value))


def spectral_density(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    wrt: Wrt = "weights",
    mask: Mask | None = None,
    *,
    steps: int = 30,
    runs: int = 4,
    width: float = 0.1,
    seed: int = 0,
    batch_size: int = 256,
    loss: Loss = image_losses,
) -> Density:
    """Estimate how the eigenvalues are spread, by stochastic Lanczos quadrature (Ghorbani et al., 2019, section 2).

        ρ(λ) = mean over runs of Σₖ τₖ N(λ; θₖ, sₖ²),    τₖ = (first entry of T's k-th eigenvector)²

    T is the tridiagonal matrix of a Lanczos run from a random start, θ its eigenvalues. A bell is as wide as a share
    ``width`` of its eigenvalue's size, to which a thousandth of the largest is added: on a logarithmic axis those far from
    zero look alike, and those around zero, which few steps don't tell apart, run into one. The density integrates to 1, and its mean times
    the number of weights (in the inputs: pixels) estimates the
    trace. The rest is as in ``hessian_trace``.

    Example:
        >>> found = spectral_density(torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1]), runs=1)
        >>> round(torch.trapezoid(found.density, found.eigenvalues).item(), 6)
        1.0
    """
    if runs < 1 or not width > 0:
        raise SettingError(f"want runs of 1 or more and a width above 0, got {runs} and {width}")
    with torch.inference_mode(False):
        hessian = Hessian.of(model, images, labels, wrt, mask, batch_size, loss)
        found = [lanczos(hessian, steps, seed, run, signs).ritz() for run in range(runs)]
    nodes, weights = (torch.cat([part.flatten() for part in parts]) for parts in zip(*found, strict=True))
    least = nodes.abs().max() / 1000 or 1.0
    spread = width * nodes.abs() + least
    # Even steps of u with λ = least · sinh u grow as the bells do: more than four points a standard deviation, from
    # six of them below the first node to six above the last.
    ends = torch.stack([(nodes - 6 * spread).min(), (nodes + 6 * spread).max()]) / least
    low, high = ends.asinh().tolist()
    grid = least * torch.linspace(low, high, math.ceil(5 * (high - low) / width), dtype=torch.float64).sinh()
    bells = torch.exp(-0.5 * ((grid[:, None] - nodes) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    density = bells @ weights
    return Density(grid, density / torch.trapezoid(density, grid))


# --- Lanczos and Hutchinson


@dataclass(frozen=True)
class Krylov:
    """The result of Lanczos: ``basis`` [rows, steps, size] with orthonormal rows Q, and the tridiagonal T = QᵀHQ by its
    ``diagonal`` [rows, steps] and ``off_diagonal`` [rows, steps], whose last entry is what the next step would have been."""

    basis: Tensor
    diagonal: Tensor
    off_diagonal: Tensor

    def eigen(self) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues [rows, steps], rising, and eigenvectors [rows, steps, steps] (columns) of T."""
        inner = self.off_diagonal[:, :-1]
        sides = inner.diag_embed(offset=1) + inner.diag_embed(offset=-1)
        return torch.linalg.eigh(self.diagonal.diag_embed() + sides)

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Return nodes and weights of the quadrature: eigenvalues of T, and how much of the start lies along each. Where T is
        as large as H, they are its eigenvalues, and each counts alike."""
        values, vectors = self.eigen()
        whole = self.basis.shape[1] == self.basis.shape[2]
        return values, torch.full_like(values, 1 / values.shape[1]) if whole else vectors[:, 0] ** 2

    def end(self, which: str) -> tuple[Tensor, Tensor]:
        """Return the ``largest``, the ``smallest`` or the eigenvalue of largest ``magnitude`` of each row, with its residual
        ‖Hu − λu‖ = β · |last entry of T's eigenvector|: two tensors [rows]."""
        if which not in ("largest", "smallest", "magnitude"):
            raise SettingError(f"which must be 'largest', 'smallest' or 'magnitude', got {which!r}")
        values, vectors = self.eigen()
        ranked = {"largest": values, "smallest": -values, "magnitude": values.abs()}[which]
        best = ranked.argmax(dim=1, keepdim=True)
        residuals = self.off_diagonal[:, -1:] * vectors[:, -1].gather(1, best).abs()
        return values.gather(1, best).squeeze(1), residuals.squeeze(1)


@torch.no_grad()
def lanczos(hessian: Hessian, steps: int, seed: int, run: int = 0, draw: Draw = torch.randn) -> Krylov:
    """Do ``steps`` products (at most ``size``) from a random start, normal unless ``draw`` says otherwise (signs may miss an
    eigenvector altogether):

        βⱼ qⱼ₊₁ = H qⱼ − αⱼ qⱼ − βⱼ₋₁ qⱼ₋₁

    Each new vector is made orthogonal to all before, twice, since rounding would bring found eigenvalues back as ghosts.
    Where nothing is left (the start lay in an invariant subspace), a fresh random direction goes on, with β = 0.

    Example:
        >>> hessian = Hessian.of(torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1]))
        >>> lanczos(hessian, steps=3, seed=0).diagonal.shape
        torch.Size([1, 3])
    """
    if steps < 1:
        raise SettingError(f"steps must be 1 or more, got {steps}")
    steps = min(steps, hessian.size)
    random = generator(seed, "lanczos", run)
    vector = _unit(hessian.random(draw, random))
    basis = vector.new_zeros(hessian.rows, steps, hessian.size)
    diagonal = torch.zeros(hessian.rows, steps, dtype=torch.float64)
    off_diagonal = torch.zeros_like(diagonal)
    scale = vector.new_zeros(hessian.rows)
    for j in range(steps):
        basis[:, j], before = vector, basis[:, : j + 1]
        image = hessian.product(vector)
        diagonal[:, j] = (image * vector).sum(dim=1)
        rest = without(before, image)
        length, scale = rest.norm(dim=1), torch.maximum(scale, image.norm(dim=1))
        ended = length <= 100 * torch.finfo(rest.dtype).eps * scale
        off_diagonal[:, j] = length.masked_fill(ended, 0)
        if ended.any():
            rest = torch.where(ended[:, None], hessian.random(torch.randn, random), rest)
        vector = _unit(without(before, _unit(rest)))
    return Krylov(basis, diagonal, off_diagonal)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)


def without(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return ``vectors`` [rows, size] less their parts along ``basis`` [rows, k, size]."""
    for _ in range(2):
        along = torch.einsum("rks,rs->rk", basis, vectors)
        vectors = vectors - torch.einsum("rks,rk->rs", basis, along)
    return vectors


@torch.no_grad()
def deflated_trace(
    hessian: Hessian, krylov: Krylov, relative_error: float, absolute_error: float, max_probes: int, seed: int
) -> Estimate:
    """Estimate the trace as ``hessian_trace`` does. The rule compares with |trace|, since a negative one would stop it at once."""
    if max_probes < LEAST_PROBES or relative_error < 0 or absolute_error < 0:
        raise SettingError(
            f"want max_probes of {LEAST_PROBES} or more and errors of 0 or more, "
            f"got {max_probes}, {relative_error}, {absolute_error}"
        )
    exact = krylov.diagonal.sum(dim=1).mean().item()
    random = generator(seed, "probes")

    def ask() -> float:
        probe = without(krylov.basis, hessian.random(signs, random))
        return (probe * hessian.product(probe)).sum(dim=1).double().mean().item()

    found = [ask() for _ in range(LEAST_PROBES)]
    while True:
        value = exact + statistics.mean(found)
        error = statistics.stdev(found) / math.sqrt(len(found))
        converged = error <= max(relative_error * abs(value), absolute_error)
        if converged or len(found) == max_probes:
            return Estimate(value, error, len(found), converged)
        found.append(ask())


# --- products with the Hessian


@dataclass(frozen=True)
class Hessian:
    """``rows`` symmetric matrices of ``size``: ``product`` multiplies [rows, size] vectors; ``random(draw, random)`` is a
    vector drawn by ``draw(shape, generator=random)``, the same for all rows."""

    rows: int
    size: int
    product: Callable[[Tensor], Tensor]
    random: Callable[[Draw, torch.Generator], Tensor]

    @classmethod
    def of(
        cls, model: nn.Module, images: Tensor, labels: Tensor, wrt: Wrt = "weights", mask: Mask | None = None,
        batch_size: int = 256, loss: Loss = image_losses, within: Mask | None = None,
    ) -> Hessian:  # fmt: skip
        """Return the Hessian that ``hessian_trace`` describes; ``within`` a mask over its rows and columns there alone, with all
        weights as they are."""
        if wrt not in ("weights", "inputs"):
            raise SettingError(f"wrt must be 'weights' or 'inputs', got {wrt!r}")
        if batch_size < 1:
            raise SettingError(f"batch_size must be 1 or more, got {batch_size}")
        model, keep = surviving(model, mask)
        if within is not None:
            keep |= {name: keep[name] & kept.to(keep[name].device) for name, kept in within.items()}
        images, labels = check_batch(model, images, labels, batch_size, loss)
        _check_gradients(model, [] if wrt == "inputs" else list(keep), images[:5])
        parts = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
        if wrt == "inputs":
            return cls._in_inputs(model, parts, loss)
        return cls._in_weights(model, keep, parts, loss)

    @classmethod
    def _in_weights(cls, model: nn.Module, keep: dict[str, Tensor], parts: list[Part], loss: Loss) -> Hessian:
        leaves = {name: model.get_parameter(name).clone().requires_grad_() for name in keep}
        weights, count = list(leaves.values()), sum(len(labels) for _, labels in parts)

        def chosen(tensors: Iterable[Tensor]) -> Tensor:
            return torch.cat([t[kept] for t, kept in zip(tensors, keep.values(), strict=True)])

        def gradient(images: Tensor, labels: Tensor) -> Tensor:
            with torch.enable_grad():
                # a copy: the network may normalise in place
                value = loss(functional_call(model, leaves, (images.clone(),)), labels).sum() / count
                return chosen(_differentiate(value, weights))

        graph = _Graphs(gradient, parts)

        def product(vectors: Tensor) -> Tensor:
            found = [chosen(_differentiate(g, weights, vectors[0])) for g in graph]
            return sum(found[1:], found[0])[None].detach()

        def drawn(draw: Draw, random: torch.Generator) -> Tensor:
            # drawn for every weight, removed ones too: all masks of a network share what they have in common
            return chosen([draw(weight.shape, generator=random).to(weight) for weight in weights])[None]

        return cls(1, sum(int(kept.sum()) for kept in keep.values()), product, drawn)

    @classmethod
    def _in_inputs(cls, model: nn.Module, parts: list[Part], loss: Loss) -> Hessian:
        parts = [(images.clone().requires_grad_(), labels) for images, labels in parts]
        first, count = parts[0][0], sum(len(labels) for _, labels in parts)

        def gradient(images: Tensor, labels: Tensor) -> Tensor:
            with torch.enable_grad():
                # not the mean: an image knows nothing of the others
                # a copy: the network may normalise in place
                value = loss(model(images.clone()), labels).sum()
                return _differentiate(value, [images])[0]

        graph = _Graphs(gradient, parts)

        def product(vectors: Tensor) -> Tensor:
            pieces = vectors.view(count, *first.shape[1:]).split(len(first))
            found = [
                _differentiate(g, [images], piece)[0]
                for g, (images, _), piece in zip(graph, parts, pieces, strict=True)
            ]
            return torch.cat(found).flatten(1).detach()

        def drawn(draw: Draw, random: torch.Generator) -> Tensor:
            return draw(first.shape[1:], generator=random).to(first).flatten().expand(count, -1)

        return cls(count, first[0].numel(), product, drawn)


class _Graphs:
    """Gradients of all batches with their graphs. One batch keeps its graph from product to product, which saves half
    the work; several are built anew each time, one after the other, since memory holds one."""

    def __init__(self, gradient: Callable[[Tensor, Tensor], Tensor], parts: list[Part]):
        self._gradient, self._parts = gradient, parts
        self._kept = gradient(*parts[0]) if len(parts) == 1 else None

    def __iter__(self) -> Iterator[Tensor]:
        if self._kept is not None:
            yield self._kept
        else:
            yield from (self._gradient(*part) for part in self._parts)


def _differentiate(value: Tensor, by: list[Tensor], along: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return gradients that may be differentiated again; 0 where ``value`` does not depend on a tensor."""
    # a gradient that is constant: no curvature at all
    if not value.requires_grad:
        return tuple(torch.zeros_like(t) for t in by)
    how = {
        "retain_graph": True,
        "create_graph": along is None,
        "allow_unused": True,
        "materialize_grads": True,
    }
    return torch.autograd.grad(value, by, along, **how)


def signs(shape: torch.Size, *, generator: torch.Generator) -> Tensor:
    """Return ±1 by the toss of a coin (Rademacher): for traces they vary less than normal numbers."""
    return 2 * torch.randint(0, 2, shape, generator=generator) - 1


def surviving(model: nn.Module, mask: Mask | None) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a frozen copy of the model in eval mode whose removed weights are 0, and which entries of each prunable weight
    survive: all of one that the mask does not name. Raises ``SettingError`` for a mask of another network, ``DataError`` for
    one that keeps nothing."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    keep = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(frozen).items()}
    if mask is not None:
        mask.check_matches({name: tensor.shape for name, tensor in keep.items()})
        mask.apply_(frozen)
        keep |= {name: tensor.to(keep[name].device) for name, tensor in mask.items()}
    if not any(tensor.any() for tensor in keep.values()):
        raise DataError("the mask keeps no weight: there is no direction to walk in")
    return frozen, keep


def check_batch(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int, loss: Loss) -> Part:
    """Return images and labels on the model's device, in its precision; raise ``DataError`` as ``hessian_trace`` does."""
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise DataError(
            f"want images [N, …] and labels [N], N > 0; got {list(images.shape)}, {list(labels.shape)}"
        )
    weight = next(model.parameters())
    # of images made in inference mode no gradient could be taken
    images, labels = (t.clone() if t.is_inference() else t for t in (images, labels))
    images, labels = images.detach().to(weight), labels.to(weight.device)
    with torch.no_grad():
        for part, wanted in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            logits = model(part.clone())
            check_labels(wanted, logits.shape[1])
            if not loss(logits, wanted).isfinite().all():
                raise DataError("the loss of the network is not finite: it is broken, not flat")
    return images, labels


@torch.enable_grad()
def _check_gradients(model: nn.Module, weights: list[str], images: Tensor) -> None:
    """Raise ``DataError`` if something matters to the network that no gradient reaches, or one of exactly 0, which would pass for
    flat: the named ``weights``, or, without any, the images. A network that detaches some of its features and not others is not
    noticed: its curvature is that of the rest."""
    if not weights:
        if answers_in_steps(model, images):
            raise DataError(f"no gradient reaches the images, which would pass for flat: {CUT}")
        return

    def answer(leaves: dict[str, Tensor]) -> Tensor:
        return functional_call(model, leaves, (images.clone(),))

    leaves = {name: model.get_parameter(name).clone().requires_grad_() for name in weights}
    logits = answer(leaves)
    for name, rows in zip(leaves, have_slope(logits, list(leaves.values())), strict=True):
        if rows.any():
            continue
        # what nobody uses makes no difference, and a dead unit that wakes up has a gradient
        moved = _nudged(leaves[name].detach()).requires_grad_()
        again = answer(leaves | {name: moved})
        if differ(again.detach(), logits.detach()).any() and not have_slope(again, [moved])[0].any():
            raise DataError(f"no gradient reaches {name}, which would pass for flat: {CUT}")


def _nudged(weight: Tensor) -> Tensor:
    """Return a weight with every number of it moved by 2% of the largest, enough for some to be rounded otherwise."""
    step = 0.02 * weight.abs().max()
    return weight + step * signs(weight.shape, generator=generator(DRAWS, "nudge")).to(weight)


# --- measured on a trained network


class Geometry(Metric):
    """A property of the loss around a network, on the first ``images`` of the training set, class by class."""

    splits = ("train",)

    images: PositiveInt = 200

    def count(self, data: Shape) -> int:
        """Return how many images it looks at."""
        return min(self.images, data.train)

    @classmethod
    def suited(cls, data: Dataset, images: int) -> dict[str, int]:
        # of large images, few
        return {"images": min(200 if data.size <= 64 else 24, len(data.train[1]))}


class _Curvature(Geometry):
    """Curvature ``wrt`` weights or inputs, from one run of Lanczos with ``steps`` products."""

    second_order = True
    wrt: ClassVar[Wrt]

    steps: PositiveInt

    def asks(self, data: Shape) -> dict[Question, float]:
        images = self.count(data)
        lanczos_run = Question("lanczos", (self.wrt, images, self.steps))
        return {lanczos_run: images * PRODUCT[self.wrt] * self.steps}

    def vectors(self, data: Shape, weights: int) -> float:
        rows, size = (
            (1, weights) if self.wrt == "weights" else (self.count(data), data.channels * data.size**2)
        )
        # the basis, and some vectors that the next one is made of
        return 4.0 * rows * size * (self.steps + 6)

    def hessian(self, subject: Subject) -> Hessian:
        """Return the products with a network's Hessian."""
        images, labels = subject.sample(self.images, "train")
        return Hessian.of(
            subject.placed, images, labels, self.wrt, subject.mask, batch_size=at_once(256, images)
        )

    def krylov(self, subject: Subject) -> Krylov:
        """Return the run of Lanczos, which serves the top eigenvalue and the trace."""
        key = "krylov", self.wrt, self.images, self.steps
        return subject.once(key, lambda: lanczos(self.hessian(subject), self.steps, DRAWS))


class _InWeights(_Curvature):
    """Curvature in the surviving weights. A ticket has fewer of them than dense, so fewer directions to be curved in; the
    variant ``control`` is the dense network's curvature over the ticket's own weights, ``gap`` the ticket's less that. Networks
    whose layers have other shapes have neither."""

    wrt = "weights"

    def asks(self, data: Shape) -> dict[Question, float]:
        images = self.count(data)
        same = Question("lanczos", ("dense, same weights", images, self.steps))
        return super().asks(data) | {same: images * PRODUCT["weights"] * self.steps}

    def same_weights(self, subject: Subject) -> Mask | None:
        """Return the ticket's weights as places in its dense network; None if it has no such places, or is dense."""
        if subject.dense is None:
            return None
        mask, whole = subject.mask or Mask.ones(subject.model), Mask.ones(subject.dense.model)
        fits = all(name in whole and whole[name].shape == kept.shape for name, kept in mask.items())
        return mask if fits else None

    def dense_hessian(self, dense: Subject, mask: Mask) -> Hessian:
        """Return the products with the dense network's Hessian over some of its weights."""
        images, labels = dense.sample(self.images, "train")
        size = at_once(256, images)
        return Hessian.of(dense.placed, images, labels, "weights", batch_size=size, within=mask)

    def dense_krylov(self, subject: Subject, dense: Subject, mask: Mask) -> Krylov:
        """Return the run of Lanczos over some of the dense network's weights."""
        key = "krylov of dense", self.images, self.steps
        return subject.once(key, lambda: lanczos(self.dense_hessian(dense, mask), self.steps, DRAWS))


class _Trace(_Curvature):
    """A trace; at most ``max_probes`` are drawn until its error is a share ``relative_error`` of it."""

    max_probes: Annotated[int, Field(ge=LEAST_PROBES)]
    relative_error: NonNegativeFloat = 0.03

    def asks(self, data: Shape) -> dict[Question, float]:
        probes = Question("probes", (self.wrt,))
        return super().asks(data) | {probes: self.count(data) * PRODUCT[self.wrt] * self.max_probes}

    def trace(self, subject: Subject) -> Estimate:
        """Return the trace with the error of its probes."""
        # in this order: the first has let go of its graph when the second keeps one
        krylov, hessian = self.krylov(subject), self.hessian(subject)
        return deflated_trace(hessian, krylov, self.relative_error, 0.0, self.max_probes, DRAWS)


@register
class HessianTrace(_Trace, _InWeights):
    """Trace in the surviving weights on class-balanced training images; the error is that of the probes."""

    about = About(
        "hessian_trace", "Weight curvature (Hessian trace, nats)", "geometry", "lower", "nats", Tolerance(0.25, relative=True),
        "curvature of the training loss in the surviving weights (Yao et al., 2020; Chen et al., 2022)",
        short="weight curvature", over="fifths", noise="random probes",
        words=("in a valley that is flatter by the paper's measure", "in a valley that is sharper by the paper's measure"),
        version=2, quality=_BENT,
    )  # fmt: skip

    steps: PositiveInt = 12
    max_probes: Annotated[int, Field(ge=LEAST_PROBES)] = 16

    def asks(self, data: Shape) -> dict[Question, float]:
        probes = Question("probes", ("dense, same weights",))
        return super().asks(data) | {probes: self.count(data) * PRODUCT["weights"] * self.max_probes}

    def measure(self, subject: Subject) -> Measurement:
        trace, weights = self.trace(subject), self.krylov(subject).basis.shape[2]
        mean = Measurement(trace / weights, (trace.error or 0.0) / weights, trace.samples)
        extra = {"weights": weights, "images": self.images, "steps": self.steps, "converged": trace.converged}
        measured = Measurement(float(trace), trace.error, trace.samples, extra=extra)
        return replace(measured, variants={"per weight": mean, **self._against_dense(subject, measured)})

    def _against_dense(self, subject: Subject, own: Measurement) -> dict[str, Measurement]:
        mask, dense = self.same_weights(subject), subject.dense
        if mask is None or dense is None:
            return {} if dense else {"control": own, "gap": replace(own, value=0.0, error=0.0)}
        krylov = self.dense_krylov(subject, dense, mask)
        found = deflated_trace(
            self.dense_hessian(dense, mask), krylov, self.relative_error, 0.0, self.max_probes, DRAWS
        )
        control = Measurement(float(found), found.error, found.samples)
        return {"control": control, "gap": replace(paired(own, control), extra={})}


@register
class HessianTop(_InWeights):
    """Largest eigenvalue in the surviving weights. It has no sampling error; ``residual`` bounds Lanczos's own."""

    about = About(
        "hessian_top", "Top weight curvature (Hessian eigenvalue, nats)", "geometry", "lower", "nats",
        Tolerance(0.25, relative=True),
        "largest curvature along a direction of the surviving weights, by Lanczos (Yao et al., 2020)",
        short="top weight curvature", over="fifths",
        words=HessianTrace.about.words, version=2, quality=_BENT,
    )  # fmt: skip

    steps: PositiveInt = 12

    def measure(self, subject: Subject) -> Measurement:
        [value], extra = _ends(self.krylov(subject))
        mask, dense = self.same_weights(subject), subject.dense
        there = value if dense is None else None
        if mask is not None and dense is not None:
            [there], _ = _ends(self.dense_krylov(subject, dense, mask))
        variants = {}
        if there is not None:
            found = {"control": there, "gap": value - there}
            variants = {name: Measurement(each.item(), None, self.images) for name, each in found.items()}
        return Measurement(value.item(), None, self.images, variants, extra)


@register
class InputTrace(_Trace):
    """Trace in the pixels, mean over training images; the error is over images and probes."""

    about = About(
        "input_trace", "Pixel curvature (Hessian trace, nats/pixel²)", "geometry", "lower", "nats/pixel²",
        Tolerance(0.25, relative=True),
        "curvature of an image's loss in its pixels, mean over images (Moosavi-Dezfooli et al., 2019)",
        short="pixel curvature", noise="random probes",
        words=("less steep in the pixels", "steeper in the pixels"), version=2, quality=_BENT,
    )  # fmt: skip
    wrt = "inputs"

    steps: PositiveInt = 10
    max_probes: Annotated[int, Field(ge=LEAST_PROBES)] = 8

    def measure(self, subject: Subject) -> Measurement:
        trace, krylov = self.trace(subject), self.krylov(subject)
        each = krylov.diagonal.sum(dim=1)
        about = {"pixels": krylov.basis.shape[2], "probes": trace.samples}
        extra = about | {"error of probes": trace.error, "steps": self.steps}
        error = math.hypot(standard_error(each), trace.error or 0.0)
        return Measurement(float(trace), error, self.images, extra=extra, draws=of_images(each))


@register
class InputTop(_Curvature):
    """Largest eigenvalue in the pixels, mean over training images, with its standard error over images."""

    about = About(
        "input_top", "Top pixel curvature (Hessian eigenvalue, nats/pixel²)", "geometry", "lower", "nats/pixel²",
        Tolerance(0.25, relative=True),
        "largest curvature along a direction of the pixels, mean over images (Moosavi-Dezfooli et al., 2019)",
        short="top pixel curvature",
        words=InputTrace.about.words, version=2, quality=_BENT,
    )  # fmt: skip
    wrt = "inputs"

    steps: PositiveInt = 10

    def measure(self, subject: Subject) -> Measurement:
        each, extra = _ends(self.krylov(subject))
        return Measurement.mean_of(each, extra=extra)


def _ends(krylov: Krylov) -> tuple[Tensor, dict[str, Any]]:
    """Return the largest eigenvalue of each row, and what else there is to say."""
    (largest, residual), (smallest, _), (greatest, _) = map(krylov.end, ("largest", "smallest", "magnitude"))
    means = {"largest magnitude": greatest, "smallest": smallest, "residual": residual}
    return largest, {name: each.mean().item() for name, each in means.items()} | {
        "steps": krylov.diagonal.shape[1]
    }
