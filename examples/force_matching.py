"""Force matching: a small energy learns the forces of an all-atom simulation.

OpenMM simulates the Trp-cage with Amber's force field in implicit solvent. The forces on all atoms of a residue add up
to the force on its C-alpha, and the networks' energy learns these forces. What it can learn is their mean, given the
positions of the C-alphas; the rest, which is most of them, is noise from the motion of the other atoms.

To do the same in a training run, besides all other losses, set force_frames = ["trp_cage.safetensors"] under [data],
and losses = {forces = 0.001} in a stage.

python examples/force_matching.py [FOLDER]
"""

import sys
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import record_forces
from openmm_nemo.training.force_matching import FramePool, force_error, model_forces

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/force_matching")
out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)  # the networks are small

N_FRAMES, STEPS_BETWEEN, N_UPDATES, BATCH = 200, 5, 80, 16
TEMPERATURE = 300 * unit.kelvin

# Any trajectory and its System will do, as long as there are constraints only inside residues.
pdb = app.PDBFile(str(Path(__file__).parent / "data" / "1l2y.pdb"))
field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
system = field.createSystem(pdb.topology, constraints=app.HBonds)
integrator = mm.LangevinMiddleIntegrator(TEMPERATURE, 5 / unit.picosecond, 2 * unit.femtosecond)
integrator.setRandomNumberSeed(1)
platform = mm.Platform.getPlatformByName("CPU")
simulation = app.Simulation(pdb.topology, system, integrator, platform, {"Threads": "1"})
simulation.context.setPositions(pdb.positions)
simulation.context.setVelocitiesToTemperature(TEMPERATURE, 1)
simulation.step(200)
xyz = []
for _ in range(N_FRAMES):
    simulation.step(STEPS_BETWEEN)
    state = simulation.context.getState(positions=True)
    xyz.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
trajectory = md.Trajectory(np.array(xyz), md.Topology.from_openmm(pdb.topology))

frames = record_forces(trajectory, system, TEMPERATURE, properties={"Threads": "1"})
frames.write(out / "trp_cage.safetensors")

# The last quarter is held out.
pool = FramePool([out / "trp_cage.safetensors"])
n_train = 3 * N_FRAMES // 4
held_out = pool.take(range(n_train, N_FRAMES))
torch.manual_seed(1)
model = NemoModel(NemoConfig.preset("tiny"))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
generator = np.random.default_rng(1)


def measure(when: str) -> None:
    """Print how well the forces of the held-out frames are predicted."""
    with torch.no_grad():
        error = force_error(model, held_out).mean().item()
        predicted = model_forces(model, held_out)
    r = np.corrcoef(predicted.flatten(), held_out.forces.flatten())[0, 1]
    print(f"{when}: force loss {error:.1f} (kT/Angstrom)^2, correlation {r:.2f}")


print(f"No forces at all: force loss {held_out.forces.square().mean():.1f} (kT/Angstrom)^2")
measure("Before")
for _ in range(N_UPDATES):
    optimizer.zero_grad()
    batch = pool.take(generator.integers(n_train, size=BATCH))
    force_error(model, batch).mean().backward()
    optimizer.step()
measure(f"After {N_UPDATES} updates")
