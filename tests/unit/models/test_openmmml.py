"""OpenMM-ML finds NEMO by name."""

from importlib.metadata import entry_points

import numpy as np
import openmm as mm
import pytest
from openmm import app
from openmmml import MLPotential

from openmm_nemo import InputError, NemoModel
from openmm_nemo.models.openmmml import NemoPotentialImplFactory
from tests.helpers import raises

SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


def energy(system: mm.System, positions: np.ndarray) -> float:
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


def test_the_name_nemo_is_registered_with_openmmml() -> None:
    (nemo,) = entry_points(group="openmmml.potentials", name="nemo")
    assert nemo.load() is NemoPotentialImplFactory


def test_coarse_topology_gets_the_energy_of_the_protein() -> None:
    protein = NemoModel.from_pretrained("nemo-mini").condition(SEQUENCE)
    x = protein.initial_positions()._value
    system = MLPotential("nemo").createSystem(protein.topology, backend="python")
    assert energy(system, x) == pytest.approx(energy(protein.create_system("python"), x), rel=1e-6)


def test_all_atom_file_gets_the_energy_of_its_calpha_trace() -> None:
    pdb = app.PDBFile("examples/data/1l2y.pdb")
    ca = [atom.index for atom in pdb.topology.atoms() if atom.name == "CA"]
    x = np.array(pdb.getPositions(asNumpy=True)._value)
    system = MLPotential("nemo", model="nemo-tiny").createSystem(pdb.topology, backend="python")
    protein = NemoModel.from_pretrained("nemo-tiny").condition(SEQUENCE)
    assert energy(system, x) == pytest.approx(
        energy(protein.create_system("python"), x[ca]), rel=1e-5
    )


def test_topology_without_calpha_is_refused() -> None:
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    topology.addAtom("O", app.element.oxygen, residue)
    with raises(InputError, "C-alpha"):
        MLPotential("nemo").createSystem(topology)
