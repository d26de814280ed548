"""OpenMM systems and topologies of coarse-grained proteins."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_nemo.dynamics import Schedule
from openmm_nemo.dynamics.noise import replica_seed
from openmm_nemo.engine.forces import check_particles, check_replicas, create_forces
from openmm_nemo.engine.integrator import NemoLangevinIntegrator
from openmm_nemo.engine.protein import Protein
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.residues import RESIDUE_MASS_DALTON, THREE_LETTER


class NemoTopology(app.Topology):
    """Topology of one C-alpha bead per residue, bonded in chain order.

    Parameters
    ----------
    protein : ConditionedModel
    replicas : int
        Number of copies. A single one has the protein's own chain names, several are numbered.

    Attributes
    ----------
    protein : ConditionedModel
        Protein, for reporters that rebuild its atoms.

    Raises
    ------
    InputError
        If the chains in the protein's numbering have other lengths.
    """

    def __init__(self, protein: Protein, replicas: int = 1):
        super().__init__()
        check_replicas(replicas)
        self.protein = protein
        found = tuple(len(numbering.residue_ids) for numbering in protein.numbering.chains)
        if found != protein.chain_lengths:
            raise InputError(
                f"The numbering has chains of {_listed(found)} residues, but the sequence has "
                f"{_listed(protein.chain_lengths)}: join the numberings of its chains with Numbering.join."
            )
        for _ in range(replicas):
            letters = iter(protein.sequence)
            for numbering in protein.numbering.chains:
                chain = self.addChain(numbering.chain if replicas == 1 else None)
                previous = None
                for number, code in zip(numbering.numbers, numbering.insertion_codes, strict=True):
                    name = THREE_LETTER[next(letters)]
                    residue = self.addResidue(name, chain, str(number), code)
                    atom = self.addAtom("CA", app.element.carbon, residue)
                    if previous is not None:
                        self.addBond(previous, atom)
                    previous = atom


def _listed(lengths: Sequence[int]) -> str:
    return " + ".join(map(str, lengths))


def create_system(protein: Protein, backend: str = "auto", replicas: int = 1) -> mm.System:
    """System of one particle per residue, with the residue's mass, and NEMO's force, which acts only on these.

    With ``backend="native"``, a model with terms that the plugin does not compute has two forces, see `create_forces`.

    Parameters
    ----------
    protein : ConditionedModel
    backend : {"auto", "native", "torchforce", "python"}
        See `create_force`.
    replicas : int
        Number of copies of the protein, one after the other. They do not interact.

    Returns
    -------
    openmm.System

    Raises
    ------
    ValueError
        See `create_force`.
    """
    system = mm.System()
    forces = create_forces(protein, backend, replicas=replicas)
    for letter in protein.sequence * replicas:
        system.addParticle(RESIDUE_MASS_DALTON[letter])
    _add_forces(system, forces)
    return system


def _add_forces(system: mm.System, forces: Sequence[mm.Force]) -> int:
    """Add forces to a system; returns the index of the first one."""
    if any(type(force).__name__ == "TorchForce" for force in forces):
        from openmm_nemo.engine.torchscript import make_copyable

        make_copyable(system)
    return min([system.addForce(force) for force in forces])


def add_to_system(
    protein: Protein,
    system: mm.System,
    particles: Sequence[int],
    backend: str = "auto",
    force_group: int = 0,
) -> int:
    """Add NEMO's force on some particles to an existing system.

    Parameters
    ----------
    protein : ConditionedModel
    system : openmm.System
        Modified in place.
    particles : sequence of int
        Indices of the particles that are the residues, in order.
    backend, force_group
        See `create_force`.

    Returns
    -------
    int
        Index of the force; of the first of two, see `create_forces`.

    Raises
    ------
    ValueError
        If ``particles`` is not one particle of the system per residue.
    """
    n = system.getNumParticles()
    outside = [particle for particle in particles if not 0 <= particle < n]
    if outside:
        raise ValueError(f"particles has {outside[0]}, but the system has {n} particles.")
    return _add_forces(system, create_forces(protein, backend, particles, force_group))


def create_integrator(
    protein: Protein,
    temperature: Any = 300.0,
    seed: int | None = None,
    system: mm.System | None = None,
    particles: Sequence[int] | None = None,
    schedule: Schedule | None = None,
    replicas: int = 1,
    temperatures: Sequence[Any] | None = None,
    **options: Any,
) -> NemoLangevinIntegrator:
    """Integrator with the step sizes and preconditioners that the sequence network chose.

    Parameters
    ----------
    protein : ConditionedModel
    temperature : Quantity or float
        Temperature, kelvin.
    seed : int, optional
        Random seed. Default: chosen at random.
    system : openmm.System, optional
    particles : sequence of int, optional
        For a protein in a larger system: the system, and the indices of its particles that are the residues, in order.
        Only they form chains; all other particles take Cartesian steps with C = 1.
    schedule : Schedule, optional
        Factors of the temperature and the step sizes: ``protein.schedule(n_steps)`` anneals a run of ``n_steps`` steps
        as the model was trained. Default: the temperature is constant.
    replicas : int
        Number of copies of the protein, for the system of `create_system` with as many.
    temperatures : sequence of Quantity or float, optional
        Temperature of each replica, kelvin. Default: ``temperature``.
    **options
        Other arguments of `NemoLangevinIntegrator`. For a complex and in a larger system, ``detrend`` is False by
        default: chains that others turn would be distorted by the linear removal of their rotation.

    Returns
    -------
    NemoLangevinIntegrator

    Raises
    ------
    ValueError
        If only one of ``system`` and ``particles`` is given, or these with replicas, or an option is out of range.
    """
    check_replicas(replicas)
    if (system is None) != (particles is None):
        raise ValueError(
            "Give both system and particles for a protein in a larger system, or neither."
        )
    if system is not None and replicas > 1:
        raise ValueError(
            "Replicas are for a protein alone: give replicas, or system and particles."
        )
    protein.require_energy()
    cartesian = protein.cartesian_preconditioner.double().cpu().numpy()
    internal = protein.internal_preconditioner.double().cpu().numpy()
    cartesian, internal = np.tile(cartesian, replicas), np.tile(internal, (replicas, 1))
    residues = list(range(len(cartesian)))
    if system is not None and particles is not None:
        residues = check_particles(protein, particles)
        rows, n = np.asarray(residues), system.getNumParticles()
        on_all = np.ones(n), np.ones((n, 3))
        on_all[0][rows], on_all[1][rows] = cartesian, internal
        cartesian, internal = on_all
    chains = None
    if system is not None or len(protein.chain_lengths) > 1:
        beads = iter(residues)
        chains = [list(islice(beads, n)) for n in protein.chain_lengths * replicas]
        options = {"detrend": False} | options
    arguments: dict[str, Any] = {
        "cartesian_step": float(protein.cartesian_step) / ANGSTROM_PER_NM**2,
        "internal_step": float(protein.internal_step),
        "cartesian_preconditioner": cartesian,
        "internal_preconditioner": internal,
        "chains": chains,
        "replicas": replicas,
        "temperatures": temperatures,
    }
    return NemoLangevinIntegrator(
        temperature, seed=seed, schedule=schedule, **(arguments | options)
    )


def initial_positions(
    protein: Protein, seed: int | None = None, replicas: int = 1
) -> unit.Quantity:
    """Initial positions, shape (R L, 3), nm, each replica centred.

    Parameters
    ----------
    protein : Protein
    seed : int, optional
        See `openmm_nemo.models.batch.ConditionedBatch.initial_positions`. Each replica draws numbers of its own.
    replicas : int
        Number of copies R, one after the other.
    """
    check_replicas(replicas)
    seeds = [None if seed is None else replica_seed(seed, r) for r in range(replicas)]
    x = torch.cat([protein.initial_state(s) for s in seeds]).double().cpu().numpy()
    return np.asarray(x / ANGSTROM_PER_NM) * unit.nanometer
