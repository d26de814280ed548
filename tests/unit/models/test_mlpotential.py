"""NEMO as a potential of OpenMM-ML: which residues it acts on, mixed systems and interpolation."""

import copy
import itertools

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit
from openmmml import MLPotential

from openmm_nemo import InputError, NemoModel
from openmm_nemo.models.mlpotential import NemoPotentialImpl
from tests.helpers import raises
from tests.unit.engine.toys import energy_of, forces_of, make_context

SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


def context_of(system: mm.System, positions) -> mm.Context:
    return make_context(system, mm.VerletIntegrator(0.001), positions)


def energy(system: mm.System, positions) -> float:
    return energy_of(context_of(system, positions))


def nemo_energy(sequence: str, x: np.ndarray, model: str = "nemo-tiny") -> float:
    protein = NemoModel.from_pretrained(model).condition(sequence)
    return energy(protein.create_system("python"), x)


@pytest.fixture(scope="module")
def trp_cage() -> app.PDBFile:
    return app.PDBFile("examples/data/1l2y.pdb")


@pytest.fixture(scope="module")
def positions(trp_cage) -> np.ndarray:
    return np.array(trp_cage.getPositions(asNumpy=True)._value)


@pytest.fixture(scope="module")
def calphas(trp_cage) -> list[int]:
    return [atom.index for atom in trp_cage.topology.atoms() if atom.name == "CA"]


def test_coarse_topology_gets_the_energy_of_the_protein() -> None:
    protein = NemoModel.from_pretrained("nemo-fold").condition(SEQUENCE)
    x = protein.initial_positions()._value
    system = MLPotential("nemo").createSystem(protein.topology, backend="python")
    assert energy(system, x) == pytest.approx(nemo_energy(SEQUENCE, x, "nemo-fold"), rel=1e-6)


def test_all_atom_file_gets_the_energy_of_its_calpha_trace(trp_cage, positions, calphas) -> None:
    system = MLPotential("nemo", model="nemo-tiny").createSystem(trp_cage.topology)
    expected = nemo_energy(SEQUENCE, positions[calphas])
    assert energy(system, positions) == pytest.approx(expected, rel=1e-5)


def test_topology_without_calpha_is_refused() -> None:
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    topology.addAtom("O", app.element.oxygen, residue)
    with raises(InputError, "C-alpha"):
        MLPotential("nemo").createSystem(topology)


# Which residues


def add_residue(topology, chain, name, number, atoms=("N", "CA", "C"), after=None):
    """Add a residue, with bonds along its atoms, and from the last atom of another one."""
    residue = topology.addResidue(name, chain, str(number))
    elements = {"N": app.element.nitrogen, "CL": app.element.chlorine}
    new = [topology.addAtom(a, elements.get(a, app.element.carbon), residue) for a in atoms]
    for one, other in itertools.pairwise(new):
        topology.addBond(one, other)
    if after is not None:
        topology.addBond(list(after.atoms())[-1], new[0])
    return residue


def add_peptide(topology, chain, sequence: str, first: int = 1, **options):
    names = {"A": "ALA", "G": "GLY", "L": "LEU", "K": "LYS"}
    last = None
    for number, letter in enumerate(sequence, start=first):
        last = add_residue(topology, chain, names[letter], number, after=last, **options)
    return last


def acted_on(topology, atoms=None) -> list[tuple[int, ...]]:
    """Particles of the forces that NEMO adds."""
    system = mm.System()
    for _ in topology.atoms():
        system.addParticle(1.0)
    potential = NemoPotentialImpl(NemoModel.from_pretrained("nemo-tiny"))
    potential.addForces(topology, system, atoms, 0)
    return [tuple(force.getParticles()) for force in system.getForces()]


def beads_of(topology, chain=0, residues=slice(None)) -> tuple[int, ...]:
    found = list(list(topology.chains())[chain].residues())[residues]
    return tuple(a.index for r in found for a in r.atoms() if a.name.strip() == "CA")


def test_other_molecules_are_left_out_also_if_they_have_an_atom_named_ca():
    topology = app.Topology()
    chain = topology.addChain("A")
    add_peptide(topology, chain, "ALKGA")
    add_residue(topology, chain, "GLY", 301)  # a free amino acid
    add_residue(topology, chain, "CA", 302, atoms=("CA",))  # a calcium ion without element
    add_residue(topology, chain, "ACE", 303, atoms=("CA", "C", "O"))
    add_residue(topology, chain, "X1Q", 304, atoms=("C1", "CA", "CL"))
    add_residue(topology, topology.addChain("B"), "GLU", 1)
    add_peptide(topology, topology.addChain("C"), "AAA")
    assert acted_on(topology) == [beads_of(topology, residues=slice(5))]


def test_proteins_without_a_bond_between_them_get_a_force_each():
    topology = app.Topology()
    chain = topology.addChain("A")
    add_peptide(topology, chain, "ALKG")
    add_peptide(topology, chain, "AAKGL", first=5)
    assert acted_on(topology) == [
        beads_of(topology, residues=slice(4)),
        beads_of(topology, residues=slice(4, 9)),
    ]


@pytest.mark.parametrize("bonds", [True, False])
def test_a_jump_in_the_numbers_is_named_where_the_chain_may_go_on(bonds):
    topology = app.Topology()
    chain = topology.addChain("A")
    last = add_peptide(topology, chain, "ALKG")
    add_residue(topology, chain, "LEU", 12, after=last)
    for number in (13, 14, 15):
        last = list(chain.residues())[-1]
        add_residue(topology, chain, "ALA", number, after=last)
    if not bonds:
        topology._bonds.clear()
    with raises(InputError, "Chain A", "GLY 4", "LEU 12", "atoms", "gap"):
        acted_on(topology)
    part = beads_of(topology, residues=slice(4, 8))
    assert acted_on(topology, part) == [part]
    for number, residue in enumerate(chain.residues(), start=1):
        residue.id = str(number)
    assert acted_on(topology) == [beads_of(topology)]


def test_short_end_behind_a_gap_is_left_out():
    topology = app.Topology()
    chain = topology.addChain("A")
    add_peptide(topology, chain, "AL", first=1)
    add_peptide(topology, chain, "ALKG", first=7)
    assert acted_on(topology) == [beads_of(topology, residues=slice(2, 6))]


def test_insertion_codes_are_no_gap_and_names_may_be_padded_and_of_force_fields():
    topology = app.Topology()
    chain = topology.addChain("A")
    for number, name in zip((1, 2, 2, 3, 4), ("NALA", "HISE", "CYX", "GLY ", "CLEU"), strict=True):
        add_residue(topology, chain, name, number, atoms=("N   ", "CA  ", "C   "))
    topology._bonds.clear()
    assert acted_on(topology) == [beads_of(topology)]


def test_residue_of_a_protein_that_is_not_one_of_the_twenty_is_named():
    topology = app.Topology()
    chain = topology.addChain("A")
    last = add_peptide(topology, chain, "ALK")
    last = add_residue(topology, chain, "X1Q", 4, after=last)
    add_residue(topology, chain, "ALA", 5, after=last)
    with raises(InputError, "X1Q", "4", "A"):
        acted_on(topology)


# Mixed systems


@pytest.fixture(scope="module", params=["vacuum", "periodic"])
def all_atom(request, trp_cage) -> tuple[app.Topology, mm.System]:
    """Topology and system of a force field."""
    topology = copy.deepcopy(trp_cage.topology)
    forcefield = app.ForceField("amber14-all.xml")
    if request.param == "vacuum":
        return topology, forcefield.createSystem(topology, constraints=app.HBonds)
    topology.setUnitCellDimensions((6.0, 6.0, 6.0) * unit.nanometer)
    # A cutoff longer than the protein, because OpenMM-ML interpolates the energies of pairs without a cutoff.
    cutoff = 2.9 * unit.nanometer
    return topology, forcefield.createSystem(
        topology, nonbondedMethod=app.PME, nonbondedCutoff=cutoff, constraints=app.HBonds
    )


def mixed(all_atom, atoms, **options) -> mm.System:
    topology, system = all_atom
    potential = MLPotential("nemo", model="nemo-tiny")
    return potential.createMixedSystem(topology, system, atoms, **options)


def test_mixed_system_is_the_force_field_and_nemo_on_the_calpha_atoms(all_atom, positions, calphas):
    system = mixed(all_atom, calphas)
    assert system.getNumParticles() == len(positions)
    assert system.getNumConstraints() == all_atom[1].getNumConstraints()
    context = context_of(system, positions)
    on = energy_of(context)
    context.setParameter("nemo_scale", 0)
    off = energy_of(context)
    assert on - off == pytest.approx(nemo_energy(SEQUENCE, positions[calphas]), rel=1e-4)

    replaced = pair_energy(all_atom[1], positions, calphas)
    assert off == pytest.approx(energy(all_atom[1], positions) - replaced, abs=0.01)


def pair_energy(system: mm.System, x: np.ndarray, atoms: list[int]) -> float:
    """Energy of the force field between all pairs of some atoms, kJ/mol, without a cutoff."""
    (force,) = (f for f in system.getForces() if isinstance(f, mm.NonbondedForce))
    exceptions = {}
    for k in range(force.getNumExceptions()):
        i, j, *parameters = force.getExceptionParameters(k)
        exceptions[min(i, j), max(i, j)] = [p._value for p in parameters]
    total = 0.0
    for i, j in itertools.combinations(atoms, 2):
        one, other = ([p._value for p in force.getParticleParameters(k)] for k in (i, j))
        mean = one[0] * other[0], (one[1] + other[1]) / 2, (one[2] * other[2]) ** 0.5
        q, sigma, epsilon = exceptions.get((i, j), mean)
        r = np.linalg.norm(x[i] - x[j])
        total += 138.935456 * q / r + 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)
    return total


def test_interpolation_leads_from_the_force_field_to_the_mixed_system(all_atom, positions, calphas):
    context = context_of(mixed(all_atom, calphas, interpolate=True), positions)
    ends = context_of(all_atom[1], positions), context_of(mixed(all_atom, calphas), positions)
    for value in (0.0, 0.25, 1.0):
        context.setParameter("lambda_interpolate", value)
        for quantity in (energy_of, forces_of):
            first, last = (quantity(end) for end in ends)
            expected = (1 - value) * first + value * last
            np.testing.assert_allclose(quantity(context), expected, rtol=1e-4, atol=0.05)


def test_information_on_a_mixed_system_has_the_same_atoms(all_atom, calphas):
    info = mixed(all_atom, calphas, returnInfo=True)
    n = all_atom[0].getNumAtoms()
    assert info["topology"].getNumAtoms() == info["system"].getNumParticles() == n
    assert info["topology"].getNumBonds() == all_atom[0].getNumBonds()
    assert info["oldToNew"] == list(range(n))


def test_mixed_system_of_other_atoms_is_refused(all_atom, calphas):
    with raises(InputError, "CB", "LEU 2", "C-alpha"):
        mixed(all_atom, [*calphas, beta_carbon(all_atom[0])])


def beta_carbon(topology) -> int:
    return next(a.index for a in topology.atoms() if a.name == "CB" and a.residue.id == "2")


def test_long_range_interactions_are_refused_and_may_be_denied(all_atom, calphas):
    with raises(InputError, "mlLongRange", "periodic"):
        mixed(all_atom, calphas, mlLongRange=True)
    system = mixed(all_atom, calphas, mlLongRange=False)
    assert system.getNumParticles() == all_atom[0].getNumAtoms()


def test_interpolation_of_a_torchforce_is_refused(all_atom, calphas):
    with raises(InputError, "TorchForce", "interpolate", "python"):
        mixed(all_atom, calphas, interpolate=True, backend="torchforce")


def test_periodic_coarse_topology_needs_no_option():
    protein = NemoModel.from_pretrained("nemo-tiny").condition(SEQUENCE)
    topology = protein.topology
    topology.setUnitCellDimensions((9.0, 9.0, 9.0) * unit.nanometer)
    x = protein.initial_positions()._value
    potential = MLPotential("nemo", model="nemo-tiny")
    assert energy(potential.createSystem(topology), x) == pytest.approx(
        nemo_energy(SEQUENCE, x), rel=1e-6
    )
