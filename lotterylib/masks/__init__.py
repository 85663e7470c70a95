"""Masks: which weights of a network are kept, and how many of each layer."""

# in the order in which the reference lists them: what is called comes before what it is made of
# isort: off
from .mask import Mask, Scope, inner_layer, prunable
from .densities import Distribution, erdos_renyi_kernel
# isort: on

__all__ = ["Distribution", "Mask", "Scope", "erdos_renyi_kernel", "inner_layer", "prunable"]
