"""The places of a system's particles in padded batches of chains."""

from typing import NamedTuple

import numpy as np
import openmm as mm
import torch
from torch import Tensor


class ChainLayout(NamedTuple):
    """Chains of a system, in order, padded to the longest one.

    Attributes
    ----------
    system : tuple of float
        `summary` of the system that it was made for.
    particles : Tensor, shape (chains, longest), int64
        Particle of every bead; 0 in padding.
    mask : Tensor, shape (chains, longest)
        1 for beads, 0 for padding.
    cartesian_preconditioner : Tensor, shape (chains, longest)
        0 in padding.
    internal_preconditioner : Tensor, shape (chains, longest, 3)
        0 in padding.
    moving : Tensor, shape (N,)
        1 for particles that are in a chain or have a mass.
    free : Tensor, shape (M,), int64
        Particles in no chain that have a mass.
    free_preconditioner : Tensor, shape (1, M)
        C_x of these.
    replica : Tensor, shape (N,), int64
        Replica of every particle; 0 for those in no chain.
    has_virtual_sites : bool
    """

    system: tuple[float, ...]
    particles: Tensor
    mask: Tensor
    cartesian_preconditioner: Tensor
    internal_preconditioner: Tensor
    moving: Tensor
    free: Tensor
    free_preconditioner: Tensor
    replica: Tensor
    has_virtual_sites: bool


def summary(system: mm.System) -> tuple[float, ...]:
    """Number of constraints and all masses, which determine whether and how a system can be simulated."""
    masses = (system.getParticleMass(i)._value for i in range(system.getNumParticles()))
    return (system.getNumConstraints(), *masses)


def chain_layout(
    system: mm.System,
    chains: list[list[int]] | None,
    detrends_system: bool,
    cartesian_preconditioner: np.ndarray,
    internal_preconditioner: np.ndarray,
    replicas: int = 1,
) -> ChainLayout:
    """Layout of the chains of a system.

    Parameters
    ----------
    system : openmm.System
    chains : list of list of int, optional
        Particles of every chain. None: all particles, divided evenly among the replicas, one chain each.
    detrends_system : bool
        Whether the rotation of the whole system is removed.
    cartesian_preconditioner : ndarray, shape (N,) or (0,)
    internal_preconditioner : ndarray, shape (3 N,) or (0,)
        Empty: 1.
    replicas : int
        Number of replicas, among which the chains are divided evenly.

    Raises
    ------
    openmm.OpenMMException
        If the system has constraints, lacks a particle of a chain or gives it no mass, or is periodic and its rotation
        is to be removed; if its particles cannot be divided among replicas, or move in no replica; or if a
        preconditioner is for another number of particles.
    """
    n = system.getNumParticles()
    if system.getNumConstraints() > 0:
        raise mm.OpenMMException(
            f"The system has {system.getNumConstraints()} constraints: NemoLangevinIntegrator "
            "cannot keep them; build the system without constraints."
        )
    if detrends_system and system.usesPeriodicBoundaryConditions():
        raise mm.OpenMMException(
            "detrend='system' removes the rotation of the whole system, which has no meaning in a periodic box: use "
            "detrend=True or detrend=False."
        )
    masses = np.array([system.getParticleMass(i)._value for i in range(n)])
    if chains is None and n % replicas:
        raise mm.OpenMMException(
            f"The system has {n} particles, which cannot be divided evenly among {replicas} replicas."
        )
    chains = chains or np.arange(n).reshape(replicas, -1).tolist()
    for number, chain in enumerate(chains):
        for particle in chain:
            if particle >= n:
                raise mm.OpenMMException(
                    f"Chain {number} has particle {particle}, but the system has {n} particles."
                )
            if masses[particle] == 0:
                raise mm.OpenMMException(
                    f"Particle {particle} of chain {number} has mass 0 and cannot move: give "
                    "it a mass, or leave it out of the chains."
                )
    cartesian = _per_particle("cartesian_preconditioner", cartesian_preconditioner, n, 1)[:, 0]
    internal = _per_particle("internal_preconditioner", internal_preconditioner, n, 3)
    particles = torch.zeros(len(chains), max(map(len, chains)), dtype=torch.int64)
    mask = torch.zeros(particles.shape, dtype=torch.float64)
    replica = torch.zeros(n, dtype=torch.int64)
    for row, chain in enumerate(chains):
        replica[chain] = row * replicas // len(chains)
        particles[row, : len(chain)] = torch.tensor(chain)
        mask[row, : len(chain)] = 1
    in_chain = np.zeros(n, dtype=bool)
    in_chain[[particle for chain in chains for particle in chain]] = True
    free = torch.from_numpy(np.flatnonzero(~in_chain & (masses > 0)))
    if replicas > 1 and len(free):
        raise mm.OpenMMException(
            f"Particle {free[0]} is in no chain, and so in no replica: add it to a chain, or give it mass 0."
        )
    return ChainLayout(
        summary(system),
        particles,
        mask,
        cartesian[particles] * mask,
        internal[particles] * mask.unsqueeze(-1),
        torch.from_numpy(in_chain | (masses > 0)).double(),
        free,
        cartesian[free].unsqueeze(0),
        replica,
        any(system.isVirtualSite(i) for i in range(n)),
    )


def _per_particle(name: str, values: np.ndarray, n: int, width: int) -> Tensor:
    if len(values) == 0:
        return torch.ones(n, width, dtype=torch.float64)
    if len(values) != n * width:
        raise mm.OpenMMException(
            f"{name} is for {len(values) // width} particles, but the system has {n}: give one value for each. For a "
            "protein in a larger system, use create_integrator(system=..., particles=...)."
        )
    return torch.from_numpy(values.reshape(n, width))
