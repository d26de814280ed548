"""`openmm-nemo simulate --replicas`: files per replica, what is in them, and runs that stop and go on."""

import shutil

import mdtraj as md
import numpy as np
import pytest
import torch

from openmm_nemo.dynamics.noise import replica_seed
from tests.helpers import contents, names, need_torchforce, refused
from tests.integration.runs import (
    SEQUENCE,
    TRP_CAGE,
    complete,
    frames,
    protein,
    simulate,
    table,
)

pytestmark = pytest.mark.usefixtures("quick_pictures")

R = 3
SEED = 11
OPTIONS = ("--sequence", SEQUENCE, "--seed", SEED, "--replicas", R)
IN_EACH = {
    "coarse.dcd",
    "atoms.dcd",
    "state.csv",
    "state.png",
    "final_coarse.pdb",
    "final_atoms.pdb",
}
FOLDERS = [f"replica-{r}" for r in range(R)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run of 40 steps."""
    return complete(tmp_path_factory.mktemp("whole") / "run", *OPTIONS, "--steps", 40)


def check_same(out, expected):
    assert set(contents(out)) == set(contents(expected))
    for name in FOLDERS:
        folder, other = out / name, expected / name
        assert (folder / "state.csv").read_bytes() == (other / "state.csv").read_bytes()
        for trajectory in ("coarse.dcd", "atoms.dcd"):
            np.testing.assert_array_equal(
                frames(folder, trajectory).xyz, frames(other, trajectory).xyz
            )
        for final in ("final_coarse.pdb", "final_atoms.pdb"):
            assert (folder / final).read_bytes() == (other / final).read_bytes()


def test_every_replica_has_a_folder(whole):
    assert {path.name for path in whole.iterdir()} == {
        *FOLDERS,
        *("checkpoint.chk", "system.xml", "integrator.xml", "run.json"),
    }
    for name in FOLDERS:
        assert {path.name for path in (whole / name).iterdir()} == IN_EACH


def test_every_replica_is_a_roll_out_of_its_own(tmp_path):
    options = (*OPTIONS, "--precision", "double", "--report-interval", 1, "--steps", 12)
    out = complete(tmp_path / "run", *options)
    ends = []
    for r, name in enumerate(FOLDERS):
        expected = protein().rollout(12, seed=replica_seed(SEED, r))
        x = expected.x[:, 0].numpy() / 10
        np.testing.assert_allclose(frames(out / name, "coarse.dcd").xyz, x, rtol=0, atol=1e-6)
        final = md.load(str(out / name / "final_coarse.pdb"))
        np.testing.assert_allclose(final.xyz[0], x[-1], rtol=0, atol=1.1e-4)
        values = table(out / name)
        energy = protein().energy(torch.from_numpy(10 * x)).numpy()
        np.testing.assert_allclose(values["u_kt"], energy, rtol=1e-5, atol=1e-5)
        ends.append(x[-1])
    assert np.abs(np.diff(ends, axis=0)).max() > 0.05


def test_replicas_start_from_a_structure(tmp_path):
    options = ("--pdb", TRP_CAGE, "--start", "native", "--reference", "--replicas", 2, "--seed", 3)
    out = complete(tmp_path / "run", *options, "--steps", 10)
    values = [table(out / name) for name in FOLDERS[:2]]
    assert [v["rmsd_angstrom"][0] < 1e-6 for v in values] == [True, True]
    assert values[0]["rmsd_angstrom"][-1] != values[1]["rmsd_angstrom"][-1]


@pytest.mark.parametrize("backend", ["python", "torchforce"])
def test_resumed_run_is_the_uninterrupted_one(tmp_path, whole, backend):
    if backend == "torchforce":
        need_torchforce()
        whole = complete(tmp_path / "whole", *OPTIONS, "--steps", 40, "--backend", backend)
    out = complete(tmp_path / "run", *OPTIONS, "--steps", 23, "--backend", backend)
    for steps in (30, 40):  # on the last frame, too
        outcome = simulate(out, "--resume", "--steps", steps)
        assert outcome.code == 0, outcome
        assert f"Simulating 3 replicas of 20 residues, seed 11, to step {steps}." in outcome.out
    check_same(out, whole)


def test_killed_run_resumes_from_its_checkpoint(tmp_path, whole, during, checkpoint_at):
    """A copy of the folder is what a kill at that step leaves: here, two frames more than the checkpoint."""
    out, killed = tmp_path / "run", tmp_path / "killed"
    checkpoint_at(12)
    during[33] = lambda: shutil.copytree(out, killed)
    complete(out, *OPTIONS, "--steps", 40)
    during.clear()
    assert (killed / FOLDERS[-1] / "coarse.partial.dcd").exists()
    # Killed while the files of replicas get their names, after the first.
    for path in (killed / FOLDERS[0]).iterdir():
        path.rename(path.with_name(path.name.replace(".partial", "")))
    complete(killed, "--resume")
    check_same(killed, whole)


def test_an_all_atom_model_of_replicas_is_refused(tmp_path):
    message = refused("simulate", "--out", tmp_path / "run", *map(str, OPTIONS), "--all-atom")
    names(message, "--all-atom", "--replicas")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_a_replica_is_not_overwritten(tmp_path):
    (tmp_path / "run" / "replica-1").mkdir(parents=True)
    message = refused("simulate", "--out", tmp_path / "run", *map(str, OPTIONS))
    names(message, "replica-1", "--out")
