"""From an OpenMM System and Topology to the coordinates of a flow, and what a System must not contain."""

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import openmm as mm
import torch
from openmm import app
from torch import Tensor

from openmm_nemo.boltzmann.coordinates import Coordinates
from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.zmatrix import ZMatrix, z_matrix

STEP = 1e-3
"""Step of the finite differences, Angstrom and radian."""
SOFTEST = 4.0
"""Smallest curvature along a stiff coordinate, kT/Angstrom^2 or kT/radian^2: a standard deviation of 0.5."""
MOVED = 1e-3
"""Largest change of U/kT when the molecule is moved as a whole: rounding, but not a restraint to a place."""


CODE = ("PythonForce", "TorchForce")
"""Forces that contain code, which `BoltzmannGenerator.load` would run."""


def forces_with_code(xml: str) -> list[str]:
    """Those of `CODE` that are in the XML of a System, also within other forces."""
    kinds = {element.get("type") for element in ElementTree.fromstring(xml).iter()}
    return [name for name in CODE if name in kinds]


def check_system(system: mm.System, topology: app.Topology, positions: np.ndarray) -> None:
    """Refuse what internal coordinates cannot describe.

    Parameters
    ----------
    system : openmm.System
    topology : openmm.app.Topology
    positions : ndarray, shape (N, 3)

    Raises
    ------
    InputError
        If the System is periodic, has constraints, virtual sites, particles without mass or forces of `CODE`; if the
        numbers of particles, atoms and positions differ; or if a position is not finite.
    """
    names = atom_names(topology)
    n = system.getNumParticles()
    if not (n == len(names) == len(positions)) or positions.shape != (n, 3):
        raise InputError(
            f"The System has {n} particles, the topology {len(names)} atoms, and positions have the shape "
            f"{positions.shape}: give all three for the same molecule."
        )
    if not np.isfinite(positions).all():
        raise InputError(
            "Positions contain values that are not finite: give the positions of all atoms."
        )
    if system.usesPeriodicBoundaryConditions():
        raise InputError(
            "The System is periodic: a Boltzmann generator is for one molecule without a box; "
            "create it with nonbondedMethod=NoCutoff."
        )
    for force in forces_with_code(mm.XmlSerializer.serialize(system)):
        raise InputError(
            f"The System has a {force}, which files of generators must not contain: "
            'use forces of OpenMM, or a NEMO model that runs with backend="native".'
        )
    if system.getNumConstraints():
        i, j, _ = system.getConstraintParameters(0)
        raise InputError(
            f"The System has {system.getNumConstraints()} constraints, the first between {names[i]} and {names[j]}: "
            "create it with constraints=None and rigidWater=False."
        )
    for i, name in enumerate(names):
        if system.isVirtualSite(i):
            raise InputError(
                f"A virtual site is at {name}: internal coordinates only describe atoms, "
                "choose a force field without virtual sites."
            )
        if system.getParticleMass(i).value_in_unit(mm.unit.dalton) == 0:
            raise InputError(
                f"No mass is given to {name}, so that it does not move: give all atoms a mass."
            )


def atom_names(topology: app.Topology) -> list[str]:
    """What messages call the atoms."""
    return [
        f"atom {atom.name} of {atom.residue.name} {atom.residue.id}" for atom in topology.atoms()
    ]


def choose_coordinates(
    topology: app.Topology, positions: np.ndarray, pool: EnergyPool, temperature: float
) -> Coordinates:
    """Z-matrix of a molecule, centred on a minimum of its energy, with the scale of fluctuations about it.

    Parameters
    ----------
    topology : openmm.app.Topology
        With all bonds.
    positions : ndarray, shape (N, 3)
        A minimum of the energy, nm. Its chirality is that of all samples.
    pool : EnergyPool
    temperature : float
        Kelvin.

    Returns
    -------
    Coordinates
        With ``scale @ scale.T`` the covariance of the harmonic approximation at fixed torsions.

    Raises
    ------
    InputError
        If there is no z-matrix, see `openmm_nemo.geometry.zmatrix.z_matrix`; or if the energy depends on where the
        molecule is.
    """
    atoms = list(topology.atoms())
    bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    # Beads have no element: all of them are heavy.
    numbers = [0 if atom.element is None else atom.element.atomic_number for atom in atoms]
    x = ANGSTROM_PER_NM * torch.from_numpy(positions)
    zmatrix = z_matrix(bonds, [number != 1 for number in numbers], x, atom_names(topology))
    stiff = zmatrix.stiff
    z = zmatrix.internal(x)
    d = z[list(zmatrix.torsions), 2]
    eye = torch.eye(int(stiff.sum()), dtype=torch.float64)
    unscaled = Coordinates(zmatrix, _folds(zmatrix, bonds, numbers), z[stiff], eye)
    _check_energy(unscaled, d, x, pool, temperature)
    w = torch.cat([STEP * eye, -STEP * eye]).requires_grad_()
    energies = pool(unscaled.cartesian(d.expand(len(w), -1), w)[0], temperature)
    (gradient,) = torch.autograd.grad(energies.sum(), w)
    plus, minus = gradient.chunk(2)
    return Coordinates(
        zmatrix, unscaled.folds, unscaled.centre, _scale((plus - minus) / (2 * STEP))
    )


def _scale(hessian: Tensor) -> Tensor:
    """Cholesky factor of the inverse of a matrix whose smallest eigenvalues are raised."""
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    covariance = (vectors / values.clamp(min=SOFTEST)) @ vectors.T
    return torch.linalg.cholesky(covariance)


def _check_energy(
    coordinates: Coordinates, d: Tensor, x: Tensor, pool: EnergyPool, temperature: float
) -> None:
    moved, _ = coordinates.cartesian(d, torch.zeros_like(coordinates.centre))
    here, there = pool(torch.stack([x, moved + 1.0]), temperature).tolist()
    if not np.isfinite(here):
        raise InputError(
            "The energy at the given positions is not finite: give positions without clashes."
        )
    if not abs(there - here) < MOVED:
        raise InputError(
            f"The energy changes by {there - here:.3g} kT when the molecule is moved as a whole: "
            "remove forces that hold it in place."
        )


def _folds(
    zmatrix: ZMatrix, bonds: Sequence[tuple[int, int]], numbers: Sequence[int]
) -> tuple[int, ...]:
    """How many identical terminal atoms each torsion turns, if it turns nothing else."""
    atoms = zmatrix.atoms.tolist()
    degree = np.bincount(np.ravel(bonds), minlength=len(atoms))
    folds = []
    for row in zmatrix.torsions:
        group = [atoms[k] for k in torch.nonzero(zmatrix.relative_to == row).flatten().tolist()]
        centre = atoms[int(zmatrix.references[row, 0])]
        alike = len({numbers[atom] for atom in group}) == 1 and all(degree[group] == 1)
        everything = degree[centre] == len(group) + 1
        folds.append(len(group) if alike and everything else 1)
    return tuple(folds)
