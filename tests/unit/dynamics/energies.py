"""Analytic energies of short chains, for tests of the dynamics."""

import math

import torch
from torch import Tensor

from openmm_nemo.geometry import bond_angles


def chain_energy(x: Tensor, stiffness: Tensor | float = 1.0) -> Tensor:
    """Springs along the chain and a soft attraction of all beads to one another: smooth, and blind to rigid motions.

    Only the first four beads count, so that padding does not: U (B,) of ``x (B, L, 3)``.
    """
    x = x[..., :4, :]
    apart = (x.unsqueeze(-2) - x.unsqueeze(-3)).square().sum(-1)
    along = (x[..., 1:, :] - x[..., :-1, :]).square().sum(-1)
    springs = 0.02 * (along - 3.8**2).square().sum(-1)
    return stiffness * springs + 0.1 * torch.log1p(apart).sum((-1, -2))


BOND_STIFFNESS, BOND_LENGTH = 5.0, 3.8
ANGLE_STIFFNESS, ANGLE = 4.0, 1.9


def bond_energy(b: Tensor) -> Tensor:
    return 0.5 * BOND_STIFFNESS * (b - BOND_LENGTH) ** 2


def angle_energy(a: Tensor) -> Tensor:
    """A well with walls at 0 and pi: without them exp(-U) da~ could not be normalised, for da~/da diverges there."""
    return 0.5 * ANGLE_STIFFNESS * (a - ANGLE) ** 2 - 2 * torch.log(torch.sin(a))


def dihedral_energy(d: Tensor) -> Tensor:
    """Two wells of different depth, at -pi/2 and pi/2."""
    return 0.5 * (1 + torch.cos(2 * d)) + 0.5 * torch.sin(d)


def separable_energy(x: Tensor) -> Tensor:
    """A sum over bonds, angles and dihedrals, which are then independent of one another: U (B,) of ``x (B, L, 3)``."""
    b, a, d = bond_angles(x)
    return bond_energy(b).sum(-1) + angle_energy(a).sum(-1) + dihedral_energy(d).sum(-1)


RANGES = {"b": (0.5, 7.0), "a": (1e-6, math.pi - 1e-6), "d": (-math.pi, math.pi)}
ENERGIES = {"b": bond_energy, "a": angle_energy, "d": dihedral_energy}
