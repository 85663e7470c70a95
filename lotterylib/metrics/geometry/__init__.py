"""Fourth dimension: the shape of the loss around a trained network. Is it a flat basin or a narrow ravine?"""

from .hessian import Density, Estimate, hessian_trace, lanczos, spectral_density, top_eigenvalue
from .noise import pac_bayes_sigma
from .surface import Line, Surface, error_barrier, interpolate, loss_surface

__all__ = [
    "Density", "Estimate", "Line", "Surface", "error_barrier", "hessian_trace", "interpolate", "lanczos", "loss_surface",
    "pac_bayes_sigma", "spectral_density", "top_eigenvalue",
]  # fmt: skip
