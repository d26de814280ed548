"""Layers that all networks are built from."""

from openmm_nemo.networks.blocks import ResidualStack
from openmm_nemo.networks.normalization import BatchRenorm

__all__ = ["BatchRenorm", "ResidualStack"]
