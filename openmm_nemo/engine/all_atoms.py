"""All-atom models: the imputed backbone with side chains from ParmEd's templates, relaxed by OpenMM.

The force field is Amber's ff14SB, in vacuum. The relaxation holds the C-alpha atoms near their places, peptide bonds
planar and residues in L-form.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice

import numpy as np
import openmm as mm
from openmm import app, unit
from scipy.spatial.transform import Rotation

from openmm_nemo.errors import InputError
from openmm_nemo.geometry.chains import chain_slices
from openmm_nemo.residues import THREE_LETTER, Numbering

FORCE_FIELD = "amber14-all.xml"
PH = 7.0

CIS_NM = 0.335
"""C-alpha atoms closer than this are joined by a cis peptide bond: 0.29 nm instead of 0.38."""

CHIRALITY = np.radians(-122.8)
"""Improper dihedrals N-CA-C-CB of L-amino acids, and CA-CB-OG1/CG1-CG2 of branched side chains."""

PROLINE_PHI = np.radians(-65.0)
"""Dihedral that the ring of proline allows."""

RESTRAINT = 5e3
"""Of a C-alpha atom to its place, kJ/mol/nm^2."""

STIFFNESS = 200.0
"""Of dihedrals, kJ/mol."""

RIGID = "AGP"
"""Residues whose side chains do not turn about the bond CA-CB."""

BLOCKS, BLOCK = 10, 50
"""Number of blocks of iterations of the last minimisation, and iterations per block."""

STEPS = BLOCKS + 2
"""Steps of which `all_atom_model` reports the progress."""

# Bond lengths, nm, and angles, degrees, of the backbone: Engh and Huber, Acta Cryst. A47, 392 (1991). The atoms are of
# residue i, or, with a plus, of the next one.
_LENGTHS = {("N", "CA"): 0.1458, ("CA", "C"): 0.1525, ("C", "O"): 0.1231, ("C", "+N"): 0.1329}
_ANGLES = {
    ("N", "CA", "C"): 111.2,
    ("CA", "C", "O"): 120.8,
    ("CA", "C", "+N"): 116.2,
    ("O", "C", "+N"): 123.0,
    ("C", "+N", "+CA"): 121.7,
}
_REPEATABLE = {"Threads": "1", "DeterministicForces": "true"}
_BACKBONE = ("N", "CA", "C", "O")
_ATOMS = {"N": app.element.nitrogen, "C": app.element.carbon, "O": app.element.oxygen}
_ATOMS |= {"S": app.element.sulfur, "H": app.element.hydrogen}


def all_atom_model(
    sequence: str,
    atoms_nm: np.ndarray,
    numbering: Numbering | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> tuple[app.Topology, np.ndarray]:
    """Model with all atoms, including hydrogens at pH 7.

    Parameters
    ----------
    sequence : str
        One letter per residue, length L.
    atoms_nm : ndarray, shape (L, 5, 3)
        Imputed N, CA, C, O and centre of mass of the side chain, nm.
    numbering : Numbering, optional
        Also of a complex. Default: chain A, from 1.
    progress : callable
        Called with the number of completed steps, of `STEPS`.

    Returns
    -------
    openmm.app.Topology
    ndarray, shape (n_atoms, 3)
        Positions, nm.

    Raises
    ------
    InputError
        If the relaxation fails.
    """
    atoms_nm = np.asarray(atoms_nm, dtype=float)
    numbering = numbering or Numbering.consecutive(len(sequence))
    chains = chain_slices([len(chain.residue_ids) for chain in numbering.chains])
    try:
        with _repeatable():
            parts = [_ideal_backbone(sequence[rows], atoms_nm[rows, :4]) for rows in chains]
            backbone = np.concatenate(parts)
            topology, positions = _heavy_atoms(sequence, backbone, atoms_nm[:, 4], numbering)
            force_field = app.ForceField(FORCE_FIELD)
            modeller = app.Modeller(topology, positions * unit.nanometer)
            modeller.addHydrogens(force_field, PH, platform=_cpu())
            progress(1)
            relaxed = _relaxed(modeller, force_field, atoms_nm[:, 1], chains, progress)
    except (mm.OpenMMException, ValueError) as error:
        raise _failure(" ".join(str(error).split())) from None
    if not np.isfinite(relaxed).all():
        raise _failure("the positions are not finite")
    return modeller.topology, relaxed


def _failure(reason: str) -> InputError:
    return InputError(
        f"The all-atom model cannot be relaxed ({reason}): continue the simulation for some steps, or leave out "
        "--all-atom."
    )


@contextmanager
def _repeatable() -> Iterator[None]:
    """Make OpenMM's CPU platform repeatable: one thread, and a seed for the first places of hydrogens."""
    state, platform = random.getstate(), _cpu()
    before = {name: platform.getPropertyDefaultValue(name) for name in _REPEATABLE}
    random.seed(1)
    try:
        for name, value in _REPEATABLE.items():
            platform.setPropertyDefaultValue(name, value)
        yield
    finally:
        random.setstate(state)
        for name, value in before.items():
            platform.setPropertyDefaultValue(name, value)


def _cpu() -> mm.Platform:
    return mm.Platform.getPlatformByName("CPU")


def _minimize(context: mm.Context, iterations: int = 0) -> None:
    mm.LocalEnergyMinimizer.minimize(context, maxIterations=iterations)


def _positions(context: mm.Context) -> np.ndarray:
    positions: np.ndarray = context.getState(positions=True).getPositions(asNumpy=True)._value
    return positions


class _Restraints:
    """Harmonic restraints of C-alpha atoms, and dihedrals k (1 - cos(theta - theta0))."""

    def __init__(self) -> None:
        self.places = mm.CustomExternalForce(f"{RESTRAINT}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
        for name in ("x0", "y0", "z0"):
            self.places.addPerParticleParameter(name)
        self.dihedrals = mm.CustomTorsionForce(f"{STIFFNESS}*(1-cos(theta-theta0))")
        self.dihedrals.addPerTorsionParameter("theta0")

    def add_chain(self, atoms: list[dict[str, int]], ca_nm: np.ndarray) -> None:
        """Restrain a chain whose residues have atoms with these indices by name."""
        for residue, place in zip(atoms, ca_nm.tolist(), strict=True):
            self.places.addParticle(residue["CA"], place)
        apart = np.linalg.norm(np.diff(ca_nm, axis=0), axis=1)
        for before, after, distance in zip(atoms[:-1], atoms[1:], apart, strict=True):
            omega = 0.0 if distance < CIS_NM else np.pi
            joined = before["C"], after["N"], after["CA"]
            self.dihedrals.addTorsion(before["CA"], *joined, [omega])
            self.dihedrals.addTorsion(before["O"], *joined, [np.pi - omega])

    def add_to(self, system: mm.System) -> None:
        system.addForce(self.places)
        system.addForce(self.dihedrals)


def _ideal_backbone(sequence: str, backbone_nm: np.ndarray) -> np.ndarray:
    """N, CA, C and O (L, 4, 3), nm, with ideal bonds and angles, close to the imputed ones."""
    n = len(sequence)
    atoms = [{name: 4 * i + k for k, name in enumerate(_BACKBONE)} for i in range(n)]
    with_next = [
        residue | {f"+{name}": 4 + index for name, index in residue.items()} for residue in atoms
    ]
    system = mm.System()
    for _ in range(4 * n):
        system.addParticle(1.0)
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    for pair_names, length in _LENGTHS.items():
        for pair in _present(pair_names, with_next, 4 * n):
            bonds.addBond(*pair, length, 250e3)
    for names, angle in _ANGLES.items():
        for triple in _present(names, with_next, 4 * n):
            angles.addAngle(*triple, np.radians(angle), 500.0)
    restraints = _Restraints()
    restraints.add_chain(atoms, backbone_nm[:, 1])
    for before, residue, letter in zip(atoms[:-1], atoms[1:], sequence[1:], strict=True):
        if letter == "P":
            phi = before["C"], residue["N"], residue["CA"], residue["C"]
            restraints.dihedrals.addTorsion(*phi, [PROLINE_PHI])
    system.addForce(bonds)
    system.addForce(angles)
    restraints.add_to(system)
    context = mm.Context(system, mm.VerletIntegrator(0.001), _cpu())
    context.setPositions(backbone_nm.reshape(-1, 3))
    _minimize(context)
    return _positions(context).reshape(-1, 4, 3)


def _present(
    names: tuple[str, ...], atoms: list[dict[str, int]], n_atoms: int
) -> list[tuple[int, ...]]:
    """Indices of these atoms in every residue that has them: the last one has no next."""
    groups = [tuple(residue[name] for name in names) for residue in atoms]
    return [group for group in groups if max(group) < n_atoms]


def _heavy_atoms(
    sequence: str, backbone_nm: np.ndarray, side_chain_nm: np.ndarray, numbering: Numbering
) -> tuple[app.Topology, np.ndarray]:
    """Topology and positions of the heavy atoms, and of the hydrogens whose side decides on the chirality."""
    topology = app.Topology()
    positions = []
    residues = iter(list(zip(sequence, backbone_nm, side_chain_nm, strict=True)))
    for part in numbering.chains:
        chain = topology.addChain(part.chain)
        for number, code, (letter, backbone, side_chain) in zip(
            part.numbers, part.insertion_codes, islice(residues, len(part.numbers)), strict=True
        ):
            residue = topology.addResidue(THREE_LETTER[letter], chain, str(number), code)
            names, placed = _placed(letter, backbone, side_chain)
            for name, position in zip(names, placed, strict=True):
                topology.addAtom(name, _ATOMS[name[0]], residue)
                positions.append(position)
        ca, c, o = backbone[1:]
        topology.addAtom("OXT", app.element.oxygen, residue)
        positions.append(c + 0.125 * _unit(_unit(c - ca) + _unit(c - o)))
    topology.createStandardBonds()
    return topology, np.array(positions)


@cache
def _template(letter: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and positions, nm, of the backbone, the other heavy atoms and the hydrogens of chiral atoms."""
    from parmed.modeller import StandardBiomolecularResidues

    residue = StandardBiomolecularResidues[THREE_LETTER[letter]]
    positions = {
        atom.name: place / 10
        for atom, place in zip(residue.atoms, residue.coordinates, strict=True)
    }
    others = [
        name
        for name in positions
        if name[:2] == "HA" or name == "HB" or (name not in _BACKBONE and name[0] != "H")
    ]
    names = (*_BACKBONE, *others)
    return names, np.array([positions[name] for name in names])


def _placed(
    letter: str, backbone_nm: np.ndarray, side_chain_nm: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and positions of a residue, its side chain turned to be the nearest of three to the predicted centre."""
    names, template = _template(letter)
    turn = _axes(backbone_nm) @ _axes(template).T
    placed = (template - template[1]) @ turn.T + backbone_nm[1]
    placed[:4] = backbone_nm
    if letter in RIGID:
        return names, placed
    side_chain = [k for k, name in enumerate(names) if k >= 4 and name[:2] != "HA"]
    ca, cb = placed[1], placed[names.index("CB")]
    axis = _unit(cb - ca)
    turned = []
    for angle in (0, 2 * np.pi / 3, -2 * np.pi / 3):
        choice = placed.copy()
        rotation = Rotation.from_rotvec(angle * axis)
        choice[side_chain] = rotation.apply(placed[side_chain] - ca) + ca
        turned.append(choice)
    centres = [choice[side_chain].mean(0) for choice in turned]
    nearest = np.argmin([np.linalg.norm(centre - side_chain_nm) for centre in centres])
    return names, turned[nearest]


def _axes(backbone_nm: np.ndarray) -> np.ndarray:
    """Orthonormal axes, as columns, of N, CA and C."""
    n, ca, c = backbone_nm[:3]
    first = _unit(c - ca)
    third = _unit(np.cross(first, n - ca))
    return np.stack([first, np.cross(third, first), third], axis=1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _relaxed(
    modeller: app.Modeller,
    force_field: app.ForceField,
    ca_nm: np.ndarray,
    chains: Sequence[slice],
    progress: Callable[[int], None],
) -> np.ndarray:
    """Positions after minimisation: with soft atoms, which can pass each other, then in the force field."""
    topology = modeller.topology
    system = force_field.createSystem(
        topology, nonbondedMethod=app.CutoffNonPeriodic, nonbondedCutoff=1.0 * unit.nanometer
    )
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            force.setForceGroup(1)
    system.addForce(_soft_repulsion(topology))
    atoms = [{atom.name: atom.index for atom in residue.atoms()} for residue in topology.residues()]
    restraints = _Restraints()
    for rows in chains:
        restraints.add_chain(atoms[rows], ca_nm[rows])
    for residue in atoms:
        if "CB" in residue:
            improper = [residue[name] for name in ("N", "CA", "C", "CB")]
            restraints.dihedrals.addTorsion(*improper, [CHIRALITY])
        if "OG1" in residue or {"CG1", "CD1"} <= residue.keys():
            branch = "OG1" if "OG1" in residue else "CG1"
            improper = [residue[name] for name in ("CA", "CB", branch, "CG2")]
            restraints.dihedrals.addTorsion(*improper, [CHIRALITY])
    restraints.add_to(system)
    integrator = mm.VerletIntegrator(0.001)
    context = mm.Context(system, integrator, _cpu())
    context.setPositions(modeller.positions)
    integrator.setIntegrationForceGroups({0, 2})
    _minimize(context, BLOCKS * BLOCK)
    progress(2)
    integrator.setIntegrationForceGroups({0, 1})
    for block in range(BLOCKS):
        _minimize(context, BLOCK)
        progress(block + 3)
    return _positions(context)


def _soft_repulsion(topology: app.Topology) -> mm.CustomNonbondedForce:
    """Finite repulsion of overlapping atoms that are more than three bonds apart, in force group 2."""
    force = mm.CustomNonbondedForce("1e4*step(s-r)*(s-r)^2; s=radius1+radius2")
    force.addPerParticleParameter("radius")
    for atom in topology.atoms():
        force.addParticle([0.1 if atom.element is app.element.hydrogen else 0.16])
    pairs = [(first.index, second.index) for first, second in topology.bonds()]
    force.createExclusionsFromBonds(pairs, 3)
    force.setNonbondedMethod(mm.CustomNonbondedForce.CutoffNonPeriodic)
    force.setCutoffDistance(0.4)
    force.setForceGroup(2)
    return force
