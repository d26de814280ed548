"""Reporters in simulations, their files read back by MDTraj and numpy."""

import gc
import math
import shutil
import subprocess
import sys

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_nemo import (
    InputError,
    NemoAtomReporter,
    NemoStateReporter,
    NemoTrajectoryReporter,
)
from openmm_nemo.engine import add_to_system
from openmm_nemo.engine.trajectory import FORMATS, coarse_topology
from tests.helpers import platform, raises, random_rotation
from tests.unit.engine.toys import KT, energy_of, positions_of, random_walk

# nm
PRECISION = {".dcd": 1e-6, ".xtc": 1e-3, ".h5": 1e-6, ".pdb": 1e-4}

formats = pytest.mark.parametrize("extension", FORMATS)


def simulate(protein, **options) -> app.Simulation:
    simulation = app.Simulation(
        protein.topology,
        protein.create_system("python"),
        protein.create_integrator(seed=4, **options),
        platform("Reference"),
    )
    simulation.context.setPositions(protein.initial_positions())
    return simulation


def in_a_larger_system(protein) -> tuple[app.Simulation, list[int]]:
    """The protein in permuted order among five other particles."""
    n = len(protein.sequence)
    particles = [int(i) for i in np.random.default_rng(1).permutation(n + 5)[:n]]
    system, topology = mm.System(), app.Topology()
    chain = topology.addChain()
    for _ in range(n + 5):
        system.addParticle(10.0)
        topology.addAtom("X", None, topology.addResidue("UNK", chain))
    add_to_system(protein, system, particles, "python")
    integrator = protein.create_integrator(seed=2, system=system, particles=particles)
    simulation = app.Simulation(topology, system, integrator, platform("Reference"))
    x = random_walk(n + 5)
    x[particles] = protein.initial_positions()._value
    simulation.context.setPositions(x)
    return simulation, particles


def load(path, top: md.Topology) -> md.Trajectory:
    """Read a copy: HDF5 locks a file while it is written."""
    duplicate = path.with_name(f"copy{path.suffix}")
    shutil.copy(path, duplicate)
    options = {} if path.suffix in (".h5", ".pdb") else {"top": top}
    return md.load(str(duplicate), **options)


def rows(path) -> list[dict[str, float]]:
    with open(path) as file:
        names, *lines = (line.strip().split(",") for line in file)
    return [dict(zip(names, map(float, line), strict=True)) for line in lines]


@formats
@pytest.mark.parametrize("kind", [NemoTrajectoryReporter, NemoAtomReporter])
def test_frames_are_complete_while_the_simulation_goes_on(protein, tmp_path, extension, kind):
    simulation = simulate(protein)
    path = tmp_path / f"x{extension}"
    reporter = kind(path, 3)
    simulation.reporters.append(reporter)
    expected = []
    for n_frames in (1, 2, 3):
        simulation.step(3)
        x = positions_of(simulation.context)
        if kind is NemoAtomReporter:
            x = protein.impute(torch.from_numpy(10 * x)).flatten(0, 1).numpy() / 10
        expected.append(x)
        trajectory = load(path, reporter.topology(protein))
        assert trajectory.n_frames == n_frames
        np.testing.assert_allclose(
            trajectory.xyz, np.array(expected), rtol=0, atol=PRECISION[extension]
        )
    names = "GLY SER ALA VAL LEU LYS ASP GLU PHE TRP TYR PRO THR ASN GLN HIS"
    assert [residue.name for residue in trajectory.topology.residues] == names.split()
    per_residue = ["CA"] if kind is NemoTrajectoryReporter else ["N", "CA", "C", "O", "CEN"]
    assert [atom.name for atom in trajectory.topology.atoms] == per_residue * 16


@formats
def test_time_of_a_frame_is_its_step(protein, tmp_path, extension):
    simulation = simulate(protein)
    path = tmp_path / f"x{extension}"
    reporter = NemoTrajectoryReporter(path, 4)
    simulation.reporters.append(reporter)
    simulation.step(9)
    times = load(path, reporter.topology(protein)).time.tolist()
    assert times == ([4, 8] if extension in (".xtc", ".h5") else [0, 1])


@formats
@pytest.mark.parametrize("end", ["close", "drop"])
def test_file_is_complete_after_closing_or_dropping_the_reporter(protein, tmp_path, extension, end):
    simulation = simulate(protein)
    path = tmp_path / f"x{extension}"
    reporter = NemoTrajectoryReporter(path, 1)
    topology = reporter.topology(protein)
    simulation.reporters.append(reporter)
    simulation.step(2)
    if end == "close":
        reporter.close()
        reporter.close()
    else:
        simulation.reporters.clear()
        del reporter
        gc.collect()
    options = {} if extension in (".h5", ".pdb") else {"top": topology}
    assert md.load(str(path), **options).n_frames == 2
    if extension == ".pdb":
        assert path.read_text().splitlines()[-1].strip() == "END"


AT_EXIT = """
import sys, openmm, torch
from openmm import app
from openmm_nemo import NemoConfig, NemoModel, NemoTrajectoryReporter
protein = NemoModel(NemoConfig.preset("tiny")).condition("GSAVLK")
platform = openmm.Platform.getPlatformByName("Reference")
simulation = app.Simulation(
    protein.topology, protein.create_system("python"), protein.create_integrator(), platform
)
simulation.context.setPositions(protein.initial_positions())
for extension in ("dcd", "xtc", "h5", "pdb"):
    simulation.reporters.append(NemoTrajectoryReporter(f"x.{extension}", 1))
simulation.step(2)
"""


@pytest.mark.integration
def test_files_are_complete_when_the_program_ends(tmp_path):
    subprocess.run([sys.executable, "-c", AT_EXIT], cwd=tmp_path, check=True, timeout=120)
    for extension in FORMATS:
        path = tmp_path / f"x{extension}"
        options = {} if extension in (".h5", ".pdb") else {"top": coarse_topology("GSAVLK")}
        assert md.load(str(path), **options).n_frames == 2
    assert path.read_text().splitlines()[-1].strip() == "END"


def test_existing_files_are_replaced(protein, tmp_path):
    for _ in range(2):
        simulation = simulate(protein)
        reporters = [
            NemoTrajectoryReporter(tmp_path / "x.dcd", 1),
            NemoStateReporter(tmp_path / "x.csv", 1),
        ]
        simulation.reporters.extend(reporters)
        simulation.step(2)
        for reporter in reporters:
            reporter.close()
    assert load(tmp_path / "x.dcd", reporters[0].topology(protein)).n_frames == 2
    assert len(rows(tmp_path / "x.csv")) == 2


@pytest.mark.parametrize("kind", [NemoTrajectoryReporter, NemoAtomReporter])
def test_unknown_extension_is_an_input_error_at_once(tmp_path, kind):
    with raises(InputError, "x.xyz", "extension"):
        kind(tmp_path / "x.xyz", 1)


@pytest.mark.parametrize("kind", [NemoTrajectoryReporter, NemoAtomReporter, NemoStateReporter])
@pytest.mark.parametrize("interval", [0, -5])
def test_interval_is_positive(tmp_path, kind, interval):
    with raises(ValueError, "report interval"):
        kind(tmp_path / "x.dcd", interval)


@pytest.mark.parametrize("kind", [NemoTrajectoryReporter, NemoAtomReporter])
def test_foreign_topology_needs_the_protein(protein, tmp_path, kind):
    simulation, particles = in_a_larger_system(protein)
    simulation.reporters.append(kind(tmp_path / "x.dcd", 1, particles=particles))
    with raises(ValueError, "protein"):
        simulation.step(1)


@pytest.mark.parametrize("kind", [NemoTrajectoryReporter, NemoAtomReporter])
def test_protein_in_a_larger_system_is_written_alone(protein, tmp_path, kind):
    simulation, particles = in_a_larger_system(protein)
    reporter = kind(tmp_path / "x.h5", 2, protein=protein, particles=particles)
    simulation.reporters.append(reporter)
    simulation.step(4)
    x = positions_of(simulation.context)[particles]
    if kind is NemoAtomReporter:
        x = protein.impute(torch.from_numpy(10 * x)).flatten(0, 1).numpy() / 10
    trajectory = load(tmp_path / "x.h5", reporter.topology(protein))
    assert trajectory.n_frames == 2
    np.testing.assert_allclose(trajectory.xyz[-1], x, rtol=0, atol=1e-6)


def test_state_of_a_protein_in_a_larger_system(protein, tmp_path):
    simulation, particles = in_a_larger_system(protein)
    simulation.reporters.append(NemoStateReporter(tmp_path / "x.csv", 2, particles=particles))
    simulation.step(2)
    x = positions_of(simulation.context)[particles]
    radius = np.sqrt(x.var(axis=0).sum())
    assert rows(tmp_path / "x.csv")[-1]["radius_of_gyration_angstrom"] == pytest.approx(
        10 * radius, rel=1e-5
    )


@pytest.mark.parametrize("in_units", [lambda x: x, lambda x: (10 * x) * unit.angstrom, list])
def test_reference_may_be_an_array_or_a_quantity(protein, tmp_path, in_units):
    simulation = simulate(protein)
    x = random_walk(16, seed=3)
    reporter = NemoStateReporter(tmp_path / "x.csv", 1, reference=in_units(x.copy()))
    simulation.reporters.append(reporter)
    simulation.context.setPositions(x)
    simulation.integrator.setCartesianStep(0)
    simulation.integrator.setInternalStep(0)
    simulation.step(1)
    assert rows(tmp_path / "x.csv")[0]["rmsd_angstrom"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("limit", [0.02, 5.0])
def test_columns_are_what_numpy_and_mdtraj_say(protein, tmp_path, limit):
    simulation = simulate(protein, max_displacement=limit)
    native, topology = random_walk(16, seed=3), md.Topology.from_openmm(protein.topology)
    path = tmp_path / "x.csv"
    simulation.reporters.append(NemoStateReporter(path, 5, reference=native, speed=False))
    expected = []
    for _ in range(3):
        simulation.step(4)
        before = positions_of(simulation.context)
        simulation.step(1)
        x = positions_of(simulation.context)
        clipped = simulation.integrator.getNumClippedSteps()
        energy = energy_of(simulation.context)
        frame, reference = (md.Trajectory(xyz[None], topology) for xyz in (x, native))
        expected.append(
            {
                "step": simulation.currentStep,
                "u_kt": energy / KT,
                "energy_kj_mol": energy,
                "radius_of_gyration_angstrom": 10 * md.compute_rg(frame)[0],
                "largest_displacement_angstrom": 10 * np.linalg.norm(x - before, axis=1).max(),
                "clipped_fraction": clipped / simulation.currentStep,
                "accepted_cartesian_fraction": 1,
                "accepted_internal_fraction": 1,
                "rmsd_angstrom": 10 * md.rmsd(frame, reference)[0],
            }
        )
    actual = rows(path)
    assert [row["step"] for row in actual] == [5, 10, 15]
    for row, values in zip(actual, expected, strict=True):
        score = row.pop("tm_score")
        assert row == pytest.approx(values, rel=2e-5)
        assert 0 < score < 1
    assert (actual[-1]["clipped_fraction"] == 0) == (limit == 5.0)


def test_structure_is_the_same_as_itself(protein, tmp_path):
    simulation = simulate(protein, cartesian_step=0, internal_step=0)
    moved = protein.initial_positions()._value @ random_rotation().numpy() + 3
    simulation.reporters.append(NemoStateReporter(tmp_path / "x.csv", 1, reference=moved))
    simulation.step(1)
    row = rows(tmp_path / "x.csv")[0]
    assert row["rmsd_angstrom"] == pytest.approx(0, abs=1e-5)
    assert row["tm_score"] == pytest.approx(1, abs=1e-5)


def test_energy_is_that_of_the_model_in_kt(protein, tmp_path):
    simulation = simulate(protein)
    simulation.reporters.append(NemoStateReporter(tmp_path / "x.csv", 2))
    simulation.step(2)
    row = rows(tmp_path / "x.csv")[0]
    u = protein.energy(torch.from_numpy(10 * positions_of(simulation.context))).item()
    assert row["u_kt"] == pytest.approx(u, rel=1e-5)
    assert "rmsd_angstrom" not in row


def test_another_integrator_leaves_its_columns_empty(protein, tmp_path):
    simulation = app.Simulation(
        protein.topology,
        protein.create_system("python"),
        mm.LangevinMiddleIntegrator(300, 1, 0.001),
        platform("Reference"),
    )
    simulation.context.setPositions(protein.initial_positions())
    simulation.reporters.append(NemoStateReporter(tmp_path / "x.csv", 1))
    simulation.step(1)
    row = rows(tmp_path / "x.csv")[0]
    assert math.isnan(row["largest_displacement_angstrom"])
    assert math.isnan(row["clipped_fraction"])
    assert math.isnan(row["accepted_cartesian_fraction"])


def test_speed_is_steps_by_the_clock(protein, tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr("openmm_nemo.engine.reporters.perf_counter", lambda: next(clock))
    simulation = simulate(protein)
    simulation.reporters.append(NemoStateReporter(tmp_path / "x.csv", 5))
    simulation.step(15)
    first, *others = (row["steps_per_second"] for row in rows(tmp_path / "x.csv"))
    assert math.isnan(first)
    assert others == [2.5, 1.25]


def test_every_line_is_on_disk_when_it_is_reported(protein, tmp_path):
    simulation = simulate(protein)
    reporter = NemoStateReporter(tmp_path / "x.csv", 2)
    simulation.reporters.append(reporter)
    for n in (1, 2, 3):
        simulation.step(2)
        assert [row["step"] for row in rows(tmp_path / "x.csv")] == [2, 4, 6][:n]
    reporter.close()


def test_earlier_lines_are_taken_over(protein, tmp_path):
    simulation = simulate(protein)
    simulation.reporters.append(NemoStateReporter(tmp_path / "first.csv", 2))
    simulation.step(8)
    reporter = NemoStateReporter(tmp_path / "second.csv", 2)
    reporter.take_over(tmp_path / "first.csv", 3)
    simulation.reporters[:] = [reporter]
    simulation.step(2)
    assert [row["step"] for row in rows(tmp_path / "second.csv")] == [2, 4, 6, 10]
    with raises(InputError, "first.csv"):
        NemoStateReporter(tmp_path / "third.csv", 2).take_over(tmp_path / "first.csv", 5)


@formats
def test_replicas_are_reported_one_by_one(protein, tmp_path, extension):
    n, replicas = len(protein.sequence), 3
    simulation = app.Simulation(
        protein.create_topology(replicas),
        protein.create_system("python", replicas=replicas),
        protein.create_integrator(seed=4, replicas=replicas),
        platform("Reference"),
    )
    simulation.context.setPositions(protein.initial_positions(replicas=replicas))
    for r in range(replicas):
        for kind in (NemoTrajectoryReporter, NemoAtomReporter):
            file = tmp_path / f"{kind.__name__}{r}{extension}"
            simulation.reporters.append(kind(file, 2, replica=r))
        simulation.reporters.append(NemoStateReporter(tmp_path / f"{r}.csv", 2, replica=r))
    positions, energies = [], []
    for _ in range(2):
        simulation.step(2)
        positions.append(positions_of(simulation.context))
        energies.append(energy_of(simulation.context))
    tables = [rows(tmp_path / f"{r}.csv") for r in range(replicas)]
    for frame in range(2):
        parts = [table[frame]["energy_kj_mol"] for table in tables]
        assert sum(parts) == pytest.approx(energies[frame], rel=1e-5)
    for r in range(replicas):
        expected = np.array(positions)[:, r * n : (r + 1) * n]
        top = coarse_topology(protein.sequence, protein.numbering)
        found = load(tmp_path / f"NemoTrajectoryReporter{r}{extension}", top)
        np.testing.assert_allclose(found.xyz, expected, atol=PRECISION[extension])
        alone = simulate(protein)
        alone.context.setPositions(expected[-1])
        assert tables[r][-1]["energy_kj_mol"] == pytest.approx(energy_of(alone.context), rel=1e-5)
        assert tables[r][-1]["radius_of_gyration_angstrom"] == pytest.approx(
            10 * np.sqrt(((expected[-1] - expected[-1].mean(0)) ** 2).sum(1).mean()), rel=1e-4
        )


def test_a_replica_that_does_not_exist_is_refused(protein, tmp_path):
    with raises(ValueError, "particles", "replica"):
        NemoTrajectoryReporter(tmp_path / "x.dcd", 1, particles=[0], replica=0)
    simulation = simulate(protein)
    simulation.reporters.append(NemoTrajectoryReporter(tmp_path / "x.dcd", 1, replica=1))
    with raises(ValueError, "replica 1", "1 replicas"):
        simulation.step(1)
