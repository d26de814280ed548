"""Tolerances of all numerical tests, relative to the largest value compared."""

import torch
from torch import Tensor

TOLERANCES = {
    "float32": {
        # The same sum in another order: padding, batching, TorchScript.
        "rounding": 1e-5,
        # Gradients of such sums.
        "rounding_gradient": 1e-4,
        # Energies and atoms after a rotation and a translation by tens of Angstrom.
        "rigid_motion": 1e-5,
        # Their gradients.
        "rigid_motion_gradient": 1e-4,
        # Positions of 200 residues from internal coordinates, relative to the extent of the chain; and there and back.
        "chain": 4e-6,
        "round_trip": 1e-5,
        # Positions along 50 steps of dynamics.
        "trajectory": 1e-5,
        # Momentum left of that removed; the inertia tensor has a ridge.
        "detrend": 1e-5,
        # Angles and dihedrals of two programs.
        "mdtraj": 1e-6,
    },
    "float64": {
        "rounding": 1e-12,
        "rounding_gradient": 1e-11,
        "rigid_motion": 1e-10,
        "rigid_motion_gradient": 1e-10,
        # Positions along up to 140 steps of dynamics in OpenMM and in torch.
        "trajectory": 1e-10,
        # Central differences with steps of 1e-5.
        "finite_difference": 1e-7,
        # Positions from internal coordinates and back.
        "round_trip": 1e-10,
        # Products and determinants of Jacobians that autograd builds.
        "autograd": 1e-11,
        # Momentum and displacement left of those removed; the inertia tensor has a ridge.
        "detrend": 1e-10,
        # An arccos near its ends has half of the digits.
        "arccos": 1e-7,
        # Coefficients that are made positive by softplus grow with its argument but for exp(-argument).
        "scaled_head": 1e-3,
    },
    # Positions along 50 steps, recorded with version 0.1, Angstrom; and energies, kT.
    "recorded": 1e-9,
}

PLATFORM_TRAJECTORY = {
    "Reference": 1e-12,
    "CPU": 1e-12,
    "OpenCL double": 1e-9,
    "OpenCL mixed": 3e-6,
    "OpenCL single": 5e-4,
}
"""Positions after 100 steps of up to 1000 beads on a platform and in torch, nm."""

BFLOAT16 = {"internal": 0.02, "atoms": 0.03, "coefficients": 0.02, "energy": 0.01}
"""What networks of 16 bits (8 of the fraction: rounding by 0.004) make, against 32 bits, relative to the largest value:
z(0), atoms about their C-alphas, all other outputs of the sequence network, and energies."""

NATIVE = {
    "Reference": 1e-6,
    "CPU": 1e-5,
    "OpenCL double": 1e-6,
    "OpenCL mixed": 1e-5,
    "OpenCL single": 1e-4,
}
"""Energies and forces of the plugin and of the modules in torch in double precision, relative to the largest."""

METROPOLIS = {"Reference": 1e-12, "CPU": 1e-12, "OpenCL mixed": 1e-6}
"""Positions after one step with metropolis=True, nm."""

BOLTZMANN_GENERATOR = {"KS": 0.03, "effective": 0.5}
"""Distances of distributions of weighted samples from known ones, and the fraction of samples that must be effective
where a normal distribution is the right one."""

RIGID_MOVES = {"Reference": 1e-12, "CPU": 1e-12, "OpenCL mixed": 3e-7, "KS": 0.03}
"""Positions after a move of a chain, nm; and distances of distributions of 6,000 samples from known ones."""

ALANINE = {"force": 60.0, "minimum": 0.05, "energy": 1e-4, "error": 0.2}
"""Of the peptides in examples/data, which have three decimals in Angstrom: forces, kJ/mol/nm, and energy above the
minimum, kJ/mol; difference between two implementations of OBC2, kJ/mol; and the largest standard error of a basin's
weight in the reference, relative."""

MIXTURE = {"KS": 0.03}
"""Distances of distributions of 6,000 samples from known ones."""

ENHANCED = {"metadynamics": 0.12, "weights": 0.06, "energies": 0.05}
"""Free energies, kT, of metadynamics (root mean square) and of tempering's temperatures, and mean energies of 1,600
frames, relative: about three times what these runs have."""

EXAMPLES = {"metadynamics": 0.4, "tempering": 4.0, "exchange": 1.0}
"""Differences between two ways to the same number in examples/: free energies, kT, root mean square; mean energies at
150 K, kJ/mol; free energies of temperatures, kT, up to 77. Three times what several runs have had."""

ANALYSIS = {"distances": 1e-4, "rmsd": 2e-3, "q": 2e-5}
"""Lengths, Angstrom, RMSD and native contacts of MDTraj, which has 32 bits: they are few near an RMSD of 0."""


def assert_close(actual: Tensor, expected: Tensor, kind: str) -> None:
    """Fail if tensors differ by more than a tolerance, relative to the largest expected value."""
    assert actual.shape == expected.shape
    tolerance = TOLERANCES[str(expected.dtype).removeprefix("torch.")][kind]
    scale = expected.abs().max().clamp_min(1e-3).item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)
