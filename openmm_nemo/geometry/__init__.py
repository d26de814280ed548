"""Geometry of chains: pure functions of tensors, batched, differentiable and scriptable."""

from openmm_nemo.geometry.features import (
    N_CHAIN_FEATURES,
    chain_features,
    pair_geometry,
    radial_basis,
)
from openmm_nemo.geometry.frames import residue_frames
from openmm_nemo.geometry.internal import (
    bond_angles,
    bond_directions,
    cartesian_to_internal,
    internal_to_cartesian,
    rigid_frame,
)
from openmm_nemo.geometry.jacobian import (
    ChainAxes,
    chain_axes,
    jacobian_product,
    jacobian_transpose_product,
)
from openmm_nemo.geometry.rigid import angular_velocity, centre, detrend, detrend_rigidly, rotate
from openmm_nemo.geometry.superposition import best_rotation, rmsd, superpose
from openmm_nemo.geometry.volume import log_volume, log_volume_gradient

__all__ = [
    "N_CHAIN_FEATURES",
    "ChainAxes",
    "angular_velocity",
    "best_rotation",
    "bond_angles",
    "bond_directions",
    "cartesian_to_internal",
    "centre",
    "chain_axes",
    "chain_features",
    "detrend",
    "detrend_rigidly",
    "internal_to_cartesian",
    "jacobian_product",
    "jacobian_transpose_product",
    "log_volume",
    "log_volume_gradient",
    "pair_geometry",
    "radial_basis",
    "residue_frames",
    "rigid_frame",
    "rmsd",
    "rotate",
    "superpose",
]
