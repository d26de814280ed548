"""The peptides of examples/alanine, their System, the basins, and the reference by parallel tempering."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
from openmm import app

from tests.helpers import names
from tests.tolerances import ALANINE
from tests.unit.engine.toys import energy_of, forces_of, make_context

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "alanine"
REFERENCE = ROOT / "examples" / "data" / "alanine_dipeptide_reference.npz"

sys.path.insert(0, str(FOLDER))
basins, peptide, tempering = map(
    importlib.import_module, ("basins", "peptide", "parallel_tempering")
)
sys.path.remove(str(FOLDER))

PEPTIDES = pytest.mark.parametrize(("n", "atoms"), [(1, 22), (3, 42)], ids=["dipeptide", "tetra"])


def volumes(trajectory: md.Trajectory) -> list[float]:
    """Of N, C and CB about CA, with its sign, of each residue that has them."""
    found = []
    for residue in trajectory.topology.residues:
        at = {atom.name: trajectory.xyz[0, atom.index] for atom in residue.atoms}
        if "CB" in at:
            n, c, cb = (at[name] - at["CA"] for name in ("N", "C", "CB"))
            found.append(float(np.dot(np.cross(n, c), cb)))
    return found


@PEPTIDES
def test_the_files_are_minimised_trans_l_peptides(n, atoms):
    topology, x = peptide.read(n)
    assert x.shape == (atoms, 3)
    assert [r.name for r in topology.residues()] == ["ACE", *["ALA"] * n, "NME"]
    text = peptide.FILES[n].read_text()
    assert {line[:6].strip() for line in text.splitlines()} == {"ATOM", "HETATM", "TER", "END"}
    native = volumes(md.load(ROOT / "examples" / "data" / "1l2y.pdb"))
    assert len(native) > 10
    assert min(native) > 0
    found = volumes(md.Trajectory(x, md.Topology.from_openmm(topology)))
    assert len(found) == n
    assert min(found) > 0
    assert peptide.is_left_handed(topology, x)
    assert not peptide.is_left_handed(topology, -x)
    omega = peptide.backbone_dihedrals(topology, x)["omega"]
    assert omega.shape == (n + 1,)
    assert np.degrees(np.abs(omega)).min() > 170
    context = make_context(peptide.create_system(topology), mm.VerletIntegrator(0.001), x)
    before = energy_of(context)
    assert np.abs(forces_of(context)).max() < ALANINE["force"]
    mm.LocalEnergyMinimizer.minimize(context, 1e-3)
    assert before - energy_of(context) < ALANINE["minimum"]


def test_the_command_builds_the_files_again():
    """But for the turns of methyl groups and the orientation, which start at random."""
    (topology, x), (expected, y) = peptide.build(1), peptide.read(1)
    assert [a.name for a in topology.atoms()] == [a.name for a in expected.atoms()]
    context = make_context(peptide.create_system(topology), mm.VerletIntegrator(0.001), x)
    energy = energy_of(context)
    context.setPositions(y)
    assert energy == pytest.approx(energy_of(context), abs=ALANINE["minimum"])
    found, wanted = (peptide.backbone_dihedrals(topology, positions) for positions in (x, y))
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=np.radians(1))


def test_dihedrals_are_those_of_mdtraj():
    topology, x = peptide.read(3)
    x = x + np.random.default_rng(1).normal(scale=0.01, size=(5, *x.shape))
    found = peptide.backbone_dihedrals(topology, x)
    trajectory = md.Trajectory(x, md.Topology.from_openmm(topology))
    np.testing.assert_allclose(found["phi"], md.compute_phi(trajectory)[1], atol=1e-4)
    np.testing.assert_allclose(found["psi"], md.compute_psi(trajectory)[1], atol=1e-4)
    # MDTraj does not know those of the caps.
    np.testing.assert_allclose(found["omega"][:, 1:-1], md.compute_omega(trajectory)[1], atol=1e-4)


def test_phi_can_be_set():
    topology, x = peptide.read(1)
    before = peptide.backbone_dihedrals(topology, x)
    for phi in (60.0, -170.0):
        y = peptide.with_phi(topology, x, phi)
        after = peptide.backbone_dihedrals(topology, y)
        assert np.degrees(after["phi"]) == pytest.approx([phi])
        np.testing.assert_allclose(after["psi"], before["psi"], atol=1e-9)
        np.testing.assert_allclose(after["omega"], before["omega"], atol=1e-9)
        assert peptide.is_left_handed(topology, y)


def test_the_system_has_the_energy_of_the_force_field():
    """Whose implicit water is a CustomGBForce, at 20 structures as deformed as those of 600 K."""
    topology, x = peptide.read(1)
    whole = app.ForceField(*peptide.FORCE_FIELD).createSystem(topology, removeCMMotion=False)
    contexts = [
        make_context(system, mm.VerletIntegrator(0.001), x)
        for system in (whole, peptide.create_system(topology))
    ]
    assert peptide.create_system(topology).getNumConstraints() == 0
    random = np.random.default_rng(2)
    for _ in range(20):
        moved = x + random.normal(scale=0.004, size=x.shape)
        for context in contexts:
            context.setPositions(moved)
        expected, found = map(energy_of, contexts)
        assert found == pytest.approx(expected, abs=ALANINE["energy"])


def test_every_sample_is_in_one_basin():
    random = np.random.default_rng(3)
    phi, psi, weights = random.uniform(-np.pi, np.pi, (3, 5000))
    found = basins.basin_weights(phi, psi, weights + 4)
    assert sum(found.values()) == pytest.approx(1)
    known = {
        "C5": (-148, 158),
        "PII": (-68, 153),
        "alphaP": (-150, 10),
        "alphaR": (-73, -18),
        "alphaL": (58, 23),
        "C7ax": (58, -178),
    }
    for name, angles in known.items():
        assert basins.basin_weights(*np.radians(angles)[:, None])[name] == 1
    # 170 degree is beyond 180 for phi, from where C5 continues.
    two = np.radians([[170, 58], [160, 23]])
    of_two = basins.basin_weights(*two, np.array([3.0, 1.0]))
    assert (of_two["C5"], of_two["alphaL"]) == pytest.approx((0.75, 0.25))


def test_weights_at_300_kelvin_are_those_of_known_energies():
    """Of 30 harmonic coordinates, at all temperatures; four standard errors: a false alarm in 8,000 runs."""
    n, random = 4000, np.random.default_rng(4)
    energy = random.gamma(15, 1 / tempering.BETA, (n, len(tempering.BETA)))
    weights = tempering.weights_at_300_kelvin(energy)
    assert weights.sum() == pytest.approx(1)
    assert weights[:, 0].sum() < 0.8  # other temperatures have a part in it
    kt = 1 / tempering.BETA[0]
    # As if only the frames at 300 K counted, which is too large.
    error = 15**0.5 * kt / n**0.5
    assert (weights * energy).sum() == pytest.approx(15 * kt, abs=4 * error)
    assert abs(energy.mean() - 15 * kt) > 100 * error


def test_other_isomers_are_sent_back():
    topology, x = peptide.read(1)
    ladder = tempering.Ladder(topology, [x] * len(tempering.TEMPERATURES), 1.0, seed=1)
    ladder.move()
    before = ladder.positions.copy()
    ladder._contexts[2].setPositions(-before[2])
    energies = ladder.move()
    assert ladder.returned == 1
    np.testing.assert_array_equal(ladder.positions[2], before[2])
    assert not np.isclose(ladder.positions[[0, 1, 3, 4, 5]], before[[0, 1, 3, 4, 5]]).all()
    context = make_context(peptide.create_system(topology), mm.VerletIntegrator(0.001), before[2])
    assert energies[2] == pytest.approx(energy_of(context))


def test_exchanges_follow_the_criterion():
    """Replicas with energies in the wrong order always exchange, with those far in the right order never."""
    topology, x = peptide.read(1)
    n = len(tempering.TEMPERATURES)
    ladder = tempering.Ladder(topology, [x] * n, 1.0, seed=1)
    speeds = [_kinetic(context) for context in ladder._contexts]
    ladder.exchange(1000.0 * np.arange(n))
    ladder.exchange(1000.0 * np.arange(n))
    assert ladder.rungs.tolist() == list(range(n))
    ladder.exchange(-1000.0 * np.arange(n))  # the pairs 0 and 1, 2 and 3, 4 and 5
    assert ladder.rungs.tolist() == [1, 0, 3, 2, 5, 4]
    assert (ladder.attempted.tolist(), ladder.accepted.tolist()) == (
        [2, 1] * 2 + [2],
        [1, 0] * 2 + [1],
    )
    ratio = tempering.TEMPERATURES[1] / tempering.TEMPERATURES[0]
    for replica, context in enumerate(ladder._contexts):
        scale = ratio if replica % 2 == 0 else 1 / ratio
        assert _kinetic(context) == pytest.approx(scale * speeds[replica])
        expected = tempering.TEMPERATURES[ladder.rungs[replica]]
        assert context.getIntegrator().getTemperature()._value == pytest.approx(expected)


def _kinetic(context: mm.Context) -> float:
    v = context.getState(velocities=True).getVelocities(asNumpy=True)._value
    return float((v**2).sum())


def test_the_command_runs_and_continues(tmp_path):
    command = [sys.executable, FOLDER / "parallel_tempering.py", tmp_path / "run", "--frames", "6"]

    def call(blocks: int) -> str:
        outcome = subprocess.run(
            [*command, "--blocks", str(blocks)], capture_output=True, text=True, timeout=300
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    text = call(2)
    assert text.count("Wrote") == 5
    for name in basins.BASINS:
        assert f"\n{name} " in text
    first = (tmp_path / "run" / "block-000.npz").read_bytes()
    assert re.findall(r"block-\d+", call(3)) == ["block-002"]
    assert (tmp_path / "run" / "block-000.npz").read_bytes() == first
    with np.load(tmp_path / "run" / "reference.npz") as made, np.load(REFERENCE) as shipped:
        assert sorted(made) == sorted(shipped)
        assert made["probability"].shape == (3, 72, 72)
        assert made["counts"].sum() == 3 * 6
    # Another run counts by its frames: 12 of 30 here.
    first = dict(np.load(tmp_path / "run" / "reference.npz"))
    command[2:] = [tmp_path / "more", "--frames", "6", "--seed", "2"]
    call(2)
    alone = dict(np.load(tmp_path / "more" / "reference.npz"))
    command += ["--add", tmp_path / "run" / "reference.npz"]
    call(2)
    both = dict(np.load(tmp_path / "more" / "reference.npz"))
    assert both["counts"].sum() == 5 * 6
    assert len(both["command"]) == 2
    expected = (3 * first["probability"].sum(0) + 2 * alone["probability"].sum(0)) / 5
    np.testing.assert_allclose(both["probability"].sum(0), expected, rtol=1e-5)
    assert both["edges"].shape == (73,)


def test_a_run_that_cannot_be_added_is_refused(tmp_path):
    def refusal(*options: str | Path) -> str:
        command = [sys.executable, FOLDER / "parallel_tempering.py", tmp_path / "run", *options]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert outcome.returncode == 2
        assert not (tmp_path / "run").exists()
        return outcome.stderr

    names(refusal("--blocks", "1"), "--blocks", "2")
    names(refusal("--add", "no.npz"), "--add", "no.npz")
    other = dict(np.load(REFERENCE)) | {"force_field": np.array(["another.xml"])}
    np.savez(tmp_path / "other.npz", **other)
    names(refusal("--add", tmp_path / "other.npz"), "--add", "other.npz", "force field")


def test_the_shipped_reference_has_all_basins():
    assert REFERENCE.stat().st_size < 300_000
    maps = dict(np.load(REFERENCE))
    n = len(maps["probability"])
    assert n >= 16
    assert maps["probability"].sum() == pytest.approx(1, abs=1e-4)
    assert (maps["counts"].sum((1, 2)) % 3000 == 0).all()
    assert all("parallel_tempering.py" in command for command in maps["command"])
    assert maps["force_field"].tolist() == list(peptide.FORCE_FIELD)
    found = tempering.basins_of(maps)
    for name in basins.BASINS:
        weight, error = found[name]
        assert weight > 0.001
        assert error < ALANINE["error"] * weight
    # WHAM and the replica at 300 K alone; and halves of different starts.
    plain = tempering.basins_of(maps | {"probability": maps["counts"] / maps["counts"].sum()})
    halves = [
        tempering.basins_of(maps | {"probability": maps["probability"][maps["half"] == half]})
        for half in (0, 1)
    ]
    for name, (weight, error) in found.items():
        assert plain[name][0] == pytest.approx(weight, abs=4 * error + 4 * plain[name][1])
        apart = halves[0][name][0] - halves[1][name][0]
        assert abs(apart) < 4 * np.hypot(halves[0][name][1], halves[1][name][1])


@pytest.mark.slow
def test_the_generator_has_all_basins_and_the_one_of_300_kelvin_has_not(tmp_path):
    """Where the reference has more than 0.1%, within 20% or 0.2 kT, and within three standard errors of both."""
    outcome = subprocess.run(
        [sys.executable, FOLDER / "boltzmann_generator.py", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert outcome.returncode == 0, outcome.stderr
    number = r"(\S+) ± (\S+)"
    rows = re.findall(rf"^(\S+) .*?{number} +{number} +{number}$", outcome.stdout, re.MULTILINE)
    found = {name: np.array(values, dtype=float).reshape(3, 2) for name, *values in rows}
    assert set(basins.BASINS) < set(found)
    for name in basins.BASINS:
        (expected, error), (weight, uncertainty), _ = found[name]
        assert abs(np.log(weight / expected)) < 0.2 + 3 * np.hypot(error, uncertainty) / expected
    assert found["C7ax"][2, 0] < 0.1 * found["C7ax"][0, 0]
    assert (tmp_path / "boltzmann_generator.png").stat().st_size > 50_000
