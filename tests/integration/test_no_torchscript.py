"""The main job runs, and its systems are read back, where TorchScript does not exist."""

import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path

import openmm as mm
import torch

import openmm_nemo.cli
import openmm_nemo.engine
from openmm_nemo import NemoModel


def refuse(*arguments, **options):
    raise RuntimeError("there is no TorchScript")


for name in ("script", "trace", "load", "save", "freeze", "optimize_for_inference"):
    setattr(torch.jit, name, refuse)
torch.set_num_threads(1)


def run(*arguments):
    sys.argv = ["openmm-nemo", *arguments]
    openmm_nemo.cli.main()


sequence = "NLYIQWLKDG"
run("simulate", "--sequence", sequence, "--model", "nemo-tiny", "--steps", "20", "--seed", "1", "--out", "run",
    "--platform", "Reference")
run("simulate", "--resume", "--steps", "30", "--out", "run")
for engine in ("torch", "openmm"):
    run("sample", "--sequence", sequence, "--model", "nemo-tiny", "-n", "2", "--steps", "5", "--engine", engine,
        "--workers", "1", "--out", engine)

system = mm.XmlSerializer.deserialize(Path("run/system.xml").read_text())
context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference"))
protein = NemoModel.from_pretrained("nemo-tiny").condition(sequence)
context.setPositions(protein.initial_positions())
energy = context.getState(energy=True).getPotentialEnergy()._value
u = protein.energy(protein.initial_state()).item()
assert abs(energy - u * 8.314462618e-3 * 300) < 1e-4 * abs(energy), (energy, u)

try:
    protein.create_system("torchforce")
except ValueError as error:
    assert "torchforce" in str(error), error
else:
    raise AssertionError("a TorchForce without TorchScript")
"""


def test_the_main_job_needs_no_torchscript(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "final_atoms.pdb").stat().st_size > 0
