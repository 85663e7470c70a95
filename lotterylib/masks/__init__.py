"""Masks: which weights of a network are kept, and how many of each layer."""

from .densities import Distribution, erdos_renyi_kernel
from .mask import Mask, Scope, inner_layer, prunable

__all__ = ["Distribution", "Mask", "Scope", "erdos_renyi_kernel", "inner_layer", "prunable"]
